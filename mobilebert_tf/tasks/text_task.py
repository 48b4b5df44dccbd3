"""Tasks on texts: classification, regression and token classification."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from seqeval.metrics import f1_score as entity_f1

from mobilebert_tf.modeling.heads import HEADS, Head, HeadName
from mobilebert_tf.tasks.examples import NO_LABEL, Examples, encode
from mobilebert_tf.tasks.metrics import scores
from mobilebert_tf.tasks.task import Encoded
from mobilebert_tf.text.tokenizer import WordPiece


@dataclass(frozen=True)
class TextTask:
    """Classification, regression or token classification of texts; see Task.

    Args:
        name: one of registry.TASKS.
        kind: of the head: classifier, regression or token_classifier.
        labels: in the order of the class numbers.
        metrics: names of the task's official metrics.
        splits: examples by name of the split.
    """

    name: str
    kind: HeadName
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    splits: Mapping[str, Examples] = field(default_factory=dict)
    unit: ClassVar[float] = 1.0

    @property
    def dev_splits(self) -> list[str]:
        return [name for name in self.splits if name.startswith("dev")]

    def head(self, sequence_length: int) -> Head:
        return Head(self.kind, self.labels, sequence_length, self.metrics[0])

    def encode(self, split: str, tokenizer: WordPiece, longest: int) -> Encoded:
        return Encoded(split, encode(self.splits[split], tokenizer, longest))

    def predictions(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns class numbers [N] or [N,T], or scores [N], from a model's outputs by name."""
        (name,) = HEADS[self.kind].outputs
        return outputs[name][:, 0] if not self.labels else outputs[name].argmax(axis=-1)

    def score(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
        if "targets" not in encoded.arrays:
            return {}
        targets, predictions = encoded.arrays["targets"], self.predictions(outputs)
        names = [name for name in self.metrics if name != "entity_f1"]
        values = scores(names, targets, predictions)
        if "entity_f1" in self.metrics:
            expected, predicted = (
                self._word_labels(classes, targets) for classes in (targets, predictions)
            )
            values = {"entity_f1": float(entity_f1(expected, predicted, zero_division=0))} | values
        return values

    def _word_labels(self, classes: np.ndarray, targets: np.ndarray) -> list[list[str]]:
        """Returns the labels of each text's words, from classes by token [N,T]."""
        return [
            [self.labels[number] for number in row[target != NO_LABEL]]
            for row, target in zip(classes, targets, strict=True)
        ]

    def rows(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        predictions = self.predictions(outputs)
        if self.labels:
            values = [self.labels[int(number)] for number in predictions]
        else:
            values = [float(score) for score in predictions]
        ids = self.splits[encoded.split].ids
        return [{"id": i, "prediction": value} for i, value in zip(ids, values, strict=True)]
