"""evaluate: two models side by side, and lengths that a model cannot take."""

import numpy as np
import pytest
from support.models import STUDENT, random_model
from support.texts import TOKENIZER, VOCABULARY

from mobilebert_tf import InputError, save_model
from mobilebert_tf.evaluate import EvaluateConfig, evaluate
from mobilebert_tf.text.tokenizer import WordPiece

WORDS = "the O\ndogs O\n\nan O\nold O\ncat O\nsleeps O\n\nriver O\n"
THE = VOCABULARY.index("the")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two token classifiers; the second has no "the", which it reads as three letters."""
    folder = tmp_path_factory.mktemp("evaluate")
    model = random_model(STUDENT, "token_classifier", ("B-x", "I-x", "O"))
    save_model(model, folder / "first", TOKENIZER)
    letters = [*VOCABULARY[:THE], "[unused9]", *VOCABULARY[THE + 1 :]]
    save_model(model, folder / "second", WordPiece(letters))
    (folder / "data").mkdir()
    (folder / "data" / "dev.conll").write_text(WORDS)
    (folder / "data" / "test.conll").write_text(WORDS.replace(" O", ""))
    return folder


def compared(place, capsys, first, second, **options):
    config = {"task": "tokens", "data_dir": str(place / "data")} | options
    evaluate(EvaluateConfig(str(place / first), compare=str(place / second), **config))
    return capsys.readouterr().out


def other_at_the(model, arrays):
    """Labels that differ between the two models at "the", at [CLS] and where no word begins."""
    ids = arrays["input_ids"]
    classes = np.where(ids == THE, 1, 2)
    classes[:, 0] = classes[arrays["input_mask"] == 0] = "the" in model.tokenizer.vocabulary
    return {"token_probability": np.eye(3)[classes]}


@pytest.mark.parametrize("split", ["dev", "test"])
def test_labels_of_words_are_compared(place, capsys, monkeypatch, split):
    """Not those of [CLS], later pieces and padding, which are no predictions; and inputs of two
    vocabularies have no equal lengths."""
    assert "100.00 % of 3 texts" in compared(place, capsys, "first", "first", split=split)
    monkeypatch.setattr("mobilebert_tf.tasks.evaluation.run_all", other_at_the)
    said = compared(place, capsys, "first", "second", split=split)
    assert "the same prediction for 66.67 % of 3 texts" in said


def test_a_length_that_the_model_cannot_take(place, capsys):
    with pytest.raises(InputError, match="`sequence_length` 38: the model takes at most 37"):
        compared(place, capsys, "first", "first", sequence_length=38)
