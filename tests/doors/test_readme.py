"""Every command that the README prints runs as printed, on small models and little text."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.texts import write_corpus

from mobilebert_tf.cli import parse
from mobilebert_tf.training.run_config import DistillConfig, PretrainConfig

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TRAINING = {"mobilebert_tf.distill": DistillConfig, "mobilebert_tf.pretrain": PretrainConfig}


def printed_commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


def is_training(command: list[str]) -> bool:
    return command[:2] == ["python", "-m"] and command[2] in TRAINING


def needs_a_data_centre(command: list[str]) -> bool:
    return "configs/mobilebert.yaml" in command or "configs/ib_bert_large.yaml" in command


def shrunk(command: list[str]) -> list[str]:
    """The command with small settings in front of its own options, and little text."""
    if command[1] == "export/to_tflite.py":
        return [*command, "--calibration-data", "my_text.txt"]
    if not is_training(command):
        return command
    door, options = command[:3], command[3:]
    # From the smallest models up nothing differs but the numbers.
    options = [option.replace("demo-", "test-").replace("8000", "700") for option in options]
    sizes = ["--config", "configs/test.yaml"]
    if door[2] == "mobilebert_tf.pretrain":
        sizes = ["--vocabulary-size", "600", "--sequence-length", "24", "--batch-size", "13"]
        sizes += ["--training.steps", "4", "--checkpoint-steps", "2", "--log-steps", "2"]
        sizes += ["--max-predictions-per-sequence", "5"]
    return [*door, *sizes, "--corpus", "my_text.txt", *options]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder that looks like the project's to a command, and is not."""
    directory = tmp_path_factory.mktemp("readme")
    for name in ("configs", "export", "mobilebert_tf"):
        (directory / name).symlink_to(ROOT / name)
    write_corpus(directory / "my_text.txt")
    (directory / "reviews").mkdir()
    for split in ("train", "dev"):
        rows = "".join(f"{word} text\t{word}\n" for word in ("good", "bad") * 8)
        (directory / "reviews" / f"{split}.tsv").write_text(f"text\tlabel\n{rows}")
    (directory / "unlabelled.txt").write_text("a good text\n\na bad text\n" * 9)
    return directory


def test_there_are_commands():
    commands = printed_commands()
    assert sum(map(is_training, commands)) >= 6
    assert ["python", "-m", "mobilebert_tf.distill"] in commands
    assert ["python", "export/to_tflite.py", "--quantize", "int8"] in commands


def test_commands_run_as_printed(workplace):
    """In their order: later ones use what earlier ones made."""
    for command in filter(lambda c: not needs_a_data_centre(c), printed_commands()):
        arguments = [sys.executable, *shrunk(command)[1:]]
        result = subprocess.run(arguments, cwd=workplace, capture_output=True, text=True)
        assert result.returncode == 0, f"{shlex.join(command)}\n{result.stdout}\n{result.stderr}"
    assert (workplace / "runs" / "demo" / "report.html").exists()


def test_paper_commands_parse(monkeypatch):
    monkeypatch.chdir(ROOT)
    commands = list(filter(needs_a_data_centre, printed_commands()))
    assert len(commands) == 2
    for command in commands:
        config = parse(TRAINING[command[2]], command[3:])
        assert config.sequence_length == 512 and config.corpus == "text/"


def test_demo_config_is_the_default(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert parse(DistillConfig, ["--config", "configs/demo.yaml"]) == DistillConfig()


def test_make_demo_is_the_printed_commands():
    recipe = re.search(
        r"^demo: setup\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    commands = [shlex.split(line) for line in recipe[1].splitlines()]
    assert commands == printed_commands()[: len(commands)]
    assert len(commands) == 4


def test_files_named_in_the_readme_exist():
    for name in re.findall(r"`((?:mobilebert_tf|tests|configs|benchmarks)/[\w/.]+)`", README):
        assert (ROOT / name).exists(), name


def test_no_placeholder_is_left():
    assert "@@" not in README
