"""Small graphs of .tflite files, and what lite/contract.py says of damaged ones."""

import base64
from collections.abc import Callable, Iterable

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from mobilebert_tf import InputError
from mobilebert_tf.lite import flatbuffer
from mobilebert_tf.lite.contract import check_file

PIECES = 12  # rows of a graph's table
_CODES, _TYPES = schema.BuiltinOperator, schema.TensorType
_OUTPUTS = {
    "classifier": {"probability": [1, "classes"]},
    "multi_label_classifier": {"probability": [1, "classes"]},
    "span": {"start_logits": [1, -1], "end_logits": [1, -1]},
    "token_classifier": {"token_probability": [1, -1, "classes"]},
    "encoder": {"embedding": [1, 8]},
}


def small_graph(kind: str, length: int | None, classes: int) -> bytes:
    """A model with inputs and outputs, and one operation between them."""
    outputs = {
        name: [classes if size == "classes" else size for size in shape]
        for name, shape in _OUTPUTS[kind].items()
    }
    model, graph, signature = schema.ModelT(), schema.SubGraphT(), schema.SignatureDefT()
    model.version, model.description = 3, b"golden file of mobilebert_tf"
    model.operatorCodes, model.buffers = [], [schema.BufferT()]
    graph.tensors, graph.operators = [], []
    for name in ("ids", "mask", "segment_ids"):
        _add_tensor(graph, name, [1, length or -1], _TYPES.INT32)
    for name, shape in outputs.items():
        _add_tensor(graph, name, shape)
    # The converter reorders inputs, so here they are reordered too.
    graph.inputs, graph.outputs = [2, 0, 1], list(range(3, len(graph.tensors)))
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs = [_place(i, graph) for i in (1, 2, 0)]
    signature.outputs = [_place(i, graph) for i in reversed(graph.outputs)]
    model.subgraphs, model.signatureDefs = [graph], [signature]
    table = _add_constant(model, "table", [PIECES, 1])
    _add_operation(model, _CODES.GATHER, [table, 0], graph.outputs)
    return flatbuffer.write(model)


def _add_tensor(graph, name: str, shape: list[int], number: int = _TYPES.FLOAT32) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name.encode(), number, 0
    tensor.shape = [max(size, 1) for size in shape]
    tensor.shapeSignature = shape if -1 in shape else None
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _add_constant(model, name: str, shape: list[int]) -> int:
    """Adds an int8 tensor of zeros."""
    index = _add_tensor(model.subgraphs[0], name, shape, _TYPES.INT8)
    buffer = schema.BufferT()
    buffer.data = bytes(shape[0] * shape[1])
    model.buffers.append(buffer)
    model.subgraphs[0].tensors[index].buffer = len(model.buffers) - 1
    return index


def _add_operation(model, code: int, inputs: list[int], outputs: list[int], options=None) -> None:
    operation, kind = schema.OperatorT(), schema.OperatorCodeT()
    kind.builtinCode = code
    kind.deprecatedBuiltinCode = min(code, _CODES.PLACEHOLDER_FOR_GREATER_OP_CODES)
    kind.version = 1
    operation.opcodeIndex = len(model.operatorCodes)
    operation.inputs, operation.outputs = list(inputs), list(outputs)
    if options is not None:
        operation.builtinOptions = options
        operation.builtinOptionsType = getattr(
            schema.BuiltinOptions, type(options).__name__.removesuffix("T")
        )
    model.operatorCodes.append(kind)
    model.subgraphs[0].operators.append(operation)


def _place(index: int, graph: schema.SubGraphT) -> schema.TensorMapT:
    place = schema.TensorMapT()
    place.name, place.tensorIndex = graph.tensors[index].name, index
    return place


def contract_cases() -> Iterable[tuple[str, dict, str | None]]:
    """Yields a name, what is given, and the first thing that is wrong with it."""
    for change in CHANGES:
        yield change.__name__.replace("_", " "), *_judged(change, PIECES)
    yield "a vocabulary longer than the table", *_judged(nothing, PIECES + 1)


def _judged(change: Callable, pieces: int) -> tuple[dict, str | None]:
    model = flatbuffer.read(small_graph("classifier", None, 2))
    _widen(model)
    change(model)
    content = _packed(model)
    encoded = base64.b64encode(content).decode()
    given = {"content": encoded, "kind": "classifier", "pieces": pieces}
    return given, _problem(content, pieces)


def _packed(model) -> bytes:
    """As it is: flatbuffer.write looks into operations, which are damaged here."""
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _problem(content: bytes, pieces: int) -> str | None:
    try:
        check_file(content, "classifier", pieces, "x")
    except InputError as error:
        return str(error).removeprefix("x is damaged, or no file of ours: ")
    return None


def _widen(model) -> None:
    """Puts operations of several kinds behind the first one; SPLIT is the second."""
    graph = model.subgraphs[0]
    a, b, c, d = (_add_tensor(graph, name, [1, 1]) for name in "abcd")
    table, halves, parts = (
        graph.operators[0].inputs[0],
        schema.SplitOptionsT(),
        schema.UnpackOptionsT(),
    )
    halves.numSplits, parts.num = 2, 1
    _add_operation(model, _CODES.SPLIT, [table, graph.outputs[0]], [a, b], halves)
    _add_operation(model, _CODES.UNPACK, [a], [c], parts)
    _add_operation(model, _CODES.BATCH_MATMUL, [b, c], [d])
    _add_operation(model, _CODES.FULLY_CONNECTED, [d, table, -1], [_add_tensor(graph, "e", [1, 1])])


def _operation(model, code: int) -> schema.OperatorT:
    return next(
        operation
        for operation in model.subgraphs[0].operators
        if model.operatorCodes[operation.opcodeIndex].builtinCode == code
    )


def _table(model) -> schema.TensorT:
    return next(tensor for tensor in model.subgraphs[0].tensors if tensor.name == b"table")


def _quantize(model, scales: list[float], zeros: list[int], channel: int = 0) -> None:
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = scales, zeros
    quantization.quantizedDimension = channel
    _table(model).quantization = quantization


def nothing(model):
    pass


def old_codes(model):
    for code in model.operatorCodes:
        if code.builtinCode < _CODES.PLACEHOLDER_FOR_GREATER_OP_CODES:
            code.builtinCode = 0


def a_scale_for_each_row(model):
    _quantize(model, [0.5] * PIECES, [0] * PIECES)


def no_signature(model):
    model.signatureDefs[0].signatureKey = b"other"


def signature_of_no_graph(model):
    model.signatureDefs[0].subgraphIndex = 7


def other_inputs(model):
    model.signatureDefs[0].inputs[0].name = b"tokens"


def no_outputs_in_the_signature(model):
    model.signatureDefs[0].outputs = []


def input_of_no_tensor(model):
    model.signatureDefs[0].inputs[0].tensorIndex = 10**6


def output_in_the_middle(model):
    model.subgraphs[0].outputs = []


def float_input(model):
    model.subgraphs[0].tensors[0].type = _TYPES.FLOAT32


def input_of_three_dimensions(model):
    model.subgraphs[0].tensors[1].shape = [1, 1, 1]


def no_operations(model):
    model.subgraphs[0].operators = []


def operation_of_no_kind(model):
    model.subgraphs[0].operators[1].opcodeIndex = 99


def operation_on_no_tensor(model):
    model.subgraphs[0].operators[1].inputs[0] = 10**6


def operation_on_what_is_not_written(model):
    operations = model.subgraphs[0].operators
    operations[1].inputs = [operations[2].outputs[0], operations[1].inputs[1]]


def operation_into_nothing(model):
    model.subgraphs[0].operators[1].outputs = []


def operation_into_no_tensor(model):
    model.subgraphs[0].operators[1].outputs = [0, 10**6]


def product_of_one(model):
    _operation(model, _CODES.BATCH_MATMUL).inputs = _operation(model, _CODES.UNPACK).outputs


def product_with_nothing(model):
    _operation(model, _CODES.BATCH_MATMUL).inputs[1] = -1


def product_of_four(model):
    _operation(model, _CODES.FULLY_CONNECTED).inputs = [0, 0, 0, 0]


def split_into_fifty(model):
    _operation(model, _CODES.SPLIT).builtinOptions.numSplits = 50


def split_into_fifty_in_old_codes(model):
    split_into_fifty(model)
    old_codes(model)


def split_without_options(model):
    operation = _operation(model, _CODES.SPLIT)
    operation.builtinOptions, operation.builtinOptionsType = None, 0


def unpack_into_two(model):
    _operation(model, _CODES.UNPACK).builtinOptions.num = 2


def tensor_without_buffer(model):
    _table(model).buffer = 10**6


def tensor_that_does_not_fill_its_buffer(model):
    _table(model).shape = [PIECES - 1, 1]


def name_of_two_lines(model):
    tensor_that_does_not_fill_its_buffer(model)
    _table(model).name = b"table\n\x7f"


def tensor_of_negative_size(model):
    model.subgraphs[0].tensors[3].shape = [1, -2]


def tensor_too_large(model):
    model.subgraphs[0].tensors[3].shape = [2**31 - 1] * 4


def scale_that_is_no_number(model):
    _quantize(model, [float("nan")], [0])


def scale_of_zero(model):
    _quantize(model, [0.0], [0])


def scale_below_zero(model):
    _quantize(model, [-1.0], [])


def too_few_scales(model):
    _quantize(model, [0.5] * 2, [0] * 2)


def too_few_zero_points(model):
    _quantize(model, [0.5] * PIECES, [0] * 2)


CHANGES: tuple[Callable, ...] = (
    *(nothing, old_codes, a_scale_for_each_row),
    *(no_signature, signature_of_no_graph, other_inputs, no_outputs_in_the_signature),
    *(input_of_no_tensor, output_in_the_middle, float_input, input_of_three_dimensions),
    *(no_operations, operation_of_no_kind, operation_on_no_tensor),
    *(operation_on_what_is_not_written, operation_into_nothing, operation_into_no_tensor),
    *(product_of_one, product_with_nothing, product_of_four, split_into_fifty),
    *(split_into_fifty_in_old_codes, split_without_options, unpack_into_two),
    *(tensor_without_buffer, tensor_that_does_not_fill_its_buffer, tensor_of_negative_size),
    *(tensor_too_large, scale_that_is_no_number, scale_of_zero, scale_below_zero),
    *(too_few_scales, too_few_zero_points, name_of_two_lines),
)
