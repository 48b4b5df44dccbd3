"""Answers from a span model's logits, and their official scores.

The scores are those of SQuAD's evaluate-v1.1.py and evaluate-v2.0.py (rajpurkar/SQuAD-explorer).
"""

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax

from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.squad import Question
from mobilebert_tf.tasks.squad_windows import Features

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Several spans can have the same text, so this many are considered for each candidate.
_SPANS_PER_TEXT = 5


@dataclass(frozen=True)
class Span:
    """A candidate for an answer.

    Args:
        text: context[start:end]; "" for "no answer".
        start, end: characters of the context; both 0 for "no answer".
        score: sum of its start and end logits.
        probability: softmax of the score over the candidates of a question.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float


@dataclass(frozen=True)
class Answer:
    """A model's answer to a question.

    Args:
        text, start, end, probability: of the chosen candidate, as in Span.
        null_score_difference: score of "no answer" minus that of the best span; inf if there is no
            span, None if there must be an answer.
        best: the best candidates, best first.
    """

    text: str
    start: int
    end: int
    probability: float
    null_score_difference: float | None
    best: list[Span]


def answers(
    questions: Sequence[Question],
    features: Features,
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    best: int = 20,
    longest_answer: int = 30,
    null_threshold: float = 0.0,
    version_2: bool = False,
) -> dict[str, Answer]:
    """Returns the answer to each question by its id, from the best spans of its windows.

    run_squad.py combines the 20 best starts with the 20 best ends, of which no pair may be a span.
    Here all pairs compete, so there is an answer wherever there is text.

    Args:
        questions: N of them.
        features: of make_features for these questions.
        start_logits, end_logits: float [N,T].
        best: number of candidates with different texts in Answer.best; with version_2 the best
            span and "no answer" are added if they are not among them.
        longest_answer: in tokens.
        null_threshold: "no answer" wins if its score exceeds that of the best span by more.
        version_2: whether there may be no answer (SQuAD 2.0). Its score is the lowest score of
            [CLS] in the question's windows.

    Raises InputError for logits that are not finite or have another shape, and for sizes below 1.
    """
    check_logits(features, start_logits, end_logits)
    if best < 1 or longest_answer < 1:
        raise InputError(f"best ({best}) and longest answer ({longest_answer}) must be at least 1")
    limits = np.searchsorted(features.question_index, np.arange(len(questions) + 1))  # [Q+1]
    result = {}
    for index, question in enumerate(questions):
        rows = slice(limits[index], limits[index + 1])
        spans = _best_spans(
            question.context,
            features,
            rows,
            start_logits=start_logits,
            end_logits=end_logits,
            best=best,
            longest=longest_answer,
        )
        null = _null_span(start_logits[rows, 0], end_logits[rows, 0]) if version_2 else None
        result[question.id] = _answer(spans, null, best, null_threshold)
    return result


def check_logits(features: Features, *logits: np.ndarray) -> None:
    """Raises InputError for logits that are not finite numbers [N,T]."""
    for array in logits:
        if array.shape != features.input_ids.shape:
            expected = list(features.input_ids.shape)
            raise InputError(f"logits must be {expected}, one per token: not {list(array.shape)}")
        if not np.isfinite(array).all():
            raise InputError("the model's logits are not finite: it has diverged")


def span_scores(start: np.ndarray, end: np.ndarray, longest: int) -> np.ndarray:
    """Returns the sum of start and end logit of every span: [W,T], [W,T] -> [W,T,longest].

    The last two dimensions are the span's first token and its length minus 1; spans that would
    end behind the window have -inf.
    """
    padded = np.pad(end, ((0, 0), (0, longest - 1)), constant_values=-np.inf)
    return start[:, :, None] + np.lib.stride_tricks.sliding_window_view(padded, longest, axis=1)


def _best_spans(
    context: str,
    features: Features,
    rows: slice,
    *,
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    best: int,
    longest: int,
) -> list[Span]:
    """Returns the best spans with different texts, best first; their probability is 0."""
    start = np.where(features.max_context[rows], start_logits[rows], -np.inf)  # [W,T]
    end = np.where(features.words[rows] >= 0, end_logits[rows], -np.inf)
    scores = span_scores(start.astype(np.float64), end.astype(np.float64), longest)  # [W,T,L]
    flat = scores.reshape(-1)
    count = min(best * _SPANS_PER_TEXT, len(flat))
    order = np.sort(np.argpartition(-flat, count - 1)[:count]) if count else []
    order = sorted(order, key=lambda index: -flat[index])
    spans = {}
    for index in order:
        if not np.isfinite(flat[index]) or len(spans) == best:
            break
        window, first, more = np.unravel_index(index, scores.shape)
        window += rows.start
        begin = int(features.starts[window, first])
        stop = int(features.ends[window, first + more])
        text = context[begin:stop]
        spans.setdefault(text, Span(text, begin, stop, score=float(flat[index]), probability=0.0))
    return list(spans.values())


def _null_span(start: np.ndarray, end: np.ndarray) -> Span:
    """Returns the candidate "no answer", from the logits of [CLS]: float [windows] each."""
    scores = start.astype(np.float64) + end
    lowest = float(scores.min()) if len(scores) else 0.0
    return Span("", 0, 0, score=lowest, probability=0.0)


def _answer(spans: list[Span], null: Span | None, best: int, threshold: float) -> Answer:
    """Returns the answer of a question, from its spans (best first) and "no answer" if allowed."""
    candidates, difference = spans, None
    if null is not None:
        candidates = sorted([*spans, null], key=lambda span: -span.score)[:best]
        candidates += [span for span in (*spans[:1], null) if span not in candidates]
        difference = null.score - spans[0].score if spans else math.inf
    candidates = _with_probabilities(candidates)
    declined = not spans or (difference is not None and difference > threshold)
    nothing = Span("", 0, 0, score=0.0, probability=0.0)
    chosen = next((span for span in candidates if (span.text == "") == declined), nothing)
    return Answer(
        text=chosen.text,
        start=chosen.start,
        end=chosen.end,
        probability=chosen.probability,
        null_score_difference=difference,
        best=candidates,
    )


def _with_probabilities(spans: list[Span]) -> list[Span]:
    if not spans:
        return []
    probabilities = softmax(np.array([span.score for span in spans]))
    return [
        replace(span, probability=float(probability))
        for span, probability in zip(spans, probabilities, strict=True)
    ]


# ---------------------------------------------------------------------------------------------
# Scores
# ---------------------------------------------------------------------------------------------


def score(
    questions: Sequence[Question],
    texts: Mapping[str, str],
    no_answer: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Returns exact match and F1 in percent, as the official scripts compute them.

    Args:
        questions: Q of them.
        texts: the answer to each question by id; "" for "no answer".
        no_answer: null_score_difference, or probability of "no answer", of each question by id.

    The result has exact, f1 and total. By the rules of SQuAD 2.0, which apply if a question has no
    answer or `no_answer` is given, it also has these with the prefix HasAns_ for questions with an
    answer, and NoAns_ for those without. With `no_answer` it also has best_exact and best_f1, the
    best scores that a threshold on `no_answer` would reach, and these thresholds, best_exact_thresh
    and best_f1_thresh.

    Raises InputError if there are no questions, or an answer or its `no_answer` is missing.
    """
    _check_complete(questions, texts, "answer")
    if no_answer is not None:
        _check_complete(questions, no_answer, "score for no answer")
    if not questions:
        raise InputError("there is no question to score")
    answerable = np.array([bool(question.answers) for question in questions])  # [Q]
    version_2 = no_answer is not None or not answerable.all()
    points = np.array(
        [_points(question.answers, texts[question.id], version_2) for question in questions]
    )  # [Q,2]
    result = _means("", points)
    if not version_2:
        return result
    for prefix, kind in (("HasAns_", answerable), ("NoAns_", ~answerable)):
        if kind.any():
            result |= _means(prefix, points[kind])
    if no_answer is not None:
        answered = np.array([bool(texts[question.id]) for question in questions])  # [Q]
        gains = np.where(answerable[:, None], points, 0.0 - answered[:, None])  # [Q,2]
        declined = int((~answerable).sum())
        result |= _best_thresholds([q.id for q in questions], gains, declined, no_answer)
    return result


def _check_complete(questions: Sequence[Question], values: Mapping[str, object], what: str) -> None:
    missing = [question.id for question in questions if question.id not in values]
    if missing:
        raise InputError(f"{len(missing)} questions have no {what}; the first is {missing[0]}")


def _best_thresholds(
    ids: list[str], gains: np.ndarray, declined: int, no_answer: Mapping[str, float]
) -> dict[str, float]:
    """Returns the best scores if only questions up to a threshold of `no_answer` are answered.

    Args:
        ids: of the questions.
        gains: points for answering each question, minus those for declining it, [Q,2].
        declined: points for declining all questions.
        no_answer: as in `score`.
    """
    index = {id: row for row, id in enumerate(ids)}
    order = sorted((id for id in no_answer if id in index), key=no_answer.get)
    sorted_gains = gains[[index[id] for id in order]]
    result = {}
    for name, gain in zip(("exact", "f1"), sorted_gains.T, strict=True):
        points = np.cumsum([declined, *gain])  # [Q+1]: by number of answered questions
        answered = int(points.argmax())
        result[f"best_{name}"] = float(100 * points[answered] / len(ids))
        threshold = float(no_answer[order[answered - 1]]) if answered else 0.0
        result[f"best_{name}_thresh"] = threshold
    return result


def _means(prefix: str, points: np.ndarray) -> dict[str, float]:
    exact, f1 = 100 * points.mean(axis=0)
    return {
        f"{prefix}exact": float(exact),
        f"{prefix}f1": float(f1),
        f"{prefix}total": len(points),
    }


def _points(answers: Sequence[str], text: str, version_2: bool) -> tuple[float, float]:
    """Returns exact match and F1, 0 to 1, with the best matching of the true answers."""
    gold = [normalize_answer(answer) for answer in answers]
    predicted = normalize_answer(text)
    if version_2:
        gold = [answer for answer in gold if answer] or [""]
    exact = float(predicted in gold)
    f1 = max(word_f1(answer.split(), predicted.split()) for answer in gold)
    # Two empty answers have no common words: SQuAD 2.0's F1 is 1, that of 1.1 is 0.
    return exact, max(exact, f1) if version_2 else f1


def word_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Returns the harmonic mean of precision and recall of two lists of words, 0 to 1."""
    common = (Counter(gold) & Counter(predicted)).total()
    return 2 * common / (len(gold) + len(predicted)) if common else 0.0


def normalize_answer(text: str) -> str:
    """Returns the text in lower case, without punctuation, articles and repeated blanks."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())
