"""An encoder scores pairs of texts by the cosine of their embeddings."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import spearmanr
from support.models import keras_model, save_directory
from support.texts import TOKENIZER

from mobilebert_tf.errors import InputError
from mobilebert_tf.evaluate import EvaluateConfig, evaluate
from mobilebert_tf.tasks.evaluation import DevScores, class_order, evaluate_split
from mobilebert_tf.tasks.registry import open_task
from mobilebert_tf.tasks.user_files import Columns

PAIRS = [
    ("the dog runs", "a dog runs", 4.5),
    ("an old boat", "the red house sleeps near a road", 0.5),
    ("a cat never sees the river", "never", 1.0),
    ("the stone", "that stone", 5.0),
]


@pytest.fixture
def folder(tmp_path):
    rows = [f"{i}\tx\t{a}\t{b}\t{score}" for i, (a, b, score) in enumerate(PAIRS)]
    header = "index\tgenre\tsentence1\tsentence2\tscore"
    (tmp_path / "dev.tsv").write_text("\n".join([header, *rows]) + "\n")
    return tmp_path


def cosine(encoder, first, second, longest=None):
    encoded = (TOKENIZER.encode([text], None, longest) for text in (first, second))
    texts = (  # without padding
        {name: array[:, : arrays["input_mask"].sum()] for name, array in arrays.items()}
        for arrays in encoded
    )
    a, b = (encoder(**text)["embedding"][0] for text in texts)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_scores_are_cosines(folder):
    encoder, task = keras_model(head="encoder"), open_task("sts-b", folder, ("dev",))
    assert class_order("model", encoder, task) is None
    evaluation = evaluate_split(encoder, task, task.encode("dev", TOKENIZER, 37))
    expected = [cosine(encoder, first, second) for first, second, _ in PAIRS]
    np.testing.assert_allclose(evaluation.outputs["score"][:, 0], expected, atol=1e-6)
    correlation = spearmanr([score for *_, score in PAIRS], expected)[0]
    assert evaluation.scores["spearman"] == pytest.approx(correlation)
    assert DevScores(encoder, "model", "sts-b", folder).original == evaluation.scores


def test_texts_are_cut_to_the_length_that_the_user_wants(folder, tmp_path):
    encoder, task = keras_model(head="encoder"), open_task("sts-b", folder, ("dev",))
    evaluation = evaluate_split(encoder, task, task.encode("dev", TOKENIZER, 4))
    expected = [cosine(encoder, first, second, 4) for first, second, _ in PAIRS]
    np.testing.assert_allclose(evaluation.outputs["score"][:, 0], expected, atol=1e-6)
    scores, report = [], tmp_path / "scores" / "x.json"
    model = str(save_directory(tmp_path / "encoder", head="encoder"))
    for length in (None, 4):
        config = EvaluateConfig(model, "sts-b", str(folder), sequence_length=length)
        evaluate(dataclasses.replace(config, json=str(report), overwrite=True))
        (row,) = json.loads(report.read_text())["scores"]
        scores.append(row["pearson"])
    assert scores[1] == evaluation.scores["pearson"] != scores[0]


def test_single_texts_are_refused(tmp_path):
    (tmp_path / "dev.tsv").write_text("text\tlabel\na dog\t1\na cat\t2\n")
    task = open_task("regression", tmp_path, ("dev",))
    with pytest.raises(InputError, match="has a encoder head"):
        class_order("model", keras_model(head="encoder"), task)


def test_an_export_scores_files_with_other_columns(folder):
    columns = Columns(text="sentence1", pair="sentence2", label="score")
    found = DevScores(keras_model(head="encoder"), "model", "regression", str(folder), columns)
    glue = DevScores(keras_model(head="encoder"), "model", "sts-b", str(folder))
    assert found.original == glue.original
