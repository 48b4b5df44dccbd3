"""The training loop that pretrain, distill and finetune share: steps, checkpoints, history.

Keras's `fit` cannot do it: BackupAndRestore repeats the epoch after a crash and forgets dropout
seeds. The step itself is the trainer's own train_step: a Distiller's or a Finetuner's.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from mobilebert_tf.data.run_text import RunText
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import ModelConfig, load_model_config
from mobilebert_tf.modeling.model import MobileBert, build_model, save_model
from mobilebert_tf.training.checkpoint import load_state, save_state
from mobilebert_tf.training.distiller import Distiller
from mobilebert_tf.training.run_config import Phase, RunConfig
from mobilebert_tf.training.run_folder import RunFolder
from mobilebert_tf.training.strategies import Stage, bare


class Pace(Protocol):
    """Of a run's config: how often the loop logs and saves."""

    log_steps: int
    checkpoint_steps: int


class StepBatches(Protocol):
    """Examples as batches that are a function of the step."""

    def dataset(self, first_step: int, steps: int) -> tf.data.Dataset: ...


def prepare_process(seed: int, precision: str) -> None:
    """Makes this process's results a function of the settings alone."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(precision)


def train(
    name: str,
    model: MobileBert,
    stages: Sequence[Stage],
    make_trainer: Callable[[Stage], keras.Model],
    examples: StepBatches,
    folder: RunFolder,
    config: Pace,
    after_saving: Callable[[int], bool] = lambda step: False,
) -> None:
    """Trains `model` through all stages, from the newest state in the folder if there is one.

    Killed anywhere and started again, it ends with the same bits as if it had not been: a state
    holds the model, its dropout seeds, the optimizer and the position, and data are a function of
    the position. Raises InputError if the loss stops being a number.

    Args:
        name: of the model within the run ("teacher", "student").
        make_trainer: gives the uncompiled Distiller or Finetuner of a stage.
        after_saving: called with the stage's step when a state is saved, and again for the state
            that a killed run goes on from; True ends the stage.
    """
    states = folder / "checkpoints" / name
    position, tensors = load_state(states) or ({"stage": 0, "step": 0}, None)
    steps_before = sum(stage.phase.steps for stage in stages[: position["stage"]])
    folder.rewind_history(name, steps_before + position["step"])
    writer = tf.summary.create_file_writer(str(folder / "tensorboard" / name))
    for index in range(position["stage"], len(stages)):
        loop = _StageLoop(name, index, stages[index], steps_before, folder, config, writer)
        trainer = make_trainer(stages[index])
        trainer.compile()
        first = position["step"] if index == position["stage"] else 0
        if tensors is not None and index == position["stage"]:
            _restore(trainer, model, tensors)
        loop.run(trainer, model, examples, first, states, after_saving)
        steps_before += stages[index].phase.steps
    folder.write_history_csv()


class _StageLoop:
    """One stage's steps, with what is logged about them."""

    def __init__(self, name, index, stage, steps_before, folder, config, writer):
        self.name, self.index, self.stage, self.steps_before = name, index, stage, steps_before
        self.folder, self.config, self.writer = folder, config, writer

    def run(self, trainer, model, examples: StepBatches, first: int, states, after_saving) -> None:
        if first and after_saving(first):
            return
        steps, every = self.stage.phase.steps, self.config.checkpoint_steps
        batches = examples.dataset(self.steps_before + first, steps - first)
        step_function = tf.function(
            trainer.train_step, input_signature=[batches.element_spec], autograph=False
        )
        description = f"{self.name}: {self.stage.name}"
        with tqdm(
            total=steps, initial=first, desc=description, unit="step", mininterval=1
        ) as progress:
            started, logged = time.perf_counter(), first
            for step, batch in enumerate(batches, start=first + 1):
                values = step_function(batch)
                progress.update()
                saving = step % every == 0 or step == steps
                if saving or step % self.config.log_steps == 0:
                    pace = (time.perf_counter() - started) / (step - logged)  # seconds a step
                    self._log(trainer, values, step, pace, batch, progress)
                    started, logged = time.perf_counter(), step
                if saving:
                    position = {"stage": self.index, "step": step}
                    tensors = _tensors(trainer, model)
                    save_state(states, self.steps_before + step, position, tensors)
                    if after_saving(step):
                        break
                    started = time.perf_counter()

    def _log(self, trainer, values, step: int, pace: float, batch, progress) -> None:
        values = {name: float(value) for name, value in values.items()}
        trainer.reset_metrics()
        if not math.isfinite(values["loss"]):
            raise InputError(
                f"the loss of {self.name} became {values['loss']} in stage '{self.stage.name}' "
                f"before step {step}: lower the stage's learning_rate, and --overwrite"
            )
        rate = batch["input_ids"].shape[0] * batch["input_ids"].shape[1] / pace
        record = {
            "model": self.name,
            "stage": self.stage.name,
            "stage_index": self.index,
            "step": step,
            "total_step": self.steps_before + step,
            "learning_rate": float(trainer.optimizer.learning_rate),
            **values,
            "ms_per_step": 1000 * pace,
            "tokens_per_second": rate,
        }
        self.folder.append_history(record)
        with self.writer.as_default(step=self.steps_before + step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        progress.set_postfix(loss=f"{values['loss']:.3f}", tokens_per_s=f"{rate:,.0f}")


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


def fitted_config(source: str, text: RunText) -> ModelConfig:
    """A model config with the vocabulary size of the text; InputError if examples do not fit."""
    config = load_model_config(source).replace(vocab_size=len(text.tokenizer))
    if text.config.sequence_length > config.max_position_embeddings:
        raise InputError(
            f"sequence_length is {text.config.sequence_length}: longer than "
            f"max_position_embeddings of {source} ({config.max_position_embeddings})"
        )
    return config


def pretrain_alone(
    name: str, source: str, phase: Phase, text: RunText, folder: RunFolder, config: RunConfig
) -> Path:
    """Pre-trains a model without a teacher into folder/name, unless it is there; gives the path."""
    directory = folder / name
    if not directory.exists():
        keras.utils.set_random_seed(config.seed)
        model = build_model(fitted_config(source, text), "pretraining")
        stages = bare(model.config.num_hidden_layers, phase)
        examples = text.training_examples(config.seed)
        train(name, model, stages, lambda s: Distiller(model, s), examples, folder, config)
        save_model(model, directory, text.tokenizer)
    return directory
