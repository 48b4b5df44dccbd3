"""LAMB and its schedule against NumPy in float64, and the rate of each layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf.training.optimizer import Lamb, WarmupLinearDecay

NAMES = ("kernel", "bias", "gamma", "beta", "output_bias", "word_embeddings", "zero_kernel")
SHAPES = ((13, 7), (7,), (37,), (37,), (5,), (11, 3), (3, 2))
PLAIN = {"bias", "gamma", "beta", "output_bias"}  # neither decay nor layer adaptation


def variables():
    random = np.random.default_rng(0)
    values = [random.normal(0, 1, shape).astype("float32") for shape in SHAPES]
    values[-1] *= 0  # a weight of norm 0: trust ratio 1
    return [keras.Variable(x, name=name) for x, name in zip(values, NAMES, strict=True)]


def gradients(steps, scale=1.0):
    random = np.random.default_rng(1)
    return [[(scale * random.normal(0, 1, shape)).astype("float32") for shape in SHAPES]
            for _ in range(steps)]  # fmt: skip


def lamb(values, steps_of_gradients, rate, decay, clip=None, beta_1=0.9, beta_2=0.999, eps=1e-6):
    """You et al. (2020), algorithm 2, as in google-research's lamb_optimizer.py."""
    values = [x.astype("float64") for x in values]
    first, second = ([np.zeros_like(x) for x in values] for _ in range(2))
    for step, grads in enumerate(steps_of_gradients):
        grads = [g.astype("float64") for g in grads]
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        if clip and norm > clip:
            grads = [g * clip / norm for g in grads]
        for i, (name, g) in enumerate(zip(NAMES, grads, strict=True)):
            first[i] = beta_1 * first[i] + (1 - beta_1) * g
            second[i] = beta_2 * second[i] + (1 - beta_2) * g * g
            update, ratio = first[i] / (np.sqrt(second[i]) + eps), 1.0
            if name not in PLAIN:
                update = update + decay * values[i]
                w_norm, u_norm = np.linalg.norm(values[i]), np.linalg.norm(update)
                ratio = w_norm / u_norm if w_norm > 0 and u_norm > 0 else 1.0
            values[i] = values[i] - rate(step) * ratio * update
    return values


def numbers(variables):
    return [variable.numpy().copy() for variable in variables]


def train(optimizer, steps_of_gradients, in_graph=False):
    trained = variables()
    optimizer.build(trained)

    def step(grads):
        optimizer.apply(grads, trained)

    step = tf.function(step) if in_graph else step
    for grads in steps_of_gradients:
        step([tf.constant(g) for g in grads])
    return numbers(trained)


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("steps", [1, 4])
def test_steps_equal_numpy(steps, in_graph):
    optimizer = Lamb(0.01, weight_decay_rate=0.3, clip_norm=None)
    expected = lamb(numbers(variables()), gradients(steps), lambda step: 0.01, 0.3)
    for name, x, y in zip(
        NAMES, train(optimizer, gradients(steps), in_graph), expected, strict=True
    ):
        np.testing.assert_allclose(x, y, rtol=2e-6, atol=2e-7, err_msg=name)


def test_clipping_is_by_the_global_norm():
    # One step of huge gradients would look alike with or without clipping: the second tells.
    steps = [gradients(2, 100.0)[0], gradients(2, 0.01)[1]]
    expected = lamb(numbers(variables()), steps, lambda step: 0.01, 0.01, clip=1.0)
    unclipped = lamb(numbers(variables()), steps, lambda step: 0.01, 0.01)
    actual = train(Lamb(0.01, clip_norm=1.0), steps)
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-6, atol=2e-7)
    assert max(np.abs(x - y).max() for x, y in zip(actual, unclipped, strict=True)) > 1e-3


def test_small_gradients_are_not_clipped():
    steps = gradients(2, 1e-3)
    for x, y in zip(
        train(Lamb(0.01), steps), train(Lamb(0.01, clip_norm=None), steps), strict=True
    ):
        np.testing.assert_array_equal(x, y)


def test_zero_gradient_decays_kernels_only():
    zeros = [[np.zeros(shape, "float32") for shape in SHAPES]]
    for name, before, after in zip(
        NAMES, numbers(variables()), train(Lamb(0.1, weight_decay_rate=0.01), zeros), strict=True
    ):
        # Trust ratio |w| / |0.01 w| = 100: the update is the whole weight, times the rate.
        expected = before if name in PLAIN else 0.9 * before
        np.testing.assert_allclose(after, expected, rtol=1e-6, err_msg=name)


def test_schedule_is_followed():
    schedule = WarmupLinearDecay(0.02, 4, 2, 0.1)
    expected = lamb(numbers(variables()), gradients(4), lambda i: [0.01, 0.02, 0.02, 0.011][i], 0)
    actual = train(Lamb(schedule, weight_decay_rate=0.0, clip_norm=None), gradients(4))
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-6, atol=2e-7)


# --- the rate of each layer ----------------------------------------------------------------------


def updates(rates, scale=1.0):
    before = numbers(variables())
    after = train(Lamb(0.5, rates=rates, clip_norm=None), gradients(1, scale))
    return {name: b - a for name, a, b in zip(NAMES, after, before, strict=True)}


def test_rate_multiplies_the_update():
    full, slow = updates({}), updates(dict.fromkeys(NAMES, 0.1))
    for name in NAMES:
        np.testing.assert_allclose(slow[name], 0.1 * full[name], rtol=1e-5, atol=1e-6)
        assert np.abs(full[name]).max() > 0.1
    # From zero the difference of the weights is the update itself, without rounding.
    np.testing.assert_allclose(slow["zero_kernel"], 0.1 * full["zero_kernel"], rtol=1e-6)


def test_rate_is_of_its_own_variable_only():
    full, mixed = updates({}), updates({"kernel": 0.1, "beta": 0.0})
    for name in set(NAMES) - {"kernel", "beta"}:
        np.testing.assert_array_equal(mixed[name], full[name])
    assert not mixed["beta"].any() and mixed["kernel"].any()


def test_rate_zero_freezes_bit_for_bit():
    assert not any(update.any() for update in updates(dict.fromkeys(NAMES, 0.0)).values())


def test_gradient_scale_cancels_out_and_so_cannot_be_the_rate():
    # Both far above epsilon, which is all that a scale could touch.
    full, scaled = updates({}, scale=1e3), updates({}, scale=1e6)
    for name in NAMES:
        np.testing.assert_allclose(scaled[name], full[name], rtol=1e-4, atol=1e-5)


def test_rates_are_by_path():
    with keras.name_scope("block_0"):
        lower = keras.Variable(np.zeros(3, "float32"), name="kernel")
    with keras.name_scope("block_1"):
        upper = keras.Variable(np.zeros(3, "float32"), name="kernel")
    optimizer = Lamb(0.5, rates={"block_0/kernel": 0.1})
    optimizer.build([lower, upper])
    optimizer.apply([tf.ones(3), tf.ones(3)], [lower, upper])
    np.testing.assert_allclose(numbers([lower])[0], 0.1 * numbers([upper])[0], rtol=1e-6)


# --- the schedule --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.2),  # 2 * 1/10: the first update already moves
        (4, 1.0),  # 2 * 5/10
        (9, 2.0),  # warm-up ends at the peak
        (10, 2.0),  # the decay has 100 steps, from 1 to 0.1 after the last one
        (60, 2.0 * (0.1 + 0.9 * 0.5)),  # half of them
        (109, 2.0 * (0.1 + 0.9 / 100)),  # the last update
        (110, 0.2),
        (10_000, 0.2),  # and beyond
    ],
)
def test_schedule_by_hand(step, expected):
    schedule = WarmupLinearDecay(peak=2.0, steps=110, warmup_steps=10, end_factor=0.1)
    assert float(schedule(step)) == pytest.approx(expected, rel=1e-6)


def test_schedule_without_warmup_or_decay():
    rates = [float(WarmupLinearDecay(2.0, 4, 0, 0.0)(step)) for step in range(4)]
    assert rates == pytest.approx(
        [2.0, 1.5, 1.0, 0.5]
    )  # a step with the rate 0 would train nothing
    assert float(WarmupLinearDecay(2.0, 1, 0, 0.0)(0)) == 2.0


# --- serialization -------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.25, WarmupLinearDecay(2.0, 7, 3, 0.1)])
def test_serialization_round_trip(rate):
    optimizer = Lamb(rate, 0.2, 0.8, 0.9, 1e-3, {"kernel": 0.5}, clip_norm=0.7, name="other")
    config = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, Lamb)
    assert keras.saving.serialize_keras_object(again) == config
    steps = gradients(3)
    for x, y in zip(train(again, steps), train(optimizer, steps), strict=True):
        np.testing.assert_array_equal(x, y)
