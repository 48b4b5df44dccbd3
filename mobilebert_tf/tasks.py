"""The tasks by name: where the examples come from, what the head is, what the score is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from seqeval.metrics import f1_score as entity_f1

from mobilebert_tf.data.examples import NO_LABEL, Examples, encode
from mobilebert_tf.data.glue import GLUE, read_split
from mobilebert_tf.data.own import Columns, has_split, read_own
from mobilebert_tf.errors import InputError
from mobilebert_tf.metrics import scores
from mobilebert_tf.model import Task
from mobilebert_tf.tokenizer import WordPiece

OWN = {  # the user's own data: kind of head, metrics
    "classification": ("classifier", ("accuracy", "macro_f1")),
    "regression": ("regression", ("pearson", "spearman")),
    "tokens": ("token_classifier", ("entity_f1", "accuracy")),
}
TASKS = (*GLUE, *OWN)
SEQUENCE_LENGTH = 128  # tokens, unless the user or the model says otherwise


@dataclass(frozen=True)
class TextTask:
    """Classification, regression or token classification of texts.

    Args:
        name: one of TASKS.
        kind: of the head (mobilebert_tf.model.Task).
        labels: in the order of the class numbers.
        metrics: the official ones.
        splits: examples by split: train, dev or the several that a task has, test.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    splits: Mapping[str, Examples] = field(default_factory=dict)

    @property
    def dev_splits(self) -> list[str]:
        return [name for name in self.splits if name.startswith("dev")]

    def head(self, sequence_length: int) -> Task:
        labels = self.labels if self.kind != "regression" else ()
        return Task(self.kind, labels, sequence_length, self.metrics[0])

    def encode(self, split: str, tokenizer: WordPiece, longest: int) -> dict[str, np.ndarray]:
        """Arrays of the split's examples, as data.examples.encode."""
        return encode(self.splits[split], tokenizer, longest)

    def predictions(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Class numbers [N] or [N,T], or scores [N], from a model's outputs by name."""
        if self.kind == "regression":
            return outputs["score"][:, 0]
        name = "token_probability" if self.kind == "token_classifier" else "probability"
        return outputs[name].argmax(axis=-1)

    def score(self, arrays: Mapping, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The metrics on encoded examples with targets."""
        targets, predictions = arrays["targets"], self.predictions(outputs)
        names = [name for name in self.metrics if name != "entity_f1"]
        found = scores(names, targets, predictions)
        if "entity_f1" in self.metrics:
            rows = [row != NO_LABEL for row in targets]
            named = [
                [[self.labels[i] for i in line[row]] for line, row in zip(lines, rows, strict=True)]
                for lines in (targets, predictions)
            ]
            found = {"entity_f1": float(entity_f1(*named, zero_division=0))} | found
        return found

    def rows(self, split: str, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """id and prediction of each text, for a table or a submission."""
        predictions = self.predictions(outputs)
        if self.kind == "regression":
            named = [float(value) for value in predictions]
        else:
            named = [self.labels[int(number)] for number in predictions]
        ids = self.splits[split].ids
        return [{"id": i, "prediction": p} for i, p in zip(ids, named, strict=True)]


def open_task(
    name: str,
    data_dir: str | Path,
    splits: Sequence[str],
    columns: Columns | None = None,
    labels: Sequence[str] | None = None,
) -> TextTask:
    """A task with the examples of some splits.

    Args:
        name: one of TASKS.
        data_dir: where its files are; "tfds" for GLUE from TensorFlow Datasets.
        splits: of train, dev and test; dev stands for all dev splits of the task, and so does
            test.
        columns: of the user's own files.
        labels: a model's, that the user's own files must have; null: those of the train split.

    Raises InputError for an unknown task, and for files that are missing or wrong.
    """
    if name in GLUE:
        task = GLUE[name]
        wanted = [dev.replace("dev", s) if s != "train" else s for s in splits for dev in task.dev]
        found = {split: read_split(name, data_dir, split) for split in dict.fromkeys(wanted)}
        kind = "classifier" if task.labels else "regression"
        return TextTask(name, kind, task.labels, task.metrics, found)
    if name not in OWN:
        raise InputError(f"no task named '{name}'; tasks: {', '.join(TASKS)}")
    kind, metrics = OWN[name]
    found = {}
    for split in splits:
        if split == "train" or has_split(data_dir, split):
            found[split], labels = read_own(data_dir, split, kind, columns or Columns(), labels)
    return TextTask(name, kind, tuple(labels or ()), metrics, found)
