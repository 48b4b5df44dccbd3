"""pretrain --init and distill --init continue from a model; they refuse one that does not fit."""

import json

import numpy as np
import pytest
from support.models import STUDENT, TEACHER, random_model
from support.texts import TOKENIZER, VOCABULARY, write_corpus

from mobilebert_tf import load_model, save_model
from mobilebert_tf.convert import ConvertConfig, convert
from mobilebert_tf.distill import distill
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.model import checksum
from mobilebert_tf.modeling.model_directory import load_tokenizer
from mobilebert_tf.pretrain import pretrain
from mobilebert_tf.text.tokenizer import WordPiece
from mobilebert_tf.training.optimizer import WarmupLinearDecay
from mobilebert_tf.training.run_config import DistillConfig, Phase, PretrainConfig, TransferConfig
from mobilebert_tf.training.run_folder import RunFolder

NO_STEPS = Phase(0)
SIZES = dict(sequence_length=13, batch_size=7, max_predictions_per_sequence=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """text.txt; a teacher and a student with other weights than any new model has; an encoder."""
    folder = tmp_path_factory.mktemp("init")
    write_corpus(folder / "text.txt")
    for name, model in {
        "teacher": random_model(TEACHER, "pretraining", seed=1),
        "student": random_model(STUDENT, "pretraining", seed=2),
        "encoder": random_model(TEACHER, seed=3),
    }.items():
        save_model(model, folder / name, TOKENIZER)
    return folder


def pretrain_config(place, output, **changes):
    values = dict(corpus=str(place / "text.txt"), output_dir=str(output), training=NO_STEPS)
    return PretrainConfig(**(values | SIZES | dict(init=str(place / "teacher")) | changes))


def distill_config(place, output, **changes):
    values = dict(corpus=str(place / "text.txt"), output_dir=str(output), strategy="none")
    values |= dict(teacher=str(place / "teacher"), init=str(place / "student"))
    values |= dict(distillation=NO_STEPS, transfer=TransferConfig(phase=NO_STEPS))
    return DistillConfig(**(values | SIZES | changes))


def digest(directory):
    return checksum(load_model(directory))


def test_without_a_step_the_model_is_the_one_it_began_with(place, tmp_path, capsys):
    pretrain(pretrain_config(place, tmp_path / "run"))
    assert digest(tmp_path / "run" / "teacher") == digest(place / "teacher")
    assert load_tokenizer(tmp_path / "run" / "teacher").vocabulary == VOCABULARY
    said = capsys.readouterr().out
    assert "at random" not in said and "init: its own size is used, it is no demo-teacher" in said
    distill(distill_config(place, tmp_path / "student"))
    assert digest(tmp_path / "student" / "student") == digest(place / "student")
    assert "at random" not in capsys.readouterr().out


def test_training_goes_on_and_a_finished_run_stays(place, tmp_path):
    config = pretrain_config(place, tmp_path / "run", training=Phase(3, learning_rate=1e-2))
    pretrain(config)
    trained = digest(tmp_path / "run" / "teacher")
    assert trained != digest(place / "teacher")
    pretrain(config)
    assert digest(tmp_path / "run" / "teacher") == trained


def test_more_steps_go_on_from_the_end(place, tmp_path, capsys):
    """The finished model gives way to that of the longer run; a shorter one is refused."""
    for steps in (2, 4):
        pretrain(
            pretrain_config(place, tmp_path / "run", training=Phase(steps, learning_rate=1e-2))
        )
    assert "goes on (training.steps 2 -> 4)" in capsys.readouterr().out
    records = RunFolder(tmp_path / "run").history()
    assert [record["total_step"] for record in records] == [2, 4]
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "done"
    rates = [record["learning_rate"] for record in records]
    schedule = WarmupLinearDecay(1e-2, 4, 0, 1e-4)
    assert rates[1] == pytest.approx(float(schedule(3)))  # as planned for four steps
    with pytest.raises(InputError, match="training.steps: 4 -> 3"):
        pretrain(pretrain_config(place, tmp_path / "run", training=Phase(3, learning_rate=1e-2)))


def test_heads_that_are_missing_are_new_and_said(place, tmp_path, capsys):
    pretrain(pretrain_config(place, tmp_path / "run", init=str(place / "encoder")))
    said = capsys.readouterr().out
    assert "not in `init`, so initialised at random: " in said and "masked_lm" in said
    ours, theirs = load_model(tmp_path / "run" / "teacher"), load_model(place / "encoder")
    weights = {weight.path: weight.numpy() for weight in ours.weights}
    for weight in theirs.weights:
        np.testing.assert_array_equal(weights[weight.path], weight.numpy())


def test_other_formats_are_read(place, tmp_path):
    convert(ConvertConfig(str(place / "student"), str(tmp_path / "hf"), to="huggingface"))
    convert(ConvertConfig(str(place / "teacher"), str(tmp_path / "google"), to="google"))
    teacher, init = str(tmp_path / "google"), str(tmp_path / "hf")
    distill(distill_config(place, tmp_path / "run", teacher=teacher, init=init))
    assert digest(tmp_path / "run" / "student") == digest(place / "student")


def test_what_does_not_fit_is_refused(place, tmp_path):
    other = WordPiece([*VOCABULARY[:-1], "unheard"])
    save_model(load_model(place / "student"), tmp_path / "other", other)
    save_model(load_model(place / "student"), tmp_path / "mute")
    for change, message in (
        (dict(init=str(tmp_path / "other")), "has another vocabulary or casing than"),
        (dict(init=str(tmp_path / "mute")), "has no vocabulary"),
        (dict(student="mobilebert-tiny"), "`init` is no mobilebert-tiny"),
        (dict(sequence_length=9999), "longer than max_position_embeddings"),
    ):
        with pytest.raises(InputError, match=message):
            distill(distill_config(place, tmp_path / "run", **change))
    assert not (tmp_path / "run").exists()


def test_a_changed_model_is_another_run(place, tmp_path):
    save_model(load_model(place / "teacher"), tmp_path / "start", TOKENIZER)
    config = pretrain_config(place, tmp_path / "run", init=str(tmp_path / "start"))
    pretrain(config)
    save_model(random_model(TEACHER, "pretraining", seed=9), tmp_path / "start", TOKENIZER)
    with pytest.raises(InputError, match="begun with another content of `init`"):
        pretrain(config)
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert settings["init"] == str(tmp_path / "start")
