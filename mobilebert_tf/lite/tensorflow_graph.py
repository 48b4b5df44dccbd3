"""A computation as a TensorFlow graph, to convert it or to run it on calibration texts."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from mobilebert_tf.lite.graph import INPUTS


@dataclass(frozen=True)
class TensorFlowGraph:
    """Constants and operations, with the inputs and outputs by name."""

    graph: tf.Graph
    inputs: dict[str, tf.Tensor]
    outputs: dict[str, tf.Tensor]


def trace(compute: Callable, sequence_length: int | None = None) -> TensorFlowGraph:
    """Traces a function of INPUTS int32 [1,sequence_length], or [1, any length] for None.

    Not by tf.function: TensorFlow's converter then looks for variables and functions to resolve,
    and takes twice as long.
    """
    with tf.Graph().as_default() as graph:
        shape = [1, sequence_length]
        inputs = {name: tf.compat.v1.placeholder(tf.int32, shape, name) for name in INPUTS}
        return TensorFlowGraph(graph, inputs, compute(**inputs))
