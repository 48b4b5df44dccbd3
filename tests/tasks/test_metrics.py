"""Each task's official metrics: by hand, and against scikit-learn and SciPy called directly."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from mobilebert_tf.tasks.glue import GLUE
from mobilebert_tf.tasks.metrics import ranking, scores
from mobilebert_tf.tasks.task import Encoded
from mobilebert_tf.tasks.text_task import TextTask

# The metrics of the GLUE paper (Wang et al., 2019, table 1), called where they come from.
OFFICIAL = {
    "cola": {"matthews": sklearn_metrics.matthews_corrcoef},
    "sst-2": {"accuracy": sklearn_metrics.accuracy_score},
    "mrpc": {"f1": sklearn_metrics.f1_score, "accuracy": sklearn_metrics.accuracy_score},
    "sts-b": {
        "pearson": lambda t, p: stats.pearsonr(t, p)[0],
        "spearman": lambda t, p: stats.spearmanr(t, p)[0],
    },
    "qqp": {"f1": sklearn_metrics.f1_score, "accuracy": sklearn_metrics.accuracy_score},
    "mnli": {"accuracy": sklearn_metrics.accuracy_score},
    "qnli": {"accuracy": sklearn_metrics.accuracy_score},
    "rte": {"accuracy": sklearn_metrics.accuracy_score},
    "wnli": {"accuracy": sklearn_metrics.accuracy_score},
}
TARGETS, GUESSES = [1, 1, 0, 0, 1, 0], [1, 0, 0, 1, 1, 0]
# Of GUESSES: 2 true positives, 2 true negatives, 1 false positive, 1 false negative.
BY_HAND = {
    "accuracy": 4 / 6,
    "f1": 2 * 2 / (2 * 2 + 1 + 1),
    "matthews": (2 * 2 - 1 * 1) / np.sqrt(3 * 3 * 3 * 3),
}


def task_of(name):
    glue = GLUE[name]
    kind = "classifier" if glue.labels else "regression"
    return TextTask(name, kind, glue.labels, glue.metrics)


def scored(name, targets, predictions):
    """Through the outputs of a model."""
    task = task_of(name)
    if task.kind == "regression":
        outputs = {"score": np.array(predictions, np.float32)[:, None]}
        return task.score(Encoded("dev", {"targets": np.array(targets, np.float32)}), outputs)
    outputs = {"probability": 0.6 * np.eye(len(task.labels))[predictions]}
    return task.score(Encoded("dev", {"targets": np.array(targets, np.int32)}), outputs)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", GLUE)
def test_official_metrics(name, seed):
    rng = np.random.default_rng(seed)
    if name == "sts-b":
        targets = rng.uniform(0, 5, 37).round(2).astype(np.float32)
        predictions = (targets + rng.normal(size=37)).astype(np.float32)
    else:
        targets, predictions = rng.integers(0, len(GLUE[name].labels), (2, 37))
    found = scored(name, targets, predictions)
    expected = {key: metric(targets, predictions) for key, metric in OFFICIAL[name].items()}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in GLUE if name != "sts-b"])
def test_classes_by_hand(name):
    found = scored(name, TARGETS, GUESSES)
    assert found == pytest.approx({key: BY_HAND[key] for key in OFFICIAL[name]})
    perfect = scored(name, TARGETS, TARGETS)
    assert set(perfect.values()) == {1.0}


def test_scores_by_hand():
    """Ranks 1 2 3 4 against 1 2 4 3: two places apart once each; means 2 and 2.5."""
    found = scored("sts-b", [0, 1, 2, 5], [1, 2, 4, 3])
    covariance = (-2) * (-1.5) + (-1) * (-0.5) + 0 * 1.5 + 3 * 0.5
    assert found["pearson"] == pytest.approx(covariance / np.sqrt(14 * 5))
    assert found["spearman"] == pytest.approx(1 - 6 * (1 + 1) / (4 * (16 - 1)))


def test_one_class_only_is_no_error():
    assert scored("cola", [1, 0, 1], [1, 1, 1]) == {"matthews": 0.0}
    assert scored("mrpc", [1, 0, 1], [0, 0, 0])["f1"] == 0.0
    for targets, predictions in (([1.0, 2.0], [3.0, 3.0]), ([1.0], [1.0])):
        assert scored("sts-b", targets, predictions) == {"pearson": 0.0, "spearman": 0.0}


def test_macro_f1_and_ranking():
    found = scores(("macro_f1", "accuracy"), np.array([1, 1, 0, 0, 1]), np.array([1, 0, 0, 1, 1]))
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert ranking(found.values()) == pytest.approx((found["macro_f1"] + 3 / 5) / 2)
