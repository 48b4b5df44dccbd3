"""Command lines from dataclasses, and one-line errors with exit code 2, for every command."""

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import tensorflow as tf
import yaml
from jsonargparse import ArgumentParser

from mobilebert_tf.errors import InputError, Stopped
from mobilebert_tf.files import read_bytes
from mobilebert_tf.modeling.config import in_words

EXIT_BAD_INPUT = 2
_LARGEST_CONFIG, _DEEPEST_CONFIG = 2**20, 20  # bytes; groups and lists
_LONGEST_MESSAGE = 2000  # characters
_WRONG_TYPE = re.compile(r'Parser key "([\w.]+)": .*(?:Got|Given) value: (.*)')  # jsonargparse's
_QUOTED = re.compile(r"`([\w.]+)`")  # a setting in an error message


def door(
    function: Callable[[Any], None],
    config_class: type,
    positionals: dict[str, str | None] | None = None,
    arguments: Sequence[str] | None = None,
) -> None:
    """Parses a command line into a `config_class` and calls `function` with it.

    Each field is an option of its name, with - or _ (and `from_` is `--from`). `--config FILE`
    reads several from a YAML file; of repeated options the last one counts. An unknown option, a
    wrong type, an InputError or an error of the operating system (a full disk, for example) is
    printed as one line on stderr, with exit code 2.

    Args:
        function: the command; its docstring is the text of --help.
        config_class: a dataclass; its "Args:" lines are the help of the options.
        positionals: {field given by position: its nargs}; None is exactly one.
        arguments: of the command; None for those of this process.

    Raises SystemExit with code 2 for bad input, 143 or 130 for a training that SIGTERM or Ctrl-C
    stopped.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not in a notebook
            # Characters that the terminal's encoding lacks are printed as escapes.
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        function(parse(config_class, arguments, function.__doc__, positionals or {}))
        sys.stdout.flush()
    except (InputError, OSError, MemoryError, tf.errors.ResourceExhaustedError) as error:
        message = _with_options(" ".join(str(error).split()), config_class)
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[: _LONGEST_MESSAGE // 2]} ... {message[-_LONGEST_MESSAGE // 2 :]}"
        _give_up_stdout()
        print(f"error: {message}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _give_up_stdout() -> None:
    """Drops what cannot be written: at its end Python would try again, and exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _with_options(message: str, config_class: type) -> str:
    """Returns an error message in which settings in backticks are written as options."""
    options = dict(_setting_types(config_class))

    def option(quoted: re.Match) -> str:
        name = quoted[1]
        return "--" + name.rstrip("_").replace("_", "-") if name in options else quoted[0]

    return _QUOTED.sub(option, message)


def parse(
    config_class: type,
    arguments: Sequence[str],
    description: str | None = None,
    positionals: dict[str, str | None] | None = None,
) -> Any:
    """Returns the `config_class` that a command line describes.

    Args:
        config_class: a dataclass.
        arguments: of the command.
        description: the text of --help.
        positionals: as for `door`.

    Raises InputError for a bad command line.
    """
    positionals = positionals or {}
    names = {f.name for f in dataclasses.fields(config_class)}
    keywords = {f"--{name[:-1]}" for name in names if name.endswith("_")}  # of Python, as `from`
    switches = {f"--{name}": has_words for name, has_words in _switches(config_class)}
    arguments = _normalized(arguments, switches, keywords)
    files = _config_files(arguments)
    for path in files:
        _check_yaml(path)
        _check_groups(config_class, path)
    try:
        return _parse(config_class, description, positionals, arguments)
    except InputError as error:
        file = _faulty_file(config_class, positionals, files, str(error))
        if file is None:
            raise
        message = _QUOTED.sub(r"\1", str(error))  # in a file a setting is no option
        raise InputError(f"{file}: {message}") from None


def _parse(config_class: type, description, positionals: dict, arguments: Sequence[str]) -> Any:
    parser = _parser(config_class, description, positionals)
    try:
        values = parser.parse_args(arguments)
        values.pop("config")
        config = _built(config_class, vars(values))
    except RecursionError:
        raise InputError("a setting is nested too deeply") from None
    except (InputError, argparse.ArgumentError, ValueError, TypeError) as error:
        raise InputError(_in_our_words(" ".join(str(error).split()), config_class)) from None
    for name, value in _texts(dataclasses.asdict(config)):
        if "\0" in value:
            raise InputError(f"`{name}` has a zero character")
    return config


def _in_our_words(message: str, config_class: type) -> str:
    """Returns jsonargparse's message about a value of a wrong type as our own are."""
    wrong, types = _WRONG_TYPE.fullmatch(message), dict(_setting_types(config_class))
    if not wrong or wrong[1] not in types:
        return message
    return f"`{wrong[1]}` is {wrong[2]:.60}: it must be {in_words(types[wrong[1]])}"


def _texts(settings: dict, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields the name and value of every setting that is text, or a list with text."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _texts(value, f"{prefix}{name}.")
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, str):
                yield prefix + name, item


def _built(config_class: type, values: dict[str, Any], prefix: str = "") -> Any:
    """Returns a `config_class`; its InputErrors name a setting of a group in full, as `a.b`."""
    names = {field.name: field.type for field in dataclasses.fields(config_class)}
    groups = {
        name: _built(kind, vars(values[name]), f"{prefix}{name}.")
        for name, kind in names.items()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
    }
    try:
        return config_class(**(values | groups))
    except InputError as error:
        message = _QUOTED.sub(
            lambda quoted: f"`{prefix}{quoted[1]}`" if quoted[1] in names else quoted[0],
            str(error),
        )
        raise InputError(message) from None


def _faulty_file(
    config_class: type, positionals: dict, files: Sequence[str], message: str
) -> str | None:
    """Returns the config file that causes an error by itself; None if none does."""
    for path in files:
        try:
            _parse(config_class, None, dict.fromkeys(positionals, "*"), ["--config", path])
        except InputError as error:
            if str(error) == message:
                return path
    return None


def _check_yaml(path: str) -> None:
    """Raises InputError for YAML that is no file of settings, or whose reading could take any time.

    A few lines of names for values that hold names (&a, *a) stand for gigabytes; none of our
    settings needs them.
    """
    depth = 0
    try:
        text = read_bytes(path, _LARGEST_CONFIG).decode()
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise InputError(
                    f"{path}: *{event.anchor} is not supported: write the value itself"
                )
            if depth > _DEEPEST_CONFIG:
                raise InputError(f"{path}: it is nested more than {_DEEPEST_CONFIG} deep")
    except (ValueError, yaml.YAMLError):
        return  # jsonargparse's error says more


def _check_groups(config_class: type, path: str) -> None:
    """Raises InputError for a value in place of a group of settings: jsonargparse ignores it."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return  # jsonargparse's error says more
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
    def format_help(self) -> str:  # type: ignore[override]
        """Returns the help with option names as users write them."""
        names = re.compile(r"--[\w.]+")
        return names.sub(lambda m: m[0].rstrip("_").replace("_", "-"), super().format_help())


def _normalized(
    arguments: Sequence[str], switches: dict[str, bool], keywords: set[str]
) -> list[str]:
    """Returns a user's arguments in the form that jsonargparse accepts.

    That is underscores in names, a value for each switch, and all options, joined with their
    values, before the positional arguments.
    """
    options, positionals = [], []
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        name, equals, value = argument.partition("=")
        if argument == "--":
            positionals += remaining
            break
        if not name.startswith("--"):
            (options if argument == "-h" else positionals).append(argument)
            continue
        name = "--" + name[2:].replace("-", "_")
        if not equals and name in switches:
            word = remaining[0] if remaining else "--"
            has_words = switches[name] and not word.startswith("--")
            has_value = has_words or word.lower() in ("true", "false")
            equals, value = "=", remaining.pop(0) if has_value else "true"
        elif not equals and name != "--help" and remaining and not remaining[0].startswith("--"):
            equals, value = "=", remaining.pop(0)
        name += "_" if name in keywords else ""
        options.append(name + equals + value)
    if not positionals:
        return options
    return [*options, "--", *positionals]  # "--": no option without a value may take one of them


def _switches(config_class: type, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Yields the names of all settings that are switched on, nested ones with dots, and whether
    they take other words than true and false too."""
    for field in dataclasses.fields(config_class):
        if field.type is bool or bool in get_args(field.type):
            yield prefix + field.name, field.type is not bool
        elif isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            yield from _switches(field.type, f"{prefix}{field.name}.")


def _setting_types(config_class: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the name and type of every setting, nested ones with dots."""
    for field in dataclasses.fields(config_class):
        yield prefix + field.name, field.type
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            yield from _setting_types(field.type, f"{prefix}{field.name}.")


def _config_files(arguments: Sequence[str]) -> list[str]:
    return [a.partition("=")[2] for a in arguments if a.startswith("--config=")]
