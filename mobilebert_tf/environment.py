"""The machine, date and package versions of a measurement."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

_MEASURED_PACKAGES = (
    "mobilebert_tf",
    "tensorflow",
    "keras",
    "ai-edge-litert",
    "litert-quantizer",
    "numpy",
)


def cpu() -> str:
    """Returns the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def memory() -> int:
    """Returns the bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def machine() -> dict[str, Any]:
    """Returns processor, cores, system and Python version, for a training run's run.json."""
    return {
        "processor": cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def circumstances() -> dict[str, Any]:
    """Returns machine, date and versions, which are saved beside measured times and scores."""
    return {
        "machine": {"cpu": cpu(), "cores": os.cpu_count()},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _MEASURED_PACKAGES},
    }
