"""From the inference graph to the bytes of a .tflite file, in float or quantized.

none       float32 throughout.
float16    weights in half the bytes; computed in float32.
dynamic    int8 weights and tables; activations are quantized on the fly, row by row.
int8       as dynamic, and inside the blocks the dense layers and the sums of the residual streams
           read and write int8, with ranges calibrated on text. Attention's products and softmax
           stay float: XNNPACK, which runs the rest, has no int8 kernels for them. A model with
           layer norms keeps its sums and norms in float too: the numbers of `dynamic`.
int8-full  every operation in integers, for accelerators that have no float; outputs are given back
           in float.
int16x8    as int8-full with 16 bits for activations: nearly exact, slow on CPUs.
int4       as dynamic, with 4 bits for the tables and for all dense layers but the head's last.
int4-mixed as int4, but of the dense layers only the feed-forward networks have 4 bits.

Weights have a scale for each output channel and no zero point, as the TFLite specification asks.
The float graph comes from TensorFlow's converter; integers from litert-quantizer, which, unlike the
converter, can quantize some operations and leave others, and takes seconds for it.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import tensorflow as tf
from ai_edge_litert.schema_py_generated import ModelT, TensorT
from litert_quantizer import calibrator, quantizer, recipe_manager
from litert_quantizer.algorithm_manager import AlgorithmName
from litert_quantizer.qtyping import QuantGranularity, TFLOperationName

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite import flatbuffer, int4
from mobilebert_tf.lite.arithmetic import (
    BLOCK,
    MASKED,
    PARTS,
    RESCALED,
    RESIDUAL,
    Arithmetic,
    Int8Tables,
    WholeTables,
)
from mobilebert_tf.lite.equalize import observe
from mobilebert_tf.lite.graph import SIGNATURE, HeadByHeadGraph, InferenceGraph, IntegerGraph
from mobilebert_tf.lite.stderr import without_stderr
from mobilebert_tf.lite.tensorflow_graph import trace
from mobilebert_tf.modeling.layers import ATTENTION_MASK
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.quantization import Quantization

Mode = Literal["none", "float16", "dynamic", "int8", "int8-full", "int16x8", "int4", "int4-mixed"]
MODES = get_args(Mode)
CALIBRATED = ("int8", "int8-full", "int16x8", "int4", "int4-mixed")
# What the scopes of the dense layers with 4-bit weights contain. The heads' last layers are small,
# but for the words of a masked language model.
FOUR_BITS = {
    "int4": (BLOCK, "embeddings/", "masked_lm/"),
    "int4-mixed": ("/feed_forward_", "masked_lm/logits"),
}

# How the ranges of single texts become the range of a tensor: lowest and highest values [texts].
RANGES: dict[str, Callable] = {
    "min-max": lambda low, high: (np.min(low), np.max(high)),
    "percentile": lambda low, high: (np.percentile(low, 5), np.percentile(high, 95)),
    "moving-average": lambda low, high: (_moving_average(low), _moving_average(high)),
}
_MOST_PADDING = 512  # tokens
_FLOAT16_MASK = -6e4  # nearly the lowest number of float16


def in_4_bits(mode: str, scope: str) -> bool:
    """Returns whether the dense layer of this name has 4-bit weights."""
    return any(part in scope for part in FOUR_BITS.get(mode, ()))


def convert(
    model: MobileBert,
    mode: str,
    calibration: Sequence[dict[str, np.ndarray]] = (),
    head: str | None = None,
    sequence_length: int | None = None,
    ranges: str = "min-max",
    per_channel: bool = True,
) -> bytes:
    """Returns a .tflite file without metadata; equal arguments give equal bytes.

    Args:
        model: what to export.
        mode: one of MODES.
        calibration: for CALIBRATED modes, samples of ids, mask and segment_ids, int32 [1,T] each.
        head: as in InferenceGraph.
        sequence_length: as in `trace`.
        ranges, per_channel: as in `quantized`.
    """
    content = float_twin(model, mode, calibration, head, sequence_length)
    if mode in ("none", "float16"):
        return content
    return quantized(content, mode, calibration, ranges, per_channel, trained=model.quantization)


def float_twin(
    model: MobileBert,
    mode: str,
    calibration: Sequence[dict[str, np.ndarray]] = (),
    head: str | None = None,
    sequence_length: int | None = None,
) -> bytes:
    """Returns a mode's graph in float, before its numbers are quantized (for float16, after).

    Arguments as for `convert`.
    """
    graph = _graph(model, mode, calibration, head)
    return converted(graph, sequence_length, halved=mode == "float16")


def quantized(
    content: bytes,
    mode: str,
    calibration: Sequence[dict[str, np.ndarray]],
    ranges: str = "min-max",
    per_channel: bool = True,
    in_float: Sequence[str] = (),
    trained: Quantization | None = None,
) -> bytes:
    """Quantizes the file of a float twin.

    Args:
        content, mode, calibration: as for `convert`.
        ranges: of activations in CALIBRATED modes, one of RANGES.
        per_channel: False gives each weight matrix one scale, for runtimes before TFLite 2.17.
        in_float: names of tensors whose operations compute in float, with int8 weights.
        trained: what quantization-aware training found; int8 tensors have its ranges.
    """
    granularity = QuantGranularity.CHANNELWISE if per_channel else QuantGranularity.TENSORWISE
    twin = flatbuffer.read(content)
    asked, mode = mode, "dynamic" if mode in FOUR_BITS else mode
    if mode == "int8" and _has_norms(twin):
        # A few tokens have huge values before a layer norm, and 256 levels from the smallest to the
        # largest are too coarse for all others: MiniLM fell from 89.9 (float and dynamic) to 87.6
        # on SST-2, and was only 1 % faster.
        mode = "dynamic"
    recipe = _recipe(mode, granularity)
    for name in in_float:
        # Matches the operation that writes this tensor: its scope is the tensor's name and ";".
        _keep_in_float(recipe, f"^{re.escape(name)};$", granularity)
    with without_stderr():
        job = quantizer.Quantizer(content, recipe.get_quantization_recipe())
        values = None
        if mode in CALIBRATED:
            values = _calibrated(content, twin, calibration, RANGES[ranges])
            if mode == "int16x8":
                values = _widened(values)
            if trained is not None and mode != "int16x8":
                values |= _trained_ranges(twin, trained)
            values |= _masked_ranges(twin, values, score_margin(mode))
        result = job.quantize(values, enable_progress_report=False)
    finished = flatbuffer.read(result.quantized_model)
    if asked in FOUR_BITS:
        chosen = [name for name in _dense(twin, asked) if name not in in_float]
        int4.store_in_4_bits(finished, content, calibration, chosen, fit=asked == "int4")
    flatbuffer.dequantize_rows(finished)
    _check_sums(finished)
    return flatbuffer.write(finished)


def _check_sums(model: ModelT) -> None:
    """Raises InputError for a sum or difference whose range is far smaller than its operands'.

    It would abort the interpreter: TFLite's add.cc and squared_difference.cc want a factor below
    one. A layer norm's deviations from a large mean can be such.
    """
    for name, operator, graph in flatbuffer.operators(model):
        tensors = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs)]
        integers = {flatbuffer.INT8: 2**20, flatbuffer.INT16: 2**15}
        operands = name in ("ADD", "SUB", "SQUARED_DIFFERENCE")
        if not operands or tensors[-1].type not in integers:
            continue
        *scales, result = (float(tensor.quantization.scale[0]) for tensor in tensors)
        largest, most = 2 * max(scales), integers[tensors[-1].type] * result
        if name == "SQUARED_DIFFERENCE":
            largest, most = largest**2, 2**14 * result
        if not largest < most:
            scope = flatbuffer.scope(tensors[-1].name.decode())
            raise InputError(
                f"{scope} has numbers too far apart for integers: another `quantize` mode may do"
            )


def _graph(model, mode, calibration, head) -> InferenceGraph:
    observed = model.quantization
    if observed is None and mode in CALIBRATED:
        observed = observe(model, calibration, head)
    scales = observed.scales if observed is not None else None
    if mode not in ("int8-full", "int16x8"):
        tables = {"dynamic": Int8Tables, "int8": Int8Tables} | dict.fromkeys(FOUR_BITS, WholeTables)
        mask = _FLOAT16_MASK if mode == "float16" else ATTENTION_MASK
        return InferenceGraph(model, head, scales, tables.get(mode, Arithmetic), mask)
    # TensorFlow's own runtime has no FULLY_CONNECTED of two int16 tensors.
    graph = IntegerGraph if mode == "int16x8" else HeadByHeadGraph
    return graph(model, head, scales, mask=-(observed.score_span + score_margin(mode)))


def score_margin(mode: str) -> float:
    """Returns how far the scores of padding must lie under all others.

    All padding together then gets less than half a step of probability: 1/256, or 1/32768 in 16
    bits.
    """
    steps = 2**15 if mode == "int16x8" else 2**8
    return float(np.log(2.0 * steps * _MOST_PADDING))


def converted(compute: Callable, sequence_length: int | None = None, halved: bool = False) -> bytes:
    """Converts an InferenceGraph, or another function that `trace` takes, to a .tflite file.

    Args:
        compute: the function.
        sequence_length: as in `trace`.
        halved: store the weights in float16.
    """
    traced = trace(compute, sequence_length)
    names = sorted(traced.outputs)
    with traced.graph.as_default():
        outputs = [tf.identity(traced.outputs[name], name) for name in names]
    converter = tf.compat.v1.lite.TFLiteConverter(
        traced.graph.as_graph_def(), list(traced.inputs.values()), outputs
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.exclude_conversion_metadata = True  # for which it copies all weights again
    if halved:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    with without_stderr():
        content = converter.convert()
    model = flatbuffer.read(content)
    flatbuffer.sign(model, SIGNATURE, names)
    return flatbuffer.write(model)


def _has_norms(twin: ModelT) -> bool:
    """Returns whether the blocks have layer norms; a NoNorm is folded away."""
    names = [tensor.name.decode() for graph in twin.subgraphs for tensor in graph.tensors]
    return any(re.search(rf"{BLOCK}\d+/[^;]*/norm/", name) for name in names)


def _dense(twin: ModelT, mode: str) -> list[str]:
    """Returns the names of the tensors that the dense layers with 4-bit weights write."""
    outputs = [
        graph.tensors[operator.outputs[0]].name.decode()
        for name, operator, graph in flatbuffer.operators(twin)
        if name == "FULLY_CONNECTED"
    ]
    # Joined names also have those of activations and of what comes before.
    products = [[p for p in name.split(";") if p.endswith("/MatMul")] for name in outputs]
    return [
        output
        for output, names in zip(outputs, products, strict=True)
        if in_4_bits(mode, flatbuffer.scope(names[0] if names else output))
    ]


def _recipe(mode: str, granularity: QuantGranularity) -> recipe_manager.RecipeManager:
    recipe = recipe_manager.RecipeManager()
    if mode in ("int8-full", "int16x8"):
        bits = 16 if mode == "int16x8" else 8
        everything = TFLOperationName.ALL_SUPPORTED
        recipe.add_static_config(".*", everything, bits, 8, granularity)
        # MediaPipe, LiteRT.js and the Task Library's question answerer want outputs in float.
        recipe.add_quantization_config(
            ".*", TFLOperationName.OUTPUT, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
        return recipe
    dense = TFLOperationName.FULLY_CONNECTED
    recipe.add_dynamic_config(".*", dense, 8, granularity)
    if mode == "int8":
        # Static in the blocks alone: a masked LM of 4 trained blocks then chose the float model's
        # word 98.9 % of the time, with static embedding and head layers 95.7 %.
        recipe.add_static_config(BLOCK, dense, 8, 8, granularity)
        for operation in (TFLOperationName.ADD, TFLOperationName.MUL):
            recipe.add_static_config(f"{RESIDUAL}|{RESCALED}", operation, 8, 8)
        for move in (TFLOperationName.RESHAPE, TFLOperationName.TRANSPOSE):
            recipe.add_static_config(BLOCK, move, 8, 8)
        # Not that of query and key: after a SPLIT in int8 and a DEQUANTIZE of its parts, XNNPACK
        # (LiteRT 2.3) overwrites memory once a text is longer than those before it.
        recipe.add_static_config(f"{BLOCK}.*{PARTS}", TFLOperationName.SPLIT, 8, 8)
    return recipe


def _keep_in_float(recipe, name: str, granularity: QuantGranularity) -> None:
    everything, unchanged = TFLOperationName.ALL_SUPPORTED, AlgorithmName.NO_QUANTIZE
    recipe.add_quantization_config(name, everything, algorithm_key=unchanged)
    recipe.add_dynamic_config(name, TFLOperationName.FULLY_CONNECTED, 8, granularity)


def _calibrated(content: bytes, twin: ModelT, calibration, reduced: Callable) -> dict:
    """Returns the ranges of the graph's tensors by name, as the quantizer wants them."""
    # Ranges are found in C++, not in copies in Python: the same ranges in an eighth of the time.
    mode = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED
    job = calibrator.Calibrator(content, num_threads=1, mode=mode, qsv_update_func=_append_ranges)
    job.calibrate({SIGNATURE: calibration}, recipe_manager.RecipeManager())
    seen = job.get_model_qsvs()
    (graph,) = twin.subgraphs
    return {
        name: _range(tensor, *reduced(seen[name]["min"], seen[name]["max"]))
        for tensor in graph.tensors
        if (name := tensor.name.decode()) in seen
    }


def _widened(values: dict) -> dict:
    """Doubles the ranges for 16 bits, in which clipping of other texts costs more than wider steps.

    The mean change of a probability fell from 6.6e-3 to 1.7e-3 on SST-2, from 4.8e-3 to 1.4e-3 on
    MRPC. In 8 bits the steps would cost more.
    """
    return {name: {end: 2 * value for end, value in ends.items()} for name, ends in values.items()}


def _append_ranges(seen: dict, new: dict) -> dict:
    """Appends the lowest and highest values of a text, [1], to those so far, [texts]."""
    return {end: np.concatenate([seen[end], new[end]]) for end in seen}


def _range(tensor: TensorT, low: float, high: float) -> dict[str, np.ndarray]:
    shape = (1,) * len(tensor.shape)
    return {"min": np.full(shape, low), "max": np.full(shape, high)}


def _trained_ranges(twin: ModelT, trained: Quantization) -> dict:
    (graph,) = twin.subgraphs
    ranges = {}
    for tensor in graph.tensors:
        name = tensor.name.decode()
        scope = flatbuffer.scope(name.removesuffix("/params"))
        if scope in trained.ranges:
            ranges[name] = _range(tensor, *trained.ranges[scope])
    return ranges


def _masked_ranges(twin: ModelT, values: dict, margin: float) -> dict:
    """Returns the ranges of the masked scores: from `margin` under the lowest score.

    They are not calibrated, as the texts for files of any length have no padding. The masked score
    of padding is lower still, and is clipped to the range.
    """
    ranges = {}
    for name, operator, graph in flatbuffer.operators(twin):
        scores, total = (
            graph.tensors[i[0]].name.decode() for i in (operator.inputs, operator.outputs)
        )
        if name == "ADD" and f"/{MASKED}" in total and scores in values:
            ranges[total] = values[scores] | {"min": values[scores]["min"] - margin}
    return ranges


def _moving_average(values: np.ndarray, momentum: float = 0.9) -> float:
    average = values[0].item()
    for value in values[1:]:
        average = momentum * average + (1 - momentum) * value.item()
    return average
