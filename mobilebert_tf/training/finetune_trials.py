"""The trials of a fine-tuning run: each is trained, and evaluated on the dev splits every epoch."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mobilebert_tf.checkpoints.formats import LoadedModel
from mobilebert_tf.errors import Diverged, InputError
from mobilebert_tf.files import whole_directory, write_json
from mobilebert_tf.lite.calibration_data import for_graph
from mobilebert_tf.modeling.heads import HEADS, Head
from mobilebert_tf.modeling.model import MODEL_INPUTS, MobileBert, checksum, copy_weights
from mobilebert_tf.modeling.model_directory import save_model
from mobilebert_tf.modeling.runner import KerasModel, Runnable
from mobilebert_tf.tasks.evaluation import dev_ranking, dev_scores, evaluate_split
from mobilebert_tf.tasks.examples import Batches, Examples, add_unlabelled, encode, pad_tokens
from mobilebert_tf.tasks.task import Task
from mobilebert_tf.training.checkpoint import digest_of
from mobilebert_tf.training.finetune_config import FinetuneConfig, Trial
from mobilebert_tf.training.finetuner import Finetuner
from mobilebert_tf.training.loop import LoopStage, prepare_process, train
from mobilebert_tf.training.quantization_aware import QuantizationAware
from mobilebert_tf.training.run_config import LoopSettings, Phase
from mobilebert_tf.training.run_folder import RunFolder
from mobilebert_tf.training.teacher_outputs import saved_outputs

_RANGE_TEXTS = 64  # texts that quantization-aware training takes its first ranges from


class Trials:
    """Trains the trials of a run, which share their data.

    Args:
        config: of the run.
        task: with its train and dev splits.
        head: of each trial's model.
        start: the model that each trial starts from.
        teacher: a model of the same task, or None.
        augment: texts that only the teacher labels, or None.
        folder: of the run.

    Raises InputError if a continued run began with other data, or classes cannot be weighted.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        task: Task,
        head: Head,
        *,
        start: LoadedModel,
        teacher: MobileBert | None,
        augment: Examples | None,
        folder: RunFolder,
    ):
        self.config, self.task, self.head = config, task, head
        self.start, self.teacher, self.folder = start, teacher, folder
        tokenizer, length = start.tokenizer, head.sequence_length
        self._dev = {name: task.encode(name, tokenizer, length) for name in task.dev_splits}
        arrays = task.encode("train", tokenizer, length).arrays
        if augment is not None:
            arrays = add_unlabelled(arrays, encode(augment, tokenizer, length))
        self._train_arrays = arrays if config.bucketed else pad_tokens(arrays, length)
        self._class_weights = self._weigh_classes() if config.class_weights else None
        folder.check_unchanged(self._digests())

    @cached_property
    def _taught_arrays(self) -> dict[str, np.ndarray]:
        """The training split, with the teacher's outputs if those are all that it teaches.

        Feature and attention maps would not fit on a disk: for them it runs in each step. Of many
        devices each runs it on its own rows.
        """
        config, arrays = self.config, self._train_arrays
        if self.teacher is None or config.transfer_weight or config.devices != "one":
            return arrays
        return arrays | saved_outputs(self.teacher, arrays, self.folder / "teacher_outputs.npz")

    def _digests(self) -> dict[str, str]:
        """Returns digests of the data and models that the run's settings name."""
        arrays = {"train": self._train_arrays} | {n: e.arrays for n, e in self._dev.items()}
        digests = {f"the {name} split": digest_of(values) for name, values in arrays.items()}
        digests["the labels"] = ", ".join(self.head.labels)
        digests["`model`"] = checksum(self.start.model)
        if self.teacher is not None:
            digests["`teacher`"] = checksum(self.teacher)
        return digests

    def run(self, trial: Trial) -> dict:
        """Trains a trial, unless its result is there already.

        Returns its settings, and the number, scores and ranking of its best epoch; if it diverged
        in a search, why it `failed`.
        """
        directory = self.folder / "trials" / trial.name
        result_file = directory / "result.json"
        if not result_file.is_file():
            if self.epochs(trial) and not (directory / "model").is_dir():
                # The model of an evaluated epoch was deleted by hand: train anew.
                shutil.rmtree(self.folder.states(trial.name), ignore_errors=True)
            self._take_over_shorter(trial, directory)
            outcome = self._outcome(trial, directory)
            write_json(result_file, {"trial": trial.name} | dataclasses.asdict(trial) | outcome)
        if self.config.search:  # nothing continues one of 270 trials
            shutil.rmtree(self.folder.states(trial.name), ignore_errors=True)
        return json.loads(result_file.read_text())

    def _outcome(self, trial: Trial, directory: Path) -> dict:
        """Trains a trial, and returns what came out."""
        try:
            self._train(trial, directory)
        except Diverged as error:
            if not self.config.search:
                raise
            print(f"{trial.name} failed: {error}", flush=True)
            return {"failed": str(error)}
        return self._best_epoch(trial)

    def publish(self, trial: str) -> None:
        """Copies a trial's model to `model` of the run, whole or not at all."""
        with whole_directory(self.folder / "model") as temporary:
            source = self.folder / "trials" / trial / "model"
            shutil.copytree(source, temporary, dirs_exist_ok=True)

    def _take_over_shorter(self, trial: Trial, directory: Path) -> None:
        """Gives a trial the state of one that differs in fewer epochs only, if there is one.

        The learning rate goes on as if the longer trial had been planned from the first step.
        The state comes last: before it, a killed process starts this again.
        """
        shorter = [dataclasses.replace(trial, epochs=n) for n in range(trial.epochs - 1, 0, -1)]
        start = next((other for other in shorter if self.folder.states(other.name).is_dir()), None)
        if start is None or self.folder.states(trial.name).is_dir():
            return
        self.folder.rewind_history(trial.name, -1)
        for record in self.folder.history():
            if record["model"] == start.name:
                self.folder.append_history(record | {"model": trial.name})
        best = self.folder / "trials" / start.name / "model"
        if best.is_dir():
            with whole_directory(directory / "model") as temporary:
                shutil.copytree(best, temporary, dirs_exist_ok=True)
        self.folder.states(start.name).rename(self.folder.states(trial.name))
        print(f"{trial.name}: continues {start.name}", flush=True)

    def _train(self, trial: Trial, directory: Path) -> None:
        prepare_process(trial.seed, self.config.precision)
        model = _with_head(self.start.model, self.head)
        if mode := self.config.quantization_aware:
            mode = "int8-full" if mode is True else mode
            model = QuantizationAware(model, _range_samples(self._train_arrays), mode)
        batches = Batches(self._taught_arrays, trial.batch_size, trial.seed, self.config.bucketed)
        steps = batches.steps_per_epoch
        evaluator = _EpochEvaluator(
            self,
            trial,
            model=model,
            runnable=KerasModel(model, self.start.tokenizer),
            directory=directory,
            steps_per_epoch=steps,
        )
        stage = LoopStage(
            "fine-tuning", trial.epochs * steps, lambda: self._finetuner(model, trial, steps)
        )
        train(
            model,
            [stage],
            batches,
            name=trial.name,
            folder=self.folder,
            settings=LoopSettings(
                self.config.log_steps, checkpoint_steps=steps, ema=self.config.ema
            ),
            after_saving=evaluator,
        )

    def _finetuner(self, model: MobileBert, trial: Trial, steps_per_epoch: int) -> Finetuner:
        config = self.config
        phase = Phase(
            trial.epochs * steps_per_epoch,
            trial.learning_rate,
            config.warmup,
            end_factor=0.0,
            weight_decay=config.weight_decay,
        )
        return Finetuner(
            model,
            phase,
            class_weights=self._class_weights,
            teacher=self.teacher,
            temperature=config.temperature,
            teacher_weight=config.teacher_weight,
            transfer_weight=config.transfer_weight,
            transfer=config.transfer,
            accumulation_steps=config.accumulation_steps,
            rematerialize=config.rematerialize,
        )

    def _weigh_classes(self) -> np.ndarray:
        """Returns (examples / (classes * examples of the class)) for each class: float32 [C]."""
        if not self.task.labels:
            raise InputError("`class_weights` need classes")
        if HEADS[self.task.kind].multi_label:
            raise InputError(
                "`class_weights` are for texts of one class each, not for several labels"
            )
        targets = self._train_arrays["targets"]
        counts = np.bincount(targets[targets >= 0], minlength=len(self.task.labels))
        if not counts.all():
            raise InputError("`class_weights` need an example of every class to train on")
        return (counts.sum() / (len(counts) * counts)).astype(np.float32)

    def epochs(self, trial: Trial) -> list[dict]:
        """Returns the history's records of a trial's evaluated epochs."""
        records = self.folder.history()
        return [r for r in records if r["model"] == trial.name and "ranking" in r]

    def _best_epoch(self, trial: Trial) -> dict:
        best = max(self.epochs(trial), key=lambda epoch: epoch["ranking"])
        return {key: best[key] for key in ("epoch", "scores", "ranking")}

    def evaluate(self, runnable: Runnable) -> tuple[dict[str, float], float, tuple[float, ...]]:
        """Returns the scores on all dev splits, the number by which models are ranked, and the
        labels' thresholds that are best for the dev split of multi-label classification."""
        evaluations = {
            name: evaluate_split(runnable, self.task, encoded, new_thresholds=True)
            for name, encoded in self._dev.items()
        }
        thresholds = next(iter(evaluations.values())).thresholds
        return dev_scores(evaluations), dev_ranking(self.task, evaluations), thresholds


@dataclass(frozen=True)
class _EpochEvaluator:
    """Evaluates the model after each epoch, saves it if it is the best so far, and decides when to
    stop.

    Args:
        trials: of the run.
        trial: the one that is trained.
        model: the model that is trained.
        runnable: the same model for inference.
        directory: of the trial; its best model is saved there.
        steps_per_epoch: number of steps in an epoch.
    """

    trials: Trials
    trial: Trial
    model: MobileBert | QuantizationAware
    runnable: Runnable
    directory: Path
    steps_per_epoch: int

    def __call__(self, step: int) -> bool:
        epoch = step // self.steps_per_epoch
        earlier = self.trials.epochs(self.trial)
        if earlier and earlier[-1]["epoch"] == epoch:  # evaluated by the process that was killed
            return self._is_out_of_patience(earlier)
        scores, ranking, thresholds = self.trials.evaluate(self.runnable)
        if all(ranking > record["ranking"] for record in earlier):
            self._save(thresholds)
        record = {"model": self.trial.name, "total_step": step}
        record |= {"epoch": epoch, "scores": scores, "ranking": ranking}
        self.trials.folder.append_history(record)
        formatted = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        print(f"{self.trial.name}, epoch {epoch}: {formatted}", flush=True)
        return self._is_out_of_patience([*earlier, record])

    def _save(self, thresholds: tuple[float, ...]) -> None:
        model = self.model
        if isinstance(model, QuantizationAware):
            model = model.trained()
        model.head = dataclasses.replace(model.head, thresholds=thresholds)
        save_model(model, self.directory / "model", self.trials.start.tokenizer)

    def _is_out_of_patience(self, epochs: Sequence[dict]) -> bool:
        patience = self.trials.config.patience
        if patience is None or not epochs:
            return False
        best = max(epochs, key=lambda epoch: epoch["ranking"])
        return epochs[-1]["epoch"] - best["epoch"] >= patience


def _with_head(start: MobileBert, head: Head) -> MobileBert:
    """Returns a copy with the task's head, whose weights are random unless `start` has them."""
    model = MobileBert(start.config, head)
    copy_weights(start, model)
    return model


def _range_samples(arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Returns texts from all over the training split, as the samples of QuantizationAware."""
    tokens = arrays["input_mask"].sum(axis=1)
    rows = np.linspace(0, len(tokens) - 1, min(_RANGE_TEXTS, len(tokens))).astype(int)
    return [
        for_graph({name: arrays[name][i : i + 1, : tokens[i]] for name in MODEL_INPUTS})
        for i in rows
    ]
