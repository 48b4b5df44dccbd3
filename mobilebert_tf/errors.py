"""The exception for bad input, which commands print as one line before they exit with code 2."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class InputError(Exception):
    """Bad input. The message says what is wrong, where, and what to do about it."""


def require(condition: bool, setting: str, value: Any, requirement: str) -> None:
    """Raises InputError, with a setting, its value and what it must be, unless `condition`."""
    if not condition:
        raise InputError(f"`{setting}` is {value}: it must be {requirement}")


@contextmanager
def named(setting: str) -> Iterator[None]:
    """Puts the name of a setting before the message of an InputError in the block."""
    try:
        yield
    except InputError as error:
        raise InputError(f"`{setting}`: {error}") from None
