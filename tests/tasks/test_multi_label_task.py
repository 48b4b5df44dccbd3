"""Texts of any number of labels: their files, thresholds and scores, and the way to a phone."""

import json

import keras
import numpy as np
import pytest
from support.texts import NEUTRAL, WIDE_VOCABULARY
from support.texts import WIDE_TOKENIZER as TOKENIZER

from mobilebert_tf import Pipeline, build_model, load_model, save_model
from mobilebert_tf.errors import InputError
from mobilebert_tf.evaluate import EvaluateConfig, evaluate
from mobilebert_tf.export import export
from mobilebert_tf.finetune import FinetuneConfig, finetune
from mobilebert_tf.lite.export_config import ExportConfig
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.predict import PredictConfig, predict
from mobilebert_tf.tasks.examples import Batches, add_unlabelled, encode, pad_tokens
from mobilebert_tf.tasks.metrics import scores
from mobilebert_tf.tasks.multi_label_task import best_thresholds
from mobilebert_tf.tasks.registry import open_task
from mobilebert_tf.tasks.user_files import Columns, read_unlabelled
from mobilebert_tf.training.finetuner import labelled

LINES = [["b", "a"], [], ["a", "a"], ["c"]]
HOT = [[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]


def jsonl(rows, key="label"):
    return "".join(json.dumps({"text": text, key: labels}) + "\n" for text, labels in rows)


def texts(labels):
    return list(zip("wxyz", labels, strict=False))


def test_a_list_of_labels_in_every_kind_of_table(tmp_path):
    tables = {
        "train.jsonl": jsonl(texts(LINES)),
        "train.tsv": "text\tlabel\nw\tb|a\nx\t\ny\ta | a\nz\tc\n",
        "train.csv": "text,label\nw,b|a\nx,\ny,a|a\nz,c\n",
    }
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
        task = open_task("multi-label", tmp_path, ("train",))
        assert (task.labels, task.kind) == (("a", "b", "c"), "multi_label_classifier")
        assert task.splits["train"].targets.tolist() == HOT
        (tmp_path / name).unlink()


def test_other_columns_and_texts_without_a_list(tmp_path, capsys):
    (tmp_path / "train.jsonl").write_text(jsonl([*texts(LINES), ("v", None)], key="labels"))
    (tmp_path / "test.jsonl").write_text(jsonl([("w", ["a"]), ("x", None)], key="labels"))
    columns = Columns(label="labels")
    task = open_task("multi-label", tmp_path, ("train", "test"), columns)
    assert task.splits["train"].targets.tolist() == HOT and task.splits["test"].targets is None
    captured = capsys.readouterr()
    assert "skipped 1 of 5 rows" in captured.err
    assert "1 of 2 rows have no label: none is scored" in captured.out


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a", "line 2: 'label' is no list of texts: 'a'"),
        ([["a"]], "line 2: 'label' is no list of texts"),
        ({"a": 1}, "line 2: 'label' is no list of texts"),
        ([""], "line 2: the label '' is no line of text"),
    ],
)
def test_what_is_no_list_of_labels(row, said, tmp_path):
    (tmp_path / "train.jsonl").write_text(jsonl([("w", ["a"]), ("x", row)]))
    with pytest.raises(InputError, match=said):
        open_task("multi-label", tmp_path, ("train",))


def test_numbers_are_labels_by_their_text(tmp_path):
    """As the label of one class is: a list of numbers is that of their digits."""
    (tmp_path / "train.jsonl").write_text(jsonl([("w", [2, 10]), ("x", ["2"]), ("y", [])]))
    task = open_task("multi-label", tmp_path, ("train",))
    assert task.labels == ("10", "2")
    assert task.splits["train"].targets.tolist() == [[1, 1], [0, 1], [0, 0]]


def test_labels_of_one_split(tmp_path, capsys):
    (tmp_path / "train.jsonl").write_text(jsonl(texts(LINES)))
    (tmp_path / "dev.jsonl").write_text(jsonl([("w", ["a"]), ("x", [])]))
    open_task("multi-label", tmp_path, ("train", "dev"))
    said = "multi-label dev: no example of b, c, which train has; their thresholds are 0.5\n"
    assert capsys.readouterr().out == said
    (tmp_path / "dev.jsonl").write_text(jsonl([("w", ["a", "d"])]))
    with pytest.raises(InputError, match="line 1: the label 'd' is not one of the training"):
        open_task("multi-label", tmp_path, ("train", "dev"))


def test_as_many_labels_as_tokens_are_no_tokens(tmp_path):
    """Three labels, three tokens: what follows the tokens' number must leave the labels alone."""
    (tmp_path / "train.jsonl").write_text(jsonl(texts(LINES)))
    (tmp_path / "more.csv").write_text('text\n"a b c"\n')
    arrays = open_task("multi-label", tmp_path, ("train",)).encode("train", TOKENIZER, 9).arrays
    assert arrays["input_ids"].shape == arrays["targets"].shape[:1] + (3,)
    assert pad_tokens(arrays, 7)["targets"].tolist() == HOT
    more = encode(read_unlabelled(tmp_path / "more.csv", Columns()), TOKENIZER, 9)
    both = add_unlabelled(arrays, more)
    assert both["input_ids"].shape == (5, 5) and both["targets"].shape == (5, 3)
    assert np.asarray(labelled("multi_label_classifier", both["targets"])).tolist() == [1] * 4 + [0]
    batch = Batches(arrays, 4, seed=0).batch(0)
    assert sorted(batch["targets"].tolist()) == sorted(HOT)


def test_scores_by_hand():
    targets = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0]])
    guesses = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 1]])
    found = scores(("micro_f1", "macro_f1"), targets, guesses)
    # Label 0: 1 hit, 1 missed. Label 2: 1 hit, 1 missed, 1 too many. Label 1 does not occur.
    assert found["micro_f1"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 4) / 2)
    nothing = np.zeros((3, 2), int)
    assert scores(("micro_f1", "macro_f1"), nothing, nothing) == {"micro_f1": 0, "macro_f1": 0}


def test_thresholds_by_hand():
    probability = np.array([[0.9, 0.5, 0.3], [0.4, 0.2, 0.5], [0.2, 0.1, 0.1]], np.float32)
    targets = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 1]])
    # First: between 0.2 and 0.4, both right. Second: no example. Third: all of them, F1 4/5,
    # halfway from 0 to the lowest.
    assert best_thresholds(targets, probability) == pytest.approx((0.3, 0.5, 0.05))


def test_thresholds_that_a_head_cannot_have():
    Head("multi_label_classifier", ("a", "b"), thresholds=(0, 1.0))
    for thresholds in ((0.5,), (0.5, 1.5), (0.5, float("nan"))):
        with pytest.raises(InputError, match="thresholds are"):
            Head("multi_label_classifier", ("a", "b"), thresholds=thresholds)
    with pytest.raises(InputError, match="thresholds are"):
        Head("classifier", ("a", "b"), thresholds=(0.5, 0.5))


# ---- from a table to a phone ---------------------------------------------------------------

WORDS = {"blame": "bad", "praise": "good"}


def write_split(path, count, seed):
    rng, rows = np.random.default_rng(seed), []
    for _ in range(count):
        labels = [name for name in WORDS if rng.random() < 0.4]
        words = [*rng.choice(NEUTRAL, 4), *(WORDS[name] for name in labels)]
        rows.append((" ".join(rng.permutation(words)), labels))
    path.write_text(jsonl(rows))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """data/, tuned/model and model.tflite."""
    folder = tmp_path_factory.mktemp("multi-label")
    (folder / "data").mkdir()
    for split, count, seed in (("train", 150, 0), ("dev", 60, 1)):
        write_split(folder / "data" / f"{split}.jsonl", count, seed)
    keras.utils.set_random_seed(0)
    start = SIZES["test-student"].replace(vocab_size=len(WIDE_VOCABULARY))
    save_model(build_model(start, "pretraining"), folder / "start", TOKENIZER)
    finetune(config_of(folder, folder / "tuned"))
    (folder / "text.txt").write_text("the film is good .\nthe plot was bad and good .\n" * 60)
    export(
        ExportConfig(
            model=str(folder / "tuned" / "model"),
            output=str(folder / "model.tflite"),
            quantize="none",
            calibration_data=str(folder / "text.txt"),
        )
    )
    return folder


def config_of(place, output, **changes):
    values = dict(task="multi-label", model=str(place / "start"), data_dir=str(place / "data"))
    values |= dict(output_dir=str(output), batch_size=13, learning_rate=5e-3, epochs=16)
    return FinetuneConfig(**(values | changes))


def test_it_learns_and_its_thresholds_stay_with_it(place):
    (result,) = json.loads((place / "tuned" / "scores.json").read_text())
    assert result["scores"]["micro_f1"] > 0.9  # 0.57 by choosing both labels for all
    head = load_model(place / "tuned" / "model").head
    assert (head.kind, tuple(head.labels)) == ("multi_label_classifier", ("blame", "praise"))
    lite = LiteModel(place / "model.tflite")
    assert (lite.kind, lite.labels) == (head.kind, list(head.labels))
    assert len(lite.thresholds) == 2 and lite.thresholds == list(head.thresholds)


def test_evaluate_says_of_model_and_file_what_fine_tuning_said(place, tmp_path, capsys):
    (result,) = json.loads((place / "tuned" / "scores.json").read_text())
    evaluate(
        EvaluateConfig(
            model=str(place / "tuned" / "model"),
            task="multi-label",
            data_dir=str(place / "data"),
            compare=str(place / "model.tflite"),
            json=str(tmp_path / "scores.json"),
            predictions=str(tmp_path),
        )
    )
    assert "the same prediction for 100.00 % of 60 texts" in capsys.readouterr().out
    rows = json.loads((tmp_path / "scores.json").read_text())["scores"]
    for row in rows:
        assert {name: row[name] for name in result["scores"]} == result["scores"]
    lines = (tmp_path / "multi-label.tsv").read_text().splitlines()[1:]
    written = [json.loads(line.split("\t")[1]) for line in lines]
    assert len(written) == 60 and {len(labels) for labels in written} == {0, 1, 2}


def test_pipeline_gives_the_same_from_directory_and_file(place, capsys):
    lines = (place / "data" / "dev.jsonl").read_text().splitlines()
    asked = [json.loads(line)["text"] for line in lines]
    found = Pipeline(place / "tuned" / "model")(asked)
    thresholds = load_model(place / "tuned" / "model").head.thresholds
    thresholds = dict(zip(("blame", "praise"), thresholds, strict=True))
    for mine, files in zip(found, Pipeline(place / "model.tflite")(asked), strict=True):
        assert mine.labels == files.labels and mine.text == files.text
        assert mine.probabilities == pytest.approx(files.probabilities, abs=1e-5)
        best_first = sorted(mine.probabilities, key=mine.probabilities.get, reverse=True)
        over = [name for name in best_first if mine.probabilities[name] >= thresholds[name]]
        assert mine.labels == over
    one_of_each = [next(x for x in found if len(x.labels) == count) for count in (0, 1, 2)]
    predict(PredictConfig(str(place / "model.tflite"), texts=[x.text for x in one_of_each]))
    nothing, one, two = capsys.readouterr().out.splitlines()
    assert nothing == f"(no label)  {one_of_each[0].text}"
    (name,) = one_of_each[1].labels
    assert one == f"{name} {one_of_each[1].probabilities[name]:.3f}  {one_of_each[1].text}"
    assert [part.split()[0] for part in two.split(",")] == one_of_each[2].labels


def test_weights_of_classes_are_refused(place, tmp_path):
    with pytest.raises(InputError, match="`class_weights` are for texts of one class each"):
        finetune(config_of(place, tmp_path / "run", class_weights=True))


def test_thresholds_decide(place, tmp_path):
    model = load_model(place / "tuned" / "model")
    model.head = Head("multi_label_classifier", ("blame", "praise"), thresholds=(1.0, 0.0))
    save_model(model, tmp_path / "model", TOKENIZER)
    assert Pipeline(tmp_path / "model")("a bad film").labels == ["praise"]
