"""The official metrics of the tasks by name, computed by scikit-learn and SciPy."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

from mobilebert_tf.tasks.examples import NO_LABEL


def scores(names: Sequence[str], targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Returns the value of each metric.

    Args:
        names: accuracy, f1 (of class 1), macro_f1, micro_f1, matthews, pearson, spearman.
        targets: int class numbers or float scores [N]; for macro_f1 and micro_f1 of multi-label
            classification 1 for the labels that a text has, else 0, int [N,C].
        predictions: likewise; NO_LABEL for what the model did not see, which is wrong.
    """
    return {name: float(_METRICS[name](targets, predictions)) for name in names}


def ranking(values: Iterable[float]) -> float:
    """Returns the mean of a task's metrics (GLUE's rule), by which models are ranked."""
    return float(np.mean(list(values)))


def _pearson(targets, predictions):
    return _correlation(stats.pearsonr, targets, predictions)


def _spearman(targets, predictions):
    return _correlation(stats.spearmanr, targets, predictions)


def _correlation(statistic, targets, predictions):
    """Returns a correlation, and 0 where SciPy's is NaN because all values are equal.

    JSON has no NaN, and epochs cannot be ranked by it.
    """
    if min(len(np.unique(targets)), len(np.unique(predictions))) < 2:
        return 0.0
    return statistic(targets, predictions).statistic


def _macro_f1(targets, predictions):
    if targets.ndim == 2:
        classes = np.flatnonzero((targets + predictions).any(axis=0))
    else:
        classes = np.union1d(targets, predictions)
        classes = classes[classes != NO_LABEL]
    if not len(classes):
        return 0.0  # no label anywhere
    return sklearn_metrics.f1_score(
        targets,
        predictions,
        labels=classes,
        average="macro",
        zero_division=0,
    )


_METRICS = {
    "accuracy": sklearn_metrics.accuracy_score,
    "f1": lambda t, p: sklearn_metrics.f1_score(t, p, zero_division=0),
    "macro_f1": _macro_f1,
    "micro_f1": lambda t, p: sklearn_metrics.f1_score(t, p, average="micro", zero_division=0),
    "matthews": sklearn_metrics.matthews_corrcoef,
    "pearson": _pearson,
    "spearman": _spearman,
}
