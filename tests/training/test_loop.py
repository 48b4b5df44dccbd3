"""The training loop on a model of three numbers: what it saves, evaluates, stops at and tells."""

import json
import math
import os
import re
import signal
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors import safe_open

from mobilebert_tf import InputError
from mobilebert_tf.errors import Stopped
from mobilebert_tf.training.finished import chosen_steps, is_trained
from mobilebert_tf.training.loop import LoopStage, train
from mobilebert_tf.training.run_config import LoopSettings
from mobilebert_tf.training.run_folder import RunFolder
from mobilebert_tf.training.status import UNKNOWN
from mobilebert_tf.training.stopping import stop_requests

TIMINGS = ("ms_per_step", "tokens_per_second")
SETTINGS = LoopSettings(log_steps=2, checkpoint_steps=4)


class Point(keras.Model):
    """Three numbers, which a random step shifts as dropout would."""

    def __init__(self):
        super().__init__()
        self.place = self.add_weight(shape=(3,), initializer="ones", name="place")
        self.seeds = keras.random.SeedGenerator(5)


class Trainer(keras.Model):
    """Moves a point to the numbers of the batches.

    Args:
        point: the model.
        losses: {step of the stage: a loss in place of the true one}.
        judged: {step: loss of an evaluation after it}.
        gradients: {step: what the gradients are multiplied by}.
        projection: a layer from points to points, which is trained too and shared by all stages.
    """

    def __init__(self, point, losses=None, judged=None, gradients=None, projection=None):
        super().__init__()
        self.point = point
        self.projection = projection or keras.layers.Identity()
        self.tables = [_table(values) for values in (losses, judged, gradients)]
        self.trackers = [keras.metrics.Mean(name) for name in ("loss", "gradient_norm")]

    def compile(self):
        super().compile(optimizer=keras.optimizers.Adam(0.1))
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self):
        return self.trackers

    def train_step(self, batch):
        losses, _, gradients = self.tables
        step = self.optimizer.iterations + 1
        with tf.GradientTape() as tape:
            shift = keras.random.normal((3,), seed=self.point.seeds)
            place = self.projection(self.point.place[None])[0]
            loss = tf.reduce_mean((place - batch["input_ids"] + shift) ** 2)
        found = tape.gradient(loss, self.trainable_variables)
        found = [gradient * _at(gradients, step, 1.0) for gradient in found]
        self.optimizer.apply(found, self.trainable_variables)
        values = {"loss": _at(losses, step, loss), "gradient_norm": tf.linalg.global_norm(found)}
        for tracker, value in zip(self.trackers, values.values(), strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}

    def test_step(self, batch):
        distance = tf.reduce_mean((self.point.place - batch["input_ids"]) ** 2)
        self.trackers[0].update_state(_at(self.tables[1], self.optimizer.iterations, distance))
        return {"loss": self.trackers[0].result()}


def _table(values):
    """Values by step, float32 [100]; NaN where the true one stands, -1 in place of NaN."""
    table = np.full(100, np.nan, np.float32)
    for step, value in (values or {}).items():
        table[step] = -1 if math.isnan(value) else value
    return tf.constant(table)


def _at(table, step, otherwise):
    value = table[tf.cast(step, "int32")]
    value = tf.where(value == -1, np.float32("nan"), value)
    given = table[tf.cast(step, "int32")]
    return tf.where(tf.math.is_nan(given), otherwise, value)


class Numbers:
    """Batches of one row of three numbers, which depend on the step alone."""

    def __init__(self, before_step=lambda step: None):
        self.before_step = before_step

    def batch(self, step):
        self.before_step(step)
        return {"input_ids": np.random.default_rng(step).normal(size=(1, 3)).astype(np.float32)}

    def dataset(self, first, steps):
        return tf.data.Dataset.from_generator(
            lambda: map(self.batch, range(first, first + steps)),
            output_signature={"input_ids": tf.TensorSpec([1, 3], "float32")},
        )


HELD_OUT = [Numbers().batch(1000), Numbers().batch(1001)]


def run(directory, *, steps=(10,), settings=SETTINGS, examples=None, held_out=(), **options):
    """Trains, or goes on; returns the point."""
    point = Point()
    stages = [
        LoopStage(f"stage {number}", count, lambda: Trainer(point, **options))
        for number, count in enumerate(steps, start=1)
    ]
    train(
        point,
        stages,
        examples or Numbers(),
        name="point",
        folder=RunFolder(directory),
        settings=settings,
        held_out=held_out,
    )
    return point


def history(directory):
    lines = (directory / "history.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMINGS} for line in lines]


def states(directory):
    """{number: (position, {name: bytes})} of all states."""
    found = {}
    for path in sorted(directory.glob("checkpoints/point/*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            bits = {name: file.get_tensor(name).tobytes() for name in file.keys()}
            found[int(path.stem[6:])] = (json.loads(file.metadata()["position"]), bits)
    return found


def outcome(directory):
    return history(directory), states(directory)


def status(directory):
    return json.loads((directory / "status.json").read_text())


# --- stopping and going on -----------------------------------------------------------------------


TWO_STAGES = {
    "steps": (7, 6),
    "settings": LoopSettings(log_steps=3, checkpoint_steps=4, evaluation_steps=5),
    "held_out": HELD_OUT,
}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nothing disturbed, and its point."""
    directory = tmp_path_factory.mktemp("straight")
    return directory, run(directory, **TWO_STAGES)


@pytest.fixture
def usual_signals():
    """As in a terminal: what started the tests may have told them to ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGTERM, 1), (signal.SIGTERM, 5), (signal.SIGINT, 8), (signal.SIGTERM, 12)],
)
def test_stopped_by_a_signal_and_continued(tmp_path, straight, usual_signals, number, moment):
    """Also between two logs, whose means then span both processes."""

    def ask(step):
        if step == moment:
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped, match="goes on from there") as stopped:
        run(tmp_path, examples=Numbers(ask), **TWO_STAGES)
    assert stopped.value.code == 128 + number
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(history(tmp_path)) < len(history(straight[0]))
    point = run(tmp_path, **TWO_STAGES)
    np.testing.assert_array_equal(point.place.numpy(), straight[1].place.numpy())
    assert history(tmp_path) == history(straight[0])
    assert states(tmp_path)[13] == states(straight[0])[13]


def test_the_second_signal_ends_at_once(usual_signals):
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert request.signal == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_ignored_stays_ignored(usual_signals):
    """As nohup, or a shell that starts a command in the background, wants it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert request.signal is None


def test_trains_in_another_thread(tmp_path):
    """Where Python lets nobody handle signals."""
    thread = threading.Thread(target=run, args=(tmp_path,))
    thread.start()
    thread.join()
    assert max(states(tmp_path)) == 10


def test_a_clock_that_goes_back_changes_nothing(tmp_path, monkeypatch):
    run(tmp_path / "straight")
    now = iter(range(10**9, 0, -3600))
    with monkeypatch.context() as context:
        context.setattr(time, "time", lambda: float(next(now)))
        run(tmp_path / "back")
    assert outcome(tmp_path / "back") == outcome(tmp_path / "straight")


# --- evaluations and what is kept ----------------------------------------------------------------

JUDGED = {2: 5.0, 4: 3.0, 6: 4.0, 8: 3.5, 10: 3.2, 12: 2.0}
PATIENT = LoopSettings(
    log_steps=1, checkpoint_steps=3, evaluation_steps=2, early_stopping=2, keep_best=True
)


def test_held_out_loss_is_the_mean_over_its_batches(tmp_path):
    point = run(tmp_path, settings=LoopSettings(2, 4, evaluation_steps=10), held_out=HELD_OUT)
    distances = [np.mean((point.place.numpy() - b["input_ids"]) ** 2) for b in HELD_OUT]
    records = history(tmp_path)
    assert records[-1]["held_out_loss"] == pytest.approx(np.mean(distances), rel=1e-6)
    assert all("held_out_loss" not in record for record in records[:-1])
    assert status(tmp_path)["held_out"]["loss"] == records[-1]["held_out_loss"]


def test_evaluations_do_not_change_the_training(tmp_path):
    run(tmp_path / "without")
    run(tmp_path / "with", settings=LoopSettings(2, 4, evaluation_steps=4), held_out=HELD_OUT)
    (_, alone), (_, judged) = (states(tmp_path / name)[10] for name in ("without", "with"))
    assert alone == judged


@pytest.fixture(scope="module")
def stopped_early(tmp_path_factory):
    directory = tmp_path_factory.mktemp("early") / "run"
    return directory, run(directory, steps=(12,), **EARLY)


EARLY = {"settings": PATIENT, "held_out": HELD_OUT, "judged": JUDGED}


def test_early_stopping_ends_with_the_best(stopped_early, tmp_path):
    """Two evaluations after that of step 4 were worse: the stage ends at step 8 of 12."""
    directory, point = stopped_early
    records = history(directory)
    assert [r["step"] for r in records] == list(range(1, 9))
    judged = {r["step"]: r["held_out_loss"] for r in records if "held_out_loss" in r}
    assert judged == {step: JUDGED[step] for step in (2, 4, 6, 8)}
    shorter = run(tmp_path, settings=LoopSettings(1, 4), steps=(4,))
    np.testing.assert_array_equal(point.place.numpy(), shorter.place.numpy())


def test_the_newest_states_and_the_best_are_kept(stopped_early, tmp_path):
    assert list(states(stopped_early[0])) == [4, 6, 8]  # saved at 2, 3, 4, 6 and 8
    position, _ = states(stopped_early[0])[8]
    assert position == {"stage": 0, "step": 8, "best_loss": 3.0, "best": 4, "waited": 2}
    run(tmp_path, settings=LoopSettings(1, 1, checkpoints_kept=4))
    assert list(states(tmp_path)) == [7, 8, 9, 10]


@pytest.mark.parametrize("moment", [1, 4, 5, 7])
def test_early_stopping_after_a_kill(stopped_early, tmp_path, moment):
    """Killed in any step, the run ends where and with what it would have ended."""

    def kill(step):
        if step == moment:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, steps=(12,), examples=Numbers(kill), **EARLY)
    point = run(tmp_path, steps=(12,), **EARLY)
    np.testing.assert_array_equal(point.place.numpy(), stopped_early[1].place.numpy())
    assert outcome(tmp_path) == outcome(stopped_early[0])


def test_a_stage_begins_with_the_best_of_the_one_before(tmp_path, capsys):
    """Also after a kill between the two, and nobody deletes the best before it is used."""
    expected = run(tmp_path / "straight", steps=(12, 3), **EARLY)
    said = "stage 1 ends at step 8 of 12: 2 evaluations without a lower held-out loss"
    assert said in capsys.readouterr().out
    assert [r["total_step"] for r in history(tmp_path / "straight")][-3:] == [13, 14, 15]

    def kill(step):
        if step == 13:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "killed", steps=(12, 3), examples=Numbers(kill), **EARLY)
    point = run(tmp_path / "killed", steps=(12, 3), **EARLY)
    np.testing.assert_array_equal(point.place.numpy(), expected.place.numpy())


def test_a_stage_leaves_the_projection_of_its_best_weights(tmp_path):
    """The weights that the trainer has beside the model go with those of the model."""

    def projection():
        keras.utils.set_random_seed(3)
        layer = keras.layers.Dense(3, use_bias=False)
        layer.build((None, 3))
        return layer

    early, shorter = projection(), projection()
    point = run(tmp_path / "early", steps=(12,), projection=early, **EARLY)
    settings = LoopSettings(1, 4)
    expected = run(tmp_path / "short", steps=(4,), settings=settings, projection=shorter)
    np.testing.assert_array_equal(point.place.numpy(), expected.place.numpy())
    np.testing.assert_array_equal(early.kernel.numpy(), shorter.kernel.numpy())
    assert (early.kernel.numpy() != projection().kernel.numpy()).all()


def test_the_steps_whose_weights_stay(stopped_early, straight):
    assert chosen_steps(RunFolder(stopped_early[0]), "point", PATIENT) == {0: 4}
    two_stages = RunFolder(straight[0])
    assert chosen_steps(two_stages, "point", TWO_STAGES["settings"]) == {0: 7, 1: 13}
    assert chosen_steps(two_stages, "another", PATIENT) == {}


# --- the average of the weights ------------------------------------------------------------------

AVERAGED = {
    "steps": (3, 5),
    "settings": LoopSettings(2, 4, evaluation_steps=4, ema=0.4),
    "held_out": HELD_OUT,
}


def test_the_average_is_what_is_evaluated_and_left(tmp_path):
    point = run(tmp_path / "averaged", **AVERAGED)
    places = [np.ones(3, np.float32)]  # after each step, of a run that saves all of them
    run(tmp_path / "plain", steps=(3, 5), settings=LoopSettings(1, 1, checkpoints_kept=8))
    for _, bits in states(tmp_path / "plain").values():
        places.append(np.frombuffer(bits["model/00000"], np.float32))
    average = places[0]
    for step, place in enumerate(places[1:], start=1):
        decay = min(0.4, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * place
    np.testing.assert_allclose(point.place.numpy(), average, rtol=1e-6)
    _, bits = states(tmp_path / "averaged")[8]  # the training itself went on as without
    assert bits["model/00000"] == places[-1].tobytes()
    loss = np.mean([np.mean((average - batch["input_ids"]) ** 2) for batch in HELD_OUT])
    assert history(tmp_path / "averaged")[-1]["held_out_loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("moment", [2, 5])
def test_the_average_of_a_run_that_was_killed(tmp_path, moment):
    def kill(step):
        if step == moment:
            raise RuntimeError("killed")

    expected = run(tmp_path / "straight", **AVERAGED)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "killed", examples=Numbers(kill), **AVERAGED)
    point = run(tmp_path / "killed", **AVERAGED)
    np.testing.assert_array_equal(point.place.numpy(), expected.place.numpy())
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "straight")


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"losses": {7: math.nan}}, "the loss was nan"),
        ({"losses": {7: math.inf}}, "the loss was inf"),
        ({"losses": {7: 1e4}}, "above the loss limit of"),
        ({"gradients": {7: math.nan}}, "the norm of the gradients was not finite"),
    ],
)
def test_a_step_that_goes_wrong(tmp_path, wrong, reason):
    """The step is named, its batch kept, and the newest state is one from before it."""
    settings = LoopSettings(log_steps=5, checkpoint_steps=5)
    with pytest.raises(InputError, match="in stage 'stage 2' at step 7") as error:
        run(tmp_path, steps=(4, 10), settings=settings, **wrong)
    assert reason in str(error.value)
    assert set(re.findall("`(.*?)`", str(error.value))) == {"output_dir"}  # all doors have it
    assert "the newest state, of step 5 in stage 2, is intact" in str(error.value)
    with np.load(tmp_path / "failed" / "point-000000011.npz") as arrays:
        assert arrays.keys() == {"input_ids"}
        np.testing.assert_array_equal(arrays["input_ids"], Numbers().batch(10)["input_ids"])
    assert list(states(tmp_path)) == [4, 9]
    for _, bits in states(tmp_path).values():
        assert np.isfinite(np.frombuffer(bits["model/00000"], np.float32)).all()


@pytest.mark.parametrize("step", [0, 5])
def test_a_batch_that_cannot_be_made(tmp_path, step):
    """Its own error comes, not one of TensorFlow's, and the run goes on when it can be made."""

    def lose(number):
        if number == step:
            raise InputError("train-00003-of-00008.tfrecord is not there")

    with pytest.raises(InputError, match="^train-00003-of-00008.tfrecord is not there$"):
        run(tmp_path / "lost", examples=Numbers(lose))
    run(tmp_path / "lost")
    run(tmp_path / "straight")
    assert outcome(tmp_path / "lost") == outcome(tmp_path / "straight")


def test_no_limit(tmp_path):
    settings = LoopSettings(log_steps=5, checkpoint_steps=5, loss_limit=0)
    run(tmp_path, settings=settings, losses={7: 1e4})
    assert max(states(tmp_path)) == 10


def test_a_signal_saves_no_bad_state(tmp_path):
    def ask(step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InputError, match="at step 3.*there is no state before it"):
        run(tmp_path, examples=Numbers(ask), losses={3: math.nan})
    assert not states(tmp_path)


# --- more steps ----------------------------------------------------------------------------------


def test_more_steps_go_on_from_the_end(tmp_path):
    run(tmp_path / "once", steps=(4, 6))
    assert is_trained(RunFolder(tmp_path / "once"), "point", [4, 6], SETTINGS) is False  # no model
    (tmp_path / "once" / "point").mkdir()
    assert is_trained(RunFolder(tmp_path / "once"), "point", [4, 6], SETTINGS)
    assert not is_trained(RunFolder(tmp_path / "once"), "point", [4, 10], SETTINGS)
    longer = run(tmp_path / "once", steps=(4, 10))
    straight = run(tmp_path / "straight", steps=(4, 10))  # the rate is constant here
    np.testing.assert_array_equal(longer.place.numpy(), straight.place.numpy())


# --- telling -------------------------------------------------------------------------------------


def test_status(tmp_path):
    seen = []
    run(tmp_path, steps=(4, 6), examples=Numbers(lambda step: seen.append(_peek(tmp_path))))
    last = status(tmp_path)
    assert last.keys() == UNKNOWN.keys()
    assert (last["state"], last["pid"]) == ("running", os.getpid())
    assert (last["model"], last["stage"]) == ("point", "stage 2")
    assert (last["stage_number"], last["stages"]) == (2, 2)
    assert (last["step"], last["steps"], last["total_step"], last["total_steps"]) == (6, 6, 10, 10)
    assert last["seconds_left"] == 0 < last["tokens_per_second"]
    assert last["loss"] == history(tmp_path)[-1]["loss"]
    assert last["memory_bytes"] > 10**7
    assert seen[-1]["seconds_left"] > 0


def _peek(directory):
    path = directory / "status.json"
    return json.loads(path.read_text()) if path.exists() else None


def test_tensorboard(tmp_path):
    run(tmp_path, settings=LoopSettings(2, 4, evaluation_steps=4), held_out=HELD_OUT)
    (path,) = (tmp_path / "tensorboard" / "point").iterdir()
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    records = history(tmp_path)
    assert found.keys() == {
        "loss", "gradient_norm", "held_out_loss", "learning_rate", "tokens_per_second",
    }  # fmt: skip
    assert found["held_out_loss"].keys() == {4, 8, 10}
    for name in ("loss", "gradient_norm", "learning_rate"):
        expected = {record["total_step"]: record[name] for record in records}
        assert found[name] == pytest.approx(expected, rel=1e-6)
