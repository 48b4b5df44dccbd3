"""Bad input to the training doors: one line that names it, exit code 2, and nothing is lost."""

import contextlib
import dataclasses
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from support.models import save_directory
from support.texts import write_corpus

from mobilebert_tf.cli import door
from mobilebert_tf.distill import distill
from mobilebert_tf.finetune import finetune
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.pretrain import pretrain
from mobilebert_tf.training.finetune_config import FinetuneConfig
from mobilebert_tf.training.run_config import DistillConfig, PretrainConfig
from mobilebert_tf.training.run_folder import open_run

ROOT = Path(__file__).parents[2]
TEST_CONFIG = str(ROOT / "configs" / "test.yaml")
DOORS = {
    "distill": (distill, DistillConfig),
    "pretrain": (pretrain, PretrainConfig),
    "finetune": (finetune, FinetuneConfig),
}


@pytest.fixture
def corpus(tmp_path) -> Path:
    return write_corpus(tmp_path / "corpus.txt", documents=8)


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs a door that has to refuse; gives its one line."""

    def call(*arguments: str, name: str = "distill", output: str = "run") -> str:
        base = ["--config", TEST_CONFIG] if name == "distill" else []
        base += ["--output-dir", str(tmp_path / output)]
        monkeypatch.setattr(sys, "argv", [name, *base, *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            door(*DOORS[name])
        lines = capsys.readouterr().err.splitlines()
        error = lines.pop()
        assert exit_info.value.code == 2
        assert error.startswith("error: "), error
        # Beside the error only progress bars and warnings.
        assert not [x for x in lines if x.strip() and "step" not in x and "warning: " not in x]
        return error

    return call


def test_missing_corpus(refused, tmp_path):
    assert "nowhere.txt" in refused("--corpus", tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty|no text"),
        (b"\n\n \n", "empty|no text"),
        (b"Some text.\x00\x01\x02", "binary|NUL"),
        ("Ein schöner Tag.\n".encode("latin-1"), "UTF-8"),
    ],
    ids=["empty", "blank", "binary", "latin-1"],
)
def test_unreadable_corpus(refused, tmp_path, content, reason):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    error = refused("--corpus", path)
    assert "bad.txt" in error and any(word in error for word in reason.split("|")), error


def test_corpus_of_one_document(refused, tmp_path):
    path = write_corpus(tmp_path / "one.txt", documents=1)
    assert "document" in refused("--corpus", path)


def test_vocabulary_without_special_tokens(refused, tmp_path, corpus):
    (tmp_path / "vocab.txt").write_text("the\ncat\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    error = refused("--corpus", corpus, "--vocabulary", tmp_path / "vocab.txt")
    assert "[MASK]" in error and "vocab.txt" in error


def test_sequence_longer_than_positions(refused, corpus):
    error = refused("--corpus", corpus, "--sequence-length", "38")
    assert "--sequence-length is 38" in error and "37" in error


def test_unknown_size(refused, corpus):
    error = refused("--corpus", corpus, "--student", "mobilebert-huge")
    assert "mobilebert-huge" in error and "mobilebert-tiny" in error


def test_unknown_strategy(refused):
    error = refused("--strategy", "osmosis")
    assert "strategy" in error and "osmosis" in error and "progressive" in error


def test_unknown_key_in_config_file(refused, tmp_path):
    (tmp_path / "bad.yaml").write_text("transfer: {alhpa: 0.3}\n")
    error = refused("--config", tmp_path / "bad.yaml")
    assert "bad.yaml" in error and "alhpa" in error


def test_wrong_type_in_config_file(refused, tmp_path):
    (tmp_path / "bad.yaml").write_text("distillation: {steps: many}\n")
    error = refused("--config", tmp_path / "bad.yaml")
    assert "bad.yaml" in error and "distillation.steps" in error and "many" in error


def test_impossible_value_in_config_file(refused, tmp_path):
    (tmp_path / "bad.yaml").write_text("held_out_fraction: 1.5\n")
    error = refused("--config", tmp_path / "bad.yaml")
    assert "bad.yaml" in error and "held_out_fraction is 1.5" in error


def test_impossible_size(refused, tmp_path, corpus):
    config = json.loads(SIZES["test-student"].to_json()) | {"num_attention_heads": 3}
    (tmp_path / "student.json").write_text(json.dumps(config))
    error = refused("--corpus", corpus, "--student", tmp_path / "student.json")
    assert "student.json" in error and "num_attention_heads" in error


def test_teacher_and_student_that_do_not_fit(refused, tmp_path, corpus):
    deeper = SIZES["test-student"].replace(num_hidden_layers=3)
    (tmp_path / "student.json").write_text(deeper.to_json())
    error = refused("--corpus", corpus, "--student", tmp_path / "student.json")
    assert "--transfer.layer-map" in error and "3" in error
    assert not (tmp_path / "run" / "checkpoints").exists()  # said before a step was trained


def test_teacher_directory_without_weights(refused, tmp_path, corpus):
    save_directory(tmp_path / "teacher", "teacher", "pretraining")
    (tmp_path / "teacher" / "model.weights.h5").write_bytes(b"not weights")
    error = refused("--corpus", corpus, "--teacher", tmp_path / "teacher")
    assert "model.weights.h5" in error and "damaged" in error
    (tmp_path / "teacher" / "model.weights.h5").unlink()
    error = refused("--corpus", corpus, "--teacher", tmp_path / "teacher")
    assert "not a whole model directory: it has no model.weights.h5" in error


def test_teacher_that_is_no_directory(refused, tmp_path, corpus):
    error = refused("--corpus", corpus, "--teacher", tmp_path / "nothing")
    assert error.startswith("error: --teacher: ") and "nothing does not exist" in error


def test_output_is_a_file(refused, tmp_path, corpus):
    (tmp_path / "run").write_text("precious")
    assert "is a file" in refused("--corpus", corpus)
    assert (tmp_path / "run").read_text() == "precious"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a place where nobody may write")
def test_output_that_cannot_be_written(refused, corpus):
    assert "/proc/run" in refused("--corpus", corpus, output="/proc/run")


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_output_holds_something_else(refused, tmp_path, corpus, options):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    assert "holds no run" in refused("--corpus", corpus, *options)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "precious"


def test_output_in_use(refused, tmp_path, corpus):
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"):
        assert "in use" in refused("--corpus", corpus)


def test_other_settings(refused, tmp_path, corpus):
    refused("--corpus", corpus, "--teacher-training.learning-rate", "1e30")
    error = refused("--corpus", corpus, "--seed", "5", "--transfer.alpha", "0.3")
    assert "seed: 0 -> 5" in error and "transfer.alpha: 0.5 -> 0.3" in error


def test_folder_stays_free_if_nothing_was_made(refused, tmp_path):
    refused("--corpus", tmp_path / "nowhere.txt")
    assert not (tmp_path / "run").exists()


def test_overwrite_spares_what_the_run_reads(refused, tmp_path, corpus):
    refused("--corpus", corpus, "--teacher-training.learning-rate", "1e30")  # made something
    (tmp_path / "run" / "mine").mkdir()
    inside = write_corpus(tmp_path / "run" / "mine" / "text.txt")
    everywhere = tmp_path / "*" / "mine" / "*.txt"
    (tmp_path / "a" / "mine").mkdir(parents=True)
    write_corpus(tmp_path / "a" / "mine" / "text.txt")  # before the other in the alphabet
    for named in (inside, inside.parent / "*.txt", everywhere, inside.with_suffix("")):
        error = refused("--corpus", named, "--overwrite")
        assert "which --overwrite would delete" in error
    assert inside.is_file()


def test_overwrite_spares_settings(refused, tmp_path, corpus):
    refused("--corpus", corpus, "--teacher-training.learning-rate", "1e30")  # made something
    (tmp_path / "run" / "mine.yaml").write_text("seed: 3\n")
    (tmp_path / "run" / "[1]").mkdir()
    inside = write_corpus(tmp_path / "run" / "[1]" / "text.txt")  # a path, though like a pattern
    assert "would delete" in refused("--corpus", inside, "--overwrite")
    refused("--corpus", corpus, "--teacher-training.learning-rate", "1e29", "--overwrite")
    assert (tmp_path / "run" / "mine.yaml").read_text() == "seed: 3\n"
    assert not inside.exists()


# Said only when the folder is open already.
MISTAKES = {
    "pretrain": (["--corpus", "nowhere.txt"], ["--model", "gigantic"]),
    "distill": (["--teacher-model", "gigantic"], ["--transfer.layer-map", "[0, 7]"]),
    "finetune": (["--class-weights"],),
}


def content_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def options(tmp_path, corpus):
    """Options of each door that are no mistake."""
    save_directory(tmp_path / "start", head="pretraining")
    (tmp_path / "data").mkdir()
    for split in ("train", "dev"):
        (tmp_path / "data" / f"{split}.tsv").write_text("text\tlabel\nthe dog\t1.5\n")
    task = ["--task", "regression", "--data-dir", tmp_path / "data"]
    return {
        "pretrain": ["--corpus", corpus],
        "distill": ["--corpus", corpus],
        "finetune": ["--model", tmp_path / "start", *task],
    }


@pytest.mark.parametrize("name", DOORS)
def test_a_mistake_costs_nothing(refused, tmp_path, options, name):
    """Neither a finished run that was to be replaced, nor the folder of a new one."""
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "weights").write_text("precious")
    (tmp_path / "run" / "run.json").write_text('{"settings": {"seed": 3}}')
    (tmp_path / "run" / "mine.yaml").write_text("{}")
    before = content_of(tmp_path / "run")
    for mistake in MISTAKES[name]:
        refused(*options[name], *mistake, "--overwrite", name=name)
        assert content_of(tmp_path / "run") == before
        refused(*options[name], *mistake, name=name, output="new")
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("moved", range(4))
def test_killed_before_it_replaced_a_run(tmp_path, corpus, monkeypatch, moved):
    """At any moment while files are moved; the next command puts all of it back."""
    config = PretrainConfig(corpus=str(corpus), output_dir=str(tmp_path / "run"))
    with open_run(config) as folder:
        folder.begin()
        for name in ("a", "z"):
            (folder / name).mkdir()
            (folder / name / "file").write_text(name)
    before = content_of(tmp_path / "run")
    replacing = dataclasses.replace(config, overwrite=True, seed=3)
    _kill_at(moved, replacing, monkeypatch)
    _kill_at(1, config, monkeypatch)  # while it puts back
    with open_run(config):
        assert content_of(tmp_path / "run") == before
    with open_run(replacing) as folder:
        folder.begin()
    made = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert made == [".lock", "run.json", "status.json"]


class Killed(BaseException):
    """Stops a process between two lines, as a signal would."""


def _kill_at(moved, config, monkeypatch):
    """Opens a run and is killed after so many files were moved; or in the run, if fewer are."""
    moves = iter(range(moved))

    def rename(path, target):
        if next(moves, None) is None:
            raise Killed
        os.rename(path, target)

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(Path, "rename", rename)
        with open_run(config) as folder:
            (folder / "data").mkdir()
            patched.setattr("mobilebert_tf.training.run_folder._put_back", lambda path: None)
            raise Killed


def test_every_state_damaged(refused, tmp_path, corpus):
    error = refused("--corpus", corpus, "--teacher-training.learning-rate", "1e30")
    assert "a lower learning rate" in error
    for state in (tmp_path / "run").glob("checkpoints/teacher/*"):
        state.write_bytes(b"damaged")
    (tmp_path / "run/checkpoints/teacher").mkdir(parents=True, exist_ok=True)
    (tmp_path / "run/checkpoints/teacher/state-000000002.safetensors").write_bytes(b"damaged")
    error = refused("--corpus", corpus, "--teacher-training.learning-rate", "1e30")
    assert "damaged" in error.lower() and "--overwrite" in error


def test_pretrain_refuses_too(refused, tmp_path):
    assert "nowhere.txt" in refused("--corpus", tmp_path / "nowhere.txt", name="pretrain")


def test_disk_full(tmp_path, corpus):
    """Files can't grow beyond 100 kB: too little for the first state. Then the same run goes on."""
    command = [sys.executable, "-m", "mobilebert_tf.distill", "--config", TEST_CONFIG]
    command += ["--output-dir", str(tmp_path / "run"), "--corpus", str(corpus)]
    limit = (100_000, resource.RLIM_INFINITY)
    full = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    error = full.stderr.strip().splitlines()[-1]
    assert full.returncode == 2 and error.startswith("error: "), full.stderr
    assert "state-" in error
    assert "Traceback" not in full.stderr
    assert not list((tmp_path / "run").rglob("*.partial"))
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "run" / "student" / "model.weights.h5").exists()
