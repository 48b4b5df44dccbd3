"""The one exception for what the user can mend: doors print it as one line and exit with code 2."""

from typing import Any


class InputError(Exception):
    """Bad input: the text says what is wrong, where, and what to do about it."""


def require(condition: bool, setting: str, value: Any, requirement: str) -> None:
    """Raises InputError with the setting, its value and what it must be, unless `condition`."""
    if not condition:
        raise InputError(f"{setting} is {value}: it must be {requirement}")
