"""Classes of other people's models are found by the names that they are known by."""

import pytest
from support.models import STUDENT
from support.texts import TOKENIZER

from mobilebert_tf import InputError, build_model
from mobilebert_tf.modeling.runner import KerasModel
from mobilebert_tf.tasks.evaluation import class_order
from mobilebert_tf.tasks.glue import GLUE
from mobilebert_tf.tasks.text_task import TextTask


def order(task, labels):
    model = KerasModel(build_model(STUDENT, "classifier", labels), TOKENIZER)
    glue = GLUE[task]
    return class_order("m", model, TextTask(task, "classifier", glue.labels, glue.metrics, {}))


@pytest.mark.parametrize(
    ("task", "labels", "expected"),
    [
        ("sst-2", ("0", "1"), [0, 1]),
        ("sst-2", ("NEGATIVE", "POSITIVE"), [0, 1]),
        ("sst-2", ("positive", "negative"), [1, 0]),
        ("sst-2", ("LABEL_0", "LABEL_1"), [0, 1]),
        ("cola", ("unacceptable", "acceptable"), [0, 1]),
        ("mrpc", ("not_equivalent", "equivalent"), [0, 1]),
        ("mrpc", ("Equivalent", "Not equivalent"), [1, 0]),
        ("qqp", ("not_duplicate", "duplicate"), [0, 1]),
        ("mnli", ("ENTAILMENT", "NEUTRAL", "CONTRADICTION"), [2, 0, 1]),
        ("qnli", ("not-entailment", "entailment"), [1, 0]),
        ("wnli", ("not_entailment", "entailment"), [0, 1]),
    ],
)
def test_order(task, labels, expected, capsys):
    assert order(task, labels) == expected
    said = "m does not name its classes: taken for 0, 1, in this order\n"
    assert capsys.readouterr().out == (said if labels[0] == "LABEL_0" else "")


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("sst-2", ("good", "bad")),
        ("sst-2", ("equivalent", "not_equivalent")),
        ("sst-2", ("negative", "neutral", "positive")),
        ("cola", ("0", "acceptable")),
    ],
)
def test_other_classes_are_refused(task, labels):
    with pytest.raises(InputError, match=f"the classes {labels[0]}, .*{task} has 0, 1"):
        order(task, labels)
