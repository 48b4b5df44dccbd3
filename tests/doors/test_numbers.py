"""Every number on every command line is finite and in range, or one line names its option."""

import dataclasses
import importlib
import types

import pytest

# What each door needs beside the number; none of these files exists.
NEEDED = {
    "benchmark": ["no.tflite"],
    "distill": [],
    "evaluate": ["--model", "no.tflite", "--task", "sst-2", "--data-dir", "no"],
    "export": ["--model", "no"],
    "finetune": ["--task", "sst-2", "--model", "no", "--data-dir", "no"],
    "predict": ["no.tflite", "text"],
    "prepare": [],
    "pretrain": [],
    "quantization_report": ["no.tflite", "--model", "no"],
    "serve_demo": [],
}
CONFIGS = dict(
    benchmark="BenchmarkConfig",
    distill="DistillConfig",
    evaluate="EvaluateConfig",
    export="ToTfliteConfig",
    finetune="FinetuneConfig",
    predict="PredictConfig",
    prepare="PrepareConfig",
    pretrain="PretrainConfig",
    quantization_report="ReportConfig",
    serve_demo="ServeDemoConfig",
)


def numbers(config, prefix=""):
    """The name and type of every setting that is a number."""
    for field in dataclasses.fields(config):
        kinds = field.type.__args__ if isinstance(field.type, types.UnionType) else (field.type,)
        for kind in kinds:
            if kind in (int, float):
                yield prefix + field.name, kind
            elif dataclasses.is_dataclass(kind):
                yield from numbers(kind, f"{prefix}{field.name}.")


def main_of(door, arguments):
    with pytest.raises(SystemExit) as error:
        importlib.import_module(f"mobilebert_tf.{door}").main(arguments)
    return error.value.code


def all_numbers():
    for door, name in CONFIGS.items():
        config = getattr(importlib.import_module(f"mobilebert_tf.{door}"), name)
        for setting, kind in numbers(config):
            for value in ("9223372036854775808", "-7") if kind is int else (".inf", ".nan"):
                yield pytest.param(door, setting, value, id=f"{door} {setting} {value}")


@pytest.mark.parametrize(("door", "setting", "value"), list(all_numbers()))
def test_a_number_out_of_range_is_one_line(capsys, door, setting, value):
    option = "--" + setting.replace("_", "-")
    assert main_of(door, [*NEEDED[door], f"{option}={value}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert setting.rpartition(".")[2] in line.replace("-", "_"), line


@pytest.mark.parametrize(
    ("door", "option", "value"),
    [
        ("benchmark", "--lengths", ""),
        ("benchmark", "--lengths", "16,,32"),
        ("benchmark", "--threads", "٢"),
        ("benchmark", "--threads", "2147483648"),
        ("benchmark", "--threads", "1" * 5000),
        ("evaluate", "--sequence-length", "0"),
        ("export", "--sequence-length", "0"),
        ("export", "--min-runtime", "٢.٤"),
        ("export", "--min-runtime", "2." + "4" * 5000),
        ("pretrain", "--vocabulary-size", "1000000000"),
        ("predict", "--num-threads", "1000000"),
        ("finetune", "--seeds", "[0, .nan]"),
        ("finetune", "--seeds", "[4294967296]"),
    ],
)
def test_what_is_no_number_for_it_is_one_line(capsys, door, option, value):
    assert main_of(door, [*NEEDED[door], f"{option}={value}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and option[2:].replace("-", "_") in line.replace("-", "_")
    assert len(line) < 3000
