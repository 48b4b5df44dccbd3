"""How fast and how big a .tflite file runs. Any text model's file, ours or another's.

Imports nothing of the package, so that a fresh process that only measures stays small; that
process is this file run as a script.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


class TimedFile:
    """An interpreter of `path` with `num_threads` threads, and its int32 inputs [1,T]."""

    def __init__(self, path: str | os.PathLike, num_threads: int = 1):
        self._interpreter = Interpreter(str(path), num_threads=num_threads)
        self._inputs = self._interpreter.get_input_details()
        sizes = {int(details["shape_signature"][-1]) for details in self._inputs}
        self.fixed_length = max(sizes) if max(sizes) > 0 else None

    def resize(self, tokens: int) -> float:
        """Prepares for texts of `tokens` tokens; returns the seconds that it took."""
        start = time.perf_counter()
        if self.fixed_length is None:
            for details in self._inputs:
                self._interpreter.resize_tensor_input(details["index"], [1, tokens])
        self._interpreter.allocate_tensors()
        seconds = time.perf_counter() - start
        for details in self._inputs:
            value = np.zeros([1, self.fixed_length or tokens], details["dtype"])
            if "segment" not in details["name"] and "type" not in details["name"]:
                value[0, :tokens] = 1  # real tokens; a fixed-length file pads the rest
            self._interpreter.set_tensor(details["index"], value)
        return seconds

    def run(self) -> float:
        """Runs one inference; returns its seconds."""
        start = time.perf_counter()
        self._interpreter.invoke()
        return time.perf_counter() - start


def latency(
    paths: Sequence[str | os.PathLike], tokens: int, threads: int, runs: int
) -> list[np.ndarray]:
    """Returns the seconds of `runs` inferences of each file, [runs] each.

    Several files take turns, in changing order, each with an untimed run first: what slows the
    machine for a while slows all of them alike.
    """
    files = [TimedFile(path, threads) for path in paths]
    alone = len(files) == 1
    for file in files:
        file.resize(tokens)
        file.run()
    seconds = np.zeros([len(files), runs])
    for index in range(runs):
        order = range(len(files)) if index % 2 else reversed(range(len(files)))
        for number in order:
            if not alone:
                files[number].run()
            seconds[number, index] = files[number].run()
    return list(seconds)


def latency_row(seconds: np.ndarray, tokens: int, threads: int) -> dict[str, float]:
    """Returns the percentiles of one measurement, in milliseconds."""
    p50, p90, p99 = np.percentile(seconds, [50, 90, 99]) * 1e3
    return {"tokens": tokens, "threads": threads, "p50_ms": p50, "p90_ms": p90, "p99_ms": p99}


def footprint(path: str | os.PathLike, tokens: int) -> dict[str, float]:
    """Measures load time and peak memory of one inference in a fresh process.

    Returns load_ms (opening and the first allocation), resize_ms (to another length), peak_mb and
    memory_mb: the peak less what the process has before it opens the file. Memory is None where
    the system has no /proc.
    """
    command = [sys.executable, "-P", __file__, str(path), str(tokens)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _footprint_here(path: str, tokens: int) -> dict[str, float | None]:
    before = _peak_mb()
    start = time.perf_counter()
    file = TimedFile(path)
    file.resize(tokens)
    load_ms = (time.perf_counter() - start) * 1e3
    file.run()
    peak = _peak_mb()
    resize_ms = (file.resize(max(1, tokens // 2)), file.resize(tokens))[1] * 1e3
    memory = {"peak_mb": peak, "memory_mb": peak and peak - before}
    return {"load_ms": load_ms, "resize_ms": resize_ms, **memory}


def _peak_mb() -> float | None:
    # Not getrusage: its peak is inherited through exec from the process that started this one.
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(_footprint_here(sys.argv[1], int(sys.argv[2]))))
