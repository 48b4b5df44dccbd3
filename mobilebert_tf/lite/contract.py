"""What a .tflite file must be before an interpreter sees it: a damaged or foreign one can crash it.

The check reads numbers and names alone, not the weights: 0.1 s for a full-size file.
"""

import math
import re
import struct
from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.graph import INPUTS, SIGNATURE
from mobilebert_tf.modeling.heads import HEADS

_MOST_OPERATIONS = 20_000  # a model of 24 blocks has 1,500
_MOST_NUMBERS = 2**31 - 1  # of a tensor
_BITS = {
    schema.TensorType.FLOAT32: 32,
    schema.TensorType.INT32: 32,
    schema.TensorType.INT64: 64,
    schema.TensorType.FLOAT16: 16,
    schema.TensorType.INT16: 16,
    schema.TensorType.INT8: 8,
    schema.TensorType.BOOL: 8,
    schema.TensorType.INT4: 4,
}
_TAKE_ROWS = (schema.BuiltinOperator.GATHER, schema.BuiltinOperator.EMBEDDING_LOOKUP)
# Operations that say how many outputs they have. XNNPACK believes it, and reads beyond the others.
_COUNTS = {
    schema.BuiltinOperator.SPLIT: (schema.SplitOptions, "NumSplits"),
    schema.BuiltinOperator.UNPACK: (schema.UnpackOptions, "Num"),
}
# The fewest and the most inputs of operations: BATCH_MATMUL, for one, reads its second unasked.
_INPUTS = {
    schema.BuiltinOperator.ADD: (2, 2),
    schema.BuiltinOperator.BATCH_MATMUL: (2, 2),
    schema.BuiltinOperator.CAST: (1, 1),
    schema.BuiltinOperator.CONCATENATION: (1, 1000),
    schema.BuiltinOperator.CUMSUM: (2, 2),
    schema.BuiltinOperator.DEQUANTIZE: (1, 1),
    schema.BuiltinOperator.EMBEDDING_LOOKUP: (2, 2),
    schema.BuiltinOperator.FULLY_CONNECTED: (2, 3),
    schema.BuiltinOperator.GATHER: (2, 2),
    schema.BuiltinOperator.GELU: (1, 1),
    schema.BuiltinOperator.LOGISTIC: (1, 1),
    schema.BuiltinOperator.MAXIMUM: (2, 2),
    schema.BuiltinOperator.MEAN: (2, 2),
    schema.BuiltinOperator.MUL: (2, 2),
    schema.BuiltinOperator.QUANTIZE: (1, 1),
    schema.BuiltinOperator.RESHAPE: (1, 2),
    schema.BuiltinOperator.RSQRT: (1, 1),
    schema.BuiltinOperator.SLICE: (3, 3),
    schema.BuiltinOperator.SOFTMAX: (1, 1),
    schema.BuiltinOperator.SPLIT: (2, 2),
    schema.BuiltinOperator.SQUARED_DIFFERENCE: (2, 2),
    schema.BuiltinOperator.STRIDED_SLICE: (4, 4),
    schema.BuiltinOperator.SUB: (2, 2),
    schema.BuiltinOperator.SUM: (2, 2),
    schema.BuiltinOperator.TANH: (1, 1),
    schema.BuiltinOperator.TRANSPOSE: (2, 2),
    schema.BuiltinOperator.UNPACK: (1, 1),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OPTIONAL = -1  # an operation's input that is left out
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError)


def check_file(content: bytes, kind: str, pieces: int, name: str) -> None:
    """Checks a file's main graph: counts, indices, quantization, and the tensors of its signature.

    Args:
        content: the file's bytes.
        kind: of its head, a key of HEADS.
        pieces: of its vocabulary.
        name: of the file, for messages.

    Raises InputError if an interpreter could crash on it, or the head needs other tensors.
    """
    try:
        problem = next(_problems(content, kind, pieces), None)
    except _DAMAGE as error:
        raise InputError(f"{name} is damaged: {error}") from None
    if problem is not None:
        line = _CONTROL.sub("\ufffd", problem)  # names of tensors may hold line breaks
        raise InputError(f"{name} is damaged, or no file of ours: {line}")


def input_length(content: bytes, name: str) -> int | None:
    """Returns how many tokens a text model's inputs [1,T] have; None for any number.

    Args:
        content: the bytes of a file, which may be of another project.
        name: of the file, for messages.

    Raises InputError if it is no model, or damaged.
    """
    try:
        if not schema.Model.ModelBufferHasIdentifier(content, 0):
            raise InputError(f"{name} is no .tflite file")
        graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
        inputs = [graph.Tensors(index) for index in graph.InputsAsNumpy()]
        shapes = [t.ShapeSignatureAsNumpy() if t.ShapeSignatureLength() else t.ShapeAsNumpy()
                  for t in inputs]  # fmt: skip
        longest = int(max(shape[-1] for shape in shapes))
    except _DAMAGE as error:
        raise InputError(f"{name} is no .tflite file, or damaged: {error}") from None
    return longest if longest > 0 else None


def _problems(content: bytes, kind: str, pieces: int) -> Iterator[str]:
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        yield "it is no TensorFlow Lite model"
    model = schema.Model.GetRootAs(content, 0)
    signatures = {
        signature.SignatureKey(): signature
        for signature in map(model.SignatureDefs, range(model.SignatureDefsLength()))
    }
    signature = signatures.get(SIGNATURE.encode())
    if signature is None:
        yield f"it has no signature {SIGNATURE}"
    for each in signatures.values():
        if not 0 <= each.SubgraphIndex() < model.SubgraphsLength():
            yield "a signature names a graph that is not there"
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        yield from _graph_problems(model, graph)
    graph = model.Subgraphs(signature.SubgraphIndex())
    yield from _signature_problems(graph, signature, kind)
    if pieces > _longest_table(model, graph):
        yield f"its vocabulary has {pieces:,} pieces, more than its tables have rows"


def _graph_problems(model: schema.Model, graph: schema.SubGraph) -> Iterator[str]:
    tensors, operations = graph.TensorsLength(), graph.OperatorsLength()
    if not 0 < operations <= _MOST_OPERATIONS or not 0 < tensors <= 2 * _MOST_OPERATIONS:
        yield f"a graph has {operations} operations and {tensors} tensors"
    for tensor in map(graph.Tensors, range(tensors)):
        yield from _tensor_problems(model, tensor)
    known = {i for i in range(tensors) if _is_known(model, graph.Tensors(i))}
    known |= {_OPTIONAL, *_indices(graph.InputsLength(), graph.InputsAsNumpy).tolist()}
    for operation in map(graph.Operators, range(operations)):
        if not 0 <= operation.OpcodeIndex() < model.OperatorCodesLength():
            yield "an operation is of no kind"
        inputs = _indices(operation.InputsLength(), operation.InputsAsNumpy)
        outputs = _indices(operation.OutputsLength(), operation.OutputsAsNumpy)
        if not all(_OPTIONAL <= i < tensors for i in inputs):
            yield "an operation reads a tensor that is not there"
        if not known.issuperset(inputs.tolist()):
            yield "an operation reads a tensor before it is written"
        fewest, most = _INPUTS.get(_kind(model, operation), (0, tensors))
        if not fewest <= len(inputs) <= most or _OPTIONAL in inputs[:fewest]:
            yield "an operation has too few inputs, or too many"
        if not len(outputs) or not all(0 <= i < tensors for i in outputs):
            yield "an operation writes a tensor that is not there"
        if _said_outputs(model, operation) not in (None, len(outputs)):
            yield f"an operation with {len(outputs)} outputs says that it has others"
        known.update(outputs.tolist())


def _kind(model: schema.Model, operation: schema.Operator) -> int:
    """Returns the kind of an operation as the runtime reads it: old files have the old field."""
    code = model.OperatorCodes(operation.OpcodeIndex())
    return max(code.BuiltinCode(), code.DeprecatedBuiltinCode())


def _said_outputs(model: schema.Model, operation: schema.Operator) -> int | None:
    """Returns how many outputs an operation says that it has; None if its kind says nothing."""
    kind = _kind(model, operation)
    if kind not in _COUNTS:
        return None
    options_class, field = _COUNTS[kind]
    table, options = operation.BuiltinOptions(), options_class()
    if table is None:
        return 0
    options.Init(table.Bytes, table.Pos)
    return getattr(options, field)()


def _tensor_problems(model: schema.Model, tensor: schema.Tensor) -> Iterator[str]:
    name = (tensor.Name() or b"").decode(errors="replace")
    shape = _indices(tensor.ShapeLength(), tensor.ShapeAsNumpy).tolist()
    if not 0 <= tensor.Buffer() < model.BuffersLength():
        yield "a tensor names a buffer that is not there"
    if not all(size >= 0 for size in shape) or math.prod(shape) > _MOST_NUMBERS:
        yield f"the tensor {name} has the shape {shape}"
    held, bits = model.Buffers(tensor.Buffer()).DataLength(), _BITS.get(tensor.Type())
    if held and bits and held != -(-math.prod(shape) * bits // 8):
        yield f"the tensor {name} does not fill its buffer"
    quantization = tensor.Quantization()
    if quantization is None or not quantization.ScaleLength():
        return
    scales, zeros = quantization.ScaleAsNumpy(), quantization.ZeroPointLength()
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        yield f"the tensor {name} has a scale that is no positive number"
    channel = quantization.QuantizedDimension()
    channels = shape[channel] if 0 <= channel < len(shape) else 1
    if len(scales) not in (1, channels) or zeros not in (0, len(scales)):
        yield f"the tensor {name} has {len(scales)} scales and {zeros} zero points"


def _is_constant(model: schema.Model, tensor: schema.Tensor) -> bool:
    return model.Buffers(tensor.Buffer()).DataLength() > 0


def _is_known(model: schema.Model, tensor: schema.Tensor) -> bool:
    """Returns whether a tensor has a value, if it has any, before the first operation."""
    shape = _indices(tensor.ShapeLength(), tensor.ShapeAsNumpy)
    return _is_constant(model, tensor) or tensor.IsVariable() or 0 in shape


def _longest_table(model: schema.Model, graph: schema.SubGraph) -> int:
    """Returns the rows of the longest table that an operation takes rows of."""
    read = (
        tensor
        for operation in map(graph.Operators, range(graph.OperatorsLength()))
        if _kind(model, operation) in _TAKE_ROWS
        for tensor in map(graph.Tensors, operation.InputsAsNumpy().tolist())
    )
    return max((tensor.Shape(0) for tensor in read if tensor.ShapeLength()), default=0)


def _indices(length: int, values) -> np.ndarray:
    return values() if length else np.zeros(0, np.int32)


def _signature_problems(
    graph: schema.SubGraph, signature: schema.SignatureDef, kind: str
) -> Iterator[str]:
    inputs = {
        entry.Name().decode(): entry.TensorIndex()
        for entry in map(signature.Inputs, range(signature.InputsLength()))
    }
    outputs = {
        entry.Name().decode(): entry.TensorIndex()
        for entry in map(signature.Outputs, range(signature.OutputsLength()))
    }
    ends = (
        (INPUTS, inputs, _indices(graph.InputsLength(), graph.InputsAsNumpy)),
        (HEADS[kind].outputs, outputs, _indices(graph.OutputsLength(), graph.OutputsAsNumpy)),
    )
    for names, entries, tensors in ends:
        if set(entries) != set(names):
            found = ", ".join(sorted(entries)) or "nothing"
            yield f"its signature has {found}, not {', '.join(names)}"
        for name, index in entries.items():
            if index not in tensors or not 0 <= index < graph.TensorsLength():
                yield f"{name} is no end of the graph"
    for name, index in inputs.items():
        tensor = graph.Tensors(index)
        if tensor.Type() != schema.TensorType.INT32 or tensor.ShapeLength() != 2:
            yield f"{name} is not int32 [1, tokens]"
