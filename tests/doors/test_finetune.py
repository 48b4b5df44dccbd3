"""finetune and evaluate from files to scores: killed and resumed, searched, compared, refused."""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from support.checkpoints import edit
from support.texts import NEUTRAL, WIDE_VOCABULARY, labelled_texts
from support.texts import WIDE_TOKENIZER as TOKENIZER

from mobilebert_tf import Pipeline, build_model, load_model, save_model
from mobilebert_tf.cli import parse
from mobilebert_tf.convert import ConvertConfig, convert
from mobilebert_tf.errors import InputError
from mobilebert_tf.evaluate import EvaluateConfig, evaluate
from mobilebert_tf.export import export
from mobilebert_tf.finetune import FinetuneConfig, finetune
from mobilebert_tf.lite.export_config import ExportConfig
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.tasks.user_files import Columns

STUDENT = SIZES["test-student"].replace(vocab_size=len(WIDE_VOCABULARY))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """data/ with texts that a small model can learn, start/ with a model."""
    folder = tmp_path_factory.mktemp("finetune")
    (folder / "data").mkdir()
    for split, count, seed in (("train", 150, 0), ("dev", 60, 1), ("test", 13, 2)):
        (folder / "data" / f"{split}.tsv").write_text(labelled_texts(count, seed))
    keras.utils.set_random_seed(0)
    save_model(build_model(STUDENT, "pretraining"), folder / "start", TOKENIZER)
    return folder


def config_of(place, output, **changes):
    values = dict(task="classification", model=str(place / "start"), data_dir=str(place / "data"))
    values |= dict(output_dir=str(output), batch_size=13, learning_rate=5e-3, epochs=8)
    return FinetuneConfig(**(values | changes))


@pytest.fixture(scope="module")
def tuned(place):
    finetune(config_of(place, place / "tuned", seeds=[0, 1]))
    return place / "tuned"


def scores(folder):
    return json.loads((folder / "scores.json").read_text())


def test_it_learns_and_the_best_trial_is_kept(tuned):
    found = scores(tuned)
    assert [result["seed"] for result in found] == [0, 1]
    best = max(found, key=lambda result: result["ranking"])
    assert best["scores"]["accuracy"] > 0.9  # half of it by guessing
    model = load_model(tuned / "model")
    assert (model.head.kind, list(model.head.labels)) == ("classifier", ["bad", "good"])
    assert model.head.metric == "accuracy" and model.head.sequence_length == 37
    assert model.head.pairs is False
    trial = load_model(tuned / "trials" / best["trial"] / "model")
    for a, b in zip(model.weights, trial.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def judged(capsys, path, place, **options):
    config = dict(task="classification", data_dir=str(place / "data"))
    evaluate(EvaluateConfig(model=str(path), **(config | options)))
    return capsys.readouterr().out


def test_model_file_and_dev_score_agree(tuned, place, capsys, tmp_path):
    best = max(scores(tuned), key=lambda result: result["ranking"])
    (tmp_path / "text.txt").write_text("the film is good .\nthe plot was awful .\n" * 60)
    path = export(
        ExportConfig(
            model=str(tuned / "model"),
            output=str(tmp_path / "model.tflite"),
            quantize="none",
            calibration_data=str(tmp_path / "text.txt"),
        )
    )
    report = tmp_path / "scores.json"
    said = judged(capsys, tuned / "model", place, compare=str(path), json=str(report))
    assert "the same prediction for 100.00 % of 60 texts" in said
    rows = json.loads(report.read_text())["scores"]
    assert len(rows) == 2
    for row in rows:
        assert row["accuracy"] == best["scores"]["accuracy"]
        assert row["macro_f1"] == best["scores"]["macro_f1"]


def test_files_that_exist_are_refused_before_anything_is_run(tuned, place, tmp_path, monkeypatch):
    (tmp_path / "scores.json").write_text("mine")
    (tmp_path / "classification.tsv").write_text("mine")
    monkeypatch.setattr("mobilebert_tf.evaluate.evaluate_split", None)
    config = dict(model=str(tuned / "model"), task="classification", data_dir=str(place / "data"))
    for option in ({"json": str(tmp_path / "scores.json")}, {"predictions": str(tmp_path)}):
        with pytest.raises(InputError, match="exists: choose another name, or `overwrite`"):
            evaluate(EvaluateConfig(**config, **option))


def test_predictions_go_to_a_folder(tuned, place, capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file is a file: `predictions` must name a folder"):
        judged(capsys, tuned / "model", place, predictions=str(tmp_path / "file"), overwrite=True)
    with pytest.raises(InputError, match="no row has a value in the column 'nr'"):
        judged(capsys, tuned / "model", place, columns=Columns(id="nr"))


def test_classes_that_cannot_be_weighted(small, monkeypatch):
    """Said before anything is trained: by the second trial, the first would be lost."""
    monkeypatch.setattr("mobilebert_tf.training.finetune_trials.train", None)
    rows = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n"
    for split in ("train", "dev"):
        (small / "data" / f"{split}.tsv").write_text(rows)
    config = config_of(small, small / "out", task="rte", class_weights=True)
    with pytest.raises(InputError, match="an example of every class"):
        finetune(config)
    columns = Columns(text="sentence1", label="index")
    with pytest.raises(InputError, match="need classes"):
        finetune(dataclasses.replace(config, task="regression", columns=columns))


def test_changed_examples_are_shown(tuned, place, capsys):
    trials = [str(tuned / "trials" / result["trial"] / "model") for result in scores(tuned)]
    untrained = place / "untrained"
    if not untrained.exists():
        keras.utils.set_random_seed(3)
        model = build_model(STUDENT, "classifier", ("good", "bad"))  # in another order
        save_model(model, untrained, TOKENIZER)
    said = judged(capsys, trials[0], place, compare=str(untrained))
    assert "the same prediction for" in said and "100.00 %" not in said
    assert "good" in said and "film" in said


def test_predictions_of_unlabelled_texts(tuned, place, capsys, tmp_path):
    judged(capsys, tuned / "model", place, split="test", predictions=str(tmp_path / "out"))
    lines = (tmp_path / "out" / "classification.tsv").read_text().splitlines()
    assert lines[0] == "index\tprediction" and len(lines) == 14
    assert {line.split("\t")[1] for line in lines[1:]} <= {"good", "bad"}


def test_each_row_of_a_test_file_has_a_line(tuned, place, capsys, tmp_path):
    """Without labels, and for a row without text: predictions and rows can be joined again."""
    (tmp_path / "test.csv").write_text("name,text\na,the good film\nb,\nc,an awful plot\n")
    options = dict(data_dir=str(tmp_path), split="test", columns=Columns(id="name"))
    said = judged(capsys, tuned / "model", place, predictions=str(tmp_path / "out"), **options)
    assert "1 of 3 rows were skipped: their prediction is empty" in said
    lines = (tmp_path / "out" / "classification.tsv").read_text().splitlines()
    assert lines == ["index\tprediction", "a\tgood", "b\t", "c\tbad"]


def test_search_tries_the_grid_and_patience_stops(place, tmp_path, capsys):
    """A trial that diverges does not end the search."""
    grid = {"batch_size": [16], "learning_rate": [5e-3, 1e-9, 1e30], "epochs": [5]}
    finetune(config_of(place, tmp_path / "out", search=True, grid=grid, patience=1))
    *found, diverged = scores(tmp_path / "out")
    assert [result["learning_rate"] for result in found] == [5e-3, 1e-9]
    assert "the loss was nan" in diverged["failed"]
    assert found[0]["ranking"] > found[1]["ranking"]
    history = (tmp_path / "out" / "history.jsonl").read_text().splitlines()
    epochs = [
        r["epoch"] for r in map(json.loads, history) if "1e-09" in r["model"] and "epoch" in r
    ]
    assert epochs == [1, 2]  # nothing is learnt at that rate
    out = capsys.readouterr().out
    assert "learning_rate" in out and "1 of 3 trials failed" in out


def test_a_search_whose_trials_all_diverge(place, tmp_path):
    grid = {"batch_size": [16], "learning_rate": [1e30], "epochs": [1]}
    with pytest.raises(InputError, match="each trial of the search failed: the loss or"):
        finetune(config_of(place, tmp_path / "out", search=True, grid=grid))


def test_teacher_and_class_weights(place, tuned, tmp_path):
    teacher = str(tuned / "model")
    changes = dict(teacher=teacher, teacher_weight=1.0, temperature=2.0, class_weights=True)
    finetune(config_of(place, tmp_path / "out", **changes))
    assert scores(tmp_path / "out")[0]["scores"]["accuracy"] > 0.85
    with np.load(tmp_path / "out" / "teacher_outputs.npz") as said:
        assert said["teacher_logits"].shape == (150, 2)
    with pytest.raises(InputError, match="no model of this task"):
        finetune(config_of(place, tmp_path / "other", teacher=str(place / "start")))
    assert not (tmp_path / "other").exists()


def command_of(config):
    """The command line of a config: options that are not the default's."""
    command = [sys.executable, "-m", "mobilebert_tf.finetune"]
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        default = item.default
        if value != default and not isinstance(value, list) or item.name == "seeds":
            command += [f"--{item.name.replace('_', '-')}", str(value)]
    return command


def kill_after(config, said):
    """Runs the command of a config until it prints a line with `said`, and kills it soon after."""
    command, streams = command_of(config), dict(stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with subprocess.Popen(command, **streams) as process:
        for line in process.stdout:
            if said in line:
                break
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)


def assert_same_trials(folder, expected):
    assert scores(folder) == scores(expected)
    for trial in os.listdir(expected / "trials"):
        ours, theirs = (load_model(f / "trials" / trial / "model") for f in (folder, expected))
        for a, b in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.slow  # those below are killed too, in a run of one trial
def test_killed_and_resumed_it_ends_with_the_same_bits(place, tuned, tmp_path):
    config = config_of(place, tmp_path / "out", seeds=[0, 1])
    for _ in range(2):  # once in each trial, if the machine is not too slow
        kill_after(config, b"epoch 2")
    finetune(config)
    assert_same_trials(tmp_path / "out", tuned)


def unlabelled(path, count=116):
    """Texts of the same kind, a line each, and an empty line after every tenth."""
    texts = [row.partition("\t")[0] for row in labelled_texts(count, 5).splitlines()[1:]]
    lines = [line for i, text in enumerate(texts) for line in [text, *[""] * (i % 10 == 9)]]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_texts_that_the_teacher_labels(place, tuned, tmp_path, capsys):
    """Few labels and many texts: layers and outputs of the teacher; killed, it ends the same."""
    few = tmp_path / "data"
    few.mkdir()
    (few / "train.tsv").write_text(labelled_texts(14, 0))
    shutil.copy(place / "data" / "dev.tsv", few)
    changes = dict(data_dir=str(few), teacher=str(tuned / "model"))
    changes |= dict(augment=unlabelled(tmp_path / "more.txt"), transfer_weight=0.01)
    finetune(config_of(place, tmp_path / "whole", **changes))
    assert "116 texts without labels, 11 empty lines skipped" in capsys.readouterr().out
    assert scores(tmp_path / "whole")[0]["scores"]["accuracy"] > 0.85
    config = config_of(place, tmp_path / "out", **changes)
    kill_after(config, b"epoch 2")
    finetune(config)
    assert_same_trials(tmp_path / "out", tmp_path / "whole")
    history = (tmp_path / "out" / "history.jsonl").read_text().splitlines()
    assert json.loads(history[-1])["total_step"] == 8 * 10  # of 14 + 116 texts, 13 at a time
    with pytest.raises(InputError, match="augment"):  # of another run
        finetune(config_of(place, tmp_path / "out", **changes | {"augment": None}))


def test_quantization_aware_from_training_to_the_file(place, tuned, tmp_path, capsys):
    """Killed, it ends with the same bits; the int8-full file scores what training said."""
    changes = dict(model=str(tuned / "model"), learning_rate=1e-3, epochs=3)
    changes |= dict(quantization_aware=True)
    finetune(config_of(place, tmp_path / "whole", **changes))
    config = config_of(place, tmp_path / "out", **changes)
    kill_after(config, b"epoch 1")
    finetune(config)
    assert_same_trials(tmp_path / "out", tmp_path / "whole")
    ours, theirs = (load_model(tmp_path / name / "model") for name in ("out", "whole"))
    assert ours.quantization.ranges == theirs.quantization.ranges
    directory, corpus = str(tmp_path / "whole" / "model"), tmp_path / "corpus.txt"
    corpus.write_text("\n".join(row.split("\t")[0] for row in labelled_texts(120, 7).splitlines()))
    options = dict(model=directory, calibration_data=str(corpus), quantize="int8-full")
    file = export(ExportConfig(**options))
    expected = scores(tmp_path / "whole")[0]["scores"]["accuracy"]
    judged(capsys, file, place, json=str(tmp_path / "scores.json"))
    (found,) = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert abs(found["accuracy"] - expected) < 0.04 and found["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--quantization-aware"], True),
        (["--quantization-aware", "false"], False),
        (["--quantization-aware", "int4"], "int4"),
        (["--quantization-aware=int4-mixed"], "int4-mixed"),
        ([], False),
    ],
)
def test_quantization_aware_as_an_option(words, expected):
    needed = ["--task", "sst-2", "--model", "m", "--data-dir", "d"]
    for arguments in (needed + words, words + needed):
        assert parse(FinetuneConfig, arguments).quantization_aware == expected
    with pytest.raises(InputError, match="quantization_aware"):
        parse(FinetuneConfig, [*needed, "--quantization-aware", "int5"])


def test_quantization_aware_wants_what_folds(place, tmp_path):
    for changes in (dict(precision="mixed_bfloat16"), dict(teacher="t", transfer_weight=1.0)):
        with pytest.raises(InputError, match="quantization_aware"):
            config_of(place, tmp_path, quantization_aware=True, **changes)
    config = STUDENT.replace(normalization_type="layer_norm")
    save_model(build_model(config, "pretraining"), tmp_path / "start", TOKENIZER)
    options = dict(model=str(tmp_path / "start"), quantization_aware=True)
    with pytest.raises(InputError, match="NoNorm and ReLU"):
        finetune(config_of(place, tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()


def test_augment_and_transfer_that_do_not_fit(place, tuned, tmp_path):
    def refused(**changes):
        with pytest.raises(InputError) as error:
            finetune(config_of(place, tmp_path / "out", **changes))
        assert not (tmp_path / "out").exists() and "\n" not in str(error.value)
        return str(error.value)

    more, teacher = unlabelled(tmp_path / "more.txt", 3), str(tuned / "model")
    (tmp_path / "empty.txt").write_text("\n \n")
    assert "`augment` is of use with a teacher" in refused(augment=more)
    assert "`transfer_weight` is of use with a teacher" in refused(transfer_weight=1.0)
    assert "squad needs questions" in refused(augment=more, teacher=teacher, task="squad")
    assert "has no texts" in refused(augment=str(tmp_path / "empty.txt"), teacher=teacher)
    assert "does not exist" in refused(augment=str(tmp_path / "absent.txt"), teacher=teacher)
    short = STUDENT.replace(max_position_embeddings=13)
    save_model(build_model(short, "classifier", ("bad", "good")), tmp_path / "short", TOKENIZER)
    assert "takes 13 tokens: `sequence_length` 13" in refused(teacher=str(tmp_path / "short"))
    deep = STUDENT.replace(num_hidden_layers=3)
    model = build_model(deep, "classifier", ("bad", "good"))
    save_model(model, tmp_path / "deep", TOKENIZER)
    pairs = build_model(deep, "classifier", ("entailment", "not_entailment"))
    save_model(pairs, tmp_path / "rte", TOKENIZER)
    for split in ("train", "dev"):
        rows = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n"
        (tmp_path / f"{split}.tsv").write_text(rows)
    rte = dict(task="rte", data_dir=str(tmp_path), teacher=str(tmp_path / "rte"))
    assert "rte has pairs of texts: name `columns.pair`" in refused(augment=more, **rte)
    said = refused(teacher=str(tmp_path / "deep"), transfer_weight=1.0)
    assert "give `transfer.layer_map`" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "speling"}, "no task named"),
        ({"task": "rte"}, "train.tsv"),
        ({"task": "tokens"}, ".conll"),
        ({"sequence_length": 64}, "the model takes 37 tokens"),
        ({"model": "absent"}, "mobilebert_tf.convert absent FOLDER --from huggingface"),
        ({"model": "absent"}, "`model`: absent does not exist"),
        ({"data_dir": "absent"}, "`data_dir`: there is no folder absent"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(place, tmp_path, changes, said):
    with pytest.raises(InputError) as error:
        finetune(config_of(place, tmp_path / "out", **changes))
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": -1.0},
        {"warmup": 2.0},
        {"weight_decay": -1.0},
        {"temperature": 0.0},
        {"seeds": []},
        {"seeds": [0, 0]},
        {"seeds": [0, -1]},
        {"grid": {"epochs": [1]}},
        {"grid": {"x": [1]}, "search": True},
        {"epochs": 2, "grid": {"epochs": []}, "search": True},
        {"epochs": 2, "grid": {"epochs": [1.5]}, "search": True},
        {"epochs": 2, "grid": {"epochs": [math.inf]}, "search": True},
        {"batch_size": 2, "grid": {"batch_size": [0]}, "search": True},
    ],
)
def test_impossible_settings(place, tmp_path, changes):
    with pytest.raises(InputError, match=next(iter(changes)).removesuffix("s")):
        config_of(place, tmp_path, **changes)


@pytest.fixture
def small(place, tmp_path):
    """data/ and start/, to be changed."""
    for name in ("data", "start"):
        shutil.copytree(place / name, tmp_path / name)
    return tmp_path


def test_changed_inputs_are_another_run(small):
    config = config_of(small, small / "out", epochs=1)
    finetune(config)
    first = scores(small / "out")
    with open(small / "data" / "train.tsv", "a") as file:
        file.write("a good film\tgood\n")
    with pytest.raises(InputError, match="begun with another content of the train split"):
        finetune(config)
    assert scores(small / "out") == first
    with pytest.raises(InputError, match="lies in .* which `overwrite` would delete"):
        inside = str(small / "out" / "model")
        finetune(dataclasses.replace(config, model=inside, overwrite=True))
    assert load_model(small / "out" / "model")


def test_more_epochs_go_on(small, capsys):
    """Three epochs, then five: no epoch is trained twice, and the best of all five is kept."""
    config = config_of(small, small / "out", epochs=3)
    finetune(config)
    first = epochs_of(small / "out", config)
    assert [record["epoch"] for record in first] == [1, 2, 3]
    capsys.readouterr()
    longer = dataclasses.replace(config, epochs=5)
    finetune(longer)
    assert "epochs5-seed0: continues batch13-rate0.005-epochs3-seed0" in capsys.readouterr().out
    all_five = epochs_of(small / "out", longer)
    assert [record["epoch"] for record in all_five] == [1, 2, 3, 4, 5]
    assert [r["ranking"] for r in all_five[:3]] == [r["ranking"] for r in first]
    (result,) = scores(small / "out")
    assert result["epochs"] == 5 and result["ranking"] == max(r["ranking"] for r in all_five)
    with pytest.raises(InputError, match="epochs: 5 -> 3"):
        finetune(config)
    with pytest.raises(InputError, match="batch_size: 13 -> 7"):
        finetune(dataclasses.replace(config, epochs=6, batch_size=7))


def test_a_refused_command_changes_no_settings(small):
    """Else the command that made the run would be refused from then on: it has fewer epochs."""
    finetune(config := config_of(small, small / "out", epochs=1))
    before = (small / "out" / "run.json").read_bytes()
    text = (small / "data" / "train.tsv").read_text()
    (small / "data" / "train.tsv").write_text(text + "a good film\tgood\n")
    with pytest.raises(InputError, match="another content of the train split"):
        finetune(dataclasses.replace(config, epochs=3))
    assert (small / "out" / "run.json").read_bytes() == before
    (small / "data" / "train.tsv").write_text(text)
    finetune(config)


def epochs_of(folder, config):
    """The history's records of the evaluated epochs of a run's only trial."""
    name = config.trials()[0].name
    records = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [r for r in records if r["model"] == name and "ranking" in r]


def test_renamed_classes_are_another_run(small):
    finetune(config := config_of(small, small / "out", epochs=1))
    for split in ("train", "dev"):
        path = small / "data" / f"{split}.tsv"
        path.write_text(path.read_text().replace("\tgood", "\tgreat"))
    with pytest.raises(InputError, match="begun with another content of the labels"):
        finetune(config)


def test_a_full_disk_cuts_the_history_short(small):
    finetune(config_of(small, small / "whole", epochs=1))
    finetune(config := config_of(small, small / "out", epochs=1))
    shutil.rmtree(small / "out" / "trials")  # as if it had not come to the end
    with open(small / "out" / "history.jsonl", "a") as file:
        file.write('{"model": "batch13-ra')
    finetune(config)
    assert scores(small / "out") == scores(small / "whole")


def test_classes_that_differ_in_case_only(small, capsys):
    for split in ("train", "dev"):
        path = small / "data" / f"{split}.tsv"
        path.write_text(path.read_text().replace("\tbad", "\tGood"))
    finetune(config_of(small, small / "out"))
    found = max(scores(small / "out"), key=lambda result: result["ranking"])["scores"]
    assert found["accuracy"] > 0.6
    report = small / "scores.json"
    judged(capsys, small / "out" / "model", small, json=str(report))
    (row,) = json.loads(report.read_text())["scores"]
    assert row["accuracy"] == found["accuracy"]


def test_no_dev_split_and_no_vocabulary(place, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(place / "data" / "train.tsv", data)
    with pytest.raises(InputError, match="no dev split"):
        finetune(config_of(place, tmp_path / "out", data_dir=str(data)))
    start = shutil.copytree(place / "start", tmp_path / "start")
    (start / "vocab.txt").unlink()
    with pytest.raises(InputError, match="vocab.txt"):
        finetune(config_of(place, tmp_path / "out", model=str(start)))


def test_models_that_do_not_fit_the_task(place, tuned, capsys, tmp_path):
    with pytest.raises(InputError, match="has a pretraining head"):
        judged(capsys, place / "start", place)
    (tmp_path / "dev.tsv").write_text("text\tlabel\nthe film\tother\n")
    with pytest.raises(InputError, match="line 2: the label 'other'"):
        judged(capsys, tuned / "model", place, data_dir=str(tmp_path))
    with pytest.raises(InputError, match="no test split"):
        judged(capsys, tuned / "model", place, data_dir=str(tmp_path), split="test")
    (tmp_path / "dev.tsv").write_text("text\tlabel\nthe film\tgood\n")
    head = dataclasses.replace(load_model(tuned / "model").head, pairs=True)
    save_model(MobileBert(STUDENT, head), tmp_path / "pairs", TOKENIZER)
    with pytest.raises(InputError, match="pairs of texts, classification has single ones"):
        judged(capsys, tmp_path / "pairs", place, data_dir=str(tmp_path))


def test_words_have_no_form_of_predictions(place, tmp_path):
    words = build_model(STUDENT, "token_classifier", ("B-x", "O"))
    save_model(words, tmp_path / "words", TOKENIZER)
    (tmp_path / "dev.conll").write_text("the O\nfilm B-x\n")
    with pytest.raises(InputError, match="mobilebert_tf.predict writes them"):
        evaluate(
            EvaluateConfig(
                str(tmp_path / "words"), "tokens", str(tmp_path), predictions=str(tmp_path / "out")
            )
        )
    assert not (tmp_path / "out").exists()


def test_words_of_raw_texts_are_those_of_training(place, capsys, tmp_path):
    """From the training data to a file for a phone: the same words with the same labels."""
    rng = np.random.default_rng(0)
    marked = {"u.s.": "B-place", "a-b": "B-thing", "3.5": "B-number"}
    for split, count in (("train", 150), ("dev", 30)):
        lines = []
        for _ in range(count):
            words = [str(word) for word in rng.choice([*NEUTRAL, *marked], 7)]
            lines += [f"{word} {marked.get(word, 'O')}" for word in (*words, ".")] + [""]
        (tmp_path / f"{split}.conll").write_text("\n".join(lines))
    tokens = dict(task="tokens", data_dir=str(tmp_path))
    finetune(config_of(place, tmp_path / "out", **tokens))
    assert "words of raw texts as in 0.0, x-x, x.x, x.x." in capsys.readouterr().out
    words = ["the", "u.s.", "film", "is", "a-b", "the", "plot", "3.5", "."]
    model = tmp_path / "out/model"
    (tmp_path / "calibration.txt").write_text("the u.s. film is a-b .\n" * 100)
    export(
        ExportConfig(
            str(model), quantize="none", calibration_data=str(tmp_path / "calibration.txt")
        )
    )
    convert(ConvertConfig(str(model), str(tmp_path / "theirs"), to="huggingface"))
    for path in (model, tmp_path / "out/model-none.tflite", tmp_path / "theirs"):
        pipeline = Pipeline(path)
        (given,) = pipeline([words])
        assert [w.label for w in given.words] == [marked.get(word, "O") for word in words]
        assert pipeline(" ".join(words)) == given
        touching = pipeline("the U.S. film is a-b the plot 3.5.")
        assert [(w.text.lower(), w.label) for w in touching.words] == [
            (w.text, w.label) for w in given.words
        ]
    edit(model / "task.json", joiners=[])
    assert [w.text for w in Pipeline(model)("u.s.").words] == ["u", ".", "s", "."]


def squad(count, seed):
    """Which film was good? In a text of several windows one is; a third of them has none."""
    rng = np.random.default_rng(seed)
    paragraphs = []
    for index in range(count):
        words = list(rng.choice(NEUTRAL, 40))
        start = int(rng.integers(40))
        impossible = index % 3 == 0
        if not impossible:
            words[start] = "awful"
        at = len(" ".join(words[:start])) + (start > 0)
        answers = [] if impossible else [{"text": "awful", "answer_start": at}]
        question = {"id": f"q{index}", "question": "a poor film", "answers": answers}
        question["is_impossible"] = impossible
        paragraphs.append({"context": " ".join(words), "qas": [question]})
    return json.dumps({"version": "v2.0", "data": [{"title": "x", "paragraphs": paragraphs}]})


def test_questions_from_files_to_answers(place, tmp_path, capsys):
    (tmp_path / "train-v2.0.json").write_text(squad(150, 0))
    (tmp_path / "dev-v2.0.json").write_text(squad(31, 1))
    data = dict(task="squad-v2", data_dir=str(tmp_path))
    finetune(config_of(place, tmp_path / "out", **data, learning_rate=1e-2, epochs=4))
    (trial,) = scores(tmp_path / "out")
    best = trial["scores"]
    assert trial["ranking"] == pytest.approx((best["f1"] + best["exact"]) / 2)  # no thresholds
    assert best["f1"] > 80 and best["HasAns_f1"] > 60 and best["NoAns_f1"] > 60
    capsys.readouterr()
    model, predictions = str(tmp_path / "out" / "model"), str(tmp_path / "predictions")
    evaluate(EvaluateConfig(model, **data, compare=model, predictions=predictions))
    assert "the same answer to 100.00 % of 31 questions" in capsys.readouterr().out
    answers = json.loads((tmp_path / "predictions" / "squad-v2-dev.json").read_text())
    assert len(answers) == 31 and set(answers.values()) >= {"", "awful"}
