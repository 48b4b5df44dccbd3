"""A .tflite file to measure, ours or another's."""

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


class LiteFile:
    """An interpreter of `path` with `threads` threads, and its int32 inputs [1,T]."""

    def __init__(self, path: str | Path, threads: int = 1):
        self._interpreter = Interpreter(str(path), num_threads=threads)
        runner = self._interpreter.get_signature_runner()
        self._inputs = {_role(name): x for name, x in runner.get_input_details().items()}
        self._outputs = runner.get_output_details()
        self._tokens = None

    def set(self, ids, mask, segments) -> None:
        """Takes the next text's arrays [1,T]; another length than the last one's is a resize."""
        if ids.shape[1] != self._tokens:
            self._resize(ids.shape[1])
        for role, array in (("ids", ids), ("mask", mask), ("segments", segments)):
            self._interpreter.set_tensor(self._inputs[role]["index"], array.astype(np.int32))

    def _resize(self, tokens: int) -> None:
        for details in self._inputs.values():
            if details["shape_signature"][1] < 0:
                self._interpreter.resize_tensor_input(details["index"], [1, tokens])
        self._interpreter.allocate_tensors()
        self._tokens = tokens

    def run(self) -> None:
        """One inference."""
        self._interpreter.invoke()

    def outputs(self) -> dict[str, np.ndarray]:
        """What the last inference gave, by name, float32."""
        return {name: self._output(details) for name, details in self._outputs.items()}

    def _output(self, details: dict) -> np.ndarray:
        value = self._interpreter.get_tensor(details["index"])
        if value.dtype == np.float32:
            return value
        scale, zero_point = details["quantization"]
        return (value.astype(np.float32) - zero_point) * np.float32(scale)


def _role(name: str) -> str:
    if "segment" in name or "type" in name:
        return "segments"
    return "mask" if "mask" in name else "ids"
