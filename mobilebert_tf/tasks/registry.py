"""The tasks by name, and how their files are opened."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.glue import GLUE, read_split
from mobilebert_tf.tasks.mlperf import read_mlperf
from mobilebert_tf.tasks.span_task import MlperfTask, SpanTask
from mobilebert_tf.tasks.squad import Question, load_squad, read_squad
from mobilebert_tf.tasks.task import Task
from mobilebert_tf.tasks.text_task import TextTask
from mobilebert_tf.tasks.tfds import TFDS
from mobilebert_tf.tasks.user_files import Columns, has_split, read_user_split

USER_TASKS = {  # the user's own data: kind of head, metrics
    "classification": ("classifier", ("accuracy", "macro_f1")),
    "regression": ("regression", ("pearson", "spearman")),
    "tokens": ("token_classifier", ("entity_f1", "accuracy")),
}
SQUAD = {"squad": "v1.1", "squad-v2": "v2.0"}  # and what its files' names have in them
MLPERF = MlperfTask.name
MLPERF_FILES = ("squad_eval.tfrecord", "squad_groundtruth.tfrecord")
TASKS = (*GLUE, *USER_TASKS, *SQUAD, MLPERF)
# Tokens of a text, and of a question's window, unless the user or the model says otherwise.
SEQUENCE_LENGTH, SPAN_LENGTH = 128, 384


def open_task(
    name: str,
    data_dir: str | Path,
    splits: Sequence[str],
    columns: Columns | None = None,
    labels: Sequence[str] | None = None,
) -> Task:
    """A task with the examples of some splits.

    Args:
        name: one of TASKS.
        data_dir: where its files are; "tfds" for GLUE and SQuAD from TensorFlow Datasets.
        splits: of train, dev and test; dev stands for all dev splits of the task, and so does
            test.
        columns: of the user's own files.
        labels: a model's, that the user's own files must have; null: those of the train split.

    Raises InputError for an unknown task, and for files that are missing or wrong.
    """
    if name in GLUE:
        task = GLUE[name]
        wanted = [dev.replace("dev", s) if s != "train" else s for s in splits for dev in task.dev]
        found = {split: read_split(name, data_dir, split) for split in dict.fromkeys(wanted)}
        kind = "classifier" if task.labels else "regression"
        return _with_warnings(TextTask(name, kind, task.labels, task.metrics, found))
    if name in SQUAD:
        return SpanTask(name, {s: _questions(name, data_dir, s) for s in splits})
    if name == MLPERF:
        return MlperfTask(read_mlperf(*(Path(data_dir) / file for file in MLPERF_FILES)))
    if name not in USER_TASKS:
        raise InputError(f"no task named '{name}'; tasks: {', '.join(TASKS)}")
    kind, metrics = USER_TASKS[name]
    found = {}
    for split in splits:
        if split == "train" or has_split(data_dir, split):
            found[split], labels = read_user_split(
                data_dir, split, kind, columns or Columns(), labels
            )
    return _with_warnings(TextTask(name, kind, tuple(labels or ()), metrics, found))


def _with_warnings(task: TextTask) -> TextTask:
    """Prints which classes of the train split a dev split has no example of; returns the task."""
    if not task.labels or "train" not in task.splits:
        return task
    by_word = task.kind == "token_classifier"
    classes = {
        split: set(itertools.chain.from_iterable(rows.targets) if by_word else rows.targets)
        for split, rows in task.splits.items()
        if rows.targets is not None
    }
    for split in task.dev_splits:
        missing = [task.labels[i] for i in sorted(classes["train"] - classes[split])]
        if missing:
            print(f"{task.name} {split}: no example of {', '.join(missing)}, which train has")
    return task


def _questions(name: str, data_dir: str | Path, split: str) -> list[Question]:
    if str(data_dir) == TFDS:
        return load_squad(SQUAD[name], split)
    return read_squad(_squad_file(data_dir, split, SQUAD[name]))


def _squad_file(data_dir: str | Path, split: str, version: str) -> Path:
    """SPLIT.json, or the one file of the split with the version in its name (train-v1.1.json)."""
    named = Path(data_dir) / f"{split}.json"
    found = sorted(Path(data_dir).glob(f"{split}*{version}*.json"))
    if named.is_file() or not found:
        return named
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{data_dir} has more than one file for {split}: {names}")
    return found[0]
