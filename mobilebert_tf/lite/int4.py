"""Weights in 4 bits: which numbers they become, and how a file holds them.

A dense layer's kernel has a scale for each output, an embedding table one for each row, and no zero
points. Fifteen steps over a channel's whole range are too coarse, so a narrower range is searched
for, and a dense layer's weights are rounded one input after the other: the inputs that follow make
up for an input's error, as far as calibration texts show them to go together (GPTQ; Frantar et al.,
2023). In `int4` each layer, from the first to the last, is first fitted to the float model's
outputs, given what the layers before it, which are rounded already, make of the texts. What
quantization-aware training has rounded is such numbers already, and stays as it is.

Steps go from -7 to 7: where a weight is -8, TFLite's own kernel for float activations (1.0.1 to 2.3
of LiteRT; not XNNPACK's) gives wrong sums without a word. Blocks of a channel with scales of their
own give wrong sums in LiteRT 1.2 to 2.0.3, so there are none.
"""

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobilebert_tf.lite import flatbuffer
from mobilebert_tf.lite.least_squares import damped, ridge_solution
from mobilebert_tf.lite.stepwise import Stepwise

HIGHEST = 7
_SHARES = np.linspace(1, 0.3, 36, dtype=np.float32)  # of a channel's range that are tried
_DAMPING = 1.0  # of the inputs' mean square; with less, wide layers learn the texts by heart
# Inputs are rounded in groups of this size; errors are passed on to later groups once per group.
_LAZY = 64


def store_in_4_bits(
    model: schema.ModelT,
    twin: bytes,
    calibration: Sequence[dict[str, np.ndarray]],
    dense: Sequence[str],
    fit: bool = True,
) -> None:
    """Replaces the int8 kernels and the float embedding tables of a model by 4-bit ones.

    Args:
        model: quantized; changed in place.
        twin: a file of the same graph in float.
        calibration: ids, mask and segment_ids, int32 [1,T] each.
        dense: the tensors that the dense layers that get 4 bits write.
        fit: layers make up for the errors of those before them. Where few layers have 4 bits, that
            costs more than it gains: MiniLM's `int4-mixed` fell from a cosine of 0.967 to 0.963.
    """
    found = _searched(flatbuffer.read(twin), calibration, dense, fit)
    for name, operator, graph in flatbuffer.operators(model):
        output = graph.tensors[operator.outputs[0]].name.decode()
        if output in found and name == "FULLY_CONNECTED":
            _store(model, graph.tensors[operator.inputs[1]], *found[output])
        elif output in found and name == "GATHER":
            _look_up(model, graph, operator, *found[output])
    flatbuffer.drop_unused_buffers(model)


def _searched(
    twin: schema.ModelT,
    calibration: Sequence[dict[str, np.ndarray]],
    dense: Sequence[str],
    fit: bool,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the steps and scales of each dense layer in `dense`, and of each embedding table, by
    the name of the tensor that the operation writes."""
    exact, found = Stepwise(twin, calibration), {}
    rounded = Stepwise(twin, calibration) if fit else exact
    for position, (name, operator, graph) in enumerate(flatbuffer.operators(twin)):
        output = graph.tensors[operator.outputs[0]].name.decode()
        if name == "FULLY_CONNECTED" and output in dense:
            reads, weights = operator.inputs[:2]
            for run in (exact, rounded):
                run.run_to(position)
            values = _constant(twin, graph, weights)
            found[output] = _layer_steps(values, exact.rows(reads), rounded.rows(reads))
        elif name == "GATHER" and output.startswith("embeddings/"):
            weights = operator.inputs[0]
            values = _constant(twin, graph, weights)
            scales = searched_scales(values)
            found[output] = nearest_steps(values, scales), scales
        else:
            continue
        if fit:
            steps, scales = found[output]
            rounded.constants[int(weights)] = (steps * scales).astype(np.float32)
    return found


def _layer_steps(weights: np.ndarray, wanted: np.ndarray, given: np.ndarray) -> tuple:
    """Returns the steps [out,in] and scales [out,1] of a dense layer.

    Args:
        weights: [out,in].
        wanted: the inputs in the float model, [tokens,in].
        given: what they are in the file, [tokens,in].
    """
    scales = searched_scales(weights)
    steps = nearest_steps(weights, scales)
    if np.allclose(steps * scales, weights, rtol=1e-5, atol=0):  # as training has rounded them
        return steps, scales
    squares = given.T @ given
    weights = refitted(weights, wanted, given, squares)
    scales = searched_scales(weights, np.diag(squares))
    return compensated_steps(weights, scales, squares), scales


def refitted(
    weights: np.ndarray, wanted: np.ndarray, given: np.ndarray, squares: np.ndarray
) -> np.ndarray:
    """Returns weights with which the inputs `given` yield nearly the outputs that `wanted` have
    with `weights`: ridge regression of the difference.

    Args:
        weights, wanted, given: as for _layer_steps.
        squares: given.T @ given.
    """
    missing = given.T @ ((wanted - given) @ weights.T)  # [in,out]
    change = ridge_solution(squares, missing, _DAMPING)
    return (weights + change.T).astype(np.float32)


def searched_scales(weights: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """Returns the scale of each channel that gives the least square error, float32 [channels,1].

    Weights that are whole multiples, up to HIGHEST, of a scale give that scale.

    Args:
        weights: [channels,width].
        importance: of each weight of a channel, [width]: what its error counts.
    """
    importance = np.ones(weights.shape[1]) if importance is None else importance
    widest = np.abs(weights).max(axis=1, keepdims=True) / np.float32(HIGHEST)
    widest = np.where(widest > 0, widest, 1).astype(np.float32)
    best, least = widest, np.full(widest.shape, np.inf)
    for share in _SHARES:
        scales = widest * share
        errors = weights - scales * nearest_steps(weights, scales)
        error = (np.square(errors) @ importance)[:, None]
        best, least = np.where(error < least, scales, best), np.minimum(error, least)
    return best


def nearest_steps(weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Returns weights in whole scales, from -HIGHEST to HIGHEST."""
    return np.clip(np.rint(weights / scales), -HIGHEST, HIGHEST)


def compensated_steps(weights: np.ndarray, scales: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Returns weights in whole scales such that the outputs, rather than the weights, are near.

    Args:
        weights: [out,in].
        scales: [out,1].
        squares: x.T @ x of the layer's inputs x [tokens,in]: [in,in].
    """
    width = len(squares)
    order = np.argsort(-np.diag(squares), kind="stable")  # the inputs that count most come first
    squares = damped(squares[np.ix_(order, order)], _DAMPING)
    # Row i: how an error of input i is spread over the inputs from i on.
    spread = np.linalg.cholesky(np.linalg.inv(squares)).T.astype(np.float32)
    left, steps = weights[:, order].astype(np.float32), np.empty(weights.shape, np.float32)
    for start in range(0, width, _LAZY):
        stop = min(start + _LAZY, width)
        errors = np.empty([len(left), stop - start], np.float32)
        for i in range(start, stop):
            column = nearest_steps(left[:, i], scales[:, 0])
            error = (left[:, i] - column * scales[:, 0]) / spread[i, i]
            left[:, i:stop] -= np.outer(error, spread[i, i:stop])
            steps[:, order[i]], errors[:, i - start] = column, error
        left[:, stop:] -= errors @ spread[start:stop, stop:]
    return steps


def packed(steps: np.ndarray) -> np.ndarray:
    """Returns steps as bytes, two in each: the first in the lower half, in two's complement."""
    halves = steps.ravel().astype(np.int8).view(np.uint8) & 15
    halves = np.pad(halves, (0, len(halves) % 2))
    return halves[::2] | halves[1::2] << 4


def _constant(model: schema.ModelT, graph: schema.SubGraphT, index: int) -> np.ndarray:
    """Returns the values of a constant float tensor."""
    tensor = graph.tensors[index]
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)


def _store(model: schema.ModelT, tensor: schema.TensorT, steps, scales) -> None:
    tensor.type = schema.TensorType.INT4
    tensor.quantization = schema.QuantizationParametersT(
        scale=scales[:, 0], zeroPoint=np.zeros(len(scales), np.int64), quantizedDimension=0
    )
    tensor.buffer = len(model.buffers)
    model.buffers.append(schema.BufferT(data=packed(steps)))


def _look_up(model: schema.ModelT, graph: schema.SubGraphT, operator, steps, scales) -> None:
    """Makes a GATHER of rows of a float table an EMBEDDING_LOOKUP of a 4-bit one."""
    table, ids = operator.inputs
    _store(model, graph.tensors[table], steps, scales)
    operator.inputs = [ids, table]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.NONE, None
    operator.opcodeIndex = flatbuffer.code_index(model, schema.BuiltinOperator.EMBEDDING_LOOKUP)
