"""Questions about a text: SQuAD files, the windows a model sees, its answers and their scores.

Windows and answer positions are those of google-research/bert's run_squad.py; the scores those of
SQuAD's official evaluate-v1.1.py and evaluate-v2.0.py (rajpurkar/SQuAD-explorer).
"""

import collections
import json
import math
import os
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import softmax

from mobilebert_tf.errors import InputError
from mobilebert_tf.offsets import tokenize_with_offsets
from mobilebert_tf.tokenizer import WordPiece

_WORD = re.compile("[^ \t\r\n\u202f]+")  # run_squad.py's idea of a word
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# More than one span can have the same text: so many are looked at for each that is kept.
_SPANS_PER_TEXT = 5


@dataclass(frozen=True)
class Question:
    """A question, the text that it is about, and the answers people gave.

    Args:
        id: unique in its file.
        question, context: text.
        answers: as written in the context; none if the answer is not in it.
        starts: for each answer its first character in the context.
        is_impossible: SQuAD 2.0's mark that the context holds no answer.
    """

    id: str
    question: str
    context: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]
    is_impossible: bool


@dataclass(frozen=True)
class Features:
    """Windows [CLS] question [SEP] part of the context [SEP]: N of them, T tokens each.

    Args:
        input_ids, input_mask (1 = token), segment_ids (1 = context, its [SEP]): int32 [N,T].
        question_index: which question a window belongs to, ascending; int32 [N].
        starts, ends: each token's characters in the context, -1 outside it; int32 [N,T].
        max_context: whether this is, of the windows that hold the token, the one with the most
            text on both sides of it; bool [N,T].
        words: index of the token's white-space word in the context (Google's token_to_orig_map),
            -1 outside it; int32 [N,T].
        start_positions, end_positions: the answer's first and last token, 0 in windows that do
            not hold it whole; int32 [N], None unless made for training.
        skipped: how many questions have no window, or none with their answer, by reason.
    """

    input_ids: np.ndarray
    input_mask: np.ndarray
    segment_ids: np.ndarray
    question_index: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    max_context: np.ndarray
    words: np.ndarray
    start_positions: np.ndarray | None
    end_positions: np.ndarray | None
    skipped: dict[str, int]


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


# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------


def read_squad(path: str | os.PathLike) -> list[Question]:
    """The questions of a SQuAD 1.1 or 2.0 JSON file, in its order.

    Raises InputError for a file that cannot be read or has another layout, for ids that repeat and
    for "impossible" questions with an answer.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is no JSON file: {error}") from None
    questions, ids = [], set()
    for article in _get(content, "data", list, path):
        for paragraph in _get(article, "paragraphs", list, path):
            context = _get(paragraph, "context", str, path)
            for entry in _get(paragraph, "qas", list, path):
                question = _question(entry, context, path)
                if question.id in ids:
                    raise InputError(f"{path}: question {question.id} appears more than once")
                ids.add(question.id)
                questions.append(question)
    if not questions:
        raise InputError(f"{path} holds no question")
    return questions


def _question(entry: dict, context: str, path: str | os.PathLike) -> Question:
    id = _get(entry, "id", str, path)
    where = f"{path}: question {id}"
    given = _get(entry, "answers", list, where)
    question = Question(
        id=id,
        question=_get(entry, "question", str, where),
        context=context,
        answers=tuple(_get(answer, "text", str, where) for answer in given),
        starts=tuple(_get(answer, "answer_start", int, where) for answer in given),
        is_impossible=bool(entry.get("is_impossible", False)),
    )
    if question.is_impossible and question.answers:
        raise InputError(f"{where} is marked impossible, but has an answer")
    return question


def _get(values: dict, key: str, kind: type, where: str | os.PathLike):
    value = values.get(key) if isinstance(values, dict) else None
    if not isinstance(value, kind):
        problem = "has no" if value is None else f"needs a {kind.__name__} as"
        raise InputError(f'{where} {problem} "{key}": is it a SQuAD file?')
    return value


# ---------------------------------------------------------------------------------------------
# Windows
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Passage:
    """A tokenized context: ids [P], spans [P,2], words [P], all int32; starts of its words [W]."""

    ids: np.ndarray
    spans: np.ndarray
    words: np.ndarray
    word_starts: np.ndarray


def make_features(
    questions: Sequence[Question],
    tokenizer: WordPiece,
    sequence_length: int = 384,
    stride: int = 128,
    longest_question: int = 64,
    training: bool = False,
) -> Features:
    """Cuts each question's context into windows that overlap.

    Args:
        sequence_length: T, tokens of a window with the question and 3 special tokens.
        stride: tokens from the start of a window to that of the next.
        longest_question: tokens; the rest of a longer one is dropped.
        training: also give the position of each question's first answer, and leave out the
            questions that have none to learn from (`skipped` counts them).

    Raises InputError for lengths that leave no room for the context.
    """
    if sequence_length <= longest_question + 3:
        raise InputError(
            f"sequence_length {sequence_length} has no room for the text: it must be more than "
            f"the longest question ({longest_question} tokens) and 3 special tokens"
        )
    if stride < 1 or longest_question < 1:
        raise InputError(f"stride ({stride}) and longest question must be at least 1 token")
    passages = _passages({question.context for question in questions}, tokenizer)
    asked = tokenizer.tokenize([question.question for question in questions]).to_list()
    targets, skipped = [None] * len(questions), collections.Counter()
    if training:
        targets, skipped = _targets(questions, passages, tokenizer)
    windows = []
    for index, question in enumerate(questions):
        if targets[index] == _UNUSABLE:
            continue
        ids, passage = asked[index][:longest_question], passages[question.context]
        found = _windows(len(passage.ids), sequence_length - len(ids) - 3, stride)
        places = [_place(targets[index], start, end, len(ids) + 2) for start, end in found]
        skipped["no text"] += not found
        skipped["answer in no window"] += bool(targets[index] and found) and not any(places)
        nearest = _max_context(found, len(passage.ids))
        for window, place, mine in zip(found, places, nearest, strict=True):
            windows.append((index, ids, passage, window, mine, place))
    return _features(windows, tokenizer, sequence_length, training, skipped)


def _passages(contexts: Iterable[str], tokenizer: WordPiece) -> dict[str, _Passage]:
    contexts = sorted(contexts)
    passages = {}
    for text, (ids, spans) in zip(
        contexts, tokenize_with_offsets(tokenizer, contexts), strict=True
    ):
        starts = np.array([match.start() for match in _WORD.finditer(text)], np.int32)  # [W]
        spans = np.array(spans, np.int32).reshape(-1, 2)
        words = _word_at(starts, spans[:, 1] - 1)
        passages[text] = _Passage(np.array(ids, np.int32), spans, words, starts)
    return passages


def _word_at(word_starts: np.ndarray, characters):
    """The words that these characters of a text are in, or follow."""
    return np.searchsorted(word_starts, characters, side="right") - 1


def _windows(tokens: int, room: int, stride: int) -> list[tuple[int, int]]:
    """First token and end of each window over a passage."""
    if not tokens:
        return []
    windows = [(0, min(room, tokens))]
    while windows[-1][1] < tokens:
        start = windows[-1][0] + min(room, stride)
        windows.append((start, min(start + room, tokens)))
    return windows


def _max_context(windows: list[tuple[int, int]], tokens: int) -> np.ndarray:
    """Which window has the most context around each token: bool [windows,tokens].

    The smaller of both sides counts, and a hundredth of the window's length; if equal, the earlier.
    """
    if not windows:
        return np.zeros((0, tokens), bool)
    start, end = np.array(windows).T[:, :, None]  # [windows,1] each
    place = np.arange(tokens)
    context = np.minimum(place - start, end - 1 - place)  # [windows,tokens]
    score = np.where(context >= 0, context + 0.01 * (end - start), -np.inf)
    return score.argmax(axis=0) == np.arange(len(windows))[:, None]


def _features(
    windows: list, tokenizer: WordPiece, length: int, training: bool, skipped: collections.Counter
) -> Features:
    shape = (len(windows), length)
    ids = np.full(shape, tokenizer.pad_id, np.int32)
    mask, segments = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    starts, ends, words = (np.full(shape, -1, np.int32) for _ in range(3))
    max_context = np.zeros(shape, bool)
    for row, (_, question, passage, (first, last), nearest, _) in enumerate(windows):
        text = slice(len(question) + 2, len(question) + 2 + last - first)
        ids[row, : text.start] = [tokenizer.cls_id, *question, tokenizer.sep_id]
        ids[row, text] = passage.ids[first:last]
        ids[row, text.stop] = tokenizer.sep_id
        mask[row, : text.stop + 1] = 1
        segments[row, text.start : text.stop + 1] = 1
        starts[row, text], ends[row, text] = passage.spans[first:last].T
        words[row, text] = passage.words[first:last]
        max_context[row, text] = nearest[first:last]
    positions = np.array([place or (0, 0) for *_, place in windows], np.int32).reshape(-1, 2)
    return Features(
        ids, mask, segments, np.array([window[0] for window in windows], np.int32),
        starts, ends, max_context, words,
        positions[:, 0] if training else None, positions[:, 1] if training else None,
        {reason: int(count) for reason, count in skipped.items() if count},
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Where the answer is, for training
# ---------------------------------------------------------------------------------------------

_UNUSABLE = (-1, -1)


def _targets(
    questions: Sequence[Question], passages: dict[str, _Passage], tokenizer: WordPiece
) -> tuple[list[tuple[int, int] | None], collections.Counter]:
    """The first and last token of each question's first answer in its passage.

    None for an impossible question, _UNUSABLE for one that cannot be trained on, which is counted.
    """
    texts = [question.answers[0] if question.answers else "" for question in questions]
    targets, skipped = [], collections.Counter()
    for question, answer in zip(questions, tokenizer.tokenize(texts).to_list(), strict=True):
        target = None
        if not question.is_impossible:
            target = _answer_tokens(question, passages[question.context], answer) or _UNUSABLE
        if target == _UNUSABLE:
            known = "answer not at its start in the text" if question.answers else "no answer"
            skipped[known] += 1
        targets.append(target)
    return targets, skipped


def _answer_tokens(
    question: Question, passage: _Passage, answer: list[int]
) -> tuple[int, int] | None:
    """First and last token of the words that hold the answer, or of the answer itself.

    None if the text is not there. As in run_squad.py: "1895" is found in the word "(1895-1943).",
    but "Japan", part of one token, becomes "Japanese".
    """
    if not answer:
        return None
    start, text = question.starts[0], question.answers[0]
    if not 0 <= start <= len(question.context) - len(text):
        return None
    first_word, last_word = _word_at(passage.word_starts, [start, start + len(text) - 1])
    limits = [*passage.word_starts, len(question.context)]
    around = question.context[limits[max(first_word, 0)] : limits[last_word + 1]]
    if " ".join(text.split()) not in " ".join(around.split()):
        return None
    first = int(np.searchsorted(passage.words, first_word))
    last = int(np.searchsorted(passage.words, last_word, side="right")) - 1
    for place in range(first, last + 2 - len(answer)):
        if passage.ids[place : place + len(answer)].tolist() == answer:
            return place, place + len(answer) - 1
    return (first, last) if first <= last else None


def _place(
    target: tuple[int, int] | None, start: int, end: int, offset: int
) -> tuple[int, int] | None:
    """The target's tokens in a window, None unless it is whole in it."""
    if target is None or target[0] < start or target[1] >= end:
        return None
    return target[0] - start + offset, target[1] - start + offset


# ---------------------------------------------------------------------------------------------
# Answers
# ---------------------------------------------------------------------------------------------


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
    common = (collections.Counter(gold) & collections.Counter(predicted)).total()
    return 2 * common / (len(gold) + len(predicted)) if common else 0.0


def normalize_answer(text: str) -> str:
    """Lower case, without punctuation, articles and repeated blanks."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())
