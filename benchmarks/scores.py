"""Fine-tunes a model on each task with several seeds and scores it in every form that it takes.

    python benchmarks/scores.py MODEL_DIR OUTPUT_DIR --glue GLUE_DIR [--squad SQUAD_DIR] ...

GLUE_DIR holds a folder for each task (SST-2, MRPC, ...), SQUAD_DIR train and dev files. Scores are
of the dev split: of the Keras model, and of the .tflite file of each quantization, calibrated on
the training texts. With --aware-rate the fine-tuned model is trained for another epoch with
quantization, at that rate, and its int8 files are scored too. A file that the export's check
refuses is said and left out. What is there already is not made again; other settings need another
OUTPUT_DIR. Writes
OUTPUT_DIR/scores.json and prints a table in markdown: mean, standard deviation, number of seeds.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import tabulate

from mobilebert_tf.environment import circumstances
from mobilebert_tf.errors import InputError
from mobilebert_tf.evaluate import EvaluateConfig, evaluate
from mobilebert_tf.export import export
from mobilebert_tf.files import write_json
from mobilebert_tf.finetune import FinetuneConfig, finetune
from mobilebert_tf.lite.export_config import ExportConfig
from mobilebert_tf.lite.quantize import MODES
from mobilebert_tf.tasks.glue import GLUE
from mobilebert_tf.tasks.registry import open_task

AWARE = ("int8", "int8-full")  # what quantization-aware training is for
TASKS = ("sst-2", "mrpc", "rte", "cola", "sts-b", "squad")


def main() -> None:
    options = _options()
    records = []
    for task in options.tasks:
        data = Path(options.squad) if task == "squad" else Path(options.glue) / GLUE[task].folder
        for seed in options.seeds:
            records += scored(task, str(data), seed, options)
    result = {"model": options.model, "records": records} | circumstances()
    write_json(Path(options.output) / "scores.json", result)
    print(table(records))
    print(f"{result['machine']['cpu']}, {result['date']}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("output")
    parser.add_argument("--glue", required=True)
    parser.add_argument("--squad")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS[:-1]))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--aware-rate", type=float)
    parser.add_argument("--sequence-length", type=int, default=128)
    return parser.parse_args()


def scored(task: str, data: str, seed: int, options: argparse.Namespace) -> list[dict]:
    """One record for each form of the model that one seed gives."""
    folder = Path(options.output) / f"{task}-{seed}"
    common = dict(task=task, data_dir=data, seeds=[seed], sequence_length=options.sequence_length)
    rates = dict(epochs=options.epochs, learning_rate=options.learning_rate)
    finetune(FinetuneConfig(model=options.model, output_dir=str(folder), **rates, **common))
    if not (folder / "calibration.txt").exists():
        _write_texts(task, data, folder / "calibration.txt")
    forms = {"keras": folder / "model"}
    forms |= {mode: _exported(folder, mode, folder) for mode in options.modes}
    if options.aware_rate:
        aware = folder / "aware"
        rates = dict(epochs=1, learning_rate=options.aware_rate, quantization_aware=True)
        start = str(folder / "model")
        finetune(FinetuneConfig(model=start, output_dir=str(aware), **rates, **common))
        forms |= {f"{mode}, aware": _exported(aware, mode, folder) for mode in AWARE}
    return [_record(task, data, seed, form, path) for form, path in forms.items() if path]


def _exported(run: Path, mode: str, folder: Path) -> Path | None:
    """The .tflite file of a run's model; None if the export refuses it."""
    path = run / f"model-{mode}.tflite"
    if path.exists():
        return path
    texts = str(folder / "calibration.txt")
    try:
        export(ExportConfig(str(run / "model"), quantize=mode, calibration_data=texts))
    except InputError as error:
        print(f"left out: {path}: {error}")
        return None
    return path


def _write_texts(task: str, data: str, path: Path) -> None:
    """The first training texts, one a line, to calibrate on."""
    examples = open_task(task, data, ("train",)).splits["train"]
    texts = [q.context for q in examples] if task == "squad" else examples.texts
    lines = dict.fromkeys(" ".join(text.split()) for text in texts[:4000])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _record(task: str, data: str, seed: int, form: str, path: Path) -> dict:
    scores = path.with_name(f"scores-{form}.json")
    if not scores.exists():
        evaluate(EvaluateConfig(str(path), task, data, json=str(scores)))
    rows = json.loads(scores.read_text())["scores"]
    metrics = {key: value for key, value in rows[0].items() if isinstance(value, float)}
    for key in ("seconds", "examples/s"):
        metrics.pop(key)
    return {"task": task, "seed": seed, "form": form, "metrics": metrics}


def table(records: list[dict]) -> str:
    """Tasks and metrics down, forms across: mean and spread in points."""
    rows = {}
    forms = list(dict.fromkeys(record["form"] for record in records))
    for record in records:
        for metric, value in record["metrics"].items():
            points = value if record["task"] == "squad" else 100 * value
            cells = rows.setdefault((record["task"], metric), {form: [] for form in forms})
            cells[record["form"]].append(points)
    lines = [
        {"task": task, "metric": metric} | {form: _spread(values) for form, values in cells.items()}
        for (task, metric), cells in rows.items()
    ]
    return tabulate.tabulate(lines, headers="keys", tablefmt="pipe")


def _spread(points: list[float]) -> str:
    """Mean and standard deviation, and of how many seeds."""
    if not points:
        return "refused"
    return f"{np.mean(points):.1f} ± {np.std(points):.1f} ({len(points)})"


if __name__ == "__main__":
    main()
