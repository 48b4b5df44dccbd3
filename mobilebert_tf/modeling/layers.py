"""The layers of MobileBERT, its IB-BERT teacher and plain BERT (paper, sections 3.1 to 3.3).

Shape letters: B batch, T tokens, P predictions, V vocab_size, E embedding_size, H hidden_size
(between blocks), I width inside a block (intra_bottleneck_size; H without bottlenecks),
F intermediate_size, N heads, D = I / N head size.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import keras
from keras import ops

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import ModelConfig

# Added in float32 to the score of a padded key, which then gets exactly no weight. It is finite, so
# that a row of padding alone gives no NaN, and lower than any score: the -10000 of the references
# (Google's 2020 code, Hugging Face's TensorFlow code) is not, for a model with scores of 1e5.
ATTENTION_MASK = -1e30
LAYER_NORM_EPSILON = 1e-12

# By hidden_act. Google's "gelu" is the tanh approximation; Hugging Face's "gelu", with which its
# BERTs were trained, is the exact function. With the right one the outputs of a released model
# differ by 1e-6 from the reference, with the other by 1e-3.
ACTIVATIONS = {
    "gelu": lambda x: ops.gelu(x, approximate=True),
    "gelu_erf": lambda x: ops.gelu(x, approximate=False),
    "relu": ops.relu,
    "relu6": ops.relu6,
}


def dense(
    config: ModelConfig, units: int, name: str, activation=None, dtype=None
) -> keras.layers.Dense:
    """Returns a dense layer with the config's initializer."""
    initializer = _initializer(config)
    return keras.layers.Dense(
        units, activation, kernel_initializer=initializer, name=name, dtype=dtype
    )


_zero_initialized = contextvars.ContextVar("zero_initialized", default=False)


@contextlib.contextmanager
def zero_initialized() -> Iterator[None]:
    """Makes layers that are built inside the block start with zeros: their weights are loaded next.

    Drawing random weights takes half of the time to build a model of 25 million parameters.
    """
    token = _zero_initialized.set(True)
    try:
        yield
    finally:
        _zero_initialized.reset(token)


def _initializer(config: ModelConfig) -> keras.initializers.Initializer:
    if _zero_initialized.get():
        return keras.initializers.Zeros()
    # A new object each time: one initializer gives equal values to equal shapes.
    return keras.initializers.TruncatedNormal(stddev=config.initializer_range)


class NoNorm(keras.layers.Layer):
    """gamma * x + beta, element by element, in place of layer normalisation (paper, eq. 3)."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=shape[-1:], initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape[-1:], initializer="zeros", name="beta")

    def call(self, x):
        return x * self.gamma + self.beta


def _norm(config: ModelConfig, name: str = "norm") -> keras.layers.Layer:
    if config.normalization_type == "no_norm":
        return NoNorm(name=name)
    return keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=name)


class Embeddings(keras.layers.Layer):
    """Word (trigram), position and segment embeddings (paper, section 3.1, "embedding").

    Called with input_ids, input_mask and segment_ids, each int32 [B,T]; returns [B,T,H]. Padding
    is embedded as id 0 ([PAD]) whatever its ids are: the trigram of the last real token reads the
    position behind it, and must not depend on what stands there.
    """

    def __init__(self, config: ModelConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.embedding_transformation = None
        if config.trigram_input or config.embedding_size != config.hidden_size:
            self.embedding_transformation = dense(
                config, config.hidden_size, "embedding_transformation"
            )
        self.norm = _norm(config)
        self.dropout = keras.layers.Dropout(config.hidden_dropout_prob)

    def build(self, *shapes):
        config = self.config
        for name, rows, width in (
            ("word_embeddings", config.vocab_size, config.embedding_size),
            ("position_embeddings", config.max_position_embeddings, config.hidden_size),
            ("token_type_embeddings", config.type_vocab_size, config.hidden_size),
        ):
            weight = self.add_weight(
                shape=(rows, width), initializer=_initializer(config), name=name
            )
            setattr(self, name, weight)
        if self.embedding_transformation is not None:
            grams = 3 if config.trigram_input else 1
            self.embedding_transformation.build((None, None, grams * config.embedding_size))
        self.norm.build((None, None, config.hidden_size))

    def call(self, input_ids, input_mask, segment_ids, training=None):
        length, limit = input_ids.shape[1], self.config.max_position_embeddings
        if length is not None and length > limit:
            raise InputError(f"{length} tokens: max_position_embeddings is {limit}")
        words = ops.take(self.word_embeddings, input_ids * input_mask, axis=0)  # [B,T,E]
        if self.config.trigram_input:
            after = ops.pad(words[:, 1:], ((0, 0), (0, 1), (0, 0)))
            before = ops.pad(words[:, :-1], ((0, 0), (1, 0), (0, 0)))
            words = ops.concatenate([after, words, before], axis=-1)  # [B,T,3E]
        if self.embedding_transformation is not None:
            words = self.embedding_transformation(words)  # [B,T,H]
        if self.config.type_vocab_size == 1:  # both texts of a pair have the only segment id
            segment_ids = ops.zeros_like(segment_ids)
        segments = ops.take(self.token_type_embeddings, segment_ids, axis=0)  # [B,T,H]
        positions = self.position_embeddings[: ops.shape(input_ids)[1]]  # [T,H]
        return self.dropout(self.norm(words + segments + positions), training=training)


class Bottleneck(keras.layers.Layer):
    """norm(dense(x)): [B,T,H] -> [B,T,I]: the input of a block, or of its query and key alone
    (paper, figure 1c)."""

    def __init__(self, config: ModelConfig, **kwargs):
        super().__init__(**kwargs)
        self.dense = dense(config, config.attention_size, "dense")
        self.norm = _norm(config)

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build(self.dense.compute_output_shape(shape))

    def call(self, x):
        return self.norm(self.dense(x))


class ResidualOutput(keras.layers.Layer):
    """norm(dropout(dense(x)) + residual), the end of every sub-layer."""

    def __init__(self, config: ModelConfig, units: int, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.dense = dense(config, units, "dense")
        self.dropout = keras.layers.Dropout(dropout)
        self.norm = _norm(config)

    def build(self, shape, residual_shape):
        self.dense.build(shape)
        self.norm.build(residual_shape)

    def call(self, x, residual, training=None):
        return self.norm(self.dropout(self.dense(x), training=training) + residual)


class Padding(keras.layers.Layer):
    """input_mask, int32 [B,T] -> float32 [B,1,1,T]: 1 at padding, 0 at real keys."""

    def call(self, input_mask):
        return ops.cast(1 - input_mask[:, None, None, :], "float32")


class Attention(keras.layers.Layer):
    """Multi-head self-attention with its output layer (paper, section 3.1).

    Called with query_key [B,T,H or I], value [B,T,H or I], residual [B,T,I] and padding
    [B,1,1,T]; returns the output [B,T,I] and the masked scores before softmax [B,N,T,T] in float32.
    The first three may be flattened to [B*T,...]; the output then is flat too.
    """

    def __init__(self, config: ModelConfig, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.head_size = config.num_attention_heads, config.head_size
        self.query = dense(config, config.attention_size, "query")
        self.key = dense(config, config.attention_size, "key")
        self.value = dense(config, config.attention_size, "value")
        self.dropout = keras.layers.Dropout(config.attention_probs_dropout_prob)
        # Google's code drops out the sub-layers of a block only where it has no bottleneck.
        dropout = 0.0 if config.use_bottleneck else config.hidden_dropout_prob
        self.output_layer = ResidualOutput(config, config.attention_size, dropout, name="output")

    def build(self, query_key_shape, value_shape, residual_shape, padding_shape):
        self.query.build(query_key_shape)
        self.key.build(query_key_shape)
        self.value.build(value_shape)
        self.output_layer.build(residual_shape, residual_shape)

    def _split_heads(self, x, tokens):
        x = ops.reshape(x, (-1, tokens, self.heads, self.head_size))  # [B,T,N,D]
        return ops.transpose(x, (0, 2, 1, 3))  # [B,N,T,D]

    def call(self, query_key, value, residual, padding, training=None):
        tokens = ops.shape(padding)[-1]
        query = self._split_heads(self.query(query_key), tokens)  # [B,N,T,D]
        key = self._split_heads(self.key(query_key), tokens)  # [B,N,T,D]
        value = self._split_heads(self.value(value), tokens)  # [B,N,T,D]
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))  # [B,N,T,T]
        # Scores and their softmax stay float32; Keras hands over the bias in the compute dtype.
        scores = ops.cast(scores, "float32") * self.head_size**-0.5
        scores += ops.cast(padding, "float32") * ATTENTION_MASK  # [B,N,T,T]
        probabilities = ops.cast(ops.softmax(scores, axis=-1), self.compute_dtype)
        probabilities = self.dropout(probabilities, training=training)
        context = ops.transpose(ops.matmul(probabilities, value), (0, 2, 1, 3))  # [B,T,N,D]
        context = ops.reshape(context, (-1, *ops.shape(residual)[1:]))  # [B,T,I]
        return self.output_layer(context, residual, training=training), scores


class FeedForward(keras.layers.Layer):
    """norm(dense(activation(dense(x))) + x): [B,T,I] -> [B,T,F] -> [B,T,I]."""

    def __init__(self, config: ModelConfig, **kwargs):
        super().__init__(**kwargs)
        self.intermediate = dense(
            config, config.intermediate_size, "intermediate", ACTIVATIONS[config.hidden_act]
        )
        dropout = 0.0 if config.use_bottleneck else config.hidden_dropout_prob
        self.output_layer = ResidualOutput(config, config.attention_size, dropout, name="output")

    def build(self, shape):
        self.intermediate.build(shape)
        self.output_layer.build(self.intermediate.compute_output_shape(shape), shape)

    def call(self, x, training=None):
        return self.output_layer(self.intermediate(x), x, training=training)


class Block(keras.layers.Layer):
    """One MobileBERT, IB-BERT or BERT block (paper, figure 1 and section 3.2).

    Called with hidden [B,T,H] and padding [B,1,1,T]; returns the next hidden [B,T,H] and
    the masked attention scores [B,N,T,T]. Inside, tensors are flattened to [B*T,...].
    """

    def __init__(self, config: ModelConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.input_bottleneck = self.shared_bottleneck = self.output_bottleneck = None
        if config.use_bottleneck:
            self.input_bottleneck = Bottleneck(config, name="input_bottleneck")
            self.output_bottleneck = ResidualOutput(
                config, config.hidden_size, config.hidden_dropout_prob, name="output_bottleneck"
            )
        if config.use_bottleneck and config.key_query_shared_bottleneck:
            self.shared_bottleneck = Bottleneck(config, name="shared_bottleneck")
        self.attention = Attention(config, name="attention")
        self.feed_forward = [
            FeedForward(config, name=f"feed_forward_{i}")
            for i in range(config.num_feedforward_networks)
        ]

    def build(self, hidden_shape, padding_shape):
        outer = (*hidden_shape[:-1], self.config.hidden_size)
        inner = (*hidden_shape[:-1], self.config.attention_size)
        for bottleneck in (self.input_bottleneck, self.shared_bottleneck):
            if bottleneck is not None:
                bottleneck.build(outer)
        query_key = inner if self._query_key_is_inner() else outer
        value = inner if self.config.use_bottleneck_attention else outer
        self.attention.build(query_key, value, inner, padding_shape)
        for feed_forward in self.feed_forward:
            feed_forward.build(inner)
        if self.output_bottleneck is not None:
            self.output_bottleneck.build(inner, outer)

    def compute_output_spec(self, hidden, padding, training=None):
        """Returns the shapes and types that `call` returns.

        Keras would trace `call` to find them, which is half of the time in which a model of 24
        blocks is built.
        """
        batch, tokens, _ = hidden.shape
        scores = (batch, self.config.num_attention_heads, tokens, tokens)
        return (
            keras.KerasTensor(hidden.shape, dtype=self.compute_dtype),
            keras.KerasTensor(scores, dtype="float32"),
        )

    def _query_key_is_inner(self) -> bool:
        return self.config.use_bottleneck_attention or self.shared_bottleneck is not None

    def call(self, hidden, padding, training=None):
        shape = (-1, ops.shape(padding)[-1], self.config.hidden_size)
        # Flattened, because a dense layer on three dimensions of unknown length adds 25 TensorFlow
        # operations on shapes: two thirds of the graph, and of the time to trace it.
        hidden = ops.reshape(hidden, (-1, self.config.hidden_size))  # [B*T,H]
        x = hidden if self.input_bottleneck is None else self.input_bottleneck(hidden)  # [B*T,I]
        query_key = value = hidden
        if self.config.use_bottleneck_attention:
            query_key = value = x
        elif self.shared_bottleneck is not None:
            query_key = self.shared_bottleneck(hidden)  # [B*T,I]
        x, scores = self.attention(query_key, value, x, padding, training=training)
        for feed_forward in self.feed_forward:
            x = feed_forward(x, training=training)  # [B*T,I]
        if self.output_bottleneck is not None:
            x = self.output_bottleneck(x, hidden, training=training)  # [B*T,H]
        return ops.reshape(x, shape), scores


class Pooler(keras.layers.Layer):
    """The first token's features, [B,T,H] -> [B,H]; with classifier_activation, tanh(dense(x))."""

    def __init__(self, config: ModelConfig, **kwargs):
        super().__init__(**kwargs)
        self.dense = None
        if config.classifier_activation:
            self.dense = dense(config, config.hidden_size, "dense", "tanh")

    def build(self, shape):
        if self.dense is not None:
            self.dense.build((shape[0], shape[-1]))

    def call(self, hidden):
        return hidden[:, 0] if self.dense is None else self.dense(hidden[:, 0])


class MaskedLanguageModel(keras.layers.Layer):
    """Logits over the vocabulary, [B,P,H] -> [B,P,V], in float32.

    The output matrix is [word_embeddings | extra_output_weights]; the two products are added
    instead of joining the matrices (measured 1.5 times faster in training). The norm is a true
    layer norm in every variant.
    """

    def __init__(self, config: ModelConfig, embeddings: Embeddings, **kwargs):
        super().__init__(**kwargs)
        self.config = config

        # A function, so that Keras does not track and save the embeddings' weight a second time.
        def word_embeddings():
            return embeddings.word_embeddings

        self.word_embeddings = word_embeddings
        self.transform = dense(
            config, config.hidden_size, "transform", ACTIVATIONS[config.hidden_act]
        )
        self.norm = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name="norm")

    def build(self, shape):
        config = self.config
        self.transform.build(shape)
        self.norm.build(shape)
        self.extra_output_weights = None
        if config.hidden_size > config.embedding_size:
            self.extra_output_weights = self.add_weight(
                shape=(config.vocab_size, config.hidden_size - config.embedding_size),
                initializer=_initializer(config),
                name="extra_output_weights",
            )
        self.output_bias = self.add_weight(
            shape=(config.vocab_size,), initializer="zeros", name="output_bias"
        )

    def call(self, hidden):
        x = self.norm(self.transform(hidden))  # [B,P,H]
        # In float32 under mixed precision too: logits in 16 bits have ties.
        x, table = (ops.cast(tensor, "float32") for tensor in (x, self.word_embeddings()))
        size = self.config.embedding_size
        logits = ops.matmul(x[..., :size], ops.transpose(table))  # [B,P,V]
        if self.extra_output_weights is not None:
            extra = ops.cast(self.extra_output_weights, "float32")
            logits += ops.matmul(x[..., size:], ops.transpose(extra))
        return logits + ops.cast(self.output_bias, "float32")
