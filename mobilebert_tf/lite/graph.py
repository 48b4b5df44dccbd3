"""The inference graph: a model's weights as the few plain operations that a phone runs fast.

Batch 1, one 2-D tensor [T, width] between operations, and no operation that asks for a shape: so
one file takes any number of tokens T. Norms are folded into the layers around them (lite/fold.py),
layers that read the same tensor are one product, and heads that need the first token alone get
a last block that computes only its row. Shape letters as in mobilebert_tf.modeling.layers.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.arithmetic import (
    BLOCK,
    MASKED,
    PARTS,
    RESCALED,
    RESIDUAL,
    SCORES,
    Arithmetic,
)
from mobilebert_tf.lite.fold import fold
from mobilebert_tf.modeling.heads import HEADS
from mobilebert_tf.modeling.layers import ACTIVATIONS, ATTENTION_MASK
from mobilebert_tf.modeling.model import SHORTEST, MobileBert

SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY  # the model's
INPUTS = ("ids", "mask", "segment_ids")
_ROLES = ("query", "key", "value")


class InferenceGraph:
    """Computes what the Keras model computes in inference, for one sequence.

    Args:
        model: any MobileBert.
        head: "encoder" for the bare encoder, or None for the model's own head.
        scales: of free channels, as in lite.fold.fold.
        arithmetic: made of the folded weights; computes the operations.
        mask: added to the score of a padded key: so low that the sum is under every real score.

    Outputs by head: classifier and multi_label_classifier probability [1,C]; token_classifier
    token_probability [1,T,C]; regression and multiple_choice score [1,1]; span start_logits,
    end_logits [1,T]; encoder embedding [1,H], as its Head says; pretraining and masked_lm
    mlm_logits [1,T,V]; next_sentence probability [1,2].
    """

    def __init__(
        self,
        model: MobileBert,
        head: str | None = None,
        scales: dict[str, np.ndarray] | None = None,
        arithmetic: Callable[[dict[str, np.ndarray]], Arithmetic] = Arithmetic,
        mask: float = ATTENTION_MASK,
    ):
        self.config, self.mask = model.config, mask
        self.kind = head or model.head.kind
        if self.kind not in ("encoder", model.head.kind):
            raise InputError(f"no {self.kind} head to export: the model's is {model.head.kind}")
        self.averaged = self.kind == "encoder" and model.head.pooling == "mean"
        self.normalized = self.kind == "encoder" and model.head.normalized
        weights = {v.path: v.numpy() for v in model.weights}
        self.weights = fold(weights, self.config, self.head_layer, scales)
        self.arithmetic = arithmetic(self.weights)

    @property
    def head_layer(self) -> str | None:
        """The dense layer that reads the last block."""
        kind = HEADS[self.kind]
        if self.config.classifier_activation and not (kind.by_token or self.averaged):
            return "pooler/dense"
        return kind.layer

    def __call__(self, ids, mask, segment_ids):
        # UNPACK of one text: a runtime that was given several refuses to prepare it. A reshape to
        # [T] would read them as one long text.
        ids, mask, segment_ids = (tf.unstack(x, num=1)[0] for x in (ids, mask, segment_ids))  # [T]
        hidden = self._embeddings(ids, mask, segment_ids)  # [T,H]
        attention_bias = self._attention_bias(mask)
        last = self.config.num_hidden_layers - 1
        all_rows = HEADS[self.kind].by_token or self.averaged
        for index in range(last + 1):
            first_row = index == last and not all_rows
            hidden = self._block(f"{BLOCK}{index}", hidden, attention_bias, first_row)  # [T,H]
        if self.averaged:
            hidden = self._average(hidden, mask)  # [1,H]
        return getattr(self, f"_{self.kind}")(hidden)

    def _embeddings(self, ids, mask, segment_ids):
        x = self.arithmetic.rows("word_embeddings", ids * mask)  # [T,E]
        if self.config.trigram_input:
            x = self._trigrams(x)  # [T,3E]
        if "embeddings/embedding_transformation/kernel" in self.weights:
            x = self._dense(x, "embeddings/embedding_transformation")  # [T,H]
        if self.config.type_vocab_size == 1:
            segment_ids = tf.minimum(segment_ids, 0)
        segments = self.arithmetic.rows("token_type_embeddings", segment_ids)
        x = self.arithmetic.add("embeddings/with_segments", x, segments)
        positions = self.arithmetic.rows("position_embeddings", self._positions(mask))
        x = self.arithmetic.add("embeddings/with_positions", x, positions)
        return self._norm("embeddings", x)

    def _trigrams(self, words):
        """[T,E] -> [T,3E]: the next, this and the previous."""
        with tf.name_scope("embeddings/trigrams/"):
            edge = tf.zeros([1, self.config.embedding_size])
            after = tf.concat([words[1:], edge], axis=0)
            before = tf.concat([edge, words[:-1]], axis=0)
            return tf.concat([after, words, before], axis=1)

    def _positions(self, mask):
        """0, 1, 2 ...: [T]."""
        if mask.shape[0] and self.arithmetic.constant_rows:
            return np.arange(mask.shape[0])  # the rows of a fixed length become constants
        return tf.cumsum(tf.maximum(mask, 1)) - 1  # without asking for a shape

    def _attention_bias(self, mask):
        """[1,1,T]: what is added to the scores of each key."""
        # Looked up: a product of 0 and a mask that is infinite in 16 bits would be no number.
        table = np.array([self.mask, 0], np.float32)
        return tf.reshape(tf.gather(table, mask), [1, 1, -1])

    def _average(self, hidden, mask):
        """Of the real tokens: hidden [T,H], mask [T] -> [1,H]."""
        real = tf.reshape(tf.cast(mask, tf.float32), [1, -1])  # [1,T]
        return tf.matmul(real / tf.reduce_sum(real), hidden)

    def _block(self, name, hidden, attention_bias, first_row):
        """hidden [T,H] -> [T,H], or with first_row the first token's row of that, [1,H]."""
        with tf.name_scope(f"{name}/"):  # the quantization recipes select by these names
            x, query, key, value = self._block_inputs(name, hidden)
            if first_row:
                x, query, hidden = _first(x), self._first_query(query), _first(hidden)
            context = self._attention(name, query, key, value, attention_bias)  # [T,I]
            x = self._residual(f"{name}/attention/output", context, x)  # [T,I]
            for index in range(self.config.num_feedforward_networks):
                feed_forward = f"{name}/feed_forward_{index}"
                inner = self._dense(
                    x, f"{feed_forward}/intermediate", activation=self._activation
                )  # [T,F]
                x = self._residual(f"{feed_forward}/output", inner, x)  # [T,I]
            if self.config.use_bottleneck:
                x = self._residual(f"{name}/output_bottleneck", x, hidden)  # [T,H]
        return x

    def _block_inputs(self, name, hidden):
        """What a block starts from: x [T,I]; query, key and value, [N,T,D] each."""
        config = self.config
        bottleneck, shared = f"{name}/input_bottleneck", f"{name}/shared_bottleneck"
        names = [f"{name}/attention/{role}" for role in _ROLES]
        if not config.use_bottleneck:
            return hidden, *self._heads(self._dense(hidden, *names), *_ROLES)
        if config.use_bottleneck_attention:
            x = self._norm(bottleneck, self._dense(hidden, f"{bottleneck}/dense"))
            return x, *self._heads(self._dense(x, *names), *_ROLES)
        if config.key_query_shared_bottleneck:
            wide = self._dense(hidden, f"{bottleneck}/dense", f"{shared}/dense", names[2])  # [T,3I]
            x, query_key, value = tf.split(wide, 3, axis=-1, name=PARTS)  # [T,I] each
            query_key = self._dense(self._norm(shared, query_key), *names[:2])  # [T,2I]
            heads = *self._heads(query_key, *_ROLES[:2]), *self._heads(value, _ROLES[2])
            return self._norm(bottleneck, x), *heads
        wide = self._dense(hidden, f"{bottleneck}/dense", *names)  # [T,4I]
        x, *parts = tf.split(wide, 4, axis=-1, name=PARTS)  # [T,I] each
        heads = [self._heads(part, role)[0] for part, role in zip(parts, _ROLES, strict=True)]
        return self._norm(bottleneck, x), *heads

    def _heads(self, x, *roles):
        """[T,R*I] -> for each of R roles a tensor [N,T,D], with one transposition for all."""
        heads, size = self.config.num_attention_heads, self.config.head_size
        x = tf.reshape(x, [-1, len(roles) * heads, size])  # [T,R*N,D]
        x = tf.transpose(x, [1, 0, 2])  # [R*N,T,D]
        return tf.split(x, len(roles), axis=0) if len(roles) > 1 else [x]

    def _first_query(self, query):
        return _first(query)  # [N,1,D]

    def _attention(self, name, query, key, value, attention_bias):
        """query [N,Q,D], key and value [N,T,D], attention_bias [1,1,T] -> context [Q,I]."""
        scores = self.arithmetic.scores(f"{name}/{SCORES}", query, key)  # [N,Q,T]
        scores = self.arithmetic.masked(f"{name}/{MASKED}", scores, attention_bias)
        probabilities = self.arithmetic.softmax(scores)
        with tf.name_scope(f"{name}/context/"):
            context = tf.transpose(tf.matmul(probabilities, value), [1, 0, 2])  # [Q,N,D]
            rows = query.shape[1] or -1
            return tf.reshape(context, [rows, self.config.attention_size])

    def _residual(self, name, x, residual):
        """norm(dense(x) + residual); of a folded norm at most a factor of the residual is left."""
        x = self._dense(x, f"{name}/dense")
        gamma = self.weights.get(f"{name}/norm/gamma")
        if gamma is not None and self.config.normalization_type == "no_norm":
            residual = self.arithmetic.rescale(f"{name}/{RESCALED}", residual, gamma)
        return self._norm(name, self.arithmetic.add(f"{name}/{RESIDUAL}", x, residual))

    def _dense(self, x, *names, activation=None):
        """The layers of these names, that all read x, as one product: their outputs joined."""
        kernels = [self.arithmetic.kernel(name) for name in names]
        return self.arithmetic.dense(names, x, kernels, list(map(self._bias, names)), activation)

    def _activation(self, x):
        return ACTIVATIONS[self.config.hidden_act](x)

    def _bias(self, name):
        """Returns the bias of a dense layer, [width].

        If the input bottleneck feeds both attention and the residual, its bias is 0, and is added
        to the biases of query, key and value, and of attention's output, to which the residual is
        added. The converter does so for query, key and value alone, and adds the bias to the
        residual in an operation of its own, for each block.
        """
        bias = self.weights[f"{name}/bias"]
        block, _, layer = name.partition("/")
        config = self.config
        fed = config.use_bottleneck and config.use_bottleneck_attention
        if not fed or config.normalization_type != "no_norm":
            return bias
        if layer == "input_bottleneck/dense":
            return 0 * bias
        if layer in ("attention/query", "attention/key", "attention/value"):
            moved = self.weights[f"{block}/input_bottleneck/dense/bias"]
            return bias + (moved[None] @ self.arithmetic.kernel(name))[0]
        if layer == "attention/output/dense":
            factor = self.weights.get(f"{block}/attention/output/norm/gamma", 1)
            return bias + factor * self.weights[f"{block}/input_bottleneck/dense/bias"]
        return bias

    def _norm(self, name, x):
        """Layer normalisation; a NoNorm is folded."""
        if self.config.normalization_type == "no_norm":
            return x
        return self.arithmetic.layer_norm(f"{name}/norm", x)

    def _pooled(self, first):
        """The first token's features, [1,H]."""
        if not self.config.classifier_activation:
            return first
        return self.arithmetic.tanh(self._dense(first, "pooler/dense"))

    def _encoder(self, row):
        if "output_scale" in self.weights:
            row *= self.weights["output_scale"]
        embedding = row if self.averaged else self._pooled(row)
        if self.normalized:
            square = tf.reduce_sum(tf.square(embedding), axis=-1, keepdims=True)  # [1,1]
            embedding *= tf.math.rsqrt(tf.maximum(square, SHORTEST**2))
        return {"embedding": embedding}

    def _classifier(self, first):
        return {"probability": tf.nn.softmax(self._logits(first))}

    def _multi_label_classifier(self, first):
        return {"probability": tf.sigmoid(self._logits(first))}

    def _logits(self, first):
        return self._dense(self._pooled(first), "classifier")

    def _token_classifier(self, hidden):
        return {"token_probability": tf.nn.softmax(self._dense(hidden, "classifier"))[None]}

    def _regression(self, first):
        return {"score": self._logits(first)}

    _multiple_choice = _regression

    def _next_sentence(self, first):
        return {"probability": tf.nn.softmax(self._dense(self._pooled(first), "next_sentence"))}

    def _span(self, hidden):
        start, end = tf.split(self._dense(hidden, "span"), 2, axis=1)  # [T,1] each
        return {"start_logits": tf.reshape(start, [1, -1]), "end_logits": tf.reshape(end, [1, -1])}

    def _masked_lm(self, hidden):
        x = self._dense(hidden, "masked_lm/transform", activation=self._activation)
        x = self.arithmetic.layer_norm("masked_lm/norm", x)  # [T,H]
        table = self.weights["embeddings/word_embeddings"]
        table = self.weights.get("masked_lm/word_embeddings", table)
        if "masked_lm/extra_output_weights" in self.weights:
            table = np.concatenate([table, self.weights["masked_lm/extra_output_weights"]], axis=1)
        with tf.name_scope("masked_lm/logits"):
            logits = tf.matmul(x, table.T) + self.weights["masked_lm/output_bias"]  # [T,V]
        return {"mlm_logits": tf.reshape(logits, [1, -1, self.config.vocab_size])}

    _pretraining = _masked_lm  # the next sentence head only serves training


class IntegerGraph(InferenceGraph):
    """The same for files that compute in integers alone."""

    def _average(self, hidden, mask):
        """The bias of all real tokens is 0, so that its softmax gives them equal shares."""
        shares = self.arithmetic.softmax(self._attention_bias(mask))  # [1,1,T]
        return tf.matmul(shares, hidden[None])[0]


class HeadByHeadGraph(IntegerGraph):
    """Attention as one product of matrices for each head, which the converter writes as
    FULLY_CONNECTED: no runtime here has a fast int8 BATCH_MATMUL (measured at 128 tokens, full
    size: the whole model takes 1.7 times as long with it).
    """

    def _attention_bias(self, mask):
        return super()._attention_bias(mask)[0]  # [1,T]

    def _average(self, hidden, mask):
        """By shares where a fixed length may be nearly all padding; else over all rows, padding as
        zeros: a long text's shares are less than a step of 8 bits."""
        if mask.shape[0]:
            return tf.matmul(self.arithmetic.softmax(self._attention_bias(mask)), hidden)
        with tf.name_scope("average/"):
            real = tf.reshape(tf.gather(np.float32([0, 1]), mask), [-1, 1])  # [T,1]
            average = tf.reduce_mean(hidden * real, axis=0, keepdims=True)  # [1,H]
            # A length of 1 needs no division.
            return average if self.normalized else average / tf.reduce_mean(real)

    def _heads(self, x, *roles):
        """[T,R*I] -> for each role N matrices: of query and key [T,D], of value [D,T]."""
        heads = self.config.num_attention_heads
        parts = tf.split(x, len(roles), axis=-1) if len(roles) > 1 else [x]  # [T,I] each
        return [
            tf.split(tf.linalg.matrix_transpose(part), heads, axis=-2)
            if role == "value"
            else tf.split(part, heads, axis=-1)
            for part, role in zip(parts, roles, strict=True)
        ]

    def _first_query(self, query):
        return [_first(matrix) for matrix in query]

    def _attention(self, name, query, key, value, attention_bias):
        contexts = []
        for head, (q, k, v) in enumerate(zip(query, key, value, strict=True)):
            scores = self.arithmetic.scores(f"{name}/{SCORES}_{head}", q, k)  # [Q,T]
            scores = self.arithmetic.masked(f"{name}/{MASKED}_{head}", scores, attention_bias)
            probabilities = self.arithmetic.softmax(scores)
            # The converter drops the joining of a single head: its product is the context then.
            part = f"context_{head}" if len(query) > 1 else "context"
            with tf.name_scope(f"{name}/{part}/"):
                contexts.append(tf.matmul(probabilities, v, transpose_b=True))
        return self.arithmetic.joined(f"{name}/context", contexts)  # [Q,I]


def _first(x):
    """The first row, in a shape that the converter keeps: x[:1] loses it."""
    *rest, _, width = (-1 if size is None else size for size in x.shape)
    return tf.slice(x, [0] * len(x.shape), [*rest, 1, width])
