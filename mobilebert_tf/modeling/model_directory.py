"""Model directories: the form in which every command reads and writes models.

A model directory holds config.json (ModelConfig), model.weights.h5, task.json (Head), vocab.txt
and tokenizer_config.json; after quantization-aware training also quantization.npz.
"""

import dataclasses
import io
import json
import math
import os
from pathlib import Path

import h5py
import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_json, whole_directory
from mobilebert_tf.modeling.config import ModelConfig, load_model_config, parse_strictly
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.layers import zero_initialized
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.quantization import HIDDEN, QUANTIZATION_FILE, Quantization
from mobilebert_tf.text.tokenizer import WordPiece

WEIGHTS_FILE, HEAD_FILE = "model.weights.h5", "task.json"
MODEL_FILES = {
    "config.json",
    HEAD_FILE,
    WEIGHTS_FILE,
    QUANTIZATION_FILE,
    "vocab.txt",
    "tokenizer_config.json",
}
ALWAYS_ALLOWED_PARAMETERS = 10**8  # any machine has the memory for so many


def save_model(
    model: MobileBert, directory: str | Path, tokenizer: WordPiece | None = None
) -> None:
    """Writes a model directory, whole or not at all; an existing model directory is replaced.

    Args:
        model: its config, head, weights and quantization (if it has any) are written.
        directory: where to; other files must not be in it.
        tokenizer: written as vocab.txt and tokenizer_config.json. Without one the directory loads
            as a model, but cannot read text.

    Raises InputError for a directory that holds anything but a model.
    """
    directory = Path(directory).resolve()
    if directory.exists() and holds_more_than_a_model(directory):
        raise InputError(f"{directory} holds more than a model: choose another directory")
    with whole_directory(directory) as temporary:
        _write_files(model, temporary, tokenizer)


def holds_more_than_a_model(directory: Path) -> bool:
    """Returns whether a folder has files that `save_model` does not write."""
    return not set(os.listdir(directory)) <= MODEL_FILES


def _write_files(model: MobileBert, directory: Path, tokenizer: WordPiece | None) -> None:
    (directory / "config.json").write_text(model.config.to_json())
    head = json.dumps(dataclasses.asdict(model.head), indent=2)
    (directory / HEAD_FILE).write_text(head + "\n")
    weights = _InMemory()
    model.save_weights(weights)
    (directory / WEIGHTS_FILE).write_bytes(weights.getbuffer())
    if model.quantization is not None:
        model.quantization.save(directory)
    if tokenizer is not None:
        tokenizer.save_files(directory)


class _InMemory(io.BytesIO):
    """What Keras takes for a file of weights: HDF5 kills the process where a disk is full or a file
    may not grow, so its bytes go to the disk by Python, which raises OSError."""

    def __str__(self) -> str:
        return WEIGHTS_FILE


def load_model(directory: str | Path) -> MobileBert:
    """Returns the model of a model directory. Nothing in the directory is executed.

    Raises InputError if the directory or one of its files is missing or damaged, or if the files
    do not belong together.
    """
    directory = Path(directory)
    if not (directory / "config.json").is_file():
        raise InputError(f"{directory} is not a model directory: it has no config.json")
    config = load_model_config(directory / "config.json")
    head, head_file = Head(), directory / HEAD_FILE
    if head_file.is_file():
        head = parse_strictly(Head, read_json(head_file), str(head_file))
    weights = directory / WEIGHTS_FILE
    if not weights.is_file():
        raise InputError(f"{directory} is not a whole model directory: it has no {WEIGHTS_FILE}")
    numbers, tensors = _count(weights)
    check_size(config, numbers, weights.stat().st_size, weights)
    check_depth(config, tensors, weights)
    if len(head.labels) > numbers:
        raise InputError(f"{weights} belongs to another head: {head_file} has more labels")
    with zero_initialized():
        model = MobileBert(config, head)
    load_weights(model, directory)
    if (directory / QUANTIZATION_FILE).is_file():
        model.quantization = _load_quantization(model, directory)
    return model


def _load_quantization(model: MobileBert, directory: Path) -> Quantization:
    kernels = {w.path: w.shape[-1] for w in model.weights if w.path.endswith("/kernel")}
    widths = {
        path.removesuffix("/kernel").removesuffix("/dense"): width
        for path, width in kernels.items()
    }
    quantization = Quantization.load(directory)
    mismatch = quantization.first_mismatch(widths | {HIDDEN: model.config.hidden_size})
    if mismatch is not None:
        raise InputError(
            f"{directory / QUANTIZATION_FILE} belongs to another model: {mismatch} has another "
            "width, or is none of this model's layers"
        )
    return quantization


def check_size(config: ModelConfig, numbers: int, size: int, source: str | Path) -> None:
    """Raises InputError if a config asks for far more weights than its file holds.

    Called before any memory is allocated. A smaller difference is found once the model is built
    and its weights are compared one by one.

    Args:
        numbers: how many numbers the file claims to hold.
        size: bytes of the file, at least two for each number.
        source: name of the file for the message.
    """
    numbers = min(numbers, size // 2)
    if config.encoder_parameters > max(4 * numbers, ALWAYS_ALLOWED_PARAMETERS):
        raise InputError(
            f"{source} is damaged or belongs to another config: it holds {numbers:,} numbers, the "
            f"config says {config.encoder_parameters:,} or more"
        )


def check_depth(config: ModelConfig, tensors: int, source: str | Path) -> None:
    """Raises InputError if a config asks for more blocks than its file has tensors: to build or
    name them would take minutes."""
    if config.num_hidden_layers * config.num_feedforward_networks > tensors:
        raise InputError(
            f"{source} is damaged or belongs to another config: it holds {tensors} tensors, too "
            f"few for {config.num_hidden_layers} layers"
        )


def check_vocabulary(model: MobileBert, tokenizer: WordPiece) -> None:
    """Raises InputError if a vocabulary has pieces without a row in the model's table."""
    if len(tokenizer) > model.config.vocab_size:
        raise InputError(
            f"the vocabulary has {len(tokenizer):,} pieces, the model's table "
            f"{model.config.vocab_size:,} rows: they do not belong together"
        )


def load_weights(model: MobileBert, directory: Path) -> None:
    """Loads the weights of a model directory into `model`.

    Raises InputError if they are damaged, not finite, or belong to another config.
    """
    path = directory / WEIGHTS_FILE
    try:
        model.load_weights(path)
        _check_all_used(path, model)
    except Exception as error:  # HDF5 and Keras raise errors of many kinds for a damaged file
        reason = (str(error) or repr(error)).splitlines()[0][:200]
        raise InputError(f"{path} is damaged or belongs to another config: {reason}") from None
    bad = [weight.path for weight in model.weights if not np.isfinite(weight.numpy()).all()]
    if bad:
        raise InputError(f"{path} has numbers that are not finite in {', '.join(bad)}")


def _check_all_used(path: Path, model: MobileBert) -> None:
    """Raises ValueError if the file has more numbers than the model: Keras ignores the rest."""
    stored, _ = _count(path)
    expected = sum(math.prod(weight.shape) for weight in model.weights)
    if stored != expected:
        raise ValueError(f"it holds {stored:,} numbers, the config says {expected:,}")


def _count(path: Path) -> tuple[int, int]:
    """Returns how many numbers and tensors an HDF5 file holds.

    Raises InputError if it is no HDF5 file, or says that it holds more than its bytes.
    """
    tensors = []

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            tensors.append((item.size, item.size * item.dtype.itemsize))

    try:
        with h5py.File(path) as file:
            file.visititems(note)
    except Exception as error:  # h5py raises errors of many kinds for a damaged file
        reason = (str(error) or repr(error)).splitlines()[0][:200]
        raise InputError(f"{path} is damaged or no weights file: {reason}") from None
    if sum(size for _, size in tensors) > path.stat().st_size:
        raise InputError(f"{path} is damaged: it holds fewer bytes than its tensors")
    return sum(count for count, _ in tensors), len(tensors)


def load_tokenizer(directory: str | Path) -> WordPiece:
    """Returns the tokenizer of a model directory.

    Raises InputError if the directory has no vocabulary, or its files are damaged.
    """
    directory = Path(directory)
    if not (directory / "vocab.txt").is_file():
        raise InputError(f"{directory} has no vocab.txt: it cannot read text")
    settings = directory / "tokenizer_config.json"
    values = read_json(settings) if settings.is_file() else {}
    casing = [values.get(key) for key in ("do_lower_case", "strip_accents")]
    if not all(isinstance(value, bool | None) for value in casing):
        raise InputError(f"{settings}: do_lower_case and strip_accents must be true or false")
    return WordPiece.from_file(directory / "vocab.txt", *casing)
