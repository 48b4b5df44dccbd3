"""Tables of weight names between our models and the files of another format.

A table has one `Entry` for every weight of a model. Every tensor of a file must be in the table, or
match an `Ignored`, which gives the reason; all others are errors.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert


@dataclass(frozen=True)
class Entry:
    """One weight in our model and in a file.

    Args:
        ours: path of the variable.
        theirs: name of the tensor in the file.
        transposed: whether the file has the matrix as [out, in].
        shape: the tensor's shape in the file, with one size of -1, if it splits a dimension of
            ours; else None.
    """

    ours: str
    theirs: str
    transposed: bool = False
    shape: tuple[int, ...] | None = None

    def to_theirs(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns a weight of our model in the form of the file."""
        tensor = tf.transpose(tensor) if self.transposed else tensor
        return tf.reshape(tensor, self.shape) if self.shape else tensor

    def to_ours(self, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Returns a tensor of the file in the form of our variable, which has `shape`."""
        return array.T if self.transposed else array.reshape(shape)

    def their_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape in the file of a variable of `shape`."""
        shape = shape[::-1] if self.transposed else shape
        if self.shape is None:
            return shape
        known = math.prod(size for size in self.shape if size != -1)
        return tuple(math.prod(shape) // known if size == -1 else size for size in self.shape)


@dataclass(frozen=True)
class Ignored:
    """Tensors of a file that a model does not need.

    Args:
        pattern: of their names, with * and ?.
        reason: why they are not needed.
    """

    pattern: str
    reason: str


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint of another format.

    Args:
        source: name of the file, for messages.
        config, head: of its model.
        table: an entry for every weight of that model.
        shapes: the shape of each tensor in the file.
        read: returns a tensor by name.
        ignored: the other tensors that the file may have.
    """

    source: str
    config: ModelConfig
    head: Head
    table: Sequence[Entry]
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]
    ignored: Sequence[Ignored] = field(default_factory=list)

    def assign(self, model: MobileBert) -> None:
        """Sets every weight of `model`.

        Raises InputError with a list of all missing, left-over or misshapen tensors, or of all
        tensors with numbers that are not finite.
        """
        self._check(model)
        problems = []
        entries = {entry.ours: entry for entry in self.table}
        for variable in model.weights:
            entry = entries[variable.path]
            tensor = self.read(entry.theirs)
            if tensor.dtype != np.float32:
                problems.append(f"{entry.theirs} is of type {tensor.dtype}")
            elif not np.isfinite(tensor).all():
                problems.append(f"{entry.theirs} has numbers that are not finite")
            else:
                variable.assign(entry.to_ours(tensor, tuple(variable.shape)))
        if problems:
            raise InputError(f"{self.source}: {'; '.join(sorted(problems))}")

    def _check(self, model: MobileBert) -> None:
        variables = {variable.path: tuple(variable.shape) for variable in model.weights}
        entries = {entry.ours: entry for entry in self.table}
        problems = [f"{path} has no entry" for path in variables.keys() ^ entries.keys()]
        for path in variables.keys() & entries.keys():
            entry = entries[path]
            shape, expected = self.shapes.get(entry.theirs), entry.their_shape(variables[path])
            if shape is None:
                problems.append(f"{entry.theirs} is missing")
            elif tuple(shape) != expected:
                problems.append(
                    f"{entry.theirs} has shape {tuple(shape)}, the config says {expected}"
                )
        problems += [f"{name} is left over" for name in self._unused if self._reason(name) is None]
        if problems:
            raise InputError(f"{self.source} does not fit the model: {'; '.join(sorted(problems))}")

    @cached_property
    def _unused(self) -> list[str]:
        used = {entry.theirs for entry in self.table}
        return sorted(name for name in self.shapes if name not in used)

    def _reason(self, name: str) -> str | None:
        reasons = (i.reason for i in self.ignored if fnmatchcase(name, i.pattern))
        return next(reasons, None)

    def skipped(self) -> dict[str, int]:
        """Returns how many tensors of the file were ignored, by reason."""
        return dict(Counter(self._reason(name) for name in self._unused))


def foreign_tensors(model: MobileBert, table: Iterable[Entry]) -> Iterator[tuple[str, tf.Tensor]]:
    """Yields (name, tensor) of each weight in the other format.

    Untransposed tensors share the memory of the model, which may be 1.2 GB (294 million
    parameters).
    """
    weights = {variable.path: variable for variable in model.weights}
    for entry in table:
        yield entry.theirs, entry.to_theirs(weights[entry.ours].value.value())


def dense(ours: str, theirs: str) -> list[Entry]:
    """Returns the entries of a TensorFlow dense layer: kernel and bias."""
    return [Entry(f"{ours}/{name}", f"{theirs}/{name}") for name in ("kernel", "bias")]
