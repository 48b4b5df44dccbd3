"""Files that do not fit, are damaged or foreign: one line each, and nothing is left behind."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tensorflow as tf
from support.checkpoints import (
    FORMATS,
    PREFIX,
    assert_same_bits,
    copy,
    edit,
    refusal,
    rewrite,
    run,
    tensors,
    write_model,
)
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from mobilebert_tf import load_model
from mobilebert_tf.checkpoints.tensorflow_file import OBJECT_GRAPH

SAFETENSORS = "model.safetensors"


# --- destinations --------------------------------------------------------------------------------


def test_destination_that_exists(every_format, destination, copy_of):
    bert = copy(every_format / "bert", destination)
    for to in FORMATS:
        assert "`overwrite`" in refusal(every_format / "mobilebert", destination, to=to)
    assert_same_bits(tensors(destination), tensors(bert))
    run(every_format / "mobilebert", destination, to="google", overwrite=True)
    assert not (destination / SAFETENSORS).exists()
    assert_same_bits(tensors(destination), tensors(every_format / "google"))


def test_failed_conversion_keeps_what_it_would_have_replaced(every_format, destination, copy_of):
    copy(every_format / "google", destination)
    (copy_of("bert") / SAFETENSORS).write_bytes(b"x")
    refusal(destination.parent.parent / "bert", destination, overwrite=True)
    head = write_model(destination.parent.parent / "head", head="multiple_choice")
    refusal(head, destination, to="google", overwrite=True)
    assert_same_bits(tensors(destination), tensors(every_format / "google"))


def test_overwrite_spares_folders_and_files_that_are_no_model(every_format, destination, copy_of):
    destination.mkdir()
    (destination / "notes.txt").write_text("mine")
    refusal(every_format / "bert", destination, overwrite=True)
    assert (destination / "notes.txt").read_text() == "mine"
    refusal(every_format / "bert", destination / "notes.txt", overwrite=True)
    assert (destination / "notes.txt").read_text() == "mine"


def test_overwrite_spares_what_is_beside_a_model(every_format, destination, copy_of):
    copy(every_format / "google", destination)
    (destination / "notes.txt").write_text("mine")
    refusal(every_format / "bert", destination, overwrite=True)
    assert (destination / "notes.txt").read_text() == "mine"


def test_overwrite_spares_a_config_that_is_no_models(every_format, destination, copy_of):
    destination.mkdir()
    (destination / "config.json").write_text('{"port": 80}')
    refusal(every_format / "bert", destination, overwrite=True)
    assert (destination / "config.json").read_text() == '{"port": 80}'


def test_overwrite_spares_the_source(copy_of, tmp_path):
    source = copy_of("google")
    expected = tensors(source)
    (tmp_path / "link").symlink_to(source)
    for name in (source, source / PREFIX, tmp_path / "link"):
        for dest in (source, tmp_path / "link"):
            assert "source" in refusal(name, dest, to="google", overwrite=True)
    assert_same_bits(tensors(source), expected)


# --- tensors that do not fit, in every format ----------------------------------------------------

SOME = {  # of each format: two weights, in the order of their names
    "google": ("bert/embeddings/word_embeddings", "cls/predictions/output_bias"),
    "huggingface": ("cls.predictions.bias", "mobilebert.embeddings.word_embeddings.weight"),
}


@pytest.mark.parametrize("name", ["google", "huggingface"])
def test_numbers_that_are_not_finite_are_all_named(copy_of, destination, name):
    def spoil(held):
        held[SOME[name][0]][1] = np.nan
        held[SOME[name][1]][2] = np.inf

    rewrite(folder := copy_of(name), spoil)
    text = refusal(folder, destination)
    assert all(tensor in text for tensor in SOME[name])


def test_numbers_of_ours_that_are_not_finite_are_named(tmp_path):
    (tmp_path / "out").mkdir()
    folder = write_model(tmp_path / "model", head="masked_lm")
    model = load_model(folder)
    bias = next(w for w in model.weights if w.path == "masked_lm/output_bias")
    bias.assign(np.full(bias.shape, np.nan, "float32"))
    model.save_weights(folder / "model.weights.h5")
    assert bias.path in refusal(folder, tmp_path / "out" / "dest", to="google")


@pytest.mark.parametrize(
    "name,kind",
    [
        ("google", "int32"),
        ("google", "int64"),
        ("huggingface", "int64"),
        ("huggingface", "int8"),
        ("huggingface", "int16"),
        ("huggingface", "uint16"),
    ],
)
def test_integers_in_place_of_floats(copy_of, destination, name, kind):
    tensor = SOME[name][0]
    rewrite(folder := copy_of(name), lambda held: held.update({tensor: held[tensor].astype(kind)}))
    assert tensor in refusal(folder, destination)


@pytest.mark.parametrize("name", ["google", "huggingface"])
def test_all_that_does_not_fit_is_in_one_line(copy_of, destination, name):
    missing, misshapen = SOME[name]

    def spoil(held):
        del held[missing]
        held[misshapen] = held[misshapen][:5]
        held["foo"] = held["bar"] = np.ones(3, "float32")

    rewrite(folder := copy_of(name), spoil)
    text = refusal(folder, destination)
    assert f"{missing} is missing" in text and f"{misshapen} has shape (5," in text
    assert "foo is left over" in text and "bar is left over" in text


def test_model_garden_of_another_config(copy_of, destination):
    folder = copy_of("model-garden")
    edit(folder / "bert_config.json", num_hidden_layers=2, vocab_size=38)
    text = refusal(folder, destination)
    assert "layer_with_weights-2" in text and "is missing" in text and "(38, 7)" in text


# --- damaged and foreign files -------------------------------------------------------------------

FILES = [
    ("mobilebert", "model.weights.h5"),
    ("google", f"{PREFIX}.index"),
    ("google", f"{PREFIX}.data-00000-of-00001"),
    ("huggingface", SAFETENSORS),
    ("model-garden", "mobilebert.ckpt-1.index"),
    ("model-garden", "mobilebert.ckpt-1.data-00000-of-00001"),
]


@pytest.mark.parametrize("name,file", FILES)
def test_damaged_and_foreign_files(every_format, copy_of, destination, name, file):
    path = copy_of(name) / file
    whole = path.read_bytes()
    with h5py.File(path.with_name("foreign"), "w") as foreign:
        foreign["x"] = [1.0]
    other = (path.parent / "foreign").read_bytes()
    (path.parent / "foreign").unlink()
    half, most = whole[: len(whole) // 2], whole[:-7]
    flipped = whole[:40] + bytes(255 - byte for byte in whole[40:80]) + whole[80:]
    for damaged in (b"", half, most, b"\xff" * len(whole), other, b"PK\x03\x04" * 99, flipped):
        if damaged is flipped and file == SAFETENSORS:
            continue  # it has no checksum, and these bytes may be blanks of its header
        path.write_bytes(damaged)
        refusal(path.parent, destination, from_=name)
    path.unlink()
    refusal(path.parent, destination, from_=name)


def child_without_a_node():
    graph = TrackableObjectGraph()
    graph.nodes.add().children.add(local_name="encoder", node_id=99)
    return graph.SerializeToString()


@pytest.mark.parametrize("graph", [b"", b"\xff" * 9, child_without_a_node()])
def test_damaged_object_graph(copy_of, destination, graph):
    held = tensors(folder := copy_of("model-garden")) | {OBJECT_GRAPH: graph}
    tf.raw_ops.SaveV2(
        prefix=str(folder / "mobilebert.ckpt-1"),
        tensor_names=list(held),
        shape_and_slices=[""] * len(held),
        tensors=[tf.constant(tensor) for tensor in held.values()],
    )
    assert "is damaged or no checkpoint" in refusal(folder, destination)


@pytest.mark.parametrize(
    "name,file",
    [
        ("mobilebert", "config.json"),
        ("mobilebert", "task.json"),
        ("mobilebert", "vocab.txt"),
        ("google", "bert_config.json"),
        ("google", "vocab.txt"),
        ("google", "tokenizer_config.json"),
        ("huggingface", "config.json"),
        ("huggingface", "tokenizer_config.json"),
        ("huggingface", "tokenizer.json"),
        ("model-garden", "bert_config.json"),
    ],
)
def test_damaged_text_files(copy_of, destination, name, file):
    folder = copy_of(name)
    if file == "tokenizer.json":
        (folder / "vocab.txt").unlink()
    for damaged in (b"", b"[1]", b'{"a"', b"\xff\xfe\x00", b"null"):
        (folder / file).write_bytes(damaged)
        assert file in refusal(folder, destination, from_=name)


@pytest.mark.parametrize("text", [b"a\nb\nc\n", b"a\n", b"", b"\xff\xfe\n\n"])
def test_labels_that_are_not_the_classifiers(destination, tmp_path, text):
    model = write_model(tmp_path / "model", head="classifier", labels=("no", "yes"))
    folder = run(model, tmp_path / "google", to="google")
    destination.parent.mkdir()
    (folder / "labels.txt").write_bytes(text)
    assert "labels.txt" in refusal(folder, destination)


def test_sources_that_are_none(every_format, destination, tmp_path):
    destination.parent.mkdir()
    (tmp_path / "empty").mkdir()
    for source in ("empty", "absent", "empty/absent"):
        for from_ in ("auto", *FORMATS):
            refusal(tmp_path / source, destination, from_=from_)
    refusal(every_format / "bert" / SAFETENSORS, destination)
    refusal(every_format / "bert", destination, model_config="bert-base")
    refusal(every_format / "google", destination, model_config="no-such-size")
    refusal(every_format / "google", destination, model_config="test-student")


def test_hub_without_a_network(tmp_path):
    command = [sys.executable, "-m", "mobilebert_tf.convert", "some/name", tmp_path / "x"]
    done = subprocess.run(
        [*command, "--from", "huggingface"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "some/name" in done.stderr and "download" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*FORMATS, "bert"])
def test_config_that_asks_for_more_memory_than_there_is(copy_of, destination, name):
    folder = copy_of(name)
    config = "config.json" if (folder / "config.json").exists() else "bert_config.json"
    # The first would end the process.
    for size, said in (
        (10**11, "vocab_size is 100000000000"),
        (10**8, "belongs to another config"),
    ):
        edit(folder / config, vocab_size=size)
        assert said in refusal(folder, destination)


def test_weights_that_say_to_be_larger_than_their_file(copy_of, destination):
    folder = copy_of("mobilebert")
    with h5py.File(folder / "model.weights.h5", "a") as file:
        file.create_dataset("bomb", (10**11,), "float32", chunks=True)  # nothing of it is stored
    edit(folder / "config.json", vocab_size=10**9)
    assert "fewer bytes than its tensors" in refusal(folder, destination)
