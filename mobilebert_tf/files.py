"""Writes files and folders whole or not at all, and reads no more than a file may hold."""

import contextlib
import json
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from mobilebert_tf.errors import InputError

INDEX = "index.json"  # of a prepared folder, written last
LOCK = ".lock"  # in a folder that a process writes
PARTIAL = ".partial"  # suffix of unfinished files and folders
LARGEST_JSON = 2**25  # bytes; a tokenizer.json of 250,000 pieces has 17 MB
_BLOCK = 2**20
_ALWAYS_UNPACKED = 2**26  # bytes


def check_free(path: str | Path, overwrite: bool, inputs: Sequence[str | Path] = ()) -> None:
    """Raises InputError if `path` is a folder or a device, or a file that must not be replaced.

    Args:
        path: of the file to write.
        overwrite: whether it may replace another file.
        inputs: files that it must not replace in any case.
    """
    path = Path(path)
    if any(os.path.exists(i) and path.exists() and path.samefile(i) for i in inputs):
        raise InputError(f"{path} is read and would be replaced: choose another name")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file: choose another name")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: choose another name, or `overwrite`")


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path to write to, which becomes `path` if the block raises no error.

    Creates the folder of `path`. After an error the temporary file is deleted, and `path` is as it
    was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + PARTIAL)
    try:
        with _named(path):
            yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Gives the name of what is written to errors of a full disk, which name no file."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, f"cannot write: {error.strerror}", str(path)) from None


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes a file whole or not at all, text as UTF-8."""
    # JSON may hold half a surrogate pair, which UTF-8 cannot: it is written as an escape.
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | os.PathLike, values: Any) -> None:
    """Writes a JSON file, indented, whole or not at all."""
    write_whole(path, json.dumps(values, indent=2) + "\n")


@contextlib.contextmanager
def whole_directory(directory: str | Path) -> Iterator[Path]:
    """Yields an empty folder to fill, which replaces `directory` if the block raises no error.

    After an error the new folder is deleted, and `directory` is as it was.
    """
    directory = Path(directory).resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
    # A random name, because the user may have a folder called DIRECTORY.partial.
    temporary = Path(tempfile.mkdtemp(PARTIAL, f"{directory.name}.", directory.parent))
    temporary.chmod(0o755)
    try:
        with _named(directory):
            yield temporary
        put_directory(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def locked_directory(directory: Path, what: str, marks: Sequence[str]) -> Iterator[None]:
    """Makes a folder if it is not there, and keeps other processes out of it within the block.

    A folder that it made is deleted again if an InputError leaves nothing but marks in it.

    Args:
        directory: the folder.
        what: it holds, such as "run".
        marks: names of files of which one is there if it holds that.

    Raises InputError, naming `output_dir`, if it is a file, holds something else, or another
    process uses it.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file: `output_dir` must name a folder")
    is_new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    marked = any((directory / mark).exists() for mark in marks)
    if not marked and any(child.name != LOCK for child in directory.iterdir()):
        raise InputError(
            f"{directory} is not empty and holds no {what}: choose another `output_dir`"
        )
    try:
        with FileLock(directory / LOCK, timeout=0):
            yield
    except Timeout:
        raise InputError(f"{directory} is in use by another process") from None
    except InputError:
        if is_new and {child.name for child in directory.iterdir()} <= {LOCK, *marks}:
            shutil.rmtree(directory)
        raise


def put_directory(temporary: Path, directory: Path) -> None:
    """Renames a finished folder to `directory`; an existing folder is deleted afterwards.

    If the renaming fails, the existing folder stays.
    """
    if not directory.exists():
        os.replace(temporary, directory)
        return
    with tempfile.TemporaryDirectory(".old", f"{directory.name}.", directory.parent) as trash:
        old = Path(trash) / directory.name
        os.replace(directory, old)
        try:
            os.replace(temporary, directory)
        except BaseException:
            os.replace(old, directory)
            raise


def read_bytes(path: str | os.PathLike, most: int, pipe: bool = False) -> bytes:
    """Returns the content of a file, of which at most `most` bytes are read.

    Args:
        path: of the file.
        most: its largest size, in bytes.
        pipe: whether it may be a pipe or a terminal, which are read to their end.

    Raises InputError for a file that cannot be read or is too large, and for a folder or a device.
    """
    content = bytearray()
    try:
        if not pipe and not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait
            raise InputError(f"cannot read {path}: it is no file")
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISCHR(status.st_mode) and not file.isatty():  # /dev/zero has no end
                raise InputError(f"cannot read {path}: it is a device")
            while len(content) <= most >= status.st_size and (block := file.read(_BLOCK)):
                content += block
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if max(len(content), status.st_size) > most:
        raise InputError(f"{path} is too large: it may have {most:,} bytes")
    return bytes(content)


def read_json(path: Path, kind: type = dict) -> Any:
    """Returns the content of a JSON file.

    Args:
        path: of the file.
        kind: dict or list, the type of its content.

    Raises InputError for a file that cannot be read, or whose content is of another type.
    """
    try:
        text = read_bytes(path, LARGEST_JSON).decode("utf-8")
        values = json.loads(text)
        if "\\ud" in text.lower():  # half a character, which no file could be written with
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a readable JSON file: {error}") from None
    if not isinstance(values, kind):
        raise InputError(f"{path} is not a JSON {'object' if kind is dict else 'list'}")
    return values


def read_arrays(
    path: str | os.PathLike, names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Returns the arrays of a .npz file by name: all, or those that are named.

    Raises InputError for a file that is missing or damaged, lacks one of them, or unpacks to far
    more than it holds.
    """
    try:
        # Opened here: np.load does not close a file that it finds damaged.
        with open(path, "rb") as file:
            with zipfile.ZipFile(file) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > max(os.fstat(file.fileno()).st_size, _ALWAYS_UNPACKED):
                raise InputError(f"{path} would unpack to {unpacked:,} bytes: refused")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in names or arrays.files}
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # NumPy raises errors of many kinds for a damaged file
        raise InputError(f"{path} is damaged: {str(error)[:100]}") from None
