"""Replaces layer norms by NoNorm and GELU by ReLU in a trained model.

These are the paper's operational optimizations (section 3.3), with which it trains from the start.
Here each new layer, from the first to the last, is fitted by least squares: its inputs are those of
the changed model, its targets the outputs of the original layer. A short distillation of all layers
from the original then reduces the error that remains.
"""

from collections.abc import Callable

import keras
import numpy as np
from tqdm import tqdm

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.least_squares import ridge_solution
from mobilebert_tf.modeling.layers import Block, Bottleneck, FeedForward, NoNorm, Padding
from mobilebert_tf.modeling.model import MobileBert, copy_weights
from mobilebert_tf.training.recovery import FITTED_TEXTS, RIDGE, recover
from mobilebert_tf.training.run_config import Phase


def swap(
    model: MobileBert, arrays: dict[str, np.ndarray], phase: Phase, seed: int = 0
) -> MobileBert:
    """Returns a copy of `model` with NoNorm and ReLU that computes nearly the same.

    Args:
        model: a model with layer norms, or another activation than ReLU.
        arrays: texts to fit on: input_ids, input_mask, segment_ids, int32 [N,T].
        phase: steps and optimizer of the distillation.
        seed: of the distillation's order and dropout.

    Raises InputError for a model that has NoNorm and ReLU already.
    """
    config = model.config.replace(normalization_type="no_norm", hidden_act="relu")
    if config == model.config:
        raise InputError("the model has NoNorm and ReLU already: there is nothing to swap")
    keras.utils.set_random_seed(seed)
    swapped = MobileBert(config, model.head)
    copy_weights(model, swapped)
    fit(model, swapped, {name: array[:FITTED_TEXTS] for name, array in arrays.items()})
    recover(model, swapped, arrays, phase=phase, seed=seed)
    return swapped


def fit(original: MobileBert, swapped: MobileBert, arrays: dict[str, np.ndarray]) -> None:
    """Fits the norms and feed-forward outputs of `swapped` by least squares, bottom to top."""
    fitter = _Fitter(arrays["input_mask"])
    old_layer, new_layer = (model.get_layer("embeddings") for model in (original, swapped))
    old, new = fitter.norm(new_layer.norm, lambda: old_layer(**arrays), lambda: new_layer(**arrays))
    for index in tqdm(range(original.config.num_hidden_layers), desc="fitting", unit="block"):
        old_block, new_block = (m.get_layer(f"block_{index}") for m in (original, swapped))
        old, new = fitter.block(old_block, new_block, old, new)


class _Fitter:
    """Fits layers of the changed model ("new") to those of the original ("old").

    Feature maps are [B,T,H] or [B,T,I]; only those of real tokens count.
    """

    def __init__(self, input_mask: np.ndarray):
        self.real = input_mask == 1  # [B,T]
        self.padding = Padding()(input_mask)  # [B,1,1,T]

    def block(self, old_block: Block, new_block: Block, old, new) -> tuple:
        """Fits a block and returns the outputs of both blocks for the inputs `old` and `new`."""
        old_x, new_x, old_query, new_query, old_value, new_value = (old, new) * 3
        if new_block.input_bottleneck is not None:
            old_x, new_x = self._bottleneck(
                old_block.input_bottleneck, new_block.input_bottleneck, old, new
            )
        if new_block.config.use_bottleneck_attention:
            old_query, new_query, old_value, new_value = (old_x, new_x) * 2
        elif new_block.shared_bottleneck is not None:
            old_query, new_query = self._bottleneck(
                old_block.shared_bottleneck, new_block.shared_bottleneck, old, new
            )
        old_x, new_x = self.norm(
            new_block.attention.output_layer.norm,
            lambda x=old_x: old_block.attention(old_query, old_value, x, self.padding)[0],
            lambda x=new_x: new_block.attention(new_query, new_value, x, self.padding)[0],
        )
        networks = zip(old_block.feed_forward, new_block.feed_forward, strict=True)
        for old_network, new_network in networks:
            old_x, new_x = self._feed_forward(old_network, new_network, old_x, new_x)
        if new_block.output_bottleneck is None:
            return old_x, new_x
        return self.norm(
            new_block.output_bottleneck.norm,
            lambda: old_block.output_bottleneck(old_x, old),
            lambda: new_block.output_bottleneck(new_x, new),
        )

    def _bottleneck(self, old_layer: Bottleneck, new_layer: Bottleneck, old, new) -> tuple:
        return self.norm(new_layer.norm, lambda: old_layer(old), lambda: new_layer(new))

    def _feed_forward(self, old_layer: FeedForward, new_layer: FeedForward, old_x, new_x) -> tuple:
        """Fits the output layer, which reads new activations, and then the norm."""
        targets = old_layer.output_layer.dense(old_layer.intermediate(old_x))
        self._dense(new_layer.output_layer.dense, new_layer.intermediate(new_x), targets)
        return self.norm(
            new_layer.output_layer.norm, lambda: old_layer(old_x), lambda: new_layer(new_x)
        )

    def norm(self, norm: NoNorm, old: Callable, new: Callable) -> tuple:
        """Sets gamma and beta for the least square error of new() from old().

        Returns old() and the fitted new().
        """
        norm.gamma.assign(np.ones(norm.gamma.shape))  # new() now returns the input of the norm
        norm.beta.assign(np.zeros(norm.beta.shape))
        inputs, targets = new(), old()
        x, t = self._rows(inputs), self._rows(targets)
        centred = x - x.mean(axis=0)
        variance = np.maximum(np.square(centred).mean(axis=0), 1e-12)
        gamma = (centred * (t - t.mean(axis=0))).mean(axis=0) / variance
        norm.gamma.assign(gamma)
        norm.beta.assign(t.mean(axis=0) - gamma * x.mean(axis=0))
        return targets, norm(inputs)

    def _dense(self, dense: keras.layers.Dense, inputs, targets) -> None:
        """Sets kernel and bias for the least square error from the targets: ridge regression."""
        x, t = self._rows(inputs), self._rows(targets)
        kernel = np.asarray(dense.kernel, np.float64)
        residual = t - x @ kernel
        centred = x - x.mean(axis=0)
        products = centred.T @ centred / len(x)
        shared = centred.T @ (residual - residual.mean(axis=0)) / len(x)
        kernel += ridge_solution(products, shared, RIDGE)
        dense.kernel.assign(kernel)
        dense.bias.assign((t - x @ kernel).mean(axis=0))

    def _rows(self, features) -> np.ndarray:
        """Returns the features of real tokens, float64 [tokens,C]."""
        return np.asarray(features, np.float64)[self.real]
