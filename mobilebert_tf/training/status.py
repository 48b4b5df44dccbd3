"""status.json: where a run is, for other programs to read."""

import datetime
import math
import os
import resource
import sys
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_json, write_json

State = Literal["running", "done", "stopped", "failed"]
UNKNOWN: dict[str, Any] = {
    "state": None,
    "error": None,  # why it stopped or failed
    "model": None,  # in training: teacher, student
    "stage": None,  # its name
    "stage_number": None,  # from 1
    "stages": None,
    "step": None,  # of the stage
    "steps": None,
    "total_step": None,  # of all stages of the model
    "total_steps": None,
    "loss": None,  # mean since the log before
    "learning_rate": None,
    "tokens_per_second": None,
    "seconds_left": None,  # until the last step of the model
    "held_out": {},  # the last evaluation
    "memory_bytes": None,  # the most that the process had
    "accelerator_memory_bytes": None,
    "pid": None,
    "updated": None,  # UTC
}


class Status:
    """The file status.json, which is replaced whole each time.

    It has all keys of UNKNOWN; what is not known, or is no finite number, is null. A process that
    was killed leaves "running", with its pid.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._values = UNKNOWN | read_json(path)
        except InputError:  # there is none yet
            self._values = dict(UNKNOWN)

    def write(self, state: State, **values: Any) -> None:
        """Replaces the file: these values are new, and the rest is as it was."""
        self._values |= {"error": None} | values | {"state": state}
        self._values |= {
            "memory_bytes": _memory(),
            "accelerator_memory_bytes": _accelerator_memory(),
            "pid": os.getpid(),
            "updated": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        write_json(self.path, _finite(self._values))


def _finite(value: Any) -> Any:
    """Returns a value without NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _memory() -> int:
    """Returns the most memory that this process had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _accelerator_memory() -> int | None:
    """Returns the most memory that TensorFlow had on the first accelerator; None without one."""
    if not tf.config.list_physical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"]
