"""All tasks by name, and a function that opens one with its files."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.heads import HEADS, HeadName
from mobilebert_tf.tasks.glue import GLUE, GlueTask, read_split
from mobilebert_tf.tasks.mlperf import read_mlperf
from mobilebert_tf.tasks.multi_label_task import MultiLabelTask
from mobilebert_tf.tasks.span_task import MlperfTask, SpanTask
from mobilebert_tf.tasks.squad import Question, load_squad, read_squad
from mobilebert_tf.tasks.tags import tag_scheme
from mobilebert_tf.tasks.task import Task
from mobilebert_tf.tasks.text_task import TextTask
from mobilebert_tf.tasks.tfds import TFDS
from mobilebert_tf.tasks.user_files import Columns, has_split, read_user_split

# On the user's own data: (kind of head, metrics).
USER_TASKS: dict[str, tuple[HeadName, tuple[str, ...]]] = {
    "classification": ("classifier", ("accuracy", "macro_f1")),
    "multi-label": ("multi_label_classifier", ("micro_f1", "macro_f1")),
    "regression": ("regression", ("pearson", "spearman")),
    "tokens": ("token_classifier", ("entity_f1", "accuracy")),  # if its labels mark entities
}
_WORD_METRICS = ("accuracy", "macro_f1")  # of tokens whose labels do not
SQUAD = {"squad": "v1.1", "squad-v2": "v2.0"}  # with the version in the names of its files
MLPERF = MlperfTask.name
MLPERF_FILES = ("squad_eval.tfrecord", "squad_groundtruth.tfrecord")
TASKS = (*GLUE, *USER_TASKS, *SQUAD, MLPERF)
# Default number of tokens of a text, and of a question's window.
SEQUENCE_LENGTH, SPAN_LENGTH = 128, 384


def open_task(
    name: str,
    data_dir: str | Path,
    splits: Sequence[str],
    columns: Columns | None = None,
    labels: Sequence[str] | None = None,
) -> Task:
    """Returns a task with the examples of some splits.

    Args:
        name: one of TASKS.
        data_dir: folder of its files; "tfds" for GLUE and SQuAD from TensorFlow Datasets.
        splits: some of train, dev and test; dev and test stand for all such splits of the task.
        columns: of the user's own files.
        labels: a model's labels, which the user's own files must have; None for those of the
            train split.

    Raises InputError for an unknown task, and for files that are missing or wrong.
    """
    if name in GLUE:
        task = GLUE[name]
        kind: HeadName = "classifier" if task.labels else "regression"
        examples = {
            split: read_split(name, data_dir, split) for split in _glue_splits(task, splits)
        }
        return _with_warnings(
            TextTask(name, kind, labels=task.labels, metrics=task.metrics, splits=examples)
        )
    if name in SQUAD:
        return SpanTask(name, {split: _read_questions(name, data_dir, split) for split in splits})
    if name == MLPERF:
        return MlperfTask(read_mlperf(*(Path(data_dir) / file for file in MLPERF_FILES)))
    if name not in USER_TASKS:
        raise InputError(f"no task named '{name}'; tasks: {', '.join(TASKS)}")
    kind, metrics = USER_TASKS[name]
    if not Path(data_dir).is_dir():
        raise InputError(f"`data_dir`: there is no folder {data_dir}")
    examples = {}
    for split in splits:
        if split == "train" or has_split(data_dir, split):
            examples[split], labels = read_user_split(
                data_dir, split, kind=kind, columns=columns or Columns(), labels=labels
            )
    labels = tuple(labels or ())
    if kind == "token_classifier":
        tags = tag_scheme(labels)
        print(f"{name}: {tags.describe()}")
        metrics = metrics if tags.has_entities else _WORD_METRICS
    task_class = MultiLabelTask if HEADS[kind].multi_label else TextTask
    task = task_class(name, kind, labels=labels, metrics=metrics, splits=examples)
    if task.joiners:
        print(f"{name}: marks stay in the words of raw texts as in {', '.join(task.joiners)}")
    return _with_warnings(task)


def _glue_splits(task: GlueTask, splits: Sequence[str]) -> list[str]:
    """Returns the task's names of splits, such as dev_matched and dev_mismatched for dev."""
    names = []
    for split in splits:
        if split == "train":
            names.append(split)
        else:
            names += [dev.replace("dev", split) for dev in task.dev]
    return names


def _with_warnings(task: TextTask) -> TextTask:
    """Returns the task; prints classes that occur in the train split, but not in a dev split."""
    if not task.labels or "train" not in task.splits:
        return task
    classes = {
        split: _classes(task, rows.targets)
        for split, rows in task.splits.items()
        if rows.targets is not None
    }
    more = "; their thresholds are 0.5" if isinstance(task, MultiLabelTask) else ""
    for split in task.dev_splits:
        missing = [task.labels[i] for i in sorted(classes["train"] - classes[split])]
        if missing:
            print(f"{task.name} {split}: no example of {', '.join(missing)}, which train has{more}")
    return task


def _classes(task: TextTask, targets: Sequence | np.ndarray) -> set[int]:
    """Returns the class numbers that occur in the targets of a split."""
    if isinstance(task, MultiLabelTask):
        return set(np.flatnonzero(np.any(targets, axis=0)).tolist())
    by_word = task.kind == "token_classifier"
    return set(itertools.chain.from_iterable(targets) if by_word else targets)


def _read_questions(name: str, data_dir: str | Path, split: str) -> list[Question]:
    if str(data_dir) == TFDS:
        return load_squad(SQUAD[name], split)
    path = _squad_file(data_dir, split, SQUAD[name])
    return read_squad(path, version_2=name == "squad-v2", needs_answers=split != "test")


def _squad_file(data_dir: str | Path, split: str, version: str) -> Path:
    """Returns the split's only file: SPLIT.json, SPLIT.jsonl, or one with the version in its name
    (train-v1.1.json).

    Raises InputError if there are several.
    """
    folder = Path(data_dir)
    plain, lines = folder / f"{split}.json", folder / f"{split}.jsonl"
    files = [path for path in (plain, lines) if path.is_file()]
    files += sorted(folder.glob(f"{split}*{version}*.json"))
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise InputError(f"{data_dir} has more than one file for {split}: {names}")
    return files[0] if files else plain
