"""4-bit weights: the numbers that they become, and what files with them compute."""

import dataclasses
import json
from collections import defaultdict

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from support.lite_files import HEADS, content, named, samples, steps_of
from support.models import (
    VARIANTS,
    inputs,
    keras_model,
    model,
    relative_error,
    save_directory,
)
from support.texts import LABELS, write_corpus

from mobilebert_tf import InputError, build_model
from mobilebert_tf.export import export
from mobilebert_tf.lite import flatbuffer, int4, quantize
from mobilebert_tf.lite.export_config import ExportConfig
from mobilebert_tf.lite.layer_errors import AllTensors
from mobilebert_tf.modeling.model import copy_weights

RANDOM = np.random.default_rng(0)


# ---- the numbers ---------------------------------------------------------------------------


def test_packed_by_hand():
    assert int4.packed(np.array([[-7, 7, 1], [0, -1, 5]])).tolist() == [0x79, 0x01, 0x5F]
    assert int4.packed(np.array([3, -2, 4])).tolist() == [0xE3, 0x04]  # an odd number of weights


def test_scales_of_whole_multiples_are_found():
    steps = RANDOM.integers(-7, 8, [50, 20])
    steps[:, 0] = RANDOM.choice([-7, 7], 50)
    scales = RANDOM.uniform(1e-4, 10, [50, 1]).astype(np.float32)
    weights = (steps * scales).astype(np.float32)
    found = int4.searched_scales(weights, RANDOM.uniform(0, 1, 20))
    np.testing.assert_allclose(found, scales, rtol=1e-6)
    np.testing.assert_array_equal(int4.nearest_steps(weights, found), steps)


def test_the_searched_scale_is_the_best_of_many():
    weights = RANDOM.standard_t(3, [30, 64]).astype(np.float32)
    weights[3] = 0
    importance = RANDOM.uniform(0, 1, 64)

    def error(scales):
        errors = weights - scales * int4.nearest_steps(weights, scales)
        return np.square(errors) @ importance

    widest = np.maximum(np.abs(weights).max(axis=1, keepdims=True), 1e-9) / 7
    found = error(int4.searched_scales(weights, importance))
    others = [error(widest * share) for share in RANDOM.uniform(0.3, 1, 200)]
    assert (found <= 1.05 * np.min(others, axis=0)).all()
    assert (found < 0.9 * error(widest)).any() and found[3] == 0


def _squares(tokens, width, rank):
    """Of inputs that go together: fewer directions than inputs, and a little noise."""
    x = RANDOM.normal(0, 1, [tokens, rank]) @ RANDOM.normal(0, 1, [rank, width])
    x += RANDOM.normal(0, 0.1, x.shape)
    return x, (x.T @ x).astype(np.float32)


@pytest.mark.parametrize("width", [1, 13, 64, 150])
def test_inputs_make_up_for_each_others_errors(width):
    weights = RANDOM.normal(0, 1, [40, width]).astype(np.float32)
    scales = int4.searched_scales(weights)
    x, squares = _squares(500, width, max(1, width // 4))
    errors = {}
    for name, steps in (
        ("nearest", int4.nearest_steps(weights, scales)),
        ("compensated", int4.compensated_steps(weights, scales, squares)),
    ):
        assert np.abs(steps).max() <= 7 and not (steps % 1).any()
        errors[name] = np.square(x @ (weights - steps * scales).T).mean()
    assert errors["compensated"] <= (1 if width == 1 else 0.6) * errors["nearest"]


def test_inputs_that_have_nothing_in_common_are_rounded_alone():
    weights = RANDOM.normal(0, 1, [10, 30]).astype(np.float32)
    scales = int4.searched_scales(weights)
    steps = int4.compensated_steps(weights, scales, np.diag(RANDOM.uniform(1, 9, 30)))
    np.testing.assert_array_equal(steps, int4.nearest_steps(weights, scales))
    never = int4.compensated_steps(weights, scales, np.zeros([30, 30], np.float32))
    np.testing.assert_array_equal(never, int4.nearest_steps(weights, scales))


def test_what_is_on_the_grid_stays():
    steps = RANDOM.integers(-7, 8, [40, 70])
    steps[:, 0] = 7
    scales = RANDOM.uniform(0.1, 1, [40, 1]).astype(np.float32)
    _, squares = _squares(100, 70, 9)
    again = int4.compensated_steps((steps * scales).astype(np.float32), scales, squares)
    np.testing.assert_array_equal(again, steps)


def test_weights_are_fitted_to_inputs_with_errors():
    """As least squares does with rows of its own for the noise."""
    wanted, _ = _squares(300, 20, 5)
    given = (wanted + RANDOM.normal(0, 0.5, wanted.shape)).astype(np.float32)
    weights = RANDOM.normal(0, 1, [7, 20]).astype(np.float32)
    noise = np.sqrt(int4._DAMPING * np.square(given).sum() / 20) * np.eye(20)
    targets = np.concatenate([(wanted - given) @ weights.T, np.zeros([20, 7])])
    change = np.linalg.lstsq(np.concatenate([given, noise]), targets, rcond=None)[0]
    found = int4.refitted(weights, wanted, given, given.T @ given)
    np.testing.assert_allclose(found, weights + change.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(int4.refitted(weights, given, given, given.T @ given), weights)
    none = int4.refitted(weights, 0 * wanted, 0 * given, 0 * given.T @ given)
    np.testing.assert_array_equal(none, weights)


# ---- the file ------------------------------------------------------------------------------


def weights_of(file, tensor):
    """A kernel [out,in] or a table, in float32."""
    return steps_of(file, tensor) * np.float32(tensor.quantization.scale)[:, None]


@pytest.mark.parametrize("mode", quantize.FOUR_BITS)
@pytest.mark.parametrize("variant", ["student", "tiny", "bert"])
def test_each_operation_computes_with_the_unpacked_weights(variant, mode):
    """In TFLite's own kernels: rows of tables bit for bit, products but for 8-bit activations."""
    packed = content(variant, "span", mode)
    file, run = flatbuffer.read(packed), AllTensors(packed)
    run.run(named(inputs(13, seed=3)))
    products, tables = 0, 0
    for name, operator, graph in flatbuffer.operators(file):
        reads = [graph.tensors[index] for index in operator.inputs if index >= 0]
        found = run.value(graph.tensors[operator.outputs[0]].name.decode())
        if name == "EMBEDDING_LOOKUP":
            ids = run.value(reads[0].name.decode())
            np.testing.assert_array_equal(found, weights_of(file, reads[1])[ids])
            tables += 1
        elif name == "FULLY_CONNECTED":
            expected = run.value(reads[0].name.decode()) @ weights_of(file, reads[1]).T
            if len(reads) > 2:
                bias = file.buffers[reads[2].buffer].data
                expected += np.frombuffer(bytes(bias), np.float32)
            if operator.builtinOptions.fusedActivationFunction:
                expected = np.maximum(expected, 0)
            assert relative_error(found, expected) < 0.025
            products += reads[1].type == schema.TensorType.INT4
    fed_forward = 2 * 2 * VARIANTS[variant].num_feedforward_networks
    all_but_head = 8 if variant == "bert" else 17
    assert (products, tables) == (fed_forward if mode == "int4-mixed" else all_but_head, 3)


def test_layers_without_biases_are_chosen_too():
    """The converter names their products after other operations."""
    bare = build_model(VARIANTS["student"], "classifier", LABELS)
    copy_weights(model(), bare)
    for weight in bare.weights:
        if weight.path.endswith(("bias", "beta")):
            weight.assign(0 * weight)
    file = flatbuffer.read(quantize.convert(bare, "int4-mixed", samples((13,), 6)))
    (graph,) = file.subgraphs
    four_bits = [op for name, op, _ in flatbuffer.operators(file) if name == "FULLY_CONNECTED"]
    four_bits = [op for op in four_bits if graph.tensors[op.inputs[1]].type == flatbuffer.INT4]
    assert len(four_bits) == 2 * 2 * VARIANTS["student"].num_feedforward_networks


@pytest.mark.parametrize("variant", ["student", "bert"])
def test_layers_make_up_for_the_errors_of_those_before_them(variant, monkeypatch):
    calibration = samples((13, 37), 12)

    def error():
        file = quantize.convert(model(variant, "span"), "int4", calibration)
        run = Interpreter(model_content=file).get_signature_runner()
        given = {"input_ids": "ids", "input_mask": "mask", "segment_ids": "segment_ids"}
        of_keras = keras_model(variant, "span")
        return sum(
            np.square(run(**sample)[name] - values).sum()
            for sample in calibration
            for name, values in of_keras(**{k: sample[v] for k, v in given.items()}).items()
        )

    fitted = error()
    monkeypatch.setattr(int4, "refitted", lambda weights, *_: weights)
    assert fitted < 0.8 * error()


@pytest.mark.parametrize("mode", quantize.FOUR_BITS)
def test_no_weight_is_minus_8(mode):
    """With which TFLite's own kernel gives wrong sums."""
    file = flatbuffer.read(content("student", "pretraining", mode))
    (graph,) = file.subgraphs
    found = [tensor for tensor in graph.tensors if tensor.type == schema.TensorType.INT4]
    for tensor in found:
        assert np.abs(steps_of(file, tensor)).max() == 7
        assert not np.any(tensor.quantization.zeroPoint)
        assert len(tensor.quantization.scale) == tensor.shape[0]
    assert len(found) > 8


def test_the_head_keeps_8_bits():
    file = flatbuffer.read(content("student", "classifier", "int4"))
    for name, operator, graph in flatbuffer.operators(file):
        if name == "FULLY_CONNECTED":
            scope = flatbuffer.scope(graph.tensors[operator.outputs[0]].name.decode())
            small = scope == "classifier"
            assert (graph.tensors[operator.inputs[1]].type == flatbuffer.INT8) == small


def test_sizes():
    """Of weights alone: half of int8's, a scale for each channel left aside."""
    bytes_in = {}
    for mode in ("int8", "int4-mixed", "int4"):
        file = flatbuffer.read(content("student", "span", mode))
        weights = {op.inputs[1] for name, op, _ in flatbuffer.operators(file) if "CONN" in name}
        (graph,) = file.subgraphs
        bytes_in[mode] = sum(len(file.buffers[graph.tensors[i].buffer].data) for i in weights)
        total = sum(len(b.data) for b in file.buffers if b.data is not None)
        assert total < sum(flatbuffer.sizes(file).values()) + 100  # no weights of both kinds
    assert bytes_in["int4"] < 0.52 * bytes_in["int8"] < bytes_in["int4-mixed"] < bytes_in["int8"]


@pytest.mark.parametrize("head", HEADS)
def test_every_head(head):
    """The error is that of all texts together: a single logit may be near 0."""
    interpreter = Interpreter(model_content=content("student", head, "int4")).get_signature_runner()
    found, expected = defaultdict(list), defaultdict(list)
    for tokens in (1, 7, 37):
        sample = inputs(tokens, seed=tokens)
        outputs = interpreter(**named(sample))
        of_keras = keras_model("student", head)(**sample)
        assert outputs.keys() == of_keras.keys()
        for name, values in of_keras.items():
            assert outputs[name].shape == values.shape
            found[name].append(outputs[name].ravel())
            expected[name].append(values.ravel())
    for name, values in expected.items():
        assert relative_error(np.concatenate(found[name]), np.concatenate(values)) < 0.7


@pytest.mark.parametrize("mode", quantize.FOUR_BITS)
def test_a_fixed_length_keeps_its_table_of_positions_in_4_bits(mode):
    calibration = samples((13,), 6)
    files = [
        quantize.convert(model("student", "span"), mode, calibration, sequence_length=length)
        for length in (None, 13)
    ]
    sample = named(inputs(13, seed=1, padding=2))
    any_length, fixed = (Interpreter(model_content=f).get_signature_runner() for f in files)
    outputs, found = any_length(**sample), fixed(**sample)
    for name, values in outputs.items():
        np.testing.assert_array_equal(values, found[name])
    names = [name for name, _, _ in flatbuffer.operators(flatbuffer.read(files[1]))]
    assert names.count("EMBEDDING_LOOKUP") == 3


def test_padding_of_calibration_texts_does_not_count():
    calibration = samples((13,), 6)
    noise = [named(inputs(13, i, padding=4)) for i in range(6)]
    files = []
    for seed in (1, 2):
        for i, sample in enumerate(noise):
            other = named(inputs(13, seed * 10 + i))
            sample["ids"] = np.where(sample["mask"] == 1, sample["ids"], other["ids"])
        files.append(quantize.convert(model(), "int4", calibration + noise, sequence_length=13))
    assert files[0] == files[1]


def test_export_warns_of_embeddings_from_two_files(tmp_path, capsys):
    save_directory(tmp_path / "model", head="encoder")
    texts = str(write_corpus(tmp_path / "corpus.txt"))
    config = ExportConfig(str(tmp_path / "model"), quantize="int4", calibration_data=texts)
    report = json.loads(export(config).with_suffix(".json").read_text())
    assert report["min_runtime"] == "2.18" and report["ops"]["EMBEDDING_LOOKUP"] == 3
    cosine = report["agreement"]["embedding"]["cosine"]
    (warning,) = report["warnings"]
    assert f"is {cosine:.3f}: compare them with those of this file alone" in warning
    assert warning in capsys.readouterr().err
    old = dataclasses.replace(config, min_runtime="2.17", overwrite=True)
    with pytest.raises(InputError, match=r"int4 file needs 2.18 for EMBEDDING_LOOKUP"):
        export(old)
