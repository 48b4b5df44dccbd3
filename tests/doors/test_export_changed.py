"""Exports that change the model first: refused before they train, and only a model is replaced."""

import pytest
from support.models import undecided
from support.texts import TOKENIZER, write_corpus

from mobilebert_tf import save_model
from mobilebert_tf.export import main
from mobilebert_tf.pipeline import open_model


def prune(folder, *options, name="model"):
    main(
        [
            *("--model", str(folder / name), "--calibration-data", str(folder / "corpus.txt")),
            *("--quantize", "none", "--prune", "0.9", "--recovery.steps", "0", *options),
        ]
    )


@pytest.fixture
def small(tmp_path):
    """A folder with a model of scores and a text."""
    save_model(undecided("regression", seed=1), tmp_path / "model", TOKENIZER)
    write_corpus(tmp_path / "corpus.txt")
    return tmp_path


def test_pruned_to_a_wreck_of_scores(small, capsys):
    with pytest.raises(SystemExit) as stopped:
        prune(small)
    error = capsys.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 2 and error.endswith("and is not kept")
    assert error.startswith("error: the model with fewer neurons loses ")
    assert {path.name for path in small.iterdir()} == {"model", "corpus.txt"}


@pytest.mark.parametrize(
    ("existing", "options", "message"),
    [
        ("", ["--output", "{}/x.bin"], "must end in .tflite"),
        ("", ["--sequence-length", "38"], "--sequence-length is 38: the model takes 3 to 37"),
        ("model-pruned-none.tflite", [], "model-pruned-none.tflite exists"),
        ("x.json", ["--output", "{}/x.tflite"], "x.json exists"),
        ("x.tflite/mine", ["--output", "{}/x.tflite", "--overwrite"], "x.tflite is no file"),
        ("model-pruned/mine", [], "model-pruned exists"),
        ("model-pruned/mine", ["--overwrite"], "holds more than a model"),
        ("model-pruned", ["--overwrite"], "holds more than a model"),
    ],
)
def test_mistakes_are_found_before_the_training(
    small, monkeypatch, capsys, existing, options, message
):
    """And a folder that is no model is not replaced."""
    if existing:
        (small / existing).parent.mkdir(exist_ok=True)
        (small / existing).write_text("precious")
    before = {path: path.is_file() and path.read_bytes() for path in small.rglob("*")}
    monkeypatch.setattr("mobilebert_tf.export.prune", None)  # not to be called
    with pytest.raises(SystemExit) as stopped:
        prune(small, *[option.format(small) for option in options])
    assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert {path: path.is_file() and path.read_bytes() for path in small.rglob("*")} == before


def test_a_pruned_model_is_replaced(small, capsys):
    for options in ((), ("--overwrite",)):
        prune(small, "--max-drop", "2", *options)
    assert open_model(small / "model-pruned").kind == "regression"
