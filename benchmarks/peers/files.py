"""The files that are compared: which there are, and building them, each in a process of its own."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mobilebert_tf.files import write_whole
from peers.models import LENGTHS, PAPER, directory_name

ROOT = Path(__file__).parents[2]
OURS = {
    "ours, float32": "none",
    "ours, dynamic int8": "dynamic",
    "ours, int8": "int8",
    "ours, int8-full": "int8-full",
    "ours, int4": "int4",
}
PEERS = {  # name: (library, mode)
    "Hugging Face, float32": ("huggingface", "float32"),
    "Hugging Face, dynamic int8": ("huggingface", "dynamic"),
    "Hugging Face, full int8": ("huggingface", "int8-full"),
    "Model Garden, dynamic int8": ("model-garden", "dynamic"),
    "ONNX Runtime, dynamic int8": ("onnx", "dynamic"),
    "ONNX Runtime, int4": ("onnx", "int4"),
}
BASE = "Hugging Face, dynamic int8"  # the fastest that anybody else's tools give
GARDEN = ("model-garden", "classifier")  # its span head is not ours
PAPER_MODES = {"float32": "none", "dynamic int8": "dynamic"}


@dataclass(frozen=True)
class Product:
    """A file to build.

    Args:
        name: in the tables.
        group: what it is measured with: classifier, span or paper.
        path: the file.
        command: of the process that writes it.
        any_length: whether it takes texts of any length.
    """

    name: str
    group: str
    path: Path
    command: list[str]
    any_length: bool = False

    @property
    def record(self) -> Path:
        """What is known of the build; there when it is done."""
        return self.path.with_name(f"{self.path.name}.built.json")


def products(folder: Path) -> list[Product]:
    """All files of a comparison."""
    found = []
    for head in LENGTHS:
        model, texts = folder / "models" / head, folder / f"calibration-{head}.txt"
        found += [_ours(folder, head, name, model, mode, texts) for name, mode in OURS.items()]
        found += [
            _peer(folder, head, name, library, mode, LENGTHS[head])
            for name, (library, mode) in PEERS.items()
            if library != GARDEN[0] or head == GARDEN[1]
        ]
    found += [
        _peer(folder, "classifier", f"{name}, any length", library, mode, tokens=0)
        for name, (library, mode) in PEERS.items()
        if library == "onnx"
    ]
    texts = folder / "calibration-classifier.txt"
    for size in PAPER:
        model = folder / "models" / directory_name(size)
        for name, mode in PAPER_MODES.items():
            found.append(_ours(folder, "paper", f"{size}, {name}", model, mode, texts))
    return found


def _ours(folder: Path, group: str, name: str, model: Path, mode: str, texts: Path) -> Product:
    path = folder / "files" / f"{group}-{directory_name(name)}.tflite"
    options = {"model": model, "output": path, "quantize": mode, "calibration-data": texts}
    if group == "paper":  # only its latency counts: a made classifier's choices may be too close
        options["head"] = "encoder"
    command = [sys.executable, "export/to_tflite.py", "--overwrite"]
    command += [word for option, value in options.items() for word in (f"--{option}", str(value))]
    return Product(name, group, path, command, any_length=True)


def _peer(folder: Path, head: str, name: str, library: str, mode: str, tokens: int) -> Product:
    suffix = "onnx" if library == "onnx" else "tflite"
    path = folder / "files" / f"{head}-{directory_name(name)}.{suffix}"
    model, converted = folder / "models" / head, foreign(folder, head, library)
    words = [library, mode, model, converted, tokens, folder / f"calibration-{head}.npz", path]
    command = [sys.executable, "benchmarks/peers/build.py", *map(str, words)]
    return Product(name, head, path, command, any_length=not tokens)


def foreign(folder: Path, head: str, library: str) -> Path:
    """The same model in the library's own format."""
    return folder / ("model-garden" if library == "model-garden" else "huggingface") / head


def convert(folder: Path) -> dict[str, str]:
    """Writes the folders that the peers read; says what failed, by folder."""
    failed = {}
    for library, head in (("huggingface", "classifier"), ("huggingface", "span"), GARDEN):
        dest = foreign(folder, head, library)
        words = [folder / "models" / head, dest, "--to", library]
        words += ["--head", "encoder"] if library == GARDEN[0] else []  # build.py adds ours
        command = [sys.executable, "-m", "mobilebert_tf.convert", *map(str, words)]
        if not dest.is_dir():
            _, problem = _run(command, folder / "logs" / f"convert-{library}-{head}.log")
            failed |= {f"{library} folder, {head}": problem} if problem else {}
    return failed


def build(product: Product, folder: Path) -> str | None:
    """Writes a file that is not there yet; what failed, in a line, or None."""
    if product.record.exists() and product.path.exists():
        return None
    print(f"building {product.group}: {product.name}", flush=True)
    product.path.parent.mkdir(exist_ok=True)
    product.path.unlink(missing_ok=True)
    seconds, problem = _run(product.command, folder / "logs" / f"{product.path.stem}.log")
    if problem is None:
        record = {"seconds": seconds, "bytes": product.path.stat().st_size}
        write_whole(product.record, json.dumps(record) + "\n")
    return problem


def _run(command: list[str], log: Path) -> tuple[float, str | None]:
    """Seconds of a process, and the last line that it wrote if it failed."""
    log.parent.mkdir(exist_ok=True)
    paths = [ROOT, ROOT / "benchmarks", os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)).rstrip(os.pathsep)}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    started = time.perf_counter()
    with open(log, "w") as file:
        status = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        ).returncode
    seconds = time.perf_counter() - started
    if not status:
        return seconds, None
    lines = log.read_text(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return seconds, f"{last or f'exit code {status}'} ({log})"
