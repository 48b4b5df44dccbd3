"""What every task offers, whatever its head: the one protocol behind fine-tuning and evaluation."""

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.tasks.squad import Features
from mobilebert_tf.text.tokenizer import WordPiece


@dataclass(frozen=True)
class Encoded:
    """A split's examples as a model takes them: N rows of T tokens.

    Args:
        split: its name.
        arrays: MODEL_INPUTS int32 [N,T], and `targets` if the split has labels: int32 [N] classes,
            float32 [N] scores, int32 [N,T] classes by token with NO_LABEL where there is none; for
            training on questions int32 [N,2], positions of the first and last token.
        windows: for questions, which part of which context each row is; else None.
    """

    split: str
    arrays: dict[str, np.ndarray]
    windows: Features | None = None

    def __len__(self) -> int:
        return len(self.arrays["input_ids"])


class Task(Protocol):
    """Data and metrics for one kind of head.

    Attributes:
        name: one of registry.TASKS.
        kind: of the head, a key of modeling.heads.HEADS.
        labels: names of the classes, in the order of their numbers; () if there are none.
        metrics: the scores that rank models.
        unit: the best value of these metrics: 1, or 100 for percentages.
        splits: examples, or questions, by the split's name.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    unit: float

    @property
    def splits(self) -> Mapping[str, Sized]: ...

    @property
    def dev_splits(self) -> list[str]:
        """The splits that models are judged by."""

    def head(self, sequence_length: int) -> Head:
        """Returns the head that a model needs for the task."""

    def encode(self, split: str, tokenizer: WordPiece, longest: int) -> Encoded:
        """Returns a split's examples in at most `longest` tokens."""

    def score(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns the scores by name; none if the split has no labels.

        Args:
            encoded: from `encode`.
            outputs: of a model for its arrays, by name [N,...], classes in the task's order.
        """

    def rows(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Returns id and prediction of each text or question. Arguments as for `score`."""
