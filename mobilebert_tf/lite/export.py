"""A model directory becomes FILE.tflite, FILE.json and FILE.html, checked on real text: all or
none."""

import functools
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tabulate
from ai_edge_litert.schema_py_generated import ModelT

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite import flatbuffer, metadata, quantize, text_input, timing
from mobilebert_tf.lite.calibration_data import for_graph, padded, paragraphs, samples
from mobilebert_tf.lite.graph import INPUTS
from mobilebert_tf.lite.runtime import KerasModel, LiteModel
from mobilebert_tf.lite.verify import agreement, complaints, wrong_after_shorter
from mobilebert_tf.modeling.config import read_json
from mobilebert_tf.modeling.model import MODEL_FILES, load_model, load_tokenizer
from mobilebert_tf.reports.html_pages import render

DEFAULT_MODEL = "runs/demo/student"

_SAMPLES = 96  # paragraphs; every third one checks the file, the others calibrate it
_LATENCY_TOKENS = (16, 32, 64, 128)
_LATENCY_RUNS = 20


@dataclass(frozen=True)
class ExportConfig:
    """What to export, and how.

    Args:
        model: a model directory.
        output: the .tflite file; by default beside the model directory, named after it and the
            quantization.
        quantize: none (float32), float16, dynamic (int8 weights), int8 (calibrated, the fastest on
            CPUs), int8-full (integers alone, for accelerators) or int16x8.
        sequence_length: take exactly this many tokens, for clients that cannot resize; by default
            any number.
        head: encoder exports the bare encoder whatever the model's head is.
        calibration_data: text to calibrate and check on: files, folders, or docs (embedded).
        calibration_ranges: of an activation: the widest of all texts (min-max), without the 5 % of
            the texts that go furthest (percentile), or averaged over texts (moving-average);
            quantization-aware training brought its own.
        min_runtime: the oldest TFLite that must open the file, such as 2.4; before 2.17 int8
            weights get one scale for a whole matrix, and are less exact.
        with_tokenizer: add signatures that tokenize strings, for runtimes that link
            tensorflow-text's operations: tokenize and tokenize_pair.
        num_threads: of the latency measurement.
        overwrite: replace an existing file.
    """

    model: str = DEFAULT_MODEL
    output: str | None = None
    quantize: Literal["none", "float16", "dynamic", "int8", "int8-full", "int16x8"] = "int8"
    sequence_length: int | None = None
    head: Literal["encoder"] | None = None
    calibration_data: str = "docs"
    calibration_ranges: Literal["min-max", "percentile", "moving-average"] = "min-max"
    min_runtime: str = "2.17"
    with_tokenizer: bool = False
    num_threads: int = 1
    overwrite: bool = False

    @property
    def per_channel(self) -> bool:
        """Whether int8 weights may have a scale for each channel."""
        return self.runtime >= (2, 17)

    def __post_init__(self):
        if self.num_threads < 1:
            raise InputError(f"--num-threads is {self.num_threads}: at least 1")
        if not re.fullmatch(r"\d+(\.\d+)+", self.min_runtime):
            raise InputError(f"--min-runtime is {self.min_runtime}: a version such as 2.4")

    def content_options(self) -> dict:
        """The options that the file's bytes depend on."""
        names = ("quantize", "sequence_length", "head", "calibration_data", "calibration_ranges")
        options = {name: getattr(self, name) for name in (*names, "min_runtime")}
        return options | ({"with_tokenizer": True} if self.with_tokenizer else {})

    @property
    def runtime(self) -> tuple[int, ...]:
        """min_runtime as numbers."""
        return tuple(map(int, self.min_runtime.split(".")))


def export(config: ExportConfig, check: Callable[[Path], None] | None = None) -> Path:
    """Exports a model directory to a .tflite file for phones, with a report in FILE.json, which
    FILE.html shows.

    The file takes any number of tokens, carries its vocabulary and labels, and is checked against
    the model on text: one that does not agree is not left behind. Nor is one for which `check`,
    which is given the file, raises an InputError.
    """
    directory = model_directory(config)
    output = Path(config.output or directory.parent / f"{directory.name}-{config.quantize}.tflite")
    if output.suffix != ".tflite":
        raise InputError(f"--output is {output}: the name must end in .tflite")
    files = [output, output.with_suffix(".json"), output.with_suffix(".html")]
    model_sha256 = sha256_of_model(directory)
    if _is_done(config, files, model_sha256):
        print(f"{output} was made from this model with these options: nothing to do")
        if check is not None:
            check(output)
        return output
    aside = [path.with_name(path.name + ".partial") for path in files]
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        report = {"file": output.name} | _export(config, directory, aside[0])
        if check is not None:
            check(aside[0])
        report |= {"model_sha256": model_sha256, "options": config.content_options()}
        aside[1].write_text(json.dumps(report, indent=2) + "\n")
        aside[2].write_text(render("export.html", report=report), encoding="utf-8")
        for path, final in zip(aside, files, strict=True):
            os.replace(path, final)
    finally:
        for path in aside:
            path.unlink(missing_ok=True)
    _print_summary(output, report)
    return output


def model_directory(config: ExportConfig) -> Path:
    """The folder of config.model, as an absolute path; InputError if it is no model directory."""
    directory = Path(config.model)
    if not directory.is_dir() and config.model == DEFAULT_MODEL:
        raise InputError(
            f"no model at {directory}: make one with `python -m mobilebert_tf.distill`, or name "
            "one with --model"
        )
    if not (directory / "config.json").is_file():
        raise InputError(f"{directory} is not a model directory: it has no config.json")
    return directory.resolve()


def _is_done(config: ExportConfig, files: list[Path], model_sha256: str) -> bool:
    """Whether the same export is there already; InputError if another one is in the way."""
    existing = [path for path in files if path.exists()]
    if not existing or config.overwrite:
        return False
    try:
        report = read_json(files[1])
        made_from = (report["model_sha256"], report["options"], report["sha256"])
        wanted = (model_sha256, config.content_options(), _sha256(files[0].read_bytes()))
    except (OSError, InputError, KeyError):
        made_from, wanted = None, model_sha256
    if made_from == wanted:
        return len(existing) == len(files)
    raise InputError(
        f"{existing[0]} exists, made from another model or with other options: "
        "--overwrite replaces it, --output names another file"
    )


def _export(config: ExportConfig, directory: Path, path: Path) -> dict:
    """Writes the checked file to `path` and returns the report on it."""
    model, tokenizer = load_model(directory), load_tokenizer(directory)
    reference = KerasModel(model, tokenizer, config.head)
    max_tokens = _max_tokens(config, reference)
    checks, calibration = texts(config, reference)
    _check_finite(reference, checks[0], directory)
    checks[::2] = [padded(s, min(s["input_ids"].shape[1] + 5, max_tokens)) for s in checks[::2]]

    print(f"converting {directory.name} ({config.quantize})", flush=True)
    content = quantize.convert(
        model,
        config.quantize,
        calibration,
        head=config.head,
        sequence_length=config.sequence_length,
        ranges=config.calibration_ranges,
        per_channel=config.per_channel,
    )
    parsed = flatbuffer.read(content)
    operations, parts = _operations(parsed), flatbuffer.sizes(parsed)
    tokenizer_report = {}
    if config.with_tokenizer:
        content, tokenizer_report = with_tokenizer(content, config, reference)
        parts["tokenizer"] = tokenizer_report["tokenizer"]["bytes"]
        parsed = flatbuffer.read(content)
    runtime = _minimum_runtime(parsed, config)
    content = metadata.pack(content, packed(reference))
    path.write_bytes(content)

    print(f"checking it on {len(checks)} texts", flush=True)
    open_file = functools.partial(LiteModel, path)
    if config.sequence_length is None and (tokens := wrong_after_shorter(open_file, checks)):
        raise InputError(
            f"the {config.quantize} file is not kept: after shorter texts, one of {tokens} tokens "
            "has other outputs than after longer ones in this runtime; a --sequence-length will do"
        )
    lite = open_file()
    measured = agreement(lite, reference, checks)
    for values in measured.values():
        values["worst"] = _text(reference, checks[values["worst"]])
    if problems := complaints(measured, config.quantize):
        raise InputError(
            f"the {config.quantize} file does not agree with the model and is not kept: "
            + "; ".join(problems)
            + "; another --quantize mode or other --calibration-data may do"
        )
    return {
        "mode": config.quantize,
        "bytes": len(content),
        "min_runtime": runtime,
        "sha256": _sha256(content),
        "tensors": _tensors(lite),
        "ops": operations,
        "parts": parts,
        "agreement": measured,
        "latency": _latency(path, max_tokens, config.num_threads),
    } | (tokenizer_report | timing.circumstances())


def with_tokenizer(content: bytes, config: ExportConfig, model: KerasModel) -> tuple[bytes, dict]:
    """The file with signatures that tokenize, checked on real text, and the report on them."""
    arguments = (model.tokenizer, model.kind, _max_tokens(config, model))
    padded_to_length = config.sequence_length is not None
    joined = text_input.add_tokenizer(content, *arguments, padded_to_length)
    found = paragraphs(config.calibration_data, _SAMPLES)
    equal = text_input.equal_texts(joined, *arguments, padded_to_length, found)
    print(f"its tokenizer reads {100 * equal:.1f} % of {len(found)} texts as BERT's does")
    signatures = {name: list(names) for name, names in text_input.signatures(model.kind).items()}
    added = {"bytes": len(joined) - len(content), "equal_texts": equal}
    return joined, {"tokenizer": {"signatures": signatures} | added}


def texts(config: ExportConfig, model: KerasModel) -> tuple[list[dict], list[dict]]:
    """Real texts: those to check a file on, as a Runnable takes them, and those to calibrate it on,
    as the graph does; int32 [1,T] each."""
    longest = _max_tokens(config, model)
    masked = model.kind in ("pretraining", "masked_lm")
    found = samples(config.calibration_data, model.tokenizer, longest, _SAMPLES, masked)
    if config.sequence_length:
        found = [padded(sample, longest) for sample in found]
    calibration = [sample for i, sample in enumerate(found) if i % 3]
    return found[::3], [for_graph(sample) for sample in calibration]


def _check_finite(model: KerasModel, sample: dict, directory: Path) -> None:
    """InputError for a model whose activations overflow: a file of it may kill the interpreter."""
    bad = [name for name, values in model(**sample).items() if not np.isfinite(values).all()]
    if bad:
        raise InputError(f"{directory} is not exported: its {', '.join(bad)} is not finite")


def _minimum_runtime(model: ModelT, config: ExportConfig) -> str:
    """The oldest TFLite that opens the file; InputError if that is not old enough."""
    version = flatbuffer.minimum_runtime(model)
    if tuple(map(int, version.split("."))) > config.runtime:
        raise InputError(
            f"--min-runtime is {config.min_runtime}, but this {config.quantize} file needs "
            f"{version}: another --quantize mode or a --sequence-length may do"
        )
    return version


def _max_tokens(config: ExportConfig, model: KerasModel) -> int:
    length = config.sequence_length
    if length is None:
        return model.max_tokens
    if not 3 <= length <= model.max_tokens:
        raise InputError(f"--sequence-length is {length}: the model takes 3 to {model.max_tokens}")
    return length


def _text(model: KerasModel, sample: dict) -> str:
    """The beginning of a sample, in pieces."""
    ids = sample["input_ids"][0][sample["input_mask"][0] == 1]
    return " ".join(model.tokenizer.vocabulary[i] for i in ids)[:60]


def packed(model: KerasModel) -> metadata.Packed:
    """What travels with the model's graph."""
    return metadata.Packed(
        kind=model.kind,
        vocabulary=model.tokenizer.vocabulary,
        labels=model.labels,
        do_lower_case=model.tokenizer.lower_case,
        max_tokens=model.max_tokens,
        sequence_length=model.sequence_length,
    )


def _operations(model: ModelT) -> dict[str, int]:
    """How often each operation occurs; InputError for one that stock runtimes lack."""
    custom = sorted(code.customCode.decode() for code in model.operatorCodes if code.customCode)
    if custom:
        raise InputError(f"the graph needs operations that phones lack: {', '.join(custom)}")
    return dict(Counter(name for name, _, _ in flatbuffer.operators(model)).most_common())


def _tensors(lite: LiteModel) -> dict[str, dict]:
    def described(details):
        return {
            "shape": np.asarray(details["shape_signature"]).tolist(),
            "dtype": np.dtype(details["dtype"]).name,
        }

    tensors = {name: described(details) for name, details in lite.signature.items()}
    return {
        "inputs": {name: tensors[name] for name in INPUTS},
        "outputs": {name: tensors[name] for name in tensors if name not in INPUTS},
    }


def _latency(path: Path, max_tokens: int, threads: int) -> list[dict]:
    lengths = [tokens for tokens in _LATENCY_TOKENS if tokens <= max_tokens] or [max_tokens]
    rows = []
    for tokens in lengths:
        (seconds,) = timing.latency([path], tokens, threads, _LATENCY_RUNS)
        rows.append(timing.latency_row(seconds, tokens, threads))
    return rows


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sha256_of_model(directory: Path) -> str:
    """Of everything that an export depends on."""
    digest = hashlib.sha256()
    for name in sorted(MODEL_FILES):
        path = directory / name
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{name} {_sha256(content)}\n".encode())
    return digest.hexdigest()


def _print_summary(output: Path, report: dict) -> None:
    megabytes = report["bytes"] / 1e6
    print(f"{output}: {megabytes:.2f} MB, opens in TFLite {report['min_runtime']} and newer")
    rows = [{"output": name} | values for name, values in report["agreement"].items()]
    print(tabulate.tabulate(rows, headers="keys", floatfmt=".5f"))
    print(tabulate.tabulate(report["latency"], headers="keys", floatfmt=".3f"))
