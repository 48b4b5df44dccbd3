"""The evaluation of a model on a task, which evaluate, fine-tuning and export share."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilebert_tf.errors import InputError, check_number
from mobilebert_tf.modeling.heads import HEADS
from mobilebert_tf.modeling.model import SHORTEST
from mobilebert_tf.modeling.runner import Runnable, chosen_labels, run_all
from mobilebert_tf.tasks.glue import GLUE
from mobilebert_tf.tasks.metrics import ranking
from mobilebert_tf.tasks.multi_label_task import best_thresholds
from mobilebert_tf.tasks.registry import MLPERF, SEQUENCE_LENGTH, SPAN_LENGTH, open_task
from mobilebert_tf.tasks.task import Encoded, Task
from mobilebert_tf.tasks.text_task import TextTask
from mobilebert_tf.tasks.user_files import Columns

BY_CLASS = ("probability", "token_probability", "chosen")  # outputs with an entry for each class


@dataclass(frozen=True)
class Evaluation:
    """The outputs and scores of a model for the N examples of a split.

    Args:
        encoded: the examples.
        outputs: of the model by name, [N,...], classes in the task's order; of a
            multi_label_classifier also `chosen`, the labels from their thresholds on, bool [N,C].
        thresholds: if they are new, of these labels in the task's order.
        scores: the task's scores by name; empty if the split has no labels.
        seconds: how long the model ran.
    """

    encoded: Encoded
    outputs: dict[str, np.ndarray]
    scores: dict[str, float]
    seconds: float
    thresholds: tuple[float, ...] = ()


def evaluate_split(
    model: Runnable,
    task: Task,
    encoded: Encoded,
    order: Sequence[int] | None = None,
    new_thresholds: bool = False,
) -> Evaluation:
    """Runs a model on encoded examples and scores its outputs.

    Args:
        model: with the task's head, or an encoder for pairs of texts with a score.
        task: the task.
        encoded: a split, from the task's `encode`.
        order: from `class_order`; None if model and task have the same classes in the same order.
        new_thresholds: choose labels by the thresholds that are best for this split, not by the
            model's; for a multi_label_classifier.
    """
    started = time.perf_counter()
    if model.kind != task.kind and isinstance(task, TextTask):
        outputs = {"score": _similarities(model, task, encoded)[:, None]}
    else:
        outputs = run_all(model, encoded.arrays)
    seconds = time.perf_counter() - started
    multi_label = HEADS[model.kind].multi_label
    thresholds: tuple[float, ...] = ()
    if multi_label and not new_thresholds:
        outputs["chosen"] = chosen_labels(model, outputs["probability"])
    if order is not None:
        outputs = {
            name: values[..., order] if name in BY_CLASS else values
            for name, values in outputs.items()
        }
    if multi_label and new_thresholds:
        thresholds = best_thresholds(encoded.arrays["targets"], outputs["probability"])
        outputs["chosen"] = outputs["probability"] >= np.array(thresholds)
    return Evaluation(encoded, outputs, task.score(encoded, outputs), seconds, thresholds)


def _similarities(model: Runnable, task: TextTask, encoded: Encoded) -> np.ndarray:
    """Returns the cosine of an encoder's embeddings for each pair of texts of a split, [N].

    A text has at most as many tokens as the longest pair.
    """
    examples, longest = task.splits[encoded.split], encoded.arrays["input_ids"].shape[1]
    first, second = (
        run_all(model, model.tokenizer.encode(texts, None, longest))["embedding"]
        for texts in (examples.texts, examples.pairs)
    )
    lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return (first * second).sum(axis=-1) / np.maximum(lengths, SHORTEST)


def max_length(model: Runnable, task: Task, sequence_length: int | None = None) -> int:
    """Returns the largest number of tokens to encode texts in, at most what the model takes.

    Args:
        model: its sequence_length is used if none is given.
        task: its usual length is used if the model does not have one either.
        sequence_length: the length that the user wants.

    Raises InputError if that is more than the model takes.
    """
    if sequence_length is not None and sequence_length > model.max_tokens:
        raise InputError(
            f"`sequence_length` {sequence_length}: the model takes at most {model.max_tokens}"
        )
    usual = SPAN_LENGTH if task.kind == "span" else SEQUENCE_LENGTH
    return min(sequence_length or model.sequence_length or usual, model.max_tokens)


def class_order(name: str, model: Runnable, task: Task) -> list[int] | None:
    """Returns the model's class number for each class of the task; None for a task without classes.

    Args:
        name: of the model, for messages.
        model: a model for the task.
        task: the task.

    An encoder scores pairs of texts by the cosine of their embeddings.

    Raises InputError for a model with another head or other classes, and for a model of pairs of
    texts on single ones.
    """
    if model.kind == "encoder" and task.kind == "regression" and task.pairs:
        return None
    if model.kind != task.kind:
        raise InputError(f"{name} has a {model.kind} head, {task.name} needs a {task.kind}")
    if model.pairs and task.pairs is False:
        raise InputError(
            f"{name} was trained on pairs of texts, {task.name} has single ones: `columns.pair`"
        )
    if not task.labels:
        return None
    names, wanted = list(model.labels), list(task.labels)
    if set(names) == set(wanted):
        return [names.index(label) for label in wanted]
    names = [_spelled_alike(label) for label in names]
    words = GLUE[task.name].words if task.name in GLUE else ()
    for labels in (wanted, words):
        wanted = [_spelled_alike(label) for label in labels]
        if set(names) == set(wanted) and len(set(wanted)) == len(wanted) == len(names):
            return [names.index(label) for label in wanted]
    if names == [f"label_{i}" for i in range(len(task.labels))]:  # Hugging Face's default names
        print(
            f"{name} does not name its classes: taken for {', '.join(task.labels)}, in this order"
        )
        return list(range(len(names)))
    raise InputError(
        f"{name} has the classes {', '.join(model.labels)}, {task.name} has "
        f"{', '.join(task.labels)}"
    )


def _spelled_alike(label: str) -> str:
    """Returns a label in lower case, its words joined with underscores: "Not equivalent"."""
    return re.sub(r"[ -]", "_", label.lower())


def dev_scores(evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
    """Returns all scores of the dev splits, named for their splits: "accuracy_matched"."""
    return {
        name + split.removeprefix("dev"): value
        for split, evaluation in evaluations.items()
        for name, value in evaluation.scores.items()
    }


def dev_ranking(task: Task, evaluations: Mapping[str, Evaluation]) -> float:
    """Returns the mean of the task's metrics over its dev splits, by which models are ranked."""
    return ranking([e.scores[name] for e in evaluations.values() for name in task.metrics])


def check_options(task: str | None, data_dir: str | None, max_drop: float) -> None:
    """Raises InputError for a task without data or the other way round, for MLPerf's task, or for a
    largest drop of the score that is no number from 0 on."""
    if (task is None) != (data_dir is None):
        raise InputError("`task` and `data_dir` go together")
    if task == MLPERF:
        raise InputError(f"`task` {MLPERF}: python -m mobilebert_tf.evaluate scores it")
    check_number("max_drop", max_drop, 0)


class DevScores:
    """The dev scores of a model, and how much lower those of its exported files are.

    Args:
        original: the model.
        name: its path, for messages.
        task: name of the task.
        data_dir: of the task's files.
        columns: of these.

    Raises InputError if the task's files are missing or wrong, or the model has another head.
    """

    def __init__(
        self,
        original: Runnable,
        name: str | Path,
        task: str,
        data_dir: str,
        columns: Columns | None = None,
    ):
        self._name = str(name)
        self._task = open_task(task, data_dir, ("dev",), columns, labels=original.labels)
        if not self._task.dev_splits:
            raise InputError(f"{data_dir} has no dev split")
        self.original = self.score(original)

    def score(self, model: Runnable) -> dict[str, float]:
        """Returns the task's metrics on all dev splits, 0 to 1."""
        task, scores = self._task, {}
        order = class_order(self._name, model, task)
        for split in task.dev_splits:
            encoded = task.encode(split, model.tokenizer, max_length(model, task))
            split_scores = evaluate_split(model, task, encoded, order).scores
            suffix = split.removeprefix("dev")
            scores |= {name + suffix: split_scores[name] / task.unit for name in task.metrics}
        return scores

    def drop(self, scores: dict[str, float]) -> float:
        """Returns how much lower the scores are than the original's, 0 to 1."""
        return ranking(self.original.values()) - ranking(scores.values())
