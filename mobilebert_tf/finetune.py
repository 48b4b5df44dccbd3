"""python -m mobilebert_tf.finetune --task T --model DIR --data-dir DIR: a model for a task.

Every combination of settings and seeds is a trial; after each epoch it is judged on the dev split,
and the best epoch of the best trial becomes OUTPUT_DIR/model.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tabulate

from mobilebert_tf.checkpoints.formats import Loaded, load
from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.calibration_data import for_graph
from mobilebert_tf.lite.runtime import KerasModel
from mobilebert_tf.modeling.model import (
    MODEL_INPUTS,
    MobileBert,
    Task,
    checksum,
    copy_weights,
    save_model,
)
from mobilebert_tf.tasks.examples import Batches, Examples, encode, joined, widened
from mobilebert_tf.tasks.metrics import ranking
from mobilebert_tf.tasks.outputs import run_all
from mobilebert_tf.tasks.registry import (
    MLPERF,
    SEQUENCE_LENGTH,
    SPAN_LENGTH,
    SQUAD,
    AnyTask,
    TextTask,
    open_task,
)
from mobilebert_tf.tasks.user_files import read_unlabelled
from mobilebert_tf.training.checkpoint import digest_of
from mobilebert_tf.training.finetune_config import GRID, FinetuneConfig, Trial
from mobilebert_tf.training.finetuner import Finetuner
from mobilebert_tf.training.layer_transfer import check_fit
from mobilebert_tf.training.loop import prepare_process, train
from mobilebert_tf.training.quantization_aware import QuantizationAware, check_folds
from mobilebert_tf.training.run_config import Phase
from mobilebert_tf.training.run_folder import RunFolder, open_run, write_whole
from mobilebert_tf.training.strategies import Stage

_SAMPLES = 64  # texts that show quantization-aware training the ranges


@dataclass(frozen=True)
class Pace:
    """How often the loop logs and saves: a state at the end of each epoch."""

    log_steps: int
    checkpoint_steps: int


def finetune(config: FinetuneConfig) -> None:
    """Fine-tunes a model on a GLUE task or your own labelled texts.

    Leaves OUTPUT_DIR/model, a model directory, and OUTPUT_DIR/scores.json with the dev scores of
    every trial. The same command goes on where a killed one stopped.
    """
    keras.config.set_dtype_policy(config.precision)
    start = load(config.model)
    if start.tokenizer is None:
        raise InputError(f"{config.model} has no vocabulary (vocab.txt): it cannot read text")
    if config.task == MLPERF:
        raise InputError(f"{MLPERF} has nothing to train on: --task squad")
    task = open_task(config.task, config.data_dir, ("train", "dev"), config.columns)
    if not task.dev_splits:
        raise InputError(f"{config.data_dir} has no dev split to judge by")
    head = task.head(_sequence_length(config, start.model))
    if config.quantization_aware:
        check_folds(start.model.config)
    teacher = _teacher(config, head, start) if config.teacher else None
    augment = _augment(config, task) if config.augment else None
    trials = config.trials()
    with open_run(config) as folder:
        run = _Run(config, task, head, start, teacher, augment, folder)
        results = [run.trial(trial) for trial in trials]
        best = max(results, key=lambda result: result["ranking"])
        _publish(folder, best)
        write_whole(folder / "scores.json", json.dumps(results, indent=2) + "\n")
    print(_table(results))
    print(f"{folder / 'model'}: {best['trial']}, epoch {best['epoch']}")


def _sequence_length(config: FinetuneConfig, model: MobileBert) -> int:
    longest = model.config.max_position_embeddings
    usual = SPAN_LENGTH if config.task in SQUAD else SEQUENCE_LENGTH
    length = config.sequence_length or min(usual, longest)
    if length > longest:
        raise InputError(f"sequence_length is {length}: the model takes {longest} tokens")
    return length


def _teacher(config: FinetuneConfig, head: Task, start: Loaded) -> MobileBert:
    loaded = load(config.teacher)
    theirs = loaded.model.task
    if (theirs.kind, tuple(theirs.labels)) != (head.kind, tuple(head.labels)):
        raise InputError(
            f"{config.teacher} is no model of this task: {theirs.kind} {list(theirs.labels)}"
        )
    if loaded.tokenizer is None or loaded.tokenizer.vocabulary != start.tokenizer.vocabulary:
        raise InputError(f"{config.teacher} has another vocabulary than {config.model}")
    longest = loaded.model.config.max_position_embeddings
    if longest < head.sequence_length:
        raise InputError(f"{config.teacher} takes {longest} tokens: --sequence-length {longest}")
    if config.transfer_weight:
        check_fit(loaded.model.config, start.model.config, config.transfer)
    return loaded.model


def _augment(config: FinetuneConfig, task: TextTask) -> Examples:
    """The texts that only the teacher labels; InputError unless they are pairs where the task's
    are."""
    examples = read_unlabelled(config.augment, config.columns)
    if (examples.pairs is None) != (task.splits["train"].pairs is None):
        wanted = "single texts" if examples.pairs else "pairs of texts: name --columns.pair"
        raise InputError(f"{config.augment} does not fit: {task.name} has {wanted}")
    return examples


class _Run:
    """The trials of a run, with the data that they share."""

    def __init__(
        self,
        config: FinetuneConfig,
        task: AnyTask,
        head: Task,
        start: Loaded,
        teacher: MobileBert | None,
        augment: Examples | None,
        folder: RunFolder,
    ):
        self.config, self.task, self.head = config, task, head
        self.start, self.teacher, self.folder = start, teacher, folder
        names = ("train", *task.dev_splits)
        length = head.sequence_length
        self.arrays = {name: task.encode(name, start.tokenizer, length) for name in names}
        if augment is not None:
            unlabelled = encode(augment, start.tokenizer, length)
            self.arrays["train"] = joined(self.arrays["train"], unlabelled)
        if not config.bucketed:
            self.arrays["train"] = widened(self.arrays["train"], length)
        folder.check_unchanged(self._digests())

    def _digests(self) -> dict[str, str]:
        """Of what a run's settings only name."""
        digests = {f"the {name} split": digest_of(a) for name, a in self.arrays.items()}
        digests["the labels"] = ", ".join(self.head.labels)
        digests["--model"] = checksum(self.start.model)
        return digests | ({"--teacher": checksum(self.teacher)} if self.teacher else {})

    def trial(self, trial: Trial) -> dict:
        """Trains and judges, or goes on with it, or reads what was found; gives the best epoch."""
        directory = self.folder / "trials" / trial.name
        done = directory / "result.json"
        if not done.is_file():
            self._train(trial, directory)
            result = {"trial": trial.name} | dataclasses.asdict(trial) | self._best(trial)
            write_whole(done, json.dumps(result, indent=2) + "\n")
            shutil.rmtree(self.folder / "checkpoints" / trial.name, ignore_errors=True)
        return json.loads(done.read_text())

    def _train(self, trial: Trial, directory: Path) -> None:
        prepare_process(trial.seed, self.config.precision)
        model = _with_head(self.start.model, self.head)
        if self.config.quantization_aware:
            model = QuantizationAware(model, _samples(self.arrays["train"]))
        batches = Batches(self.arrays["train"], trial.batch_size, trial.seed, self.config.bucketed)
        steps = batches.steps_per_epoch
        phase = Phase(
            trial.epochs * steps,
            trial.learning_rate,
            self.config.warmup,
            end_factor=0.0,
            weight_decay=self.config.weight_decay,
        )
        runnable = KerasModel(model, self.start.tokenizer)

        def trainer(stage: Stage) -> Finetuner:
            config = self.config
            return Finetuner(
                model,
                stage.phase,
                self._class_weights(),
                self.teacher,
                config.temperature,
                config.teacher_weight,
                config.transfer_weight,
                config.transfer,
            )

        def judge(step: int) -> bool:
            return self._judge(model, runnable, trial, step // steps, step, directory)

        stages = [Stage("fine-tuning", phase, rates={})]
        pace = Pace(self.config.log_steps, steps)
        train(trial.name, model, stages, trainer, batches, self.folder, pace, judge)

    def _judge(self, model, runnable, trial: Trial, epoch: int, step: int, directory: Path) -> bool:
        """Scores an epoch, keeps its model if it is the best, says whether to stop."""
        before = self._epochs(trial)
        if before and before[-1]["epoch"] == epoch:  # by the run that was killed
            return self._stopped(before)
        scores, ranked = {}, {}
        for split in self.task.dev_splits:
            outputs = run_all(runnable, self.arrays[split])
            suffix = split.removeprefix("dev")
            found = self.task.score(split, self.arrays[split], outputs)
            scores |= {name + suffix: value for name, value in found.items()}
            ranked |= {name + suffix: found[name] for name in self.task.metrics}
        record = {"epoch": epoch, "scores": scores, "ranking": ranking(ranked)}
        if all(record["ranking"] > e["ranking"] for e in before):
            trained = model.trained() if self.config.quantization_aware else model
            save_model(trained, directory / "model", self.start.tokenizer)
        place = {"model": trial.name, "total_step": step}
        self.folder.append_history(place | record)
        print(f"{trial.name}, epoch {epoch}: {_readable(scores)}", flush=True)
        return self._stopped([*before, record])

    def _epochs(self, trial: Trial) -> list[dict]:
        """The judged epochs of a trial."""
        records = self.folder.history()
        return [r for r in records if r["model"] == trial.name and "ranking" in r]

    def _stopped(self, epochs: Sequence[dict]) -> bool:
        if self.config.patience is None or not epochs:
            return False
        best = max(epochs, key=lambda e: e["ranking"])
        return epochs[-1]["epoch"] - best["epoch"] >= self.config.patience

    def _best(self, trial: Trial) -> dict:
        best = max(self._epochs(trial), key=lambda e: e["ranking"])
        return {key: best[key] for key in ("epoch", "scores", "ranking")}

    def _class_weights(self) -> np.ndarray | None:
        """Number of examples / (classes * examples of the class): [C], float32."""
        if not self.config.class_weights:
            return None
        if not self.task.labels:
            raise InputError("class_weights need classes")
        targets = self.arrays["train"]["targets"]
        counts = np.bincount(targets[targets >= 0], minlength=len(self.task.labels))
        if not counts.all():
            raise InputError("class_weights need an example of every class to train on")
        return (counts.sum() / (len(counts) * counts)).astype(np.float32)


def _with_head(start: MobileBert, task: Task) -> MobileBert:
    """A copy with the task's head; the weights that the two have in common are the same."""
    model = MobileBert(start.config, task)
    copy_weights(start, model)
    return model


def _samples(arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Texts from all over the training split, as QuantizationAware wants them."""
    tokens = arrays["input_mask"].sum(axis=1)
    rows = np.linspace(0, len(tokens) - 1, min(_SAMPLES, len(tokens))).astype(int)
    return [
        for_graph({name: arrays[name][i : i + 1, : tokens[i]] for name in MODEL_INPUTS})
        for i in rows
    ]


def _publish(folder: RunFolder, best: dict) -> None:
    """Copies the best trial's model to folder/model, whole or not at all."""
    aside, final = folder / "model.partial", folder / "model"
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(folder / "trials" / best["trial"] / "model", aside)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(aside, final)


def _readable(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())


def _table(results: Sequence[dict]) -> str:
    """A row for each setting: mean and spread of the best epochs' dev scores over the seeds."""
    settings = {}
    for result in results:
        key = tuple(result[name] for name in GRID)
        settings.setdefault(key, []).append(result)
    rows = []
    for key, group in settings.items():
        row = dict(zip(GRID, key, strict=True)) | {"seeds": len(group)}
        for name in group[0]["scores"]:
            values = [result["scores"][name] for result in group]
            spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
            row[name] = f"{np.mean(values):.4f}{spread}"
        rows.append((np.mean([result["ranking"] for result in group]), row))
    rows.sort(key=lambda row: -row[0])
    return tabulate.tabulate([row for _, row in rows], headers="keys")


if __name__ == "__main__":
    door(finetune, FinetuneConfig)
