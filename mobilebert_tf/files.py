"""Files and folders that appear whole or not at all, and JSON files that hold what they should."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobilebert_tf.errors import InputError

PARTIAL = ".partial"  # how the names of unfinished files and folders end


def check_free(path: str | Path, overwrite: bool) -> None:
    """Raises InputError if `path` exists and must not be replaced: a file, a folder, a device."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a file: choose another name")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: choose another name, or `overwrite`")


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to, which becomes `path` if the block ends well.

    Creates the folder of `path`. After an error nothing is left, and what `path` held stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + PARTIAL)
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Writes a file whole or not at all; text as UTF-8."""
    # Half a surrogate pair, which JSON may hold, is not text: it is written as its escape.
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with whole_file(path) as aside:
        aside.write_bytes(data)


@contextlib.contextmanager
def whole_directory(directory: str | Path) -> Iterator[Path]:
    """Yields an empty folder beside `directory` to fill, which replaces `directory` if the block
    ends well.

    What `directory` held goes only when the new one stands; after an error it stays.
    """
    directory = Path(directory).resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
    # A new name: a folder that is called DIRECTORY.partial may be the user's.
    aside = Path(tempfile.mkdtemp(PARTIAL, f"{directory.name}.", directory.parent))
    aside.chmod(0o755)
    try:
        yield aside
        put_directory(aside, directory)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def put_directory(aside: Path, directory: Path) -> None:
    """Gives a finished folder its name; what had the name goes only when the new one stands."""
    if not directory.exists():
        os.replace(aside, directory)
        return
    with tempfile.TemporaryDirectory(".old", f"{directory.name}.", directory.parent) as trash:
        old = Path(trash) / directory.name
        os.replace(directory, old)
        try:
            os.replace(aside, directory)
        except BaseException:
            os.replace(old, directory)
            raise


def read_json(path: Path, kind: type = dict) -> Any:
    """Returns what a JSON file holds.

    Args:
        path: the file.
        kind: dict or list, which the file must hold.

    Raises InputError for a file that cannot be read, or holds something else.
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
