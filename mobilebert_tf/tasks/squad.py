"""Questions about a text: SQuAD, and the windows that a model sees of it.

Windows and answer positions are those of google-research/bert's run_squad.py.
"""

import collections
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_json
from mobilebert_tf.tasks.tfds import load_rows
from mobilebert_tf.text.offsets import tokenize_with_offsets
from mobilebert_tf.text.tokenizer import WordPiece

_WORD = re.compile("[^ \t\r\n\u202f]+")  # run_squad.py's idea of a word


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


# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------


def read_squad(path: str | os.PathLike) -> list[Question]:
    """The questions of a SQuAD 1.1 or 2.0 JSON file, in its order.

    Raises InputError for a file that cannot be read or has another layout, for ids that repeat and
    for "impossible" questions with an answer.
    """
    content = read_json(Path(path))
    entries = (
        (entry, _get(paragraph, "context", str, path))
        for article in _get(content, "data", list, path)
        for paragraph in _get(article, "paragraphs", list, path)
        for entry in _get(paragraph, "qas", list, path)
    )
    return _unique((_question(*entry, path) for entry in entries), path)


def load_squad(version: str, split: str) -> list[Question]:
    """The questions of a split of TensorFlow Datasets' squad, by id.

    Args:
        version: v1.1 or v2.0.
        split: train or dev.

    Raises InputError if it does not give them.
    """
    name = f"squad/{version}"
    rows, _ = load_rows(name, split)
    rows.sort(key=lambda row: row["id"])
    return _unique(map(_from_row, rows), f"{name}, {split}")


def _from_row(row: dict) -> Question:
    answers = row["answers"]
    return Question(
        id=row["id"].decode(),
        question=row["question"].decode(),
        context=row["context"].decode(),
        answers=tuple(text.decode() for text in answers["text"]),
        starts=tuple(map(int, answers["answer_start"])),
        is_impossible=bool(row.get("is_impossible", False)),
    )


def _unique(questions: Iterable[Question], source: str | os.PathLike) -> list[Question]:
    """All of them; InputError if an id repeats, or there is none."""
    found = {}
    for question in questions:
        if question.id in found:
            raise InputError(f"{source}: question {question.id} appears more than once")
        found[question.id] = question
    if not found:
        raise InputError(f"{source} holds no question")
    return list(found.values())


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


def proportions(sequence_length: int) -> tuple[int, int]:
    """Stride and longest question of windows of any length, as Google's 128 and 64 are to 384."""
    return max(1, sequence_length // 3), max(1, sequence_length // 6)


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
