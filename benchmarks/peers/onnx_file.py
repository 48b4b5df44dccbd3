"""An .onnx file to measure. Imports little, so that a fresh process that only measures stays small;
that process is this file run as a script: FILE TOKENS."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

ROLES = {"input_ids": "ids", "attention_mask": "mask", "token_type_ids": "segments"}


class OnnxFile:
    """A session of `path` with `threads` threads, and its int64 inputs [1,T]."""

    def __init__(self, path: str | Path, threads: int = 1):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Its waiting threads would else take the cores of whoever is measured next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self._names = [output.name for output in self._session.get_outputs()]
        self._roles = {value.name: ROLES[value.name] for value in self._session.get_inputs()}

    def set(self, ids, mask, segments) -> None:
        """Takes the next text's arrays [1,T]."""
        arrays = {"ids": ids, "mask": mask, "segments": segments}
        self._inputs = {name: arrays[r].astype(np.int64) for name, r in self._roles.items()}

    def run(self) -> None:
        """One inference."""
        self._outputs = self._session.run(self._names, self._inputs)

    def outputs(self) -> dict[str, np.ndarray]:
        """What the last inference gave, by name."""
        return dict(zip(self._names, self._outputs, strict=True))


def footprint(path: str, tokens: int) -> dict[str, float]:
    """As mobilebert_tf.lite.timing.footprint, in this process."""
    before = _peak_mb()
    started = time.perf_counter()
    file = OnnxFile(path)
    load_ms = (time.perf_counter() - started) * 1e3
    file.set(*[np.full([1, tokens], value) for value in (0, 1, 0)])
    file.run()
    return {"load_ms": load_ms, "peak_mb": _peak_mb(), "memory_mb": _peak_mb() - before}


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(footprint(sys.argv[1], int(sys.argv[2]))))
