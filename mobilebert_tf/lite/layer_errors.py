"""Which operations of a quantized file are least exact: the output of each beside that of its
float twin."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from mobilebert_tf.lite import flatbuffer
from mobilebert_tf.lite.graph import INPUTS, SIGNATURE

# What changes values; moves, casts and quantization itself only pass errors on.
OPERATIONS = ("FULLY_CONNECTED", "BATCH_MATMUL", "SOFTMAX", "ADD", "MUL", "TANH")
_EXACT = 200.0  # dB


@dataclass
class LayerError:
    """One operation's output over all samples.

    Args:
        name: its tensor's, in both files.
        operation: such as FULLY_CONNECTED.
        dtype: in the quantized file; int4 if the operation's weights are.
        signal, noise: sums of the squares of the float values, and of the differences.
        low, high: range of the float values.
        representable: range of the quantized tensor; None of a float one.
        clipped: how many float values are outside that.
        count: of all values.
    """

    name: str
    operation: str
    dtype: str
    representable: tuple[float, float] | None
    signal: float = 0.0
    noise: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    clipped: int = 0
    count: int = 0

    @property
    def snr(self) -> float:
        """Signal to noise ratio in decibels, at most _EXACT."""
        if self.noise == 0:
            return _EXACT
        return min(_EXACT, float(10 * np.log10(max(self.signal, 1e-30) / self.noise)))

    def add(self, values: np.ndarray, expected: np.ndarray) -> None:
        self.signal += float(np.square(expected, dtype=np.float64).sum())
        self.noise += float(np.square(values - expected, dtype=np.float64).sum())
        self.low = min(self.low, float(expected.min()))
        self.high = max(self.high, float(expected.max()))
        self.count += expected.size
        if self.representable is not None:
            low, high = self.representable
            self.clipped += int(np.sum((expected < low) | (expected > high)))


def layer_errors(
    quantized: bytes, twin: bytes, samples: Sequence[dict[str, np.ndarray]]
) -> list[LayerError]:
    """Compares the operations that both files have; returns their errors in the graph's order.

    Args:
        quantized, twin: files of one graph, as quantize.convert makes both.
        samples: ids, mask and segment_ids, int32 [1,T] each.
    """
    files = [AllTensors(quantized), AllTensors(twin)]
    errors = [
        LayerError(name, operation, dtype, files[0].representable(name))
        for name, operation, dtype in files[0].outputs()
        if name in files[1].tensors
    ]
    for sample in samples:
        for file in files:
            file.run(sample)
        for error in errors:
            error.add(*(file.value(error.name) for file in files))
    return errors


class AllTensors:
    """A file run without XNNPACK, which keeps no intermediate tensors."""

    def __init__(self, content: bytes):
        self._model = flatbuffer.read(content)
        self._interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self._inputs = self._interpreter.get_signature_runner(SIGNATURE).get_input_details()
        self.tensors = {each["name"]: each for each in self._interpreter.get_tensor_details()}

    def outputs(self) -> Iterator[tuple[str, str, str]]:
        """Yields the name of each tensor that one of OPERATIONS writes, the operation, and the
        dtype of the tensor; int4 if the operation has such weights. The signatures that tokenize
        are left out: they are not run."""
        for operation, operator, graph in flatbuffer.operators(self._model):
            name = graph.tensors[operator.outputs[0]].name.decode()
            if operation in OPERATIONS and name in self.tensors:
                in_4_bits = any(graph.tensors[i].type == flatbuffer.INT4 for i in operator.inputs)
                yield name, operation, "int4" if in_4_bits else self._dtype(name).name

    def representable(self, name: str) -> tuple[float, float] | None:
        """Returns the range that a tensor can express; None for a float tensor."""
        scale, zero_point = self.tensors[name]["quantization"]
        if not scale:
            return None
        limits = np.iinfo(self._dtype(name))
        return scale * (limits.min - zero_point), scale * (limits.max - zero_point)

    def _dtype(self, name: str) -> np.dtype:
        return np.dtype(self.tensors[name]["dtype"])

    def run(self, sample: dict[str, np.ndarray]) -> None:
        for name in INPUTS:
            index = self._inputs[name]["index"]
            self._interpreter.resize_tensor_input(index, sample[name].shape)
        self._interpreter.allocate_tensors()
        for name in INPUTS:
            self._interpreter.set_tensor(self._inputs[name]["index"], sample[name])
        self._interpreter.invoke()

    def value(self, name: str) -> np.ndarray:
        details = self.tensors[name]
        value = self._interpreter.get_tensor(details["index"])
        scale, zero_point = details["quantization"]
        return (value.astype(np.float32) - zero_point) * np.float32(scale) if scale else value
