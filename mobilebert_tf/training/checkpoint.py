"""Checkpoints of training state: single files with a checksum, the newest and the best."""

import hashlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import whole_file

_DAMAGED = (SafetensorError, ValueError)  # what a damaged state raises when it is read


@dataclass(frozen=True)
class Position:
    """How far a training has come, and what its held-out losses said on the way.

    Args:
        stage: the stage, from 0.
        step: number of its steps that are done.
        best_loss: lowest held-out loss in this stage; None before its first evaluation.
        best: number of the state that had it.
        waited: evaluations since then.
    """

    stage: int = 0
    step: int = 0
    best_loss: float | None = None
    best: int | None = None
    waited: int = 0

    def at(self, step: int) -> "Position":
        """Returns the position after another step of the same stage."""
        return replace(self, step=step)

    def judged(self, loss: float, number: int) -> "Position":
        """Returns the position after an evaluation, whose state gets a number."""
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            return replace(self, best_loss=loss, best=number, waited=0)
        return replace(self, waited=self.waited + 1)


def save_state(
    directory: Path, number: int, position: Position, tensors: Mapping, kept: int = 2
) -> None:
    """Writes `state-<number>.safetensors`, and deletes old states.

    The `kept` newest states stay, and so does each state that one of them names as the best.

    Args:
        directory: of the states.
        number: larger than that of every earlier state.
        position: how far training has come.
        tensors: arrays by name.
        kept: at least 1; with 2, a damaged newest state costs only its steps.

    Raises OSError if the file cannot be written, InputError if a kept one cannot be read.
    """
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    path = _state(directory, number)
    metadata = {"position": json.dumps(asdict(position)), "sha256": digest_of(tensors)}
    try:
        with whole_file(path) as temporary:
            save_file(tensors, temporary, metadata)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
    except (SafetensorError, OSError) as error:
        raise OSError(f"cannot write {path}: {error}") from None
    states = _states(directory)
    newest = states[-kept:]
    bests = [_state(directory, p.best) for p in map(_position, newest) if p and p.best is not None]
    for old in states:
        if old not in newest and old not in bests:
            old.unlink()


def load_state(directory: Path) -> tuple[Position, dict[str, np.ndarray]] | None:
    """Returns (position, tensors) of the newest undamaged state; None if there is no state.

    Damaged states that are newer are deleted, each with a warning on stderr. Nothing is deleted
    before an undamaged state is found: the disk may fail for a moment.

    Raises InputError if all are damaged, or one cannot be read.
    """
    damaged = []
    for path in reversed(_states(directory)):
        try:
            state = _read(path)
        except _DAMAGED as error:
            print(f"warning: {path} is damaged ({error})", file=sys.stderr)
            damaged.append(path)
        else:
            for newer in damaged:
                newer.unlink()
            return state
    if damaged:
        raise InputError(f"every state in {directory} is damaged: start again with `overwrite`")
    return None


def load_numbered(directory: Path, number: int) -> dict[str, np.ndarray]:
    """Returns the tensors of a state by its number.

    Raises InputError if it is damaged or cannot be read.
    """
    path = _state(directory, number)
    try:
        return _read(path)[1]
    except _DAMAGED as error:
        raise InputError(f"{path}, the best state, is damaged ({error})") from None


def newest_position(directory: Path) -> Position | None:
    """Returns the position of the newest undamaged state; None if there is none.

    Raises InputError if a state cannot be read.
    """
    positions = map(_position, reversed(_states(directory)))
    return next((position for position in positions if position is not None), None)


def _read(path: Path) -> tuple[Position, dict[str, np.ndarray]]:
    """Returns the position and tensors of a state. Raises one of _DAMAGED if it is damaged."""
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata() or {}
    if digest_of(tensors) != metadata.get("sha256"):
        raise ValueError("its checksum is wrong")
    return _parse(metadata, path), tensors


def _position(path: Path) -> Position | None:
    """Returns the position of a state, of which only the head is read; None if it is damaged."""
    try:
        with _opened(path) as file:
            return _parse(file.metadata() or {}, path)
    except _DAMAGED:
        return None


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    """Yields an open state. Raises InputError if the system cannot read it."""
    try:
        with open(path, "rb"):  # its error says why; that of safe_open is always "no such file"
            pass
        with safe_open(path, framework="numpy") as file:
            yield file
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def _parse(metadata: Mapping[str, str], path: Path) -> Position:
    """Returns the position in a state's metadata.

    Raises ValueError if there is none, InputError if it is that of another version.
    """
    values = json.loads(metadata.get("position", ""))
    try:
        return Position(**values)
    except TypeError:
        raise InputError(
            f"{path} was written by another version of mobilebert_tf: go on with that version, or "
            "choose another `output_dir`"
        ) from None


def _state(directory: Path, number: int) -> Path:
    return directory / f"state-{number:09d}.safetensors"


def _states(directory: Path) -> list[Path]:
    """Returns all states, oldest first. Raises OSError if the directory cannot be read."""
    if not directory.exists():
        return []
    # Not by glob, which finds nothing in a directory that it cannot read, from Python 3.13 on.
    return sorted(path for path in directory.iterdir() if path.match("state-*.safetensors"))


def digest_of(tensors: Mapping[str, np.ndarray]) -> str:
    """Returns the SHA-256 of the arrays' names and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
