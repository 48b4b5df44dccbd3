"""Each objective against numbers worked out by hand and against NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilebert_tf.training import losses

MASK = -10000.0  # what a model adds to the scores of padded keys
FEATURE_LOSSES = [
    losses.feature_map_loss,
    losses.raw_feature_map_loss,
    losses.feature_mean_loss,
    losses.feature_variance_loss,
]


def f(values):
    return np.array(values, "float32")


# --- by hand -------------------------------------------------------------------------------------

# One example, two real tokens and a padded one, two features.
TEACHER = f([[[1, 3], [0, 4], [5, 9]]])
STUDENT = f([[[3, 1], [10, 20], [-7, 2]]])
INPUT_MASK = np.array([[1, 1, 0]], "int32")
LOG_3 = np.log(3.0)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # normalised: [-1,1] against [1,-1] -> 4; [-1,1] against [-1,1] -> 0
        (losses.feature_map_loss, (4 + 0) / 2),
        # (2^2 + 2^2)/2 = 4; (10^2 + 16^2)/2 = 178
        (losses.raw_feature_map_loss, (4 + 178) / 2),
        # means 2 against 2; 2 against 15 -> 13^2
        (losses.feature_mean_loss, (0 + 169) / 2),
        # variances 1 against 1; 4 against 25
        (losses.feature_variance_loss, (0 + 21) / 2),
    ],
)
def test_feature_losses_by_hand(loss, expected):
    assert float(loss(TEACHER, STUDENT, INPUT_MASK)) == pytest.approx(expected, rel=1e-6)


def test_attention_map_loss_by_hand():
    # Teacher softmax([0, ln 3]) = [1/4, 3/4], student softmax([0, 0]) = [1/2, 1/2], both queries.
    teacher = f([[[[0, LOG_3], [0, LOG_3]]]])
    student = f([[[[0, 0], [5, 5]]]])
    mask = np.array([[1, 1]], "int32")
    # KL(teacher || student) = 1/4 ln(1/2) + 3/4 ln(3/2)
    assert float(losses.attention_map_loss(teacher, student, mask)) == pytest.approx(0.1308120)
    # KL(student || teacher) = 1/2 ln 2 + 1/2 ln(2/3): the direction matters
    assert float(losses.attention_map_loss(student, teacher, mask)) == pytest.approx(0.1438410)


def test_attention_map_loss_takes_the_softmax_once():
    """A second softmax of [1/4, 3/4] is [0.3775, 0.6225]: its divergence from 1/2 is 0.0303."""
    teacher, student = f([[[[0, LOG_3]] * 2]]), f([[[[0, 0]] * 2]])
    value = float(losses.attention_map_loss(teacher, student, np.ones((1, 2), "int32")))
    assert value == pytest.approx(0.1308120) and value > 4 * 0.0303


def test_attention_map_loss_is_a_mean_over_heads_and_real_queries():
    equal, different = [0, 0, MASK], [0, LOG_3, MASK]
    # Head 0: divergence 0.1308120 at query 0, 0 at query 1; head 1: 0 at both. Query 2 is padding.
    teacher = f([[[different, equal, different], [equal, equal, different]]])
    student = f([[[equal, equal, equal], [equal, equal, equal]]])
    value = losses.attention_map_loss(teacher, student, np.array([[1, 1, 0]], "int32"))
    assert float(value) == pytest.approx(0.1308120 / 4, rel=1e-5)


def test_masked_lm_losses_by_hand():
    logits = f([[[0, LOG_3], [LOG_3, 0], [9, -9]]])  # softmax [1/4,3/4], [3/4,1/4], padding
    ids, weights = np.array([[1, 1, 1]], "int32"), f([[1, 1, 0]])
    # -(ln 3/4 + ln 1/4) / 2
    assert float(losses.masked_lm_loss(logits, ids, weights)) == pytest.approx(0.8369882)
    # The best token is the true one at the first of two.
    assert float(losses.masked_lm_accuracy(logits, ids, weights)) == 0.5
    # The teacher's [1/4, 3/4] with a uniform student: ln 2 everywhere.
    uniform = np.zeros_like(logits)
    value = losses.masked_lm_distillation_loss(logits, uniform, weights)
    assert float(value) == pytest.approx(0.6931472)
    # Itself: the entropy 1/4 ln 4 + 3/4 ln 4/3.
    value = losses.masked_lm_distillation_loss(logits, logits, weights)
    assert float(value) == pytest.approx(0.5623351)


def test_distillation_direction_by_hand():
    # -(1/2 ln 1/4 + 1/2 ln 3/4): a uniform teacher and the student [1/4, 3/4]
    value = losses.masked_lm_distillation_loss(f([[[0, 0]]]), f([[[0, LOG_3]]]), f([[1]]))
    assert float(value) == pytest.approx(0.8369882)


def test_next_sentence_loss_by_hand():
    logits, labels = f([[0, LOG_3], [0, LOG_3]]), np.array([0, 1], "int32")
    # -(ln 1/4 + ln 3/4) / 2
    assert float(losses.next_sentence_loss(logits, labels)) == pytest.approx(0.8369882)


# --- against NumPy, odd shapes -------------------------------------------------------------------


def log_softmax(x):
    x = x.astype("float64")
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def normalize(x):
    x = x.astype("float64")
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)


def feature_oracles(teacher, student):
    """Per token, in the order of FEATURE_LOSSES."""
    t, s = teacher.astype("float64"), student.astype("float64")
    return [
        ((normalize(t) - normalize(s)) ** 2).mean(-1),
        ((t - s) ** 2).mean(-1),
        (t.mean(-1) - s.mean(-1)) ** 2,
        np.abs(t.var(-1) - s.var(-1)),
    ]


def attention_oracle(teacher, student):
    """Per query."""
    p = np.exp(log_softmax(teacher))
    return (p * (log_softmax(teacher) - log_softmax(student))).sum(-1).mean(1)


def mean_at(values, weights):
    return (values * weights).sum() / weights.sum()


def random_maps(batch=13, length=7, width=37, heads=3, seed=0):
    """Feature maps and masked scores, teacher's and student's; every row has a real token."""
    random = np.random.default_rng(seed)
    real = random.integers(1, length + 1, batch)
    mask = (np.arange(length) < real[:, None]).astype("int32")
    features = [random.normal(1, 3, (batch, length, width)).astype("float32") for _ in range(2)]
    scores = [random.normal(0, 2, (batch, heads, length, length)) for _ in range(2)]
    bias = MASK * (1 - mask[:, None, None, :])
    return features, [(s + bias).astype("float32") for s in scores], mask


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 13), st.integers(1, 7), st.integers(2, 37), st.integers(0, 99))
def test_transfer_losses_equal_numpy(batch, length, width, seed):
    (teacher, student), scores, mask = random_maps(batch, length, width, seed=seed)
    for loss, values in zip(FEATURE_LOSSES, feature_oracles(teacher, student), strict=True):
        expected = mean_at(values, mask)
        assert float(loss(teacher, student, mask)) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    expected = mean_at(attention_oracle(*scores), mask)
    assert float(losses.attention_map_loss(*scores, mask)) == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )


def test_pretraining_losses_equal_numpy():
    random = np.random.default_rng(1)
    teacher, student = random.normal(0, 3, (2, 13, 7, 37)).astype("float32")
    ids, weights = random.integers(0, 37, (13, 7)), random.integers(0, 2, (13, 7))
    log_p = log_softmax(student)
    expected = -mean_at(np.take_along_axis(log_p, ids[..., None], -1)[..., 0], weights)
    assert float(losses.masked_lm_loss(student, ids, weights)) == pytest.approx(expected, rel=1e-5)
    expected = -mean_at((np.exp(log_softmax(teacher)) * log_p).sum(-1), weights)
    value = losses.masked_lm_distillation_loss(teacher, student, weights)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    expected = mean_at(student.argmax(-1) == ids, weights)
    assert float(losses.masked_lm_accuracy(student, ids, weights)) == pytest.approx(expected)
    labels = random.integers(0, 2, 13)
    expected = -log_softmax(student[:, 0, :2])[np.arange(13), labels].mean()
    value = losses.next_sentence_loss(student[:, 0, :2], labels)
    assert float(value) == pytest.approx(expected, rel=1e-5)


# --- properties ----------------------------------------------------------------------------------


def test_equal_models_have_no_transfer_loss():
    (teacher, _), (scores, _), mask = random_maps()
    for loss in FEATURE_LOSSES:
        assert abs(float(loss(teacher, teacher, mask))) <= 1e-6
    assert abs(float(losses.attention_map_loss(scores, scores, mask))) <= 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_attention_divergence_is_not_negative(seed):
    _, (teacher, student), mask = random_maps(seed=seed)
    assert float(losses.attention_map_loss(teacher, student, mask)) > 0
    nearly = teacher + np.random.default_rng(seed).normal(0, 1e-3, teacher.shape)
    assert float(losses.attention_map_loss(teacher, nearly.astype("float32"), mask)) >= -1e-7


def test_padding_content_changes_nothing():
    (teacher, student), scores, mask = random_maps()
    random = np.random.default_rng(2)
    padded = (mask == 0)[..., None]

    def scribbled(x):
        return np.where(padded, random.normal(0, 1e9, x.shape), x).astype("float32")

    for loss in FEATURE_LOSSES:
        expected = loss(teacher, student, mask)
        assert float(loss(scribbled(teacher), scribbled(student), mask)) == float(expected)
    keys = (mask == 0)[:, None, None, :]
    noisy = [x + 50 * np.where(keys, random.uniform(-1, 1, x.shape), 0) for x in scores]
    queries = (mask == 0)[:, None, :, None]
    noisy = [np.where(queries, random.normal(0, 1e3, x.shape), x).astype("float32") for x in noisy]
    expected = float(losses.attention_map_loss(*scores, mask))
    assert float(losses.attention_map_loss(*noisy, mask)) == expected


def test_padded_predictions_change_nothing():
    random = np.random.default_rng(3)
    teacher, student, noise = random.normal(0, 3, (3, 13, 7, 37)).astype("float32")
    ids, weights = random.integers(0, 37, (13, 7)), random.integers(0, 2, (13, 7))
    padded = weights == 0
    noisy = np.where(padded[..., None], 1e9 * noise, student)
    other_ids = np.where(padded, 0, ids)
    for loss in (losses.masked_lm_loss, losses.masked_lm_accuracy):
        assert float(loss(noisy, other_ids, weights)) == float(loss(student, ids, weights))
    loss = losses.masked_lm_distillation_loss
    assert float(loss(1e9 * teacher * padded[..., None] + teacher, noisy, weights)) == float(
        loss(teacher, student, weights)
    )


def test_nothing_but_padding_is_zero():
    (teacher, student), scores, mask = random_maps()
    none = np.zeros_like(mask)
    values = [loss(teacher, student, none) for loss in FEATURE_LOSSES]
    values.append(losses.attention_map_loss(*scores, none))
    values.append(losses.masked_lm_loss(student, none, none))
    values.append(losses.masked_lm_distillation_loss(teacher, student, none))
    values.append(losses.masked_lm_accuracy(student, none, none))
    assert [float(value) for value in values] == [0.0] * len(values)


def test_gradient_is_zero_at_equality():
    (features, _), (scores, _), mask = random_maps()
    for loss, x in [
        (losses.feature_map_loss, features),
        (losses.raw_feature_map_loss, features),
        (losses.feature_mean_loss, features),
        (losses.feature_variance_loss, features),
        (losses.attention_map_loss, scores),
    ]:
        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(x.numpy(), x, mask)
        assert np.abs(tape.gradient(value, x)).max() <= 1e-8, loss.__name__


def test_constant_features_stay_finite():
    """A feature map without variance (all zero, say) must not divide by zero."""
    (teacher, student), _, mask = random_maps()
    student = tf.zeros_like(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = losses.feature_map_loss(teacher, student, mask)
    assert np.isfinite(float(value)) and np.isfinite(tape.gradient(value, student)).all()


def test_half_precision_inputs_give_float32_losses():
    (teacher, student), scores, mask = random_maps()
    half = [tf.cast(x, "bfloat16") for x in (teacher, student, *scores)]
    for loss in FEATURE_LOSSES:
        value = loss(half[0], half[1], mask)
        assert value.dtype == tf.float32
        assert float(value) == pytest.approx(float(loss(teacher, student, mask)), rel=0.05)
    assert losses.attention_map_loss(half[2], half[3], mask).dtype == tf.float32
