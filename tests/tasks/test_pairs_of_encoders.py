"""An encoder scores pairs of texts by the cosine of their embeddings."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from support.models import keras_model
from support.texts import TOKENIZER

from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.evaluation import DevScores, class_order, evaluate_split
from mobilebert_tf.tasks.registry import open_task

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


def cosine(encoder, first, second):
    a, b = (encoder(**TOKENIZER.encode([text]))["embedding"][0] for text in (first, second))
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


def test_single_texts_are_refused(tmp_path):
    (tmp_path / "dev.tsv").write_text("text\tlabel\na dog\t1\na cat\t2\n")
    task = open_task("regression", tmp_path, ("dev",))
    with pytest.raises(InputError, match="has a encoder head"):
        class_order("model", keras_model(head="encoder"), task)
