"""Runs side by side: teachers, time and steps, settings that differ, and the plot of the scores."""

import json
import re

import pytest

from mobilebert_tf import compare
from mobilebert_tf.reports.comparison import read_run, table, write_comparison
from mobilebert_tf.reports.plots import _score_axes


def write_run(folder, teacher=0.5, score=0.25, records=None, distances=None, **settings):
    """A finished run of a student, written by hand."""
    folder.mkdir(parents=True)
    record = {"stage_index": 0, "step": 7, "total_step": 7, "ms_per_step": 13.0, "masked_lm": 2.0}
    models = {
        "teacher": {"mlm_accuracy": teacher, "parameters": 370},
        "student": {"mlm_accuracy": score, "parameters": 37},
    }
    contents = {
        "run.json": {"settings": {"seed": 0} | settings},
        "evaluation.json": {"models": models, "distances": {"end": distances or {}}},
    }
    for name, values in contents.items():
        (folder / name).write_text(json.dumps(values))
    lines = [json.dumps({"model": "student"} | r) + "\n" for r in records or [record]]
    (folder / "history.jsonl").write_text("".join(lines))
    return read_run(folder)


def test_a_stage_that_stopped_early(tmp_path):
    """The first of two stages ended at step 60 of 120, and the second counts on from 120. By hand:
    60 steps of 10 ms, 20 of 30 and 20 of 20."""
    places = [(0, 60, 60, 10.0), (1, 20, 140, 30.0), (1, 40, 160, 20.0)]
    names = ("stage_index", "step", "total_step", "ms_per_step")
    run = write_run(tmp_path / "run", records=[dict(zip(names, p, strict=True)) for p in places])
    assert run.steps == 100
    assert run.seconds == pytest.approx(1.6)


def test_distances_are_those_of_the_model_that_is_left(tmp_path):
    run = write_run(tmp_path / "run", distances={"feature_map": [1.0, 2.0], "attention_map": [4.0]})
    assert (run.scores["feature_map"], run.scores["attention_map"]) == (1.5, 4.0)


def test_each_teacher_has_a_row(tmp_path):
    """Two seeds of one teacher each, 50 and 70 %: mean 60, deviation 14.14."""
    runs = [write_run(tmp_path / f"{i}", teacher) for i, teacher in enumerate((0.5, 0.5, 0.7))]
    (one, *_) = table({"a": runs[:1], "b": runs[1:2]})
    assert (one["run"], one["masked LM accuracy, %"], one["parameters"]) == (
        "teacher", "50.00", "370",
    )  # fmt: skip
    rows = table({"a": runs[:1], "b": runs[2:], "c": runs[1:], "d": runs[:2]})
    assert {row["run"]: row["masked LM accuracy, %"] for row in rows[:3]} == {
        "teacher of a, d": "50.00",
        "teacher of b": "70.00",
        "teacher of c": "60.00 ± 14.14",
    }


def test_settings_stand_below_their_run(tmp_path):
    """Also below one that has the name of the teacher's row."""
    groups = {
        label: [write_run(tmp_path / label, corpus=corpus)]
        for label, corpus in (("teacher", "x.txt"), ("demo", "y.txt"))
    }
    write_comparison(tmp_path / "page.html", "two runs", groups)
    part = (tmp_path / "page.html").read_text().partition("Settings that differ")[2]
    assert re.findall(r"<t[hd]>(.*?)</t[hd]>", part) == [
        "", "teacher", "demo", "corpus", "x.txt", "y.txt",
    ]  # fmt: skip


def test_relative_and_absolute_folders(tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "runs" / "demo", corpus="x.txt")
    write_run(tmp_path / "runs" / "joint", corpus="y.txt")
    monkeypatch.chdir(tmp_path)
    compare.main(["runs/demo", str(tmp_path / "runs" / "joint")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-4:-2]] == ["demo", "joint"]


@pytest.mark.parametrize("groups", [1, 2, 5, 30])
def test_the_scores_lie_within_the_figure(groups):
    """With a margin of a tenth of an inch above them, and 0.3 inches for each group."""
    axes = _score_axes(groups)
    top = (1 - axes.get_position().y1) * axes.figure.get_figheight()
    assert top == pytest.approx(0.1)
    assert axes.get_position().height * axes.figure.get_figheight() >= 0.3 * groups
