"""What calibration texts show of a model's activations, and the scales that even them out.

An int8 tensor has one scale for all its channels, so that one wide channel leaves the others few
of the 255 steps. Where the graph leaves a channel's scale free (lite/fold.py), it is chosen between
even activations and even weights, as SmoothQuant does (Xiao et al., 2023, eq. 4 with alpha 0.5).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mobilebert_tf.lite.arithmetic import BLOCK, MASKED, Arithmetic
from mobilebert_tf.lite.graph import INPUTS, InferenceGraph
from mobilebert_tf.lite.stderr import without_stderr
from mobilebert_tf.lite.tensorflow_graph import trace
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.quantization import HIDDEN

_LOWEST, _HIGHEST, _WIDEST = "lowest", "highest", "widest"
_LARGEST = 16.0  # what a channel is scaled by at most, and its inverse at least


@dataclass(frozen=True)
class Observations:
    """What calibration texts show.

    Args:
        scales: of free channels, for `fold`.
        score_span: of the attention scores, from the lowest to the highest.
        widest: largest absolute value of a feature map or score.
    """

    scales: dict[str, np.ndarray]
    score_span: float
    widest: float


def observe(
    model: MobileBert,
    calibration: Sequence[dict[str, np.ndarray]],
    head: str | None = None,
    scales: dict[str, np.ndarray] | None = None,
) -> Observations:
    """Runs the float graph on samples: ids, mask and segment_ids, int32 [1,T] each.

    Args:
        model, head, scales: as for InferenceGraph.
        calibration: the samples.
    """
    graph = InferenceGraph(model, head, scales, arithmetic=_Observed)

    def observed(**inputs):
        graph.arithmetic.largest = {}
        graph(**inputs)
        return graph.arithmetic.largest

    traced, config = trace(observed), tf.compat.v1.ConfigProto()
    # To rewrite a graph of 24 blocks takes longer than to run it on 64 texts.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with (
        without_stderr(),
        tf.compat.v1.Session(graph=traced.graph, config=config) as session,
    ):
        seen = [
            session.run(
                traced.outputs,
                {traced.inputs[name]: sample[name] for name in INPUTS},
            )
            for sample in calibration
        ]
    largest = {key: np.max([values[key] for values in seen], axis=0) for key in seen[0]}
    lowest, highest = (float(largest.pop(key)) for key in (_LOWEST, _HIGHEST))
    widest = max(float(largest.pop(_WIDEST)), lowest, highest)
    return Observations(_scales(graph, largest), lowest + highest, widest)


class _Observed(Arithmetic):
    """Float32 that keeps, in `largest`, the largest absolute values that flow into the dense
    layers, [width], by the joined layers' names; and how far the scores go under and over 0."""

    largest: dict

    def dense(self, layers, x, kernels, biases, activation=None):
        self._keep(" ".join(layers), tf.reduce_max(tf.abs(x), axis=0))
        x = super().dense(layers, x, kernels, biases, activation)
        self._keep(_WIDEST, tf.reduce_max(tf.abs(x)))
        return x

    def add(self, name, x, y):
        x = super().add(name, x, y)
        if MASKED not in name:
            self._keep(_WIDEST, tf.reduce_max(tf.abs(x)))
        return x

    def scores(self, name, query, key):
        scores = super().scores(name, query, key)
        self._keep(_LOWEST, -tf.reduce_min(scores))
        self._keep(_HIGHEST, tf.reduce_max(scores))
        return scores

    def _keep(self, key, values):
        self.largest[key] = tf.maximum(self.largest.get(key, 0.0), values)


def _scales(graph: InferenceGraph, largest: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a scale for each group of free channels: the geometric mean of the balanced scales of
    the tensors that it scales."""
    candidates = defaultdict(list)
    for key, activations in largest.items():
        names = key.split(" ")
        if free := _free_scale(graph.config, names[0]):
            weights = [np.abs(graph.weights[f"{name}/kernel"]).max(axis=1) for name in names]
            candidates[free].append(_balanced_scale(activations, np.max(weights, axis=0)))
    return {free: np.exp(np.mean(np.log(scales), axis=0)) for free, scales in candidates.items()}


def _balanced_scale(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the scale of each channel, [width], that balances activations * scale against
    weights / scale, with the geometric mean 1."""
    known = (activations > 0) & (weights > 0)
    logs = np.zeros(len(activations))
    logs[known] = np.log(weights[known] / activations[known]) / 2
    logs[known] -= logs[known].mean() if known.any() else 0
    return np.exp(np.clip(logs, -np.log(_LARGEST), np.log(_LARGEST)))


def _free_scale(config: ModelConfig, reader: str) -> str | None:
    """Returns the name of the free channels that a dense layer in a block reads; None if there
    are none."""
    block, _, layer = reader.partition("/")
    if not block.startswith(BLOCK):
        return None
    if layer == "attention/output/dense":
        return f"{block}/attention/value"
    if layer.endswith("/output/dense"):  # of a feed-forward network
        positive = config.hidden_act == "relu"  # relu(s x) = s relu(x)
        return reader.replace("/output/dense", "/intermediate") if positive else None
    if config.normalization_type == "layer_norm":
        return None
    if not config.use_bottleneck or layer == "input_bottleneck/dense":
        return HIDDEN
    if layer == "attention/query" and not config.use_bottleneck_attention:
        return f"{block}/shared_bottleneck"
    return f"{block}/input_bottleneck"
