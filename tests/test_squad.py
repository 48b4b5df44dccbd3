"""SQuAD files, windows, answers and scores: by hand, by properties, and against plain copies of
run_squad.py and of the official evaluation scripts."""

import collections
import json
import math
import re
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilebert_tf.data.answers import answers, score
from mobilebert_tf.data.squad import Question, make_features, read_squad
from mobilebert_tf.errors import InputError
from mobilebert_tf.tokenizer import SPECIAL_TOKENS, WordPiece

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = [
    *SPECIAL_TOKENS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *".,!?()'-–",
    "the", "cat", "sat", "john", "smith", "was", "born", "1895", "1943", "japan", "##ese", "who",
]  # fmt: skip
WORDPIECE = WordPiece(VOCABULARY)
UNK = WORDPIECE.unk_id


def asked(context, answer=None, start=None, id="q", question="who", impossible=False):
    """A question; the answer's start is its first occurrence unless given."""
    given = () if answer is None else (answer,)
    starts = () if answer is None else (context.find(answer) if start is None else start,)
    return Question(id, question, context, given, starts, impossible)


def squad_file(path: Path, paragraphs, **more) -> Path:
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}], **more}), encoding="utf-8")
    return path


# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------

ENTRY = {"id": "q1", "question": "Who?", "answers": [{"text": "Jo", "answer_start": 4}]}


def test_reads_both_versions(tmp_path):
    impossible = {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True}
    path = squad_file(tmp_path / "a.json", [{"context": "Who Jo", "qas": [ENTRY, impossible]}])
    assert read_squad(path) == [
        Question("q1", "Who?", "Who Jo", ("Jo",), (4,), False),
        Question("q2", "Why?", "Who Jo", (), (), True),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, 'has no "id"'),
        ({"id": 3}, 'needs a str as "id"'),
        ({"question": None}, 'question q1 has no "question"'),
        ({"answers": None}, 'question q1 has no "answers"'),
        ({"answers": [{"text": "Jo"}]}, 'question q1 has no "answer_start"'),
        ({"answers": ["Jo"]}, 'question q1 has no "text"'),
        ({"is_impossible": True}, "question q1 is marked impossible, but has an answer"),
    ],
)
def test_refuses_other_layouts(tmp_path, change, message):
    path = squad_file(tmp_path / "a.json", [{"context": "Who Jo", "qas": [ENTRY | change]}])
    with pytest.raises(InputError, match=message) as error:
        read_squad(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_refuses_files_that_are_none(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(InputError, match="cannot read"):
        read_squad(path)
    for text, message in (("{", "no JSON"), ("[]", 'no "data"'), ('{"data": []}', "no question")):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_squad(path)
    squad_file(path, [{"context": "Who Jo", "qas": [ENTRY, ENTRY]}])
    with pytest.raises(InputError, match="question q1 appears more than once"):
        read_squad(path)


# ---------------------------------------------------------------------------------------------
# Windows: the oracle is run_squad.py's convert_examples_to_features in short
# ---------------------------------------------------------------------------------------------


def pieces_of(text):
    return WORDPIECE.tokenize([text]).to_list()[0]


def google_windows(question, length, stride, longest, training):
    """(ids, words, max context, positions) of each window; None if training leaves it out."""
    words, word_of_character, blank = [], [], True
    for character in question.context:
        if character in " \t\r\n\u202f":
            blank = True
        else:
            if blank:
                words.append("")
            words[-1] += character
            blank = False
        word_of_character.append(len(words) - 1)
    tokens, word_of_token, token_of_word = [], [], []
    for index, word in enumerate(words):
        token_of_word.append(len(tokens))
        found = pieces_of(word)
        tokens += found
        word_of_token += [index] * len(found)
    answer = None
    if training and not question.is_impossible:
        text, start = question.answers[0], question.starts[0]
        first, last = word_of_character[start], word_of_character[start + len(text) - 1]
        # run_squad.py splits the answer at \u00a0 but not the text, and loses the question.
        around = " ".join(words[first : last + 1]).split()
        if " ".join(around).find(" ".join(text.split())) == -1:
            return None
        end = token_of_word[last + 1] - 1 if last < len(words) - 1 else len(tokens) - 1
        answer = improved(tokens, token_of_word[first], end, pieces_of(text))
    query = pieces_of(question.question)[:longest]
    room, spans, start = length - len(query) - 3, [], 0
    while start < len(tokens):
        span = (start, min(room, len(tokens) - start))
        spans.append(span)
        if sum(span) == len(tokens):
            break
        start += min(span[1], stride)
    windows = []
    for mine, (start, count) in enumerate(spans):
        inside = range(start, start + count)
        ids = [WORDPIECE.cls_id, *query, WORDPIECE.sep_id, *tokens[start : start + count]]
        position = (0, 0)
        if answer and answer[0] in inside and answer[1] in inside:
            position = tuple(place - start + len(query) + 2 for place in answer)
        windows.append(
            (
                [*ids, WORDPIECE.sep_id],
                [word_of_token[place] for place in inside],
                [nearest(spans, place) == mine for place in inside],
                position,
            )
        )
    return windows


def improved(tokens, first, last, answer):
    for start in range(first, last + 1):
        for end in range(last, start - 1, -1):
            if tokens[start : end + 1] == answer:
                return start, end
    return first, last


def nearest(spans, place):
    best, which = None, None
    for index, (start, count) in enumerate(spans):
        end = start + count - 1
        if start <= place <= end:
            context = min(place - start, end - place) + 0.01 * count
            if best is None or context > best:
                best, which = context, index
    return which


def rows_of(features, index):
    """The windows of a question in google_windows' form."""
    rows = []
    for row in np.flatnonzero(features.question_index == index):
        text = features.words[row] >= 0
        rows.append(
            (
                features.input_ids[row][features.input_mask[row] == 1].tolist(),
                features.words[row][text].tolist(),
                features.max_context[row][text].tolist(),
                (0, 0)
                if features.start_positions is None
                else (int(features.start_positions[row]), int(features.end_positions[row])),
            )
        )
    return rows


# Words that the vocabulary knows, parts of them, removed characters, accents, several blanks.
WORDS = st.sampled_from(
    [
        "the",
        "cat",
        "John",
        "Smith's",
        "(1895-1943).",
        "Japanese",
        "é1",
        "\u00ad",
        "中文",
        "a\u00a0b",
    ]
)
BLANKS = st.sampled_from([" ", "  ", "\n", "\u202f", "\t"])
CONTEXTS = st.lists(st.tuples(BLANKS, WORDS), min_size=1, max_size=40).map(
    lambda parts: "".join(blank + word for blank, word in parts)
)


@st.composite
def questions_with_answers(draw):
    context = draw(CONTEXTS)
    letters = [i for i, character in enumerate(context) if not character.isspace()]
    start = draw(st.sampled_from(letters))
    end = draw(st.sampled_from([i for i in letters if start <= i < start + 20])) + 1
    query = draw(st.sampled_from(["who", "who was John Smith?", "", "\u00ad"]))
    if draw(st.integers(0, 5)) == 0:
        return asked(context, question=query, impossible=True)
    return asked(context, context[start:end], start, question=query)


@settings(max_examples=120, deadline=None)
@given(
    question=questions_with_answers(),
    length=st.integers(9, 40),
    stride=st.integers(1, 12),
    training=st.booleans(),
)
def test_windows_equal_run_squad(question, length, stride, training):
    features = make_features([question], WORDPIECE, length, stride, 5, training)
    expected = google_windows(question, length, stride, 5, training)
    answer = pieces_of(question.answers[0]) if question.answers else None
    if training and (expected is None or answer == []):
        # run_squad.py gives an answer without tokens those of its word, or of the one before.
        assert not len(features.input_ids) and sum(features.skipped.values()) == 1
    else:
        assert rows_of(features, 0) == expected


@settings(max_examples=100, deadline=None)
@given(question=questions_with_answers(), length=st.integers(9, 40), stride=st.integers(1, 3))
def test_windows_show_every_token_once_in_its_widest_context(question, length, stride):
    features = make_features([question], WORDPIECE, length, stride, 5)
    everything = pieces_of(question.context)
    text = features.words >= 0
    shown = sum(features.max_context.sum(axis=1))
    assert shown == len(everything)
    assert not features.max_context[~text].any()
    assert (features.starts[~text] == -1).all() and (features.ends[~text] == -1).all()
    order = np.argsort(features.starts[features.max_context], kind="stable")
    assert features.input_ids[features.max_context][order].tolist() == everything
    assert (features.starts[text] < features.ends[text]).all()
    assert (features.ends[text] <= len(question.context)).all()
    np.testing.assert_array_equal(features.segment_ids[:, 1:][text[:, :-1]], 1)  # with its [SEP]


def test_windows_by_hand():
    """9 tokens hold [CLS] who [SEP] and five of the text's tokens; each window starts 2 later."""
    question = asked("The cat sat. John was", answer="John")
    features = make_features([question], WORDPIECE, 9, 2, 5, training=True)
    tokens = [WORDPIECE.tokens(ids) for ids in features.input_ids]
    assert tokens == [
        ["[CLS]", "who", "[SEP]", "the", "cat", "sat", ".", "john", "[SEP]"],
        ["[CLS]", "who", "[SEP]", "sat", ".", "john", "was", "[SEP]", "[PAD]"],
    ]
    assert features.words.tolist() == [
        [-1, -1, -1, 0, 1, 2, 2, 3, -1],
        [-1, -1, -1, 2, 2, 3, 4, -1, -1],
    ]
    assert features.starts[0].tolist() == [-1, -1, -1, 0, 4, 8, 11, 13, -1]
    assert features.ends[0].tolist() == [-1, -1, -1, 3, 7, 11, 12, 17, -1]
    # ".": 1 token on its shorter side in both, but the first window is longer.
    assert features.max_context.astype(int).tolist() == [
        [0, 0, 0, 1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 0, 0],
    ]
    assert (features.start_positions.tolist(), features.end_positions.tolist()) == ([7, 5], [7, 5])
    assert features.skipped == {}


@pytest.mark.parametrize(
    ("context", "answer", "tokens"),
    [
        ("John Smith (1895-1943).", "1895", "1895"),  # the number, not its whole word
        ("Most Japanese sat", "Jap", "japan ##ese"),  # part of a word: the word
        ("the cat the cat", "the cat", "the cat"),
        ("the cat,\u202fsat", "cat, sat", None),  # other blanks than the text's
    ],
)
def test_answers_become_the_tokens_that_fit_best(context, answer, tokens):
    start = context.find(answer[:3])
    features = make_features(
        [asked(context, answer, start)], WORDPIECE, 40, training=True, longest_question=5
    )
    first, last = int(features.start_positions[0]), int(features.end_positions[0])
    expected = tokens or "cat , sat"
    assert " ".join(WORDPIECE.tokens(features.input_ids[0, first : last + 1])) == expected


def test_questions_that_teach_nothing_are_counted():
    questions = [
        asked("the cat sat", "cat", id="fine"),
        asked("the cat sat", "dog", start=4, id="wrong text"),
        asked("the cat sat", "cat", start=400, id="beyond the end"),
        asked("the cat sat", "", start=0, id="empty"),
        asked("the cat sat", id="none"),
        asked("the cat sat", id="impossible", impossible=True),
        asked("the cat sat " * 3, "the cat sat the cat sat", id="longer than a window"),
        asked("", id="no text", impossible=True),
    ]
    features = make_features(questions, WORDPIECE, 9, 2, 5, training=True)
    assert features.skipped == {
        "answer not at its start in the text": 3,
        "no answer": 1,
        "answer in no window": 1,
        "no text": 1,
    }
    assert sorted(set(features.question_index.tolist())) == [0, 5, 6]
    assert features.start_positions[features.question_index > 0].tolist() == [0] * 4
    assert sum(make_features(questions, WORDPIECE, 9, 2, 5).skipped.values()) == 1


def test_long_questions_are_cut_and_lengths_checked():
    question = asked("the cat", question="who " * 30)
    features = make_features([question], WORDPIECE, 12, 2, 5)
    assert features.input_ids[0, :7].tolist().count(WORDPIECE.vocabulary.index("who")) == 5
    with pytest.raises(InputError, match="sequence_length 8 has no room"):
        make_features([question], WORDPIECE, 8, 2, 5)
    with pytest.raises(InputError, match="at least 1"):
        make_features([question], WORDPIECE, 12, 0, 5)


# ---------------------------------------------------------------------------------------------
# Answers
# ---------------------------------------------------------------------------------------------

STORY = asked("The cat sat. John was", answer="John")


def logits(features, *high):
    """Zeros but for (row, start token, end token, value)."""
    start, end = np.zeros((2, *features.input_ids.shape), np.float32)
    for row, first, last, value in high:
        start[row, first], end[row, last] = value, value
    return start, end


def test_answer_by_hand():
    features = make_features([STORY], WORDPIECE, 9, 2, 5)
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
    features = make_features([STORY], WORDPIECE, 9, 2, 5)
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
    features = make_features([STORY], WORDPIECE, 20, 2, 5)
    start, end = logits(features, (0, 3, 6, 9.0))
    assert answers([STORY], features, start, end)["q"].text == "The cat sat."
    found = answers([STORY], features, start, end, longest_answer=2)["q"]
    assert found.text == "The" and len(found.best) == 11  # of 6 tokens: 6 of one, 5 of two
    empty = asked("", impossible=True)
    features = make_features([empty], WORDPIECE, 20, 2, 5)
    nothing = np.zeros((0, 20), np.float32)
    found = answers([empty], features, nothing, nothing)["q"]
    assert (found.text, found.probability, found.best) == ("", 0.0, [])
    found = answers([empty], features, nothing, nothing, version_2=True)["q"]
    assert (found.text, found.probability, found.null_score_difference) == ("", 1.0, math.inf)


def test_refuses_wrong_logits():
    features = make_features([STORY], WORDPIECE, 9, 2, 5)
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
    features = make_features(questions, WORDPIECE, length, 4, 5)
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
    longer = make_features(questions, WORDPIECE, length, 4, 5)
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
    question = asked(context, text, words[first][0])
    features = make_features([question], WORDPIECE, 500, 8, 5, training=True)
    start, end = np.full((2, 1, 500), -9.0, np.float32)
    start[0, features.start_positions] = end[0, features.end_positions] = 9
    found = answers([question], features, start, end, longest_answer=400)["q"]
    assert (found.text, found.start, found.end) == (text, words[first][0], words[last][1])


# ---------------------------------------------------------------------------------------------
# Scores: the official scripts in short
# ---------------------------------------------------------------------------------------------


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
        asked("", "the Cat sat", 0, id="a"),  # 2 words without the article
        asked("", "1895", 0, id="b"),
        asked("", id="c", impossible=True),
        asked("", id="d", impossible=True),
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
    questions = [asked("", "cat", 0, id="a"), asked("", "cat", 0, id="b")]
    with pytest.raises(InputError, match="1 questions have no answer; the first is b"):
        score(questions, {"a": "cat"})
    with pytest.raises(InputError, match="score for no answer; the first is a"):
        score(questions, {"a": "cat", "b": ""}, {"b": 0.0})
    with pytest.raises(InputError, match="no question to score"):
        score([], {})
