"""The model: sizes, layers by hand, padding, heads."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import (
    SCALE,
    STUDENT,
    TEACHER,
    VARIANTS,
    inputs_of,
    models_of_heads,
    random_model,
)

from mobilebert_tf import InputError, build_model
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.modeling.layers import (
    ATTENTION_MASK,
    Attention,
    Block,
    Embeddings,
    FeedForward,
    NoNorm,
)


@pytest.fixture(scope="module", params=VARIANTS)
def model(request):
    return random_model(VARIANTS[request.param], "pretraining", scale=SCALE)


@pytest.fixture(scope="module")
def models():
    return models_of_heads()


def real_outputs(model, inputs, limit=None):
    """Every output where it means something, as one list of arrays."""
    outputs = model(inputs, training=False)
    mask = inputs["input_mask"][:, :limit].astype(bool)
    pairs = mask[:, None, :, None] & mask[:, None, None, :]
    found = [np.asarray(x)[:, :limit][mask] for x in outputs["hidden_states"]]
    for scores in outputs["attention_scores"]:
        scores = np.asarray(scores)[:, :, :limit, :limit]
        found.append(scores[np.broadcast_to(pairs, scores.shape)])
    return found + [np.asarray(outputs[name]) for name in sorted(outputs) if "_logits" in name] + [
        np.asarray(outputs["pooled_output"])
    ]  # fmt: skip


# --- sizes ---------------------------------------------------------------------------------------


def parameters(layer):
    return sum(math.prod(weight.shape) for weight in layer.weights)


def encoder_parameters(config):
    """Of the layers themselves, one block for all: the whole teacher would take 1.2 GB."""
    embeddings, block = Embeddings(config), Block(config)
    embeddings.build((None, None), (None, None), (None, None))
    block.build((None, None, config.hidden_size), (None, 1, 1, None))
    return parameters(embeddings) + config.num_hidden_layers * parameters(block)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("mobilebert", 24_581_888),
        ("mobilebert-tiny", 15_485_696),
        ("mobilebert-without-opt", 24_581_888),
        ("ib-bert-large", 294_205_184),
    ],
)
def test_encoder_parameters(size, expected):
    assert encoder_parameters(SIZES[size]) == SIZES[size].encoder_parameters == expected


def test_model_has_the_parameters_of_its_layers(model):
    encoder = [layer for layer in model.layers if layer.name.startswith(("embed", "block"))]
    assert sum(map(parameters, encoder)) == encoder_parameters(model.config)
    assert sum(map(parameters, encoder)) == model.config.encoder_parameters
    assert len(encoder) == 1 + model.config.num_hidden_layers


def test_output_shapes(model):
    config = model.config
    outputs = model(inputs_of(model), training=False)
    width, layers, heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
    assert outputs["sequence_output"].shape == (3, 13, width)
    assert outputs["pooled_output"].shape == (3, width)
    assert [x.shape for x in outputs["hidden_states"]] == [(3, 13, width)] * (layers + 1)
    assert [x.shape for x in outputs["attention_scores"]] == [(3, heads, 13, 13)] * layers
    assert outputs["mlm_logits"].shape == (3, 2, config.vocab_size)
    assert outputs["nsp_logits"].shape == (3, 2)


# --- layers by hand ------------------------------------------------------------------------------


def test_no_norm_by_hand():
    norm = NoNorm()
    norm.build((None, 3))
    np.testing.assert_array_equal(norm(np.array([[1.0, 2.0, 3.0]])), [[1, 2, 3]])
    norm.gamma.assign([2, 3, 4])
    norm.beta.assign([1, 0, -1])
    np.testing.assert_array_equal(norm(np.array([[1.0, 2.0, 3.0]])), [[3, 6, 11]])


def test_trigram_is_next_self_previous():
    config = STUDENT.replace(vocab_size=5, embedding_size=5, hidden_size=15)
    embeddings = Embeddings(config)
    embeddings.build((None, None), (None, None), (None, None))
    for weight in embeddings.weights:
        weight.assign(np.zeros(weight.shape))
    embeddings.word_embeddings.assign(np.eye(5))
    embeddings.embedding_transformation.kernel.assign(np.eye(15))
    embeddings.norm.gamma.assign(np.ones(15))
    ids, ones = np.array([[1, 2, 3]], "int32"), np.ones((1, 3), "int32")
    out = np.asarray(embeddings(ids, ones, 0 * ones)).reshape(3, 3, 5)  # token, gram, one-hot
    one_hot, none = np.eye(5), np.zeros(5)
    np.testing.assert_array_equal(out[0], [one_hot[2], one_hot[1], none])
    np.testing.assert_array_equal(out[1], [one_hot[3], one_hot[2], one_hot[1]])
    np.testing.assert_array_equal(out[2], [none, one_hot[3], one_hot[2]])
    # Padding is token 0 to its left neighbour, whatever id stands there.
    out = np.asarray(embeddings(ids, np.array([[1, 1, 0]], "int32"), 0 * ones)).reshape(3, 3, 5)
    np.testing.assert_array_equal(out[1], [one_hot[0], one_hot[2], one_hot[1]])


def test_attention_scores_by_hand():
    """q k / sqrt(2) of one head of two features, and ATTENTION_MASK at a padded key."""
    config = STUDENT.replace(num_attention_heads=1, intra_bottleneck_size=2)
    attention = Attention(config)
    attention.build((None, None, 2), (None, None, 2), (None, None, 2), (None, 1, 1, None))
    for weight in attention.weights:
        weight.assign(np.zeros(weight.shape))
    attention.query.kernel.assign(np.eye(2))
    attention.key.kernel.assign(2 * np.eye(2))
    attention.value.kernel.assign(np.eye(2))
    attention.output_layer.dense.kernel.assign(np.eye(2))
    attention.output_layer.norm.gamma.assign(np.ones(2))
    x = np.array([[[1.0, 0.0], [0.0, 3.0], [9.0, 9.0]]], "float32")
    padding = np.array([[[[0.0, 0.0, 1.0]]]], "float32")
    out, scores = attention(x, x, 0 * x, padding)
    expected = np.array([[2, 0, 18], [0, 18, 54], [18, 54, 324]]) / np.sqrt(2)
    expected += [0, 0, ATTENTION_MASK]
    np.testing.assert_allclose(scores[0, 0], expected, rtol=1e-6)
    weights = np.exp([2 / np.sqrt(2), 0]) / np.exp([2 / np.sqrt(2), 0]).sum()
    np.testing.assert_allclose(out[0, 0], [weights[0], 3 * weights[1]], rtol=1e-6)


def test_feed_forward_by_hand():
    config = STUDENT.replace(intra_bottleneck_size=2, intermediate_size=3)
    layer = FeedForward(config)
    layer.build((None, None, 2))
    layer.intermediate.kernel.assign([[1, -1, 0], [0, 0, 2]])
    layer.intermediate.bias.assign([0, 0, -1])
    layer.output_layer.dense.kernel.assign([[1, 0], [5, 5], [0, 1]])
    layer.output_layer.norm.gamma.assign([2, 2])
    # relu([1, -1, 2*3-1]) = [1, 0, 5]; dense -> [1, 5]; + residual -> [2, 8]; times gamma
    np.testing.assert_allclose(layer(np.array([[[1.0, 3.0]]])), [[[4, 16]]])


def test_pooler_with_and_without_activation():
    for activation in (True, False):
        config = STUDENT.replace(classifier_activation=activation, num_hidden_layers=1)
        model = random_model(config, scale=SCALE)
        outputs = model(inputs_of(model), training=False)
        first = np.asarray(outputs["sequence_output"])[:, 0]
        if activation:
            dense = model.get_layer("pooler").dense
            first = np.tanh(first @ dense.kernel.numpy() + dense.bias.numpy())
        np.testing.assert_allclose(outputs["pooled_output"], first, rtol=1e-5, atol=1e-6)


def test_masked_lm_logits_by_numpy(model):
    outputs = model(inputs_of(model), training=False)
    head, config = model.get_layer("masked_lm"), model.config
    x = np.asarray(outputs["sequence_output"])[:, 0].astype("float64")
    x = x @ head.transform.kernel.numpy() + head.transform.bias.numpy()
    erf = np.vectorize(math.erf)
    x = {
        "relu": lambda x: np.maximum(x, 0),
        "gelu": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
        "gelu_erf": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    }[config.hidden_act](x)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    x = x * head.norm.gamma.numpy() + head.norm.beta.numpy()
    table = model.get_layer("embeddings").word_embeddings.numpy()  # [V,E]
    if head.extra_output_weights is not None:
        table = np.concatenate([table, head.extra_output_weights.numpy()], axis=1)  # [V,H]
    expected = x @ table.T + head.output_bias.numpy()
    np.testing.assert_allclose(outputs["mlm_logits"][:, 0], expected, rtol=1e-4, atol=1e-4)


def test_heads(models):
    outputs = {head: model(inputs_of(model), training=False) for head, model in models.items()}
    assert "logits" not in outputs[None] and "mlm_logits" not in outputs[None]
    assert outputs["classifier"]["logits"].shape == (3, 3)
    assert outputs["span"]["start_logits"].shape == outputs["span"]["end_logits"].shape == (3, 13)
    head = models["span"].get_layer("span")
    expected = outputs["span"]["sequence_output"] @ head.kernel.numpy() + head.bias.numpy()
    np.testing.assert_allclose(outputs["span"]["start_logits"], expected[..., 0], rtol=1e-5)
    np.testing.assert_allclose(outputs["span"]["end_logits"], expected[..., 1], rtol=1e-5)


def test_bad_head():
    with pytest.raises(InputError, match="no head named 'speling'; heads: encoder"):
        build_model(STUDENT, "speling")
    with pytest.raises(InputError, match="two labels"):
        build_model(STUDENT, "classifier", ["only"])


def test_dropout_only_in_training():
    model = build_model(TEACHER.replace(num_hidden_layers=1))
    inputs = inputs_of(model)
    first, second = (model(inputs, training=False)["sequence_output"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    noisy = model(inputs, training=True)["sequence_output"]
    assert np.abs(np.asarray(noisy) - first).max() > 1e-3


# --- padding -------------------------------------------------------------------------------------


def test_padding_content_changes_nothing(model):
    inputs = inputs_of(model, noise=False)
    expected = real_outputs(model, inputs)
    for seed in range(3):
        noise, padded = inputs_of(model, seed=seed + 1), inputs["input_mask"] == 0
        other = dict(inputs)
        for name in ("input_ids", "segment_ids"):
            other[name] = np.where(padded, noise[name], inputs[name])
            assert (other[name] != inputs[name]).any()
        for x, y in zip(real_outputs(model, other), expected, strict=True):
            np.testing.assert_array_equal(x, y)


def test_amount_of_padding_changes_nothing(model):
    longest = inputs_of(model, width=37)
    expected = real_outputs(model, longest, limit=8)
    for length in (8, 13):
        shorter = {name: x[:, :length] for name, x in longest.items()}
        for x, y in zip(real_outputs(model, shorter, limit=8), expected, strict=True):
            assert np.abs(x - y).max() <= 1e-5 * np.abs(y).max()


def test_a_row_does_not_depend_on_the_others(model):
    inputs = inputs_of(model)
    together = model(inputs, training=False)
    for row in range(3):
        alone = model({name: x[row : row + 1] for name, x in inputs.items()}, training=False)
        for x, y in zip(tf.nest.flatten(alone), tf.nest.flatten(together), strict=True):
            y = np.asarray(y)[row : row + 1]
            assert np.abs(x - y).max() <= 1e-5 * np.abs(y).max()


def test_a_row_of_padding_alone_stays_finite(model):
    outputs = model(inputs_of(model, (0, 3)), training=False)
    assert all(np.isfinite(x).all() for x in tf.nest.flatten(outputs))


def test_a_real_token_does_change_the_others(model):
    """Or the padding tests would prove nothing."""
    inputs = inputs_of(model, (13, 13))
    changed = {name: x.copy() for name, x in inputs.items()}
    changed["input_ids"][:, 12] = (inputs["input_ids"][:, 12] + 1) % model.config.vocab_size
    x, y = (model(i, training=False)["sequence_output"][:, 0] for i in (inputs, changed))
    assert np.abs(np.asarray(x) - y).max() > 1e-4


# --- lengths -------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([1, 2, 7, 13, 36, 37]), st.integers(1, 3))
def test_any_length(models, length, rows):
    outputs = models[None](inputs_of(models[None], (length,) * rows, length))
    assert outputs["sequence_output"].shape == (rows, length, 24)
    assert np.isfinite(outputs["sequence_output"]).all()


def test_too_long_names_max_position_embeddings(models):
    with pytest.raises(InputError, match="max_position_embeddings"):
        models[None](inputs_of(models[None], width=38))


def test_too_long_for_one_position():
    model = build_model(STUDENT.replace(max_position_embeddings=1, num_hidden_layers=1))
    with pytest.raises(Exception, match="max_position_embeddings|Incompatible"):
        model(inputs_of(model, width=7))


# --- mixed precision -----------------------------------------------------------------------------


def test_mixed_precision_trains_a_step():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build_model(STUDENT.replace(num_hidden_layers=1), "pretraining")
    assert {weight.dtype for weight in model.weights} == {"float32"}
    before = [weight.numpy() for weight in model.trainable_weights]
    with tf.GradientTape() as tape:
        outputs = model(inputs_of(model), training=True)
        logits = outputs["mlm_logits"]
        loss = -tf.reduce_mean(tf.nn.log_softmax(logits)[..., 7])
    assert outputs["sequence_output"].dtype == "bfloat16" and logits.dtype == "float32"
    assert all(scores.dtype == "float32" for scores in outputs["attention_scores"])
    weights = [w for w in model.trainable_weights if not w.path.startswith("next_sentence")]
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    keras.optimizers.Adam().apply([tf.convert_to_tensor(g) for g in gradients], weights)
    assert np.isfinite(float(loss))
    assert all(np.isfinite(weight.numpy()).all() for weight in weights)
    changed = [(w.numpy() != x).any() for w, x in zip(model.trainable_weights, before, strict=True)]
    assert sum(changed) >= len(weights) - 2  # key biases have no gradient but rounding
