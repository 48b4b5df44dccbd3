"""The nine GLUE tasks (Wang et al., 2019): files, columns, labels, metrics.

Their data are the official TSV files, or for the data folder "tfds" TensorFlow Datasets' `glue/*`,
which is downloaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilebert_tf.data.tables import check_different, read_rows, read_score
from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.examples import Examples, split_ids
from mobilebert_tf.tasks.tfds import TFDS, load_rows


@dataclass(frozen=True)
class GlueTask:
    """One GLUE task.

    Args:
        folder: name of the folder of its official files.
        texts: column of the text, and of the second text if there is one.
        label: column of the label.
        labels: in the order of the class numbers; empty for scores.
        metrics: names of the official metrics.
        words: names of the classes in other people's models and in TensorFlow Datasets, for tasks
            whose official labels are numbers.
        dev: names of the dev splits; those of test splits have "test" in place of "dev".
    """

    folder: str
    texts: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    words: tuple[str, ...] = ()
    dev: tuple[str, ...] = ("dev",)


_SENTENCES = ("sentence1", "sentence2")
_BINARY, _NLI = ("0", "1"), ("entailment", "not_entailment")
_MNLI = ("contradiction", "entailment", "neutral")
GLUE = {
    "cola": GlueTask(
        "CoLA",
        ("sentence",),
        "label",
        labels=_BINARY,
        metrics=("matthews",),
        words=("unacceptable", "acceptable"),
    ),
    "sst-2": GlueTask(
        "SST-2",
        ("sentence",),
        "label",
        labels=_BINARY,
        metrics=("accuracy",),
        words=("negative", "positive"),
    ),
    "mrpc": GlueTask(
        "MRPC",
        ("#1 String", "#2 String"),
        "Quality",
        labels=_BINARY,
        metrics=("f1", "accuracy"),
        words=("not_equivalent", "equivalent"),
    ),
    "sts-b": GlueTask("STS-B", _SENTENCES, "score", labels=(), metrics=("pearson", "spearman")),
    "qqp": GlueTask(
        "QQP",
        ("question1", "question2"),
        "is_duplicate",
        labels=_BINARY,
        metrics=("f1", "accuracy"),
        words=("not_duplicate", "duplicate"),
    ),
    "mnli": GlueTask(
        "MNLI",
        _SENTENCES,
        "gold_label",
        labels=_MNLI,
        metrics=("accuracy",),
        dev=("dev_matched", "dev_mismatched"),
    ),
    "qnli": GlueTask("QNLI", ("question", "sentence"), "label", labels=_NLI, metrics=("accuracy",)),
    "rte": GlueTask("RTE", _SENTENCES, "label", labels=_NLI, metrics=("accuracy",)),
    "wnli": GlueTask(
        "WNLI",
        _SENTENCES,
        "label",
        labels=_BINARY,
        metrics=("accuracy",),
        words=("not_entailment", "entailment"),
    ),
}
# CoLA's labelled files have no header line.
COLA_HEADER = ("source", "label", "original", "sentence")
# Tasks whose columns have other names in TensorFlow Datasets.
_TFDS_TEXTS = {"mrpc": ("sentence1", "sentence2"), "mnli": ("premise", "hypothesis")}


def read_split(name: str, data_dir: str | Path, split: str) -> Examples:
    """Returns the examples of a split.

    Args:
        name: of the task.
        data_dir: the task's folder, or the folder of all tasks, with the official files; or "tfds".
        split: train, or a dev or test split of the task.

    Raises InputError for missing or damaged files, with file and line.
    """
    task = GLUE[name]
    if str(data_dir) == TFDS:
        return _from_tfds(name, split)
    folder = Path(data_dir)
    folder = folder / task.folder if (folder / task.folder).is_dir() else folder
    path = folder / f"{split}.tsv"
    labelled = not split.startswith("test")
    if labelled:
        header = COLA_HEADER if name == "cola" else None
        all_rows = read_rows(path, (*task.texts, task.label), header=header, quotes=False)
        ids = [str(index) for index in range(len(all_rows))]
    else:
        first = "id" if name == "qqp" else "index"
        all_rows = read_rows(path, (*task.texts, first), quotes=False)
        ids = [row.values[-1] or "" for row in all_rows]  # by which GLUE's server knows them
        check_different(path, all_rows, ids)
    rows = [row for row in all_rows if row.complete]
    texts = [row.values[0] for row in rows]
    pairs = [row.values[1] for row in rows] if len(task.texts) == 2 else None
    targets = None
    if labelled:
        targets = _array(task, [_target(task, path, row.line, row.values[-1]) for row in rows])
    return Examples(texts, pairs, targets, *split_ids(all_rows, ids))


def _target(task: GlueTask, path: Path, line: int, text: str) -> int | float:
    if task.labels:
        if text not in task.labels:
            expected = ", ".join(task.labels)
            raise InputError(f"{path}, line {line}: the label is {text!r}, expected {expected}")
        return task.labels.index(text)
    return read_score(path, line, text)


def _array(task: GlueTask, targets: list) -> np.ndarray:
    return np.array(targets, np.int32 if task.labels else np.float32)


def _from_tfds(name: str, split: str) -> Examples:
    task = GLUE[name]
    rows, features = load_rows(f"glue/{name.replace('-', '')}", split)
    rows.sort(key=lambda row: row["idx"])
    columns = _TFDS_TEXTS.get(name, task.texts)
    texts = [[row[column].decode() for row in rows] for column in columns]
    targets = None
    if not split.startswith("test"):
        labels = [row["label"] for row in rows]
        if task.labels:
            numbers = _class_numbers(task, features["label"].names)
            labels = [numbers[label] for label in labels]
        targets = _array(task, labels)
    ids = [str(row["idx"]) for row in rows]
    pairs = texts[1] if len(texts) == 2 else None
    return Examples(texts[0], pairs, targets, ids)


def _class_numbers(task: GlueTask, names: Sequence[str]) -> list[int]:
    """Returns our class number for each class of TensorFlow Datasets.

    It names the classes of some tasks otherwise; those have the same numbers as ours.
    """
    return [
        task.labels.index(name) if name in task.labels else number
        for number, name in enumerate(names)
    ]
