"""Writes files and folders whole or not at all; reads and writes JSON files."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobilebert_tf.errors import InputError

PARTIAL = ".partial"  # suffix of unfinished files and folders


def check_free(path: str | Path, overwrite: bool) -> None:
    """Raises InputError if `path` is a folder or a device, or a file that must not be replaced."""
    path = Path(path)
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
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
        yield temporary
        put_directory(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def read_json(path: Path, kind: type = dict) -> Any:
    """Returns the content of a JSON file.

    Args:
        path: of the file.
        kind: dict or list, the type of its content.

    Raises InputError for a file that cannot be read, or whose content is of another type.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a readable JSON file: {error}") from None
    if not isinstance(values, kind):
        raise InputError(f"{path} is not a JSON {'object' if kind is dict else 'list'}")
    return values
