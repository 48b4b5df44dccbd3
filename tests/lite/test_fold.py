"""The NoNorm algebra: the same outputs without norms, whatever the gammas and the free scales."""

import numpy as np
import pytest
from support.lite_files import named
from support.models import VARIANTS, inputs, random_model
from support.texts import LABELS

from mobilebert_tf import build_model
from mobilebert_tf.lite.fold import LARGEST_SCALE, fold
from mobilebert_tf.lite.graph import InferenceGraph
from mobilebert_tf.lite.tensorflow_graph import trace

NO_NORM = {
    name: config.replace(normalization_type="no_norm", hidden_act="relu")
    for name, config in VARIANTS.items()
}
GAMMAS = {
    "usual": lambda random, shape: random.uniform(0.5, 1.5, shape),
    "negative": lambda random, shape: (
        random.uniform(0.5, 1.5, shape) * random.choice([-1, 1], shape)
    ),
    "small": lambda random, shape: np.full(shape, 0.02),
    "large": lambda random, shape: np.full(shape, 3.0),
    "tiny": lambda random, shape: random.choice([1e-12, 1.0], shape),
    "zero": lambda random, shape: random.choice([0.0, -0.0, 1.0], shape),
}


def model(variant, head="classifier", gammas="usual"):
    random = np.random.default_rng(1)
    built = random_model(NO_NORM[variant], head, seed=1, scale=0.2)
    for variable in built.variables:
        if variable.path.endswith("gamma"):
            variable.assign(GAMMAS[gammas](random, variable.shape))
    return built


def last_hidden(graph, sample):
    """The last block's output, at the model's own scale: [T,H]."""
    graph._encoder = lambda hidden: hidden
    graph._block = with_all_rows(graph._block)
    hidden = graph(**named(sample))
    return (hidden * graph.weights.get("output_scale", 1.0)).numpy()


def with_all_rows(block):
    return lambda name, hidden, bias, first_row: block(name, hidden, bias, False)


def assert_near(values, expected, limit=1e-5):
    assert np.abs(values - expected).max() < limit * np.abs(expected).max()


@pytest.mark.parametrize("gammas", GAMMAS)
@pytest.mark.parametrize("variant", NO_NORM)
def test_folded_graph_equals_the_model(variant, gammas):
    keras_model, sample = model(variant, "span", gammas), inputs(13, padding=3)
    outputs = keras_model(sample, training=False)
    graph = InferenceGraph(keras_model)
    logits = graph(**named(sample))
    for name in ("start_logits", "end_logits"):
        assert_near(logits[name], outputs[name])
    keras_model.head = type(keras_model.head)()
    bare = InferenceGraph(keras_model, "encoder")
    if "pooler/dense/kernel" not in bare.weights:
        assert_near(last_hidden(bare, sample), outputs["sequence_output"][0])


@pytest.mark.parametrize("variant", ["bert", "student"])
def test_tied_output_words_are_not_scaled(variant):
    keras_model, sample = model(variant, "masked_lm"), inputs(13)
    every = sample | {"masked_lm_positions": np.arange(13, dtype=np.int32)[None]}
    logits = InferenceGraph(keras_model)(**named(sample))
    assert_near(logits["mlm_logits"], keras_model(every, training=False)["mlm_logits"])


def random_scales(config, random, sign=1):
    """Random values for every scale that is free."""
    size, inner = config.hidden_size, config.attention_size
    scales = {"hidden": random.uniform(0.2, 5, size) * sign}
    for block in range(config.num_hidden_layers):
        for bottleneck in ("input_bottleneck", "shared_bottleneck"):
            scales[f"block_{block}/{bottleneck}"] = random.uniform(0.2, 5, inner) * sign
        scales[f"block_{block}/attention/value"] = random.uniform(0.2, 5, inner) * sign
        for index in range(config.num_feedforward_networks):
            name = f"block_{block}/feed_forward_{index}/intermediate"
            scales[name] = random.uniform(0.2, 5, config.intermediate_size)
    return scales


@pytest.mark.parametrize("variant", NO_NORM)
def test_free_scales_change_nothing(variant):
    keras_model, sample = model(variant, "span"), inputs(13, padding=3)
    expected = keras_model(sample, training=False)["start_logits"]
    for sign in (1, -1):
        scales = random_scales(keras_model.config, np.random.default_rng(0), sign)
        graph = InferenceGraph(keras_model, scales=scales)
        logits = graph(**named(sample))["start_logits"]
        assert_near(logits, expected)


@pytest.mark.parametrize("variant", NO_NORM)
@pytest.mark.parametrize("gammas", ["usual", "negative"])
def test_no_norm_is_left(variant, gammas):
    keras_model = model(variant, gammas=gammas)
    weights = InferenceGraph(keras_model).weights
    assert not [name for name in weights if "norm/" in name or name == "output_scale"]


def test_tiny_gammas_leave_bounded_factors():
    weights = InferenceGraph(model("student", gammas="tiny")).weights
    factors = {name: value for name, value in weights.items() if name.endswith("norm/gamma")}
    assert factors and not [name for name in weights if name.endswith("norm/beta")]
    assert max(np.abs(value).max() for value in factors.values()) <= LARGEST_SCALE
    assert all(np.isfinite(value).all() for value in weights.values())


def test_small_gammas_keep_weights_in_the_range_of_float16():
    weights = InferenceGraph(model("student", gammas="small")).weights
    largest = max(np.abs(value).max() for value in weights.values())
    assert largest < np.finfo(np.float16).max / 16


def test_layer_norm_stays():
    built = build_model(VARIANTS["without-opt"], "classifier", LABELS)
    before = {variable.path: variable.numpy() for variable in built.weights}
    after = fold(before, built.config, "classifier")
    assert after.keys() == before.keys()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert all("attention/query" in name for name in changed)  # 1 / sqrt(head size)


@pytest.mark.parametrize("head", ["classifier", "encoder"])
def test_last_block_computes_one_row(head):
    graph = InferenceGraph(model("student", head), head if head == "encoder" else None)
    operations = trace(graph, 13).graph.get_operations()
    products = [op for op in operations if op.type == "MatMul"]
    last = [op.outputs[0].shape[0] for op in products if "block_1/" in op.name]
    assert last[:2] == [13, 13] and set(last[2:]) == {1}  # the inputs of attention; the rest
