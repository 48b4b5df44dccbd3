"""What every door shares: a command line from a dataclass, and one-line errors with exit code 2."""

import argparse
import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import yaml
from jsonargparse import ArgumentParser

from mobilebert_tf.errors import InputError

EXIT_BAD_INPUT = 2


def door(
    function: Callable[[Any], None],
    config_class: type,
    positionals: dict[str, str | None] | None = None,
    arguments: Sequence[str] | None = None,
) -> None:
    """Parses a command line into a `config_class` and calls `function` with it.

    Any field is an option of its name, with - or _ (and `from_` is `--from`); `--config FILE` gives
    several in YAML, later options winning. An unknown key, wrong type, InputError or operating
    system error (a full disk or memory, say) is one line on stderr and exit code 2.

    Args:
        function: what the door does; its docstring is the text of --help.
        config_class: a dataclass; its "Args:" lines are the help of the options.
        positionals: fields given by position, with their nargs (None: exactly one).
        arguments: of the command; None: this process's own.

    Raises SystemExit with code 2 for bad input.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not in a notebook
            stream.reconfigure(errors="backslashreplace")  # what its encoding lacks, say an emoji
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        function(parse(config_class, arguments, function.__doc__, positionals or {}))
    except (InputError, OSError, MemoryError, tf.errors.ResourceExhaustedError) as error:
        message = _with_options(" ".join(str(error).split()), config_class)
        print(f"error: {message}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _with_options(message: str, config_class: type) -> str:
    """The message with `settings`, which the library's errors quote, as options: --settings."""
    options = set(_options(config_class))

    def option(quoted: re.Match) -> str:
        name = quoted[1]
        return "--" + name.rstrip("_").replace("_", "-") if name in options else quoted[0]

    return re.sub(r"`([\w.]+)`", option, message)


def parse(
    config_class: type,
    arguments: Sequence[str],
    description: str | None = None,
    positionals: dict[str, str | None] | None = None,
) -> Any:
    """The `config_class` that a command line describes; raises InputError for a bad one."""
    positionals = positionals or {}
    names = {f.name for f in dataclasses.fields(config_class)}
    keywords = {f"--{name[:-1]}" for name in names if name.endswith("_")}  # Python's, as `from`
    switches = {f"--{name}" for name in _switches(config_class)}
    arguments = _normalized(arguments, switches, keywords)
    files = _config_files(arguments)
    for path in files:
        _check_groups(config_class, path)
    try:
        return _parse(config_class, description, positionals, arguments)
    except InputError as error:
        raise InputError(
            _source(config_class, positionals, files, str(error)) + str(error)
        ) from None


def _parse(config_class: type, description, positionals: dict, arguments: Sequence[str]) -> Any:
    parser = _parser(config_class, description, positionals)
    try:
        values = parser.parse_args(arguments)
        values.pop("config")
        return config_class(**vars(parser.instantiate(values)))
    except (InputError, argparse.ArgumentError, ValueError, TypeError) as error:
        raise InputError(" ".join(str(error).split())) from None


def _source(config_class: type, positionals: dict, files: Sequence[str], message: str) -> str:
    """Which config file makes that error by itself, "FILE: "; nothing if none does."""
    for path in files:
        try:
            _parse(config_class, None, dict.fromkeys(positionals, "*"), ["--config", path])
        except InputError as error:
            if str(error) == message:
                return f"{path}: "
    return ""


def _check_groups(config_class: type, path: str) -> None:
    """jsonargparse passes over a number or text where a group of settings belongs."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return  # the parser says it better
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold settings, each as `name: value`")
    for field in dataclasses.fields(config_class):
        value = values.get(field.name, {})
        if dataclasses.is_dataclass(field.type) and not isinstance(value, dict):
            raise InputError(f"{path}: {field.name} is {value}: it must be a group of settings")


def _parser(config_class: type, description: str | None, positionals: dict) -> ArgumentParser:
    parser = _Parser(description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these values.")
    for name, nargs in positionals.items():
        parser.add_argument(name, type=str, **({} if nargs is None else {"nargs": nargs}))
    parser.add_class_arguments(config_class, skip=set(positionals))
    return parser


class _Parser(ArgumentParser):
    def format_help(self) -> str:
        """Option names as users write them."""
        names = re.compile(r"--[\w.]+")
        return names.sub(lambda m: m[0].rstrip("_").replace("_", "-"), super().format_help())


def _normalized(arguments: Sequence[str], switches: set[str], keywords: set[str]) -> list[str]:
    """What users write, as jsonargparse takes it: dashes in names, switches without a value, and
    options, each with its value, before what is given by position."""
    options, positions = [], []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        name, equals, value = argument.partition("=")
        if argument == "--":
            positions += left
            break
        if not name.startswith("--"):
            (options if argument == "-h" else positions).append(argument)
            continue
        name = "--" + name[2:].replace("-", "_")
        if not equals and name in switches:
            given = left and left[0].lower() in ("true", "false")
            equals, value = "=", left.pop(0) if given else "true"
        elif not equals and name != "--help" and left and not left[0].startswith("--"):
            equals, value = "=", left.pop(0)
        name += "_" if name in keywords else ""
        options.append(name + equals + value)
    # Behind "--", or an option that lacks its value would take what is given by position.
    return [*options, *(["--", *positions] if positions else [])]


def _switches(config_class: type, prefix: str = "") -> Iterator[str]:
    """The names of all boolean options, nested ones with dots."""
    for field in dataclasses.fields(config_class):
        if field.type is bool:
            yield prefix + field.name
        elif dataclasses.is_dataclass(field.type):
            yield from _switches(field.type, f"{prefix}{field.name}.")


def _options(config_class: type, prefix: str = "") -> Iterator[str]:
    """The names of all settings, nested ones with dots."""
    for field in dataclasses.fields(config_class):
        yield prefix + field.name
        if dataclasses.is_dataclass(field.type):
            yield from _options(field.type, f"{prefix}{field.name}.")


def _config_files(arguments: Sequence[str]) -> list[str]:
    return [a.partition("=")[2] for a in arguments if a.startswith("--config=")]
