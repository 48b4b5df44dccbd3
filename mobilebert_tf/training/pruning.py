"""Takes neurons out of a trained model's feed-forward networks (structured pruning).

Of each network those neurons stay whose outputs count most on texts. The others' share of the
network's output, as far as it goes together with the neurons that stay, is added to the weights of
these, by least squares. A short distillation from the original then reduces the error that remains.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from mobilebert_tf.errors import InputError, require
from mobilebert_tf.lite.arithmetic import Arithmetic
from mobilebert_tf.lite.calibration_data import for_graph, joined
from mobilebert_tf.lite.graph import InferenceGraph
from mobilebert_tf.lite.least_squares import ridge_solution
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.training.recovery import FITTED_TEXTS, RIDGE, recover
from mobilebert_tf.training.run_config import Phase


def prune(
    model: MobileBert,
    samples: Sequence[dict[str, np.ndarray]],
    share: float,
    phase: Phase,
    seed: int = 0,
) -> MobileBert:
    """Returns a copy of `model` with a smaller intermediate size.

    Args:
        model: with any norm and activation.
        samples: texts: input_ids, input_mask, segment_ids, int32 [1,T] each, without padding.
        share: of the neurons that go, from 0 to 1.
        phase: steps and optimizer of the distillation.
        seed: of the distillation's order and dropout.

    Raises InputError for a share of less than one neuron, and for a model of quantization-aware
    training, which would lose what was trained.
    """
    if model.quantization is not None:
        raise InputError(
            "`prune` would lose what quantization-aware training taught: prune the model that it "
            "began with, and train that one"
        )
    config = model.config
    size = max(round((1 - share) * config.intermediate_size), 1)
    enough = f"enough to take one of {config.intermediate_size} neurons"
    require(size < config.intermediate_size, "prune", share, enough)
    keras.utils.set_random_seed(seed)
    pruned = MobileBert(config.replace(intermediate_size=size), model.head)
    values = {weight.path: weight.numpy() for weight in model.weights}
    for layer, squares in neuron_squares(model, samples[:FITTED_TEXTS]).items():
        inner, outer = f"{layer}/intermediate", f"{layer}/output/dense/kernel"
        kernel = values[outer]  # [neurons,I]
        counts = np.diag(squares) * np.square(kernel).sum(axis=1)
        kept = np.sort(np.argsort(-counts, kind="stable")[:size])
        values[outer] = fitted(kernel, squares, kept)
        for name in ("kernel", "bias"):
            values[f"{inner}/{name}"] = values[f"{inner}/{name}"][..., kept]
    for weight in pruned.weights:
        if "seed_generator" not in weight.path:
            weight.assign(values[weight.path])
    recover(model, pruned, joined(samples), phase=phase, seed=seed)
    return pruned


def fitted(kernel: np.ndarray, squares: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Returns the kernel of the kept neurons whose outputs are nearest to those of all.

    Args:
        kernel: [neurons,width].
        squares: x.T @ x of the neurons' values x [tokens,neurons]: [neurons,neurons].
        kept: indices of the kept neurons, [K].

    Returns [K,width].
    """
    gone = np.setdiff1d(np.arange(len(kernel)), kept)
    shared = squares[np.ix_(kept, gone)] @ kernel[gone]
    return kernel[kept] + ridge_solution(squares[np.ix_(kept, kept)], shared, RIDGE)


def neuron_squares(
    model: MobileBert, samples: Sequence[dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Returns x.T @ x of each network's neurons x [tokens,neurons], over all texts, by its layer:
    [neurons,neurons]. Samples as for `prune`."""
    squares: dict[str, np.ndarray] = {}

    class Watched(Arithmetic):
        def dense(self, layers, x, kernels, biases, activation=None):
            network, _, output = layers[0].partition("/output/")
            if "/feed_forward_" in network and output:
                square = tf.matmul(x, x, transpose_a=True).numpy().astype(np.float64)
                squares[network] = squares.get(network, 0) + square
            return super().dense(layers, x, kernels, biases, activation)

    graph = InferenceGraph(model, arithmetic=Watched)
    for sample in tqdm(samples, desc="watching", unit="text"):
        graph(**for_graph(sample))
    return squares
