"""Checkpoints of training state: single files with a checksum, of which the last two are kept."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import whole_file

KEPT = 2  # the newest, and the one before it in case the newest is damaged


def save_state(directory: Path, number: int, position: Mapping[str, int], tensors: dict) -> None:
    """Writes `state-<number>.safetensors`, and deletes all but the last KEPT states.

    Args:
        directory: of the states.
        number: larger than that of every earlier state.
        position: how far training has come; load_state returns it.
        tensors: arrays by name.

    Raises OSError if the file cannot be written.
    """
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    path = directory / f"state-{number:09d}.safetensors"
    metadata = {"position": json.dumps(dict(position)), "sha256": digest_of(tensors)}
    try:
        with whole_file(path) as temporary:
            save_file(tensors, temporary, metadata)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
    except (SafetensorError, OSError) as error:
        raise OSError(f"cannot write {path}: {error}") from None
    for old in _states(directory)[:-KEPT]:
        old.unlink()


def load_state(directory: Path) -> tuple[dict[str, int], dict[str, np.ndarray]] | None:
    """Returns (position, tensors) of the newest undamaged state; None if there is no state.

    Damaged states are deleted with a warning on stderr. Raises InputError if all are damaged.
    """
    states = _states(directory)
    for path in reversed(states):
        try:
            return _read(path)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            print(f"warning: {path} is damaged ({error}); using the one before", file=sys.stderr)
            path.unlink()
    if states:
        raise InputError(f"every state in {directory} is damaged: start again with `overwrite`")
    return None


def _read(path: Path) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata()
    if digest_of(tensors) != metadata["sha256"]:
        raise ValueError("its checksum is wrong")
    return json.loads(metadata["position"]), tensors


def _states(directory: Path) -> list[Path]:
    return sorted(directory.glob("state-*.safetensors"))


def digest_of(tensors: Mapping[str, np.ndarray]) -> str:
    """Returns the SHA-256 of the arrays' names and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()
