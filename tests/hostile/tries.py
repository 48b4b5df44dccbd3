"""Runs a door in a process of its own, with limits, and says what is wrong with how it ended."""

import dataclasses
import hashlib
import importlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

MEMORY = 2_500_000_000  # bytes on top of what the libraries take
CPU_SECONDS = 60
SECONDS = 600  # of waiting for nothing: the machine may be busy
_LARGE = 2_000_000_000  # bytes; more is too much for a small file
_DOORS = (
    "benchmark convert distill evaluate export finetune predict prepare pretrain "
    "quantization_report"
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a door ended.

    Args:
        code: its exit code; minus a signal's number if that ended it.
        error: what it wrote to stderr.
        memory: the most that it took, in bytes.
    """

    code: int
    error: str
    memory: int

    def problem(self) -> str | None:
        """Returns what is wrong with it in a few words; None if all is well."""
        lines = [line for line in self.error.splitlines() if line.strip()]
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}"
        if "Traceback" in self.error or self.code not in (0, 2):
            return f"exit code {self.code}: {lines[-1] if lines else ''}"
        if self.code == 2 and not lines[-1].startswith("error: "):
            return f"no line of error: {lines[-1]}"
        if self.memory > _LARGE:
            return f"{self.memory >> 20} MB"
        return None


def load_doors() -> None:
    """Imports all that a door imports, once: a child of this process has it."""
    for name in _DOORS.split():
        importlib.import_module(f"mobilebert_tf.{name}")


def attempt(door: str, arguments: Sequence[str], folder: Path, file_size: int) -> Outcome:
    """Runs a door in a child of this process.

    Args:
        door: its name.
        arguments: of its command line.
        folder: where it works.
        file_size: bytes that a file may have, as with a quota.
    """
    output = folder.with_suffix(".output")
    child = os.fork()
    if child == 0:
        _become(door, arguments, folder, output, file_size)
    status, usage = _wait(child)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return Outcome(code, output.read_text(errors="replace"), usage.ru_maxrss * 1024)


def _become(door: str, arguments: Sequence[str], folder: Path, output: Path, file_size: int):
    """Makes this child the door's process, which ends as any Python process does."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.chdir(folder)
    for kind, most in (
        (resource.RLIMIT_AS, _address_space() + MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS + int(time.process_time())),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, file_size),
    ):
        resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
    try:
        importlib.import_module(f"mobilebert_tf.{door}").main([str(a) for a in arguments])
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    sys.exit(0)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _wait(child: int) -> tuple[int, resource.struct_rusage]:
    deadline = time.monotonic() + SECONDS
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            return status, usage
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGALRM)
        time.sleep(0.01)


def digests(folder: Path) -> dict[str, str]:
    """Returns a digest of every file below a folder, by its path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p): hashlib.blake2b(p.read_bytes()).hexdigest() for p in files}
