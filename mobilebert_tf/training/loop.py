"""The training loop of pretrain, distill and finetune: steps, evaluations and checkpoints.

Keras's `fit` cannot resume a run exactly: BackupAndRestore repeats the epoch after a crash and
does not save the states of dropout. Each step is the train_step of a Distiller or a Finetuner.
"""

import functools
import math
import signal
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from mobilebert_tf.errors import Diverged, InputError, Stopped
from mobilebert_tf.files import whole_file
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.training.checkpoint import (
    Position,
    digest_of,
    load_numbered,
    load_state,
    newest_position,
    save_state,
)
from mobilebert_tf.training.distribution import (
    draw_own_masks,
    has_workers,
    of_first_worker,
    on_replicas,
    replicas,
    spread,
    sum_of_workers,
    told_of_lost_workers,
)
from mobilebert_tf.training.run_config import LoopSettings
from mobilebert_tf.training.run_folder import RunFolder
from mobilebert_tf.training.run_log import Place, StageLog
from mobilebert_tf.training.stopping import LossGuard, StopRequest, stop_requests
from mobilebert_tf.training.weight_average import WeightAverage


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

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Returns the batch of one step."""
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
    settings: LoopSettings,
    held_out: Sequence[Mapping[str, np.ndarray]] = (),
    after_saving: Callable[[int], bool | None] | None = None,
) -> None:
    """Trains `model` through all stages, from the newest state in the folder if there is one.

    A run that is killed anywhere and started again ends with the same bits as an uninterrupted
    one: a state holds the model, its dropout seeds, the average of its weights, the optimizer, the
    values that are not logged yet and the position, and the data depend on the position alone.
    What is evaluated, shown to `after_saving` and left in the end is the average, if there is one.

    Args:
        model: the model, which is trained in place.
        stages: are trained one after the other.
        examples: of all stages; step numbers continue from stage to stage.
        name: of the model within the run ("teacher", "student").
        folder: of the run.
        settings: when to log, evaluate, save and stop.
        held_out: batches on which each stage's own objectives are evaluated.
        after_saving: called with the step of the run when a state was saved, and again with that
            of the state from which a killed run continues; returns whether to end the stage. Its
            summaries go to TensorBoard.

    Raises Diverged if a loss or gradient is not finite, or the loss explodes; Stopped, after
    saving a state, at SIGTERM or Ctrl-C.
    """
    states, average = folder.states(name), WeightAverage(model, settings.ema)
    position, tensors = load_state(states) or (Position(), None)
    _check_workers_agree(position, examples)
    starts = np.cumsum([0, *(stage.steps for stage in stages)]).tolist()
    folder.rewind_history(name, starts[position.stage] + position.step)
    writer = tf.summary.create_file_writer(str(folder / "tensorboard" / name))
    with stop_requests() as stop_request, told_of_lost_workers():
        for index in range(position.stage, len(stages)):
            trainer = stages[index].make_trainer()
            trainer.compile()
            if tensors is not None:
                _restore(_variables(model, average, trainer), tensors)
                tensors = None  # large
            draw_own_masks(model)
            folder.begin()
            place = Place(
                model=name,
                stage=stages[index].name,
                index=index,
                stages=len(stages),
                steps=stages[index].steps,
                steps_before=starts[index],
                total_steps=starts[-1],
            )
            loop = _StageLoop(
                place=place,
                trainer=trainer,
                model=model,
                average=average,
                states=states,
                log=StageLog(folder, place, writer),
                settings=settings,
                examples=examples,
                held_out=held_out,
                after_saving=after_saving,
                stop_request=stop_request,
            )
            position = loop.run(position)
            if number := stop_request.of_any():
                raise _stopped(number, place, position.step)
            loop.choose(position)
            position = Position(stage=index + 1)
    average.take()
    folder.write_history_csv()


def _check_workers_agree(position: Position, examples: StepBatches) -> None:
    """Raises InputError unless all workers begin at the same step of the same text."""
    if not has_workers():
        return
    mine = zlib.crc32(f"{position} {digest_of(examples.batch(0))}".encode())
    if sum_of_workers(mine != of_first_worker(mine)):
        raise InputError(
            "the workers do not train the same run: each must have the same settings and text, and "
            "read the same `output_dir`"
        )


@dataclass(frozen=True)
class _StageLoop:
    """Runs, evaluates and saves the steps of one stage.

    Args:
        place: the stage.
        trainer: the stage's compiled Distiller or Finetuner.
        model: the model that it trains.
        average: of its weights.
        states: folder of the model's states.
        log: of the stage.
        settings: of the loop.
        examples, held_out, after_saving: as for `train`.
        stop_request: whether to stop.
    """

    place: Place
    trainer: keras.Model
    model: MobileBert
    average: WeightAverage
    states: Path
    log: StageLog
    settings: LoopSettings
    examples: StepBatches
    held_out: Sequence[Mapping[str, np.ndarray]]
    after_saving: Callable[[int], bool | None] | None
    stop_request: StopRequest

    def run(self, position: Position) -> Position:
        """Trains the steps after a position, and returns that of the last one."""
        first, steps = position.step, self.place.steps
        if first and self._saves(first) and self._ends(position):
            return position
        batches = self.examples.dataset(self._number(first), steps - first)
        guard = LossGuard(self.trainer.optimizer)
        run_step = self._step_function(guard, batches.element_spec)
        evaluate = self._evaluation()
        self._limit_loss(guard)
        with self.log.progress(first):
            for step, batch in self._numbered(batches, first):
                saving, evaluating = self._saves(step), self._evaluates(step)
                logging = saving or step % self.settings.log_steps == 0
                # Read before the step, after which it is the next one's.
                rate = float(self.trainer.optimizer.learning_rate) if logging else math.nan
                values = run_step(spread(batch), tf.constant(step, "int64"))
                self.average.add(self._number(step))
                self.log.count(math.prod(batch["input_ids"].shape))
                position = position.at(step)
                stopping = self.stop_request.of_any(ask_workers=logging)  # read once
                if logging or stopping:
                    self._check(guard)
                if logging:
                    values = {name: float(value) for name, value in values.items()}
                    seconds = self.log.seconds
                    self.trainer.reset_metrics()
                    judged = evaluate() if evaluating else {}
                    if judged:
                        position = position.judged(judged["loss"], self._number(step))
                    self.log.write(step, seconds, rate, values, judged)
                    self._limit_loss(guard)
                if saving or stopping:
                    self._save(position)
                if (saving and self._ends(position)) or stopping:
                    break
                if logging:
                    self.log.restart_clock()
        return position

    def _numbered(self, batches: tf.data.Dataset, first: int) -> Iterator[tuple[int, dict]]:
        """Yields (step, batch) of the steps after the first `first` ones.

        A batch that the dataset could not make is made again, because TensorFlow raises an error of
        its own in place of the true one, such as an InputError for a damaged file.
        """
        step = first
        try:
            for step, batch in enumerate(batches, start=first + 1):
                yield step, batch
        except tf.errors.OpError:
            self.examples.batch(self._number(step))
            raise

    def _number(self, step: int) -> int:
        """Returns a step's number in the whole training."""
        return self.place.steps_before + step

    def _evaluates(self, step: int) -> bool:
        return bool(self.held_out) and self.settings.evaluates(step, self.place.steps)

    def _saves(self, step: int) -> bool:
        """Returns whether a state is saved after a step, also if nobody asks to stop."""
        regular = step % self.settings.checkpoint_steps == 0 or step == self.place.steps
        return regular or self._evaluates(step)

    def _step_function(self, guard: LossGuard, batch_spec: dict) -> Callable:
        """Returns a graph function that trains a step, and returns train_step's values."""

        def run_step(batch, step):
            values = on_replicas(self.trainer.train_step, batch)
            guard.watch(values, step)
            return values

        if replicas() > 1:  # what a batch is spread into has no public type
            return tf.function(run_step, reduce_retracing=True, autograph=False)
        signature = [batch_spec, tf.TensorSpec([], "int64")]
        return tf.function(run_step, input_signature=signature, autograph=False)

    def _evaluation(self) -> Callable[[], dict[str, float]]:
        """Returns a function that returns the means of test_step's values over held-out batches."""
        test_step = tf.function(
            functools.partial(on_replicas, self.trainer.test_step),
            reduce_retracing=True,
            autograph=False,
        )

        def evaluate():
            with self.average.shown():
                for batch in self.held_out:
                    values = test_step(batch)
            values = {name: float(value) for name, value in values.items()}
            self.trainer.reset_metrics()
            return values

        return evaluate

    def _limit_loss(self, guard: LossGuard) -> None:
        """Sets the guard's limit, once the stage's first loss is logged."""
        if not self.settings.loss_limit or guard.is_limited:
            return
        place = self.place
        records = (
            r["loss"]
            for r in self.log.folder.history()
            if (r["model"], r.get("stage_index")) == (place.model, place.index)
        )
        first_loss = next(records, None)
        if first_loss is not None:
            guard.limit(self.settings.loss_limit * max(first_loss, 1.0))

    def _check(self, guard: LossGuard) -> None:
        """Raises Diverged if a step went wrong, and keeps its batch."""
        wrong, place = guard.wrong_step, self.place
        if wrong is None:
            return
        path = self.log.folder / "failed" / f"{place.model}-{self._number(wrong):09d}.npz"
        batch: dict[str, Any] = {**self.examples.batch(self._number(wrong) - 1)}
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **batch)
        kept, newest = "there is no state before it", newest_position(self.states)
        if newest is not None:
            kept = f"the newest state, of step {newest.step} in stage {newest.stage + 1}, is intact"
        raise Diverged(
            f"the loss or the gradients of {place.model} went wrong in stage '{place.stage}' at "
            f"step {wrong}: {guard.reason()}. Its batch is kept in {path}; {kept}. Start again "
            "with a lower learning rate, in another `output_dir`"
        )

    def _save(self, position: Position) -> None:
        variables = _variables(self.model, self.average, self.trainer)
        tensors = {name: np.asarray(variable) for name, variable in variables.items()}
        number, kept = self._number(position.step), self.settings.checkpoints_kept
        save_state(self.states, number, position, tensors, kept)

    def _ends(self, position: Position) -> bool:
        """Returns whether the stage ends with a state that was saved, before its last step."""
        number = self._number(position.step)
        with self.average.shown(), self.log.writer.as_default(step=number):
            asked = self.after_saving and self.after_saving(number)
        return bool(of_first_worker(asked or self.settings.out_of_patience(position.waited)))

    def choose(self, position: Position) -> None:
        """Gives the model the weights with which a stage ends, which has come to a position."""
        if position.step < self.place.steps and self.settings.out_of_patience(position.waited):
            print(
                f"{self.place.model}: {self.place.stage} ends at step {position.step} of "
                f"{self.place.steps}: {position.waited} evaluations without a lower held-out loss",
                flush=True,
            )
        if self.settings.keep_best and position.best not in (None, self._number(position.step)):
            tensors = load_numbered(self.states, position.best)
            _restore(_weights(self.model, self.average, self.trainer), tensors)


def _stopped(number: int, place: Place, step: int) -> Stopped:
    return Stopped(
        f"stopped by {signal.Signals(number).name} at step {step} of {place.steps} "
        f"({place.model}: {place.stage}); its state is saved: the same command goes on from there",
        128 + number,
    )


def _variables(model: MobileBert, average: WeightAverage, trainer: keras.Model) -> dict:
    """Returns all variables that a step changes."""
    return (
        _weights(model, average, trainer)
        | _named("optimizer", trainer.optimizer.variables)
        | _named("metrics", trainer.metrics_variables)
    )


def _weights(model: MobileBert, average: WeightAverage, trainer: keras.Model) -> dict:
    """Returns the variables that a stage leaves to the next one."""
    of_model = {id(variable) for variable in model.variables}
    # Learnt with the model and dropped at the end, such as a projection.
    others = [weight for weight in trainer.weights if id(weight) not in of_model]
    return (
        _named("model", model.variables)
        | _named("average", average.variables)
        | _named("trainer", others)
    )


def _named(group: str, variables: Sequence) -> dict:
    """Returns variables by number: the names of seed generators differ between processes."""
    return {f"{group}/{number:05d}": variable for number, variable in enumerate(variables)}


def _restore(variables: dict, tensors: Mapping[str, np.ndarray]) -> None:
    for name, variable in variables.items():
        # States of 2026-11-26 and before have no metrics: they were saved when those were zero.
        if name in tensors or not name.startswith("metrics/"):
            variable.assign(tensors[name])
