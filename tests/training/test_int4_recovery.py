"""Recovery without labels: the float model's outputs come back, in the weights of the file."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from support.lite_files import named, steps_of
from support.models import VARIANTS, batch, inputs, random_model
from support.texts import TOKENIZER, write_corpus

from mobilebert_tf import InputError, load_model, save_model
from mobilebert_tf import export as to_tflite
from mobilebert_tf.lite import flatbuffer, quantize
from mobilebert_tf.lite.fold import fold
from mobilebert_tf.lite.quantize import FOUR_BITS
from mobilebert_tf.training.int4_recovery import _relative_error, recovered
from mobilebert_tf.training.quantization_aware import QuantizationAware
from mobilebert_tf.training.run_config import Phase

PHASE = Phase(steps=40, learning_rate=3e-3, end_factor=0.1, weight_decay=0.0)


def original(head="span", variant="student"):
    return random_model(VARIANTS[variant], head, scale=0.12)


def texts(count):
    return [inputs(tokens, seed) for seed in range(count) for tokens in (7, 13)]


@functools.cache
def example():
    """A model, and what recovery makes of it."""
    built = original()
    return built, recovered(built, texts(30), "int4", PHASE)


def test_the_outputs_come_back_on_texts_that_were_not_seen():
    built, found = example()
    start = QuantizationAware(original(), [named(sample) for sample in texts(30)], "int4")
    start.start_as_exported([named(sample) for sample in texts(30)])
    checks = batch([13] * 20, seed=900)
    wanted, *others = (
        each(checks, training=False)["start_logits"] for each in (built, start.trained(), found)
    )
    before, after = (float(tf.reduce_mean(tf.square(other - wanted))) for other in others)
    assert after < 0.8 * before


def test_the_file_has_the_recovered_weights():
    _, built = example()
    weights = {weight.path: weight.numpy() for weight in built.weights}
    folded = fold(weights, built.config, "span", built.quantization.scales)
    content = quantize.convert(built, "int4", [named(sample) for sample in texts(8)])
    file, compared = flatbuffer.read(content), 0
    for name, operator, graph in flatbuffer.operators(file):
        layer = flatbuffer.scope(graph.tensors[operator.outputs[0]].name.decode())
        if name != "FULLY_CONNECTED" or "/feed_forward_" not in layer:
            continue
        tensor = graph.tensors[operator.inputs[1]]
        steps, scale = steps_of(file, tensor), np.float32(tensor.quantization.scale)[:, None]
        np.testing.assert_allclose(folded[f"{layer}/kernel"].T / scale, steps, atol=1e-3)
        compared += 1
    assert compared == 2 * 4


def test_the_original_stays_as_it_is():
    for weight, old in zip(example()[0].weights, original().weights, strict=True):
        np.testing.assert_array_equal(weight, old)
        assert weight.trainable or "seed" in weight.path


@pytest.mark.parametrize("mode", FOUR_BITS)
def test_it_starts_where_the_export_without_it_ends(mode):
    built, calibration = original(), [named(sample) for sample in texts(30)]
    aware = QuantizationAware(original(), calibration, mode)
    aware.start_as_exported(calibration)
    files = [quantize.convert(each, mode, calibration) for each in (built, aware.trained())]
    kernels = [dict(_kernels(flatbuffer.read(content))) for content in files]
    assert kernels[0].keys() == kernels[1].keys() and len(kernels[0]) >= 2 * 4
    # Sums in another order decide otherwise where a weight is halfway between two steps.
    same = [np.mean(kernels[0][key] == kernels[1][key]) for key in kernels[0]]
    assert min(same) > 0.9 and np.mean(same) > 0.98


def _kernels(file):
    for name, operator, graph in flatbuffer.operators(file):
        tensor = graph.tensors[operator.inputs[1]] if len(operator.inputs) > 1 else None
        if name == "FULLY_CONNECTED" and tensor.type == flatbuffer.INT4:
            yield graph.tensors[operator.outputs[0]].name.decode(), steps_of(file, tensor)


def test_without_rounding_it_is_the_model_itself():
    built = original("token_classifier")
    sample = batch([13, 9], seed=3)
    teacher = QuantizationAware(original("token_classifier"), [named(inputs(13))], "none")
    expected, found = built(sample, training=False)["logits"], teacher(sample)["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_only_real_tokens_count():
    values, expected = np.zeros([2, 2, 3, 1], np.float32)
    expected[:, :, 0] = [[2, 1, 5], [1, 7, 7]]
    values[:, :, 0] = [[1, 1, 9], [1, 0, 0]]
    mask = np.int32([[1, 1, 0], [1, 0, 0]])
    # Errors 1, 0 and 0 of the squares 4, 1 and 1.
    np.testing.assert_allclose(_relative_error(values, expected, mask), 1 / 6)
    np.testing.assert_allclose(_relative_error(values[:, :1], expected[:, :1], mask), 1 / 5)


def test_what_cannot_be_recovered():
    with pytest.raises(InputError, match="a task's head, not encoder"):
        recovered(original("encoder"), texts(1), "int4", PHASE)
    with pytest.raises(InputError, match="NoNorm and ReLU"):
        recovered(original(variant="bert"), texts(1), "int4", PHASE)


# ---- the door --------------------------------------------------------------------------------


def test_export_recovers_and_prunes(tmp_path, capsys):
    save_model(original("classifier"), tmp_path / "model", TOKENIZER)
    write_corpus(tmp_path / "corpus.txt")
    common = ["--model", str(tmp_path / "model"), "--recovery.steps", "3", "--max-drop", "1"]
    common += ["--calibration-data", str(tmp_path / "corpus.txt")]
    to_tflite.main([*common, "--quantize", "int4", "--recover"])
    assert "with 4-bit weights" in capsys.readouterr().out
    assert load_model(tmp_path / "model-recovered").quantization is not None
    assert (tmp_path / "model-recovered-int4.tflite").is_file()
    to_tflite.main([*common, "--quantize", "dynamic", "--prune", "0.25"])
    pruned = load_model(tmp_path / "model-pruned").config
    assert pruned.intermediate_size == 0.75 * VARIANTS["student"].intermediate_size
    report = (tmp_path / "model-pruned-dynamic.json").read_text()
    assert '"probability"' in report


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--recover"], "--recover is for --quantize int4 and int4-mixed"),
        (["--recover", "--quantize", "int4", "--prune", "0.5"], "do not go together"),
        (["--prune", "1"], "--prune is 1"),
        (["--prune", "-0.1"], "--prune is -0.1"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(options, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        to_tflite.main(options)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and said in error and error.count("\n") == 1
