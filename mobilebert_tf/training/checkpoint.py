"""Checkpoints of training state: single files with a checksum, the newest and the best."""

import hashlib
import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import whole_file

_UNREADABLE = (SafetensorError, OSError, KeyError, ValueError, TypeError)


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

    There stay the `kept` newest, and those that one of them names as the best.

    Args:
        directory: of the states.
        number: larger than that of every earlier state.
        position: how far training has come.
        tensors: arrays by name.
        kept: at least 1; with 2, a damaged newest state costs only its steps.

    Raises OSError if the file cannot be written.
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

    Damaged states are deleted with a warning on stderr. Raises InputError if all are damaged.
    """
    states = _states(directory)
    for path in reversed(states):
        try:
            return _read(path)
        except _UNREADABLE as error:
            print(f"warning: {path} is damaged ({error}); using the one before", file=sys.stderr)
            path.unlink()
    if states:
        raise InputError(f"every state in {directory} is damaged: start again with `overwrite`")
    return None


def load_numbered(directory: Path, number: int) -> dict[str, np.ndarray]:
    """Returns the tensors of a state by its number. Raises InputError if it is damaged."""
    path = _state(directory, number)
    try:
        return _read(path)[1]
    except _UNREADABLE as error:
        raise InputError(f"{path}, the best state, is damaged ({error})") from None


def newest_position(directory: Path) -> Position | None:
    """Returns the position of the newest state that has one; None if there is no state."""
    positions = map(_position, reversed(_states(directory)))
    return next((position for position in positions if position is not None), None)


def _read(path: Path) -> tuple[Position, dict[str, np.ndarray]]:
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata()
    if digest_of(tensors) != metadata["sha256"]:
        raise ValueError("its checksum is wrong")
    return Position(**json.loads(metadata["position"])), tensors


def _position(path: Path) -> Position | None:
    """Returns the position of a state, of which only the head is read; None if it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return Position(**json.loads(file.metadata()["position"]))
    except _UNREADABLE:
        return None


def _state(directory: Path, number: int) -> Path:
    return directory / f"state-{number:09d}.safetensors"


def _states(directory: Path) -> list[Path]:
    return sorted(directory.glob("state-*.safetensors"))


def digest_of(tensors: Mapping[str, np.ndarray]) -> str:
    """Returns the SHA-256 of the arrays' names and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
