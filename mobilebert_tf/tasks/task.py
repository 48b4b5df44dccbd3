"""The interface of a task, through which fine-tuning and evaluation use every kind of head."""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mobilebert_tf.modeling.heads import Head, HeadName
from mobilebert_tf.tasks.squad_windows import Features
from mobilebert_tf.text.tokenizer import WordPiece


@dataclass(frozen=True)
class Encoded:
    """The examples of a split as inputs of a model: N rows of T tokens.

    Args:
        split: name of the split.
        arrays: MODEL_INPUTS int32 [N,T], and `targets` if the split has labels. Targets are int32
            [N] classes, float32 [N] scores, float32 [N,C] with 1 for the labels that a text has, or
            int32 [N,T] classes of tokens with NO_LABEL where there is none; for training on
            questions int32 [N,2], the positions of the answer's first and last token.
        windows: for questions, the part of a context that each row holds; else None.
        places: for lists of words, the tokens at which each row's words begin, as in
            examples.EncodedWords; else None.
    """

    split: str
    arrays: dict[str, np.ndarray]
    windows: Features | None = None
    places: Sequence[np.ndarray] | None = None

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
        splits: examples, or questions, by name of the split.
        pairs: whether the examples are pairs of texts; None if that has no meaning.
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> HeadName: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def metrics(self) -> tuple[str, ...]: ...

    @property
    def unit(self) -> float: ...

    @property
    def pairs(self) -> bool | None: ...

    @property
    def splits(self) -> Mapping[str, Sized]: ...

    @property
    def dev_splits(self) -> list[str]:
        """The splits by whose scores models are ranked."""

    def head(self, sequence_length: int) -> Head:
        """Returns the head that a model needs for the task."""

    def encode(self, split: str, tokenizer: WordPiece, longest: int) -> Encoded:
        """Returns a split's examples in at most `longest` tokens."""

    def score(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns the scores by name; an empty dict if the split has no labels.

        Args:
            encoded: from `encode`.
            outputs: of a model for its arrays, by name [N,...], classes in the task's order, as in
                evaluation.Evaluation.
        """

    def rows(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Returns {"id", "prediction"} of each text or question; the prediction of rows of the
        file that were skipped is None. Arguments as for `score`."""
