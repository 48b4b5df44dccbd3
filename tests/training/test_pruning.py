"""Structured pruning: the neurons that count least go, and the others make up for them."""

import numpy as np
import pytest
from support.models import VARIANTS, inputs, model, random_model, with_positions

from mobilebert_tf.training.pruning import _squares, fitted, prune
from mobilebert_tf.training.run_config import Phase

NO_STEPS = Phase(steps=0)


def texts(count):
    return [inputs(tokens, seed) for seed in range(count) for tokens in (7, 13)]


def networks(config):
    for block in range(config.num_hidden_layers):
        for index in range(config.num_feedforward_networks):
            yield f"block_{block}/feed_forward_{index}"


@pytest.mark.parametrize("variant", ["student", "without-opt", "bert"])
@pytest.mark.parametrize("head", ["span", "pretraining"])
def test_neurons_that_never_fire_cost_nothing(variant, head):
    config = VARIANTS[variant]
    built, size = random_model(config, head), config.intermediate_size
    silent = np.random.default_rng(1).permutation(size)[: size // 4]
    for weight in built.weights:
        if weight.path.endswith("intermediate/bias"):
            bias = np.array(weight)
            bias[silent] = -1e6
            weight.assign(bias)
    text = inputs(13, seed=99)
    pruned = prune(built, [text], 0.25, NO_STEPS)
    assert pruned.config == config.replace(intermediate_size=size - size // 4)
    arrays = with_positions(built, text)
    wanted, found = (each(arrays, training=False)["sequence_output"] for each in (built, pruned))
    # The ridge moves the weights that stay by nothing, as nothing is missing.
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_the_others_make_up_for_the_missing_as_least_squares_does():
    random = np.random.default_rng(0)
    x = random.normal(size=[500, 6]) @ random.normal(size=[6, 6])
    kernel, kept = random.normal(size=[6, 3]), np.array([0, 2, 5])
    found = fitted(kernel, x.T @ x, kept)
    solution = np.linalg.lstsq(x[:, kept], x @ kernel, rcond=None)[0]
    errors = [np.square(x[:, kept] @ k - x @ kernel).sum() for k in (found, solution, kernel[kept])]
    assert errors[1] <= errors[0] < 1.01 * errors[1] < errors[2]


def test_what_is_watched_are_the_neurons_of_each_network():
    built, texts_ = model("student", "span"), texts(2)
    found = _squares(built, texts_)
    assert set(found) == set(networks(built.config))
    block = built.get_layer("block_0")
    network, seen = block.feed_forward[0], []
    inner = network.intermediate.call
    network.intermediate.call = lambda x: seen.append(np.asarray(inner(x))) or seen[-1]
    try:
        for text in texts_:
            hidden = built(text, training=False)["hidden_states"][0]
            block(hidden, np.zeros([1, 1, 1, 1], np.float32))
    finally:
        network.intermediate.call = inner
    neurons = np.concatenate([x.reshape(-1, x.shape[-1]) for x in seen])
    expected = neurons.T @ neurons
    np.testing.assert_allclose(
        found["block_0/feed_forward_0"], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
    )


def test_same_seed_same_bits():
    built = model("student", "span")
    pair = [prune(built, texts(4), 0.5, Phase(2), seed=1) for _ in range(2)]
    for ours, theirs in zip(*(each.weights for each in pair), strict=True):
        np.testing.assert_array_equal(ours, theirs)
