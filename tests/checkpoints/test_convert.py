"""What goes through a format and back is what it was: tensors, heads, labels, vocabulary."""

import json
import subprocess
import sys

import numpy as np
import pytest
from support.checkpoints import (
    BERT,
    FIXTURES,
    FORMATS,
    GOOGLE,
    PREFIX,
    STUDENT,
    assert_same_bits,
    assert_same_model,
    copy,
    edit,
    random_model,
    refusal,
    rewrite,
    run,
    tensors,
    weights,
    write_model,
)

from mobilebert_tf import convert as convert_module
from mobilebert_tf import load_model
from mobilebert_tf.cli import door

LABELS = ("no", "yes, sir", "ßo wás")
INPUTS = {"input_ids": [[2, 5, 9, 36, 3, 0]], "input_mask": [[1, 1, 1, 1, 1, 0]]}
INPUTS |= {"segment_ids": [[0, 0, 0, 1, 1, 0]], "masked_lm_positions": [[1, 3]]}


def outputs(model):
    """All but the pooled output."""
    values = {name: np.array(rows, "int32") for name, rows in INPUTS.items() if name in model.input}
    found = model(values, training=False)
    states = {f"state {i}": state for i, state in enumerate(found["hidden_states"])}
    others = {k: x for k, x in found.items() if k != "pooled_output" and not isinstance(x, list)}
    return {name: np.asarray(tensor) for name, tensor in (states | others).items()}


def there_and_back(model, tmp_path, to):
    run(model, tmp_path / "there", to=to)
    return run(tmp_path / "there", tmp_path / "back")


# --- bits ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """Gives a fixture in our format; each is converted once."""
    folder = tmp_path_factory.mktemp("ours")

    def get(name):
        dest = folder / name.replace("/", "-")
        return dest if dest.exists() else run(FIXTURES / name, dest)

    return get


@pytest.mark.parametrize("name", [*GOOGLE, "student/hf", "student_without_opt/hf", "tiny/hf"])
def test_fixture_comes_back_with_equal_bits(tmp_path, ours, name):
    to = "huggingface" if name.endswith("hf") else "google"
    there = run(ours(name), tmp_path / "there", to=to)
    assert_same_bits(tensors(there), tensors(FIXTURES / name))


def test_plain_bert_comes_back_with_equal_bits(tmp_path, ours):
    bert = FIXTURES / "plain_bert" / "hf"
    there = run(ours("plain_bert/hf"), tmp_path / "there", to="huggingface")
    assert_same_bits(tensors(there), tensors(bert))
    google = run(ours("plain_bert/hf"), tmp_path / "google", to="google")
    assert_same_bits(tensors(run(google, tmp_path / "bert", to="huggingface")), tensors(there))


@pytest.mark.parametrize("name", ["student", "student_without_opt", "tiny"])
def test_hugging_faces_own_converter_gives_the_same(tmp_path, ours, name):
    theirs = run(ours(name), tmp_path / "theirs", to="huggingface")
    assert_same_bits(tensors(theirs), tensors(FIXTURES / name / "hf"))
    google = run(ours(f"{name}/hf"), tmp_path / "google", to="google")
    assert_same_bits(tensors(google), tensors(FIXTURES / name))


@pytest.mark.parametrize("name", GOOGLE)
def test_model_garden_comes_back_with_equal_bits(tmp_path, ours, name):
    garden = run(ours(name), tmp_path / "garden", to="model-garden")
    back = run(garden, tmp_path / "back")
    if name in ("tiny", "teacher"):
        again = run(back, tmp_path / "again", to="model-garden")
        assert_same_bits(tensors(again), tensors(garden))
    # Model Garden only splits axes: the bytes are Google's, all but the next sentence head's.
    ours = [t.tobytes() for key, t in tensors(garden).items() if "save_counter" not in key]
    theirs = [t.tobytes() for key, t in tensors(FIXTURES / name).items() if "seq_rel" not in key]
    assert sorted(ours) == sorted(theirs)


def test_teacher_has_no_place_in_hugging_face(tmp_path):
    text = refusal(FIXTURES / "teacher", tmp_path / "x", to="huggingface")
    assert "Hugging Face" in text and "IB-BERT" in text


# --- heads ---------------------------------------------------------------------------------------


def labels_of(head):
    return LABELS if head in ("classifier", "token_classifier") else ()


GOOGLE_HEADS = "encoder pretraining masked_lm next_sentence span classifier regression".split()


@pytest.mark.parametrize(
    "config,head", [(STUDENT, h) for h in GOOGLE_HEADS] + [(BERT, "pretraining"), (BERT, "span")]
)
def test_google_heads(tmp_path, config, head):
    model = write_model(tmp_path / "model", config, head, labels_of(head))
    assert_same_model(there_and_back(model, tmp_path, "google"), model)


def test_names_of_google_heads(tmp_path):
    """As run_squad.py and run_classifier.py name them."""
    held = tensors(run(write_model(tmp_path / "a", head="span"), tmp_path / "b", to="google"))
    assert held["cls/squad/output_weights"].shape == (2, 13)
    assert held["cls/squad/output_bias"].shape == (2,)
    model = write_model(tmp_path / "c", head="classifier", labels=LABELS)
    held = tensors(run(model, tmp_path / "d", to="google"))
    assert held["output_weights"].shape == (3, 13) and held["output_bias"].shape == (3,)
    assert (tmp_path / "d" / "labels.txt").read_text("utf-8").splitlines() == list(LABELS)
    (tmp_path / "d" / "labels.txt").unlink()
    assert list(load_model(run(tmp_path / "d", tmp_path / "e")).head.labels) == ["0", "1", "2"]


@pytest.mark.parametrize("head", ["token_classifier", "multiple_choice"])
def test_heads_that_google_has_not(tmp_path, head):
    model = write_model(tmp_path / "model", head=head, labels=labels_of(head))
    text = refusal(model, tmp_path / "x", to="google")
    assert head in text and "`head` encoder" in text
    run(model, tmp_path / "x", to="google", head="encoder")


@pytest.mark.parametrize("config", [STUDENT, BERT])
@pytest.mark.parametrize(
    "head",
    ["encoder", "pretraining", "next_sentence", "classifier", "regression", "multiple_choice"],
)
def test_hugging_face_heads(tmp_path, config, head):
    model = write_model(tmp_path / "model", config, head, labels_of(head))
    assert_same_model(there_and_back(model, tmp_path, "huggingface"), model)


@pytest.mark.parametrize("config", [STUDENT.replace(classifier_activation=True), BERT])
@pytest.mark.parametrize("head", ["masked_lm", "token_classifier", "span"])
def test_hugging_face_heads_without_a_pooler(tmp_path, config, head):
    model = write_model(tmp_path / "model", config, head, labels_of(head))
    back = load_model(there_and_back(model, tmp_path, "huggingface"))
    assert back.config == config.replace(classifier_activation=False)
    assert back.head.kind == head and list(back.head.labels) == list(labels_of(head))
    original = random_model(config, head, labels_of(head))
    kept = {path: w for path, w in weights(original).items() if not path.startswith("pooler")}
    assert_same_bits(weights(back), kept)
    assert_same_bits(outputs(back), outputs(original))


@pytest.mark.parametrize(
    "config,head,name",
    [
        (STUDENT, "classifier", "MobileBertForSequenceClassification"),
        (BERT, "token_classifier", "BertForTokenClassification"),
        (BERT, "span", "BertForQuestionAnswering"),
    ],
)
def test_hugging_face_names(tmp_path, config, head, name):
    model = write_model(tmp_path / "model", config, head, labels_of(head))
    values = json.loads((run(model, tmp_path / "x", to="huggingface") / "config.json").read_text())
    assert values["architectures"] == [name]
    if labels_of(head):
        assert values["id2label"] == {str(i): label for i, label in enumerate(LABELS)}
        assert values["label2id"] == {label: i for i, label in enumerate(LABELS)}


@pytest.mark.parametrize("head", ["encoder", "masked_lm"])
def test_model_garden_heads(tmp_path, head):
    model = write_model(tmp_path / "model", head=head)
    assert_same_model(there_and_back(model, tmp_path, "model-garden"), model)


def test_what_model_garden_has_no_place_for(tmp_path, capsys):
    model = write_model(tmp_path / "model")
    back = there_and_back(model, tmp_path, "model-garden")
    assert "next_sentence" in capsys.readouterr().out
    assert load_model(back).head.kind == "masked_lm"
    for head in ("classifier", "span", "next_sentence", "multiple_choice"):
        other = write_model(tmp_path / head, head=head, labels=labels_of(head))
        assert head in refusal(other, tmp_path / "x", to="model-garden")


@pytest.mark.parametrize("to,head", [("google", "span"), ("model-garden", "masked_lm")])
def test_settings_that_a_checkpoint_has_no_place_for(tmp_path, capsys, to, head):
    model = write_model(tmp_path / "model", head=head)
    edit(model / "task.json", sequence_length=9, metric="f1", pairs=True)
    run(model, tmp_path / "there", to=to)
    said = "left out, because the destination cannot hold it: sequence_length, metric, pairs"
    assert said in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("to", ["huggingface", "model-garden"])
def test_head_encoder_leaves_the_head_out(tmp_path, capsys, to):
    model = write_model(tmp_path / "model", head="classifier", labels=LABELS)
    run(model, tmp_path / "there", to=to, head="encoder")
    left_out = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert left_out == ["left out, because you want the encoder alone: classifier, labels"]
    back = run(tmp_path / "there", tmp_path / "back")
    assert load_model(back).head.kind == "encoder"
    kept = {path: w for path, w in weights(model).items() if not path.startswith("classifier")}
    assert_same_bits(weights(back), kept)


@pytest.mark.parametrize("theirs,ours", [("gelu", "gelu_erf"), ("gelu_new", "gelu")])
@pytest.mark.parametrize("config", [STUDENT, BERT])
def test_gelu_has_another_meaning_in_hugging_face(tmp_path, config, theirs, ours):
    model = write_model(tmp_path / "model", config.replace(hidden_act=ours), "encoder")
    back = there_and_back(model, tmp_path, "huggingface")
    values = json.loads((tmp_path / "there" / "config.json").read_text())
    assert (values["hidden_act"], load_model(back).config.hidden_act) == (theirs, ours)


# --- files ---------------------------------------------------------------------------------------


def test_training_state_is_skipped_and_counted(tmp_path, ours, capsys):
    source = copy(FIXTURES / "tiny", tmp_path / "google")
    name = "bert/embeddings/word_embeddings"
    more = {"global_step": np.int64(7), f"teacher/{name}": np.ones((3, 2), "float32")}
    more |= {f"{name}/{slot}": np.ones((99, 12), "float32") for slot in ("adam_m", "adam_v")}
    rewrite(source, lambda held: held.update(more))
    run(source, tmp_path / "ours")
    skipped = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped")]
    assert sum(int(line.split()[1]) for line in skipped) == 4
    assert any("2 tensors: optimizer" in line for line in skipped)
    assert_same_model(tmp_path / "ours", ours("tiny"))


def test_auto_tells_every_format_and_another_is_refused(tmp_path, capsys):
    model = write_model(tmp_path / "mobilebert", head="masked_lm")
    for name in FORMATS[1:]:
        run(model, tmp_path / name, to=name)
    for name in FORMATS:
        capsys.readouterr()
        back = run(tmp_path / name, tmp_path / f"{name} back")
        assert f"{name} -> mobilebert" in capsys.readouterr().out
        assert_same_model(back, model)
        for wrong in set(FORMATS) - {name}:
            refusal(tmp_path / name, tmp_path / "x", from_=wrong)


def test_checkpoint_by_its_prefix(tmp_path, ours):
    source = copy(FIXTURES / "tiny", tmp_path / "google")
    for part in source.glob(f"{PREFIX}.*"):
        part.with_name(part.name.replace(PREFIX, "other.ckpt")).write_bytes(part.read_bytes())
    text = refusal(source, tmp_path / "x")
    assert PREFIX in text and "other.ckpt" in text
    for from_ in ("auto", "google"):
        back = run(source / PREFIX, tmp_path / f"by {from_}", from_=from_)
        assert_same_model(back, ours("tiny"))


def test_model_config_in_place_of_a_missing_one(tmp_path, ours):
    source = copy(FIXTURES / "tiny", tmp_path / "google")
    config = (source / "bert_config.json").rename(tmp_path / "mine.json")
    assert "bert_config.json" in refusal(source, tmp_path / "x")
    run(source, tmp_path / "ours", model_config=str(config))
    assert_same_model(tmp_path / "ours", ours("tiny"))


def test_destination_that_does_not_read_back_is_refused(tmp_path, monkeypatch):
    model = write_model(tmp_path / "model")
    save = convert_module.save

    def corrupt(model, tokenizer, directory, name):
        weight = model.get_layer("masked_lm").weights[0]
        kept = weight.numpy()
        weight.assign(kept + (np.arange(kept.size).reshape(kept.shape) == 3) * np.float32(1e-6))
        save(model, tokenizer, directory, name)
        weight.assign(kept)

    monkeypatch.setattr(convert_module, "save", corrupt)
    for to in FORMATS:
        assert to in refusal(model, tmp_path / "x", to=to)


def test_door(tmp_path, capsys, monkeypatch):
    arguments = [str(FIXTURES / "tiny"), str(tmp_path / "x"), "--from", "google"]
    monkeypatch.setattr(sys, "argv", ["convert", *arguments, "--to=huggingface"])
    door(convert_module.convert, convert_module.ConvertConfig, {"source": None, "dest": None})
    printed = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("verified:") for line in printed) == 1
    assert (tmp_path / "x" / "model.safetensors").is_file()


def test_bad_input_is_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "mobilebert_tf.convert", tmp_path / "absent", tmp_path / "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "absent" in done.stderr and list(tmp_path.iterdir()) == []
