"""What a training tells while it runs: history, TensorBoard, status.json and a progress bar."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import tensorflow as tf
from tqdm import tqdm

from mobilebert_tf.training.run_folder import RunFolder


@dataclass(frozen=True)
class Place:
    """A stage of a training.

    Args:
        model: the model's name within the run.
        stage: the stage's name.
        index: of the stage, from 0.
        stages: how many there are.
        steps: of the stage.
        steps_before: of the stages before it.
        total_steps: of all stages.
    """

    model: str
    stage: str
    index: int
    stages: int
    steps: int
    steps_before: int
    total_steps: int


class StageLog:
    """The log of one stage.

    Args:
        folder: of the run.
        place: the stage.
        writer: of TensorBoard's scalars and pictures.
    """

    def __init__(self, folder: RunFolder, place: Place, writer: tf.summary.SummaryWriter):
        self.folder, self.place, self.writer = folder, place, writer
        self._tokens, self._steps, self._started = 0, 0, time.perf_counter()

    @contextmanager
    def progress(self, first: int) -> Iterator[None]:
        """Shows a progress bar within the block, after the first `first` steps."""
        place = self.place
        self._write_status(first, held_out={})
        description = f"{place.model}: {place.stage}"
        with tqdm(
            total=place.steps, initial=first, desc=description, unit="step", mininterval=1
        ) as self._bar:
            self.restart_clock()
            yield

    def count(self, tokens: int) -> None:
        """Counts a step, and the tokens of its batch with padding."""
        self._tokens += tokens
        self._steps += 1
        self._bar.update()

    def restart_clock(self) -> None:
        """Begins to measure the time of steps: what lies before is not counted."""
        self._tokens, self._steps, self._started = 0, 0, time.perf_counter()

    def write(
        self,
        step: int,
        seconds: float,
        learning_rate: float,
        values: Mapping[str, float],
        held_out: Mapping[str, float],
    ) -> None:
        """Logs the steps since the clock was started.

        Args:
            step: of the stage.
            seconds: that these steps took.
            learning_rate: of the last step.
            values: means of train_step's values over the steps since the last log.
            held_out: values of an evaluation after the last step, or none.
        """
        place, total_step = self.place, self.place.steps_before + step
        seconds_per_step = seconds / self._steps
        tokens_per_second = self._tokens / seconds
        judged = {f"held_out_{name}": value for name, value in held_out.items()}
        record = {
            "model": place.model,
            "stage": place.stage,
            "stage_index": place.index,
            "step": step,
            "total_step": total_step,
            "learning_rate": learning_rate,
            **values,
            **judged,
            "ms_per_step": 1000 * seconds_per_step,
            "tokens_per_second": tokens_per_second,
        }
        self.folder.append_history(record)
        with self.writer.as_default(step=total_step):
            for name in (*values, *judged, "learning_rate", "tokens_per_second"):
                tf.summary.scalar(name, record[name])
        self._write_status(
            step,
            loss=values["loss"],
            learning_rate=learning_rate,
            tokens_per_second=tokens_per_second,
            seconds_left=(place.total_steps - total_step) * seconds_per_step,
            **({"held_out": dict(held_out)} if held_out else {}),
        )
        shown = {"loss": f"{values['loss']:.3f}", "rate": f"{learning_rate:.2e}"}
        shown |= {"held_out_loss": f"{held_out['loss']:.3f}"} if held_out else {}
        self._bar.set_postfix(shown, tokens_per_s=f"{tokens_per_second:,.0f}")

    def _write_status(self, step: int, **values) -> None:
        place = self.place
        self.folder.status.write(
            "running",
            model=place.model,
            stage=place.stage,
            stage_number=place.index + 1,
            stages=place.stages,
            step=step,
            steps=place.steps,
            total_step=place.steps_before + step,
            total_steps=place.total_steps,
            **values,
        )

    @property
    def seconds(self) -> float:
        """The seconds since the clock was started."""
        return time.perf_counter() - self._started
