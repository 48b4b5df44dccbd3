"""Time and memory of converting full-size models with random weights, through every format.

    python benchmarks/conversions.py [FOLDER]

Each conversion is a process of its own, verification included; needs 10 GB in FOLDER. Memory is
the process's peak, and that peak over a process that only imports the door, in units of the
weights' float32 size.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tabulate

from mobilebert_tf import build_model, save_model
from mobilebert_tf.environment import circumstances

CHAINS = {  # Hugging Face's MobileBERT cannot hold an IB-BERT
    "mobilebert": ("google", "model-garden", "huggingface", "mobilebert"),
    "ib-bert-large": ("google", "model-garden", "mobilebert"),
}


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
        _, imports = measured([sys.executable, "-c", "import mobilebert_tf.convert"])
        rows = [row for size in CHAINS for row in conversions(size, Path(folder), imports)]
    print(tabulate.tabulate(rows, headers="keys", floatfmt=".2f"))
    print(circumstances())


def conversions(size: str, folder: Path, imports: int) -> list[dict]:
    code = f"import benchmarks.conversions as c; c.write({size!r}, {str(folder / size)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    source, weights = folder / size, os.path.getsize(folder / size / "model.weights.h5")
    rows = []
    for step, name in enumerate(CHAINS[size]):
        dest = folder / f"{size}-{step}-{name}"
        command = [sys.executable, "-m", "mobilebert_tf.convert", source, dest, "--to", name]
        seconds, peak = measured(command)
        rows.append(
            {
                "model": size,
                "from": "mobilebert" if step == 0 else CHAINS[size][step - 1],
                "to": name,
                "weights MB": weights / 1e6,
                "seconds": seconds,
                "peak MB": peak / 1e6,
                "peak/weights": peak / weights,
                "less imports": (peak - imports) / weights,
            }
        )
        source = dest
    return rows


def write(size: str, directory: str) -> None:
    """A pre-training model with random weights."""
    save_model(build_model(size, "pretraining"), directory)


def measured(command: list) -> tuple[float, int]:
    """Seconds and peak bytes of a process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {command}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - started, usage.ru_maxrss * unit


if __name__ == "__main__":
    main()
