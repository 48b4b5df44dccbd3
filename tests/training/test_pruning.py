"""Structured pruning: the neurons that count least go, and the others make up for them."""

import numpy as np
import pytest
from support.lite_files import named
from support.models import VARIANTS, inputs, model, random_model, with_positions

from mobilebert_tf.training.dense_inputs import input_squares
from mobilebert_tf.training.pruning import fitted, prune
from mobilebert_tf.training.run_config import Phase

NO_STEPS = Phase(steps=0)


@pytest.mark.parametrize(
    ("variant", "head"),
    [("student", "span"), ("without-opt", "pretraining"), ("bert", "classifier")],
)
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


def test_what_is_watched_is_what_the_layers_read():
    built, text = model("without-opt", "span"), inputs(13)  # no norm is folded
    found = input_squares(built, [named(text), named(text)])
    hidden = np.asarray(built(text, training=False)["sequence_output"])[0]
    np.testing.assert_allclose(found["span",], 2 * hidden.T @ hidden, rtol=1e-3)
    config = built.config
    outputs = [key for key in found if "/feed_forward_" in key[0] and "/output/" in key[0]]
    assert len(outputs) == config.num_hidden_layers * config.num_feedforward_networks
    sizes = {found[key].shape for key in outputs}
    assert sizes == {(config.intermediate_size, config.intermediate_size)}
