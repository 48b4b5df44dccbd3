"""The nine GLUE tasks (Wang et al., 2019): files, columns, labels, metrics.

The official TSV files, which are not quoted; or with the data folder "tfds" TensorFlow Datasets'
`glue/*`, which downloads them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilebert_tf.data.tables import read_score, read_table
from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.examples import Examples
from mobilebert_tf.tasks.tfds import TFDS, load_rows


@dataclass(frozen=True)
class GlueTask:
    """One task.

    Args:
        folder: of its official files.
        texts: the column of the text, and of its pair.
        label: the column of the label; labels in the order of the class numbers, none for scores.
        metrics: official ones, the first of them (or their mean, GLUE's own rule) ranks models.
        dev: names of its dev splits; its test splits have "test" in place of "dev".
    """

    folder: str
    texts: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    dev: tuple[str, ...] = ("dev",)


_NLI = ("entailment", "not_entailment")
GLUE = {
    "cola": GlueTask("CoLA", ("sentence",), "label", ("0", "1"), ("matthews",)),
    "sst-2": GlueTask("SST-2", ("sentence",), "label", ("0", "1"), ("accuracy",)),
    "mrpc": GlueTask("MRPC", ("#1 String", "#2 String"), "Quality", ("0", "1"), ("f1", "accuracy")),
    "sts-b": GlueTask("STS-B", ("sentence1", "sentence2"), "score", (), ("pearson", "spearman")),
    "qqp": GlueTask(
        "QQP", ("question1", "question2"), "is_duplicate", ("0", "1"), ("f1", "accuracy")
    ),
    "mnli": GlueTask(
        "MNLI",
        ("sentence1", "sentence2"),
        "gold_label",
        ("contradiction", "entailment", "neutral"),
        ("accuracy",),
        dev=("dev_matched", "dev_mismatched"),
    ),
    "qnli": GlueTask("QNLI", ("question", "sentence"), "label", _NLI, ("accuracy",)),
    "rte": GlueTask("RTE", ("sentence1", "sentence2"), "label", _NLI, ("accuracy",)),
    "wnli": GlueTask("WNLI", ("sentence1", "sentence2"), "label", ("0", "1"), ("accuracy",)),
}
# The one task whose labelled files have no header line.
COLA_HEADER = ("source", "label", "original", "sentence")
# Where TensorFlow Datasets calls the columns otherwise.
_TFDS_TEXTS = {"mrpc": ("sentence1", "sentence2"), "mnli": ("premise", "hypothesis")}


def read_split(name: str, data_dir: str | Path, split: str) -> Examples:
    """The examples of a task's split: train, a dev or a test split.

    Args:
        data_dir: the task's folder, or the folder of all tasks, with the official files; or "tfds".

    Raises InputError for files that are missing or not as they should be, with file and line.
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
        rows = read_table(path, (*task.texts, task.label), header)
        ids = [str(index) for index in range(len(rows))]
    else:
        first = "id" if name == "qqp" else "index"
        rows = read_table(path, (*task.texts, first))
        ids = _unique_ids(path, rows)
    texts = [values[0] for _, values in rows]
    pairs = [values[1] for _, values in rows] if len(task.texts) == 2 else None
    targets = [_target(task, path, n, v[-1]) for n, v in rows] if labelled else None
    return Examples(texts, pairs, targets and _array(task, targets), ids)


def _unique_ids(path: Path, rows: list[tuple[int, list[str]]]) -> list[str]:
    """The last value of each row; InputError if one occurs twice: GLUE's server counts by it."""
    lines = {}
    for line, (*_, id) in rows:
        if id in lines:
            raise InputError(f"{path}, line {line}: the id {id!r} is that of line {lines[id]} too")
        lines[id] = line
    return list(lines)


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
        named = features["label"]
        order = [task.labels.index(n) if n in task.labels else i for i, n in _names(named)]
        targets = [order[row["label"]] if order else row["label"] for row in rows]
    ids = [str(row["idx"]) for row in rows]
    pairs = texts[1] if len(texts) == 2 else None
    return Examples(texts[0], pairs, targets and _array(task, targets), ids)


def _names(feature) -> list[tuple[int, str]]:
    """(number, name) of each class; nothing for scores."""
    return list(enumerate(feature.names)) if hasattr(feature, "names") else []
