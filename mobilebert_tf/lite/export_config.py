"""The settings of an export, and the model directory that they name."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobilebert_tf.errors import InputError, check_number
from mobilebert_tf.lite.quantize import Mode
from mobilebert_tf.lite.runtime import MOST_THREADS
from mobilebert_tf.modeling.model_directory import MODEL_FILES

DEFAULT_MODEL = "runs/demo/student"


@dataclass(frozen=True)
class ExportConfig:
    """What to export, and how.

    Args:
        model: a model directory.
        output: the .tflite file; by default beside the model directory, named after it and the
            quantization.
        quantize: none (float32), float16, dynamic (int8 weights), int8 (calibrated; the fastest on
            CPUs with int8 dot products, such as VNNI, else about as fast as dynamic), int8-full
            (integers alone, for accelerators), int16x8, int4 (4-bit weights, half the bytes of
            int8) or int4-mixed (4 bits for tables and feed-forward networks).
        sequence_length: take exactly this many tokens, for clients that cannot resize; by default
            any number.
        head: encoder exports the bare encoder whatever the model's head is.
        calibration_data: text to calibrate and check on: files, folders, or docs (embedded).
        calibration_ranges: of an activation: the widest of all texts (min-max), without the 5 % of
            the texts that go furthest (percentile), or averaged over texts (moving-average);
            quantization-aware training brought its own.
        min_runtime: the oldest TFLite that must open the file, such as 2.4; before 2.17 int8
            weights get one scale for a whole matrix, and are less exact. int4 needs 2.18.
        with_tokenizer: add signatures that tokenize strings, for runtimes that link
            tensorflow-text's operations: tokenize and tokenize_pair.
        num_threads: of the latency measurement.
        overwrite: replace an existing file.
    """

    model: str = DEFAULT_MODEL
    output: str | None = None
    quantize: Mode = "int8"
    sequence_length: int | None = None
    head: Literal["encoder"] | None = None
    calibration_data: str = "docs"
    calibration_ranges: Literal["min-max", "percentile", "moving-average"] = "min-max"
    min_runtime: str = "2.18"
    with_tokenizer: bool = False
    num_threads: int = 1
    overwrite: bool = False

    @property
    def per_channel(self) -> bool:
        """Whether int8 weights may have a scale for each channel."""
        return self.runtime >= (2, 17)

    def __post_init__(self):
        check_number("num_threads", self.num_threads, 1, MOST_THREADS)
        check_number("sequence_length", self.sequence_length, 3)
        if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}", self.min_runtime):
            raise InputError(f"`min_runtime` is {self.min_runtime}: a version such as 2.4")

    def content_options(self) -> dict:
        """Returns the options that the file's bytes depend on."""
        names = ("quantize", "sequence_length", "head", "calibration_data", "calibration_ranges")
        options = {name: getattr(self, name) for name in (*names, "min_runtime")}
        return options | ({"with_tokenizer": True} if self.with_tokenizer else {})

    @property
    def runtime(self) -> tuple[int, ...]:
        """min_runtime as numbers."""
        return tuple(map(int, self.min_runtime.split(".")))


def model_directory(config: ExportConfig) -> Path:
    """Returns the folder of config.model as an absolute path.

    Raises InputError if it is no model directory.
    """
    directory = Path(config.model)
    if not directory.is_dir() and config.model == DEFAULT_MODEL:
        raise InputError(
            f"no model at {directory}: make one with `python -m mobilebert_tf.distill`, or name "
            "one with `model`"
        )
    if not (directory / "config.json").is_file():
        raise InputError(f"`model`: {directory} is not a model directory: it has no config.json")
    return directory.resolve()


def sha256(content: bytes) -> str:
    """Returns the checksum of a file's content."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_model(directory: Path) -> str:
    """Returns a checksum of all files that an export depends on."""
    digest = hashlib.sha256()
    for name in sorted(MODEL_FILES):
        path = directory / name
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{name} {sha256(content)}\n".encode())
    return digest.hexdigest()
