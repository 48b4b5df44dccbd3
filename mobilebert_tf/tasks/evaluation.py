"""One evaluation of any model on any task: what evaluate, fine-tuning and export judge by."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.runner import Runnable, run_all
from mobilebert_tf.tasks.metrics import ranking
from mobilebert_tf.tasks.registry import MLPERF, SEQUENCE_LENGTH, SPAN_LENGTH, open_task
from mobilebert_tf.tasks.task import Encoded, Task


@dataclass(frozen=True)
class Evaluation:
    """What a model said of a split's N examples, and how good that is.

    Args:
        encoded: the examples.
        outputs: of the model by name, [N,...], classes in the task's order.
        scores: the task's, by name; none if the split has no labels.
        seconds: that the model took.
    """

    encoded: Encoded
    outputs: dict[str, np.ndarray]
    scores: dict[str, float]
    seconds: float


def evaluate_split(
    model: Runnable, task: Task, encoded: Encoded, order: Sequence[int] | None = None
) -> Evaluation:
    """Runs the model on encoded examples and scores it.

    Args:
        model: with the task's head.
        task, encoded: the task, and a split as its `encode` gives it.
        order: from `class_order`; None if model and task have the same classes.
    """
    started = time.perf_counter()
    outputs = run_all(model, encoded.arrays)
    seconds = time.perf_counter() - started
    outputs = {name: _ordered(name, values, order) for name, values in outputs.items()}
    return Evaluation(encoded, outputs, task.score(encoded, outputs), seconds)


def _ordered(name: str, values: np.ndarray, order: Sequence[int] | None) -> np.ndarray:
    return values if order is None or not name.endswith("probability") else values[..., order]


def longest(model: Runnable, task: Task, sequence_length: int | None = None) -> int:
    """Returns how many tokens of a text are read: as asked for, or as many as the head was trained
    on, or the usual number; at most what the model takes."""
    usual = SPAN_LENGTH if task.kind == "span" else SEQUENCE_LENGTH
    return min(sequence_length or model.sequence_length or usual, model.max_tokens)


def class_order(name: str, model: Runnable, task: Task) -> list[int] | None:
    """Returns the model's class number for each of the task's classes; None if it has no classes.

    Args:
        name: of the model, for messages.

    Raises InputError for a model with another head or other classes.
    """
    if model.kind != task.kind:
        raise InputError(f"{name} has a {model.kind} head, {task.name} needs a {task.kind}")
    if not task.labels:
        return None
    theirs, ours = list(model.labels), list(task.labels)
    if set(theirs) == set(ours):
        return [theirs.index(label) for label in ours]
    theirs, ours = ([label.lower() for label in labels] for labels in (theirs, ours))
    if set(theirs) == set(ours) and len(set(ours)) == len(ours) == len(theirs):
        return [theirs.index(label) for label in ours]
    if len(theirs) == len(ours) and theirs == [f"label_{i}" for i in range(len(ours))]:
        return list(range(len(ours)))  # Hugging Face's names for classes without a name
    raise InputError(
        f"{name} has the classes {', '.join(model.labels)}, {task.name} has "
        f"{', '.join(task.labels)}"
    )


def dev_scores(evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
    """Returns all scores of the dev splits, each named after its split: accuracy_matched."""
    return {
        name + split.removeprefix("dev"): value
        for split, evaluation in evaluations.items()
        for name, value in evaluation.scores.items()
    }


def dev_ranking(task: Task, evaluations: Mapping[str, Evaluation]) -> float:
    """Returns what models are ranked by: the mean of the task's metrics over its dev splits."""
    return ranking([e.scores[name] for e in evaluations.values() for name in task.metrics])


def check_options(task: str | None, data_dir: str | None) -> None:
    """Raises InputError for one setting without the other, or a task that has no dev split."""
    if (task is None) != (data_dir is None):
        raise InputError("`task` and `data_dir` go together")
    if task == MLPERF:
        raise InputError(f"`task` {MLPERF}: python -m mobilebert_tf.evaluate scores it")


class DevScores:
    """What a model scores on a task's dev splits, and how much lower other forms of it do.

    Args:
        original: the model.
        name: its path, for messages.
        task, data_dir: as for finetune.

    Raises InputError if the task's files are missing or wrong, or the model has another head.
    """

    def __init__(self, original: Runnable, name: str | Path, task: str, data_dir: str):
        self._name = str(name)
        self._task = open_task(task, data_dir, ("dev",), labels=original.labels)
        if not self._task.dev_splits:
            raise InputError(f"{data_dir} has no dev split")
        self.original = self.of(original)

    def of(self, model: Runnable) -> dict[str, float]:
        """Returns the task's metrics on all dev splits, 0 to 1."""
        task, scores = self._task, {}
        order = class_order(self._name, model, task)
        for split in task.dev_splits:
            encoded = task.encode(split, model.tokenizer, longest(model, task))
            found = evaluate_split(model, task, encoded, order).scores
            suffix = split.removeprefix("dev")
            scores |= {name + suffix: found[name] / task.unit for name in task.metrics}
        return scores

    def lost(self, scores: dict[str, float]) -> float:
        """Returns how much lower scores are than the original's, 0 to 1."""
        return ranking(self.original.values()) - ranking(scores.values())
