"""Running an exported .tflite file, behind the same call as a Keras model (modeling/runner.py)."""

import os
import threading
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mobilebert_tf.errors import InputError, check_number
from mobilebert_tf.files import read_bytes
from mobilebert_tf.lite import metadata
from mobilebert_tf.lite.contract import check_file
from mobilebert_tf.lite.graph import INPUTS, SIGNATURE
from mobilebert_tf.modeling.heads import TOKEN_OUTPUTS
from mobilebert_tf.text.tokenizer import WordPiece

LARGEST_FILE = 2**31 - 1  # bytes, the format's limit
MOST_THREADS = 256  # XNNPACK starts them all, and ends the process if the system has no more


class LiteModel:
    """An exported .tflite file, addressed by the names of its signature.

    Args:
        path: the file.
        num_threads: of the interpreter.

    Safe to call from many threads: they share one interpreter, and take turns. For more texts at
    once open a LiteModel for each thread, each with the interpreter's memory.

    Raises InputError for a file that is missing, damaged or not made by export/to_tflite.py.
    """

    def __init__(self, path: str | os.PathLike, num_threads: int = 1):
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"no file {path}: export a model with export/to_tflite.py")
        check_number("num_threads", num_threads, 1, MOST_THREADS)
        packed = metadata.unpack(self.path)
        self.kind, self.labels = packed.kind, list(packed.labels)
        self.thresholds, self.joiners = list(packed.thresholds), list(packed.joiners)
        self.tokenizer = WordPiece(packed.vocabulary, packed.do_lower_case, packed.strip_accents)
        content = read_bytes(self.path, LARGEST_FILE)
        check_file(content, self.kind, len(self.tokenizer), str(path))
        try:
            self._interpreter = Interpreter(str(self.path), num_threads=num_threads)
            runner = self._interpreter.get_signature_runner(SIGNATURE)
            self.signature = {**runner.get_input_details(), **runner.get_output_details()}
            self._outputs = sorted(runner.get_output_details())
            self._inputs = [self.signature[name] for name in INPUTS]
        except (ValueError, RuntimeError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path} is damaged: {reason}") from None
        classes = {int(self.signature[name]["shape"][-1]) for name in self._outputs}
        if self.labels and classes != {len(self.labels)}:
            raise InputError(f"{path} is damaged: {len(self.labels)} labels for {classes} classes")
        fixed = int(self._inputs[0]["shape_signature"][1])
        self.fixed_length = None if fixed < 0 else fixed
        self.max_tokens = self.fixed_length or packed.max_tokens
        self.sequence_length, self.pairs = packed.sequence_length, packed.pairs
        self._length: int | None = None
        self._lock = threading.Lock()

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
        with self._lock:
            self._resize(self.fixed_length or tokens)
            for details, array in zip(self._inputs, arrays, strict=True):
                if tokens < self._length:
                    array = np.pad(array, ((0, 0), (0, self._length - tokens)))
                self._interpreter.set_tensor(details["index"], np.asarray(array, np.int32))
            try:
                self._interpreter.invoke()
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"this runtime does not run {self.path}: {reason}") from None
            return {name: self._output(name, tokens) for name in self._outputs}

    def _resize(self, length: int) -> None:
        """To this many tokens.

        At full size that takes 0.8 ms to more tokens, 0.15 to fewer, so several texts are best run
        long ones first. Interpreters kept by length gain nothing: docs/results.md.
        """
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
        return value[:, :tokens] if name in TOKEN_OUTPUTS else value
