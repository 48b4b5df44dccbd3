"""The folder of a training run: its lock, settings, history and data, all safe to kill and resume.

run.json           settings, versions, machine          data/       vocab.txt, tokenized text
history.jsonl/csv  losses by stage and step             tensorboard/
checkpoints/       training states                      teacher/, student/   model directories
"""

import csv
import dataclasses
import json
import os
import platform
import shutil
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.timing import cpu
from mobilebert_tf.run_config import DataConfig, RunConfig

# May differ between the killed run and the one that goes on.
NOT_PART_OF_A_RUN = ("output_dir", "overwrite")
PACKAGES = ("tensorflow", "keras", "tensorflow-text", "numpy")


class RunFolder:
    """Use as `with open_run(config) as folder`."""

    def __init__(self, path: Path):
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def history(self) -> list[dict]:
        """All records of the history, oldest first."""
        path = self / "history.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def append_history(self, record: dict) -> None:
        with open(self / "history.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")

    def rewind_history(self, model: str, total_step: int) -> None:
        """Drops what a killed process logged after the state that training resumes from."""
        kept = [r for r in self.history() if r["model"] != model or r["total_step"] <= total_step]
        write_whole(self / "history.jsonl", "".join(json.dumps(r) + "\n" for r in kept))

    def write_history_csv(self) -> None:
        records = self.history()
        columns = dict.fromkeys(key for record in records for key in record)
        aside = self / "history.csv.partial"
        with open(aside, "w", newline="") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(records)
        os.replace(aside, self / "history.csv")


@contextmanager
def open_run(config: RunConfig):
    """Locks the run's folder; gives a RunFolder that is new, or holds the same settings.

    Raises InputError if another process works in it, or if it holds something else.
    """
    path = Path(config.output_dir)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file: --output-dir must name a folder")
    path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path / ".lock", timeout=0):
            if config.overwrite:
                _empty(path)
            _check_settings(path, config)
            yield RunFolder(path)
    except Timeout:
        raise InputError(f"{path} is in use by another process") from None


def _empty(path: Path) -> None:
    if not (path / "run.json").exists() and any(p.name != ".lock" for p in path.iterdir()):
        raise InputError(f"{path} holds no run: --overwrite will not delete it")
    for child in path.iterdir():
        if child.is_dir():
            shutil.rmtree(child)
        elif child.name != ".lock":
            child.unlink()


def _check_settings(path: Path, config: RunConfig) -> None:
    settings = dataclasses.asdict(config)
    for key in NOT_PART_OF_A_RUN:
        settings.pop(key)
    settings["kind"] = type(config).__name__
    run = path / "run.json"
    if run.exists():
        before = _flatten(json.loads(run.read_text())["settings"])
        now = _flatten(json.loads(json.dumps(settings)))
        changed = [
            f"{key}: {before.get(key)} -> {now.get(key)}"
            for key in {**before, **now}
            if before.get(key) != now.get(key)
        ]
        if changed:
            raise InputError(
                f"{path} holds a run with other settings ({'; '.join(changed)}): choose another "
                "--output-dir, or --overwrite"
            )
    elif any(child.name != ".lock" for child in path.iterdir()):
        raise InputError(f"{path} is not empty and holds no run: choose another --output-dir")
    else:
        versions = {package: version(package) for package in PACKAGES}
        about = {"settings": settings, "versions": versions, "machine": machine()}
        write_whole(run, json.dumps(about, indent=2) + "\n")


def data_settings(path: Path) -> DataConfig:
    """The text settings of the run in a folder."""
    settings = json.loads((path / "run.json").read_text())["settings"]
    names = [field.name for field in dataclasses.fields(DataConfig)]
    return DataConfig(**{name: settings[name] for name in names})


def _flatten(settings: dict, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def machine() -> dict[str, Any]:
    """What a measured number depends on: processor, cores, system, Python."""
    return {
        "processor": cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def check_free(path: str | Path, overwrite: bool) -> None:
    """InputError if a file exists that may not be replaced."""
    if Path(path).exists() and not overwrite:
        raise InputError(f"{path} exists: choose another name, or --overwrite")


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file so that it is there whole or not at all; text as UTF-8."""
    aside = path.with_name(path.name + ".partial")
    aside.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(aside, path)
