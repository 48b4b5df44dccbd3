"""Answers from a span model's logits: by hand, and against a loop over every pair of tokens."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.questions import CONTEXTS, question_about, questions_with_answers
from support.texts import WIDE_TOKENIZER as TOKENIZER

from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.squad import Question
from mobilebert_tf.tasks.squad_answers import answers
from mobilebert_tf.tasks.squad_windows import make_features

STORY = question_about("The cat sat. John was", answer="John")


def logits(features, *high):
    """Zeros but for (row, start token, end token, value)."""
    start, end = np.zeros((2, *features.input_ids.shape), np.float32)
    for row, first, last, value in high:
        start[row, first], end[row, last] = value, value
    return start, end


def test_answer_by_hand():
    features = make_features([STORY], TOKENIZER, 9, 2, 5)
    start, end = logits(features, (1, 5, 6, 3.0))
    start[0, 7] = 9.0  # "john" again, but with less context: does not count
    answer = answers([STORY], features, start, end, best=2)["q"]
    assert (answer.text, answer.start, answer.end) == ("John was", 13, 21)
    assert answer.null_score_difference is None
    # Then "John": 3 for the start, nothing for the end.
    assert [(span.text, span.score) for span in answer.best] == [("John was", 6.0), ("John", 3.0)]
    assert answer.probability == pytest.approx(1 / (1 + math.exp(-3)))
    assert sum(span.probability for span in answer.best) == pytest.approx(1)


def test_no_answer_wins_above_the_threshold():
    features = make_features([STORY], TOKENIZER, 9, 2, 5)
    start, end = logits(features, (0, 0, 0, 5.0), (1, 5, 5, 3.0))
    start[1, 0] = end[1, 0] = 4.0  # the lower of both windows counts: 8
    found = answers([STORY], features, start, end, version_2=True)["q"]
    assert (found.text, found.start, found.end) == ("", 0, 0)
    assert found.null_score_difference == 2.0
    assert [span.text for span in found.best[:2]] == ["", "John"]
    found = answers([STORY], features, start, end, version_2=True, null_threshold=2.0)["q"]
    assert found.text == "John"
    assert answers([STORY], features, start, end)["q"].text == "John"
    found = answers([STORY], features, start, end, 1, version_2=True, null_threshold=2.0)["q"]
    assert [span.text for span in found.best] == ["", "John"] and found.text == "John"
    # It is listed however low it is.
    start[:, 0] = end[:, 0] = -50
    found = answers([STORY], features, start, end, best=3, version_2=True)["q"]
    assert len(found.best) == 4 and found.best[-1].text == "" and found.text == "John"


def test_longest_answer_and_no_text():
    features = make_features([STORY], TOKENIZER, 20, 2, 5)
    start, end = logits(features, (0, 3, 6, 9.0))
    assert answers([STORY], features, start, end)["q"].text == "The cat sat."
    found = answers([STORY], features, start, end, longest_answer=2)["q"]
    assert found.text == "The" and len(found.best) == 11  # of 6 tokens: 6 of one, 5 of two
    empty = question_about("", impossible=True)
    features = make_features([empty], TOKENIZER, 20, 2, 5)
    nothing = np.zeros((0, 20), np.float32)
    found = answers([empty], features, nothing, nothing)["q"]
    assert (found.text, found.probability, found.best) == ("", 0.0, [])
    found = answers([empty], features, nothing, nothing, version_2=True)["q"]
    assert (found.text, found.probability, found.null_score_difference) == ("", 1.0, math.inf)


def test_refuses_wrong_logits():
    features = make_features([STORY], TOKENIZER, 9, 2, 5)
    start, end = logits(features)
    with pytest.raises(InputError, match=r"must be \[2, 9\]"):
        answers([STORY], features, start[:1], end[:1])
    with pytest.raises(InputError, match="not finite"):
        answers([STORY], features, start * np.nan, end)
    with pytest.raises(InputError, match="at least 1"):
        answers([STORY], features, start, end, longest_answer=0)


@settings(max_examples=60, deadline=None)
@given(
    questions=st.lists(questions_with_answers(), min_size=1, max_size=4),
    length=st.integers(24, 60),
    seed=st.integers(0, 99),
    version_2=st.booleans(),
)
def test_answers_are_the_best_of_all_spans(questions, length, seed, version_2):
    """A loop over every pair of tokens finds the same; cut from the text; padding is nothing."""
    questions = [
        Question(str(i), q.question, q.context, q.answers, q.starts, q.is_impossible)
        for i, q in enumerate(questions)
    ]
    features = make_features(questions, TOKENIZER, length, 4, 5)
    rng = np.random.default_rng(seed)
    start, end = rng.normal(size=(2, *features.input_ids.shape)).astype(np.float32)
    found = answers(questions, features, start, end, longest_answer=4, version_2=version_2)
    for index, question in enumerate(questions):
        answer = found[question.id]
        assert all(question.context[span.start : span.end] == span.text for span in answer.best)
        best = best_pair(features, np.flatnonzero(features.question_index == index), start, end, 4)
        spans = [span for span in answer.best if span.text]
        assert spans[0].score == pytest.approx(best) if spans else best is None
        assert len({span.text for span in answer.best}) == len(answer.best)
    longer = make_features(questions, TOKENIZER, length, 4, 5)
    start[longer.input_mask == 0] = end[longer.input_mask == 0] = 1e6
    assert answers(questions, longer, start, end, longest_answer=4, version_2=version_2) == found


def best_pair(features, rows, start, end, longest):
    pairs = [
        float(start[row, first]) + float(end[row, last])
        for row in rows
        for first in np.flatnonzero(features.max_context[row])
        for last in range(first, min(first + longest, features.words.shape[1]))
        if features.words[row, last] >= 0
    ]
    return max(pairs, default=None)


@settings(max_examples=60, deadline=None)
@given(context=CONTEXTS, data=st.data())
def test_perfect_logits_give_the_answer_back(context, data):
    words = [m.span() for m in re.finditer("[^ \t\n\u202f]+", context) if m.group() != "\u00ad"]
    if not words:
        return
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    text = context[words[first][0] : words[last][1]]
    question = question_about(context, text, words[first][0])
    features = make_features([question], TOKENIZER, 500, 8, 5, training=True)
    start, end = np.full((2, 1, 500), -9.0, np.float32)
    start[0, features.start_positions] = end[0, features.end_positions] = 9
    found = answers([question], features, start, end, longest_answer=400)["q"]
    assert (found.text, found.start, found.end) == (text, words[first][0], words[last][1])
