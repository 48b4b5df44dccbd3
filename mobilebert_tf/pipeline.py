"""Pipeline(path)(texts): predictions of a model for raw text, with character offsets."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from scipy.special import softmax

from mobilebert_tf.checkpoints.formats import load
from mobilebert_tf.errors import HIGHEST_FLOAT, InputError, check_number
from mobilebert_tf.lite.runtime import MOST_THREADS, LiteModel
from mobilebert_tf.modeling.model import MODEL_INPUTS
from mobilebert_tf.modeling.runner import KerasModel, Runnable, chosen_labels, run_all
from mobilebert_tf.results import (
    Answered,
    Candidate,
    Classified,
    Embedded,
    Filled,
    Labelled,
    MultiLabelClassified,
    Result,
    Scored,
    TextSpan,
)
from mobilebert_tf.tasks.examples import encode_words
from mobilebert_tf.tasks.registry import SPAN_LENGTH
from mobilebert_tf.tasks.squad import Question
from mobilebert_tf.tasks.squad_answers import Answer, answers
from mobilebert_tf.tasks.squad_windows import make_features, proportions
from mobilebert_tf.tasks.tags import OUTSIDE, tag_scheme
from mobilebert_tf.text.offsets import tokenize_with_offsets
from mobilebert_tf.text.words import continued_words


def open_model(path: str | Path, num_threads: int = 1) -> Runnable:
    """Opens a .tflite file, a model directory, or another format that convert reads.

    Args:
        path: of the file or folder.
        num_threads: number of threads for a .tflite file.

    Raises InputError if it is none of them, or has no vocabulary.
    """
    check_number("num_threads", num_threads, 1, MOST_THREADS)
    if Path(path).suffix == ".tflite":
        return LiteModel(path, num_threads)
    loaded = load(path)
    if loaded.tokenizer is None:
        raise InputError(f"{path} has no vocabulary (vocab.txt): it cannot read text")
    return KerasModel(loaded.model, loaded.tokenizer)


class Pipeline:
    """A model with its tokenizer, from text to results.

    Args:
        model: a .tflite file, a model directory, a Hugging Face folder; or an opened model.
        top: number of candidates for each [MASK] or answer.
        truncate: cut texts that are too long for the model, which else raise an error. Questions
            are cut to a sixth of its tokens in any case; their contexts may have any length, and
            are read in windows.
        null_threshold: allow "no answer" to a question (SQuAD 2.0), if its score is higher than
            that of the best answer by more than this; None for an answer in any case.
        num_threads: number of threads for a .tflite file.

    Called with a text and perhaps its pair (a second text, the context of a question) it returns a
    Result; called with several of them, a list of Results. A token classifier also takes lists of
    words, and labels each as in training: pipeline([["The", "U.S.", "team"]]).

    Raises InputError for text that the model cannot take.
    """

    def __init__(
        self,
        model: str | Path | Runnable,
        top: int = 5,
        truncate: bool = False,
        null_threshold: float | None = None,
        num_threads: int = 1,
    ):
        check_number("top", top, 1)
        check_number("null_threshold", null_threshold, -HIGHEST_FLOAT)
        self.model = open_model(model, num_threads) if isinstance(model, str | Path) else model
        self.top, self.truncate, self.null_threshold = top, truncate, null_threshold
        self.cut = 0  # number of texts that were cut so far
        self._run = {
            "pretraining": self._fill_masks,
            "masked_lm": self._fill_masks,
            "classifier": self._classify,
            "multi_label_classifier": self._classify_multi_label,
            "next_sentence": self._classify,
            "regression": self._score,
            "multiple_choice": self._score,
            "token_classifier": self._label_words,
            "span": self._answer,
            "encoder": self._embed,
        }[self.model.kind]

    @overload
    def __call__(self, texts: str, pairs: str | None = None) -> Result: ...

    @overload
    def __call__(
        self,
        texts: list[str] | list[list[str]] | list[str | list[str]] | tuple[str, ...],
        pairs: str | list[str] | tuple[str, ...] | None = None,
    ) -> list[Result]: ...

    def __call__(self, texts, pairs=None):
        if isinstance(texts, str):
            return self([texts], None if pairs is None else [pairs])[0]
        for argument in (texts, pairs):
            if not isinstance(argument, Iterable | None) or texts is None:
                raise InputError(f"{argument!r} is neither a text nor a list of texts")
        texts = list(texts)
        if isinstance(pairs, str):  # one context for all questions
            pairs = [pairs] * len(texts)
        pairs = None if pairs is None else list(pairs)
        if pairs is not None and len(pairs) != len(texts):
            raise InputError(f"{len(texts)} texts but {len(pairs)} pairs: give one pair per text")
        if texts and all(isinstance(text, list | tuple) for text in texts):
            return self._label_given_words(texts, pairs)
        for text in (*texts, *(pairs or ())):
            if not isinstance(text, str):
                raise InputError(f"{text!r} is no text")
        return self._run(texts, pairs) if texts else []

    def _outputs(self, texts, pairs, special_tokens: bool = False) -> tuple[dict, dict]:
        """Returns the encoded texts and the model's outputs by name, [N,...] each."""
        longest = self.model.max_tokens
        if self.model.pairs and pairs is None:
            raise InputError(
                "the model was trained on pairs of texts: give the second text, as `context` or "
                "from a `pair_column`"
            )
        arrays = self.model.tokenizer.encode(texts, pairs, special_tokens=special_tokens)
        if self._must_cut(texts, arrays):
            arrays = self.model.tokenizer.encode(texts, pairs, longest, special_tokens)
        return arrays, run_all(self.model, arrays)

    def _must_cut(self, texts: Sequence[str], arrays: dict[str, np.ndarray]) -> bool:
        """Returns whether texts are too long. Raises InputError if they may not be cut."""
        longest, tokens = self.model.max_tokens, arrays["input_mask"].sum(axis=1)
        if not (tokens > longest).any():
            return False
        if not self.truncate:
            row = int(tokens.argmax())
            raise InputError(
                f"the text is too long: {tokens[row]} tokens, the model takes {longest}: "
                f"{texts[row][:40]!r}..."
            )
        self.cut += int((tokens > longest).sum())
        return True

    def _fill_masks(self, texts, pairs) -> list[Filled]:
        arrays, outputs = self._outputs(texts, pairs, special_tokens=True)
        vocabulary = self.model.tokenizer.vocabulary
        results = []
        for row, text in enumerate(texts):
            masks = np.flatnonzero(arrays["input_ids"][row] == self.model.tokenizer.mask_id)
            if not len(masks):
                raise InputError(f"no [MASK] in the text to fill: {text!r}")
            probabilities = softmax(outputs["mlm_logits"][row, masks], axis=-1)  # [masks,V]
            order = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top]
            candidates = [
                [Candidate(vocabulary[i], float(p[i])) for i in best]
                for p, best in zip(probabilities, order, strict=True)
            ]
            results.append(Filled(text, candidates))
        return results

    def _classify(self, texts, pairs) -> list[Classified]:
        _, outputs = self._outputs(texts, pairs)
        labels = self.model.labels
        results = []
        for text, row in zip(texts, outputs["probability"], strict=True):
            best = int(row.argmax())
            results.append(Classified(text, labels[best], float(row[best]), self._by_label(row)))
        return results

    def _classify_multi_label(self, texts, pairs) -> list[MultiLabelClassified]:
        _, outputs = self._outputs(texts, pairs)
        rows = outputs["probability"]
        results = []
        for text, row, chosen in zip(texts, rows, chosen_labels(self.model, rows), strict=True):
            best_first = np.argsort(-row, kind="stable")
            labels = [self.model.labels[i] for i in best_first if chosen[i]]
            results.append(MultiLabelClassified(text, labels, self._by_label(row)))
        return results

    def _by_label(self, row: np.ndarray) -> dict[str, float]:
        """Returns the probabilities [C] by the names of their labels."""
        return {label: float(p) for label, p in zip(self.model.labels, row, strict=True)}

    def _score(self, texts, pairs) -> list[Scored]:
        _, outputs = self._outputs(texts, pairs)
        values = outputs["score"][:, 0]
        return [Scored(text, float(value)) for text, value in zip(texts, values, strict=True)]

    def _embed(self, texts, pairs) -> list[Embedded]:
        _, outputs = self._outputs(texts, pairs)
        rows = outputs["embedding"]
        return [Embedded(text, row.tolist()) for text, row in zip(texts, rows, strict=True)]

    def _label_words(self, texts, pairs) -> list[Labelled]:
        if pairs is not None:
            raise InputError("words are labelled in single texts: leave out the second text")
        encoded = tokenize_with_offsets(self.model.tokenizer, texts)
        arrays, outputs = self._outputs(texts, None)
        tokens = arrays["input_mask"].sum(axis=1)
        results = []
        for text, pieces, rows, used in zip(
            texts, encoded, outputs["token_probability"], tokens, strict=True
        ):
            rows = rows[1 : used - 1]  # without [CLS], [SEP]; fewer than pieces if truncated
            words = list(self._words(text, pieces, rows))
            results.append(Labelled(text, words, self._entities(text, words)))
        return results

    def _label_given_words(self, texts, pairs) -> list[Labelled]:
        """Returns the results for lists of words, as _label_words does."""
        if self.model.kind != "token_classifier" or pairs is not None:
            raise InputError("a list of words is for a token classifier, without a second text")
        for word in itertools.chain.from_iterable(texts):
            if not isinstance(word, str):
                raise InputError(f"{word!r} is no text")
        joined = [" ".join(words) for words in texts]
        encoded = encode_words(texts, self.model.tokenizer)
        if self._must_cut(joined, encoded.arrays):
            encoded = encode_words(texts, self.model.tokenizer, self.model.max_tokens)
        outputs = run_all(self.model, encoded.arrays)["token_probability"]
        results = []
        for text, words, places, rows in zip(joined, texts, encoded.places, outputs, strict=True):
            spans, start = [], 0
            for word, row in itertools.zip_longest(words, rows[places]):
                label, probability = ("", 0.0) if row is None else self._best_label(row)
                end = start + len(word)
                spans.append(
                    TextSpan(word, start=start, end=end, label=label, probability=probability)
                )
                start = end + 1
            results.append(Labelled(text, spans, self._entities(text, spans)))
        return results

    def _best_label(self, row: np.ndarray) -> tuple[str, float]:
        return self.model.labels[int(row.argmax())], float(row.max())

    def _words(self, text: str, pieces, rows: np.ndarray) -> Iterator[TextSpan]:
        """Yields the words of a text, each with the label of its first piece, as in training."""
        names = self.model.tokenizer.tokens(pieces.ids)
        continued = [name.startswith("##") for name in names]
        parts, first = _joined(pieces.spans[: len(rows)], continued)
        spans, kept = _joined(parts, continued_words(text, parts, self.model.joiners))
        for (start, end), index in zip(spans, kept, strict=True):
            label, probability = self._best_label(rows[first[index]])
            yield TextSpan(
                text[start:end], start=start, end=end, label=label, probability=probability
            )

    def _entities(self, text: str, words: Sequence[TextSpan]) -> list[TextSpan]:
        """Returns entities, joined from labelled words, with the lowest probability of these."""
        entities: list[TextSpan] = []
        labels = [word.label or OUTSIDE for word in words]
        tags = tag_scheme(self.model.labels).to_bio(labels)
        for word, tag in zip(words, tags, strict=True):
            letter, _, kind = tag.partition("-")
            if not kind:
                continue
            start, probability = word.start, word.probability
            if letter == "I":
                last = entities.pop()
                start, probability = last.start, min(last.probability, word.probability)
            entities.append(
                TextSpan(
                    text[start : word.end],
                    start=start,
                    end=word.end,
                    label=kind,
                    probability=probability,
                )
            )
        return entities

    def _answer(self, texts, pairs) -> list[Answered]:
        if pairs is None:
            raise InputError("a question is answered from a text: give it as its pair (`context`)")
        questions = [
            Question(str(i), question, context, answers=(), starts=(), is_impossible=False)
            for i, (question, context) in enumerate(zip(texts, pairs, strict=True))
        ]
        length = min(self.model.sequence_length or SPAN_LENGTH, self.model.max_tokens)
        stride, longest_question = proportions(length)
        features = make_features(
            questions,
            self.model.tokenizer,
            sequence_length=length,
            stride=stride,
            longest_question=longest_question,
        )
        if features.skipped.get("no text"):
            raise InputError("the context holds no text to answer from")
        self.cut += sum(features.changed.values())  # of the questions
        outputs = run_all(self.model, {name: getattr(features, name) for name in MODEL_INPUTS})
        answers_by_id = answers(
            questions,
            features,
            outputs["start_logits"],
            outputs["end_logits"],
            best=self.top,
            null_threshold=self.null_threshold or 0.0,
            version_2=self.null_threshold is not None,
        )
        return [_answered(question, answers_by_id[question.id]) for question in questions]


def _answered(question: Question, answer: Answer) -> Answered:
    candidates = [
        TextSpan(
            span.text,
            start=span.start,
            end=span.end,
            label="answer" if span.text else "none",
            probability=float(span.probability),
        )
        for span in answer.best
    ]
    return Answered(
        question.question,
        answer=answer.text,
        start=answer.start,
        end=answer.end,
        probability=float(answer.probability),
        candidates=candidates,
    )


def _joined(
    spans: Sequence[tuple[int, int]], continued: Sequence[bool]
) -> tuple[list[tuple[int, int]], list[int]]:
    """Returns the spans, each joined with those behind it that continue it, and their indices."""
    joined, indices = [], []
    for index, (start, end) in enumerate(spans):
        if continued[index] and joined:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
            indices.append(index)
    return joined, indices
