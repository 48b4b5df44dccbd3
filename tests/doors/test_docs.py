"""Every command that the README, the docs and the examples print runs once, in the order of the
pages, on small models and little text. A new page needs nothing here."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.texts import labelled_texts, write_corpus

from mobilebert_tf.cli import parse
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.training.run_config import DistillConfig, PretrainConfig

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "examples", "android_demo", "web_demo")
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        *(path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.md"))),
        ROOT / "CONTRIBUTING.md",
    )
    if path.exists()
}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# The first words of a command that a test cannot run, and why.
NOT_RUN = {
    "make": "installs packages, or runs these tests",
    "git": "needs a network",
    "pip": "needs a network",
    ". .venv/bin/activate": "the tests run in an environment already",
    "adb": "needs a phone",
    "npm": "needs a network",
    "python -m mobilebert_tf.serve_demo": "serves until somebody ends it",
    "npx": "needs a network",
    "./gradlew": "needs the Android SDK",
    "python -m mobilebert_tf.convert google/": "needs a network",
    "python -m mobilebert_tf.ablate": "takes hours: test_ablate.py runs a small one",
}
DATA_CENTRE = (
    "configs/mobilebert.yaml",
    "configs/ib_bert_large.yaml",
    "configs/ib_bert_large_512.yaml",
)  # only parsed
TRAINING = {"mobilebert_tf.distill": DistillConfig, "mobilebert_tf.pretrain": PretrainConfig}
# Options that decide how long a command takes -> their largest value here.
LARGEST = {
    "steps": 8,
    "vocabulary-size": 700,
    "sequence-length": 24,
    "batch-size": 13,
    "epochs": 2,
}


def printed(page: str) -> list[str]:
    """The commands in a page's blocks of ```sh, each as one line and without its comment."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    commands = (re.sub(r"(^|\s)#\s.*", "", line).strip() for line in lines)
    return [command for command in commands if command]


def reason_not_to_run(command: str) -> str | None:
    for start, reason in NOT_RUN.items():
        if command == start or command.startswith(start if start[-1] == "/" else f"{start} "):
            return reason
    return "needs a data centre" if any(name in command for name in DATA_CENTRE) else None


def small(command: list[str]) -> list[str]:
    """A command with small settings in the place of its own, and little text."""
    words = [_small_size(word) for word in command]
    for i, word in enumerate(words[:-1]):
        limit = LARGEST.get(word.replace("_", "-").removeprefix("--").rpartition(".")[2])
        if word.startswith("--") and limit is not None and words[i + 1].isdigit():
            words[i + 1] = str(min(limit, int(words[i + 1])))
    if words[1] == "export/to_tflite.py" or words[1:3] == ["-m", "mobilebert_tf.export"]:
        return words if "--task" in words else [*words, "--calibration-data", "my_text.txt"]
    if words[1] != "-m" or words[2] not in TRAINING:
        return words
    door, options = words[:3], words[3:]
    settings = ["--config", "configs/test.yaml"]
    if door[2] == "mobilebert_tf.pretrain":
        settings = ["--vocabulary-size", "600", "--sequence-length", "24", "--batch-size", "13"]
        settings += ["--training.steps", "4", "--checkpoint-steps", "2", "--log-steps", "2"]
        settings += ["--max-predictions-per-sequence", "5"]
    return [*door, *settings, "--corpus", "my_text.txt", *options]


def _small_size(word: str) -> str:
    """A named size as the test's size of the same shape."""
    if word not in SIZES:
        return word
    return "test-teacher" if SIZES[word].normalization_type == "layer_norm" else "test-student"


def run(command: str, monkeypatch) -> None:
    """Runs a Python program in this process, where TensorFlow is loaded; others in a shell."""
    words = shlex.split(command)
    if words[0] != "python" or words[1] == "-c" or re.search(r"[|&;<>$]", command):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(command, shell=True, check=True, env=os.environ | {"PATH": path})
        return
    words = small(words)
    as_module = words[1] == "-m"
    name, *arguments = words[2:] if as_module else words[1:]
    with monkeypatch.context() as context:
        context.setattr(sys, "argv", [name, *arguments])
        if as_module:
            context.delitem(sys.modules, name, raising=False)
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(name, run_name="__main__")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder that looks like the project's to a command, and is not."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("benchmarks", "configs", "examples", "export", "mobilebert_tf"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    write_corpus(folder / "my_text.txt")
    (folder / "reviews").mkdir()
    for seed, split in enumerate(("train", "dev")):
        (folder / "reviews" / f"{split}.tsv").write_text(labelled_texts(16, seed))
    (folder / "unlabelled.txt").write_text("a good film\n\na bad film\n" * 9)
    return folder


@pytest.fixture(scope="module")
def already_run() -> set[str]:
    return set()


@pytest.mark.parametrize("page", PAGES)
def test_commands_run_as_printed(page, workplace, already_run, monkeypatch, capfd):
    """In their order: later ones use what earlier ones made."""
    monkeypatch.chdir(workplace)
    for command in printed(page):
        if command in already_run or reason_not_to_run(command):
            continue
        already_run.add(command)
        try:
            run(command, monkeypatch)
        except (SystemExit, subprocess.CalledProcessError) as stopped:
            pytest.fail(f"{command}\n{stopped!r}\n{capfd.readouterr().err[-2000:]}")
        capfd.readouterr()


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script)])
    runpy.run_path(str(script), run_name="__main__")


def test_there_are_commands():
    commands = printed("README.md")
    assert sum("mobilebert_tf." in command for command in commands) >= 4
    assert "python -m mobilebert_tf.distill" in commands
    assert "python export/to_tflite.py --quantize int8" in commands


def test_paper_commands_parse(monkeypatch):
    monkeypatch.chdir(ROOT)
    commands = {c for page in PAGES for c in printed(page) if any(n in c for n in DATA_CENTRE)}
    assert len(commands) >= 3
    configs = []
    for command in commands:
        _, _, name, *options = shlex.split(command)
        configs.append(parse(TRAINING[name], options))
        assert configs[-1].corpus == "text/"
    first, second = sorted(
        (c for c in configs if isinstance(c, PretrainConfig)), key=lambda c: c.sequence_length
    )
    (student,) = (config for config in configs if isinstance(config, DistillConfig))
    assert (first.sequence_length, second.sequence_length, student.sequence_length) == (
        128, 512, 512,
    )  # fmt: skip
    # Each command begins with what the one before it leaves.
    assert second.init == f"{first.output_dir}/teacher"
    assert student.teacher == f"{second.output_dir}/teacher"


def test_demo_config_is_the_default(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert parse(DistillConfig, ["--config", "configs/demo.yaml"]) == DistillConfig()


def test_make_demo_is_the_printed_commands():
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^demo: setup\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    commands = [line.strip() for line in recipe[1].splitlines()]
    assert len(commands) == 4
    assert [c for c in printed("README.md") if c in commands] == commands


@pytest.mark.parametrize("page", PAGES)
def test_files_named_in_a_page_exist(page):
    names = r"`((?:mobilebert_tf|tests|configs|benchmarks|examples|export)/[\w/.]+)`"
    for name in re.findall(names, PAGES[page]):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES)
def test_no_placeholder_is_left(page):
    assert "@@" not in PAGES[page]
