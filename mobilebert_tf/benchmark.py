"""python -m mobilebert_tf.benchmark FILE: latency, size and memory of an exported file.

With --vs OTHER the two files run in turn in one process, and each pair of runs gives a ratio.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tabulate

from mobilebert_tf.cli import door
from mobilebert_tf.environment import circumstances
from mobilebert_tf.errors import HIGHEST_INT, InputError, check_number
from mobilebert_tf.files import check_free, read_bytes, read_json, write_json
from mobilebert_tf.lite import metadata, timing
from mobilebert_tf.lite.contract import input_length
from mobilebert_tf.lite.runtime import LARGEST_FILE, MOST_THREADS

DEFAULT_LENGTHS = (16, 32, 64, 128)
_MOST_RUNS = 10**6
_PARTS = ("files", "latency")  # of a report


@dataclass(frozen=True)
class BenchmarkConfig:
    """Settings of a benchmark.

    Args:
        file: a .tflite file with int32 inputs [1,T].
        vs: another file to compare with. A ratio is its time divided by that of `file`: above 1,
            `file` is faster.
        lengths: numbers of tokens, such as 16,32,64; by default those of 16,32,64,128 that the
            files take.
        threads: thread counts, such as 1,2.
        runs: timed runs of each combination.
        json: also write the results to this file.
        beside: a report that `json` wrote, here or in the Android app, or several with commas;
            their figures are shown above the new ones.
        overwrite: replace the `json` file if it exists.
    """

    file: str
    vs: str | None = None
    lengths: str | None = None
    threads: str = "1,2"
    runs: int = 50
    json: str | None = None
    beside: str | None = None
    overwrite: bool = False


def benchmark(config: BenchmarkConfig) -> None:
    """Measures the latency of a .tflite file by text length and threads, its size and memory."""
    check_number("runs", config.runs, 1, _MOST_RUNS)
    paths = [config.file] + ([config.vs] if config.vs else [])
    beside = [path for path in (config.beside or "").split(",") if path]
    if config.json:
        check_free(config.json, config.overwrite, inputs=[*paths, *beside])
    others = [_report(path) for path in beside]
    threads = _numbers(config.threads, "threads", MOST_THREADS)
    asked = None if config.lengths is None else _numbers(config.lengths, "lengths")
    lengths = _lengths(asked, {path: _max_tokens(path) for path in paths})
    files = [
        {"file": path, "bytes": os.path.getsize(path)} | _footprint(path, lengths[-1])
        for path in paths
    ]
    rows = [
        row
        for count in threads
        for tokens in lengths
        for row in _measure(paths, tokens, count, config.runs)
    ]
    print(tabulate.tabulate(_beside(others, "files", files), headers="keys", floatfmt=".1f"))
    print()
    print(tabulate.tabulate(_beside(others, "latency", rows), headers="keys", floatfmt=".3f"))
    if config.json:
        report = circumstances() | {"files": files, "latency": rows}
        write_json(Path(config.json), report)


def _report(path: str) -> dict:
    """What was written as `json`."""
    try:
        report = read_json(Path(path))
        machine = report["machine"].get("device") or report["machine"]["cpu"]
        if report.get("thermal", {}).get("noisy"):  # the Android app's verdict
            machine += " (noisy)"
        return {"machine": machine} | {part: list(map(dict, report[part])) for part in _PARTS}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"`beside`: {path} is no report of a benchmark") from None


def _beside(reports: list[dict], part: str, own: list[dict]) -> list[dict]:
    """The reports' rows and the new ones, with a column that says whose they are."""
    if not reports:
        return own
    named = [(report["machine"], row) for report in reports for row in report[part]]
    named += [("here", row) for row in own]
    return [{"machine": machine} | row for machine, row in named]


def _footprint(path: str, tokens: int) -> dict[str, float]:
    try:
        return timing.footprint(path, tokens)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().rpartition("\n")[2]
        if error.returncode < 0:
            reason = f"it ends the process ({signal.Signals(-error.returncode).name})"
        raise InputError(f"this runtime does not run {path}: {reason}") from None


def _measure(paths: list[str], tokens: int, threads: int, runs: int) -> list[dict]:
    """Returns a row of results for each file; that of the second has its ratio to the first."""
    measured = timing.latency(paths, tokens, threads, runs)
    rows = [
        {"file": Path(path).name} | timing.latency_row(seconds, tokens, threads)
        for path, seconds in zip(paths, measured, strict=True)
    ]
    if len(paths) == 2:
        ratios = np.percentile(measured[1] / measured[0], [50, 10, 90])
        rows[1] |= dict(zip(("ratio", "ratio_p10", "ratio_p90"), ratios, strict=True))
    return rows


def _max_tokens(path: str) -> int | None:
    """Returns the largest number of tokens that a file takes; None if it does not say.

    Raises InputError if it is missing or no .tflite file.
    """
    if not os.path.isfile(path):
        raise InputError(f"no file {path}: export a model with export/to_tflite.py")
    fixed = input_length(read_bytes(path, LARGEST_FILE), path)
    try:
        return fixed or metadata.unpack(path).max_tokens
    except InputError:  # a file of another project, without our metadata
        return None


def _lengths(asked: list[int] | None, limits: dict[str, int | None]) -> list[int]:
    """Returns the numbers of tokens to measure, at most the limits of all files."""
    lengths = sorted(asked or DEFAULT_LENGTHS)
    for path, limit in limits.items():
        too_long = [tokens for tokens in lengths if limit is not None and tokens > limit]
        if too_long and asked:
            raise InputError(
                f"`lengths` has {too_long[0]}, but {path} takes at most {limit} tokens"
            )
        if too_long:
            print(f"{path} takes at most {limit} tokens: {too_long} left out")
        lengths = [tokens for tokens in lengths if tokens not in too_long]
    return lengths or [min(limit for limit in limits.values() if limit)]


def _numbers(text: str, setting: str, most: int = HIGHEST_INT) -> list[int]:
    """Returns the numbers of a list with commas. Raises InputError unless all are 1 to `most`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts):
        raise InputError(f"`{setting}` is {text}: give positive numbers with commas, such as 16,32")
    for part in parts:
        check_number(setting, int(part), 1, most)
    return [int(part) for part in parts]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(benchmark, BenchmarkConfig, {"file": None}, arguments=arguments)


if __name__ == "__main__":
    main()
