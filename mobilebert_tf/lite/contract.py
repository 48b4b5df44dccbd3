"""What a .tflite file must be before an interpreter sees it: a damaged or foreign one can crash it.

The check reads numbers and names alone, not the weights, and takes some milliseconds.
"""

import struct
from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.graph import INPUTS, SIGNATURE
from mobilebert_tf.modeling.heads import HEADS

_MOST_OPERATIONS = 20_000  # a model of 24 blocks has 1,500
_OPTIONAL = -1  # an operation's input that is left out
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError)


def check_file(content: bytes, kind: str, name: str) -> None:
    """Checks a file's main graph: counts, indices, quantization, and the tensors of its signature.

    Args:
        content: the file's bytes.
        kind: of its head, a key of HEADS.
        name: of the file, for messages.

    Raises InputError if an interpreter could crash on it, or the head needs other tensors.
    """
    try:
        problem = next(_problems(content, kind), None)
    except _DAMAGE as error:
        raise InputError(f"{name} is damaged: {error}") from None
    if problem is not None:
        raise InputError(f"{name} is damaged, or no file of ours: {problem}")


def _problems(content: bytes, kind: str) -> Iterator[str]:
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


def _graph_problems(model: schema.Model, graph: schema.SubGraph) -> Iterator[str]:
    tensors, operations = graph.TensorsLength(), graph.OperatorsLength()
    if not 0 < operations <= _MOST_OPERATIONS or not 0 < tensors <= 2 * _MOST_OPERATIONS:
        yield f"a graph has {operations} operations and {tensors} tensors"
    for tensor in map(graph.Tensors, range(tensors)):
        if not 0 <= tensor.Buffer() < model.BuffersLength():
            yield "a tensor names a buffer that is not there"
        quantization = tensor.Quantization()
        if quantization is not None and quantization.ScaleLength():
            scales = quantization.ScaleAsNumpy()
            if not (np.isfinite(scales).all() and (scales > 0).all()):
                yield f"the tensor {tensor.Name().decode()} has a scale that is no positive number"
    for operation in map(graph.Operators, range(operations)):
        if not 0 <= operation.OpcodeIndex() < model.OperatorCodesLength():
            yield "an operation is of no kind"
        inputs = _indices(operation.InputsLength(), operation.InputsAsNumpy)
        outputs = _indices(operation.OutputsLength(), operation.OutputsAsNumpy)
        if not all(_OPTIONAL <= i < tensors for i in inputs):
            yield "an operation reads a tensor that is not there"
        if not len(outputs) or not all(0 <= i < tensors for i in outputs):
            yield "an operation writes a tensor that is not there"


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
            yield f"its signature has {', '.join(sorted(entries)) or 'nothing'}, not {names}"
        for name, index in entries.items():
            if index not in tensors or not 0 <= index < graph.TensorsLength():
                yield f"{name} is no end of the graph"
    for name, index in inputs.items():
        tensor = graph.Tensors(index)
        if tensor.Type() != schema.TensorType.INT32 or tensor.ShapeLength() != 2:
            yield f"{name} is not int32 [1, tokens]"
