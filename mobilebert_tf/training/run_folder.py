"""The folder of a training run, which can be killed at any time and resumed.

run.json           settings, versions, machine, date    data/       vocab.txt, tokenized text
history.jsonl/csv  losses by stage and step             tensorboard/
status.json        where the run is, for programs       failed/     batches that broke a training
checkpoints/       training states                      teacher/, student/   model directories
replaced/          with `overwrite`: what stood here, until the training begins

A command that is refused before it trains leaves the folder as it was.
"""

import contextlib
import csv
import dataclasses
import datetime
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mobilebert_tf.data.prepared_text import DataConfig
from mobilebert_tf.environment import machine
from mobilebert_tf.errors import InputError, Stopped
from mobilebert_tf.files import (
    LOCK,
    PARTIAL,
    locked_directory,
    read_json,
    whole_file,
    write_json,
    write_whole,
)
from mobilebert_tf.training.distribution import is_first_worker, of_first_worker
from mobilebert_tf.training.finetune_config import FinetuneConfig
from mobilebert_tf.training.run_config import RunConfig
from mobilebert_tf.training.status import Status

# Settings that may change when a run is continued.
CHANGEABLE = ("output_dir", "overwrite", "devices")
REPLACED = "replaced"
PACKAGES = ("tensorflow", "keras", "tensorflow-text", "numpy")


class RunFolder:
    """A locked folder of a run; made by `with open_run(config) as folder`.

    Attributes:
        path: of the folder.
        status: tells other programs where the run is.
        has_begun: whether this process trained: from then on it does not undo what it did.
    """

    def __init__(self, path: Path):
        self.path = path
        self.has_begun = False
        self.status = Status(path / "status.json")

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def states(self, model: str) -> Path:
        """Returns the folder of a model's training states."""
        return self / "checkpoints" / model

    def begin(self) -> None:
        """Deletes what the run replaces: from now on the folder is its own."""
        self.has_begun = True
        if (self / REPLACED).exists():
            (self / REPLACED).rename(self / (REPLACED + PARTIAL))
            _delete_unfinished(self.path)

    def check_unchanged(self, inputs: Mapping[str, str]) -> None:
        """Raises InputError if an input differs from that with which the run began.

        An input that run.json does not have yet is written there.

        Args:
            inputs: content of each input, or a digest of it, by its name.
        """
        run = read_json(self / "run.json")
        before = run.get("inputs", {})
        changed = [name for name, content in inputs.items() if before.get(name, content) != content]
        if changed:
            raise InputError(
                f"{self.path} was begun with another content of {', '.join(changed)}: choose "
                "another `output_dir`, or `overwrite`"
            )
        run["inputs"] = before | dict(inputs)
        write_json(self / "run.json", run)

    def history(self) -> list[dict]:
        """Returns all records of the history, oldest first.

        Raises InputError if the file is damaged.
        """
        path = self / "history.jsonl"
        if not path.exists():
            return []
        # Bytes after the last line feed are an unfinished line: the disk was full.
        lines, _, _ = path.read_bytes().rpartition(b"\n")
        return [_record(line, f"{path}, line {i}") for i, line in enumerate(lines.splitlines(), 1)]

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


def _record(line: bytes, place: str) -> dict:
    """Returns the record in a line of history.jsonl. Raises InputError, naming the place."""
    try:
        record = json.loads(line)
        if isinstance(record, dict):
            return record
        reason = "it is no object"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise InputError(f"{place} is damaged: {reason}")


@contextmanager
def open_run(config: RunConfig | FinetuneConfig):
    """Locks the folder of a run and yields it as a RunFolder.

    A folder that holds the same run is continued. With `overwrite`, what stands there is deleted
    when the training begins; YAML files, of which one may be the --config, are kept. An InputError
    before that leaves the folder as it was, and so does the next command after a kill.

    Of several workers the first one writes the folder; each other one gets a copy of its own.

    Raises InputError if another process uses it, or if it holds other settings or no run at all.
    """
    path = Path(config.output_dir)
    if not is_first_worker():
        with _copy_of_run(path) as folder:
            _check_settings(folder.path, config)
            yield folder
        return
    with locked_directory(path, "run", ["run.json", f"{REPLACED}/run.json"]):
        _delete_unfinished(path)
        _put_back(path)
        if config.overwrite and (path / "run.json").exists():
            _set_aside(path, config)
        with _unless_refused(RunFolder(path)) as folder:
            _check_settings(path, config)
            _let_workers_copy()
            with _ends_in_status(folder):
                yield folder


def _let_workers_copy() -> None:
    """Waits until all workers but the first have copied the run's folder, which it opened."""
    for _ in ("opened", "copied"):
        of_first_worker(1)


@contextmanager
def _copy_of_run(path: Path):
    """Yields a copy of a run's folder, in which a worker that is not the first one works.

    It begins where the first one does and comes to the same results, so nothing of it is kept.
    """
    of_first_worker(1)
    with tempfile.TemporaryDirectory(prefix="mobilebert_tf-") as directory:
        copy = Path(directory) / path.name
        try:
            shutil.copytree(path, copy, ignore=shutil.ignore_patterns(LOCK, REPLACED))
        except FileNotFoundError:
            raise InputError(
                f"{path} is not there: all workers must see the `output_dir` of the first one"
            ) from None
        of_first_worker(1)
        yield RunFolder(copy)


@contextmanager
def _ends_in_status(folder: RunFolder):
    """Writes how the block ended into the folder's status.json."""
    try:
        yield
    except BaseException as error:
        if folder.has_begun:
            stopped = isinstance(error, Stopped | KeyboardInterrupt | SystemExit)
            text = " ".join(str(error).split())
            # The disk may be full: the error that ended the run is the one to tell.
            with contextlib.suppress(OSError):
                folder.status.write("stopped" if stopped else "failed", error=text)
        raise
    folder.status.write("done")


@contextmanager
def _unless_refused(folder: RunFolder):
    """Yields a folder, and undoes what the block did there if it ends before the run has begun.

    After another error than an InputError (an interruption, for example), a run that replaces none
    keeps what it made, to be continued.
    """
    run = folder / "run.json"
    before = run.read_bytes() if run.exists() else None
    try:
        yield folder
    except InputError:
        if not folder.has_begun and before is None:
            _delete(_run_files(folder.path))
        elif not folder.has_begun and run.read_bytes() != before:
            write_whole(run, before)
        raise
    finally:
        _put_back(folder.path)


def _set_aside(path: Path, config: RunConfig | FinetuneConfig) -> None:
    """Moves the files of a run to the folder REPLACED.

    Raises InputError if the new run reads one of them.
    """
    for value in _strings(_settings(config)):
        if any(Path(file).resolve().is_relative_to(path.resolve()) for file in _files(value)):
            raise InputError(f"{value} lies in {path}, which `overwrite` would delete")
    files = _run_files(path)
    (path / REPLACED).mkdir()
    # run.json last: where it is in REPLACED, the other files are too.
    for child in sorted(files, key=lambda child: child.name == "run.json"):
        child.rename(path / REPLACED / child.name)


def _put_back(path: Path) -> None:
    """Undoes _set_aside, also where a process was killed in the middle of either."""
    replaced = path / REPLACED
    if not replaced.exists():
        return
    if (replaced / "run.json").exists():
        _delete(_run_files(path))
    for child in sorted(replaced.iterdir(), key=lambda child: child.name != "run.json"):
        child.rename(path / child.name)
    replaced.rmdir()


def _run_files(path: Path) -> list[Path]:
    """Returns a run's files and folders: all but the lock, REPLACED and YAML files."""
    kept = (LOCK, REPLACED)
    settings = (".yaml", ".yml")
    return [
        child
        for child in path.iterdir()
        if child.name not in kept and (child.is_dir() or child.suffix not in settings)
    ]


def _delete_unfinished(path: Path) -> None:
    """Deletes the folders that a killed process did not finish, or not finish deleting."""
    _delete(c for c in path.glob(f"*{PARTIAL}") if c.is_dir() and not c.is_symlink())


def _delete(files: Iterable[Path]) -> None:
    """Deletes files, links and whole folders."""
    for file in files:
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink()


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

    Raises InputError if they differ in more than the steps or epochs that a run gets on top.
    """
    settings = json.loads(json.dumps(_settings(config)))
    run = path / "run.json"
    if not run.exists():
        versions = {package: version(package) for package in PACKAGES}
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        content = {"settings": settings, "versions": versions, "machine": machine()}
        write_json(run, content | {"started": started})
        return
    content = read_json(run)
    before, now = flatten_settings(content.get("settings", {})), flatten_settings(settings)
    changed = [key for key in before | now if before.get(key) != now.get(key)]
    extendable = () if getattr(config, "search", False) else config.EXTENDABLE
    if changed and all(k in extendable and now[k] > before.get(k, 0) > 0 for k in changed):
        more = ", ".join(f"{key} {before[key]:,} -> {now[key]:,}" for key in changed)
        print(
            f"{path} goes on ({more}); the learning rate is that of a run that was planned so from "
            "its first step",
            flush=True,
        )
        write_json(run, content | {"settings": settings})
    elif changed:
        differences = "; ".join(f"{key}: {before.get(key)} -> {now.get(key)}" for key in changed)
        raise InputError(
            f"{path} holds a run with other settings ({differences}): choose another "
            "`output_dir`, or `overwrite`"
        )


def data_settings(path: Path) -> DataConfig:
    """Returns the text settings of the run in a folder.

    Raises InputError if its run.json is damaged.
    """
    settings = read_json(path / "run.json").get("settings")
    if not isinstance(settings, dict):
        raise InputError(f"{path / 'run.json'} is damaged: it has no settings")
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
