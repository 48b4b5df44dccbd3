"""Model directories: what every door reads and writes, whole or not at all.

config.json (ModelConfig), model.weights.h5, task.json (Head), vocab.txt and tokenizer_config.json;
after quantization-aware training also quantization.npz.
"""

import dataclasses
import errno
import json
import math
import os
import shutil
from pathlib import Path

import h5py
import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_json, whole_directory
from mobilebert_tf.modeling.config import ModelConfig, load_model_config, parse_strictly
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.layers import zeros
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.quantization import HIDDEN, QUANTIZATION_FILE, Quantization
from mobilebert_tf.text.tokenizer import WordPiece

WEIGHTS_FILE, HEAD_FILE = "model.weights.h5", "task.json"
MODEL_FILES = {"config.json", HEAD_FILE, WEIGHTS_FILE, QUANTIZATION_FILE} | {
    "vocab.txt",
    "tokenizer_config.json",
}
SMALL_ENOUGH = 10**8  # parameters that any machine has the memory for


def save_model(
    model: MobileBert, directory: str | Path, tokenizer: WordPiece | None = None
) -> None:
    """Writes a model directory: config.json, task.json, model.weights.h5 and vocab.txt; after
    quantization-aware training quantization.npz too.

    The directory appears whole or not at all; a model directory that exists is replaced. Without a
    tokenizer there is no vocab.txt: enough for numbers, not for text. Raises InputError for a
    directory that holds something else.
    """
    directory = Path(directory).resolve()
    if directory.exists() and not set(os.listdir(directory)) <= MODEL_FILES:
        raise InputError(f"{directory} holds more than a model: choose another directory")
    with whole_directory(directory) as aside:
        _write_files(model, aside, tokenizer)


def _write_files(model: MobileBert, directory: Path, tokenizer: WordPiece | None) -> None:
    _check_room(model, directory)
    (directory / "config.json").write_text(model.config.to_json())
    head = json.dumps(dataclasses.asdict(model.head), indent=2)
    (directory / HEAD_FILE).write_text(head + "\n")
    model.save_weights(directory / WEIGHTS_FILE)
    if model.quantization is not None:
        model.quantization.save(directory)
    if tokenizer is not None:
        tokenizer.save_files(directory)


def _check_room(model: MobileBert, directory: Path) -> None:
    """OSError if the disk has no room for the weights, on which HDF5 would kill the interpreter."""
    needed = sum(math.prod(w.shape) * np.dtype(w.dtype).itemsize + 4096 for w in model.weights)
    if shutil.disk_usage(directory).free < needed + 2**16:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} for a model", str(directory))


def load_model(directory: str | Path) -> MobileBert:
    """The model of a model directory. Nothing in the directory is executed.

    Raises InputError if the directory, or a file in it, is missing, damaged or does not fit.
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
    check_size(config, _numbers_in(weights), weights.stat().st_size, weights)
    with zeros():
        model = MobileBert(config, head)
    load_weights(model, directory)
    if (directory / QUANTIZATION_FILE).is_file():
        model.quantization = _quantization(model, directory)
    return model


def _quantization(model: MobileBert, directory: Path) -> Quantization:
    kernels = {w.path: w.shape[-1] for w in model.weights if w.path.endswith("/kernel")}
    widths = {
        path.removesuffix("/kernel").removesuffix("/dense"): width
        for path, width in kernels.items()
    }
    quantization = Quantization.load(directory)
    if name := quantization.misfit(widths | {HIDDEN: model.config.hidden_size}):
        raise InputError(f"{directory / QUANTIZATION_FILE} belongs to another model: see {name}")
    return quantization


def check_size(config: ModelConfig, numbers: int, size: int, source: str | Path) -> None:
    """InputError if a config is out of all proportion to its file, before any memory is taken.

    What is nearer is built, and compared weight by weight.

    Args:
        numbers: how many the file says it holds.
        size: its bytes, two or more for each number.
        source: its name, for the message.
    """
    numbers = min(numbers, size // 2)
    if config.encoder_parameters > max(4 * numbers, SMALL_ENOUGH):
        raise InputError(
            f"{source} is damaged or belongs to another config: it holds {numbers:,} numbers, the "
            f"config says {config.encoder_parameters:,} or more"
        )


def load_weights(model: MobileBert, directory: Path) -> None:
    """Sets the weights of `model` to those of a model directory; InputError if they do not fit."""
    path = directory / WEIGHTS_FILE
    try:
        model.load_weights(path)
        _check_all_used(path, model)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is damaged or belongs to another config: {reason}") from None
    bad = [weight.path for weight in model.weights if not np.isfinite(weight.numpy()).all()]
    if bad:
        raise InputError(f"{path} has numbers that are not finite in {', '.join(bad)}")


def _check_all_used(path: Path, model: MobileBert) -> None:
    """ValueError if the file has numbers that the model has no place for; Keras ignores them."""
    held, expected = _numbers_in(path), sum(math.prod(weight.shape) for weight in model.weights)
    if held != expected:
        raise ValueError(f"it holds {held:,} numbers, the config says {expected:,}")


def _numbers_in(path: Path) -> int:
    """How many numbers an HDF5 file holds; InputError if it is none."""
    sizes = []
    try:
        with h5py.File(path) as file:
            file.visititems(lambda _, item: sizes.append(getattr(item, "size", 0)))
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is damaged or no weights file: {reason}") from None
    return sum(sizes)


def load_tokenizer(directory: str | Path) -> WordPiece:
    """The tokenizer of a model directory; InputError if it has none."""
    directory = Path(directory)
    if not (directory / "vocab.txt").is_file():
        raise InputError(f"{directory} has no vocab.txt: it cannot read text")
    settings = directory / "tokenizer_config.json"
    lower_case = read_json(settings).get("do_lower_case") if settings.is_file() else None
    if not isinstance(lower_case, bool | None):
        raise InputError(f"{settings}: do_lower_case is {lower_case!r}: it must be true or false")
    return WordPiece.from_file(directory / "vocab.txt", lower_case=lower_case)
