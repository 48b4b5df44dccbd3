"""Inference with a Keras model or an exported file, behind one interface.

Shape letters: N texts, B texts in a batch, T tokens.
"""

from collections.abc import Callable, Container, Iterator
from typing import Protocol

import numpy as np
import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.heads import HEADS, TOKEN_OUTPUTS
from mobilebert_tf.modeling.model import MODEL_INPUTS, MobileBert
from mobilebert_tf.modeling.model_directory import check_vocabulary
from mobilebert_tf.text.tokenizer import WordPiece


class Runnable(Protocol):
    """A model with its tokenizer: a KerasModel, or a lite.runtime.LiteModel.

    Attributes:
        kind: the kind of its head, a key of HEADS.
        labels: names of the head's classes.
        thresholds: of the labels of a multi_label_classifier, see Head; else none.
        joiners: of the words of a token_classifier, see Head; else none.
        max_tokens: longest input, in tokens.
        sequence_length: number of tokens that the head was trained on; None if unknown.
        pairs: whether the head was trained on pairs of texts; None if unknown.
    """

    kind: str
    tokenizer: WordPiece
    labels: list[str]
    thresholds: list[float]
    joiners: list[str]
    max_tokens: int
    sequence_length: int | None
    pairs: bool | None

    def __call__(self, input_ids, input_mask, segment_ids) -> dict[str, np.ndarray]:
        """Returns the head's outputs by name, float32 [B,...], for inputs of int32 [B,T] each."""


class KerasModel:
    """A Keras model that has the inputs and outputs of an exported file.

    Args:
        model: its head decides which outputs there are.
        tokenizer: of the model's vocabulary.
        head: "encoder" to return the encoder's embedding whatever the model's head is.
    """

    def __init__(self, model: MobileBert, tokenizer: WordPiece, head: str | None = None):
        check_vocabulary(model, tokenizer)
        self.kind = head or model.head.kind
        self.labels = [] if self.kind == "encoder" else list(model.head.output_labels)
        self.thresholds = list(model.head.thresholds) if self.labels else []
        self.joiners = list(model.head.joiners) if self.labels else []
        self.tokenizer, self.max_tokens = tokenizer, model.config.max_position_embeddings
        self.sequence_length = model.head.sequence_length
        self.pairs = None if self.kind == "encoder" else model.head.pairs
        if model.head.kind == "encoder" and self.sequence_length:
            self.max_tokens = min(self.sequence_length, self.max_tokens)
        self._model = model
        # One graph for all lengths: eagerly, layer by layer, a text takes 20 times as long.
        self._run = tf.function(
            self._outputs,
            input_signature=[tf.TensorSpec([None, None], tf.int32)] * 3,
            autograph=False,
        )

    def __call__(self, input_ids, input_mask, segment_ids) -> dict[str, np.ndarray]:
        """Returns the head's outputs by name, float32 [B,...], for inputs of int32 [B,T] each.

        Raises InputError for no tokens, or more than the model takes.
        """
        tokens = input_ids.shape[1]
        if not 0 < tokens <= self.max_tokens:
            raise InputError(f"{tokens} tokens: the model takes 1 to {self.max_tokens}")
        outputs = self._run(input_ids, input_mask, segment_ids)
        return {name: value.numpy() for name, value in outputs.items()}

    def _outputs(self, input_ids, input_mask, segment_ids):
        inputs = dict(input_ids=input_ids, input_mask=input_mask, segment_ids=segment_ids)
        if self._model.head.predicts_masks:
            ones = tf.ones_like(input_ids)  # predict at every position
            inputs["masked_lm_positions"] = tf.cumsum(ones, axis=1, exclusive=True)  # [B,T]
        outputs = self._model(inputs, training=False)
        return {name: self._output(name, outputs) for name in HEADS[self.kind].outputs}

    def _output(self, name: str, outputs: dict):
        """Returns an output of the head from those of the Keras model."""
        if name == "embedding":
            return outputs[name] if name in outputs else outputs["pooled_output"]
        if name in ("probability", "token_probability"):
            logits = "nsp_logits" if self.kind == "next_sentence" else "logits"
            normalize = tf.sigmoid if HEADS[self.kind].multi_label else tf.nn.softmax
            return normalize(outputs[logits])
        return outputs[name][:, None] if name == "score" else outputs[name]


def chosen_labels(model: Runnable, probability: np.ndarray) -> np.ndarray:
    """Returns which labels a multi_label_classifier gives each text: bool [N,C], in its own order.

    Args:
        model: whose thresholds decide; 0.5 if it has none.
        probability: the model's output, [N,C].
    """
    return probability >= np.array(model.thresholds or [0.5] * len(model.labels))


def run_all(
    model: Runnable, arrays: dict[str, np.ndarray], batch_size: int = 32
) -> dict[str, np.ndarray]:
    """Returns the model's outputs for many texts by name, float32 [N,...].

    Outputs with an entry for each token hold zeros at padding.

    Args:
        model: a KerasModel runs texts of one length together, a file runs one text at a time.
        arrays: MODEL_INPUTS by name, int32 [N,T].
        batch_size: number of texts that a KerasModel runs together.
    """
    size = batch_size if isinstance(model, KerasModel) else 1
    return collect(model, arrays, size, TOKEN_OUTPUTS)


def collect(
    run: Callable[..., dict[str, np.ndarray]],
    arrays: dict[str, np.ndarray],
    batch_size: int,
    by_token: Container[str],
) -> dict[str, np.ndarray]:
    """Returns what a function returns for many texts, as `run_all` does.

    Args:
        run: takes MODEL_INPUTS by name, int32 [B,T], and returns arrays by name, [B,...].
        arrays: MODEL_INPUTS by name, int32 [N,T], and others.
        batch_size: number of texts of one length that run together.
        by_token: names of the outputs with an entry for each token, [B,T,...].
    """
    collected = {}
    inputs = {name: arrays[name] for name in MODEL_INPUTS}
    count, width = inputs["input_ids"].shape
    for rows, batch in by_length(inputs, batch_size):
        for name, values in run(**batch).items():
            of_tokens = name in by_token
            shape = (count, width, *values.shape[2:]) if of_tokens else (count, *values.shape[1:])
            output = collected.setdefault(name, np.zeros(shape, np.float32))
            output[(rows, slice(values.shape[1])) if of_tokens else rows] = values
    return collected


def by_length(
    arrays: dict[str, np.ndarray], batch_size: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yields the texts in batches of one length, long ones first: (rows [B], arrays [B,length]).

    Long ones first, because a file is resized to less in a quarter of the time that more takes.

    No batch has padding. The trigram of a text's last token reads [PAD] where padding follows and
    zeros at the end of a row: in a batch of mixed lengths a text's outputs would depend on the
    other texts.
    """
    lengths = arrays["input_mask"].sum(axis=1)
    order = np.argsort(-lengths, kind="stable")
    changes = np.flatnonzero(np.diff(lengths[order])) + 1
    for same_length in np.split(order, changes):
        for start in range(0, len(same_length), batch_size):
            rows = same_length[start : start + batch_size]
            yield rows, {name: array[rows][:, : lengths[rows[0]]] for name, array in arrays.items()}
