"""How far two models agree, by hand."""

import numpy as np
import pytest
from support.texts import LABELS

from mobilebert_tf.lite import verify
from mobilebert_tf.modeling.heads import HEADS


class Given:
    """A model with given outputs, one for each text."""

    labels, thresholds = list(LABELS), [0.5, 0.3, 0.9]

    def __init__(self, kind, outputs):
        self.kind, (self.name,) = kind, HEADS[kind].outputs
        self.outputs = np.array(outputs)

    def __call__(self, input_mask, number=0):
        return {self.name: self.outputs[number : number + 1]}


def agreement_of(kind, outputs, expected):
    texts = [{"input_mask": np.array([[1, 1, 0]]), "number": i} for i in range(len(expected))]
    (measured,) = verify.agreement(Given(kind, outputs), Given(kind, expected), texts).values()
    return measured


def test_agreement_by_hand():
    expected = [[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]]  # [1,3,2]; the last is padding
    values = [[[1.0, 0.0], [2.0, 0.0], [-9.0, 0.0]]]
    measured = agreement_of("masked_lm", values, expected)
    assert measured == {"error": 1.0, "cosine": 0.5, "choice": 0.5, "worst": 0}
    found = verify.complaints({"mlm_logits": measured}, "int8")
    assert [text.split(" of ")[0] for text in found] == ["error", "cosine", "choice"]
    assert verify.complaints({"embedding": {"cosine": float("nan")}}, "int8")
    assert not verify.complaints({"embedding": {"cosine": 1.0, "error": 0.0}}, "none")


@pytest.mark.parametrize(
    ("scores", "error", "concordance", "worst"),
    [
        # Variances 2/3, covariance 2/3, shift 1: 2 * 2/3 / (2/3 + 2/3 + 1).
        ((2, 3, 4), 1 / 2, 4 / 7, 0),
        # Variances 8/3 and 2/3, covariance 4/3, shift 2: 2 * 4/3 / (8/3 + 2/3 + 4).
        ((2, 4, 6), 3 / 2, 4 / 11, 2),
        ((9, 9, 9), 8 / 2, 0, 0),
        ((2, 2, 2), 1 / 2, 0, 0),
        ((1, 2, 3), 0, 1, 0),
    ],
)
@pytest.mark.parametrize("kind", ["regression", "multiple_choice"])
def test_agreement_of_scores_by_hand(kind, scores, error, concordance, worst):
    """That of all texts: of a single score there is only the sign."""
    measured = agreement_of(kind, [[score] for score in scores], [[1], [2], [3]])
    assert measured == pytest.approx({"error": error, "cosine": concordance, "worst": worst})
    assert verify.lost({"score": measured}) == pytest.approx(1 - concordance)


def test_scores_near_0_may_change_their_sign():
    measured = agreement_of("regression", [[-0.01], [2.01], [5.0]], [[0.01], [2.0], [5.0]])
    assert measured["error"] == pytest.approx(0.02 / 4.99)
    assert verify.complaints({"score": measured}, "int8") == []


@pytest.mark.parametrize("texts", [1, 2])
def test_scores_without_a_spread(texts):
    """Of one text, or of a model that says the same of all."""
    measured = agreement_of("regression", [[2.1]] * texts, [[2.0]] * texts)
    assert measured == pytest.approx({"error": 0.05, "cosine": 0.95, "worst": 0})


def test_choices_of_several_labels():
    """The labels from their thresholds on, 0.5, 0.3 and 0.9, count; the likeliest does not."""
    expected = [[0.8, 0.6, 0.1], [0.8, 0.6, 0.1], [0.4, 0.2, 0.8]]
    values = [[0.6, 0.8, 0.8], [0.8, 0.2, 0.1], [0.4, 0.2, 0.95]]  # the same, one less, one more
    measured = agreement_of("multi_label_classifier", values, expected)
    assert measured["choice"] == pytest.approx(1 / 3)
