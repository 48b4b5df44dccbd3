"""How the inference graph computes: lite/graph.py says which operations there are, in which order.

An arithmetic is handed to the graph: this one is float32; lite/equalize.py has one that observes
what flows, training/quantization_aware.py one that rounds as an int8 file does. The names below are
parts of the operations' scopes, by which the quantization recipes select them (lite/quantize.py).

Letters: T tokens, Q queries (T, or 1 for the first token alone), N heads, D head size.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from mobilebert_tf.modeling.layers import LAYER_NORM_EPSILON

BLOCK = "block_"  # all operations of the blocks
RESIDUAL, RESCALED = "residual", "rescaled"  # the sums of the residual streams, and their factors
SCORES, MASKED = "scores", "masked"  # attention scores, without and with the mask
PARTS = "parts"  # a split of joined layers' outputs


class Arithmetic:
    """Float32, with the weights as constants.

    Args:
        weights: of the graph by path, as lite.fold.fold returns them.
    """

    constant_rows = True  # whether rows that are known beforehand replace their table

    def __init__(self, weights: Mapping[str, np.ndarray]):
        self.weights = weights

    def kernel(self, layer: str):
        """Returns a dense layer's kernel, [in,out]."""
        return self.weights[f"{layer}/kernel"]

    def rows(self, table: str, ids):
        """Returns rows of an embedding table: ids [T] -> [T,width]."""
        with tf.name_scope(f"embeddings/{table}/"):
            return tf.gather(self.weights[f"embeddings/{table}"], ids)

    def dense(
        self,
        layers: Sequence[str],
        x,
        kernels: Sequence,
        biases: Sequence,
        activation: Callable | None = None,
    ):
        """Returns the outputs of dense layers that all read x, joined: one product."""
        kernel, bias = np.concatenate(kernels, axis=1), np.concatenate(biases)
        with tf.name_scope(f"{layers[0]}/"):
            x = tf.matmul(x, kernel)
            x = x + bias if bias.any() else x
        return x if activation is None else activation(x)

    def add(self, name: str, x, y):
        with tf.name_scope(f"{name}/"):
            return x + y

    def rescale(self, name: str, x, factor: np.ndarray):
        """Returns x times a factor for each channel."""
        with tf.name_scope(f"{name}/"):
            return x * factor

    def scores(self, name: str, query, key):
        """Returns the score of each query for each key: [N,Q,D], [N,T,D] -> [N,Q,T]."""
        with tf.name_scope(f"{name}/"):
            return tf.matmul(query, key, transpose_b=True)

    def masked(self, name: str, scores, attention_bias):
        """Returns the scores with padded keys far below all others."""
        return self.add(name, scores, attention_bias)

    def softmax(self, scores):
        return tf.nn.softmax(scores)

    def joined(self, name: str, contexts: Sequence):
        """Returns the heads' outputs side by side."""
        with tf.name_scope(f"{name}/"):
            return tf.concat(contexts, axis=-1)

    def tanh(self, x):
        return tf.tanh(x)

    def layer_norm(self, name: str, x):
        with tf.name_scope(f"{name}/"):
            centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
            variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
            normal = centred * tf.math.rsqrt(variance + LAYER_NORM_EPSILON)
            return normal * self.weights[f"{name}/gamma"] + self.weights[f"{name}/beta"]


class Int8Tables(Arithmetic):
    """Float32 with the embedding tables in int8, one scale for each row."""

    def rows(self, table: str, ids):
        rows, scales = quantized_rows(self.weights[f"embeddings/{table}"])
        return tf.cast(tf.gather(rows, ids), tf.float32) * tf.gather(scales, ids)


class WholeTables(Arithmetic):
    """Float32 with all tables in the graph, for lite/int4.py to make 4-bit ones of them."""

    constant_rows = False


def quantized_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a table [rows,width] as int8 [rows,width] and float32 scales [rows,1], symmetric."""
    scales = np.abs(table).max(axis=1, keepdims=True) / 127
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    return np.round(table / scales).astype(np.int8), scales
