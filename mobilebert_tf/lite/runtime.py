"""Running a model on numbers: an exported file or a Keras model, behind the same call."""

import os
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite import metadata
from mobilebert_tf.lite.graph import BY_TOKEN, INPUTS, SIGNATURE
from mobilebert_tf.modeling.model import MobileBert, load_model, load_tokenizer
from mobilebert_tf.text.tokenizer import WordPiece


class Runnable(Protocol):
    """What a LiteModel and a KerasModel have in common."""

    kind: str  # of its head: mobilebert_tf.modeling.model.Task
    tokenizer: WordPiece
    labels: list[str]
    max_tokens: int
    sequence_length: int | None  # that its head was trained on; None if it does not say

    def __call__(self, input_ids, input_mask, segment_ids) -> dict[str, np.ndarray]:
        """int32 [1,T] each -> the outputs of lite.graph.InferenceGraph, by name."""


class LiteModel:
    """An exported .tflite file, addressed by the names of its signature.

    Args:
        path: the file.
        num_threads: of the interpreter.

    Raises InputError for a file that is missing, damaged or not made by export/to_tflite.py.
    """

    def __init__(self, path: str | os.PathLike, num_threads: int = 1):
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"no file {path}: export a model with export/to_tflite.py")
        if num_threads < 1:
            raise InputError(f"num_threads is {num_threads}: at least 1")
        packed = metadata.unpack(self.path)
        self.kind, self.labels = packed.kind, list(packed.labels)
        self.tokenizer = WordPiece(packed.vocabulary, packed.do_lower_case)
        try:
            self._interpreter = Interpreter(str(self.path), num_threads=num_threads)
            runner = self._interpreter.get_signature_runner(SIGNATURE)
            self.signature = {**runner.get_input_details(), **runner.get_output_details()}
            self._outputs = sorted(runner.get_output_details())
            self._inputs = [self.signature[name] for name in INPUTS]
        except (ValueError, RuntimeError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path} is damaged: {reason}") from None
        fixed = int(self._inputs[0]["shape_signature"][1])
        self.fixed_length = None if fixed < 0 else fixed
        self.max_tokens = self.fixed_length or packed.max_tokens
        self.sequence_length = packed.sequence_length
        self._length = None

    def __call__(self, input_ids, input_mask, segment_ids) -> dict[str, np.ndarray]:
        """Runs one sequence; a fixed-length file pads it, and its outputs by token are cut back.

        Args:
            input_ids, input_mask, segment_ids: int32 [1,T], T at most max_tokens.

        Returns the outputs by name, float32.
        """
        arrays = (input_ids, input_mask, segment_ids)
        if any(array.shape != (1, input_ids.shape[1]) for array in arrays):
            raise InputError(f"inputs must be [1,T] each, not {[a.shape for a in arrays]}")
        tokens = input_ids.shape[1]
        if not 0 < tokens <= self.max_tokens:
            raise InputError(f"{tokens} tokens: {self.path} takes 1 to {self.max_tokens}")
        self._resize(self.fixed_length or tokens)
        for details, array in zip(self._inputs, arrays, strict=True):
            if tokens < self._length:
                array = np.pad(array, ((0, 0), (0, self._length - tokens)))
            self._interpreter.set_tensor(details["index"], np.asarray(array, np.int32))
        self._interpreter.invoke()
        return {name: self._output(name, tokens) for name in self._outputs}

    def _resize(self, length: int) -> None:
        """To this many tokens. A resize takes 1 ms at full size, a token of padding 0.13 ms:
        rounding lengths up to 2, 4 or 8 makes sentences slower (calculated for SST-2's)."""
        if length == self._length:
            return
        if self.fixed_length is None:
            for details in self._inputs:
                self._interpreter.resize_tensor_input(details["index"], [1, length])
        try:
            self._interpreter.allocate_tensors()
        except RuntimeError as error:  # XNNPACK refuses scales too far apart here, not before
            reason = str(error).splitlines()[0]
            raise InputError(f"this runtime does not run {self.path}: {reason}") from None
        self._length = length

    def _output(self, name: str, tokens: int) -> np.ndarray:
        details = self.signature[name]
        value = self._interpreter.get_tensor(details["index"])
        if value.dtype != np.float32:
            scale, zero_point = details["quantization"]
            value = (value.astype(np.float32) - zero_point) * np.float32(scale)
        return value[:, :tokens] if name in BY_TOKEN else value


class KerasModel:
    """A model directory's Keras model, with the outputs of an exported file.

    Args:
        model, tokenizer: what the directory holds.
        head: "encoder" for the bare encoder's output whatever the model's head is.
    """

    def __init__(self, model: MobileBert, tokenizer: WordPiece, head: str | None = None):
        self.kind = head or model.task.kind
        self.labels = [] if self.kind == "encoder" else list(model.task.output_labels)
        self.tokenizer, self.max_tokens = tokenizer, model.config.max_position_embeddings
        self.sequence_length = model.task.sequence_length
        self._model = model
        # One graph for all lengths: called layer by layer, a text takes 20 times as long.
        self._run = tf.function(
            self._outputs,
            input_signature=[tf.TensorSpec([None, None], tf.int32)] * 3,
            autograph=False,
        )

    def __call__(self, input_ids, input_mask, segment_ids) -> dict[str, np.ndarray]:
        """As LiteModel's call, but for any number of texts: int32 [B,T] each -> outputs [B,...]."""
        tokens = input_ids.shape[1]
        if not 0 < tokens <= self.max_tokens:
            raise InputError(f"{tokens} tokens: the model takes 1 to {self.max_tokens}")
        outputs = self._run(input_ids, input_mask, segment_ids)
        return {name: value.numpy() for name, value in outputs.items()}

    def _outputs(self, input_ids, input_mask, segment_ids):
        inputs = dict(input_ids=input_ids, input_mask=input_mask, segment_ids=segment_ids)
        if self._model.task.predicts_masks:
            everywhere = tf.ones_like(input_ids)
            inputs["masked_lm_positions"] = tf.cumsum(everywhere, axis=1, exclusive=True)  # [B,T]
        outputs = self._model(inputs, training=False)
        if self.kind == "encoder":
            return {"embedding": outputs.get("embedding", outputs["pooled_output"])}
        if self.kind == "classifier":
            return {"probability": tf.nn.softmax(outputs["logits"])}
        if self.kind == "next_sentence":
            return {"probability": tf.nn.softmax(outputs["nsp_logits"])}
        if self.kind == "token_classifier":
            return {"token_probability": tf.nn.softmax(outputs["logits"])}
        if self.kind in ("regression", "multiple_choice"):
            return {"score": outputs["score"][:, None]}
        return {name: outputs[name] for name in BY_TOKEN if name in outputs}


def open_model(path: str | os.PathLike) -> Runnable:
    """A model directory or a .tflite file; InputError if it is neither."""
    if Path(path).is_dir():
        return KerasModel(load_model(path), load_tokenizer(path))
    return LiteModel(path)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
