"""The .tflite format: reading models, writing them small, and the runtime that they need."""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

INT4, INT8, INT16 = schema.TensorType.INT4, schema.TensorType.INT8, schema.TensorType.INT16

_LOOKUPS = ("GATHER", "EMBEDDING_LOOKUP")
_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
_MINIMUM_RUNTIME = "min_runtime_version"  # metadata that TensorFlow's converter writes
# From op_version.cc of TensorFlow: versions of operations by their data's type, where they are not
# 2 for int8 and 3 for int16. An older runtime refuses a version that it has not.
_VERSIONS = {
    INT4: {"EMBEDDING_LOOKUP": 4},
    INT8: {"RESHAPE": 1, "QUANTIZE": 1, "FULLY_CONNECTED": 4},
    INT16: {"RESHAPE": 1, "FULLY_CONNECTED": 7, "TRANSPOSE": 5, "SPLIT": 4, "SLICE": 4}
    | {"MUL": 4, "SUB": 5, "GATHER": 4},
}
# From its runtime_version.cc: the first TFLite that has a version; "2.3" has the others.
_RUNTIMES = {
    ("FULLY_CONNECTED", 12): "2.17",
    ("EMBEDDING_LOOKUP", 4): "2.18",
    ("GELU", 1): "2.9",
    ("GELU", 2): "2.9",
    ("RSQRT", 2): "2.5",
    ("SQUARED_DIFFERENCE", 2): "2.5",
    **{(name, 3): "2.4" for name in ("ADD", "MEAN", "BATCH_MATMUL")},
    **{("TRANSPOSE", 5): "2.4", ("SLICE", 4): "2.4", ("SUB", 5): "2.4", ("GATHER", 4): "2.4"},
    ("CUMSUM", 1): "2.4",
}


def read(content: bytes) -> schema.ModelT:
    return flatbuffer_utils.read_model_from_bytearray(content)


def operators(model: schema.ModelT) -> Iterator[tuple[str, schema.OperatorT, schema.SubGraphT]]:
    """Yields every operation: its name, itself and its graph."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            yield _NAMES[model.operatorCodes[operator.opcodeIndex].builtinCode], operator, graph


def scope(name: str) -> str:
    """Returns the scope of a tensor's name: "a/b" of "a/b/MatMul;a/b/add".

    The converter joins operations into one, and their names with them; the last one counts.
    """
    return name.strip(";").split(";")[-1].rpartition("/")[0]


def sign(model: schema.ModelT, key: str, outputs: Sequence[str]) -> None:
    """Adds a signature to a model without one.

    Args:
        key: name of the signature.
        outputs: names of the outputs, in the graph's order; inputs keep their tensors' names.
    """
    (graph,) = model.subgraphs
    signature = schema.SignatureDefT(signatureKey=key)
    inputs = [graph.tensors[index].name for index in graph.inputs]
    signature.inputs = list(map(schema.TensorMapT, inputs, graph.inputs))
    signature.outputs = list(map(schema.TensorMapT, outputs, graph.outputs))
    model.signatureDefs = [signature]


def dequantize_rows(model: schema.ModelT) -> None:
    """Replaces each CAST of int8 table rows to float by a DEQUANTIZE with scale 1.

    The numbers are the same, but XNNPACK runs DEQUANTIZE, and TFLite has it for int8 since 2.3,
    CAST since 2.8.
    """
    casts = [
        (operator, graph)
        for name, operator, graph in operators(model)
        if name == "CAST" and graph.tensors[operator.inputs[0]].type == INT8
    ]
    dequantize = schema.BuiltinOperator.DEQUANTIZE
    for operator, graph in casts:
        model.operatorCodes[operator.opcodeIndex].version = 1  # that of the other CASTs
        operator.opcodeIndex = code_index(model, dequantize)
        operator.builtinOptionsType, operator.builtinOptions = 0, None
        (rows,) = operator.inputs  # of a table, or all of one: each position of a fixed length
        tables = [maker.inputs[0] for maker in graph.operators if rows in maker.outputs]
        for index in (rows, *tables):
            unit = schema.QuantizationParametersT(scale=[1.0], zeroPoint=[0])
            graph.tensors[index].quantization = unit


def code_index(model: schema.ModelT, operation: int) -> int:
    """Returns the index of an operation's code, which is added if the model has none."""
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == operation:
            return index
    model.operatorCodes.append(schema.OperatorCodeT(operation, builtinCode=operation))
    return len(model.operatorCodes) - 1


def drop_unused_buffers(model: schema.ModelT) -> None:
    """Empties the buffers that nothing refers to."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None


def write(model: schema.ModelT) -> bytes:
    """Returns the model's bytes, with equal arrays stored once and each operation's right version.

    Every channel of a weight has a zero point of 8 bytes, which is always 0: to store them once
    makes a full-size int8 file 1 MB smaller.
    """
    _set_versions(model)
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.quantization is not None and tensor.quantization.zeroPoint is not None:
                tensor.quantization.zeroPoint = np.array(tensor.quantization.zeroPoint, np.int64)
    builder = _SharingBuilder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def part(
    model: schema.ModelT,
    operators: Sequence[schema.OperatorT],
    inputs: Sequence[int],
    outputs: Sequence[int],
    constants: dict[int, np.ndarray],
) -> bytes:
    """Returns a file of some operations of a model's only graph.

    Args:
        inputs, outputs: indices of the tensors that are given to the operations, and taken.
        constants: values that replace those of the model, by the tensors' indices.
    """
    (graph,) = model.subgraphs
    used = {int(i) for o in operators for i in (*o.inputs, *o.outputs) if i >= 0}
    place = {index: i for i, index in enumerate(sorted(used))} | {-1: -1}  # -1: left out
    tensors, buffers = [], [schema.BufferT()]
    for index in sorted(used):
        tensors.append(copy.copy(graph.tensors[index]))
        data = constants.get(index, model.buffers[graph.tensors[index].buffer].data)
        tensors[-1].buffer = 0 if data is None else len(buffers)
        if data is not None:
            buffers.append(schema.BufferT(data=np.asarray(data).view(np.uint8).ravel()))
    copies = [copy.copy(operator) for operator in operators]
    for each in copies:
        each.inputs = [place[int(i)] for i in each.inputs]
        each.outputs = [place[int(i)] for i in each.outputs]
    ends = ([place[index] for index in indices] for indices in (inputs, outputs))
    found = schema.SubGraphT(tensors, *ends, copies)
    codes = copy.deepcopy(model.operatorCodes)
    return write(schema.ModelT(3, operatorCodes=codes, subgraphs=[found], buffers=buffers))


def minimum_runtime(model: schema.ModelT) -> str:
    """Returns the oldest TFLite, such as "2.17", that has all operations."""
    return max(_needed(model).values(), key=_as_numbers)


def newest_operations(model: schema.ModelT) -> list[str]:
    """Returns the operations for which the model needs its `minimum_runtime`."""
    oldest = minimum_runtime(model)
    return sorted({name for (name, _), version in _needed(model).items() if version == oldest})


def _needed(model: schema.ModelT) -> dict[tuple[str, int], str]:
    """Returns the oldest TFLite for each operation, by its name and version."""
    codes = [(_NAMES[code.builtinCode], code.version) for code in model.operatorCodes]
    return {code: _RUNTIMES.get(code, "2.3") for code in codes}


def _as_numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal arrays once, and aligns them as the format's schema asks (force_align: 16)."""

    def __init__(self, size: int):
        super().__init__(size)
        self._written = {}

    def CreateNumpyVector(self, x):  # noqa: N802
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            self.Prep(16, x.nbytes)
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def _set_versions(model: schema.ModelT) -> None:
    """Sets the versions of the operations: litert-quantizer leaves those of the float operations,
    with which an old runtime opens the file and computes something else."""
    for name, operator, graph in operators(model):
        code = model.operatorCodes[operator.opcodeIndex]
        code.version = max(code.version, _version(name, operator, graph))
    for entry in model.metadata or []:
        if entry.name == _MINIMUM_RUNTIME.encode():
            version = f"{minimum_runtime(model)}.0".encode().ljust(16, b"\0")
            model.buffers[entry.buffer].data = np.frombuffer(version, np.uint8)


def _version(name: str, operator: schema.OperatorT, graph: schema.SubGraphT) -> int:
    tensors = [graph.tensors[i] for i in operator.inputs if i >= 0]
    if not tensors:
        return 1
    if name == "FULLY_CONNECTED" and tensors[1].type in (INT4, INT8):
        if tensors[0].type not in (INT8, INT16):  # float activations, quantized on the fly
            return 12 if len(tensors[1].quantization.scale) > 1 else 9
    data = tensors[1] if name in ("SPLIT", "EMBEDDING_LOOKUP") else tensors[0]
    default = {INT8: 2, INT16: 3}.get(data.type, 1)
    return _VERSIONS.get(data.type, {}).get(name, default)


def sizes(model: schema.ModelT) -> dict[str, int]:
    """Returns the bytes of the constants in each part of the model, largest first."""
    found = Counter()
    for name, operator, graph in operators(model):
        part = graph.tensors[operator.outputs[0]].name.decode().split("/")[0].split(";")[0]
        for index in operator.inputs:
            data = model.buffers[graph.tensors[index].buffer].data if index >= 0 else None
            if data is not None and len(data):
                found["tables" if name in _LOOKUPS else part] += len(data)
    return dict(found.most_common())
