"""What once brought a door down: each is one line now, says what is wrong, and costs little.

The tries of hostile.fuzz that fell are here as the smallest inputs that fall the same way.
"""

import gzip
import importlib
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.lite_files import packed_file
from support.models import save_directory
from support.texts import VOCABULARY, labelled_texts, write_corpus

from mobilebert_tf import build_model
from mobilebert_tf.convert import ConvertConfig, convert
from mobilebert_tf.data.corpus import load_documents
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_arrays, read_bytes
from mobilebert_tf.lite.metadata import unpack
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model_directory import load_model
from mobilebert_tf.modeling.quantization import Quantization
from mobilebert_tf.text.tokenizer import WordPiece
from mobilebert_tf.text.vocabulary import train_vocabulary

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Models that are not damaged: tests change copies of them."""
    folder = tmp_path_factory.mktemp("good")
    save_directory(folder / "classifier", "student", "classifier")
    convert(
        ConvertConfig(str(folder / "classifier"), str(folder / "huggingface"), to="huggingface")
    )
    convert(ConvertConfig(str(folder / "classifier"), str(folder / "google"), to="google"))
    packed_file(folder / "x.tflite", "classifier", "dynamic")
    return folder


@pytest.fixture
def copy(good, tmp_path):
    def copied(name):
        if (good / name).is_dir():
            return Path(shutil.copytree(good / name, tmp_path / name))
        return Path(shutil.copy(good / name, tmp_path / name))

    return copied


@pytest.fixture
def refused(capsys):
    """Runs a door that has to refuse; gives its one line."""

    def call(door, *arguments):
        with pytest.raises(SystemExit) as error:
            importlib.import_module(f"mobilebert_tf.{door}").main([str(a) for a in arguments])
        *others, line = capsys.readouterr().err.splitlines()
        assert error.value.code == 2 and line.startswith("error: "), line
        assert not [other for other in others if not other.startswith("warning: ")]
        return line

    return call


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# Model directories and Hugging Face's folders


def test_vocabulary_longer_than_the_table(copy, refused):
    for name in ("classifier", "huggingface"):
        folder = copy(name)
        with open(folder / "vocab.txt", "a") as file:
            file.write("zebra\n")
        line = refused("predict", folder, "the zebra")
        assert f"{len(VOCABULARY) + 1} pieces" in line and f"{len(VOCABULARY)} rows" in line


@pytest.mark.parametrize("change", [{"num_hidden_layers": 500}, {"num_feedforward_networks": 500}])
@pytest.mark.parametrize("name", ["classifier", "huggingface", "google"])
def test_more_layers_than_the_file_has_tensors(copy, refused, name, change):
    folder = copy(name)
    edit(folder / ("bert_config.json" if name == "google" else "config.json"), **change)
    assert "tensors" in refused("convert", folder, folder / "out")


def test_more_labels_than_the_file_has_numbers(copy, refused):
    folder = copy("classifier")
    edit(folder / "task.json", labels=[f"label {i}" for i in range(100_000)])
    assert "more labels" in refused("predict", folder, "the dog")


@pytest.mark.parametrize("width", [10**9, 2**31, 10**30, 1e308])
def test_a_config_of_a_billion(copy, refused, width):
    folder = copy("classifier")
    edit(folder / "config.json", hidden_size=width, intermediate_size=width)
    assert "config" in refused("predict", folder, "the dog")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_hidden_layers": 1001}, "num_hidden_layers. is 1001"),
        ({"hidden_size": 10**9}, "parameters or more"),
        ({"vocab_size": 2 * 10**8}, "GB or more"),
    ],
)
def test_a_new_model_that_no_machine_holds(tmp_path, refused, monkeypatch, changes, reason):
    monkeypatch.setattr("mobilebert_tf.modeling.model.memory", lambda: 4 * 10**9)
    with pytest.raises(InputError, match=reason):
        build_model(SIZES["test-student"].replace(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["a", "a", "b"]},
        {"labels": ["a", "", "b"]},
        {"labels": ["a", "b\nc", "d"]},
        {"labels": ["a", "b", "x" * 10**6]},
        {"labels": ["a", 7, "b"]},
        {"sequence_length": 0},
        {"sequence_length": -1},
        {"sequence_length": 1},
        {"sequence_length": 2**40},
    ],
)
def test_a_task_that_no_model_has(copy, refused, changes):
    folder = copy("classifier")
    edit(folder / "task.json", **changes)
    line = refused("export", "--model", folder, "--output", folder / "x.tflite")
    assert "task.json" in line and len(line) < 400


@pytest.mark.parametrize(
    "arrays",
    [
        {"foo": np.ones(3)},
        {"scale:hidden": np.float32(1)},
        {"scale:hidden": np.array(["a"] * 24)},
        {"scale:hidden": np.full(24, np.nan)},
        {"scale:hidden": np.zeros(24)},
        {"range:x": np.ones(3)},
        {"range:x": np.ones((2, 2))},
        {"range:x": np.array(["a", "b"])},
        {"range:x": np.array([np.nan, 1])},
        {"range:x": np.array([-np.inf, 1])},
        {"range:x": np.array([2.0, -1])},
    ],
    ids=str,
)
def test_ranges_and_scales_that_are_none(copy, refused, arrays):
    folder = copy("classifier")
    np.savez(folder / "quantization.npz", **arrays)
    assert "quantization.npz" in refused("predict", folder, "the dog")


def npz(path, header, data=b"", kind=zipfile.ZIP_STORED):
    """A .npz of one array, from the text of its header."""
    text = header.encode() + b"\n"
    with zipfile.ZipFile(path, "w", kind) as archive:
        content = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + data
        archive.writestr("range:x.npy", content)


HEADER = "{'descr':'<f4','fortran_order':False,'shape':%s}"


@pytest.mark.parametrize(
    "header",
    [
        "[" * 9000,
        HEADER % ("(" * 3000 + ")" * 3000),
        HEADER % "(1000000000000,)",
        HEADER % "(-1,)",
        HEADER.replace("<f4", "|O") % "(2,)",
        HEADER.replace("<f4", "|S0") % "(2,)",
    ],
    ids=lambda header: header[:50],
)
def test_a_header_that_is_none(tmp_path, header):
    npz(tmp_path / "quantization.npz", header)
    with pytest.raises(InputError, match="quantization.npz"):
        Quantization.load(tmp_path)


def test_an_archive_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    """Its size is written into the directory alone: what is behind it takes no memory here."""
    npz(tmp_path / "x.npz", HEADER % "(2,)", bytes(8), zipfile.ZIP_DEFLATED)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 4_000_000_000)
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match="would unpack to 4,000,000,000 bytes"):
        read_arrays(tmp_path / "x.npz")


def test_weights_with_any_bit_flipped(copy):
    """Where the file's structure is, not its numbers; HDF5 raises errors of many kinds."""
    folder = copy("classifier")
    whole = (folder / "model.weights.h5").read_bytes()
    random = np.random.default_rng(7)
    refusals = 0
    for place in random.integers(0, len(whole), 12):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.integers(8)
        (folder / "model.weights.h5").write_bytes(damaged)
        try:
            load_model(folder)
        except InputError:
            refusals += 1
    assert refusals > 0


def test_weights_that_take_more_than_their_file(copy, refused):
    folder = copy("classifier")
    with h5py.File(folder / "model.weights.h5", "a") as file:
        file.create_dataset("huge", (10**12,), chunks=(2**20,), dtype="f4", fillvalue=1.0)
    assert "fewer bytes" in refused("predict", folder, "the dog")


def test_tensors_of_a_type_that_numpy_lacks(copy, refused):
    folder = copy("huggingface")
    path = folder / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    name = next(name for name in header if "word_embeddings" in name)
    data = content[8 + length :]
    # A quarter of the numbers: the shape has to fit the bytes.
    header[name] |= {"dtype": "F8_E4M3", "shape": [header[name]["shape"][0] * 4, 12]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    assert "huggingface" in refused("predict", folder, "the dog")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors.index.json", {"weight_map": [1]}),
        ("model.safetensors.index.json", {"weight_map": {"x": 7}}),
        ("model.safetensors.index.json", {"weight_map": {"x": "../x"}}),
        ("tokenizer.json", {"model": {"type": 7, "vocab": {}}, "normalizer": {"type": None}}),
        ("tokenizer.json", {"added_tokens": [7]}),
        ("tokenizer.json", {"added_tokens": {"a": 1}}),
        ("tokenizer_config.json", {"added_tokens_decoder": [1]}),
        ("added_tokens.json", {"x": None}),
    ],
    ids=str,
)
def test_files_of_wrong_types(copy, refused, name, content):
    folder = copy("huggingface")
    if name.startswith("model"):
        (folder / "model.safetensors").unlink()
    if name == "tokenizer.json" and "model" in content:
        (folder / "vocab.txt").unlink()
    (folder / name).write_text(json.dumps(content))
    assert name.partition(".")[0] in refused("predict", folder, "the dog")


@pytest.mark.parametrize("head", ["encoder", "regression", "token_classifier"])
def test_a_teacher_of_another_task(tmp_path, copy, refused, head):
    teacher = save_directory(tmp_path / "teacher", "student", head)
    corpus = write_corpus(tmp_path / "corpus.txt", documents=3)
    options = ["--teacher", teacher, "--output-dir", tmp_path / "run"]
    distill = ("distill", "--corpus", corpus, *options)
    assert "the teacher has 2 layers" in refused(*distill)
    if head != "encoder":
        assert "can teach layers only" in refused(*distill, "--strategy", "none")
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text(labelled_texts(4, 0))
    options += ["--task", "classification", "--data-dir", tmp_path]
    assert "no model of this task" in refused("finetune", "--model", copy("classifier"), *options)


# .tflite files


@pytest.mark.parametrize("name", ["vocab.txt", "labels.txt", "mobilebert.json"])
def test_files_behind_the_graph_are_as_they_were_stored(copy, tmp_path, name):
    """Compressed or encrypted ones, and those whose size is beyond measure, are not unpacked."""
    content = bytearray(copy("x.tflite").read_bytes())
    place = content.rindex(name.encode()) - 46  # its entry of the directory
    assert content[place : place + 4] == b"PK\x01\x02"
    for at, value in ((10, 8), (8, 1), (10, 99), (27, 255)):  # deflated, encrypted, unknown, size
        changed = bytearray(content)
        changed[place + at] = value
        (tmp_path / "y.tflite").write_bytes(changed)
        with pytest.raises(InputError, match="y.tflite"):
            unpack(tmp_path / "y.tflite")


def test_a_file_that_ends_its_process_ends_only_a_child(copy, refused, tmp_path, monkeypatch):
    """What is only to be looked at is opened by another process first."""
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr("mobilebert_tf.lite.timing.sys.executable", str(crashing))
    assert "SIGSEGV" in refused("benchmark", copy("x.tflite"))


# Settings


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]\n", "not supported"),
        ("seed: &a [*a]\n", "not supported"),
        ("seed: " + "[" * 5000, "nested"),
        ("seed: " + "[" * 100 + "]" * 100, "nested"),
        ("".join(f"{' ' * i}a:\n" for i in range(300)), "nested"),
        ("output_dir: !!python/object/apply:os.system [ls]\n", "python/object"),
        ('output_dir: "a\\0b"\n', "zero character"),
        ("x: " + "y" * 2_000_000, "too large"),
    ],
    ids=lambda value: value[:30],
)
def test_settings_that_would_take_any_time(tmp_path, refused, text, reason):
    (tmp_path / "x.yaml").write_text(text)
    line = refused("pretrain", "--config", tmp_path / "x.yaml")
    assert reason in line and len(line) < 2100


def test_settings_from_a_pipe_do_not_wait_for_it(tmp_path, refused):
    os.mkfifo(tmp_path / "x.yaml")
    assert "no file" in refused("pretrain", "--config", tmp_path / "x.yaml")


def test_a_setting_nested_without_end(refused):
    assert "layer-map is [[[" in refused("distill", "--transfer.layer-map", "[" * 3000)


# Texts


def test_devices_pipes_and_circles_are_no_text(tmp_path, copy, refused):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in ("/dev/zero", tmp_path / "pipe", tmp_path / "circle"):
        with pytest.raises(InputError, match=Path(name).name):
            load_documents(str(name))
        with pytest.raises(InputError, match=Path(name).name):
            WordPiece.from_file(name)
    for argument in ("--input=/dev/zero", "--context=@/dev/zero"):
        assert "a device" in refused("predict", copy("x.tflite"), argument)


def test_what_is_too_large_is_not_read(tmp_path):
    """A file of zeros that takes no room on the disk."""
    with open(tmp_path / "vocab.txt", "wb") as file:
        file.truncate(10**12)
    for read in (lambda p: read_bytes(p, 2**30), WordPiece.from_file):
        with pytest.raises(InputError, match="too large"):
            read(tmp_path / "vocab.txt")
    with pytest.raises(InputError, match="zero byte|longer than"):
        load_documents(str(tmp_path / "vocab.txt"))


def test_text_that_only_looks_small(tmp_path):
    with gzip.open(tmp_path / "x.gz", "wb") as file:
        for _ in range(10):
            file.write(b"\n" * 10**6)
    with pytest.raises(InputError, match="100 times its size"):
        load_documents(str(tmp_path / "x.gz"))


def test_a_word_without_end_is_cut_before_a_vocabulary_is_learnt():
    text, word = "a cat sees a dog", "ab" * 50
    assert train_vocabulary([text, word * 2000], 60) == train_vocabulary([text, *[word] * 2000], 60)


def test_a_vocabulary_of_line_ends(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(b"\n" * 2_000_000)
    with pytest.raises(InputError, match="vocab.txt"):
        WordPiece.from_file(tmp_path / "vocab.txt")


def test_the_input_is_never_the_output(copy, tmp_path, refused):
    file, texts = copy("x.tflite"), tmp_path / "texts.txt"
    texts.write_text("the dog\n")
    (tmp_path / "link.txt").symlink_to(texts)
    for output in (texts, tmp_path / "link.txt"):
        line = refused("predict", file, "--input", texts, "--output", output, "--overwrite")
        assert "would be replaced" in line
    before, table = file.read_bytes(), tmp_path / "dev.tsv"
    table.write_text(labelled_texts(4, 0).replace("bad\n", "so so\n"))
    options = ["--task", "classification", "--data-dir", tmp_path, "--model", file]
    assert "replaced" in refused("evaluate", *options, "--json", table, "--overwrite")
    assert "replaced" in refused("benchmark", file, "--json", file, "--overwrite")
    assert texts.read_text() == "the dog\n" and file.read_bytes() == before


# Reports


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "int7"},
        {"mode": None},
        {"options": None},
        {"options": {"quantize": "int8", "sequence_length": "long"}},
        {"options": {"quantize": "int8", "calibration_data": 7}},
        {"options": {"quantize": "int8", "calibration_ranges": "widest"}},
        {"options": {"quantize": "int8", "colour": 7}},
        {"sha256": None},
    ],
    ids=str,
)
def test_a_report_that_is_none_of_an_export(copy, refused, changes):
    file = copy("x.tflite")
    report = {"mode": "int8", "options": {"quantize": "int8"}, "sha256": "x"}
    file.with_suffix(".json").write_text(json.dumps(report | changes))
    assert "x.json" in refused("quantization_report", file, "--model", copy("classifier"))


# Disks


def with_file_limit(limit, *arguments):
    """Runs a door whose files may have `limit` bytes each, as with a quota."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


@pytest.mark.parametrize("to", ["mobilebert", "huggingface", "google"])
def test_files_that_may_not_grow(copy, tmp_path, to):
    folder = copy("classifier")
    before = sorted(tmp_path.iterdir())
    ended = with_file_limit(20_000, "mobilebert_tf.convert", folder, tmp_path / "out", "--to", to)
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ") and "File too large" in line and str(tmp_path) in line
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_behind_stdout(copy):
    """One line and exit code 2; at its end Python would say it again, and exit with 120."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mobilebert_tf.predict", str(copy("x.tflite")), "the dog"]
        ended = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("INFO:")]
    assert ended.returncode == 2 and len(lines) == 1 and "No space left" in lines[0]


@pytest.mark.parametrize(
    "labels", [["a", "a"], ["a", " "], ["a", "b\u2028c"], ["a", "x" * 1001], ["a"]], ids=str
)
def test_labels_that_no_file_could_hold(labels):
    with pytest.raises(InputError) as error:
        Head(kind="classifier", labels=labels)
    assert len(str(error.value)) < 200
