"""The folder of a training run, which can be killed at any time and resumed.

run.json           settings, versions, machine          data/       vocab.txt, tokenized text
history.jsonl/csv  losses by stage and step             tensorboard/
checkpoints/       training states                      teacher/, student/   model directories
"""

import csv
import dataclasses
import glob
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mobilebert_tf.data.prepared_text import DataConfig
from mobilebert_tf.environment import machine
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import PARTIAL, read_json, whole_file, write_whole
from mobilebert_tf.training.finetune_config import FinetuneConfig
from mobilebert_tf.training.run_config import RunConfig

# Settings that may change when a run is continued.
CHANGEABLE = ("output_dir", "overwrite")
PACKAGES = ("tensorflow", "keras", "tensorflow-text", "numpy")


class RunFolder:
    """A locked folder of a run; made by `with open_run(config) as folder`."""

    def __init__(self, path: Path):
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def check_unchanged(self, digests: Mapping[str, str]) -> None:
        """Raises InputError if an input differs from that with which the run began.

        Args:
            digests: digest of each input's content, by its name.
        """
        run = read_json(self / "run.json")
        before = run.get("inputs", {})
        changed = [name for name, digest in digests.items() if before.get(name, digest) != digest]
        if changed:
            raise InputError(
                f"{self.path} was begun with another content of {', '.join(changed)}: choose "
                "another `output_dir`, or `overwrite`"
            )
        run["inputs"] = before | dict(digests)
        write_whole(self / "run.json", json.dumps(run, indent=2) + "\n")

    def history(self) -> list[dict]:
        """Returns all records of the history, oldest first."""
        path = self / "history.jsonl"
        if not path.exists():
            return []
        # Text after the last line feed is an unfinished line: the disk was full.
        lines, _, _ = path.read_text().rpartition("\n")
        return [json.loads(line) for line in lines.splitlines()]

    def append_history(self, record: dict) -> None:
        """Appends a record to history.jsonl."""
        with open(self / "history.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")

    def rewind_history(self, model: str, total_step: int) -> None:
        """Deletes records of a model that are newer than the state from which training resumes."""
        kept = [r for r in self.history() if r["model"] != model or r["total_step"] <= total_step]
        write_whole(self / "history.jsonl", "".join(json.dumps(r) + "\n" for r in kept))

    def write_history_csv(self) -> None:
        """Writes history.csv, with a column for each key of the records."""
        records = self.history()
        columns = dict.fromkeys(key for record in records for key in record)
        with (
            whole_file(self / "history.csv") as temporary,
            open(temporary, "w", newline="") as file,
        ):
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(records)


@contextmanager
def open_run(config: RunConfig | FinetuneConfig):
    """Locks the folder of a run and yields it as a RunFolder.

    A folder that holds the same run is continued.

    Raises InputError if another process uses it, or if it holds other settings or no run at all.
    """
    path = Path(config.output_dir)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file: `output_dir` must name a folder")
    path.mkdir(parents=True, exist_ok=True)
    if not (path / "run.json").exists() and _content(path):
        raise InputError(f"{path} is not empty and holds no run: choose another `output_dir`")
    try:
        with FileLock(path / ".lock", timeout=0):
            _delete_unfinished(path)
            if config.overwrite:
                _delete_run(path, config)
            _check_settings(path, config)
            try:
                yield RunFolder(path)
            except InputError:
                _delete_if_unused(path)
                raise
    except Timeout:
        raise InputError(f"{path} is in use by another process") from None


def _content(path: Path) -> list[Path]:
    return [child for child in path.iterdir() if child.name != ".lock"]


def _delete_unfinished(path: Path) -> None:
    """Deletes the folders that a killed process did not finish."""
    for child in path.glob(f"*{PARTIAL}"):
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)


def _delete_if_unused(path: Path) -> None:
    """Deletes a run without any result, so that the folder can be used with other settings."""
    if all(child.name == "run.json" or _has_no_files(child) for child in _content(path)):
        (path / "run.json").unlink(missing_ok=True)
        for child in _content(path):
            shutil.rmtree(child, ignore_errors=True)  # fails on links, which stay


def _has_no_files(path: Path) -> bool:
    return path.is_dir() and not any(child.is_file() for child in path.rglob("*"))


def _delete_run(path: Path, config: RunConfig | FinetuneConfig) -> None:
    """Deletes everything in a run's folder except YAML files, which may be its --config."""
    for value in _strings(_settings(config)):
        if any(Path(file).resolve().is_relative_to(path.resolve()) for file in _files(value)):
            raise InputError(f"{value} lies in {path}, which `overwrite` would delete")
    # run.json last: if this is killed, the folder is still a run that can be overwritten.
    for child in sorted(_content(path), key=lambda child: child.name == "run.json"):
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        elif child.suffix not in (".yaml", ".yml"):
            child.unlink()


def _files(value: str) -> Iterator[str]:
    """Yields the files that a setting names as a path, a pattern or the prefix of a checkpoint."""
    if os.path.lexists(value):
        yield value
    yield from glob.iglob(value, recursive=True)
    if value:
        yield from glob.iglob(f"{glob.escape(value)}.*")


def _settings(config: RunConfig | FinetuneConfig) -> dict[str, Any]:
    settings = dataclasses.asdict(config)
    for key in (*CHANGEABLE, *getattr(config, "CHANGEABLE", ())):
        settings.pop(key)
    return settings | {"kind": type(config).__name__}


def _check_settings(path: Path, config: RunConfig | FinetuneConfig) -> None:
    """Writes the settings of a new run, or compares those of a run that is continued.

    Raises InputError if they differ in more than the epochs that a fine-tuning run gets on top.
    """
    settings = json.loads(json.dumps(_settings(config)))
    run = path / "run.json"
    if not run.exists():
        versions = {package: version(package) for package in PACKAGES}
        content = {"settings": settings, "versions": versions, "machine": machine()}
        write_whole(run, json.dumps(content, indent=2) + "\n")
        return
    content = read_json(run)
    before, now = flatten_settings(content.get("settings", {})), flatten_settings(settings)
    changed = [key for key in before | now if before.get(key) != now.get(key)]
    searches = not isinstance(config, FinetuneConfig) or config.search
    if changed == ["epochs"] and not searches and now["epochs"] > before["epochs"]:
        write_whole(run, json.dumps(content | {"settings": settings}, indent=2) + "\n")
    elif changed:
        differences = "; ".join(f"{key}: {before.get(key)} -> {now.get(key)}" for key in changed)
        raise InputError(
            f"{path} holds a run with other settings ({differences}): choose another "
            "`output_dir`, or `overwrite`"
        )


def data_settings(path: Path) -> DataConfig:
    """Returns the text settings of the run in a folder."""
    settings = json.loads((path / "run.json").read_text())["settings"]
    names = [field.name for field in dataclasses.fields(DataConfig)]
    return DataConfig(**{name: settings[name] for name in names if name in settings})


def flatten_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings as {name with dots: value}."""
    flat = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= flatten_settings(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _strings(settings: Any) -> Iterator[str]:
    """Yields all strings in nested settings: each may be a path."""
    if isinstance(settings, str):
        yield settings
    elif isinstance(settings, dict | list):
        for value in settings.values() if isinstance(settings, dict) else settings:
            yield from _strings(value)
