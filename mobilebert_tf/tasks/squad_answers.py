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
from mobilebert_tf.tasks.squad import Features, Question

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# More than one span can have the same text: so many are looked at for each that is kept.
_SPANS_PER_TEXT = 5


@dataclass(frozen=True)
class Span:
    """A candidate: context[start:end] is its text, both 0 for "no answer".

    Args:
        score: sum of its start and end logit.
        probability: among the candidates in the same list.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float


@dataclass(frozen=True)
class Answer:
    """What a model answers; text "" for "no answer".

    Args:
        text, start, end, probability: as in Span.
        null_score_difference: score of "no answer" minus that of the best span, inf if there is no
            span; None for SQuAD 1.1.
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
    """The best spans of each question's windows, cut from its context.

    run_squad.py combines the 20 best starts with the 20 best ends, and may find no pair; here all
    pairs compete, so that there is an answer wherever there is text, and padding takes no place.

    Args:
        questions, features: what make_features was given and gave.
        start_logits, end_logits: float [N,T].
        best: candidates to list, of different texts; with version_2 the best span and "no
            answer" are among them, or added.
        longest_answer: tokens.
        null_threshold: "no answer" wins if its score is more than this above the best span's.
        version_2: whether there may be no answer (SQuAD 2.0). Its score is that of [CLS], the
            lowest of the question's windows.

    Returns an Answer for each question's id. Raises InputError for logits of another shape or that
    are no numbers, and for numbers below 1.
    """
    check_logits(features, start_logits, end_logits)
    if best < 1 or longest_answer < 1:
        raise InputError(f"best ({best}) and longest answer ({longest_answer}) must be at least 1")
    owned = np.searchsorted(features.question_index, np.arange(len(questions) + 1))  # [Q+1]
    result = {}
    for index, question in enumerate(questions):
        rows = slice(owned[index], owned[index + 1])
        spans = _best_spans(
            question.context, features, rows, start_logits, end_logits, best, longest_answer
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
    """Sums of the logits of all spans that start at a token: [W,T] twice -> [W,T,longest].

    The last axis is the span's length less 1; -inf where it would end after the window.
    """
    padded = np.pad(end, ((0, 0), (0, longest - 1)), constant_values=-np.inf)
    return start[:, :, None] + np.lib.stride_tricks.sliding_window_view(padded, longest, axis=1)


def _best_spans(
    context: str,
    features: Features,
    rows: slice,
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    best: int,
    longest: int,
) -> list[Span]:
    """The best spans of different texts, best first; without their probability."""
    start = np.where(features.max_context[rows], start_logits[rows], -np.inf)  # [W,T]
    end = np.where(features.words[rows] >= 0, end_logits[rows], -np.inf)
    scores = span_scores(start.astype(np.float64), end.astype(np.float64), longest)  # [W,T,L]
    flat = scores.reshape(-1)
    count = min(best * _SPANS_PER_TEXT, len(flat))
    order = np.sort(np.argpartition(-flat, count - 1)[:count]) if count else []
    order = sorted(order, key=lambda place: -flat[place])
    spans = {}
    for place in order:
        if not np.isfinite(flat[place]) or len(spans) == best:
            break
        window, first, more = np.unravel_index(place, scores.shape)
        window += rows.start
        begin, stop = features.starts[window, first], features.ends[window, first + more]
        text = context[begin:stop]
        spans.setdefault(text, Span(text, int(begin), int(stop), float(flat[place]), 0.0))
    return list(spans.values())


def _null_span(start: np.ndarray, end: np.ndarray) -> Span:
    """The candidate "no answer", from the logits of [CLS]: float [windows] each."""
    scores = start.astype(np.float64) + end
    return Span("", 0, 0, float(scores.min()) if len(scores) else 0.0, 0.0)


def _answer(spans: list[Span], null: Span | None, best: int, threshold: float) -> Answer:
    listed, difference = spans, None
    if null is not None:
        listed = sorted([*spans, null], key=lambda span: -span.score)[:best]
        listed += [span for span in (*spans[:1], null) if span not in listed]
        difference = null.score - spans[0].score if spans else math.inf
    listed = _with_probabilities(listed)
    declined = not spans or (difference is not None and difference > threshold)
    nothing = Span("", 0, 0, score=0.0, probability=0.0)
    chosen = next((span for span in listed if (span.text == "") == declined), nothing)
    return Answer(chosen.text, chosen.start, chosen.end, chosen.probability, difference, listed)


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
    """Exact match and F1 in percent, as the official scripts compute them.

    Args:
        texts: each question's answer by id; "" for "no answer".
        no_answer: each question's null_score_difference or probability of "no answer", by id.

    Returns exact, f1 and total; if questions without an answer are among them, or `no_answer` is
    given, the rules are SQuAD 2.0's: HasAns_ and NoAns_ with exact, f1 and total of either kind,
    and with `no_answer` best_exact and best_f1 with the thresholds (best_exact_thresh,
    best_f1_thresh) above which "no answer" would reach them.

    Raises InputError if an answer, or its `no_answer`, is missing.
    """
    for given, what in ((texts, "answer"), (no_answer, "score for no answer")):
        missing = [q.id for q in questions if given is not None and q.id not in given]
        if missing:
            raise InputError(f"{len(missing)} questions have no {what}; the first is {missing[0]}")
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
        given = np.array([bool(texts[question.id]) for question in questions])  # [Q]
        gains = np.where(answerable[:, None], points, 0.0 - given[:, None])  # [Q,2]
        declined = int((~answerable).sum())
        result |= _best_thresholds([q.id for q in questions], gains, declined, no_answer)
    return result


def _best_thresholds(
    ids: list[str], gains: np.ndarray, declined: int, no_answer: Mapping[str, float]
) -> dict[str, float]:
    """The best scores if only questions up to a threshold of `no_answer` are answered.

    Args:
        gains: points that the answer to each question earns over declining it, [Q,2].
        declined: points for answering none.
    """
    index = {id: row for row, id in enumerate(ids)}
    order = sorted((id for id in no_answer if id in index), key=no_answer.get)
    sorted_gains = gains[[index[id] for id in order]]
    result = {}
    for name, gain in zip(("exact", "f1"), sorted_gains.T, strict=True):
        reached = np.cumsum([declined, *gain])  # [Q+1]: with so many answered
        most = int(reached.argmax())
        result[f"best_{name}"] = float(100 * reached[most] / len(ids))
        result[f"best_{name}_thresh"] = float(no_answer[order[most - 1]]) if most else 0.0
    return result


def _means(prefix: str, points: np.ndarray) -> dict[str, float]:
    exact, f1 = 100 * points.mean(axis=0)
    return {
        f"{prefix}exact": float(exact),
        f"{prefix}f1": float(f1),
        f"{prefix}total": len(points),
    }


def _points(given: Sequence[str], text: str, version_2: bool) -> tuple[float, float]:
    """Exact match and F1, 0 to 1, against the best of the given answers."""
    gold = [normalize_answer(answer) for answer in given]
    predicted = normalize_answer(text)
    if version_2:
        gold = [answer for answer in gold if answer] or [""]
    exact = float(predicted in gold)
    f1 = max(word_f1(answer.split(), predicted.split()) for answer in gold)
    # Nothing against nothing has no words in common: 2.0 gives it full marks, 1.1 gives it none.
    return exact, max(exact, f1) if version_2 else f1


def word_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of two lists of words, 0 to 1."""
    common = (Counter(gold) & Counter(predicted)).total()
    return 2 * common / (len(gold) + len(predicted)) if common else 0.0


def normalize_answer(text: str) -> str:
    """Lower case, without punctuation, articles and repeated blanks."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())
