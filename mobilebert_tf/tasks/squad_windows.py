"""The windows that a model sees of the texts that questions are about.

Windows and answer positions are those of google-research/bert's run_squad.py.
"""

import collections
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.squad import Question
from mobilebert_tf.text.offsets import tokenize_with_offsets
from mobilebert_tf.text.tokenizer import WordPiece

_WORD = re.compile("[^ \t\r\n\u202f]+")  # what run_squad.py takes for a word


@dataclass(frozen=True)
class Features:
    """N windows of T tokens: [CLS] question [SEP] part of the context [SEP].

    Args:
        input_ids: int32 [N,T].
        input_mask: 1 = token; int32 [N,T].
        segment_ids: 1 = context and its [SEP]; int32 [N,T].
        question_index: index of each window's question, ascending; int32 [N].
        starts: first character of each token in the context, -1 outside it; int32 [N,T].
        ends: the character after each token's last, -1 outside the context; int32 [N,T].
        max_context: whether no other window has more context around the token; bool [N,T].
        words: index of the token's word in the context (Google's token_to_orig_map), -1 outside
            it; int32 [N,T].
        start_positions: position of the answer's first token, 0 in windows that do not hold the
            whole answer; int32 [N], None if not made for training.
        end_positions: position of its last token, likewise.
        skipped: numbers of questions without a window, or without a window that holds the answer,
            by reason.
        changed: numbers of questions that were cut, or whose answer was sought elsewhere, by
            reason.
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
    changed: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Passage:
    """A tokenized context, all int32: ids [P], character spans [P,2] and word indices [P] of its
    tokens; first characters of its words [W]."""

    ids: np.ndarray
    spans: np.ndarray
    words: np.ndarray
    word_starts: np.ndarray


def proportions(sequence_length: int) -> tuple[int, int]:
    """Returns the stride and the longest question for windows of a length.

    They are in proportion to Google's 128 and 64 for windows of 384 tokens.
    """
    return max(1, sequence_length // 3), max(1, sequence_length // 6)


def make_features(
    questions: Sequence[Question],
    tokenizer: WordPiece,
    sequence_length: int = 384,
    stride: int = 128,
    longest_question: int = 64,
    training: bool = False,
) -> Features:
    """Cuts the contexts of the questions into overlapping windows.

    Args:
        questions: the questions.
        tokenizer: tokenizes questions and contexts.
        sequence_length: T, tokens of a window with the question and 3 special tokens.
        stride: tokens from the start of one window to that of the next.
        longest_question: tokens; a longer question is cut.
        training: also find each question's first answer, and leave out questions without an
            answer to learn from (`skipped` counts them).

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
    question_ids = tokenizer.tokenize([question.question for question in questions]).to_list()
    targets = [None] * len(questions)
    skipped, changed = collections.Counter(), collections.Counter()
    if training:
        targets, skipped, changed = _targets(questions, passages, tokenizer)
    cut = sum(len(ids) > longest_question for ids in question_ids)
    changed[f"the question cut to {longest_question} tokens"] += cut
    windows = []
    for index, question in enumerate(questions):
        if targets[index] == _UNUSABLE:
            continue
        ids, passage = question_ids[index][:longest_question], passages[question.context]
        ranges = _window_ranges(len(passage.ids), sequence_length - len(ids) - 3, stride)
        positions = [_in_window(targets[index], start, end, len(ids) + 2) for start, end in ranges]
        skipped["no text"] += not ranges
        skipped["answer in no window"] += bool(targets[index] and ranges) and not any(positions)
        max_context = _max_context(ranges, len(passage.ids))
        for window in zip(ranges, max_context, positions, strict=True):
            windows.append((index, ids, passage, *window))
    features = _features(windows, tokenizer, length=sequence_length, training=training)
    skipped, changed = ({r: n for r, n in c.items() if n} for c in (skipped, changed))
    return replace(features, skipped=skipped, changed=changed)


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
    """Returns the indices of the words in which characters are, or which they follow."""
    return np.searchsorted(word_starts, characters, side="right") - 1


def _window_ranges(tokens: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Returns (first token, end) of each window over a passage."""
    if not tokens:
        return []
    windows = [(0, min(room, tokens))]
    while windows[-1][1] < tokens:
        start = windows[-1][0] + min(room, stride)
        windows.append((start, min(start + room, tokens)))
    return windows


def _max_context(windows: list[tuple[int, int]], tokens: int) -> np.ndarray:
    """Returns which window has the most context around each token: bool [windows,tokens].

    As in run_squad.py, a window's score is the number of tokens on the shorter side plus a
    hundredth of the window's length; of equal windows the first is taken.
    """
    if not windows:
        return np.zeros((0, tokens), bool)
    start, end = np.array(windows).T[:, :, None]  # [windows,1] each
    token = np.arange(tokens)
    context = np.minimum(token - start, end - 1 - token)  # [windows,tokens]
    score = np.where(context >= 0, context + 0.01 * (end - start), -np.inf)
    return score.argmax(axis=0) == np.arange(len(windows))[:, None]


def _features(windows: list, tokenizer: WordPiece, *, length: int, training: bool) -> Features:
    shape = (len(windows), length)
    ids = np.full(shape, tokenizer.pad_id, np.int32)
    mask, segments = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    starts, ends, words = (np.full(shape, -1, np.int32) for _ in range(3))
    max_context = np.zeros(shape, bool)
    for row, (_, question, passage, (first, last), is_max_context, _) in enumerate(windows):
        text = slice(len(question) + 2, len(question) + 2 + last - first)
        ids[row, : text.start] = [tokenizer.cls_id, *question, tokenizer.sep_id]
        ids[row, text] = passage.ids[first:last]
        ids[row, text.stop] = tokenizer.sep_id
        mask[row, : text.stop + 1] = 1
        segments[row, text.start : text.stop + 1] = 1
        starts[row, text], ends[row, text] = passage.spans[first:last].T
        words[row, text] = passage.words[first:last]
        max_context[row, text] = is_max_context[first:last]
    positions = np.array([position or (0, 0) for *_, position in windows], np.int32)
    positions = positions.reshape(-1, 2)
    return Features(
        input_ids=ids,
        input_mask=mask,
        segment_ids=segments,
        question_index=np.array([window[0] for window in windows], np.int32),
        starts=starts,
        ends=ends,
        max_context=max_context,
        words=words,
        start_positions=positions[:, 0] if training else None,
        end_positions=positions[:, 1] if training else None,
        skipped={},
    )


# ---------------------------------------------------------------------------------------------
# Positions of answers, for training
# ---------------------------------------------------------------------------------------------

_UNUSABLE = (-1, -1)


def _targets(
    questions: Sequence[Question], passages: dict[str, _Passage], tokenizer: WordPiece
) -> tuple[list[tuple[int, int] | None], collections.Counter, collections.Counter]:
    """Returns the first and last token of each question's first answer in its passage.

    The target of an impossible question is None, that of a question that cannot be trained on is
    _UNUSABLE. Also returns counts of the unusable questions by reason, and of those whose answer
    was found elsewhere.
    """
    texts = [question.answers[0] if question.answers else "" for question in questions]
    targets, skipped, changed = [], collections.Counter(), collections.Counter()
    for question, answer in zip(questions, tokenizer.tokenize(texts).to_list(), strict=True):
        target = None
        if not question.is_impossible:
            target = _answer_tokens(question, passages[question.context], answer)
            if target is None and answer:
                target = _nearest_answer(question, passages[question.context], answer)
                changed["answer moved to its nearest occurrence"] += target is not None
            target = target or _UNUSABLE
        if target == _UNUSABLE:
            reason = "answer not found in the text" if question.answers else "no answer"
            skipped[reason] += 1
        targets.append(target)
    return targets, skipped, changed


def _nearest_answer(
    question: Question, passage: _Passage, answer: list[int]
) -> tuple[int, int] | None:
    """Returns the tokens of the answer where the context has it nearest to the given start."""
    pattern = re.escape(question.answers[0].strip())
    found = [match.start() for match in re.finditer(pattern, question.context)]
    if not found:
        return None
    nearest = min(found, key=lambda start: abs(start - question.starts[0]))
    answers, starts = (question.answers[0].strip(),), (nearest,)
    moved = replace(question, answers=answers, starts=starts)
    return _answer_tokens(moved, passage, answer)


def _answer_tokens(
    question: Question, passage: _Passage, answer: list[int]
) -> tuple[int, int] | None:
    """Returns the first and last token of the answer, or of the words that contain it.

    As in run_squad.py, "1895" is found within the word "(1895-1943).", but "Japan" within
    "Japanese", which is one token, becomes the whole word. None if the text at the answer's start
    is another.
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
    for position in range(first, last + 2 - len(answer)):
        if passage.ids[position : position + len(answer)].tolist() == answer:
            return position, position + len(answer) - 1
    return (first, last) if first <= last else None


def _in_window(
    target: tuple[int, int] | None, start: int, end: int, offset: int
) -> tuple[int, int] | None:
    """Returns the positions of a target in a window from `start` to `end`, None unless it contains
    the whole target."""
    if target is None or target[0] < start or target[1] >= end:
        return None
    return target[0] - start + offset, target[1] - start + offset
