"""Hugging Face's files as others write them: shards, pickles, other names, other settings."""

import json
import os
import pickle
import shutil
import sys
import types
import zipfile
from importlib.machinery import ModuleSpec

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.checkpoints import (
    BERT,
    assert_same_bits,
    assert_same_model,
    edit,
    refusal,
    rewrite,
    run,
    tensors,
    weights,
    write_model,
)

from mobilebert_tf import load_model

SAFETENSORS = "model.safetensors"


def split(folder):
    """The weights in two shards."""
    held = tensors(folder)
    names = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(held)}
    for file in set(names.values()):
        save_file({n: t for n, t in held.items() if names[n] == file}, folder / file)
    (folder / SAFETENSORS).unlink()
    index = folder / f"{SAFETENSORS}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return index


def test_shards(every_format, copy_of, destination):
    split(copy_of("huggingface"))
    run(destination.parent.parent / "huggingface", destination)
    assert_same_model(destination, every_format / "mobilebert")


def test_shards_that_are_none(copy_of, destination, tmp_path):
    index = split(copy_of("huggingface"))
    text = index.read_text()
    shutil.move(index.parent / "model-00002-of-00002.safetensors", tmp_path / "x")
    assert "model-00002-of-00002.safetensors" in refusal(index.parent, destination)
    index.write_text(text.replace("model-00002-of-00002.safetensors", "../x"))
    assert "../x" in refusal(index.parent, destination)
    index.write_text(text.replace("model-00002-of-00002.safetensors", str(tmp_path / "x")))
    refusal(index.parent, destination)
    for damaged in ("", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', text[:-9]):
        index.write_text(damaged)
        refusal(index.parent, destination)


class Harmful:
    """A pickle that makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("compression", [None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_pickle_is_not_executed(copy_of, destination, tmp_path, compression):
    folder = copy_of("bert")
    (folder / SAFETENSORS).unlink()
    harmful = pickle.dumps({"a": Harmful(tmp_path / "harm")})
    path = folder / "pytorch_model.bin"
    path.write_bytes(harmful)
    if compression is not None:
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("archive/data.pkl", harmful)
    text = refusal(folder, destination)
    assert not (tmp_path / "harm").exists()
    assert "pytorch_model.bin" in text
    if compression == zipfile.ZIP_DEFLATED:
        assert "compressed" in text
    else:
        saved_by = "BertForPreTraining.from_pretrained"  # AutoModel would drop the head
        assert saved_by in text or "only weights" in text  # without torch, with it


def test_float16(copy_of, destination):
    folder = copy_of("bert")
    held = {name: tensor.astype("float16") for name, tensor in tensors(folder).items()}
    save_file(held, folder / SAFETENSORS)
    run(folder, destination)
    run(destination, destination.with_name("back"), to="huggingface")
    expected = {name: tensor.astype("float32") for name, tensor in held.items()}
    assert_same_bits(tensors(destination.with_name("back")), expected)


def old_norms(held):
    for name in [name for name in held if "LayerNorm" in name]:
        other = name.replace(".weight", ".gamma").replace(".bias", ".beta")
        held[other] = held.pop(name)


def tied(held):
    words = next(name for name in held if "word_embeddings" in name)
    held["cls.predictions.decoder.weight"] = held[words].copy()
    held["cls.predictions.decoder.bias"] = held["cls.predictions.bias"].copy()


def position_ids(held):
    words = next(name for name in held if "word_embeddings" in name)
    name = words.replace("word_embeddings.weight", "position_ids")
    held[name] = np.arange(17)[None]


def fit_dense(held):
    """TinyBERT's, left over from its distillation."""
    held["fit_dense.weight"], held["fit_dense.bias"] = np.ones((5, 14)), np.ones(5)


@pytest.mark.parametrize("change", [old_norms, tied, position_ids, fit_dense])
@pytest.mark.parametrize("name", ["bert", "huggingface"])
def test_names_of_other_times(every_format, copy_of, destination, change, name):
    folder = copy_of(name)
    rewrite(folder, change)
    ours = every_format / {"bert": "ours", "huggingface": "mobilebert"}[name]
    assert_same_model(run(folder, destination), ours)


@pytest.mark.parametrize("name", ["bert", "huggingface"])
def test_config_without_model_type(every_format, copy_of, destination, name):
    """Of 2019: the tensors tell."""
    folder = copy_of(name)
    path = folder / "config.json"
    values = json.loads(path.read_text())
    for key in ("model_type", "architectures"):
        del values[key]
    path.write_text(json.dumps(values))
    ours = every_format / {"bert": "ours", "huggingface": "mobilebert"}[name]
    assert_same_model(run(folder, destination), ours)
    rewrite(folder, lambda held: held.update({f"x.{n}": held.pop(n) for n in list(held)}))
    assert "model_type is None" in refusal(folder, destination.with_name("other"))


@pytest.mark.parametrize("name", ["bert", "huggingface"])
def test_sentence_model(every_format, copy_of, destination, name):
    """Of the bare class, whose names have no prefix."""
    folder = copy_of(name)
    family, prefix = ("Bert", "bert.") if name == "bert" else ("MobileBert", "mobilebert.")
    held = {n.removeprefix(prefix): t for n, t in tensors(folder).items() if prefix in n}
    save_file(held, folder / SAFETENSORS)
    for architectures in ([f"{family}Model"], None):
        edit(folder / "config.json", architectures=architectures)
        model = load_model(run(folder, destination, overwrite=True))
        assert model.head.kind == "encoder"
        ours = weights(every_format / {"bert": "ours", "huggingface": "mobilebert"}[name])
        assert_same_bits(weights(model), {path: ours[path] for path in weights(model)})


@pytest.mark.parametrize("name", ["decoder.weight", "decoder.bias"])
def test_untied_output(copy_of, destination, name):
    def untie(held):
        tied(held)
        held[f"cls.predictions.{name}"][3] += 1e-6

    rewrite(folder := copy_of("bert"), untie)
    assert f"cls.predictions.{name}" in refusal(folder, destination)


def test_a_problem_of_many_labels_is_a_head_of_its_own(destination, tmp_path):
    labels, thresholds = ("joy", "anger", "fear"), [0.25, 0.5, 1.0]
    model = write_model(tmp_path / "model", BERT, "multi_label_classifier", labels)
    edit(model / "task.json", thresholds=thresholds)
    folder = run(model, tmp_path / "theirs", to="huggingface")
    config = json.loads((folder / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["thresholds"] == thresholds and config["id2label"]["1"] == "anger"
    assert_same_model(run(folder, tmp_path / "back"), model)
    for wrong in ([0.5, 0.5], [0.5, 0.5, 2], "0.5", ["a", 0.5, 0.5]):
        edit(folder / "config.json", thresholds=wrong)
        (tmp_path / "out").mkdir(exist_ok=True)
        assert "thresholds" in refusal(folder, destination)
    edit(folder / "config.json", thresholds=None)  # as everybody else's folders
    head = load_model(run(folder, tmp_path / "others")).head
    assert (head.kind, len(head.thresholds)) == ("multi_label_classifier", 0)
    edit(folder / "config.json", problem_type="single_label_classification")
    assert load_model(run(folder, tmp_path / "single")).head.kind == "classifier"
    message = refusal(model, destination, to="google")
    assert "Google's code has no multi_label_classifier head" in message


def test_a_regression_of_many_numbers_is_no_classifier(destination, tmp_path):
    model = write_model(tmp_path / "model", BERT, "classifier", ("valence", "arousal", "dominance"))
    folder = run(model, tmp_path / "theirs", to="huggingface")
    edit(folder / "config.json", problem_type="regression")
    destination.parent.mkdir()
    said = refusal(folder, destination)
    assert "regression of 3 numbers" in said and "`head` encoder" in said
    assert load_model(run(folder, destination, head="encoder")).head.kind == "encoder"


SETTINGS = {"sequence_length": 9, "metric": "f1", "pairs": True}


@pytest.mark.parametrize("pairs", [True, False])
def test_settings_of_a_head_come_back(tmp_path, pairs):
    model = write_model(tmp_path / "model", BERT, "classifier", ("no", "yes"))
    edit(model / "task.json", **SETTINGS | {"pairs": pairs})
    there = run(model, tmp_path / "there", to="huggingface")
    assert_same_model(run(there, tmp_path / "back"), model)


def test_length_of_a_span_model_comes_back(tmp_path):
    model = write_model(tmp_path / "model", head="span")
    there = run(model, tmp_path / "plain", to="huggingface")
    assert not SETTINGS.keys() & json.loads((there / "config.json").read_text()).keys()
    edit(model / "task.json", sequence_length=9, metric="f1")
    there = run(model, tmp_path / "there", to="huggingface")
    head = load_model(run(there, tmp_path / "back")).head
    assert (head.kind, head.sequence_length, head.metric) == ("span", 9, "f1")


def test_settings_of_a_head_that_are_none(tmp_path, destination):
    model = write_model(tmp_path / "model", BERT, "classifier", ("no", "yes"))
    folder = run(model, tmp_path / "theirs", to="huggingface")
    destination.parent.mkdir()
    for key, wrong in (("sequence_length", 2), ("sequence_length", "9"), ("pairs", 1)):
        edit(folder / "config.json", **{key: wrong})
        assert f"config.json: {key} is " in refusal(folder, destination)
        edit(folder / "config.json", **{key: None})
    edit(folder / "config.json", joiners=["-"], thresholds=[0.5])  # of a head trained before
    assert load_model(run(folder, destination)).head.thresholds == []


@pytest.mark.parametrize(
    "key,value",
    [
        ("layer_norm_eps", 1e-3),
        ("position_embedding_type", "relative_key"),
        ("tie_word_embeddings", False),
        ("is_decoder", True),
        ("hidden_act", "silu"),
        ("hidden_act", ["gelu"]),
        ("model_type", "gpt2"),
        ("model_type", ["bert"]),
        ("architectures", ["BertLMHeadModel"]),
        ("hidden_size", "14"),
        ("id2label", ["a", "b"]),
    ],
)
def test_settings_that_we_lack(copy_of, destination, tmp_path, key, value):
    if key == "id2label":
        model = write_model(tmp_path / "model", BERT, "classifier", ("a", "b"))
        folder = run(model, tmp_path / "labelled", to="huggingface")
    else:
        folder = copy_of("bert")
    edit(folder / "config.json", **{key: value})
    assert key in refusal(folder, destination)


def stand_in(monkeypatch, name, **members):
    """Installs a module for the time of a test."""
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


class CannotLoad:
    """transformers' AutoModel in front of a folder without model_type."""

    @staticmethod
    def from_pretrained(directory, local_files_only):
        raise ValueError("Unrecognized model.\nShould have a `model_type` key")


def test_a_library_that_cannot_load_spoils_no_conversion(tmp_path, monkeypatch, capsys):
    stand_in(monkeypatch, "torch")
    stand_in(monkeypatch, "transformers", AutoModel=CannotLoad)
    model = write_model(tmp_path / "model", head="encoder")
    assert (run(model, tmp_path / "there", to="huggingface") / SAFETENSORS).is_file()
    printed = capsys.readouterr().out.splitlines()
    assert "not compared with transformers: Unrecognized model." in printed
    assert "bit for bit" in printed[-1] and "agrees" not in printed[-1]


def test_joiners_that_are_no_list_of_texts(destination, tmp_path):
    model = write_model(tmp_path / "model", BERT, "token_classifier", ("O", "B-x"))
    folder = run(model, tmp_path / "theirs", to="huggingface")
    for wrong in ("x-x", [1]):
        edit(folder / "config.json", joiners=wrong)
        assert "joiners" in refusal(folder, destination)
    edit(folder / "config.json", joiners=["x-x"])
    assert list(load_model(run(folder, tmp_path / "back")).head.joiners) == ["x-x"]
