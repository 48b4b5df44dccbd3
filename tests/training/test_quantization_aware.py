"""Quantization-aware training: what is trained is what the int8 file computes."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from support.lite_files import named, samples, steps_of
from support.models import VARIANTS, batch, inputs, model
from support.texts import LABELS, TOKENIZER

from mobilebert_tf import InputError, build_model, load_model, save_model
from mobilebert_tf.convert import ConvertConfig, convert
from mobilebert_tf.lite import flatbuffer, quantize
from mobilebert_tf.lite.layer_errors import AllTensors
from mobilebert_tf.lite.quantize import FOUR_BITS
from mobilebert_tf.modeling.heads import HEADS
from mobilebert_tf.modeling.quantization import QUANTIZATION_FILE, Quantization
from mobilebert_tf.training.finetuner import Finetuner
from mobilebert_tf.training.quantization_aware import MOMENTUM, FakeQuantization, QuantizationAware
from mobilebert_tf.training.run_config import Phase

PLAIN = dict(normalization_type="no_norm", hidden_act="relu")
CONFIGS = {
    "student": VARIANTS["student"],
    "tiny": VARIANTS["tiny"],
    "wide attention": VARIANTS["teacher"].replace(**PLAIN, classifier_activation=True),
    "bert": VARIANTS["bert"].replace(**PLAIN),
    "one head": VARIANTS["student"].replace(num_attention_heads=1),
}


SAMPLES = samples((7, 13, 37), 12)


def start(variant="student", head="classifier"):
    """Gammas of both signs, and scores not so large that softmax is a choice."""
    built = build_model(CONFIGS[variant], head, LABELS if HEADS[head].has_labels else ())
    random = np.random.default_rng(0)
    for weight in built.weights:
        norm = "/norm/" in weight.path and weight.path.endswith("gamma")
        if "seed_generator" not in weight.path:
            values = random.uniform(0.7, 1.3, weight.shape) * random.choice([1, -1], weight.shape)
            weight.assign(values if norm else random.normal(0, 0.12, weight.shape))
    return built


# Of test_with_float_activations. Observed from the start: no test changes what another one finds.
OBSERVED = ((7, 0), (13, 4), (37, 1))


@functools.cache
def aware(variant="student", head="classifier"):
    observed = [inputs(tokens, padding=padding) for tokens, padding in OBSERVED]
    return QuantizationAware(start(variant, head), SAMPLES + [named(sample) for sample in observed])


# ---- the layer -----------------------------------------------------------------------------


def test_fake_quantization_rounds_to_the_levels_of_int8():
    layer = FakeQuantization()
    layer(np.float32([-1.0, 1.55]), observing=True)  # steps of 0.01, 0 is the 100th
    x = tf.constant([-1.0, -0.994, 0.0, 0.004, 0.3333, 1.55, 9.0, -9.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    expected = [-1.0, -0.99, 0.0, 0.0, 0.33, 1.55, 1.55, -1.0]
    np.testing.assert_allclose(y, expected, atol=1e-6)
    np.testing.assert_array_equal(tape.gradient(y, x), [1, 1, 1, 1, 1, 1, 0, 0])


def test_ranges_are_moving_averages_in_training_alone():
    layer = FakeQuantization()
    layer(np.float32([-2.0, 4.0]), observing=True)
    layer(np.float32([1.0, 2.0]))
    np.testing.assert_array_equal(layer.range, [-2, 4])
    layer(np.float32([1.0, 2.0]), training=True)  # the lowest is 0: a level in every range
    np.testing.assert_allclose(layer.range, [-2 * MOMENTUM, 4 * MOMENTUM + 2 * (1 - MOMENTUM)])


def test_padding_does_not_move_the_ranges():
    simulated = QuantizationAware(start(), SAMPLES)
    short, long = inputs(13, seed=3, padding=1), inputs(37, seed=3, padding=25)
    for name in short:
        long[name][:, :12] = short[name][:, :12]
    simulated._graph.arithmetic.dropped = lambda x, rate: x
    ranges = []
    for sample in (short, long):
        kept = [quantizer.range.numpy() for quantizer in simulated.quantizers.values()]
        simulated(sample, training=True)
        ranges.append([quantizer.range.numpy() for quantizer in simulated.quantizers.values()])
        for quantizer, values in zip(simulated.quantizers.values(), kept, strict=True):
            quantizer.range.assign(values)
    np.testing.assert_allclose(*ranges, rtol=1e-5, atol=1e-6)


# ---- the graph -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "head"),
    [(variant, "classifier") for variant in CONFIGS]
    + [("student", head) for head in ("regression", "span", "token_classifier")]
    + [("student", "multi_label_classifier")],
)
def test_with_float_activations_it_is_the_model_with_rounded_weights(variant, head):
    simulated = aware(variant, head)
    trained = simulated.trained()
    for tokens, padding in OBSERVED:
        sample = inputs(tokens, padding=padding)
        outputs = simulated._graph(*map(tf.constant, sample.values()), observing=True)
        expected = trained(sample, training=False)
        real = slice(tokens - padding) if head in ("span", "token_classifier") else slice(None)
        for name, values in outputs.items():
            theirs = expected[name].numpy()
            error = np.abs(values - theirs)[0:1, real] if values.ndim > 1 else values - theirs
            assert np.abs(error).max() < 3e-5 * np.abs(theirs).max()


def first_token_batch(seed):
    """Eight texts of which the first token says the class."""
    arrays = batch([13] * 8, seed=seed)
    targets = arrays["input_ids"][:, 0] % len(LABELS)
    return {name: tf.constant(v) for name, v in (arrays | {"targets": targets}).items()}


@functools.cache
def learnt(mode="int8-full", steps=60):
    """After some steps: the QuantizationAware and the losses."""
    keras.utils.set_random_seed(0)
    simulated = QuantizationAware(start(), SAMPLES, mode)
    trainer = Finetuner(simulated, Phase(steps, 1e-2, warmup=0.0))
    trainer.compile()
    step = tf.function(trainer.train_step, autograph=False)
    losses = []
    for number in range(steps):
        trainer.reset_metrics()
        losses.append(float(step(first_token_batch(number % 3))["loss"]))
    return simulated, losses


def test_it_learns_with_the_norms_as_they_were():
    simulated, losses = learnt()
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    before = {weight.path: weight.numpy() for weight in start().weights}
    for weight in simulated.model.weights:
        changed = not np.array_equal(weight, before.get(weight.path, weight))
        assert changed == ("/norm/" not in weight.path and "seed_generator" not in weight.path)


# ---- the file ------------------------------------------------------------------------------


def test_the_file_has_the_trained_int8_weights():
    simulated, _ = learnt()
    weights = simulated._graph.weights
    expected = {
        path.removesuffix("/kernel"): weights.kernel(path.removesuffix("/kernel")).numpy()
        for path in weights
        if path.endswith("/kernel")
    }
    for mode in ("int8-full", "int8", "dynamic"):
        file = flatbuffer.read(quantize.convert(simulated.trained(), mode, SAMPLES))
        found = 0
        for name, operator, graph in flatbuffer.operators(file):
            output = graph.tensors[operator.outputs[0]].name.decode()
            layer = flatbuffer.scope(output)
            if name != "FULLY_CONNECTED" or layer not in expected:
                continue
            tensor = graph.tensors[operator.inputs[1]]
            stored = np.frombuffer(bytes(file.buffers[tensor.buffer].data), np.int8)
            stored = stored.reshape(tensor.shape).T  # [in,out]
            wanted = np.concatenate([expected[part] for part in _merged(layer)], axis=1)
            steps = np.abs(wanted).max(axis=0) / 127
            np.testing.assert_array_equal(stored, np.round(wanted / steps))
            assert np.abs(stored).max(axis=0).min() == 127
            found += 1
        assert found == 2 * 8 + 2  # blocks, the embedding transformation and the classifier


@pytest.mark.parametrize("mode", FOUR_BITS)
def test_the_file_has_the_trained_4_bit_weights(mode):
    """Bit for bit, though the export searches for scales and rounds again."""
    simulated, _ = learnt(mode, 12)
    weights = simulated._graph.weights
    file = flatbuffer.read(quantize.convert(simulated.trained(), mode, SAMPLES))
    compared = 0
    for name, operator, graph in flatbuffer.operators(file):
        layer = flatbuffer.scope(graph.tensors[operator.outputs[0]].name.decode())
        if name not in ("FULLY_CONNECTED", "EMBEDDING_LOOKUP"):
            continue
        tensor = graph.tensors[operator.inputs[1]]
        if tensor.type != flatbuffer.INT4:
            continue
        if name == "EMBEDDING_LOOKUP":
            wanted = weights.table(layer.removeprefix("embeddings/")).numpy()
        else:
            wanted = np.concatenate([weights.kernel(part) for part in _merged(layer)], axis=1).T
        widest = np.abs(wanted).max(axis=1, keepdims=True)
        np.testing.assert_array_equal(steps_of(file, tensor), np.round(wanted / widest * 7))
        scale = np.float32(tensor.quantization.scale)[:, None]
        np.testing.assert_allclose(scale * 7, widest, rtol=1e-6)
        compared += 1
    assert compared == 3 + (2 * 8 + 1 if mode == "int4" else 2 * 4)


@pytest.mark.parametrize("variant", ["student", "tiny", "bert"])
def test_in_4_bits_it_is_the_model_with_rounded_weights(variant):
    simulated = QuantizationAware(start(variant), SAMPLES, "int4")
    trained = simulated.trained()
    file = Interpreter(model_content=quantize.convert(trained, "int4", SAMPLES))
    for tokens, padding in ((7, 0), (13, 4)):
        sample = inputs(tokens, seed=tokens, padding=padding)
        logits = simulated(sample)["logits"].numpy()
        expected = trained(sample, training=False)["logits"].numpy()
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=3e-5 * np.abs(expected).max())
        found = file.get_signature_runner()(**named(sample))["probability"]
        assert np.abs(found - tf.nn.softmax(expected)).max() < 0.05  # activations in 8 bits


def test_in_4_bits_it_learns_and_observes_ranges_for_other_modes():
    simulated, losses = learnt("int4", 12)
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    trained = simulated.trained()
    assert trained.quantization.ranges.keys() == learnt()[0].trained().quantization.ranges.keys()
    sample = inputs(13)
    expected = tf.nn.softmax(trained(sample, training=False)["logits"])
    file = Interpreter(model_content=quantize.convert(trained, "int8-full", SAMPLES))
    found = file.get_signature_runner()(**named(sample))["probability"]
    assert np.abs(found - expected).max() < 0.1


def _merged(layer):
    """The layers that are one product in the graph, by the name of the first."""
    block = layer.split("/")[0]
    if layer.endswith("input_bottleneck/dense"):
        return layer, f"{block}/shared_bottleneck/dense", f"{block}/attention/value"
    return (layer, f"{block}/attention/key") if layer.endswith("/query") else (layer,)


@pytest.mark.parametrize(
    ("variant", "head"), [(v, "classifier") for v in CONFIGS] + [("student", "span")]
)
def test_the_file_computes_what_was_simulated(variant, head):
    """Tensor by tensor: equal but for what lies between two steps and is rounded otherwise.

    Scores, and all that comes after the first block, amplify that.
    """
    simulated = aware(variant, head)
    trained = simulated.trained()
    file = AllTensors(quantize.convert(trained, "int8-full", SAMPLES))
    places = {flatbuffer.scope(name.removesuffix("/params")) for name in file.tensors}
    assert trained.quantization.ranges.keys() <= places
    for tokens, padding in ((13, 0), (37, 20)):
        sample = inputs(tokens, seed=5, padding=padding)
        seen = _outputs(simulated, sample)
        file.run(named(sample))
        compared = 0
        for name, operator, graph in flatbuffer.operators(file._model):
            output = graph.tensors[operator.outputs[0]].name.decode()
            place = flatbuffer.scope(output)
            if name not in ("FULLY_CONNECTED", "ADD", "CONCATENATION") or place not in seen:
                continue
            scale, _ = file.tensors[output]["quantization"]
            steps = np.abs(file.value(output).ravel() - seen[place].ravel()) / scale
            real = steps.reshape(-1, seen[place].shape[-1])[: tokens - padding]
            first = place.startswith(("embeddings", "block_0")) and "scores" not in place
            assert real.mean() < (0.35 if first else 4) and real.max() < (4 if first else 10)
            compared += 1
        assert compared > 20


def _outputs(simulated, sample):
    """By operation, what it writes."""
    seen, arithmetic = {}, simulated._graph.arithmetic
    quantized = type(arithmetic)._quantized

    def spy(name, x):
        seen[name] = quantized(arithmetic, name, x).numpy()
        return tf.constant(seen[name])

    arithmetic._quantized = spy
    simulated(sample)
    del arithmetic._quantized
    return seen


def test_gammas_that_folding_cannot_divide_by():
    """A residual keeps a factor, and what a gamma of 0 hides stays as it is."""
    built = start()
    gamma = next(w for w in built.weights if w.path == "block_0/output_bottleneck/norm/gamma")
    gamma.assign([0, 1e-12, -1e-4, 1e4] + [1] * (gamma.shape[0] - 4))
    simulated = QuantizationAware(built, SAMPLES)
    sample = inputs(13)
    expected = simulated._graph(*map(tf.constant, sample.values()), observing=True)["logits"]
    trained = simulated.trained()
    np.testing.assert_allclose(expected, trained(sample)["logits"], rtol=1e-3, atol=1e-5)
    assert all(np.isfinite(weight).all() for weight in trained.weights)


# ---- directories and doors -----------------------------------------------------------------


def test_a_model_directory_keeps_it(tmp_path):
    trained = learnt()[0].trained()
    save_model(trained, tmp_path / "model", TOKENIZER)
    loaded = load_model(tmp_path / "model")
    assert loaded.quantization.ranges == trained.quantization.ranges
    for name, scale in trained.quantization.scales.items():
        np.testing.assert_array_equal(loaded.quantization.scales[name], scale)
    before, after = (quantize.convert(m, "int8-full", SAMPLES) for m in (trained, loaded))
    assert before == after
    for _ in range(2):
        convert(ConvertConfig(str(tmp_path / "model"), str(tmp_path / "other"), overwrite=True))
    save_model(start(), tmp_path / "model", TOKENIZER)  # one without it replaces all
    assert load_model(tmp_path / "model").quantization is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not whole", b"\x80\x04pickle"])
def test_a_damaged_file_is_one_line(tmp_path, content):
    (tmp_path / QUANTIZATION_FILE).write_bytes(content)
    with pytest.raises(InputError, match=r"quantization\.npz is damaged: .+"):
        Quantization.load(tmp_path)


@pytest.mark.parametrize("change", [{"hidden_size": 41}, {"num_hidden_layers": 1}])
def test_another_models_file_is_one_line(tmp_path, change):
    other = learnt()[0].trained().quantization
    built = build_model(CONFIGS["student"].replace(**change), "classifier", LABELS)
    save_model(built, tmp_path / "model", TOKENIZER)
    other.save(tmp_path / "model")
    with pytest.raises(InputError, match=r"quantization\.npz belongs to another model: .+"):
        load_model(tmp_path / "model")


def test_only_models_that_fold_are_taken():
    with pytest.raises(InputError, match="--operational-optimizations makes one"):
        QuantizationAware(model("without-opt"), SAMPLES)
