"""Many devices give one device's losses, gradients and weights; each sees its own rows."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file
from support.models import STUDENT, TEACHER, random_model, randomized, training_batch
from support.models import batch as inputs_of_texts
from support.texts import WIDE_TOKENIZER, WIDE_VOCABULARY, labelled_texts, write_corpus

from mobilebert_tf import InputError, save_model
from mobilebert_tf.distill import main as distill
from mobilebert_tf.finetune import main as finetune
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.pretrain import main as pretrain
from mobilebert_tf.training import distribution
from mobilebert_tf.training.distiller import Distiller
from mobilebert_tf.training.distribution import (
    draw_own_masks,
    on_devices,
    on_replicas,
    replicas,
    spread,
    summed,
)
from mobilebert_tf.training.finetuner import Finetuner
from mobilebert_tf.training.optimizer import Lamb
from mobilebert_tf.training.run_config import Phase, TransferConfig
from mobilebert_tf.training.strategies import bare, plan

PHASE = Phase(steps=20, learning_rate=0.02)
ROUNDING = 2e-5  # of values and weights: sums in another order
WITHOUT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SMALL = STUDENT.replace(num_hidden_layers=2, **WITHOUT_DROPOUT)
SMALLER = SMALL.replace(num_hidden_layers=1)
TRANSFER = TransferConfig(phase=PHASE, lower_layer_rate=0.1)
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_dropout(monkeypatch):
    """Each device draws its own masks."""
    monkeypatch.setattr("mobilebert_tf.modeling.model.HEAD_DROPOUT", 0.0)


def mirrored(count):
    """The first devices of this process; collective operations would want the same number of
    devices throughout."""
    return tf.distribute.MirroredStrategy(
        [f"CPU:{i}" for i in range(count)], tf.distribute.ReductionToOneDevice()
    )


def pretraining(_, accumulation_steps=1):
    model = random_model(SMALLER, "pretraining", seed=2, scale=0.14)
    (stage,) = bare(1, PHASE)
    return model, Distiller(model, stage, accumulation_steps=accumulation_steps)


def transfer(stage):
    teacher = random_model(TEACHER.replace(num_hidden_layers=2), "pretraining", seed=1, scale=0.14)
    student = random_model(SMALL, "pretraining", seed=2, scale=0.14)
    return student, Distiller(student, stage, TRANSFER, teacher)


def finetuning(head):
    model = random_model(SMALLER, head, seed=3)
    weights = None if head == "regression" else np.array([0.5, 2.0, 1.0], np.float32)
    return model, Finetuner(model, PHASE, class_weights=weights)


def trained(strategy, make, argument, batch, steps=2):
    """The values of each step, and the model's weights after the last one."""
    with strategy.scope():
        model, trainer = make(argument)
        trainer.compile()
        values = []
        for _ in range(steps):
            values.append(on_replicas(trainer.train_step, spread(batch)))
            trainer.reset_metrics()
        values = [{name: float(x) for name, x in each.items()} for each in values]
        return values, [weight.numpy() for weight in model.weights]


def assert_equal_trainings(found, expected):
    for values, wanted in zip(found[0], expected[0], strict=True):
        assert values == pytest.approx(wanted, rel=ROUNDING, abs=ROUNDING)
    for weight, wanted in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(weight, wanted, rtol=0, atol=ROUNDING)


def stages():
    for strategy in ("auxiliary", "joint", "progressive", "none"):
        for stage in plan(strategy, 2, TRANSFER, PHASE):
            if strategy in ("auxiliary", "none") or stage.layers:
                yield pytest.param(transfer, stage, "pretraining", id=f"{strategy}: {stage.name}")


@pytest.mark.parametrize(
    ("make", "argument", "head"),
    [
        pytest.param(pretraining, None, "pretraining", id="pre-training"),
        *stages(),
        pytest.param(finetuning, "classifier", "classifier", id="fine-tuning"),
        pytest.param(finetuning, "token_classifier", "token_classifier", id="of words"),
        pytest.param(finetuning, "regression", "regression", id="regression"),
    ],
)
def test_devices_give_the_weights_of_one(make, argument, head):
    """The texts have unlike numbers of tokens, masks and labels: a mean of means is another."""
    batch = training_batch(head)
    most = argument in (None, "classifier")
    steps, counts = (2, (2, 4)) if most else (1, (2,))
    one = trained(tf.distribute.get_strategy(), make, argument, batch, steps)
    for count in counts:
        assert_equal_trainings(trained(mirrored(count), make, argument, batch, steps), one)


def test_accumulation_on_devices():
    batch = training_batch("pretraining")
    one = trained(tf.distribute.get_strategy(), pretraining, None, batch)
    two = trained(mirrored(2), lambda _: pretraining(_, accumulation_steps=2), None, batch)
    assert_equal_trainings(two, one)


def embedding(head):
    student, teacher = (
        randomized(MobileBert(config, head), seed, 0.14)
        for seed, config in enumerate((SMALL, TEACHER.replace(num_hidden_layers=2)))
    )
    stage = plan("none", 2, TRANSFER, PHASE, head)[-1]
    return student, Distiller(student, stage, TRANSFER, teacher)


def test_embeddings_count_by_texts_on_devices():
    """One device has 12 tokens, the other 2: each has two texts, and so half of both losses."""
    head = Head("encoder", pooling="mean", normalized=True)
    whole = {name: tf.constant(x) for name, x in inputs_of_texts([7, 5, 1, 1]).items()}
    halves = [{name: x[rows] for name, x in whole.items()} for rows in (slice(2), slice(2, 4))]
    one, first, second = (
        trained(tf.distribute.get_strategy(), embedding, head, batch, steps=1)[0][0]
        for batch in (whole, *halves)
    )
    ((two,), _) = trained(mirrored(2), embedding, head, whole, steps=1)
    assert two["embedding"] == pytest.approx(one["embedding"], rel=ROUNDING)
    for name in ("embedding", "similarity"):
        mean = (first[name] + second[name]) / 2
        assert two[name] == pytest.approx(mean, rel=ROUNDING)
        assert abs(first[name] - second[name]) > 0.01 * mean  # other shares give another mean


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_last_batch_of_an_epoch(rows):
    """A batch of any number of rows is trained on, also of fewer rows than devices."""
    batch = {name: x[:rows] for name, x in training_batch("classifier").items()}
    one = trained(tf.distribute.get_strategy(), finetuning, "classifier", batch, steps=1)
    two = trained(mirrored(2), finetuning, "classifier", batch, steps=1)
    assert_equal_trainings(two, one)


def test_gradients_are_clipped_together():
    """The norm that is logged is that of the whole batch, and so is what clipping leaves."""
    phase = dataclasses.replace(PHASE, clip_norm=1e-3)

    def make(_):
        model = random_model(SMALLER, "classifier", seed=3)
        return model, Finetuner(model, phase)

    batch = training_batch("classifier")
    one = trained(tf.distribute.get_strategy(), make, None, batch)
    assert one[0][0]["gradient_norm"] > 1.0  # it does clip
    assert_equal_trainings(trained(mirrored(2), make, None, batch), one)


def test_each_row_is_on_one_device():
    for count, rows in ((2, 4), (4, 4), (4, 6), (3, 7)):
        strategy = mirrored(count)
        with strategy.scope():
            parts = strategy.experimental_local_results(spread({"x": tf.range(rows)}))
            assert replicas() == count
        seen = [part["x"].numpy().tolist() for part in parts]
        assert sum(seen, []) == list(range(rows))
        assert max(map(len, seen)) - min(map(len, seen)) <= 1


def test_each_device_draws_its_own_masks():
    ones = {"x": tf.ones([2, 100])}
    with mirrored(2).scope():
        model = keras.Sequential([keras.Input([100]), keras.layers.Dropout(0.5, seed=5)])

        def outputs():
            strategy = tf.distribute.get_strategy()
            found = strategy.run(lambda part: model(part["x"], training=True), (spread(ones),))
            return map(np.asarray, strategy.experimental_local_results(found))

        first, second = outputs()
        np.testing.assert_array_equal(first, second)  # as Keras has it
        (seed,) = model.variables
        before = seed.numpy()
        for _ in range(2):  # the second time nothing changes
            draw_own_masks(model)
        np.testing.assert_array_equal(seed.numpy(), before)
        first, second = outputs()
        assert 20 < np.sum(first != second) < 80


def test_sums_within_a_step():
    strategy = mirrored(4)
    with strategy.scope():
        batch = spread({"x": tf.range(8.0)})
        values = on_replicas(lambda part: summed({"sum": tf.reduce_sum(part["x"])}), batch)
    assert float(values["sum"]) == 28.0
    assert float(summed(tf.constant(3.0))) == 3.0


def test_another_optimizer_is_refused():
    with mirrored(2).scope():
        trainer = pretraining(None)[1]
        with pytest.raises(InputError, match="SGD sums gradients over devices itself"):
            trainer.compile(keras.optimizers.SGD())
        trainer.compile(Lamb())


def test_half_precision_is_refused():
    """Keras's LossScaleOptimizer fails on several devices; bfloat16 does without it."""
    keras.config.set_dtype_policy("mixed_float16")
    with mirrored(2).scope(), pytest.raises(InputError, match="take mixed_bfloat16"):
        pretraining(None)[1].compile()
    keras.config.set_dtype_policy("mixed_bfloat16")
    batch = training_batch("pretraining")
    one = trained(tf.distribute.get_strategy(), pretraining, None, batch, steps=1)
    two = trained(mirrored(2), pretraining, None, batch, steps=1)
    assert two[0][0]["loss"] == pytest.approx(one[0][0]["loss"], rel=1e-3)


# --- the flag ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    config = TEACHER.replace(num_hidden_layers=1, **WITHOUT_DROPOUT)
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    return [
        *("--corpus", str(write_corpus(folder / "corpus.txt")), "--vocabulary-size", "120"),
        *("--sequence-length", "16", "--batch-size", "8", "--training.steps", "6"),
        *("--model", str(folder / "config.json"), "--log-steps", "1"),
        *("--checkpoint-steps", "3", "--evaluation-steps", "3", "--ema", "0.5"),
    ]  # fmt: skip


def run_of(folder):
    """The losses that a run logged, and the tensors of its last state."""
    lines = (folder / "history.jsonl").read_text().splitlines()
    losses = {
        (record["total_step"], name): value
        for record in map(json.loads, lines)
        for name, value in record.items()
        if name.endswith("loss") or name in ("masked_lm", "gradient_norm")
    }
    return losses, load_file(sorted(folder.glob("checkpoints/*/state-*"))[-1])


def assert_equal_runs(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=ROUNDING)
    for name, wanted in expected[1].items():
        if "metrics" not in name:
            np.testing.assert_allclose(found[1][name], wanted, rtol=0, atol=ROUNDING, err_msg=name)


@pytest.fixture(scope="module")
def on_one(tmp_path_factory, arguments):
    folder = tmp_path_factory.mktemp("one") / "run"
    pretrain([*arguments, "--output-dir", str(folder)])
    return folder


def test_a_run_on_all_devices(tmp_path, arguments, on_one):
    """Its curve is that of one device, and a state of one device goes on on all."""
    run = tmp_path / "run"
    shutil.copytree(on_one, run)
    shutil.rmtree(run / "teacher")
    (last,) = run.glob("checkpoints/*/state-000000006.*")
    last.unlink()
    pretrain([*arguments, "--output-dir", str(run), "--devices", "all"])
    assert_equal_runs(run_of(run), run_of(on_one))


@pytest.mark.slow
def test_finetune_on_all_devices(tmp_path):
    """Batches of like length, of which the last has fewer rows."""
    for split, count, seed in (("train", 17, 0), ("dev", 9, 1)):
        (tmp_path / f"{split}.tsv").write_text(labelled_texts(count, seed))
    config = SMALLER.replace(vocab_size=len(WIDE_VOCABULARY))
    save_model(random_model(config, "pretraining"), tmp_path / "start", WIDE_TOKENIZER)
    arguments = ["--task", "classification", "--model", str(tmp_path / "start")]
    arguments += ["--data-dir", str(tmp_path), "--batch-size", "7", "--epochs", "1"]
    arguments += ["--log-steps", "1"]
    for devices in ("one", "all"):
        finetune([*arguments, "--devices", devices, "--output-dir", str(tmp_path / devices)])
    assert_equal_runs(run_of(tmp_path / "all"), run_of(tmp_path / "one"))


@pytest.mark.slow
def test_distill_with_workers(tmp_path, arguments, on_one):
    """A teacher, a transfer of one layer, then distillation: stages of a strategy."""
    size = arguments.index("--training.steps")
    arguments = [*arguments[:size], *arguments[size + 2 :]]
    arguments[arguments.index("--model")] = "--teacher_model"
    arguments += ["--student", arguments[arguments.index("--teacher_model") + 1]]
    arguments += ["--teacher_training.steps", "3", "--transfer.phase.steps", "3"]
    arguments += ["--distillation.steps", "3"]
    distill([*arguments, "--output-dir", str(tmp_path / "one")])
    workers = start(2, [*arguments, "--output-dir", str(tmp_path / "two")], "distill")
    assert [code for code, _ in ended(workers)] == [0, 0]
    assert_equal_runs(run_of(tmp_path / "two"), run_of(tmp_path / "one"))


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{",
        "[]",
        '{"cluster": {}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_workers_without_tf_config(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InputError, match="`devices` workers needs the environment variable"):
        with on_devices("workers"):
            raise AssertionError


def test_no_tpu():
    with pytest.raises(InputError, match="finds no TPU"), on_devices("tpu"):
        raise AssertionError


def test_alone_a_process_is_the_first_worker():
    assert distribution.is_first_worker()
    assert distribution.sum_of_workers(3) == distribution.of_first_worker(3) == 3
    assert distribution.sum_of_workers(None) == 0


# --- processes -----------------------------------------------------------------------------------


def ports(count):
    """Ports of this machine that nobody uses."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    found = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return found


def start(count, arguments, door="pretrain"):
    """Starts as many workers as one command each."""
    cluster = {"worker": [f"localhost:{port}" for port in ports(count)]}
    return [
        subprocess.Popen(
            [sys.executable, "-m", f"mobilebert_tf.{door}", *arguments, "--devices", "workers"],
            cwd=ROOT,
            env=os.environ
            | {
                "TF_CONFIG": json.dumps(
                    {"cluster": cluster, "task": {"type": "worker", "index": index}}
                )
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]


def ended(workers, seconds=600):
    """Waits for workers: the exit code of each, and what it said."""
    said = ["".join(worker.communicate(timeout=seconds)) for worker in workers]
    return [(worker.returncode, text) for worker, text in zip(workers, said, strict=True)]


def wait_for_step(folder, step):
    """Waits until the first worker has logged a step."""
    path = folder / "status.json"
    while not path.exists() or (json.loads(path.read_text())["total_step"] or 0) < step:
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_workers(tmp_path, arguments, on_one, count):
    workers = start(count, [*arguments, "--output-dir", str(tmp_path / "run")])
    assert [code for code, _ in ended(workers)] == [0] * count
    assert_equal_runs(run_of(tmp_path / "run"), run_of(on_one))


@pytest.fixture(scope="module")
def long(tmp_path_factory, arguments):
    """Arguments of a run that is long enough to be killed in, and the folder of one on one."""
    arguments = [*arguments, "--training.steps", "40"]
    folder = tmp_path_factory.mktemp("long") / "run"
    pretrain([*arguments, "--output-dir", str(folder)])
    return arguments, folder


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_is_killed(tmp_path, long, victim):
    """The other says so and ends; both, started again, come to the end of one device."""
    arguments, expected = long
    arguments = [*arguments, "--output-dir", str(tmp_path / "run")]
    workers = start(2, arguments)
    wait_for_step(tmp_path / "run", 9)
    workers[victim].send_signal(signal.SIGKILL)
    results = ended(workers)
    code, said = results[1 - victim]
    assert code == 2
    assert "error: another worker ended or cannot be reached: start all workers again" in said
    assert [code for code, _ in ended(start(2, arguments))] == [0, 0]
    assert_equal_runs(run_of(tmp_path / "run"), run_of(expected))


@pytest.mark.slow
def test_a_signal_to_one_stops_all(tmp_path, long):
    arguments, expected = long
    arguments = [*arguments, "--output-dir", str(tmp_path / "run")]
    workers = start(2, arguments)
    wait_for_step(tmp_path / "run", 9)
    workers[1].send_signal(signal.SIGTERM)
    results = ended(workers)
    assert [code for code, _ in results] == [143, 143]
    assert all("its state is saved" in said for _, said in results)
    assert [code for code, _ in ended(start(2, arguments))] == [0, 0]
    assert_equal_runs(run_of(tmp_path / "run"), run_of(expected))
