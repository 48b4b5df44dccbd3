"""SQuAD files and windows: by hand, by properties, and against a plain copy of run_squad.py."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.questions import pieces_of, question_about, questions_with_answers
from support.texts import WIDE_TOKENIZER as TOKENIZER

from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.registry import open_task
from mobilebert_tf.tasks.squad import Question, read_squad
from mobilebert_tf.tasks.squad_windows import make_features


def squad_file(path: Path, paragraphs, **more) -> Path:
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}], **more}), encoding="utf-8")
    return path


ENTRY = {"id": "q1", "question": "Who?", "answers": [{"text": "Jo", "answer_start": 4}]}


def test_reads_both_versions(tmp_path):
    impossible = {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True}
    path = squad_file(tmp_path / "a.json", [{"context": "Who Jo", "qas": [ENTRY, impossible]}])
    assert read_squad(path) == [
        Question("q1", "Who?", "Who Jo", ("Jo",), (4,), False),
        Question("q2", "Why?", "Who Jo", (), (), True),
    ]


def row(id, *answers, **more):
    """A row as Hugging Face's data sets have it."""
    texts, starts = ([answer[i] for answer in answers] for i in (0, 1))
    listed = {"text": texts, "answer_start": starts}
    return {"id": id, "question": "Who?", "context": "Who Jo", "answers": listed} | more


def test_reads_rows_with_a_context_each(tmp_path):
    rows = [row("q1", ("Jo", 4)), row(2, ("Jo", 4), ("Who", 0))]
    expected = [
        Question("q1", "Who?", "Who Jo", ("Jo",), (4,), False),
        Question("2", "Who?", "Who Jo", ("Jo", "Who"), (4, 0), False),
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for text in (json.dumps(rows), json.dumps({"data": rows}), lines):
        (tmp_path / "a.json").write_text(text)
        assert read_squad(tmp_path / "a.json") == expected
    (tmp_path / "a.json").write_text(json.dumps(rows[0]))
    assert read_squad(tmp_path / "a.json") == expected[:1]


def test_questions_without_answers(tmp_path, capsys):
    """In SQuAD 2.0 unanswerable, marked or not, but not if the file says the contrary."""
    path = tmp_path / "train.json"
    rows = [row(0, ("Jo", 4)), row(1), row(2, ("", -1)), row(3, is_impossible=False)]
    rows += [row(4, ("", -1), is_impossible=True)]
    path.write_text(json.dumps(rows))
    found = open_task("squad-v2", tmp_path, ("train",)).splits["train"]
    assert [question.is_impossible for question in found] == [False, True, True, False, True]
    assert [question.answers for question in found] == [("Jo",), (), (), (), ()]
    assert "2 questions without answers are taken as unanswerable" in capsys.readouterr().out
    found = open_task("squad", tmp_path, ("train",)).splits["train"]
    assert [question.is_impossible for question in found] == [False] * 4 + [True]


@pytest.mark.parametrize("name", ["squad", "squad-v2"])
def test_a_test_split_needs_no_answers(name, tmp_path, capsys):
    rows = [{"id": 1, "question": "who", "context": "the cat sat"}]
    (tmp_path / "test.jsonl").write_text(json.dumps(rows[0]))
    task = open_task(name, tmp_path, ("test",))
    assert "1 of 1 questions have no answers: none is scored" in capsys.readouterr().out
    encoded = task.encode("test", TOKENIZER, 13)
    logits = np.zeros(encoded.arrays["input_ids"].shape, np.float32)
    logits[0, 4] = 9  # [CLS] who [SEP] the cat sat [SEP]
    outputs = {"start_logits": logits, "end_logits": logits}
    assert task.score(encoded, outputs) == {}
    assert task.rows(encoded, outputs) == [{"id": "1", "prediction": "cat"}]


def test_two_files_of_a_split_are_refused(tmp_path):
    for name in ("dev.json", "dev-v1.1.json", "dev-v2.0.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="more than one file for dev: dev.json, dev-v1.1.json"):
        open_task("squad", tmp_path, ("dev",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, 'has no "id"'),
        ({"id": 3.5}, 'needs a str as "id"'),
        ({"answers": {"text": ["Jo"], "answer_start": []}}, "has 1 answers, but 0 starts"),
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
    with pytest.raises(InputError, match="does not exist"):
        read_squad(path)
    refused = {"{": "not a readable JSON", "[]": "no question", "{}": 'no "data"'}
    for text, message in (refused | {'{"data": []}': "no question"}).items():
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_squad(path)
    squad_file(path, [{"context": "Who Jo", "qas": [ENTRY, ENTRY]}])
    with pytest.raises(InputError, match="question q1 appears more than once"):
        read_squad(path)


# The oracle: run_squad.py's convert_examples_to_features in short.


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
        ids = [TOKENIZER.cls_id, *query, TOKENIZER.sep_id, *tokens[start : start + count]]
        position = (0, 0)
        if answer and answer[0] in inside and answer[1] in inside:
            position = tuple(place - start + len(query) + 2 for place in answer)
        windows.append(
            (
                [*ids, TOKENIZER.sep_id],
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


@settings(max_examples=120, deadline=None)
@given(
    question=questions_with_answers(),
    length=st.integers(9, 40),
    stride=st.integers(1, 12),
    training=st.booleans(),
)
def test_windows_equal_run_squad(question, length, stride, training):
    features = make_features([question], TOKENIZER, length, stride, 5, training)
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
    features = make_features([question], TOKENIZER, length, stride, 5)
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
    question = question_about("The cat sat. John was", answer="John")
    features = make_features([question], TOKENIZER, 9, 2, 5, training=True)
    tokens = [TOKENIZER.tokens(ids) for ids in features.input_ids]
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
        [question_about(context, answer, start)],
        TOKENIZER,
        40,
        training=True,
        longest_question=5,
    )
    first, last = int(features.start_positions[0]), int(features.end_positions[0])
    expected = tokens or "cat , sat"
    assert " ".join(TOKENIZER.tokens(features.input_ids[0, first : last + 1])) == expected


def test_questions_that_teach_nothing_are_counted():
    questions = [
        question_about("the cat sat", "cat", id="fine"),
        question_about("the cat sat", "dog", start=4, id="wrong text"),
        question_about("the cat sat", "dog", start=400, id="beyond the end"),
        question_about("the cat sat", "", start=0, id="empty"),
        question_about("the cat sat", id="none"),
        question_about("the cat sat", id="impossible", impossible=True),
        question_about("the cat sat " * 3, "the cat sat the cat sat", id="longer than a window"),
        question_about("", id="no text", impossible=True),
    ]
    features = make_features(questions, TOKENIZER, 9, 2, 5, training=True)
    assert features.skipped == {
        "answer not found in the text": 3,
        "no answer": 1,
        "answer in no window": 1,
        "no text": 1,
    }
    assert sorted(set(features.question_index.tolist())) == [0, 5, 6]
    assert features.start_positions[features.question_index > 0].tolist() == [0] * 4
    assert sum(make_features(questions, TOKENIZER, 9, 2, 5).skipped.values()) == 1


@pytest.mark.parametrize("start", [400, 13, -1])
def test_an_answer_elsewhere_is_moved_to_its_nearest_occurrence(start):
    question = question_about("cat the cat sat the cat", " cat ", start=start)
    features = make_features([question], TOKENIZER, 40, longest_question=5, training=True)
    place = {400: 8, 13: 5, -1: 3}[start]  # after [CLS] who [SEP]
    assert (features.start_positions[0], features.end_positions[0]) == (place, place)
    assert features.changed == {"answer moved to its nearest occurrence": 1}


def test_long_questions_are_cut_and_lengths_checked():
    question = question_about("the cat", question="who " * 30)
    features = make_features([question], TOKENIZER, 12, 2, 5)
    assert features.changed == {"the question cut to 5 tokens": 1}
    assert features.input_ids[0, :7].tolist().count(TOKENIZER.vocabulary.index("who")) == 5
    with pytest.raises(InputError, match="sequence_length 8 has no room"):
        make_features([question], TOKENIZER, 8, 2, 5)
    with pytest.raises(InputError, match="at least 1"):
        make_features([question], TOKENIZER, 12, 0, 5)
