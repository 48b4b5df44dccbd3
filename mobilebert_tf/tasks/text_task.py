"""Tasks on texts: classification, regression and token classification."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from seqeval.metrics import f1_score as entity_f1

from mobilebert_tf.modeling.heads import HEADS, Head, HeadName
from mobilebert_tf.tasks.examples import NO_LABEL, Examples, encode, encode_labelled_words
from mobilebert_tf.tasks.metrics import scores
from mobilebert_tf.tasks.tags import OUTSIDE, TagScheme, tag_scheme
from mobilebert_tf.tasks.task import Encoded
from mobilebert_tf.text.tokenizer import WordPiece
from mobilebert_tf.text.words import learn_joiners


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
        return Head(
            self.kind,
            self.labels,
            sequence_length,
            self.metrics[0],
            pairs=self.pairs,
            joiners=self.joiners,
        )

    @property
    def pairs(self) -> bool | None:
        """Whether the examples are pairs of texts; None for words, or without examples."""
        if self.kind == "token_classifier" or not self.splits:
            return None
        return next(iter(self.splits.values())).pairs is not None

    def encode(self, split: str, tokenizer: WordPiece, longest: int) -> Encoded:
        name = f"{self.name} {split}"
        if self.kind == "token_classifier":
            words = encode_labelled_words(self.splits[split], tokenizer, longest, name)
            return Encoded(split, words.arrays, places=words.places)
        return Encoded(split, encode(self.splits[split], tokenizer, longest, name))

    @functools.cached_property
    def tags(self) -> TagScheme:
        """How the labels of a token classifier mark entities."""
        return tag_scheme(self.labels)

    @functools.cached_property
    def joiners(self) -> tuple[str, ...]:
        """What the training words say about words of raw texts, see text/words.py."""
        has_words = self.kind == "token_classifier" and "train" in self.splits
        return learn_joiners(self.splits["train"].texts) if has_words else ()

    def predictions(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns class numbers [N] or [N,T], or scores [N], from a model's outputs by name."""
        (name,) = HEADS[self.kind].outputs
        return outputs[name][:, 0] if not self.labels else outputs[name].argmax(axis=-1)

    def score(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
        if "targets" not in encoded.arrays:
            return {}
        if self.kind != "token_classifier":
            return scores(self.metrics, encoded.arrays["targets"], self.predictions(outputs))
        found = self.word_classes(encoded, outputs)
        expected = [np.array(classes, np.int32) for classes in self.splits[encoded.split].targets]
        names = [name for name in self.metrics if name != "entity_f1"]
        values = scores(names, np.concatenate(expected), np.concatenate(found))
        if "entity_f1" in self.metrics:
            tags = [[self._bio(classes) for classes in texts] for texts in (expected, found)]
            values = {"entity_f1": float(entity_f1(*tags, zero_division=0))} | values
        return values

    def word_classes(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Returns the predicted class of each text's words, NO_LABEL for those that were cut off:
        they are missed, whatever they are."""
        result = []
        texts, predictions = self.splits[encoded.split].texts, self.predictions(outputs)
        for row, places, words in zip(predictions, encoded.places, texts, strict=True):
            classes = np.full(len(words), NO_LABEL, np.int32)
            classes[: len(places)] = row[places]
            result.append(classes)
        return result

    def _bio(self, classes: np.ndarray) -> list[str]:
        labels = [OUTSIDE if number == NO_LABEL else self.labels[number] for number in classes]
        return self.tags.to_bio(labels)

    def _named(self, prediction: np.ndarray) -> Any:
        """Returns a text's prediction as it is written: a label or a score."""
        return self.labels[int(prediction)] if self.labels else float(prediction)

    def rows(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        values = [self._named(prediction) for prediction in self.predictions(outputs)]
        examples = self.splits[encoded.split]
        rows = [
            {"id": i, "prediction": value} for i, value in zip(examples.ids, values, strict=True)
        ]
        for place, id in examples.skipped:
            rows.insert(place, {"id": id, "prediction": None})
        return rows
