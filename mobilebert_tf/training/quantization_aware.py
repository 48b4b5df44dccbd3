"""Quantization-aware training: the quantized inference graph as a trainable Keras model.

The forward pass rounds weights and activations to int8, or weights alone to 4 bits; the backward
pass ignores the rounding (Jacob et al., 2018, section 3). The layers are the folded and merged ones
of lite/graph.py's int8-full graph, so the exported file computes exactly what was trained.
"""

from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.arithmetic import BLOCK, MASKED, RESIDUAL, SCORES, Arithmetic
from mobilebert_tf.lite.equalize import observe
from mobilebert_tf.lite.fold import fold
from mobilebert_tf.lite.graph import INPUTS, HeadByHeadGraph
from mobilebert_tf.lite.int4 import HIGHEST, searched_scales
from mobilebert_tf.lite.quantize import FOUR_BITS, in_4_bits, score_margin
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.heads import HEADS
from mobilebert_tf.modeling.layers import NoNorm
from mobilebert_tf.modeling.model import HEAD_DROPOUT, MODEL_INPUTS, MobileBert, copy_weights
from mobilebert_tf.modeling.quantization import Quantization

MOMENTUM = 0.99  # of the moving averages of ranges
_SMALLEST = 1e-9  # smallest range, for a channel of zeros
_TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")
# The output ranges that TFLite's specification fixes for softmax and tanh.
_PROBABILITIES = (0.0, 255 / 256)
_TANH = (-1.0, 127 / 128)


def check_folds(config: ModelConfig) -> None:
    """Raises InputError for a model that int8 cannot express well: one with layer norms, or with
    another activation than ReLU."""
    if config.normalization_type != "no_norm" or config.hidden_act not in ("relu", "relu6"):
        raise InputError(
            "quantization-aware training needs a model with NoNorm and ReLU: "
            "export/to_tflite.py --operational-optimizations makes one"
        )


class FakeQuantization(keras.layers.Layer):
    """Rounds a tensor to the 256 levels of its range.

    In training the range is the moving average of the batches' ranges. If `counted` is given,
    only values where it is true belong to a batch's range. While `observing`, tensors pass
    unchanged and the range grows to contain them.
    """

    def build(self, shape):
        self.range = self.add_weight(shape=(2,), initializer="zeros", trainable=False, name="range")

    def call(self, x, counted=None, training=False, observing=False):
        if not (training or observing):
            return _rounded(x, *self.ends())
        seen = tf.stack(_ends(x if counted is None else tf.where(counted, x, 0.0)))
        if observing:
            low, high = tf.unstack(tf.convert_to_tensor(self.range))
            self.range.assign([tf.minimum(low, seen[0]), tf.maximum(high, seen[1])])
            return x
        self.range.assign(MOMENTUM * self.range + (1 - MOMENTUM) * tf.stop_gradient(seen))
        return _rounded(x, *self.ends())

    def ends(self) -> tuple:
        """Returns the lowest and the highest value of the range, scalars."""
        low, high = tf.unstack(tf.convert_to_tensor(self.range))
        return low, tf.maximum(high, low + _SMALLEST)


class QuantizationAware(keras.Model):
    """A model that computes what its file will compute.

    Its outputs are those of the loss: logits, score, or start_logits and end_logits.

    Args:
        model: a model with NoNorm, ReLU and a task's head. It is trained in place, except for its
            norms, which are frozen.
        samples: texts to find the first ranges and the scales of channels with: ids, mask and
            segment_ids, int32 [1,T] each, without padding.
        mode: of the file: int8-full, int4 or int4-mixed.

    Raises InputError for a model with layer norms or another activation.
    """

    def __init__(
        self,
        model: MobileBert,
        samples: Sequence[dict[str, np.ndarray]],
        mode: str = "int8-full",
    ):
        super().__init__(name="quantization_aware")
        check_folds(model.config)
        self.model, self.config, self.head = model, model.config, model.head
        for layer in model._flatten_layers():
            if isinstance(layer, NoNorm):
                layer.trainable = False
        self.scales = observe(model, samples).scales
        self._graph = _TrainingGraph(model, self.scales, mode)
        for sample in samples:
            ids, mask, segment_ids = (tf.constant(sample[name]) for name in INPUTS)
            self._graph(ids, mask, segment_ids, observing=True)
        # Attributes, so that Keras finds their variables.
        self.quantizers = self._graph.arithmetic.quantizers
        self.dropouts = list(self._graph.arithmetic.dropouts.values())

    def call(self, inputs, training=False):
        return self._graph(*(inputs[name] for name in MODEL_INPUTS), training=training)

    def trained(self) -> MobileBert:
        """Returns a copy of the model with rounded weights and its `quantization`."""
        model = MobileBert(self.config, self.head)
        copy_weights(self.model, model)
        rounded = self._graph.weights.rounded()
        for weight in model.weights:
            if weight.path in rounded:
                weight.assign(rounded[weight.path])
        model.quantization = Quantization(self.scales, self._graph.arithmetic.ranges())
        return model


class _Folded(Mapping):
    """The weights of the inference graph, by path, as functions of the model's variables.

    Folding multiplies each weight by a factor and adds a shift. Both depend only on the norms,
    which are frozen, so they are computed once.
    """

    def __init__(self, model: MobileBert, head_layer: str | None, scales: dict[str, np.ndarray]):
        self._variables = {variable.path: variable for variable in model.weights}

        def folded(value):
            """Returns the folded weights of a model in which all but the norms are `value`."""
            weights = {
                path: variable.numpy() if "/norm/" in path else np.full(variable.shape, value)
                for path, variable in self._variables.items()
                if "seed_generator" not in path
            }
            return fold(weights, model.config, head_layer, scales)

        self._shifts = folded(0.0)
        self._factors = {path: one - self._shifts[path] for path, one in folded(1.0).items()}

    def __getitem__(self, path: str):
        if path.endswith("/norm/gamma"):  # of a residual, where it was not folded
            return self._shifts[path]
        return self._variables[path] * self._factors[path] + self._shifts[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shifts)

    def __len__(self) -> int:
        return len(self._shifts)

    def kernel(self, layer: str):
        """Returns the rounded kernel of a dense layer: [in,out]."""
        return _rounded_channels(self[f"{layer}/kernel"], 127)

    def table(self, name: str):
        """Returns a rounded embedding table: [rows,width]."""
        table = self[f"embeddings/{name}"]
        return _rounded(table, *_ends(table))

    def rounded(self) -> dict[str, np.ndarray]:
        """Returns values of the unfolded weights, by path, which fold to the rounded ones."""
        folded = {f"embeddings/{name}": self.table(name) for name in _TABLES}
        kernels = [path for path in self if path.endswith("/kernel")]
        folded |= {path: self.kernel(path.removesuffix("/kernel")) for path in kernels}
        values = {}
        for path, value in folded.items():
            factor, unchanged = self._factors[path], self._variables[path].numpy()
            difference = np.asarray(value) - self._shifts[path]
            values[path] = np.divide(difference, factor, out=unchanged.copy(), where=factor != 0)
        return values


class _FoldedInt4(_Folded):
    """The same with 4 bits for tables and for the dense layers that have them in `mode`.

    The widest weight of a channel sets its scale, times the share of the range that was best for
    the weights at the start (lite/int4.py): so at least one weight is 7 or -7, and the export finds
    the same scale.
    """

    def __init__(self, mode: str, *arguments):
        super().__init__(*arguments)
        layers = [path.removesuffix("/kernel") for path in self if path.endswith("/kernel")]
        self._layers = [layer for layer in layers if in_4_bits(mode, layer)]
        tables = [f"embeddings/{name}" for name in _TABLES]
        self._shares = {path: _best_shares(self[path], axis=1) for path in tables}
        for layer in self._layers:
            path = f"{layer}/kernel"
            self._shares[path] = _best_shares(self[path], axis=0)

    def kernel(self, layer):
        if layer not in self._layers:
            return super().kernel(layer)
        path = f"{layer}/kernel"
        return _rounded_channels(self[path], HIGHEST, self._shares[path])

    def table(self, name):
        path = f"embeddings/{name}"
        return _rounded_channels(self[path], HIGHEST, self._shares[path], axis=1)


class _SimulatedInt8(Arithmetic):
    """The arithmetic of an int8-full file: rounds every operation's output; in training it also
    applies dropout.

    Args:
        weights: of the inference graph.
        model: gives the sizes and dropout rates.

    Attributes:
        quantizers: {name of an operation: its FakeQuantization}; made for the first sample.
        dropouts: {rate: dropout layer}.
    """

    weights: _Folded

    def __init__(self, weights: _Folded, model: MobileBert):
        super().__init__(weights)
        self.config = model.config
        self.quantizers: dict[str, FakeQuantization] = {}
        rates = {self.config.hidden_dropout_prob, self.config.attention_probs_dropout_prob}
        layers = [keras.layers.Dropout(rate) for rate in sorted(rates | {HEAD_DROPOUT})]
        self.dropouts = {layer.rate: layer for layer in layers}

    def begin(self, mask, training: bool, observing: bool) -> None:
        """Sets the mode and the real tokens (mask [B,T]) of the operations that follow."""
        self._training, self._observing = training, observing
        self._real = mask[:, :, None] > 0  # [B,T,1]

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Returns the range of each operation by its name, as in Quantization."""
        ends = {name: quantizer.ends() for name, quantizer in self.quantizers.items()}
        ends |= {f"embeddings/{name}": _ends(self.weights.table(name)) for name in _TABLES}
        # A trigram has the levels of the word embeddings, one of which is 0.
        if self.config.trigram_input:
            ends["embeddings/trigrams"] = ends["embeddings/word_embeddings"]
        return {name: (float(low), float(high)) for name, (low, high) in ends.items()}

    def dropped(self, x, rate: float):
        return self.dropouts[rate](x, training=self._training)

    def kernel(self, layer):
        return self.weights.kernel(layer)

    def rows(self, table, ids):
        return tf.gather(self.weights.table(table), ids)

    def dense(self, layers, x, kernels, biases, activation=None):
        x = x @ tf.concat(kernels, axis=1) + tf.concat(biases, axis=0)
        return self._quantized(layers[0], x if activation is None else activation(x))

    def add(self, name, x, y):
        if name.endswith(RESIDUAL) and self._drops_before(name):
            x = self.dropped(x, self.config.hidden_dropout_prob)
        return self._quantized(name, x + y)

    def _drops_before(self, name):
        """Returns whether modeling/layers.py has a dropout before a residual."""
        return "output_bottleneck" in name or not self.config.use_bottleneck

    def rescale(self, name, x, factor):
        return self._quantized(name, x * _rounded(factor, *_ends(factor)))

    def scores(self, name, query, key):
        return self._quantized(name, super().scores(name, query, key))

    def masked(self, name, scores, attention_bias):
        """Returns the scores with padding at the value that lite/quantize.py gives it, below all
        real scores."""
        low, high = self.quantizers[name.replace(MASKED, SCORES)].ends()
        low -= score_margin("int8-full")
        return self._fixed(tf.where(attention_bias < 0, low, scores), (low, high))

    def softmax(self, scores):
        probabilities = self._fixed(super().softmax(scores), _PROBABILITIES)
        return self.dropped(probabilities, self.config.attention_probs_dropout_prob)

    def joined(self, name, contexts):
        return self._quantized(name, super().joined(name, contexts))

    def tanh(self, x):
        return self._fixed(super().tanh(x), _TANH)

    def _quantized(self, name, x):
        if name not in self.quantizers:
            self.quantizers[name] = FakeQuantization(name=name.replace("/", "_"))
        counted = self._counted(name, x)
        return self.quantizers[name](x, counted, training=self._training, observing=self._observing)

    def _counted(self, name, x):
        """Returns which values of x belong to real tokens: a file never reads padding."""
        if x.shape.rank < 3:
            return None
        if f"/{SCORES}" in name:
            return self._real & tf.transpose(self._real, [0, 2, 1])  # [B,T,T]
        return self._real

    def _fixed(self, x, ends):
        return x if self._observing else _rounded(x, *ends)


class _SimulatedInt4(_SimulatedInt8):
    """The arithmetic of a file with 4-bit weights. Activations, which it rounds to 8 bits for each
    token, stay float; their ranges are observed for files of other modes."""

    def _quantized(self, name, x):
        super()._quantized(name, x)
        return x

    def _fixed(self, x, ends):
        return x

    def rescale(self, name, x, factor):
        return self._quantized(name, x * factor)


class _TrainingGraph(HeadByHeadGraph):
    """The int8-full graph on batches, [B,T,width] instead of [T,width], with the outputs of the
    loss."""

    arithmetic: _SimulatedInt8
    weights: _Folded  # type: ignore[assignment]  # reads like the dict, but follows the training

    def __init__(self, model: MobileBert, scales: dict[str, np.ndarray], mode: str):
        super().__init__(model, scales=scales)
        arguments = (model, self.head_layer, scales)
        if mode in FOUR_BITS:
            self.weights = _FoldedInt4(mode, *arguments)
            self.arithmetic = _SimulatedInt4(self.weights, model)
        else:
            self.weights = _Folded(*arguments)
            self.arithmetic = _SimulatedInt8(self.weights, model)

    def __call__(self, ids, mask, segment_ids, training=False, observing=False):
        self.arithmetic.begin(mask, training, observing)
        hidden = self._embeddings(ids, mask, segment_ids)  # [B,T,H]
        attention_bias = tf.cast(mask - 1, tf.float32)[:, None, :]  # [B,1,T]
        last = self.config.num_hidden_layers - 1
        for index in range(last + 1):
            first_row = index == last and not HEADS[self.kind].by_token
            hidden = self._block(f"{BLOCK}{index}", hidden, attention_bias, first_row)
        return getattr(self, f"_{self.kind}")(hidden)

    def _trigrams(self, words):
        after = tf.pad(words[:, 1:], ((0, 0), (0, 1), (0, 0)))
        before = tf.pad(words[:, :-1], ((0, 0), (1, 0), (0, 0)))
        return tf.concat([after, words, before], axis=-1)

    def _positions(self, mask):
        return tf.range(tf.shape(mask)[1])

    def _norm(self, name, x):
        rate = self.config.hidden_dropout_prob
        return self.arithmetic.dropped(x, rate) if name == "embeddings" else x

    def _pooled(self, first):
        return super()._pooled(first)[:, 0]  # [B,H]

    def _classifier(self, first):
        features = self.arithmetic.dropped(self._pooled(first), HEAD_DROPOUT)
        return {"logits": self._dense(features, "classifier")}

    _multi_label_classifier = _classifier

    def _regression(self, first):
        return {"score": self._classifier(first)["logits"][:, 0]}

    def _token_classifier(self, hidden):
        features = self.arithmetic.dropped(hidden, HEAD_DROPOUT)
        return {"logits": self._dense(features, "classifier")}

    def _span(self, hidden):
        start, end = tf.unstack(self._dense(hidden, "span"), axis=-1)
        return {"start_logits": start, "end_logits": end}


def _ends(table) -> tuple:
    """Returns the lowest and the highest value of a tensor, with 0 between them."""
    return tf.minimum(tf.reduce_min(table), 0), tf.maximum(tf.reduce_max(table), 0)


def _rounded(x, low, high):
    """Returns x rounded to the nearest of 256 levels from `low` to `high`, one of which is 0.

    The gradient is 1 inside the range and 0 outside. TensorFlow's own operation for this is not
    deterministic on GPUs.
    """
    step = (high - low) / 255
    below = tf.round(-low / step)  # levels
    inside = tf.clip_by_value(x, -below * step, (255 - below) * step)
    return inside + tf.stop_gradient(tf.round(inside / step) * step - inside)


def _rounded_channels(weights, highest: int, shares=1.0, axis: int = 0):
    """Returns weights, each of a channel along `axis`, rounded to `highest` levels on each side of
    0: up to a share of the widest weight. The gradient is 1."""
    widest = tf.reduce_max(tf.abs(weights), axis=axis, keepdims=True)
    step = tf.maximum(widest, _SMALLEST) * shares / highest
    levels = tf.clip_by_value(tf.round(weights / step), -highest, highest)
    return weights + tf.stop_gradient(levels * step - weights)


def _best_shares(weights, axis: int) -> np.ndarray:
    """Returns the share of each channel's range that 4 bits express best, as for
    _rounded_channels."""
    channels = np.moveaxis(np.asarray(weights), axis, -1)  # [channels,width]
    widest = np.maximum(np.abs(channels).max(axis=1, keepdims=True), _SMALLEST)
    shares = searched_scales(channels) * HIGHEST / widest  # [channels,1]
    return np.minimum(shares, 1) if axis else np.minimum(shares, 1).T
