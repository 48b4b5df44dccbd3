"""What an int8 file spends its time on: it and graphs with less in them, measured in turns.

    python benchmarks/where_time_goes.py MODEL_DIR [--tokens 128] [--json FILE]

MODEL_DIR has a classifier. Prints milliseconds of one text on one thread, how many multiplications
the dense layers do, and how long they would take at the rate of a chain of wide products, the
limit for any graph with these layers on this machine's kernels.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import tabulate
import tensorflow as tf

from mobilebert_tf.environment import circumstances
from mobilebert_tf.files import write_json
from mobilebert_tf.lite import flatbuffer, quantize, timing
from mobilebert_tf.lite.equalize import observe
from mobilebert_tf.lite.export import texts
from mobilebert_tf.lite.export_config import ExportConfig
from mobilebert_tf.lite.graph import InferenceGraph
from mobilebert_tf.modeling.model_directory import load_model, load_tokenizer
from mobilebert_tf.modeling.runner import KerasModel

RUNS = 60
WIDE = 1024  # of the single product
CHAIN = 24  # of them, one after the other


class WithoutAttention(InferenceGraph):
    """Projections are added in place of scores, softmax and context."""

    def _attention(self, name, query, key, value, attention_bias):
        if query.shape[1] == 1:
            key, value = key[:, :1], value[:, :1]
        with tf.name_scope(f"{name}/context/"):
            context = tf.transpose(query + key + value, [1, 0, 2])
            return tf.reshape(context, [query.shape[1] or -1, self.config.attention_size])


class WithoutSums(InferenceGraph):
    """Residual streams are not added, but for attention's: 1 in 6 of MobileBERT's."""

    def _sum(self, name, x, y):
        left_out = name.endswith("residual") and "attention" not in name
        return x if left_out else super()._sum(name, x, y)


class Products:
    """A chain of wide products, as fast as the machine's int8 kernels get."""

    def __init__(self):
        kernel = np.random.default_rng(0).normal(0, WIDE**-0.5, (WIDE, WIDE)).astype(np.float32)
        self.kernels = [np.roll(kernel, i) for i in range(CHAIN)]

    def __call__(self, ids, mask, segment_ids):
        x = tf.cast(tf.reshape(ids + mask + segment_ids, [-1, 1]), tf.float32) * self.kernels[0][:1]
        for index, kernel in enumerate(self.kernels):
            with tf.name_scope(f"block_{index}/"):
                x = x @ kernel
        return {"last": x[:1]}


def main() -> None:
    options = _options()
    model = load_model(options.model)
    reference = KerasModel(model, load_tokenizer(options.model))
    _, calibration = texts(ExportConfig(options.model, calibration_data=options.texts), reference)
    scales = observe(model, calibration).scales
    kinds = (InferenceGraph, WithoutAttention, WithoutSums)
    graphs = [kind(model, int8_tables=True, scales=scales) for kind in kinds]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.tflite" for i in range(len(graphs) + 1)]
        for path, graph in zip(paths, [*graphs, Products()], strict=True):
            content = quantize.converted(graph)
            path.write_bytes(quantize.quantized(content, "int8", calibration))
        print("measuring", flush=True)
        seconds = timing.latency(paths, options.tokens, 1, RUNS)
        products = [_products(paths[i].read_bytes(), options.tokens) for i in (0, -1)]
    result = _result(options.tokens, [1e3 * np.median(each) for each in seconds], *products)
    print(tabulate.tabulate(result["milliseconds"].items(), floatfmt=".2f"))
    print(
        "dense layers: {million_products:.0f} million products, {per_microsecond:.0f} a "
        "microsecond; in wide layers alone {peak_per_microsecond:.0f}, so that they need "
        "{limit_ms:.2f} ms at least".format(**result)
    )
    if options.json:
        write_json(Path(options.json), result | circumstances())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--texts", default="docs", help="to calibrate on, as for an export")
    parser.add_argument("--json")
    return parser.parse_args()


def _result(tokens: int, milliseconds: list[float], products: int, wide_products: int) -> dict:
    whole, no_attention, no_sums, chain = milliseconds
    dense = no_attention - (whole - no_sums)
    peak = wide_products / chain  # a millisecond
    return {
        "tokens": tokens,
        "milliseconds": {
            "whole file": whole,
            "scores, softmax and context": whole - no_attention,
            "residual sums but attention's": whole - no_sums,
            "dense layers, embeddings and the rest": dense,
        },
        "million_products": products / 1e6,
        "per_microsecond": products / dense / 1e3,
        "peak_per_microsecond": peak / 1e3,
        "limit_ms": products / peak,
    }


def _products(content: bytes, tokens: int) -> int:
    """Multiplications of all dense layers."""
    total = 0
    for name, operator, graph in flatbuffer.operators(flatbuffer.read(content)):
        if name == "FULLY_CONNECTED":
            output, kernel = (graph.tensors[i] for i in (operator.outputs[0], operator.inputs[1]))
            any_rows = output.shapeSignature is not None and output.shapeSignature[0] == -1
            total += np.prod(kernel.shape) * (tokens if any_rows else 1)
    return int(total)


if __name__ == "__main__":
    main()
