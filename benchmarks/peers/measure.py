"""Latency, memory and agreement of files that take turns."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import softmax

from mobilebert_tf.lite import timing
from mobilebert_tf.lite.verify import agreement
from peers import onnx_file
from peers.files import Product
from peers.lite_file import LiteFile

PERCENTILES = (10, 50, 90)


def opened(product: Product, threads: int = 1):
    """A LiteFile or OnnxFile."""
    if product.path.suffix == ".tflite":
        return LiteFile(product.path, threads)
    return onnx_file.OnnxFile(product.path, threads)


def latency(
    products: list[Product], inputs: dict[str, np.ndarray], threads: int, runs: int
) -> dict[str, np.ndarray]:
    """Seconds of each file's inferences, [runs], by its name.

    The files take turns, in changing order, each with an untimed run first: what slows the machine
    for a while slows all of them alike.

    Args:
        inputs: ids, mask, segments, int [1,T] each.
    """
    files = [opened(product, threads) for product in products]
    for file in files:
        file.set(**inputs)
        file.run()
    seconds = np.zeros([len(files), runs])
    for index in range(runs):
        for i in _turns(files, index):
            files[i].run()
            started = time.perf_counter()
            files[i].run()
            seconds[i, index] = time.perf_counter() - started
    return _named(products, seconds)


def _turns(files: list, index: int):
    return range(len(files)) if index % 2 else reversed(range(len(files)))


def _named(products: list[Product], values: np.ndarray) -> dict[str, np.ndarray]:
    return {product.name: own for product, own in zip(products, values, strict=True)}


def compared(seconds: dict[str, np.ndarray], base: str) -> list[dict]:
    """A row for each file: its milliseconds, and how many times as fast as the base it is.

    Args:
        seconds: from `latency`.
        base: a name in it.
    """
    rows, reference = [], seconds[base]
    for name, own in seconds.items():
        of_medians = float(np.median(reference) / np.median(own))
        rows.append(
            {"file": name, "ratio_of_medians": of_medians}
            | dict(zip(("ratio_p10", "ratio", "ratio_p90"), _spread(reference / own), strict=True))
            | dict(zip(("p10_ms", "p50_ms", "p90_ms"), _spread(own * 1e3), strict=True))
        )
    return rows


def _spread(values: np.ndarray) -> list[float]:
    return np.percentile(values, PERCENTILES).tolist()


def sentences(
    products: list[Product], texts: list[str], encoders: dict[str, Callable], base: str
) -> list[dict]:
    """Mean milliseconds from a text to its result, one text at a time, on one thread.

    Before each text a file runs the one before it, untimed: so its weights are in the caches, and
    a file for any length has to be resized, which counts.

    Args:
        encoders: by file, a text to ids, mask, segments [1,T].
        base: a file's name.
    """
    files = [opened(product) for product in products]
    times = np.zeros([len(files), len(texts), 2])  # tokenization, model
    for index, text in enumerate(texts):
        for i in _turns(files, index):
            files[i].set(**encoders[products[i].name](texts[index - 1]))
            files[i].run()
            started = time.perf_counter()
            arrays = encoders[products[i].name](text)
            encoded = time.perf_counter()
            files[i].set(**arrays)
            files[i].run()
            files[i].outputs()
            times[i, index] = encoded - started, time.perf_counter() - encoded
    rows = compared(_named(products, times.sum(axis=2)), base)
    reference = times[[product.name for product in products].index(base)]
    for row, own in zip(rows, times, strict=True):
        tokenization, model = (own.mean(axis=0) * 1e3).tolist()
        row["ratio_of_means"] = float(reference.sum() / own.sum())
        row["model_ratio_of_means"] = float(reference[:, 1].sum() / own[:, 1].sum())
        row |= {"mean_ms": tokenization + model, "tokenization_ms": tokenization, "model_ms": model}
    return rows


def footprints(products: list[Product], tokens: int, times: int) -> list[dict]:
    """Size, the build's seconds, and load time and peak memory in fresh processes (medians)."""
    rows = []
    for product in products:
        found = [_footprint(product.path, tokens) for _ in range(times)]
        keys = ("load_ms", "memory_mb", "peak_mb")
        medians = {key: float(np.median([values[key] for values in found])) for key in keys}
        built = json.loads(product.record.read_text())
        size = {"size_mb": built["bytes"] / 1e6, "build_s": built["seconds"]}
        rows.append({"file": product.name} | size | medians)
    return rows


def _footprint(path: Path, tokens: int) -> dict[str, float]:
    if path.suffix == ".tflite":
        return timing.footprint(path, tokens)
    command = [sys.executable, "-P", onnx_file.__file__, str(path), str(tokens)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def agreements(products: list[Product], reference: Callable, inputs: dict) -> list[dict]:
    """How far each file is from the float Keras model.

    Args:
        reference: a KerasModel.
        inputs: input_ids, input_mask, segment_ids, int32 [N,T], padded.

    Rows as of mobilebert_tf.lite.verify.agreement, of a classifier's probabilities, or of a span's
    logits at real tokens.
    """
    samples = [
        {name: array[i : i + 1] for name, array in inputs.items()}
        for i in range(len(inputs["input_ids"]))
    ]
    rows = []
    for product in products:
        found = agreement(_Named(opened(product)), reference, samples)
        for output, values in found.items():
            values.pop("worst")
            rows.append({"file": product.name, "output": output} | values)
    return rows


class _Named:
    """A file behind the call of mobilebert_tf.modeling.runner.Runnable."""

    def __init__(self, file):
        self._file = file

    def __call__(self, input_ids, input_mask, segment_ids) -> dict[str, np.ndarray]:
        self._file.set(input_ids, input_mask, segment_ids)
        self._file.run()
        outputs = self._file.outputs()
        if "logits" in outputs:
            return {"probability": softmax(outputs["logits"], axis=-1)}
        return outputs
