"""ablate and compare: cells of one teacher with seeds, continued, refused, and what they report."""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support.texts import write_corpus

from mobilebert_tf import ablate, compare
from mobilebert_tf.cli import parse
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import parse_strictly
from mobilebert_tf.reports.comparison import gap, read_run, table, write_comparison
from mobilebert_tf.training.ablation import (
    CONFIGS,
    AblateConfig,
    Downstream,
    cell_commands,
    check_unchanged,
    teacher_command,
    write_student_sizes,
)
from mobilebert_tf.training.run_folder import open_run

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "vocabulary_size": 300, "sequence_length": 13, "batch_size": 7, "checkpoint_steps": 2,
    "max_predictions_per_sequence": 3, "log_steps": 1, "student": "test-student", "seeds": [3, 5],
    "teacher_model": "test-teacher", "teacher_training": {"steps": 2, "learning_rate": 0.01},
    "transfer": {"phase": {"steps": 2, "learning_rate": 0.01}},
    "distillation": {"steps": 2, "learning_rate": 0.01}, "jobs": 2,
    "cells": {"bare": {"alone": True}, "joint": {"strategy": "joint"}},
}  # fmt: skip


def run_door(door, arguments, capsys):
    """(exit code, stdout, stderr) of a door."""
    code = 0
    try:
        door.main(arguments)
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small ablation, two cells and two seeds. Ctrl-C stopped it while its teacher trained."""
    folder = tmp_path_factory.mktemp("ablation")
    corpus = write_corpus(folder / "corpus.txt")
    settings = SETTINGS | {"corpus": str(corpus), "output_dir": str(folder / "out")}
    (folder / "ablation.yaml").write_text(yaml.safe_dump(settings))
    arguments = ["--config", str(folder / "ablation.yaml")]
    command = [sys.executable, "-m", "mobilebert_tf.ablate", *arguments]
    ignored = signal.signal(signal.SIGINT, signal.SIG_DFL)  # in the background of a script
    process = subprocess.Popen(command, start_new_session=True)
    signal.signal(signal.SIGINT, ignored)
    while not (folder / "out" / "teacher" / "status.json").exists():  # written as it trains
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    (folder / "exit_code").write_text(str(process.wait(60)))
    shutil.copytree(folder / "out" / "teacher", folder / "stopped")
    ablate.main(arguments)
    return folder


def test_stopped_and_started_again(finished):
    """Ctrl-C lets the training that runs save its state, so that the same command goes on there."""
    assert (finished / "exit_code").read_text() == str(128 + signal.SIGINT)
    status = json.loads((finished / "stopped" / "status.json").read_text())
    assert status["state"] == "stopped" and "its state is saved" in status["error"]
    assert list((finished / "stopped" / "checkpoints" / "teacher").iterdir())
    assert (finished / "out" / "ablation.html").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_it(number):
    """A preempted machine's and a closed terminal's, with the code of the shell; what is done at
    them otherwise comes back afterwards."""
    before = signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored
    try:
        with pytest.raises(SystemExit) as end, ablate._Processes(1):
            os.kill(os.getpid(), number)
            time.sleep(10)
        assert end.value.code == 128 + number and signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_table(finished):
    content = json.loads((finished / "out" / "ablation.json").read_text())
    assert content["cells"].keys() == {"bare", "joint"}
    assert [run["seed"] for run in content["cells"]["joint"]] == [3, 5]
    assert {run["steps"] for runs in content["cells"].values() for run in runs} == {4}
    evaluation = finished / "out" / "cells" / "joint" / "seed5" / "evaluation.json"
    student = json.loads(evaluation.read_text())["models"]["student"]
    assert content["cells"]["joint"][1]["mlm_loss"] == student["mlm_loss"]
    assert "agreement" in student and "agreement" not in content["cells"]["bare"][0]
    losses = [run["mlm_loss"] for run in content["cells"]["joint"]]
    shown = f"{statistics.fmean(losses):.3f} ± {statistics.stdev(losses):.3f}"
    assert shown in (finished / "out" / "ablation.md").read_text()
    assert shown in (finished / "out" / "ablation.html").read_text()


def test_every_cell_learns_from_the_same_teacher(finished):
    teachers = set()
    for seed in (3, 5):
        folder = finished / "out" / "cells" / "joint" / f"seed{seed}"
        run = json.loads((folder / "run.json").read_text())
        teachers.add((run["settings"]["teacher"], run["inputs"]["the teacher"]))
    assert len(teachers) == 1
    bare = json.loads((finished / "out" / "cells" / "bare" / "seed3" / "run.json").read_text())
    assert bare["settings"]["kind"] == "PretrainConfig"
    vocabularies = {path.read_text() for path in finished.rglob("data/vocab.txt")}
    assert len(vocabularies) == 1


def test_goes_on_with_what_is_new(finished, capsys):
    """A seed more trains that seed alone; the runs that are there keep their files."""
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("seed*/evaluation.json")}
    arguments = ["--config", str(finished / "ablation.yaml"), "--seeds", "[3]"]
    code, out, _ = run_door(ablate, arguments, capsys)
    assert code == 0 and "±" not in out  # one seed has no deviation
    assert before == {p: p.stat().st_mtime_ns for p in finished.rglob("seed*/evaluation.json")}


@pytest.mark.parametrize(
    "joint", [{"strategy": "joint", "distillation": {"learning_rate": 0.02}}, {"alone": True}]
)
def test_a_cell_that_was_edited_is_refused(finished, capsys, joint):
    """Else what it was trained with before would stand under the settings that it has now."""
    files = {p: p.stat().st_mtime_ns for p in (finished / "out").rglob("*") if p.is_file()}
    cells = json.dumps({"bare": {"alone": True}, "new": {"strategy": "none"}, "joint": joint})
    arguments = ["--config", str(finished / "ablation.yaml"), "--cells", cells]
    code, _, err = run_door(ablate, arguments, capsys)
    assert code == 2 and "cell 'joint' was trained with other settings" in err.splitlines()[-1]
    assert files == {p: p.stat().st_mtime_ns for p in (finished / "out").rglob("*") if p.is_file()}


def begun(folder, **settings):
    """An ablation with a cell of which each command has begun, and that cell's commands."""
    cell = {"student": {"size": "test-student", "num_attention_heads": 1}}
    downstream = Downstream(["mrpc"], data_dir="glue")
    config = AblateConfig(
        output_dir=str(folder), teacher="T", cells={"a": cell}, downstream=downstream, **settings
    )
    write_student_sizes(config)
    commands = cell_commands(config, "a", 7)
    for command in commands:
        with open_run(parse_strictly(CONFIGS[command.door], command.settings, "")):
            pass
    return config


def check(config, **changes):
    config = AblateConfig(**{name: getattr(config, name) for name in vars(config)} | changes)
    check_unchanged(config, "a", cell_commands(config, "a", 7))


def test_what_may_change(tmp_path):
    """Devices, what logs keep, the place of the folder, and settings that were not there before."""
    config = begun(tmp_path / "out")
    check(config)
    check(config, devices="all", checkpoints_kept=1, jobs=2)
    (tmp_path / "out").rename(tmp_path / "moved")
    check(config, output_dir=str(tmp_path / "moved"))
    path = tmp_path / "moved" / "cells" / "a" / "seed7" / "run.json"
    run = json.loads(path.read_text())
    del run["settings"]["ema"], run["settings"]["transfer"]["alpha"]
    path.write_text(json.dumps(run))
    check(config, output_dir=str(tmp_path / "moved"))
    with pytest.raises(InputError, match=r"\(ema\)"):
        check(config, output_dir=str(tmp_path / "moved"), ema=0.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cells": {"a": {}}}, r"cell 'a' was trained with other settings \(student\)"),
        ({"cells": {"a": {"student": {"size": "test-student"}}}}, r"\(student\): give it another"),
        ({"downstream": Downstream(["mrpc"], "glue", epochs=9)}, r"seed7-mrpc .*\(epochs\)"),
    ],
)
def test_what_may_not_change(tmp_path, changes, said):
    config = begun(tmp_path)
    sizes = tmp_path / "cells" / "a" / "bert_config.json"
    before = sizes.read_bytes()
    with pytest.raises(InputError, match=said):
        check(config, **changes)
    assert sizes.read_bytes() == before


def test_what_did_not_begin_may_change(tmp_path):
    config = begun(tmp_path)
    for path in tmp_path.rglob("run.json"):
        path.unlink()
    check(config, cells={"a": {"student": {"size": "test-student"}}})


def test_compare_groups_seeds(finished, tmp_path, capsys):
    runs = [str(path.parent) for path in sorted(finished.rglob("seed*/evaluation.json"))]
    page = tmp_path / "page.html"
    images = tmp_path / "images"
    arguments = [*runs, "--output", str(page), "--images", str(images)]
    code, out, _ = run_door(compare, arguments, capsys)
    assert code == 0 and page.read_text().count("<img") >= 6
    rows = [line for line in out.splitlines() if "/seed3" in line]
    assert len(rows) == 2 and all("±" in row for row in rows)
    assert {row.split()[0] for row in rows} == {"bare/seed3", "joint/seed3"}
    drawn = {path.name: path.read_text() for path in images.iterdir()}
    assert len(drawn) == page.read_text().count("<img")
    assert "joint/seed3" in drawn["entropy-of-the-attention.svg"]
    code, _, err = run_door(compare, [*runs, "--output", str(page)], capsys)
    assert code == 2 and "--overwrite" in err
    code, _, err = run_door(compare, [str(tmp_path)], capsys)
    assert code == 2 and "holds no run" in err and len(err.splitlines()) == 1


def test_sentence_encoders_are_compared_by_their_cosine(tmp_path):
    record = {"model": "student", "stage_index": 0, "step": 7, "total_step": 7}
    record |= {"ms_per_step": 13.0, "embedding": 0.5}
    groups = {}
    for name, cosine in (("short", 0.7), ("long", 0.9)):
        folder = tmp_path / name
        folder.mkdir()
        student = {"embedding_cosine": cosine, "parameters": 37}
        models = {"teacher": {"parameters": 370}, "student": student}
        (folder / "run.json").write_text(json.dumps({"settings": {"steps": name}}))
        (folder / "evaluation.json").write_text(json.dumps({"models": models}))
        (folder / "history.jsonl").write_text(json.dumps(record) + "\n")
        groups[name] = [read_run(folder)]
    teacher, _, long = table(groups)
    assert teacher["parameters"] == "370"
    assert (long["cosine with the teacher, %"], long["gain on the row above"]) == (
        "90.00",
        "+20.00",
    )
    write_comparison(tmp_path / "page.html", "encoders", groups)
    assert "steps" in (tmp_path / "page.html").read_text()


def test_time_is_that_of_the_steps(finished):
    run = read_run(finished / "out" / "cells" / "joint" / "seed3")
    milliseconds = [record["ms_per_step"] for record in run.records]  # logged at every step
    assert run.seconds == pytest.approx(sum(milliseconds) / 1000)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cells": {}}, "--cells"),
        ({"cells": {"a": {"stratgy": "joint"}}}, "cell 'a'"),
        ({"cells": {"a": {"transfer": {"alpha": 2.0}}}}, "cell 'a'"),
        ({"cells": {"a": {"student": {"hidden_size": 12}}}}, "`size`"),
        ({"cells": {"a": {"student": {"size": "test-student", "hidden_size": "x"}}}}, "cell 'a'"),
        (
            {"cells": {"a": {"alone": 7}}},
            "error: `alone of cell 'a'` is 7: it must be true or false",
        ),
        ({"seeds": [1, 1]}, "seeds"),
        ({"jobs": 0}, "jobs"),
        ({"downstream": {"tasks": ["sst-2"]}}, "downstream.data"),
        ({"downstream": {"tasks": ["nosuch"], "data_dir": "x"}}, "downstream.tasks"),
        ({"downstream": {"tasks": ["mrpc"], "data_dir": "x", "epochs": 0}}, "mrpc: epochs is 0"),
        ({"teacher": "nosuch/bert.ckpt"}, "cell 'bare' needs the vocabulary of nosuch/bert.ckpt"),
        ({"init": "nosuch"}, "the teacher needs the vocabulary of nosuch"),
    ],
)
def test_refused_before_anything_is_trained(tmp_path, capsys, changes, said):
    path = tmp_path / "ablation.yaml"
    path.write_text(yaml.safe_dump(SETTINGS | changes | {"output_dir": str(tmp_path / "out")}))
    code, _, err = run_door(ablate, ["--config", str(path)], capsys)
    assert code == 2 and said in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_failing_run_is_named(tmp_path, capsys):
    settings = SETTINGS | {"corpus": "nosuch.txt", "output_dir": str(tmp_path / "out"), "jobs": 1}
    (tmp_path / "ablation.yaml").write_text(yaml.safe_dump(settings))
    code, _, err = run_door(ablate, ["--config", str(tmp_path / "ablation.yaml")], capsys)
    assert code == 2 and "nosuch.txt" in err.splitlines()[-1] and "Traceback" not in err


def test_settings_of_a_cell(tmp_path):
    config = AblateConfig(
        output_dir=str(tmp_path),
        teacher="T",
        student="test-student",
        cells={"a": {"transfer": {"alpha": 0.25}, "student": {"size": "test-student",
                                                             "num_attention_heads": 1}}},
    )  # fmt: skip
    (command,) = cell_commands(config, "a", 7)
    write_student_sizes(config)
    assert command.settings["transfer"]["alpha"] == 0.25
    phase = command.settings["transfer"]["phase"]
    assert phase["steps"] == config.transfer.phase.steps  # the rest of the group stays
    assert (command.settings["seed"], command.settings["teacher"]) == (7, "T")
    sizes = json.loads((tmp_path / "cells" / "a" / "bert_config.json").read_text())
    assert sizes["num_attention_heads"] == 1


def test_the_teacher_reads_as_the_student_to_continue_from(tmp_path):
    """But it does not start with that student's weights."""
    (tmp_path / "vocab.txt").write_text("")
    settings = teacher_command(AblateConfig(init=str(tmp_path))).settings
    assert (settings["init"], settings["vocabulary"]) == (None, str(tmp_path / "vocab.txt"))
    assert teacher_command(AblateConfig()).settings["vocabulary"] is None


def test_the_config_that_is_printed(tmp_path):
    path = ROOT / "configs" / "ablation.yaml"
    config = parse(AblateConfig, ["--config", str(path), "--output-dir", str(tmp_path)])
    totals = set()
    for cell in config.cells:
        (command,) = cell_commands(config, cell, 0)
        phases = [command.settings[name] for name in ("training", "distillation") if name in
                  command.settings]  # fmt: skip
        phases += [command.settings["transfer"]["phase"]] if "transfer" in command.settings else []
        totals.add(sum(phase["steps"] for phase in phases))
    assert totals == {600}  # every cell trains for the same number of steps


def test_gap():
    """By hand: means 2 and 5, variances 1 and 4, three values each."""
    difference, error = gap([1, 2, 3], [3, 5, 7])
    assert difference == 3 and error == pytest.approx(2 * (1 / 3 + 4 / 3) ** 0.5)
    assert gap([1], [2, 3]) == (1.5, None)
