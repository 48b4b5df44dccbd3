"""TensorFlow Datasets in place of files: its own builders with made-up rows, and a loader of ours.

Nothing is downloaded.
"""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.glue import GLUE
from mobilebert_tf.tasks.registry import open_task
from mobilebert_tf.tasks.squad import Question


class Builder:
    """Of a data set whose rows are given."""

    def __init__(self, rows, **features):
        self.rows, self.info = rows, self
        self.features = features

    def download_and_prepare(self):
        pass

    def as_dataset(self, split):
        return self.rows[split]


@pytest.fixture
def serve(monkeypatch):
    """Puts a Builder in the place of a data set of a name."""
    monkeypatch.setattr(tfds, "as_numpy", lambda dataset: dataset)
    return lambda expected, builder: monkeypatch.setattr(
        tfds, "builder", lambda name: {expected: builder}[name]
    )


@pytest.mark.parametrize("name", [*GLUE, "squad", "squad-v2"])
def test_their_builders_have_the_columns_that_are_read(name):
    with tfds.testing.mock_data(num_examples=7):
        task = open_task(name, "tfds", ("train", "dev"))
    assert list(task.splits) == ["train", *task.dev_splits] and task.dev_splits
    for rows in task.splits.values():
        assert len(rows) == 7
        if name in GLUE:
            targets = np.asarray(rows.targets)
            assert all(isinstance(text, str) for text in rows.texts)
            assert ((0 <= targets) & (targets < len(task.labels))).all() or name == "sts-b"
        else:
            assert all(isinstance(question, Question) and question.context for question in rows)


def squad_row(id, answers=(), **more):
    text, starts = zip(*answers, strict=True) if answers else ((), ())
    answers = {"text": np.array(text, object), "answer_start": np.array(starts, np.int32)}
    context = "Zoë sat. The cat sat.".encode()
    return {"id": id, "question": b"Who?", "context": context, "answers": answers, **more}


@pytest.mark.parametrize(("name", "version"), [("squad", "v1.1"), ("squad-v2", "v2.0")])
def test_questions(serve, name, version):
    rows = [
        squad_row(b"b", [("Zoë".encode(), 0), (b"The cat", 9)]),
        squad_row(b"a", [(b"cat", 13)]),
    ]
    if name == "squad-v2":
        rows.append(squad_row(b"c", is_impossible=np.True_))
    serve(f"squad/{version}", Builder({"validation": rows}))
    found = open_task(name, "tfds", ("dev",)).splits["dev"]
    context = "Zoë sat. The cat sat."
    expected = [
        Question("a", "Who?", context, ("cat",), (13,), False),
        Question("b", "Who?", context, ("Zoë", "The cat"), (0, 9), False),
        Question("c", "Who?", context, (), (), True),
    ]
    assert found == expected[: len(rows)]


def test_labels_have_our_order_and_rows_that_of_the_files(serve):
    rows = [
        {"sentence1": b"c", "sentence2": b"d", "label": 0, "idx": 1},
        {"sentence1": b"a", "sentence2": b"b", "label": 1, "idx": 0},
    ]
    label = tfds.features.ClassLabel(names=["not_entailment", "entailment"])
    serve("glue/rte", Builder({"train": rows}, label=label))
    task = open_task("rte", "tfds", ("train",))
    examples = task.splits["train"]
    assert (examples.texts, examples.pairs, examples.ids) == (["a", "c"], ["b", "d"], ["0", "1"])
    assert [task.labels[target] for target in examples.targets] == ["entailment", "not_entailment"]


@pytest.mark.parametrize("name", ["squad", "rte"])
def test_without_a_network(monkeypatch, name):
    def fail(name):
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(tfds, "builder", fail)
    with pytest.raises(InputError, match="no route to host.*`data_dir`") as error:
        open_task(name, "tfds", ("train",))
    assert "\n" not in str(error.value)


def test_ids_that_repeat(serve):
    serve("squad/v1.1", Builder({"train": [squad_row(b"a"), squad_row(b"a")]}))
    with pytest.raises(InputError, match="question a appears more than once"):
        open_task("squad", "tfds", ("train",))
