"""Compares runs of pretrain and distill: scores with their spread, layers, curves, time."""

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_json, write_whole
from mobilebert_tf.reports import plots
from mobilebert_tf.reports.html_pages import render
from mobilebert_tf.training.layer_measures import read_measures
from mobilebert_tf.training.run_folder import RunFolder, flatten_settings

# What a comparison shows of a model, where it was measured: (title, factor, digits).
SCORES = {
    "mlm_accuracy": ("masked LM accuracy, %", 100, 2),
    "embedding_cosine": ("cosine with the teacher, %", 100, 2),
    "similarity_correlation": ("correlation of cosines, %", 100, 2),
    "mlm_loss": ("masked LM loss, nats", 1, 3),
    "agreement": ("teacher's choice, %", 100, 1),
    "feature_map": ("feature maps", 1, 3),
    "attention_map": ("attention maps", 1, 3),
}
DISTANCES = ("feature_map", "attention_map")


@dataclass(frozen=True)
class Run:
    """What a finished run left.

    Args:
        path: of its folder.
        settings: of the run.
        model: name of the model that it trained last: student or teacher.
        parameters: number of that model's parameters.
        scores: of the model on held-out text; distances are means over its layers at the end.
        teacher: scores of its teacher; empty without one.
        records: history of the model.
        measures: of its layers, from training/layer_measures.py.
        seconds: of training the model, without evaluation.
    """

    path: Path
    settings: dict[str, Any]
    model: str
    parameters: int
    scores: dict[str, float]
    teacher: dict[str, float]
    records: list[dict]
    measures: list[dict]
    seconds: float

    @property
    def main_score(self) -> float:
        """Masked LM accuracy, or how near a sentence encoder is to its teacher."""
        names = ("mlm_accuracy", "embedding_cosine", "similarity_correlation")
        return next((self.scores[name] for name in names if name in self.scores), math.nan)

    @property
    def steps(self) -> int:
        """Number of the model's updates."""
        return sum({r["stage_index"]: r["step"] for r in self.records}.values())


def read_run(path: Path) -> Run:
    """Reads the folder of a run. Raises InputError if it holds no finished run."""
    folder = RunFolder(Path(path))
    if not (folder / "run.json").is_file():
        raise InputError(f"{path} holds no run: it has no run.json")
    if not (folder / "evaluation.json").is_file():
        raise InputError(f"{path} holds no finished run: give its command again to go on with it")
    settings = read_json(folder / "run.json")["settings"]
    evaluation = read_json(folder / "evaluation.json")
    model = "student" if "student" in evaluation["models"] else "teacher"
    records = [record for record in folder.history() if record["model"] == model]
    measures = read_measures(folder / "measures", model)
    scores = dict(evaluation["models"][model])
    parameters = scores.pop("parameters")
    end = evaluation.get("distances", {}).get("end", {})
    scores |= {name: statistics.fmean(end[name]) for name in DISTANCES if name in end}
    taught = model == "student" and "teacher" in evaluation["models"]
    return Run(
        path=folder.path,
        settings=settings,
        model=model,
        parameters=parameters,
        scores=scores,
        teacher=evaluation["models"]["teacher"] if taught else {},
        records=records,
        measures=measures,
        seconds=_seconds(records),
    )


def _seconds(records: Sequence[dict]) -> float:
    """Returns the time of all steps: each record tells the mean time of those since the last.

    Steps are counted within a stage: one that stops early skips numbers of the whole run.
    """
    total, before = 0.0, dict.fromkeys((r["stage_index"] for r in records), 0)
    for record in records:
        stage = record["stage_index"]
        total += (record["step"] - before[stage]) * record["ms_per_step"] / 1000
        before[stage] = record["step"]
    return total


def gap(before: Sequence[float], after: Sequence[float]) -> tuple[float, float | None]:
    """Returns the difference of two means, and two standard errors of it; None for single values.

    The runs of both are independent, each with its own seed.
    """
    difference = statistics.fmean(after) - statistics.fmean(before)
    if min(len(before), len(after)) < 2:
        return difference, None
    errors = [statistics.variance(values) / len(values) for values in (before, after)]
    return difference, 2 * math.sqrt(sum(errors))


def table(groups: Mapping[str, Sequence[Run]], extra: Mapping[str, Mapping] | None = None):
    """Returns the rows of a comparison, a dict of texts each.

    Args:
        groups: {label: runs that differ in their seed alone}.
        extra: {title: {label: values of the runs}} of further scores, in percent.
    """
    rows = _teacher_rows(groups)
    before: list[float] | None = None
    for label, runs in groups.items():
        row = {"run": label, "seeds": f"{len(runs)}"} | _shown([run.scores for run in runs])
        main_scores = [100 * run.main_score for run in runs]
        row["gain on the row above"] = _gain(before, main_scores)
        before = main_scores
        for title, scores in (extra or {}).items():
            row[title] = _with_deviation(list(scores.get(label, [])), 1)
        row["steps"] = f"{runs[0].steps:,}"
        row["minutes"] = f"{statistics.fmean(run.seconds for run in runs) / 60:.1f}"
        row["parameters"] = f"{runs[0].parameters:,}"
        rows.append(row)
    titles = list(dict.fromkeys(title for row in rows for title in row))
    titles.sort(key=lambda title: title in ("steps", "minutes", "parameters"))
    rows = [{title: row.get(title, "") for title in titles} for row in rows]
    shown = [title for title in titles if any(row[title] for row in rows)]
    return [{title: row[title] for title in shown} for row in rows]


def _teacher_rows(groups: Mapping[str, Sequence[Run]]) -> list[dict[str, str]]:
    """Returns one row if all groups have the same teacher, else one for each that differs.

    Teachers are told apart by what a row shows of them: their scores and parameters.
    """
    labels_of: dict[tuple, list[str]] = {}
    for label, runs in groups.items():
        if teachers := _distinct_teachers(runs):
            row = _shown(teachers) | {"parameters": f"{teachers[0]['parameters']:,}"}
            labels_of.setdefault(tuple(row.items()), []).append(label)
    names = [f"teacher of {', '.join(labels)}" for labels in labels_of.values()]
    names = names if len(names) > 1 else ["teacher"]
    return [{"run": name} | dict(row) for name, row in zip(names, labels_of, strict=False)]


def _distinct_teachers(runs: Sequence[Run]) -> list[dict[str, float]]:
    """Returns the scores of the runs' teachers, those that are shown alike only once."""
    taught = [run.teacher for run in runs if run.teacher]
    return list({str(_shown([teacher])): teacher for teacher in taught}.values())


def _shown(scores: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Returns {title: mean and deviation} of the SCORES that some of these have."""
    return {
        title: _with_deviation([factor * s[name] for s in scores if name in s], digits)
        for name, (title, factor, digits) in SCORES.items()
    }


def _with_deviation(values: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


def _gain(before: Sequence[float] | None, after: Sequence[float]) -> str:
    if before is None:
        return ""
    difference, error = gap(before, after)
    return f"{difference:+.2f}" + ("" if error is None else f" ± {error:.2f}")


def write_comparison(
    path: Path,
    title: str,
    groups: Mapping[str, Sequence[Run]],
    extra: Mapping[str, Mapping] | None = None,
    images: Path | None = None,
) -> None:
    """Writes a self-contained page that compares groups of runs, whole or not at all.

    Args:
        path: of the page.
        title: its heading.
        groups, extra: as for `table`.
        images: a folder that gets the page's plots as SVG files too, each named by its title; files
            of the same names are replaced.
    """
    first = {label: runs[0] for label, runs in groups.items()}
    scores, curves, layers = _scores(groups), _curves(first), _layers(first)
    page = render(
        "comparison.html",
        title=title,
        labels=list(groups),
        rows=table(groups, extra),
        spread=any(len(runs) > 1 for runs in groups.values()),
        differences=_differences(first),
        scores=scores,
        curves=curves,
        layers=layers,
        hours=sum(run.seconds for runs in groups.values() for run in runs) / 3600,
    )
    write_whole(path, page)
    for plot in (scores, *curves, *layers) if images is not None else ():
        name = re.sub(r"\W+", "-", re.split("[;:,(]", plot.title)[0].strip().lower())
        write_whole(images / f"{name}.svg", plots.svg(plot))


def _scores(groups: Mapping[str, Sequence[Run]]) -> plots.Plot:
    values = {label: [run.main_score for run in runs] for label, runs in groups.items()}
    teachers = {
        label: [t["mlm_accuracy"] for t in _distinct_teachers(runs) if "mlm_accuracy" in t]
        for label, runs in groups.items()
    }
    return plots.scores(values, teachers)


def _curves(runs: Mapping[str, Run]) -> list[plots.Plot]:
    return plots.compared_curves({label: run.records for label, run in runs.items()})


def _layers(runs: Mapping[str, Run]) -> list[plots.Plot]:
    return plots.compared_layers({label: run.measures for label, run in runs.items()})


def _differences(runs: Mapping[str, Run]) -> dict[str, list[str]]:
    """Returns {setting: its value in each run} of the settings in which runs differ."""
    flat = [flatten_settings(run.settings) for run in runs.values()]
    names = dict.fromkeys(name for settings in flat for name in settings)
    values = {name: [str(settings.get(name, "–")) for settings in flat] for name in names}
    return {n: v for n, v in values.items() if len(set(v)) > 1 and n != "kind"}
