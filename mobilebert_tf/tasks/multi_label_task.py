"""Multi-label classification: a text has any number of labels, each from a threshold on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve

from mobilebert_tf.tasks.text_task import TextTask

DEFAULT_THRESHOLD = 0.5  # of a label without an example


@dataclass(frozen=True)
class MultiLabelTask(TextTask):
    """Classification of texts that have any number of labels, or none; see Task."""

    def predictions(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns 1 for the labels that a text has, else 0: int32 [N,C], from `chosen`, bool [N,C].

        See evaluation.Evaluation."""
        return outputs["chosen"].astype(np.int32)

    def _named(self, prediction: np.ndarray) -> list[str]:
        return [self.labels[number] for number in np.flatnonzero(prediction)]


def best_thresholds(targets: np.ndarray, probability: np.ndarray) -> tuple[float, ...]:
    """Returns for each label the threshold with the best F1; 0.5 for a label without an example.

    A threshold stands in the middle between two probabilities, so that a file whose probabilities
    are rounded differently chooses the same texts. Of equally good ones it is the nearest to 0.5.

    Args:
        targets: 1 for the labels that a text has, else 0: [N,C].
        probability: of a model, [N,C].
    """
    columns = zip(targets.T, probability.T.astype(np.float64), strict=True)
    return tuple(_best_threshold(has_label, values) for has_label, values in columns)


def _best_threshold(has_label: np.ndarray, probability: np.ndarray) -> float:
    """Returns the threshold of one label; both [N]."""
    if not has_label.any():
        return DEFAULT_THRESHOLD
    precision, recall, scores = precision_recall_curve(has_label, probability)
    precision, recall = precision[:-1], recall[:-1]  # without the end of the curve, where none is
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    middle = (scores + np.concatenate([[0.0], scores[:-1]])) / 2
    return float(middle[np.lexsort((abs(middle - DEFAULT_THRESHOLD), -f1))[0]])
