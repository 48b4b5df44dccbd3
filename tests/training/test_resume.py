"""A run that is killed, anywhere and again and again, ends with the bits of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from support.texts import write_corpus

from mobilebert_tf import InputError
from mobilebert_tf.distill import distill, main
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.pretrain import pretrain
from mobilebert_tf.training.run_config import DistillConfig, Phase, PretrainConfig, TransferConfig

ROOT = Path(__file__).parents[2]
TIMINGS = ("ms_per_step", "tokens_per_second")
# A state at other steps than logs and checkpoints, batches in parts, stages that end early, weights
# that are no model's last ones.
EVERYTHING = (
    "--batch-size 12 --accumulation-steps 3 --rematerialize --ema 0.9 --checkpoint-steps 3 "
    "--evaluation-steps 2 --early-stopping 1 --keep-best"
).split()


def arguments(directory: Path, corpus: Path, options: Sequence[str] = ()) -> list[str]:
    config = str(ROOT / "configs" / "test.yaml")
    return ["--config", config, "--output-dir", str(directory), "--corpus", str(corpus), *options]


def run(directory: Path, corpus: Path, options: Sequence[str] = ()) -> None:
    """Runs or resumes to the end, in this process, which has loaded TensorFlow."""
    main(arguments(directory, corpus, options))


def kill_when(directory: Path, corpus: Path, reached, options: Sequence[str] = ()) -> bool:
    """Starts the run, kills it (SIGKILL) once `reached(directory)`; False if it ended before."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mobilebert_tf.distill", *arguments(directory, corpus, options)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None:
        if reached(directory):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.01)
    return False


def logged(lines: int):
    """The moment when the history has that many lines."""

    def reached(directory: Path) -> bool:
        history = directory / "history.jsonl"
        return history.exists() and history.read_text().count("\n") >= lines

    return reached


def exists(name: str):
    """The moment when a file or folder of the run is there."""
    return lambda directory: (directory / name).exists()


def tensors(path: Path) -> dict[str, bytes]:
    """A state's position and bits; the file's own bytes differ, its header has no fixed order."""
    with safe_open(path, framework="numpy") as file:
        bits = {name: file.get_tensor(name).tobytes() for name in file.keys()}
        return {"position": file.metadata()["position"]} | bits


def outcome(directory: Path) -> dict:
    """Every bit that training decides: last states (weights, seeds, optimizer), losses, scores."""
    states = sorted(directory.glob("checkpoints/*/state-*.safetensors"))
    history = [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
    for record in history:
        for key in TIMINGS:
            record.pop(key)
    return {
        "states": {str(path.relative_to(directory)): tensors(path) for path in states},
        "history": history,
        "evaluation": json.loads((directory / "evaluation.json").read_text()),
        "vocabulary": (directory / "data" / "vocab.txt").read_text(),
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("text") / "corpus.txt")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, corpus) -> Path:
    """A run that nothing disturbed."""
    directory = tmp_path_factory.mktemp("uninterrupted") / "run"
    run(directory, corpus)
    return directory


@pytest.fixture(scope="module")
def uninterrupted(finished) -> dict:
    return outcome(finished)


def test_killed_at_several_points(tmp_path, corpus, uninterrupted):
    """In the teacher's stage, in the transfer of layer 2, in distillation: one run, three kills.

    After the last one the newest state is damaged, which costs its own steps only.
    """
    directory = tmp_path / "run"
    for lines in (3, 7, 10):
        assert kill_when(directory, corpus, logged(lines))
    newest = sorted(directory.glob("checkpoints/student/state-*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    run(directory, corpus)
    assert outcome(directory) == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        exists("run.json"),
        exists("data/vocab.txt"),
        exists("data/train.npz"),
        *(logged(lines) for lines in range(1, 12)),
        exists("teacher.partial"),
        exists("teacher"),
        exists("measures/student-00000000.json"),
        exists("student.partial"),
        exists("student"),
        exists("evaluation.json"),
    ],
)
def test_killed_at_every_point(tmp_path, corpus, uninterrupted, moment):
    directory = tmp_path / "run"
    kill_when(directory, corpus, moment)
    run(directory, corpus)
    assert outcome(directory) == uninterrupted


def soon_after(reached, seconds: float):
    """The moment so many seconds after another one."""
    since = []

    def is_over(directory: Path) -> bool:
        if not since and reached(directory):
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= seconds

    return is_over


@pytest.fixture(scope="module")
def with_everything(tmp_path_factory, corpus) -> dict:
    directory = tmp_path_factory.mktemp("everything") / "run"
    run(directory, corpus, EVERYTHING)
    return outcome(directory)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_random_moments(tmp_path, corpus, request, seed):
    """Up to three times; every other run has all that a state must remember."""
    options = EVERYTHING if seed % 2 else ()
    expected = request.getfixturevalue("with_everything" if seed % 2 else "uninterrupted")
    directory, random = tmp_path / "run", np.random.default_rng(seed)
    lines = np.sort(random.integers(0, len(expected["history"]), random.integers(1, 4)))
    for count in lines:
        start = logged(int(count)) if count else lambda _: True
        kill_when(directory, corpus, soon_after(start, random.uniform(0, 3)), options)
    run(directory, corpus, options)
    assert outcome(directory) == expected


def test_stopped_by_sigterm_and_continued(tmp_path, corpus, uninterrupted):
    """What a preempted machine gets: the step ends, a state is saved, a line says how to go on."""
    directory = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "mobilebert_tf.distill", *arguments(directory, corpus)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not logged(5)(directory):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    error = process.communicate()[1].strip().splitlines()[-1]
    assert process.returncode == 143
    assert "stopped by SIGTERM at step" in error and "goes on from there" in error
    status = json.loads((directory / "status.json").read_text())
    assert status["state"] == "stopped" and "SIGTERM" in status["error"]
    run(directory, corpus)
    assert outcome(directory) == uninterrupted
    assert json.loads((directory / "status.json").read_text())["state"] == "done"


def test_finished_run_is_left_as_it_is(finished, corpus, uninterrupted):
    weights = (finished / "student" / "model.weights.h5").stat().st_mtime_ns
    run(finished, corpus)
    assert outcome(finished) == uninterrupted
    assert (finished / "student" / "model.weights.h5").stat().st_mtime_ns == weights


# --- another architecture in the file that the settings name -------------------------------------

TINY = dict(sequence_length=13, batch_size=7, max_predictions_per_sequence=2)


def write_size(path: Path, name: str, **changes) -> str:
    path.write_text(SIZES[name].replace(**changes).to_json())
    return str(path)


def assert_refused(door, config, setting: str, size: Path) -> None:
    """A finished run is refused while its file has another architecture with the same weights."""
    before = size.read_text()
    size.write_text(before.replace('"hidden_act": "relu"', '"hidden_act": "gelu"'))
    assert size.read_text() != before
    with pytest.raises(InputError, match=f"begun with another content of `{setting}`"):
        door(config)
    size.write_text(before)


def test_pretrain_with_another_architecture(tmp_path, corpus):
    size = tmp_path / "size.json"
    model = write_size(size, "test-student")
    config = PretrainConfig(
        corpus=str(corpus), output_dir=str(tmp_path / "run"), model=model, training=Phase(0), **TINY
    )
    pretrain(config)
    assert_refused(pretrain, config, "model", size)
    about = tmp_path / "run" / "run.json"  # an older run has no sizes there
    run = json.loads(about.read_text())
    about.write_text(json.dumps({name: run[name] for name in ("settings", "versions", "machine")}))
    pretrain(config)
    assert json.loads(about.read_text())["inputs"] == run["inputs"]


def test_distill_with_another_architecture(tmp_path, corpus):
    sizes = {name: tmp_path / f"{name}.json" for name in ("student", "teacher_model")}
    config = DistillConfig(
        corpus=str(corpus),
        output_dir=str(tmp_path / "run"),
        student=write_size(sizes["student"], "test-student"),
        teacher_model=write_size(sizes["teacher_model"], "test-teacher", hidden_act="relu"),
        teacher_training=Phase(0),
        transfer=TransferConfig(phase=Phase(0)),
        distillation=Phase(0),
        **TINY,
    )
    distill(config)
    for setting, size in sizes.items():
        assert_refused(distill, config, setting, size)
