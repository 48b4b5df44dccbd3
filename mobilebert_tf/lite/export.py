"""A model directory becomes a .tflite file, checked against the Keras model on real text."""

import functools
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.schema_py_generated import ModelT

from mobilebert_tf.environment import circumstances
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import write_whole
from mobilebert_tf.lite import flatbuffer, metadata, quantize, text_input, timing
from mobilebert_tf.lite.calibration_data import for_graph, padded, paragraphs, samples
from mobilebert_tf.lite.equalize import observe
from mobilebert_tf.lite.export_config import ExportConfig, sha256
from mobilebert_tf.lite.graph import INPUTS
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.lite.verify import agreement, complaints, wrong_after_shorter
from mobilebert_tf.modeling.heads import predicts_masks
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.model_directory import load_model, load_tokenizer
from mobilebert_tf.modeling.runner import KerasModel
from mobilebert_tf.text.tokenizer import WordPiece

_SAMPLES = 96  # paragraphs; every third one checks the file, the others calibrate it
_LATENCY_TOKENS = (16, 32, 64, 128)
_LATENCY_RUNS = 20
_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


def write_checked(config: ExportConfig, directory: Path, path: Path) -> dict:
    """Writes the checked file to `path` and returns the report on it."""
    model, tokenizer = load_model(directory), load_tokenizer(directory)
    reference = KerasModel(model, tokenizer, config.head)
    longest = max_tokens(config, reference)
    checks, calibration = texts(config, reference)
    _check_finite(reference, checks[0], directory)

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
    write_whole(path, content)

    print(f"checking it on {len(checks)} texts", flush=True)
    measured = verified(path, f"the {config.quantize} file", config, reference, checks)
    warnings = _warnings(config, model, tokenizer, calibration, measured)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return {
        "mode": config.quantize,
        "warnings": warnings,
        "bytes": len(content),
        "min_runtime": runtime,
        "sha256": sha256(content),
        "tensors": _tensors(LiteModel(path)),
        "ops": operations,
        "parts": parts,
        "agreement": measured,
        "latency": _latency(path, longest, config.num_threads),
    } | (tokenizer_report | circumstances())


def verified(
    path: Path, name: str, config: ExportConfig, model: KerasModel, checks: Sequence[dict]
) -> dict[str, dict]:
    """Compares a file with its model on texts, half of which are padded, and returns the agreement.

    Args:
        path: the file.
        name: what it is, for messages.
        config: of its export.
        model: from which it was made.
        checks: as from `texts`.

    Raises InputError if the file does not agree with the model, or if its outputs for a text depend
    on the texts before.
    """
    longest = max_tokens(config, model)
    checks = [
        sample if i % 2 else padded(sample, min(sample["input_ids"].shape[1] + 5, longest))
        for i, sample in enumerate(checks)
    ]
    open_file = functools.partial(LiteModel, path)
    if config.sequence_length is None and (tokens := wrong_after_shorter(open_file, checks)):
        raise InputError(
            f"{name} is not kept: after shorter texts, one of {tokens} tokens has other outputs "
            "than after longer ones in this runtime; a `sequence_length` will do"
        )
    measured = agreement(open_file(), model, checks)
    for values in measured.values():
        values["worst"] = _text(model, checks[values["worst"]])
    if problems := complaints(measured, config.quantize):
        raise InputError(
            f"{name} does not agree with the model and is not kept: {'; '.join(problems)}; "
            "another `quantize` mode or other `calibration_data` may do"
        )
    return measured


def with_tokenizer(content: bytes, config: ExportConfig, model: KerasModel) -> tuple[bytes, dict]:
    """Adds the signatures that tokenize and checks them on real text.

    Returns the file and the report on its tokenizer.
    """
    arguments = (model.tokenizer, model.kind, max_tokens(config, model))
    padded_to_length = config.sequence_length is not None
    joined = text_input.add_tokenizer(content, *arguments, padded_to_length)
    sentences = paragraphs(config.calibration_data, _SAMPLES)
    equal = text_input.equal_texts(joined, *arguments, padded_to_length, sentences)
    print(f"its tokenizer reads {100 * equal:.1f} % of {len(sentences)} texts as BERT's does")
    signatures = {name: list(names) for name, names in text_input.signatures(model.kind).items()}
    added = {"bytes": len(joined) - len(content), "equal_texts": equal}
    return joined, {"tokenizer": {"signatures": signatures} | added}


def texts(config: ExportConfig, model: KerasModel) -> tuple[list[dict], list[dict]]:
    """Returns real texts to check a file on, and others to calibrate it on; int32 [1,T] each.

    The first have the names of a Runnable's inputs, the others those of the graph's.
    """
    longest = max_tokens(config, model)
    masked = predicts_masks(model.kind)
    encoded = samples(config.calibration_data, model.tokenizer, longest, _SAMPLES, masked)
    if config.sequence_length:
        encoded = [padded(sample, longest) for sample in encoded]
    calibration = [sample for i, sample in enumerate(encoded) if i % 3]
    return encoded[::3], [for_graph(sample) for sample in calibration]


def _warnings(
    config: ExportConfig,
    model: MobileBert,
    tokenizer: WordPiece,
    calibration: list[dict],
    measured: dict[str, dict],
) -> list[str]:
    """Returns what may go wrong with the file on some devices, or in some apps."""
    found = []
    if not tokenizer.lower_case:
        found.append(
            "the vocabulary is cased, but MediaPipe Tasks and the TFLite Task Library lower-case "
            "every text: give this file the ids of a cased BERT tokenizer"
        )
    if config.quantize == "float16":
        scales = model.quantization.scales if model.quantization else None  # as in the file
        widest = observe(model, calibration, config.head, scales).widest
        if widest > _LARGEST_FLOAT16:
            found.append(
                f"numbers up to {widest:,.0f} flow in the model, float16 ends at "
                f"{_LARGEST_FLOAT16:,.0f}: where a GPU computes in float16, outputs are wrong; "
                "runtimes that compute in float32 are not affected"
            )
    if config.quantize in quantize.FOUR_BITS and "embedding" in measured:
        found.append(
            f"the cosine of its embeddings with the float model's is "
            f"{measured['embedding']['cosine']:.3f}: compare them with those of this file alone"
        )
    return found


def _check_finite(model: KerasModel, sample: dict, directory: Path) -> None:
    """Raises InputError for a model whose outputs overflow: its file may kill the interpreter."""
    bad = [name for name, values in model(**sample).items() if not np.isfinite(values).all()]
    if bad:
        raise InputError(f"{directory} is not exported: its {', '.join(bad)} is not finite")


def _minimum_runtime(model: ModelT, config: ExportConfig) -> str:
    """Returns the oldest TFLite that opens the file. Raises InputError if it is too new."""
    version = flatbuffer.minimum_runtime(model)
    if tuple(map(int, version.split("."))) > config.runtime:
        operations = ", ".join(flatbuffer.newest_operations(model))
        raise InputError(
            f"`min_runtime` is {config.min_runtime}, but this {config.quantize} file needs "
            f"{version} for {operations}: `min_runtime` {version} will do"
        )
    return version


def max_tokens(config: ExportConfig, model: KerasModel) -> int:
    """Returns how many tokens the file takes. Raises InputError if the model does not take them."""
    length = config.sequence_length
    if length is None:
        return model.max_tokens
    if not 3 <= length <= model.max_tokens:
        raise InputError(f"`sequence_length` is {length}: the model takes 3 to {model.max_tokens}")
    return length


def _text(model: KerasModel, sample: dict) -> str:
    """Returns the first pieces of a sample, to show it."""
    ids = sample["input_ids"][0][sample["input_mask"][0] == 1]
    return " ".join(model.tokenizer.vocabulary[i] for i in ids)[:60]


def packed(model: KerasModel) -> metadata.Packed:
    """Returns what the file carries beside the graph."""
    return metadata.Packed(
        kind=model.kind,
        vocabulary=model.tokenizer.vocabulary,
        labels=model.labels,
        thresholds=model.thresholds,
        joiners=model.joiners,
        do_lower_case=model.tokenizer.lower_case,
        strip_accents=model.tokenizer.strip_accents,
        max_tokens=model.max_tokens,
        sequence_length=model.sequence_length,
        pairs=model.pairs,
    )


def _operations(model: ModelT) -> dict[str, int]:
    """Counts the operations. Raises InputError for one that stock runtimes lack."""
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
