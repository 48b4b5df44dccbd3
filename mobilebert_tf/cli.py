"""What every door shares: a command line from a dataclass, and one-line errors with exit code 2."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from mobilebert_tf.errors import InputError

EXIT_BAD_INPUT = 2


def door(
    function: Callable[[Any], None],
    config_class: type,
    positionals: dict[str, str | None] | None = None,
) -> None:
    """Parses the command line into a `config_class` and calls `function` with it.

    Any field is an option of its name, with - or _; `--config FILE` gives several in YAML, later
    options winning. An unknown key, wrong type, InputError or operating system error (a full
    disk, say) is one line on stderr and exit code 2.

    Args:
        function: what the door does; its docstring is the text of --help.
        config_class: a dataclass; its "Args:" lines are the help of the options.
        positionals: fields given by position, with their nargs (None: exactly one).
    """
    try:
        function(parse(config_class, sys.argv[1:], function.__doc__, positionals or {}))
    except (InputError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def parse(
    config_class: type,
    arguments: Sequence[str],
    description: str | None = None,
    positionals: dict[str, str | None] | None = None,
) -> Any:
    """The `config_class` that a command line describes; raises InputError for a bad one."""
    parser = _parser(config_class, description, positionals or {})
    arguments = _normalized(arguments, {f"--{name}" for name in _switches(config_class)})
    for path in _config_files(arguments):  # alone first, so that an error can name the file
        optional = _parser(config_class, None, {name: "*" for name in positionals or {}})
        _parse(optional, ["--config", path], prefix=f"{path}: ")
    return config_class(**vars(_parse(parser, arguments)))


def _parser(config_class: type, description: str | None, positionals: dict) -> ArgumentParser:
    parser = ArgumentParser(description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these values.")
    for name, nargs in positionals.items():
        parser.add_argument(name, type=str, **({} if nargs is None else {"nargs": nargs}))
    parser.add_class_arguments(config_class, skip=set(positionals))
    return parser


def _normalized(arguments: Sequence[str], switches: set[str]) -> list[str]:
    """What users write, as jsonargparse takes it: dashes in names, switches without a value."""
    normalized = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
            if name in switches and not equals and following.lower() not in ("true", "false"):
                equals, value = "=", "true"
        normalized.append(name + equals + value)
    return normalized


def _switches(config_class: type, prefix: str = "") -> Iterator[str]:
    """The names of all boolean options, nested ones with dots."""
    for field in dataclasses.fields(config_class):
        if field.type is bool:
            yield prefix + field.name
        elif dataclasses.is_dataclass(field.type):
            yield from _switches(field.type, f"{prefix}{field.name}.")


def _config_files(arguments: Sequence[str]) -> list[str]:
    following = [b for a, b in zip(arguments, arguments[1:], strict=False) if a == "--config"]
    return following + [a.partition("=")[2] for a in arguments if a.startswith("--config=")]


def _parse(parser: ArgumentParser, arguments: Sequence[str], prefix: str = "") -> Any:
    try:
        values = parser.parse_args(arguments)
        values.pop("config")
        return parser.instantiate(values)
    except (InputError, argparse.ArgumentError, ValueError, TypeError) as error:
        raise InputError(prefix + " ".join(str(error).split())) from None
