"""What a measurement depends on: the machine, the date and the versions of the packages."""

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
    """Returns the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Returns the machine of a training run: processor, cores, system and Python."""
    return {
        "processor": cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def circumstances() -> dict[str, Any]:
    """Returns the machine, date and versions that stand beside measured times and scores."""
    return {
        "machine": {"cpu": cpu(), "cores": os.cpu_count()},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _MEASURED_PACKAGES},
    }
