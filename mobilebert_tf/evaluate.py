"""python -m mobilebert_tf.evaluate --model DIR_OR_TFLITE --task T --data-dir DIR: scores a model.

A Keras model, a .tflite file of any quantization and a Hugging Face folder are scored on the same
examples with the same tokenizer and metrics.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tabulate

from mobilebert_tf.cli import door
from mobilebert_tf.environment import circumstances
from mobilebert_tf.errors import InputError, check_number, named
from mobilebert_tf.files import check_free, write_whole
from mobilebert_tf.pipeline import open_model
from mobilebert_tf.tasks.evaluation import Evaluation, class_order, evaluate_split, max_length
from mobilebert_tf.tasks.glue import GLUE
from mobilebert_tf.tasks.registry import open_task
from mobilebert_tf.tasks.task import Task
from mobilebert_tf.tasks.text_task import TextTask
from mobilebert_tf.tasks.user_files import Columns

SHOWN = 20  # of the examples on which two models differ


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of an evaluation.

    Args:
        model: a .tflite file, a model directory, a Hugging Face folder or a checkpoint.
        task: a GLUE task, squad, squad-v2, mlperf-squad (the MLPerf Mobile benchmark's records), or
            classification, multi-label, regression, tokens for files of your own.
        data_dir: folder of the task's files, as for finetune.
        compare: another model; print how often the two agree, and where they differ.
        split: train, dev, or test for predictions only.
        columns: names of the columns of your own files.
        sequence_length: largest number of tokens; null for that of the model's training, or 128.
        num_threads: of a .tflite file.
        predictions: a folder for the predictions of each split, in the format of GLUE's and
            SQuAD's submissions.
        json: also write the scores to this file.
        overwrite: replace files that exist.
    """

    model: str
    task: str
    data_dir: str
    compare: str | None = None
    split: Literal["train", "dev", "test"] = "dev"
    columns: Columns = Columns()
    sequence_length: int | None = None
    num_threads: int = 1
    predictions: str | None = None
    json: str | None = None
    overwrite: bool = False

    def __post_init__(self):
        check_number("sequence_length", self.sequence_length, 3)


def evaluate(config: EvaluateConfig) -> None:
    """Scores a model, or two side by side, on a GLUE task or your own labelled texts."""
    paths, models = [], []
    for setting in ("model", "compare") if config.compare else ("model",):
        with named(setting):
            paths.append(getattr(config, setting))
            models.append(open_model(paths[-1], config.num_threads))
    task = open_task(
        config.task,
        config.data_dir,
        splits=(config.split,),
        columns=config.columns,
        labels=models[0].labels,
    )
    if not task.splits:
        raise InputError(f"{config.data_dir} has no {config.split} split")
    files = _prediction_files(task, config.predictions) if config.predictions else {}
    for file in files.values():
        check_free(file, config.overwrite, inputs=paths)
    if config.json:
        read = [*paths, *Path(config.data_dir).glob("*")]
        check_free(config.json, config.overwrite, inputs=read)
    orders = [class_order(path, m, task) for path, m in zip(paths, models, strict=True)]
    evaluations = []  # of each model by split
    for model, order in zip(models, orders, strict=True):
        length = max_length(model, task, config.sequence_length)
        encoded = {split: task.encode(split, model.tokenizer, length) for split in task.splits}
        evaluations.append({s: evaluate_split(model, task, e, order) for s, e in encoded.items()})
    rows = [
        _row(path, evaluation)
        for path, by_split in zip(paths, evaluations, strict=True)
        for evaluation in by_split.values()
    ]
    print(tabulate.tabulate(rows, headers="keys", floatfmt=".4f"))
    if len(evaluations) == 2:
        first, second = evaluations
        for split in task.splits:
            _compare(task, split, first[split], second[split])
    for split, path in files.items():
        _write(path, _predictions(task, evaluations[0][split]))
    if config.json:
        _write(Path(config.json), json.dumps(circumstances() | {"scores": rows}, indent=2))


def _row(path: str, evaluation: Evaluation) -> dict:
    """Returns the scores and the speed of a model on a split."""
    count, seconds = len(evaluation.encoded), evaluation.seconds
    row = {"model": path, "split": evaluation.encoded.split, "examples": count}
    return row | evaluation.scores | {"seconds": seconds, "examples/s": count / seconds}


def _compare(task: Task, split: str, first: Evaluation, second: Evaluation) -> None:
    """Prints how often two models agree on a split, and where they differ."""
    if not isinstance(task, TextTask):
        _compare_answers(task, split, first, second)
        return
    a: Sequence | np.ndarray = task.predictions(first.outputs)
    b: Sequence | np.ndarray = task.predictions(second.outputs)
    if task.kind == "regression":
        print(f"{split}: largest difference of scores {np.abs(np.subtract(a, b)).max():.4f}")
        return
    if task.kind == "token_classifier":  # not the classes of [CLS], later pieces and padding
        a, b = (task.word_classes(each.encoded, each.outputs) for each in (first, second))
    examples = task.splits[split]
    differ = np.array([not np.array_equal(*each) for each in zip(a, b, strict=True)])
    print(
        f"{split}: the same prediction for {100 * np.mean(~differ):.2f} % of {len(examples)} texts"
    )
    if task.kind != "classifier":
        return
    rows = [
        {
            "id": examples.ids[i],
            "text": examples.texts[i][:60],
            "label": task.labels[examples.targets[i]] if examples.targets is not None else "",
            "first": task.labels[a[i]],
            "second": task.labels[b[i]],
        }
        for i in np.flatnonzero(differ).tolist()
    ]
    print(tabulate.tabulate(rows[:SHOWN], headers="keys"))
    if len(rows) > SHOWN:
        print(f"and {len(rows) - SHOWN} more")


def _compare_answers(task: Task, split: str, first: Evaluation, second: Evaluation) -> None:
    a, b = (task.rows(each.encoded, each.outputs) for each in (first, second))
    differ = [i for i, row in enumerate(a) if row != b[i]]
    same = 100 * (1 - len(differ) / len(a))
    print(f"{split}: the same answer to {same:.2f} % of {len(a)} questions")
    keys = ("id", "first", "second")
    rows = [dict(zip(keys, (*a[i].values(), b[i]["prediction"]), strict=True)) for i in differ]
    print(tabulate.tabulate(rows[:SHOWN], headers="keys"))


def _prediction_files(task: Task, folder: str) -> dict[str, Path]:
    """Returns a file for each split: a .tsv with the GLUE server's name, for answers a .json.

    Raises InputError if `folder` is a file, or for predictions of words.
    """
    if Path(folder).exists() and not Path(folder).is_dir():
        raise InputError(f"{folder} is a file: `predictions` must name a folder")
    if task.kind == "span":
        return {split: Path(folder) / f"{task.name}-{split}.json" for split in task.splits}
    if task.kind == "token_classifier":
        raise InputError("predictions of words: python -m mobilebert_tf.predict writes them")
    name = GLUE[task.name].folder if task.name in GLUE else task.name
    suffixes = {"matched": "-m", "mismatched": "-mm"}
    return {
        split: Path(folder) / f"{name}{suffixes.get(split.rpartition('_')[2], '')}.tsv"
        for split in task.splits
    }


def _predictions(task: Task, evaluation: Evaluation) -> str:
    """Returns the text of a prediction file: index and prediction in the GLUE server's format, for
    answers {id: text} as SQuAD's evaluation reads it."""
    rows = task.rows(evaluation.encoded, evaluation.outputs)
    if task.kind == "span":
        texts = {row["id"]: row["prediction"] for row in rows}
        return json.dumps(texts, indent=2, ensure_ascii=False)
    lines = ["index\tprediction"]
    skipped = sum(row["prediction"] is None for row in rows)
    if skipped:
        print(f"{skipped} of {len(rows)} rows were skipped: their prediction is empty")
    for row in rows:
        value = row["prediction"]
        if value is None:
            value = ""
        elif task.kind == "regression":
            value = f"{np.clip(value, 0, 5) if task.name == 'sts-b' else value:.3f}"
        elif isinstance(value, list):  # of labels, [] for none
            value = json.dumps(value, ensure_ascii=False)
        lines.append(f"{row['id']}\t{value}")
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    write_whole(path, text + "\n")
    print(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(evaluate, EvaluateConfig, arguments=arguments)


if __name__ == "__main__":
    main()
