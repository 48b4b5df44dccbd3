"""Model directories: written whole, read again, and refused if they are damaged."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.disks import files_may_grow_to
from support.models import (
    LABELS_OF_HEADS,
    SCALE,
    VARIANTS,
    inputs_of,
    models_of_heads,
    random_model,
)

from mobilebert_tf import InputError, load_model, save_model


@pytest.fixture(scope="module")
def models():
    return models_of_heads()


def assert_same(first, second):
    inputs = inputs_of(first)
    pairs = zip(
        tf.nest.flatten(first(inputs, training=False)),
        tf.nest.flatten(second(inputs, training=False)),
        strict=True,
    )
    for x, y in pairs:
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("head", LABELS_OF_HEADS)
def test_directory_round_trip(tmp_path, models, head):
    save_model(models[head], tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.config == models[head].config
    assert tuple(again.head.labels) == LABELS_OF_HEADS[head] and again.head.kind == (
        head or "encoder"
    )
    assert_same(models[head], again)
    assert {path.name for path in tmp_path.iterdir()} == {"model"}  # nothing is left aside


@pytest.mark.parametrize("variant", ["tiny", "bert"])
def test_directory_round_trip_of_variants(tmp_path, variant):
    model = random_model(VARIANTS[variant], scale=SCALE)
    save_model(model, tmp_path / "model")
    assert_same(model, load_model(tmp_path / "model"))


@pytest.mark.parametrize("head", LABELS_OF_HEADS)
def test_keras_file_round_trip(tmp_path, models, head):
    models[head].save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")  # safe mode
    assert type(again) is type(models[head])
    assert_same(models[head], again)


def test_save_replaces_the_whole_directory(tmp_path, models):
    save_model(models["classifier"], tmp_path / "model")
    save_model(models["span"], tmp_path / "model")
    assert load_model(tmp_path / "model").head.kind == "span"


def test_save_deletes_nothing_of_others(tmp_path, models):
    (tmp_path / "thesis.txt").write_text("years of work")
    try:
        save_model(models[None], tmp_path)
    except InputError:
        pass
    assert (tmp_path / "thesis.txt").exists()


def test_save_to_the_current_directory(tmp_path, models, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        save_model(models[None], ".")
    except (InputError, OSError):
        pass


@pytest.mark.parametrize("most", [300, 10_000, 100_000])
def test_save_where_files_may_not_grow(tmp_path, models, most):
    """As on a full disk, in every file of a model; HDF5 would end the process."""
    with files_may_grow_to(most), pytest.raises(OSError, match="File too large.*model"):
        save_model(models["classifier"], tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def saved(tmp_path_factory, models):
    path = tmp_path_factory.mktemp("saved") / "classifier"
    save_model(models["classifier"], path)
    return path


@pytest.fixture
def directory(tmp_path, saved):
    return shutil.copytree(saved, tmp_path / "model")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def message(directory):
    with pytest.raises(InputError) as error:
        load_model(directory)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_parts(directory):
    assert str(directory / "absent") in message(directory / "absent")
    (directory / "model.weights.h5").unlink()
    assert "model.weights.h5" in message(directory)
    (directory / "config.json").unlink()
    assert "config.json" in message(directory)


@pytest.mark.parametrize(
    "damage", [lambda d: d[: len(d) // 2], lambda d: b"", lambda d: b"x" * 999]
)
def test_damaged_weights(directory, damage):
    path = directory / "model.weights.h5"
    path.write_bytes(damage(path.read_bytes()))
    assert f"{path} is damaged" in message(directory)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 2},
        {"intermediate_size": 14},
        {"vocab_size": 299},
        {"num_feedforward_networks": 3},
        {"classifier_activation": True},
    ],
)
def test_weights_of_another_config(directory, changes):
    edit(directory / "config.json", **changes)
    assert "model.weights.h5 is damaged or belongs to another config" in message(directory)


def test_weights_of_a_larger_config(directory):
    edit(directory / "config.json", num_feedforward_networks=1)  # of 2; as with fewer blocks
    message(directory)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hiden_size": 24}, "hiden_size"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"hidden_act": "swish"}, "swish"),
        ({"num_attention_heads": 5}, "num_attention_heads (5)"),
    ],
)
def test_bad_config(directory, changes, named):
    edit(directory / "config.json", **changes)
    text = message(directory)
    assert named in text and str(directory / "config.json") in text


@pytest.mark.parametrize("name", ["config.json", "task.json"])
@pytest.mark.parametrize("content", ["{", "[]"])
def test_file_that_is_no_json_object(directory, name, content):
    (directory / name).write_text(content)
    assert str(directory / name) in message(directory)


@pytest.mark.parametrize(
    ("changes", "named"), [({"kind": "speling"}, "speling"), ({"lables": []}, "lables")]
)
def test_bad_task(directory, changes, named):
    edit(directory / "task.json", **changes)
    text = message(directory)
    assert named in text and "task.json" in text


def test_classifier_task_without_labels(directory):
    edit(directory / "task.json", labels=[])
    assert "labels" in message(directory)
