"""python -m mobilebert_tf.evaluate --model DIR_OR_TFLITE --task T --data-dir DIR: its score.

The same examples, tokenizer and metrics for a Keras model, a .tflite file of any quantization and a
Hugging Face folder.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tabulate

from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.runtime import Runnable
from mobilebert_tf.lite.timing import circumstances
from mobilebert_tf.tasks.glue import GLUE
from mobilebert_tf.tasks.outputs import class_order, longest, open_any, ordered, run_all
from mobilebert_tf.tasks.registry import AnyTask, open_task
from mobilebert_tf.tasks.user_files import Columns
from mobilebert_tf.training.run_folder import check_free, write_whole

SHOWN = 20  # of the examples that changed


@dataclass(frozen=True)
class EvaluateConfig:
    """What to judge, and on what.

    Args:
        model: a .tflite file, a model directory, a Hugging Face folder or a checkpoint.
        task: a GLUE task, squad, squad-v2, mlperf-squad (the MLPerf Mobile benchmark's records), or
            classification, regression, tokens for files of your own.
        data_dir: where the task's files are, as for finetune.
        compare: another model: how often the two agree, and where they do not.
        split: train, dev, or test for predictions only.
        columns: names of the columns of your own files.
        sequence_length: most tokens; null: what the model was trained on, or 128.
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


def evaluate(config: EvaluateConfig) -> None:
    """Scores a model, or two side by side, on a GLUE task or your own labelled texts."""
    paths = [config.model] + ([config.compare] if config.compare else [])
    models = [open_any(path, config.num_threads) for path in paths]
    task = open_task(
        config.task, config.data_dir, (config.split,), config.columns, models[0].labels
    )
    if not task.splits:
        raise InputError(f"{config.data_dir} has no {config.split} split")
    files = _prediction_files(task, config.predictions) if config.predictions else {}
    for path in (*files.values(), *([config.json] if config.json else [])):
        check_free(path, config.overwrite)
    orders = [class_order(path, m, task) for path, m in zip(paths, models, strict=True)]
    judged = [_judge(*each, task, config) for each in zip(paths, models, orders, strict=True)]
    rows = [row for found in judged for row in found["rows"]]
    print(tabulate.tabulate(rows, headers="keys", floatfmt=".4f"))
    for split in task.splits if len(judged) == 2 else ():
        _compare(task, split, *judged)
    for split, path in files.items():
        _write(path, _predictions(task, split, judged[0]["outputs"][split]))
    if config.json:
        _write(Path(config.json), json.dumps(circumstances() | {"scores": rows}, indent=2))


def _judge(
    path: str,
    model: Runnable,
    order: Sequence[int] | None,
    task: AnyTask,
    config: EvaluateConfig,
) -> dict:
    """Outputs by split, and a row of figures for each."""
    found = {"outputs": {}, "rows": []}
    length = longest(model, task, config.sequence_length)
    for split in task.splits:
        arrays = task.encode(split, model.tokenizer, length)
        started = time.perf_counter()
        outputs = run_all(model, arrays)
        seconds = time.perf_counter() - started
        outputs = {name: ordered(name, values, order) for name, values in outputs.items()}
        scores = task.score(split, arrays, outputs)
        count = len(arrays["input_ids"])
        row = {"model": path, "split": split, "examples": count}
        found["rows"].append(row | scores | {"seconds": seconds, "examples/s": count / seconds})
        found["outputs"][split] = outputs
    return found


def _compare(task: AnyTask, split: str, first: Mapping, second: Mapping) -> None:
    """Prints the agreement of two models on a split, and where they differ."""
    if task.kind == "span":
        _compare_answers(task, split, first, second)
        return
    a, b = (task.predictions(found["outputs"][split]) for found in (first, second))
    if task.kind == "regression":
        print(f"{split}: largest difference of scores {np.abs(a - b).max():.4f}")
        return
    examples = task.splits[split]
    differ = a != b if a.ndim == 1 else (a != b).any(axis=1)
    print(
        f"{split}: the same prediction for {100 * np.mean(~differ):.2f} % of {len(examples)} texts"
    )
    if a.ndim > 1:
        return
    rows = [
        {
            "id": examples.ids[i],
            "text": examples.texts[i][:60],
            "label": task.labels[examples.targets[i]] if examples.targets is not None else "",
            "first": task.labels[a[i]],
            "second": task.labels[b[i]],
        }
        for i in np.flatnonzero(differ)
    ]
    print(tabulate.tabulate(rows[:SHOWN], headers="keys"))
    if len(rows) > SHOWN:
        print(f"and {len(rows) - SHOWN} more")


def _compare_answers(task: AnyTask, split: str, first: Mapping, second: Mapping) -> None:
    a, b = (task.rows(split, found["outputs"][split]) for found in (first, second))
    differ = [i for i, row in enumerate(a) if row != b[i]]
    same = 100 * (1 - len(differ) / len(a))
    print(f"{split}: the same answer to {same:.2f} % of {len(a)} questions")
    keys = ("id", "first", "second")
    rows = [dict(zip(keys, (*a[i].values(), b[i]["prediction"]), strict=True)) for i in differ]
    print(tabulate.tabulate(rows[:SHOWN], headers="keys"))


def _prediction_files(task: AnyTask, folder: str) -> dict[str, Path]:
    """A file for each split: .tsv, named as the GLUE server wants them; for answers .json."""
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


def _predictions(task: AnyTask, split: str, outputs: Mapping) -> str:
    """A file's text: index and prediction as the GLUE server wants them; for answers {id: text}, as
    SQuAD's evaluation does."""
    rows = task.rows(split, outputs)
    if task.kind == "span":
        texts = {row["id"]: row["prediction"] for row in rows}
        return json.dumps(texts, indent=2, ensure_ascii=False)
    lines = ["index\tprediction"]
    for row in rows:
        value = row["prediction"]
        if task.kind == "regression":
            value = f"{np.clip(value, 0, 5) if task.name == 'sts-b' else value:.3f}"
        lines.append(f"{row['id']}\t{value}")
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    write_whole(path, text + "\n")
    print(path)


if __name__ == "__main__":
    door(evaluate, EvaluateConfig)
