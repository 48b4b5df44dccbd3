"""The exception for bad input, which commands print as one line before they exit with code 2."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HIGHEST_INT, HIGHEST_FLOAT = 2**31 - 1, 3.4028234e38  # of 32 bits, which native code takes


class InputError(Exception):
    """Bad input. The message says what is wrong, where, and what to do about it."""


class Diverged(InputError):
    """A loss or gradient of a training is not finite, or the loss is far above its start."""


class Stopped(Exception):
    """A signal ended the command, which can go on.

    Args:
        message: where it stopped, and how to go on.
        code: with which the process exits: 128 and the number of the signal.
    """

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


def require(condition: bool, setting: str, value: Any, requirement: str) -> None:
    """Raises InputError, with a setting, its value and what it must be, unless `condition`."""
    if not condition:
        raise InputError(f"`{setting}` is {value}: it must be {requirement}")


def tensorflow_reason(error: Any) -> str:
    """Returns what an OpError of TensorFlow's says, without the names of its operations."""
    message = re.sub(r"\{\{.*?\}\} ?|\[Op:\w+\].*", "", error.message)
    return message.strip().partition("\n")[0]


@contextmanager
def named(setting: str) -> Iterator[None]:
    """Puts the name of a setting before the message of an InputError in the block."""
    try:
        yield
    except InputError as error:
        raise InputError(f"`{setting}`: {error}") from None


def check_number(
    setting: str,
    value: float | None,
    low: float,
    high: float | None = None,
    *,
    above: bool = False,
    below: bool = False,
) -> None:
    """Raises InputError, as `require` does, unless a number is finite and in range.

    Args:
        setting: its name.
        value: None, for a setting that is not set, is in range.
        low: the lowest number.
        high: the highest number; None for the highest of TensorFlow's int32 or float32.
        above, below: whether `low`, `high` itself is out of range.
    """
    if value is None:
        return
    ends = [f"{'above' if above else 'at least'} {low}"]
    if high is None:
        high = HIGHEST_INT if isinstance(value, int) else HIGHEST_FLOAT
        ends += [] if value <= high else [f"at most {high:.10g}"]
    else:
        ends.append(f"{'below' if below else 'at most'} {high}")
    is_high = low < value if above else low <= value  # NaN is neither high nor low
    is_low = value < high if below else value <= high
    require(is_high and is_low, setting, value, " and ".join(ends))
