"""Finds and reads TensorFlow's checkpoint files (.index and .data)."""

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from mobilebert_tf.errors import InputError, tensorflow_reason
from mobilebert_tf.modeling.config import ModelConfig, load_model_config

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # a key of TF2's object-based checkpoints only


class TensorFlowFile:
    """The tensors of a checkpoint by key, and the config of its model.

    Args:
        path: a folder with one checkpoint, or the prefix of a checkpoint.
        config: in place of the bert_config.json beside it.

    Raises InputError if there is no checkpoint, or it is damaged.
    """

    def __init__(self, path: Path, config: ModelConfig | None = None):
        self.prefix = find_prefix(path)
        if self.prefix is None:
            raise InputError(f"{path} has no TensorFlow checkpoint (*.index)")
        self.folder = Path(self.prefix).parent
        self.config = config or load_model_config(self.folder / "bert_config.json")
        with reading(self.prefix):
            self._reader = tf.train.load_checkpoint(self.prefix)
            shapes = self._reader.get_variable_to_shape_map()
        self.shapes = {key: tuple(shape) for key, shape in shapes.items()}

    def read(self, key: str) -> Any:
        with reading(self.prefix):
            return self._reader.get_tensor(key)


def find_prefix(path: str | Path) -> str | None:
    """Returns the prefix of a checkpoint; None if there is none.

    Args:
        path: a folder with one checkpoint, or a prefix.

    Raises InputError if the folder has several.
    """
    if Path(f"{path}.index").is_file():
        return str(path)
    indexes = sorted(Path(path).glob("*.index"))
    if len(indexes) > 1:
        names = ", ".join(index.name.removesuffix(".index") for index in indexes)
        raise InputError(f"{path} has more than one checkpoint; name the one: {names}")
    return str(indexes[0]).removesuffix(".index") if indexes else None


@contextmanager
def reading(prefix: str):
    """Turns the errors that TensorFlow and protobuf raise for a damaged file into an InputError."""
    try:
        yield
    except (tf.errors.OpError, DecodeError, ValueError, IndexError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{prefix} is damaged or no checkpoint: {reason}") from None


@contextmanager
def writing(directory: Path):
    """Turns the errors that TensorFlow raises where a disk is full into an OSError."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"cannot write into {directory}: {tensorflow_reason(error)}") from None


def is_object_based(prefix: str) -> bool:
    """Returns whether a checkpoint is one of TF2's, with object paths for names."""
    with reading(prefix):
        return tf.train.load_checkpoint(prefix).has_tensor(OBJECT_GRAPH)
