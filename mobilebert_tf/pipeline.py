"""Pipeline(path)(texts): what a model says of raw text, with character offsets into it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilebert_tf.data.answers import answers
from mobilebert_tf.data.squad import Question, make_features, proportions
from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.runtime import Runnable, softmax
from mobilebert_tf.offsets import tokenize_with_offsets
from mobilebert_tf.outputs import MODEL_INPUTS, open_any, run_all
from mobilebert_tf.tasks import SPAN_LENGTH


@dataclass(frozen=True)
class Candidate:
    """A token for a [MASK]."""

    token: str
    probability: float


@dataclass(frozen=True)
class Filled:
    """For each [MASK] of the text its candidates, best first."""

    text: str
    masks: list[list[Candidate]]


@dataclass(frozen=True)
class Classified:
    """The likeliest class, and all of them."""

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Scored:
    """A regression's value, or how good a choice the text is."""

    text: str
    score: float


@dataclass(frozen=True)
class Stretch:
    """text[start:end] and what it is called: a word, or an entity of several."""

    text: str
    start: int
    end: int
    label: str
    probability: float


@dataclass(frozen=True)
class Labelled:
    """The label of each word (and of each punctuation mark), and the entities if they are B-, I-,
    O."""

    text: str
    words: list[Stretch]
    entities: list[Stretch]


@dataclass(frozen=True)
class Answered:
    """The answer is context[start:end]; "" if there is none. candidates: best first."""

    text: str
    answer: str
    start: int
    end: int
    probability: float
    candidates: list[Stretch]


@dataclass(frozen=True)
class Embedded:
    """The encoder's embedding of the text, [H]."""

    text: str
    embedding: list[float]


Result = Filled | Classified | Scored | Labelled | Answered | Embedded


class Pipeline:
    """A model with its tokenizer, from text to results.

    Args:
        model: a .tflite file, a model directory, a Hugging Face folder; or an opened one.
        top: candidates for each [MASK] or answer.
        truncate: cut texts that the model cannot take whole; else they are errors. Contexts of
            questions may always have any length: they are read in windows.
        null_threshold: for questions whose context may hold no answer (SQuAD 2.0): how much better
            "no answer" must score than the best answer; None: there always is one.
        num_threads: of a .tflite file.

    Called with a text, or several, and their pairs (second texts; the contexts of questions), it
    gives one Result, or a list of them. Raises InputError for text that it cannot take.
    """

    def __init__(
        self,
        model: str | Path | Runnable,
        top: int = 5,
        truncate: bool = False,
        null_threshold: float | None = None,
        num_threads: int = 1,
    ):
        if top < 1:
            raise InputError(f"top is {top}: at least 1")
        self.model = open_any(model, num_threads) if isinstance(model, str | Path) else model
        self.top, self.truncate, self.null_threshold = top, truncate, null_threshold
        self._run = {
            "pretraining": self._fill_masks,
            "masked_lm": self._fill_masks,
            "classifier": self._classify,
            "next_sentence": self._classify,
            "regression": self._score,
            "multiple_choice": self._score,
            "token_classifier": self._label_words,
            "span": self._answer,
            "encoder": self._embed,
        }[self.model.kind]

    def __call__(
        self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None
    ) -> Result | list[Result]:
        if isinstance(texts, str):
            return self([texts], None if pairs is None else [pairs])[0]
        for given in (texts, pairs):
            if not isinstance(given, Iterable | None) or texts is None:
                raise InputError(f"{given!r} is neither a text nor several")
        if isinstance(pairs, str):  # one context for all questions
            pairs = [pairs] * len(texts)
        if pairs is not None and len(pairs) != len(texts):
            raise InputError(f"{len(texts)} texts but {len(pairs)} pairs: give one pair per text")
        pairs = None if pairs is None else list(pairs)
        for text in (*texts, *(pairs or ())):
            if not isinstance(text, str):
                raise InputError(f"{text!r} is no text")
        return self._run(list(texts), pairs) if len(texts) else []

    def _outputs(self, texts, pairs, special_tokens: bool = False) -> tuple[dict, dict]:
        """The encoded texts and the model's outputs, [N,...] each."""
        longest = self.model.max_tokens
        arrays = self.model.tokenizer.encode(texts, pairs, special_tokens=special_tokens)
        tokens = arrays["input_mask"].sum(axis=1)
        if (tokens > longest).any():
            if not self.truncate:
                place = int(tokens.argmax())
                raise InputError(
                    f"the text is too long: {tokens[place]} tokens, the model takes {longest}: "
                    f"{texts[place][:40]!r}..."
                )
            arrays = self.model.tokenizer.encode(texts, pairs, longest, special_tokens)
        return arrays, run_all(self.model, arrays)

    def _fill_masks(self, texts, pairs) -> list[Filled]:
        arrays, outputs = self._outputs(texts, pairs, special_tokens=True)
        vocabulary = self.model.tokenizer.vocabulary
        results = []
        for row, text in enumerate(texts):
            masks = np.flatnonzero(arrays["input_ids"][row] == self.model.tokenizer.mask_id)
            if not len(masks):
                raise InputError(f"no [MASK] in the text to fill: {text!r}")
            probabilities = softmax(outputs["mlm_logits"][row, masks])  # [masks,V]
            order = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top]
            found = [
                [Candidate(vocabulary[i], float(p[i])) for i in best]
                for p, best in zip(probabilities, order, strict=True)
            ]
            results.append(Filled(text, found))
        return results

    def _classify(self, texts, pairs) -> list[Classified]:
        _, outputs = self._outputs(texts, pairs)
        labels = self.model.labels
        results = []
        for text, row in zip(texts, outputs["probability"], strict=True):
            by_label = {label: float(p) for label, p in zip(labels, row, strict=True)}
            best = int(row.argmax())
            results.append(Classified(text, labels[best], float(row[best]), by_label))
        return results

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
            results.append(Labelled(text, words, _entities(text, words)))
        return results

    def _words(self, text: str, pieces, rows: np.ndarray) -> Iterator[Stretch]:
        """Pieces joined to words; a word's label is that of its first piece, as in training."""
        starts, ends, best = [], [], []
        names = self.model.tokenizer.tokens(pieces.ids)
        for name, (start, end), row in zip(names, pieces.spans, rows, strict=False):
            if name.startswith("##") and starts:
                ends[-1] = end
            else:
                starts.append(start)
                ends.append(end)
                best.append((self.model.labels[int(row.argmax())], float(row.max())))
        for start, end, (label, probability) in zip(starts, ends, best, strict=True):
            yield Stretch(text[start:end], start, end, label, probability)

    def _answer(self, texts, pairs) -> list[Answered]:
        if pairs is None:
            raise InputError("a question is answered from a text: give it as its pair (--context)")
        questions = [
            Question(str(i), question, context, (), (), False)
            for i, (question, context) in enumerate(zip(texts, pairs, strict=True))
        ]
        length = min(self.model.sequence_length or SPAN_LENGTH, self.model.max_tokens)
        features = make_features(questions, self.model.tokenizer, length, *proportions(length))
        if features.skipped.get("no text"):
            raise InputError("the context holds no text to answer from")
        outputs = run_all(self.model, {name: getattr(features, name) for name in MODEL_INPUTS})
        found = answers(
            questions,
            features,
            outputs["start_logits"],
            outputs["end_logits"],
            best=self.top,
            null_threshold=self.null_threshold or 0.0,
            version_2=self.null_threshold is not None,
        )
        results = []
        for question in questions:
            best = found[question.id]
            candidates = [
                Stretch(span.text, span.start, span.end, "answer" if span.text else "none", p)
                for span in best.best
                for p in (float(span.probability),)
            ]
            values = (best.text, best.start, best.end, float(best.probability))
            results.append(Answered(question.question, *values, candidates))
        return results


def _entities(text: str, words: Sequence[Stretch]) -> list[Stretch]:
    """Words labelled B-x, I-x ... joined; each with the lowest probability of its words."""
    entities: list[Stretch] = []
    open_label = None
    for word in words:
        mark, dash, kind = word.label.partition("-")
        if not dash or mark not in ("B", "I"):
            open_label = None
            continue
        if mark == "I" and kind == open_label:
            last = entities.pop()
            start, p = last.start, min(last.probability, word.probability)
        else:
            start, p = word.start, word.probability
        entities.append(Stretch(text[start : word.end], start, word.end, kind, p))
        open_label = kind
    return entities
