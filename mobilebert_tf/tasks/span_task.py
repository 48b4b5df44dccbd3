"""Question answering tasks: SQuAD, and MLPerf Mobile's benchmark on its windows of SQuAD."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.heads import Head, HeadName
from mobilebert_tf.modeling.model import MODEL_INPUTS
from mobilebert_tf.tasks.mlperf import MlperfSquad, app_answers, score_mlperf
from mobilebert_tf.tasks.squad import Question
from mobilebert_tf.tasks.squad_answers import Answer, answers, score
from mobilebert_tf.tasks.squad_windows import Features, make_features, proportions
from mobilebert_tf.tasks.task import Encoded
from mobilebert_tf.text.tokenizer import WordPiece


@dataclass(frozen=True)
class SpanTask:
    """Extractive question answering in windows of the contexts; see Task.

    Args:
        name: squad, or squad-v2, in which a question may have no answer.
        splits: questions by name of the split: train, dev, test.
    """

    name: str
    splits: Mapping[str, Sequence[Question]]
    kind: ClassVar[HeadName] = "span"
    labels: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[tuple[str, ...]] = ("f1", "exact")
    unit: ClassVar[float] = 100.0
    pairs: ClassVar[None] = None

    @property
    def dev_splits(self) -> list[str]:
        return [name for name in self.splits if name == "dev"]

    def head(self, sequence_length: int) -> Head:
        return Head("span", (), sequence_length, self.metrics[0])

    def encode(self, split: str, tokenizer: WordPiece, longest: int) -> Encoded:
        """Returns all windows of the split's contexts; those of the train split have targets.

        Raises InputError if no context has any text.
        """
        training = split == "train"
        stride, longest_question = proportions(longest)
        windows = make_features(
            self.splits[split],
            tokenizer,
            sequence_length=longest,
            stride=stride,
            longest_question=longest_question,
            training=training,
        )
        for reason, count in (windows.skipped | windows.changed).items():
            print(f"{self.name} {split}: {count} questions: {reason}")
        arrays = _inputs(windows)
        if not len(arrays["input_ids"]):
            raise InputError(f"{self.name} {split}: no question has a context with text")
        if training:
            ends = (windows.start_positions, windows.end_positions)
            arrays["targets"] = np.stack(ends, axis=1)
        return Encoded(split, arrays, windows)

    def answers(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> dict[str, Answer]:
        """Returns the answer to each question by its id."""
        logits = (outputs["start_logits"], outputs["end_logits"])
        version_2 = self.name == "squad-v2"
        questions = self.splits[encoded.split]
        return answers(questions, encoded.windows, *logits, version_2=version_2)

    def score(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns the official exact match and F1 in percent; {} for a test split of which not
        every answer is known.

        For SQuAD 2.0 also the best scores that any threshold between "no answer" and the best span
        would reach, and those thresholds.
        """
        predictions, questions = self.answers(encoded, outputs), self.splits[encoded.split]
        if encoded.split == "test" and not _has_answers(questions):
            return {}
        texts = {id: answer.text for id, answer in predictions.items()}
        if self.name != "squad-v2":
            values = score(questions, texts)
            return {name: values[name] for name in self.metrics}
        nulls = {id: answer.null_score_difference for id, answer in predictions.items()}
        # The best thresholds are those for the best span of each question, declined or not.
        spans = {
            id: next((span.text for span in answer.best if span.text), "")
            for id, answer in predictions.items()
        }
        values = score(questions, texts, nulls)
        span_values = score(questions, spans, nulls)
        values |= {name: span_values[name] for name in span_values if name.startswith("best_")}
        return {name: value for name, value in values.items() if not name.endswith("total")}

    def rows(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        predictions = self.answers(encoded, outputs)
        return [{"id": id, "prediction": answer.text} for id, answer in predictions.items()]


@dataclass(frozen=True)
class MlperfTask:
    """MLPerf Mobile's question answering benchmark, with its own windows and score; see Task."""

    data: MlperfSquad
    name: ClassVar[str] = "mlperf-squad"
    kind: ClassVar[HeadName] = "span"
    labels: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[tuple[str, ...]] = ("f1",)
    unit: ClassVar[float] = 100.0
    pairs: ClassVar[None] = None

    @property
    def splits(self) -> dict[str, Sequence[Question]]:
        return {"dev": self.data.questions}

    @property
    def dev_splits(self) -> list[str]:
        return ["dev"]

    def head(self, sequence_length: int) -> Head:
        return Head("span", (), sequence_length, self.metrics[0])

    def encode(self, split: str, tokenizer: WordPiece, longest: int) -> Encoded:
        """Returns the benchmark's own windows of 384 tokens.

        Raises InputError for a model that takes fewer tokens.
        """
        arrays = _inputs(self.data.features)
        width = arrays["input_ids"].shape[1]
        if longest < width:
            raise InputError(f"the benchmark has {width} tokens, the model takes {longest}")
        return Encoded(split, arrays, self.data.features)

    def score(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
        return score_mlperf(self.data, outputs["start_logits"], outputs["end_logits"])

    def rows(self, encoded: Encoded, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        texts = app_answers(self.data, outputs["start_logits"], outputs["end_logits"])
        return [{"id": id, "prediction": text} for id, text in texts.items()]


def _has_answers(questions: Sequence[Question]) -> bool:
    known = all(question.answers or question.is_impossible for question in questions)
    return known and any(question.answers for question in questions)


def _inputs(windows: Features) -> dict[str, np.ndarray]:
    return {name: getattr(windows, name) for name in MODEL_INPUTS}
