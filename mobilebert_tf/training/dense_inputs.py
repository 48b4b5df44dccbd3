"""What the dense layers of a model read on texts, as it counts for the least square error of their
outputs."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from mobilebert_tf.lite.arithmetic import Arithmetic
from mobilebert_tf.lite.graph import InferenceGraph
from mobilebert_tf.modeling.model import MobileBert


def input_squares(
    model: MobileBert,
    samples: Sequence[dict[str, np.ndarray]],
    scales: dict[str, np.ndarray] | None = None,
) -> dict[tuple[str, ...], np.ndarray]:
    """Returns x.T @ x of what dense layers read, x [tokens,width], over all texts: [width,width].

    Keys are the names of the layers that read the same x.

    Args:
        model: any.
        samples: texts: ids, mask and segment_ids, int32 [1,T] each, without padding.
        scales: of free channels, as for lite.fold.fold.
    """
    squares: dict[tuple[str, ...], np.ndarray] = {}

    class Watched(Arithmetic):
        def dense(self, layers, x, kernels, biases, activation=None):
            square = tf.matmul(x, x, transpose_a=True).numpy().astype(np.float64)
            squares[layers] = squares.get(layers, 0) + square
            return super().dense(layers, x, kernels, biases, activation)

    graph = InferenceGraph(model, scales=scales, arithmetic=Watched)
    for sample in tqdm(samples, desc="watching", unit="text"):
        graph(**sample)
    return squares
