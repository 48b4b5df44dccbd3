"""Predictions: the same from a model directory and its exported file, and what they mean."""

import io
import json
import runpy
import sys

import numpy as np
import pytest
from test_lite import packed_file
from tiny_lite import HEADS, LABELS, VOCABULARY, save_directory

from mobilebert_tf import InputError
from mobilebert_tf.predict import PredictConfig, answer, classify, embed, fill_mask, predict
from mobilebert_tf.tokenizer import WordPiece

TEXTS = {
    "pretraining": "the [MASK] sleeps near a [MASK] .",
    "classifier": "an old cat likes the river",
    "span": "that sees what ?",
    "encoder": "the red house",
}
CONTEXT = "the dog never sees the boat behind a tree"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    for head in HEADS:
        save_directory(folder / head, head=head)
        packed_file(folder / f"{head}.tflite", head)
    return folder


def predicted(capsys, path, *texts, **options):
    predict(PredictConfig(model=str(path), texts=list(texts), json=True, **options))
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def assert_near(a, b):
    """The same structure with the same text, and numbers alike."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_near(x, y)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
    else:
        assert a == b


@pytest.mark.parametrize("head", HEADS)
def test_directory_and_file_agree(place, capsys, head):
    context = CONTEXT if head == "span" else None
    first = predicted(capsys, place / head, TEXTS[head], context=context)
    second = predicted(capsys, place / f"{head}.tflite", TEXTS[head], context=context)
    assert first[0]["text"] == TEXTS[head]
    assert_near(first, second)


class Scripted:
    """A model with given outputs, to see what is made of them."""

    tokenizer, labels, max_tokens = WordPiece(VOCABULARY), list(LABELS), 37

    def __init__(self, **outputs):
        self._outputs = {name: np.array([values], np.float32) for name, values in outputs.items()}

    def __call__(self, **inputs):
        self.seen = inputs
        return self._outputs


def test_fill_mask_reads_the_masked_positions():
    logits = np.zeros([5, len(VOCABULARY)])  # [CLS] the [MASK] runs [SEP]
    dog, cat, boat = (VOCABULARY.index(word) for word in ("dog", "cat", "boat"))
    logits[2, [dog, cat]] = np.log([6, 3])
    logits[3, boat] = 9  # no mask there
    (candidates,) = fill_mask(Scripted(mlm_logits=logits), "the [MASK] runs", top=2)
    total = 9 + len(VOCABULARY) - 2
    assert [c["token"] for c in candidates] == ["dog", "cat"]
    assert [c["probability"] for c in candidates] == pytest.approx([6 / total, 3 / total])


def test_classify_names_the_label():
    model = Scripted(probability=[0.2, 0.3, 0.5])
    assert classify(model, "the dog", "a cat") == {"label": "so so", "probability": 0.5}
    assert model.seen["segment_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1]]


def test_answer_is_inside_the_context():
    # [CLS] that [SEP] the dog never sees the boat [SEP]
    start, end = np.full(10, -5.0), np.full(10, -5.0)
    start[1] = start[9] = end[2] = end[9] = 20  # the question and the end mark cannot be answers
    start[7] = end[8] = 5
    end[4] = 6  # ends before the start: impossible
    found = answer(
        Scripted(start_logits=start, end_logits=end), "that", "the dog never sees the boat"
    )
    assert found["answer"] == "the boat"
    assert 0 < found["probability"] < 1


def test_embedding_is_a_list_of_numbers():
    assert embed(Scripted(embedding=[1.0, 2.5]), "the dog") == [1.0, 2.5]


def test_readable_lines_and_standard_input(place, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("the [MASK] runs\na [MASK] sleeps\n"))
    predict(PredictConfig(model=str(place / "pretraining.tflite"), top=3))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "the [MASK] runs" and lines[2] == "a [MASK] sleeps"
    assert lines[1].count(",") == lines[3].count(",") == 2
    predict(PredictConfig(str(place / "classifier"), texts=["the dog", "a cat"]))
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("pretraining", "the dog runs", {}, r"no \[MASK\] in the text"),
        ("pretraining", "the [MASK] runs", {"top": 0}, "--top is 0"),
        ("classifier", "dog " * 36, {}, "38 tokens, the model takes 37"),
        ("span", "what ?", {}, "--context"),
        ("span", "what ?", {"context": " "}, "no text to answer from"),
        ("nowhere", "x", {}, "nowhere"),
    ],
)
def test_bad_input(place, name, text, options, message):
    for path in (place / name, place / f"{name}.tflite"):
        with pytest.raises(InputError, match=message):
            predict(PredictConfig(model=str(path), texts=[text], **options))


def test_directory_without_vocabulary(place, tmp_path):
    directory = save_directory(tmp_path / "bare")
    (directory / "vocab.txt").unlink()
    with pytest.raises(InputError, match="no vocab.txt"):
        predict(PredictConfig(model=str(directory), texts=["x"]))


@pytest.mark.parametrize("arguments", [[], ["nowhere", "text"], ["nowhere", "x", "--tops", "1"]])
def test_door_reports_bad_input(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["predict", *arguments])
    monkeypatch.delitem(sys.modules, "mobilebert_tf.predict")
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("mobilebert_tf.predict", run_name="__main__")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_door_predicts(place, monkeypatch, capsys):
    file = str(place / "classifier.tflite")
    monkeypatch.setattr(sys, "argv", ["predict", file, "the dog", "a cat", "--json"])
    monkeypatch.delitem(sys.modules, "mobilebert_tf.predict")
    runpy.run_module("mobilebert_tf.predict", run_name="__main__")
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [result["text"] for result in results] == ["the dog", "a cat"]
    assert all(result["label"] in LABELS for result in results)
