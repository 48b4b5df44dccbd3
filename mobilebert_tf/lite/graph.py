"""The inference graph: a model's weights as the few plain operations that a phone runs fast.

Batch 1, one 2-D tensor [T, width] between operations, and no operation that asks for a shape: so
one file takes any number of tokens T. Shape letters as in mobilebert_tf.layers.
"""

import numpy as np
import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.layers import ACTIVATIONS, ATTENTION_MASK, LAYER_NORM_EPSILON
from mobilebert_tf.model import MobileBert

INPUTS = ("ids", "mask", "segment_ids")
# Outputs with an entry for each token, in their second dimension.
BY_TOKEN = ("mlm_logits", "token_probability", "start_logits", "end_logits")


class InferenceGraph(tf.Module):
    """Computes what the Keras model computes in inference, for one sequence.

    Args:
        model: any MobileBert.
        head: "encoder" for the bare encoder, or None for the model's own head.
        int8_tables: embedding tables in int8 with a scale per row, for quantized files.

    Outputs by head: classifier probability [1,C]; token_classifier token_probability [1,T,C];
    regression and multiple_choice score [1,1]; span start_logits, end_logits [1,T]; encoder
    embedding [1,H], the pooled output; pretraining and masked_lm mlm_logits [1,T,V];
    next_sentence probability [1,2].
    """

    def __init__(self, model: MobileBert, head: str | None = None, int8_tables: bool = False):
        super().__init__()
        self.config = model.config
        self.head = head or model.task.kind
        if self.head not in ("encoder", model.task.kind):
            raise InputError(f"no {self.head} head to export: the model's is {model.task.kind}")
        self.int8_tables = int8_tables
        self.weights = {v.path: v.numpy() for v in model.variables}

    def concrete_function(self, sequence_length: int | None = None):
        """The graph for inputs int32 [1, sequence_length], or [1, any length]."""
        specs = {name: tf.TensorSpec([1, sequence_length], tf.int32, name) for name in INPUTS}
        return tf.function(self.__call__, autograph=False).get_concrete_function(**specs)

    def __call__(self, ids, mask, segment_ids):
        ids, mask, segment_ids = (tf.reshape(x, [-1]) for x in (ids, mask, segment_ids))  # [T]
        hidden = self._embeddings(ids, mask, segment_ids)  # [T,H]
        padding = tf.cast(1 - mask, tf.float32)
        attention_bias = tf.reshape(padding * ATTENTION_MASK, [1, 1, -1])  # [1,1,T]
        for index in range(self.config.num_hidden_layers):
            hidden = self._block(f"block_{index}", hidden, attention_bias)  # [T,H]
        return getattr(self, f"_{self.head}")(hidden)

    def _embeddings(self, ids, mask, segment_ids):
        words = self._rows("word_embeddings", ids * mask)  # [T,E]
        if self.config.trigram_input:
            edge = tf.zeros([1, self.config.embedding_size])
            after = tf.concat([words[1:], edge], axis=0)
            before = tf.concat([edge, words[:-1]], axis=0)
            words = tf.concat([after, words, before], axis=1)  # [T,3E]
        if "embeddings/embedding_transformation/kernel" in self.weights:
            words = self._dense("embeddings/embedding_transformation", words)  # [T,H]
        positions = tf.cumsum(tf.maximum(mask, 1)) - 1  # 0, 1, 2 ...: [T]
        words += self._rows("token_type_embeddings", segment_ids)
        words += self._rows("position_embeddings", positions)
        return self._norm("embeddings/norm", words)

    def _rows(self, name, ids):
        """Rows of an embedding table: ids [T] -> [T,width]."""
        table = self.weights[f"embeddings/{name}"]
        if not self.int8_tables:
            return tf.gather(table, ids)
        rows, scales = quantized_rows(table)
        return tf.cast(tf.gather(rows, ids), tf.float32) * tf.gather(scales, ids)

    def _block(self, name, hidden, attention_bias):
        config, x = self.config, hidden
        if config.use_bottleneck:
            x = self._bottleneck(f"{name}/input_bottleneck", hidden)  # [T,I]
        query_key = value = hidden
        if config.use_bottleneck_attention:
            query_key = value = x
        elif config.use_bottleneck and config.key_query_shared_bottleneck:
            query_key = self._bottleneck(f"{name}/shared_bottleneck", hidden)  # [T,I]
        context = self._attention(f"{name}/attention", query_key, value, attention_bias)  # [T,I]
        x = self._residual(f"{name}/attention/output", context, x)
        for index in range(config.num_feedforward_networks):
            feed_forward = f"{name}/feed_forward_{index}"
            inner = self._activation(self._dense(f"{feed_forward}/intermediate", x))  # [T,F]
            x = self._residual(f"{feed_forward}/output", inner, x)  # [T,I]
        if config.use_bottleneck:
            x = self._residual(f"{name}/output_bottleneck", x, hidden)  # [T,H]
        return x

    def _attention(self, name, query_key, value, attention_bias):
        size = self.config.head_size
        query = self._heads(self._dense(f"{name}/query", query_key) * size**-0.5)  # [N,T,D]
        key = self._heads(self._dense(f"{name}/key", query_key))  # [N,T,D]
        value = self._heads(self._dense(f"{name}/value", value))  # [N,T,D]
        scores = tf.matmul(query, key, transpose_b=True) + attention_bias  # [N,T,T]
        context = tf.matmul(tf.nn.softmax(scores), value)  # [N,T,D]
        return tf.reshape(tf.transpose(context, [1, 0, 2]), [-1, self.config.attention_size])

    def _heads(self, x):
        x = tf.reshape(x, [-1, self.config.num_attention_heads, self.config.head_size])  # [T,N,D]
        return tf.transpose(x, [1, 0, 2])  # [N,T,D]

    def _bottleneck(self, name, x):
        return self._norm(f"{name}/norm", self._dense(f"{name}/dense", x))

    def _residual(self, name, x, residual):
        return self._norm(f"{name}/norm", self._dense(f"{name}/dense", x) + residual)

    def _dense(self, name, x):
        with tf.name_scope(name):  # the quantization recipe selects layers by these names
            return tf.matmul(x, self.weights[f"{name}/kernel"]) + self.weights[f"{name}/bias"]

    def _activation(self, x):
        return ACTIVATIONS[self.config.hidden_act](x)

    def _norm(self, name, x):
        if self.config.normalization_type == "layer_norm":
            return self._layer_norm(name, x)
        return x * self.weights[f"{name}/gamma"] + self.weights[f"{name}/beta"]

    def _layer_norm(self, name, x):
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        normal = centred * tf.math.rsqrt(variance + LAYER_NORM_EPSILON)
        return normal * self.weights[f"{name}/gamma"] + self.weights[f"{name}/beta"]

    def _pooled(self, hidden):
        first = tf.slice(hidden, [0, 0], [1, self.config.hidden_size])  # [1,H]
        if not self.config.classifier_activation:
            return first
        return tf.tanh(self._dense("pooler/dense", first))

    def _encoder(self, hidden):
        return {"embedding": self._pooled(hidden)}

    def _classifier(self, hidden):
        return {"probability": tf.nn.softmax(self._dense("classifier", self._pooled(hidden)))}

    def _token_classifier(self, hidden):
        return {"token_probability": tf.nn.softmax(self._dense("classifier", hidden))[None]}

    def _regression(self, hidden):
        return {"score": self._dense("classifier", self._pooled(hidden))}

    _multiple_choice = _regression

    def _next_sentence(self, hidden):
        return {"probability": tf.nn.softmax(self._dense("next_sentence", self._pooled(hidden)))}

    def _span(self, hidden):
        start, end = tf.split(self._dense("span", hidden), 2, axis=1)  # [T,1] each
        return {"start_logits": tf.reshape(start, [1, -1]), "end_logits": tf.reshape(end, [1, -1])}

    def _masked_lm(self, hidden):
        x = self._activation(self._dense("masked_lm/transform", hidden))
        x = self._layer_norm("masked_lm/norm", x)  # [T,H]
        table = self.weights["embeddings/word_embeddings"]
        if "masked_lm/extra_output_weights" in self.weights:
            table = np.concatenate([table, self.weights["masked_lm/extra_output_weights"]], axis=1)
        with tf.name_scope("masked_lm/logits"):
            logits = tf.matmul(x, table.T) + self.weights["masked_lm/output_bias"]  # [T,V]
        return {"mlm_logits": tf.reshape(logits, [1, -1, self.config.vocab_size])}

    _pretraining = _masked_lm  # the next sentence head only serves training


def quantized_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """table [rows,width] -> int8 [rows,width] and float32 scales [rows,1], symmetric."""
    scales = np.abs(table).max(axis=1, keepdims=True) / 127
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    return np.round(table / scales).astype(np.int8), scales
