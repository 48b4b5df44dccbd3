"""The report of a run: report.html, a self-contained page made from the files in its folder.

It is written when a run ends, and again after each export. For a missing part it names the command
that makes it.
"""

import datetime
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_arrays, read_json, write_whole
from mobilebert_tf.reports import plots
from mobilebert_tf.reports.attention_examples import predict_masks
from mobilebert_tf.reports.html_pages import percent, render
from mobilebert_tf.training.layer_measures import read_measures
from mobilebert_tf.training.run_folder import RunFolder

LEARNED = 1.5  # times the accuracy of always predicting the most frequent token
SHOWN_TOKENS = 40  # of an attention map; more labels cannot be read


def write_report(run_directory: Path) -> Path:
    """Writes report.html from the files in a run's folder, whole or not at all; returns its path.

    Raises InputError if the folder holds no run, or a damaged file.
    """
    folder = RunFolder(Path(run_directory))
    run = _read_json(folder / "run.json")
    if run is None:
        raise InputError(f"{folder.path} holds no run: it has no run.json")
    evaluation = _read_json(folder / "evaluation.json")
    examples, files = _read_arrays(folder / "maps.npz"), _files(folder.path)
    stages = _stages(folder.history())
    held_out = _read_arrays(folder / "data" / "held_out.npz")
    chance = _chance_accuracy(held_out["tokens"]) if held_out is not None else None
    rows = _rows(evaluation, files, run["settings"]["sequence_length"])
    page = render(
        "report.html",
        folder=folder.path,
        run=run,
        all_settings=json.dumps(run["settings"], indent=2),
        started=_started(folder / "run.json", run),
        headline=_headline(stages, rows),
        checks=_checks(stages, evaluation, chance),
        rows=rows,
        evaluation=evaluation,
        stages=stages,
        curves=plots.curves(stages),
        distances=plots.distances(evaluation["distances"]) if _distilled(evaluation) else None,
        through_time=_through_time(folder),
        attention=_attention(examples) if examples is not None else None,
        sentences=_sentences(examples, files, folder.path) if examples is not None else None,
        latency=plots.latency(files),
    )
    write_whole(folder / "report.html", page)
    return folder / "report.html"


def _started(path: Path, run: dict) -> datetime.date:
    """Returns the local date on which a run began.

    Args:
        path: of run.json, whose last change stands for the date that older runs did not store.
        run: its content.
    """
    if "started" in run:
        return datetime.datetime.fromisoformat(run["started"]).astimezone().date()
    return datetime.date.fromtimestamp(path.stat().st_mtime)


def _read_json(path: Path) -> dict | None:
    return read_json(path) if path.exists() else None


def _read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    return read_arrays(path) if path.exists() else None


def _files(directory: Path) -> list[dict[str, Any]]:
    """Returns name, size and exporter's report (if there is one) of each exported file."""
    return [
        {"latency": [], "agreement": {}}
        | (_read_json(path.with_suffix(".json")) or {})
        | {"file": path.name, "bytes": path.stat().st_size}
        for path in sorted(directory.glob("*.tflite"))
    ]


def _stages(history: list[dict]) -> list[dict[str, Any]]:
    """Returns the stages in the order of training, each with its records."""
    by_stage = {}
    for record in history:
        by_stage.setdefault((record["model"], record["stage_index"]), []).append(record)
    return [
        {
            "model": model,
            "name": records[0]["stage"],
            "steps": records[-1]["step"],
            "milliseconds": statistics.median(record["ms_per_step"] for record in records),
            "first": records[0]["loss"],
            "last": records[-1]["loss"],
            "records": records,
        }
        for (model, _), records in by_stage.items()
    ]


@dataclass(frozen=True)
class Row:
    """A model or an exported file; None where a value was not measured.

    Args:
        name: teacher, student, or the name of the file.
        bytes: size of the file, or of a model's float32 weights.
        accuracy: held-out masked LM accuracy.
        likeness: of a sentence encoder's and its teacher's embeddings, in words.
        parameters: number of a model's parameters.
        timing: one row of a file's latency.
        agreement: share of predictions in which a file agrees with the model it was made from.
    """

    name: str
    bytes: int
    accuracy: float | None
    likeness: str | None = None
    parameters: int | None = None
    timing: dict | None = None
    agreement: float | None = None


def _rows(evaluation: dict | None, files: list[dict], tokens: int) -> list[Row]:
    """Returns the table of models and files, with the latency at the length nearest to `tokens`."""
    rows = []
    for name, model in (evaluation["models"] if evaluation else {}).items():
        count = model["parameters"]
        scores = (model.get("mlm_accuracy"), _likeness(model))
        rows.append(Row(name, 4 * count, *scores, parameters=count))
    for file in files:
        timings = sorted(file["latency"], key=lambda row: abs(row["tokens"] - tokens))
        choices = [values["choice"] for values in file["agreement"].values() if "choice" in values]
        rows.append(
            Row(
                file["file"],
                file["bytes"],
                file.get("mlm_accuracy"),
                timing=timings[0] if timings else None,
                agreement=min(choices, default=None),
            )
        )
    return rows


def _likeness(scores: dict) -> str | None:
    """Returns how near a sentence encoder is to its teacher, of the same width or another."""
    if "embedding_cosine" in scores:
        return f"a cosine of {scores['embedding_cosine']:.3f}"
    if "similarity_correlation" in scores:
        return f"a correlation of cosines of {scores['similarity_correlation']:.3f}"
    return None


def _headline(stages: list[dict], rows: list[Row]) -> str:
    """Returns the result in a sentence or two."""
    by_name = {row.name: row for row in rows}
    if not {"teacher", "student"} <= by_name.keys():
        ends = {stage["model"]: stage["records"][-1] for stage in stages}
        return (
            "; ".join(
                f"{model}: loss {end['loss']:.3g} after {end['total_step']:,} steps"
                for model, end in ends.items()
            )
            or "nothing has been trained yet"
        )
    teacher, student = by_name["teacher"], by_name["student"]
    if student.likeness is not None:
        text = f"Student and teacher embed held-out sentences with {student.likeness}"
    else:
        restored = percent(student.accuracy)
        text = f"The student restores {restored} of the masked tokens in held-out text"
        if teacher.accuracy is not None:
            text += f", its teacher {percent(teacher.accuracy)}"
    text += f"; it has {student.parameters / teacher.parameters:.0%} of the teacher's parameters."
    timed = [row for row in rows if row.timing]
    if timed:
        best = min(timed, key=lambda row: row.bytes)
        time = f"{best.timing['p50_ms']:.1f} ms for {best.timing['tokens']} tokens"
        text += f" {best.name}: {best.bytes / 1e6:.2f} MB, {time}."
    return text


def _chance_accuracy(tokens: np.ndarray) -> float:
    """Returns the masked LM accuracy of always predicting the most frequent token."""
    return float(np.bincount(tokens).max() / len(tokens))


def _checks(
    stages: list[dict], evaluation: dict | None, chance: float | None
) -> list[tuple[bool, str]]:
    """Returns (passed, sentence) of each check whether the run worked."""
    checks = []
    comparable = [stage for stage in stages if len(stage["records"]) > 1]
    if comparable:
        stuck = [stage["name"] for stage in comparable if stage["last"] >= stage["first"]]
        text = f"The loss did not fall in: {', '.join(stuck)}"
        checks.append((not stuck, text if stuck else "The loss fell in every stage"))
    for name, model in (evaluation["models"] if evaluation and chance else {}).items():
        if "mlm_accuracy" not in model:
            continue
        learned = model["mlm_accuracy"] > LEARNED * chance
        text = (
            f"The {name} {'learned' if learned else 'hardly learned'}: always guessing the most "
            f"frequent token would restore {percent(chance)}, "
            f"it restores {percent(model['mlm_accuracy'])}"
        )
        checks.append((learned, text))
    if _distilled(evaluation) and evaluation["strategy"] != "none":
        checks += _distance_checks(evaluation["distances"])
    return checks


def _distilled(evaluation: dict | None) -> bool:
    """Returns whether an evaluation is that of a student with a teacher."""
    return evaluation is not None and "distances" in evaluation


def _through_time(folder: RunFolder) -> list[plots.Plot]:
    """Returns the measures of each model's layers over the steps."""
    shown = []
    for name in ("teacher", "student"):
        measures = read_measures(folder / "measures", name)
        if len(measures) > 1:
            shown += plots.layers_through_time(name, measures)
    return shown


def _distance_checks(distances: dict[str, dict[str, list[float]]]) -> list[tuple[bool, str]]:
    checks = []
    for name, title in (("feature_map", "feature maps"), ("attention_map", "attention maps")):
        before, after = (float(np.mean(distances[when][name])) for when in ("before", "after"))
        verb = "fell" if after < before else "did not fall"
        text = f"The distance of the {title} {verb}: {before:.3g} before, {after:.3g} after"
        checks.append((after < before, text))
    return checks


def _attention(examples: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns the maps of the first layer with token labels, and small maps of all layers."""
    tokens = examples["tokens"][:SHOWN_TOKENS].tolist()
    shown = len(tokens)
    pairs = [
        [heads[:, :shown, :shown].astype(np.float32).mean(axis=0) for heads in pair]
        for pair in zip(examples["teacher"], examples["student"], strict=True)
    ]  # [L][2], each [T,T]
    layers = zip(examples["layer_map"].tolist(), pairs, strict=True)
    return {
        "shown": shown,
        "length": len(examples["tokens"]),
        "labelled": plots.labelled_maps(pairs[0], tokens),
        "layers": [
            {
                "student": index + 1,
                "teacher": teacher + 1,
                "darkest": plots.darkest(pair),
                "maps": plots.small_maps(pair),
            }
            for index, (teacher, pair) in enumerate(layers)
        ],
    }


def _sentences(examples: dict[str, np.ndarray], files: list[dict], directory: Path) -> list[dict]:
    """Returns the fill-mask examples with the predictions of all models and files."""
    predictions = {
        name: (examples[f"{name}_tokens"], examples[f"{name}_probabilities"])
        for name in plots.TEACHER_STUDENT
    }
    for file in files:
        file_predictions = predict_masks(directory / file["file"], examples)
        if file_predictions is not None:
            predictions[file["file"]] = file_predictions
    return [
        {name: str(examples[name][row]) for name in ("before", "after", "true")}
        | {
            "guesses": {
                name: list(zip(tokens[row].tolist(), probabilities[row].tolist(), strict=True))
                for name, (tokens, probabilities) in predictions.items()
            }
        }
        for row in range(len(examples["true"]))
    ]
