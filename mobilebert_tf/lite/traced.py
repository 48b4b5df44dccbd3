"""A computation as a graph of TensorFlow's, to convert it or to run it on calibration texts."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from mobilebert_tf.lite.graph import INPUTS


@dataclass(frozen=True)
class Traced:
    """A TensorFlow graph of constants and operations, with its inputs and outputs by name."""

    graph: tf.Graph
    inputs: dict[str, tf.Tensor]
    outputs: dict[str, tf.Tensor]


def traced(compute: Callable, sequence_length: int | None = None) -> Traced:
    """What `compute` does with INPUTS int32 [1, sequence_length], or [1, any length].

    No tf.function, in which TensorFlow's converter looks for variables and functions to resolve:
    with that a conversion takes twice as long.
    """
    with tf.Graph().as_default() as graph:
        shape = [1, sequence_length]
        inputs = {name: tf.compat.v1.placeholder(tf.int32, shape, name) for name in INPUTS}
        return Traced(graph, inputs, compute(**inputs))
