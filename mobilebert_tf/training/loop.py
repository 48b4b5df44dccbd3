"""The training loop that pretrain, distill and finetune share: steps, checkpoints, history.

Keras's `fit` cannot do it: BackupAndRestore repeats the epoch after a crash and forgets dropout
seeds. The step itself is the trainer's own train_step: a Distiller's or a Finetuner's.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.training.checkpoint import load_state, save_state
from mobilebert_tf.training.run_config import Pace
from mobilebert_tf.training.run_folder import RunFolder


@dataclass(frozen=True)
class LoopStage:
    """One part of a training, with a trainer and an optimizer of its own.

    Args:
        name: for people.
        steps: number of updates.
        make_trainer: returns the stage's uncompiled Distiller or Finetuner.
    """

    name: str
    steps: int
    make_trainer: Callable[[], keras.Model]


class StepBatches(Protocol):
    """Examples as batches that are a function of the step."""

    def dataset(self, first_step: int, steps: int) -> tf.data.Dataset: ...


def prepare_process(seed: int, precision: str) -> None:
    """Makes this process's results a function of the settings alone."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(precision)


def train(
    model: MobileBert,
    stages: Sequence[LoopStage],
    examples: StepBatches,
    *,
    name: str,
    folder: RunFolder,
    pace: Pace,
    after_saving: Callable[[int], bool] = lambda step: False,
) -> None:
    """Trains `model` through all stages, from the newest state in the folder if there is one.

    Killed anywhere and started again, it ends with the same bits as if it had not been: a state
    holds the model, its dropout seeds, the optimizer and the position, and data are a function of
    the position.

    Args:
        model: is trained in place.
        stages: one after the other.
        examples: of all stages; the steps are counted through.
        name: of the model within the run ("teacher", "student").
        folder: of the run.
        pace: when to log and save.
        after_saving: is called with the stage's step when a state is saved, and again for the state
            that a killed run goes on from; True ends the stage.

    Raises InputError if the loss stops being a number.
    """
    states = folder / "checkpoints" / name
    position, tensors = load_state(states) or ({"stage": 0, "step": 0}, None)
    steps_before = sum(stage.steps for stage in stages[: position["stage"]])
    folder.rewind_history(name, steps_before + position["step"])
    writer = tf.summary.create_file_writer(str(folder / "tensorboard" / name))
    for index in range(position["stage"], len(stages)):
        resumed = tensors is not None and index == position["stage"]
        trainer = stages[index].make_trainer()
        trainer.compile()
        if resumed:
            _restore(trainer, model, tensors)
        loop = _StageLoop(
            name=name,
            index=index,
            stage=stages[index],
            steps_before=steps_before,
            trainer=trainer,
            model=model,
            states=states,
            folder=folder,
            pace=pace,
            writer=writer,
        )
        loop.run(examples, position["step"] if resumed else 0, after_saving)
        steps_before += stages[index].steps
    folder.write_history_csv()


@dataclass(frozen=True)
class _StageLoop:
    """One stage's steps, with what is saved and logged about them.

    Args:
        name: of the model.
        index: of the stage, from 0.
        steps_before: in the stages before it.
        states: the folder of the model's states.
        writer: of TensorBoard's scalars.
    """

    name: str
    index: int
    stage: LoopStage
    steps_before: int
    trainer: keras.Model
    model: MobileBert
    states: Path
    folder: RunFolder
    pace: Pace
    writer: tf.summary.SummaryWriter

    def run(self, examples: StepBatches, first: int, after_saving: Callable[[int], bool]) -> None:
        """Trains from step `first` on; see `train` for `after_saving`."""
        if first and after_saving(first):
            return
        steps = self.stage.steps
        batches = examples.dataset(self.steps_before + first, steps - first)
        step_function = tf.function(
            self.trainer.train_step, input_signature=[batches.element_spec], autograph=False
        )
        description = f"{self.name}: {self.stage.name}"
        with tqdm(
            total=steps, initial=first, desc=description, unit="step", mininterval=1
        ) as progress:
            started, logged = time.perf_counter(), first
            for step, batch in enumerate(batches, start=first + 1):
                values = step_function(batch)
                progress.update()
                saving = step % self.pace.checkpoint_steps == 0 or step == steps
                if saving or step % self.pace.log_steps == 0:
                    seconds = (time.perf_counter() - started) / (step - logged)  # of a step
                    self._log(values, step, seconds, batch["input_ids"].shape, progress)
                    started, logged = time.perf_counter(), step
                if saving:
                    self._save(step)
                    if after_saving(step):
                        break
                    started = time.perf_counter()

    def _save(self, step: int) -> None:
        position = {"stage": self.index, "step": step}
        tensors = _tensors(self.trainer, self.model)
        save_state(self.states, self.steps_before + step, position, tensors)

    def _log(self, values, step: int, seconds: float, shape: tuple[int, int], progress) -> None:
        """Writes a line of the history.

        Args:
            values: what train_step returned.
            seconds: that a step took.
            shape: [B,T] of the batch.
        """
        values = {name: float(value) for name, value in values.items()}
        self.trainer.reset_metrics()
        if not math.isfinite(values["loss"]):
            raise InputError(
                f"the loss of {self.name} became {values['loss']} in stage '{self.stage.name}' "
                f"before step {step}: lower the stage's learning_rate, and `overwrite`"
            )
        tokens_per_second = shape[0] * shape[1] / seconds
        record = {
            "model": self.name,
            "stage": self.stage.name,
            "stage_index": self.index,
            "step": step,
            "total_step": self.steps_before + step,
            "learning_rate": float(self.trainer.optimizer.learning_rate),
            **values,
            "ms_per_step": 1000 * seconds,
            "tokens_per_second": tokens_per_second,
        }
        self.folder.append_history(record)
        with self.writer.as_default(step=self.steps_before + step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        rate = f"{tokens_per_second:,.0f}"
        progress.set_postfix(loss=f"{values['loss']:.3f}", tokens_per_s=rate)


def _variables(trainer: keras.Model, model: MobileBert) -> dict:
    """Everything that a step changes. By number: seed generators are renamed in each process."""
    groups = {"model": model.variables, "optimizer": trainer.optimizer.variables}
    return {
        f"{group}/{number:05d}": variable
        for group, variables in groups.items()
        for number, variable in enumerate(variables)
    }


def _tensors(trainer: keras.Model, model: MobileBert) -> dict[str, np.ndarray]:
    return {name: np.asarray(v) for name, v in _variables(trainer, model).items()}


def _restore(trainer: keras.Model, model: MobileBert, tensors: dict[str, np.ndarray]) -> None:
    for name, variable in _variables(trainer, model).items():
        variable.assign(tensors[name])
