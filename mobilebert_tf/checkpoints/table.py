"""A name table between our variables and a foreign format's, checked to be total."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.model import MobileBert


@dataclass(frozen=True)
class Entry:
    """One weight: its path in our model, its foreign name, whether the matrix is transposed."""

    ours: str
    theirs: str
    transposed: bool = False


def assign(
    model: MobileBert,
    table: Iterable[Entry],
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], np.ndarray],
    ignored: Callable[[str], bool],
    source: str,
) -> None:
    """Sets every weight of `model` from foreign tensors, or none.

    Args:
        table: entries for every weight of the model, each path and name once.
        shapes: the shape of each foreign tensor.
        read: gives a foreign tensor by name.
        ignored: whether a foreign name is known to have no place in the model.
        source: file name for error messages.

    Raises InputError that lists every missing, left-over or misshapen tensor.
    """
    variables = {variable.path: variable for variable in model.weights}
    entries = {entry.ours: entry for entry in table}
    problems = [f"{path} has no entry" for path in variables.keys() - entries.keys()]
    for path in variables.keys() & entries.keys():
        entry = entries[path]
        if entry.theirs not in shapes:
            problems.append(f"{entry.theirs} is missing")
            continue
        shape = tuple(shapes[entry.theirs])
        shape = shape[::-1] if entry.transposed else shape
        if shape != tuple(variables[path].shape):
            expected = tuple(variables[path].shape)
            problems.append(f"{entry.theirs} has shape {shape}, the config says {expected}")
    used = {entry.theirs for entry in entries.values()}
    unused = [name for name in shapes if name not in used and not ignored(name)]
    problems += [f"{name} is left over" for name in unused]
    if problems:
        raise InputError(f"{source} does not fit the model: {'; '.join(sorted(problems))}")
    tensors = {path: read(entries[path].theirs) for path in variables}  # all, or an error
    for path, variable in variables.items():
        variable.assign(tensors[path].T if entries[path].transposed else tensors[path])


def dense(ours: str, theirs: str) -> list[Entry]:
    """A TensorFlow dense layer: kernel and bias."""
    return [Entry(f"{ours}/{name}", f"{theirs}/{name}") for name in ("kernel", "bias")]
