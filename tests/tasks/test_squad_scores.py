"""SQuAD's scores: by hand, and against plain copies of the official evaluation scripts."""

import collections
import re
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.questions import question_about
from support.texts import WIDE_TOKENIZER as TOKENIZER

from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.span_task import SpanTask
from mobilebert_tf.tasks.squad import Question
from mobilebert_tf.tasks.squad_answers import score

# The oracle: the official scripts in short.


def official_normal(text):
    text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def official_1(gold, predicted):
    """evaluate-v1.1.py: exact match and F1 of one answer, 0 to 1."""
    words, right = official_normal(predicted).split(), official_normal(gold).split()
    same = sum((collections.Counter(words) & collections.Counter(right)).values())
    exact = official_normal(predicted) == official_normal(gold)
    if same == 0:
        return exact, 0
    precision, recall = same / len(words), same / len(right)
    return exact, 2 * precision * recall / (precision + recall)


def official_2(gold, predicted):
    """evaluate-v2.0.py: as above, but nothing equals nothing."""
    words, right = official_normal(predicted).split(), official_normal(gold).split()
    if not words or not right:
        return official_normal(predicted) == official_normal(gold), int(words == right)
    return official_1(gold, predicted)


def official_raw(questions, texts):
    """evaluate-v2.0.py's get_raw_scores: exact and F1 by id."""
    exact, f1 = {}, {}
    for question in questions:
        gold = [answer for answer in question.answers if official_normal(answer)] or [""]
        points = [official_2(answer, texts[question.id]) for answer in gold]
        exact[question.id], f1[question.id] = (max(each) for each in zip(*points, strict=True))
    return exact, f1


def official_threshold(questions, texts, scores, no_answer):
    """evaluate-v2.0.py's find_best_thresh."""
    answerable = {question.id: bool(question.answers) for question in questions}
    current = best = sum(not value for value in answerable.values())
    threshold = 0.0
    for id in sorted(no_answer, key=no_answer.get):
        current += scores[id] if answerable[id] else (-1 if texts[id] else 0)
        if current > best:
            best, threshold = current, no_answer[id]
    return 100 * best / len(scores), threshold


def mean(values):
    return 100 * sum(values) / len(values)


SHORT = st.lists(
    st.sampled_from(["the", "a", "cat", "sat", "Cat.", "(1895)", "...", "An", "é"]), max_size=5
).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.lists(SHORT, max_size=3), SHORT, st.sampled_from([-1.0, 0.0, 0.5, 2.0])),
        min_size=1,
        max_size=8,
    )
)
def test_scores_equal_the_official_scripts(rows):
    questions = [
        Question(str(i), "", "", tuple(gold), (), not gold) for i, (gold, *_) in enumerate(rows)
    ]
    texts = {str(i): text for i, (_, text, _) in enumerate(rows)}
    no_answer = {str(i): value for i, (*_, value) in enumerate(rows)}
    if all(question.answers for question in questions):
        points = [[official_1(gold, texts[q.id]) for gold in q.answers] for q in questions]
        result = score(questions, texts)
        assert list(result) == ["exact", "f1", "total"]
        assert result["exact"] == pytest.approx(mean([max(e for e, _ in p) for p in points]))
        assert result["f1"] == pytest.approx(mean([max(f for _, f in p) for p in points]))
    exact, f1 = official_raw(questions, texts)
    result = score(questions, texts, no_answer)
    for prefix, kind in (("HasAns_", True), ("NoAns_", False), ("", None)):
        ids = [q.id for q in questions if kind is None or bool(q.answers) == kind]
        if ids:
            assert result[f"{prefix}exact"] == pytest.approx(mean([exact[id] for id in ids]))
            assert result[f"{prefix}f1"] == pytest.approx(mean([f1[id] for id in ids]))
            assert result[f"{prefix}total"] == len(ids)
    for name, scores in (("exact", exact), ("f1", f1)):
        best, threshold = official_threshold(questions, texts, scores, no_answer)
        assert result[f"best_{name}"] == pytest.approx(best)
        assert result[f"best_{name}_thresh"] == threshold


def test_scores_by_hand():
    questions = [
        question_about("", "the Cat sat", 0, id="a"),  # 2 words without the article
        question_about("", "1895", 0, id="b"),
        question_about("", id="c", impossible=True),
        question_about("", id="d", impossible=True),
    ]
    texts = {"a": "a cat, John", "b": "(1895).", "c": "", "d": "cat"}
    assert score(questions[:2], texts) == {"exact": 50.0, "f1": 75.0, "total": 2}
    result = score(questions, texts, {"a": -3.0, "b": -1.0, "c": 2.0, "d": 0.5})
    assert result == {
        "exact": 50.0, "f1": 62.5, "total": 4,
        "HasAns_exact": 50.0, "HasAns_f1": 75.0, "HasAns_total": 2,
        "NoAns_exact": 50.0, "NoAns_f1": 50.0, "NoAns_total": 2,
        # "No answer" above -1: "b", "c" and "d" are right, and half of "a".
        "best_exact": 75.0, "best_exact_thresh": -1.0,
        "best_f1": 87.5, "best_f1_thresh": -1.0,
    }  # fmt: skip


def test_scores_refuse_missing_answers():
    questions = [question_about("", "cat", 0, id="a"), question_about("", "cat", 0, id="b")]
    with pytest.raises(InputError, match="1 questions have no answer; the first is b"):
        score(questions, {"a": "cat"})
    with pytest.raises(InputError, match="score for no answer; the first is a"):
        score(questions, {"a": "cat", "b": ""}, {"b": 0.0})
    with pytest.raises(InputError, match="no question to score"):
        score([], {})


def test_best_thresholds_are_of_the_best_spans():
    """Not of the answers after "no answer" has won: a better threshold would give them back."""
    context = "the cat sat"
    questions = [
        question_about(context, "cat", id="a"),
        question_about(context, id="b", impossible=True),
    ]
    task = SpanTask("squad-v2", {"dev": questions})
    encoded = task.encode("dev", TOKENIZER, 24)
    arrays = encoded.arrays
    start, end = np.zeros((2, *arrays["input_ids"].shape), np.float32)
    cat = list(arrays["input_ids"][0]).index(TOKENIZER.vocabulary.index("cat"))
    start[:, cat] = end[:, cat] = 2.0
    start[:, 0] = [3.0, 5.0]  # "no answer" scores 5 and 7, the best span 4
    end[:, 0] = [2.0, 2.0]
    found = task.score(encoded, {"start_logits": start, "end_logits": end})
    assert (found["exact"], found["HasAns_exact"], found["NoAns_exact"]) == (50.0, 0.0, 100.0)
    assert (found["best_exact"], found["best_exact_thresh"]) == (100.0, 1.0)
    assert (found["best_f1"], found["best_f1_thresh"]) == (100.0, 1.0)
