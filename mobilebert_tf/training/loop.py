"""The training loop of pretrain, distill and finetune: steps, checkpoints and history.

Keras's `fit` cannot resume a run exactly: BackupAndRestore repeats the epoch after a crash and
does not save the states of dropout. Each step is the train_step of a Distiller or a Finetuner.
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
    """One part of a training, with its own trainer and optimizer.

    Args:
        name: shown in logs and charts.
        steps: number of updates.
        make_trainer: returns the stage's uncompiled Distiller or Finetuner.
    """

    name: str
    steps: int
    make_trainer: Callable[[], keras.Model]


class StepBatches(Protocol):
    """Examples in batches that depend on the step alone."""

    def dataset(self, first_step: int, steps: int) -> tf.data.Dataset:
        """Returns the batches of `steps` steps, beginning with `first_step`."""
        ...


def prepare_process(seed: int, precision: str) -> None:
    """Seeds this process and makes TensorFlow deterministic, so that runs can be repeated."""
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
    after_saving: Callable[[int], bool | None] | None = None,
) -> None:
    """Trains `model` through all stages, from the newest state in the folder if there is one.

    A run that is killed anywhere and started again ends with the same bits as an uninterrupted
    one: a state holds the model, its dropout seeds, the optimizer and the position, and the data
    depend on the position alone.

    Args:
        model: the model, which is trained in place.
        stages: are trained one after the other.
        examples: of all stages; step numbers continue from stage to stage.
        name: of the model within the run ("teacher", "student").
        folder: of the run.
        pace: when to log and save.
        after_saving: called with the step of the run when a state was saved, and again with that
            of the state from which a killed run continues; returns whether to end the stage.

    Raises InputError if the loss is no longer finite.
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
        folder.begin()
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
    """Runs, logs and saves the steps of one stage.

    Args:
        name: of the model.
        index: of the stage, from 0.
        stage: the stage.
        steps_before: number of steps in the stages before it.
        trainer: the stage's compiled Distiller or Finetuner.
        model: the model that it trains.
        states: folder of the model's states.
        folder: of the run.
        pace: when to log and save.
        writer: writes TensorBoard's scalars.
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

    def run(
        self, examples: StepBatches, first: int, after_saving: Callable[[int], bool | None] | None
    ) -> None:
        """Trains all steps after the first `first`; see `train` for `after_saving`."""
        if first and after_saving is not None and after_saving(self.steps_before + first):
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
                saving = step % self.pace.checkpoint_steps == 0 or step == steps
                logging = saving or step % self.pace.log_steps == 0
                # Read before the step, after which it is the next one's.
                learning_rate = float(self.trainer.optimizer.learning_rate) if logging else None
                values = step_function(batch)
                progress.update()
                if logging:
                    seconds = (time.perf_counter() - started) / (step - logged)
                    tokens_per_second = math.prod(batch["input_ids"].shape) / seconds
                    logs = self._log(
                        values,
                        step=step,
                        learning_rate=learning_rate,
                        seconds_per_step=seconds,
                        tokens_per_second=tokens_per_second,
                    )
                    progress.set_postfix(
                        loss=f"{logs['loss']:.3f}", tokens_per_s=f"{tokens_per_second:,.0f}"
                    )
                    started, logged = time.perf_counter(), step
                if saving:
                    self._save(step)
                    if after_saving is not None and after_saving(self.steps_before + step):
                        break
                    started = time.perf_counter()

    def _save(self, step: int) -> None:
        position = {"stage": self.index, "step": step}
        tensors = _tensors(self.trainer, self.model)
        save_state(self.states, self.steps_before + step, position, tensors)

    def _log(
        self,
        values: dict,
        *,
        step: int,
        learning_rate: float,
        seconds_per_step: float,
        tokens_per_second: float,
    ) -> dict[str, float]:
        """Writes the values that train_step returned to the history, and returns them as floats."""
        values = {name: float(value) for name, value in values.items()}
        self.trainer.reset_metrics()
        if not math.isfinite(values["loss"]):
            raise InputError(
                f"the loss of {self.name} became {values['loss']} in stage '{self.stage.name}' "
                f"before step {step}: lower the stage's learning_rate, and `overwrite`"
            )
        record = {
            "model": self.name,
            "stage": self.stage.name,
            "stage_index": self.index,
            "step": step,
            "total_step": self.steps_before + step,
            "learning_rate": learning_rate,
            **values,
            "ms_per_step": 1000 * seconds_per_step,
            "tokens_per_second": tokens_per_second,
        }
        self.folder.append_history(record)
        with self.writer.as_default(step=self.steps_before + step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        return values


def _variables(trainer: keras.Model, model: MobileBert) -> dict:
    """Returns all variables that a step changes.

    They are named by number: the names of seed generators differ from process to process.
    """
    of_model = {id(variable) for variable in model.variables}
    groups = {
        "model": model.variables,
        # learnt with the model and dropped at the end, such as a projection
        "trainer": [weight for weight in trainer.weights if id(weight) not in of_model],
        "optimizer": trainer.optimizer.variables,
    }
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
