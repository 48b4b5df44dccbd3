"""The dev scores of a task's model beside those of other forms of it, such as its .tflite files."""

from pathlib import Path

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.runtime import Runnable
from mobilebert_tf.tasks.metrics import ranking
from mobilebert_tf.tasks.outputs import class_order, longest, ordered, run_all
from mobilebert_tf.tasks.registry import MLPERF, open_task


def check_options(task: str | None, data_dir: str | None) -> None:
    """InputError for one without the other, or a task that has no dev split."""
    if (task is None) != (data_dir is None):
        raise InputError("--task and --data-dir go together")
    if task == MLPERF:
        raise InputError(f"--task {MLPERF}: python -m mobilebert_tf.evaluate scores it")


class DevScores:
    """What a model scores on a task, and how much lower others do.

    Args:
        original: the model.
        name: its path, for messages.
        task, data_dir: as for finetune.

    Raises InputError if the task's files are missing or wrong, or the model has another head.
    """

    def __init__(self, original: Runnable, name: str | Path, task: str, data_dir: str):
        self._name = str(name)
        self._task = open_task(task, data_dir, ("dev",), labels=original.labels)
        if not self._task.dev_splits:
            raise InputError(f"{data_dir} has no dev split")
        self.original = self.of(original)

    def of(self, model: Runnable) -> dict[str, float]:
        """The task's metrics on all dev splits, 0 to 1."""
        task, found = self._task, {}
        order = class_order(self._name, model, task)
        for split in task.dev_splits:
            arrays = task.encode(split, model.tokenizer, longest(model, task))
            outputs = run_all(model, arrays)
            outputs = {name: ordered(name, values, order) for name, values in outputs.items()}
            values = task.score(split, arrays, outputs)
            unit = 100 if task.kind == "span" else 1  # SQuAD's are percentages
            suffix = split.removeprefix("dev")
            found |= {name + suffix: values[name] / unit for name in task.metrics}
        return found

    def lost(self, scores: dict[str, float]) -> float:
        """How much lower scores are than the original's, 0 to 1."""
        return ranking(self.original) - ranking(scores)
