"""Every output equals what Google's TF1 code and Hugging Face's BERT compute from equal weights.

The values are in data/fixtures; its README says how they were made. Run with -s for the table.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from mobilebert_tf.checkpoints import formats, google
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import load_model_config
from mobilebert_tf.modeling.heads import Head

FIXTURES = Path(__file__).parents[1] / "data" / "fixtures"
GOOGLE = ("student", "student_without_opt", "tiny", "teacher")
INPUTS = ("input_ids", "input_mask", "segment_ids", "masked_lm_positions")
PREFIX = "mobilebert_variables.ckpt"
# Of the largest value, by fixture and format. Hugging Face's gelu is another function, and some of
# its layer norms have another epsilon: what its files say of a LayerNorm student is that far off.
TOLERANCE = {(name, "google"): 1e-5 for name in GOOGLE} | {
    ("student", "huggingface"): 1e-5,
    ("tiny", "huggingface"): 1e-5,
    ("plain_bert", "huggingface"): 1e-5,
    ("student_without_opt", "huggingface"): 5e-3,
}


def load(path):
    return formats.load(path).model


def relative_error(actual, expected):
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def log_softmax(x):
    x = x.astype("float64")
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def errors(outputs, reference):
    """{output: largest relative error}, at real positions."""
    real = reference["input_mask"].astype(bool)
    states = [np.asarray(state) for state in outputs["hidden_states"]]
    assert len(states) == len(reference["hidden_states"])
    found = {
        f"hidden_states[{i}]": relative_error(ours[real], theirs[real])
        for i, (ours, theirs) in enumerate(zip(states, reference["hidden_states"], strict=True))
    }
    if "embedding_output" in reference:
        found["embedding_output"] = relative_error(
            states[0][real], reference["embedding_output"][real]
        )
    found |= attention_errors(outputs, reference, real)
    ours = np.asarray(outputs["sequence_output"])
    found["sequence_output"] = relative_error(ours[real], reference["sequence_output"][real])
    if "pooled_output" in reference:
        found["pooled_output"] = relative_error(
            np.asarray(outputs["pooled_output"]), reference["pooled_output"]
        )
    found["mlm_logits"] = relative_error(np.asarray(outputs["mlm_logits"]), reference["mlm_logits"])
    nsp = np.asarray(outputs["nsp_logits"])
    key = "nsp_logits" if "nsp_logits" in reference else "nsp_log_probs"
    found[key] = relative_error(nsp if key == "nsp_logits" else log_softmax(nsp), reference[key])
    return found


def attention_errors(outputs, reference, real):
    """Queries and keys both real: the scores of padded keys, near -10000, would hide errors."""
    key = "attention_scores" if "attention_scores" in reference else "attention_probs"
    pairs = real[:, None, :, None] & real[:, None, None, :]
    found = {}
    for index, expected in enumerate(reference[key]):
        ours = np.asarray(outputs["attention_scores"][index])
        if key == "attention_probs":
            ours = np.exp(log_softmax(ours - ours.max(-1, keepdims=True)))
        at = np.broadcast_to(pairs, ours.shape)
        found[f"{key}[{index}]"] = relative_error(ours[at], expected[at])
    return found


@pytest.mark.parametrize(("name", "kind"), TOLERANCE)
def test_every_output_equals_the_reference(name, kind):
    model = load(FIXTURES / name / ("hf" if kind == "huggingface" else ""))
    reference = dict(np.load(FIXTURES / name / "reference.npz"))
    outputs = model({key: reference[key] for key in INPUTS}, training=False)
    found = errors(outputs, reference)
    for key, error in found.items():
        print(f"{name:20} {kind:12} {key:20} {error:.1e}")
    compared = {key.partition("[")[0] for key in found}
    assert compared == set(reference) - set(INPUTS)  # nothing is left out
    assert max(found.values()) <= TOLERANCE[name, kind], found


# --- checkpoints that do not fit -----------------------------------------------------------------


@pytest.fixture(scope="module")
def tensors():
    """Of the smallest model, its first block only: fast."""
    reader = tf.train.load_checkpoint(str(FIXTURES / "tiny" / PREFIX))
    names = reader.get_variable_to_shape_map()
    above = ("bert/encoder/layer_1/", "bert/encoder/layer_2/")
    return {name: reader.get_tensor(name) for name in names if not name.startswith(above)}


def write_checkpoint(directory, tensors, **config):
    values = json.loads((FIXTURES / "tiny" / "bert_config.json").read_text())
    values |= {"num_hidden_layers": 1} | config
    (directory / "bert_config.json").write_text(json.dumps(values))
    tf.raw_ops.SaveV2(
        prefix=str(directory / PREFIX),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(tensor) for tensor in tensors.values()],
    )
    return directory


def message(directory):
    with pytest.raises(InputError) as error:
        load(directory)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", GOOGLE)
def test_name_table_names_every_tensor_once(name):
    reader = tf.train.load_checkpoint(str(FIXTURES / name / PREFIX))
    config = load_model_config(FIXTURES / name / "bert_config.json")
    table = google.name_table(config, Head("pretraining"))
    theirs = [entry.theirs for entry in table]
    assert sorted(theirs) == sorted(reader.get_variable_to_shape_map())
    assert len({entry.ours for entry in table}) == len(table)


def test_training_state_and_teacher_are_ignored(tmp_path, tensors):
    name = "bert/embeddings/word_embeddings"
    more = {"global_step": np.int64(7), f"teacher/{name}": np.ones((3, 2), "float32")}
    more |= {f"{name}/{slot}": np.ones_like(tensors[name]) for slot in ("adam_m", "adam_v")}
    model = load(write_checkpoint(tmp_path, tensors | more))
    ours = model.get_layer("embeddings").word_embeddings
    np.testing.assert_array_equal(ours.numpy(), tensors[name])


def test_checkpoint_without_heads_is_an_encoder(tmp_path, tensors):
    encoder = {name: x for name, x in tensors.items() if not name.startswith("cls/")}
    model = load(write_checkpoint(tmp_path, encoder))
    assert "mlm_logits" not in model.output and model.head.kind == "encoder"


def test_missing_tensors_are_all_listed(tmp_path, tensors):
    gone = ["bert/embeddings/word_embeddings", "cls/seq_relationship/output_bias"]
    kept = {name: x for name, x in tensors.items() if name not in gone}
    text = message(write_checkpoint(tmp_path, kept))
    assert all(f"{name} is missing" in text for name in gone) and str(tmp_path) in text
    assert text.count("is missing") == 2 and "left over" not in text


def test_left_over_tensors_are_all_listed(tmp_path, tensors):
    more = {name: np.ones(3, "float32") for name in ("bert/encoder/layer_9/x", "cls/squad/y")}
    text = message(write_checkpoint(tmp_path, tensors | more))
    assert all(f"{name} is left over" in text for name in more)
    assert text.count("left over") == 2 and "missing" not in text


def test_misshapen_tensors_are_all_listed(tmp_path, tensors):
    wrong = {
        "cls/predictions/output_bias": np.ones(7, "float32"),
        "bert/embeddings/position_embeddings": np.ones((13, 48), "float32"),
    }
    text = message(write_checkpoint(tmp_path, tensors | wrong))
    assert "cls/predictions/output_bias has shape (7,), the config says (99,)" in text
    assert "bert/embeddings/position_embeddings has shape (13, 48)" in text


def test_transposed_matrix_is_named_by_its_own_shape(tmp_path, tensors):
    name = "cls/seq_relationship/output_weights"  # Google keeps it as [2, H]
    text = message(write_checkpoint(tmp_path, tensors | {name: tensors[name].T}))
    assert f"{name} has shape" in text


def test_config_of_another_model(tmp_path, tensors):
    text = message(
        write_checkpoint(tmp_path, tensors, num_hidden_layers=2, normalization_type="layer_norm")
    )
    assert "bert/encoder/layer_1/attention/self/query/kernel is missing" in text
    assert "bert/embeddings/LayerNorm/gamma is missing" in text
    assert "bert/embeddings/FakeLayerNorm/gamma is left over" in text


def test_truncated_index(tmp_path, tensors):
    path = write_checkpoint(tmp_path, tensors) / f"{PREFIX}.index"
    path.write_bytes(path.read_bytes()[:-7])
    assert PREFIX in message(tmp_path)


@pytest.mark.parametrize("damage", [lambda d: d[: len(d) // 2], lambda d: b"\xff" * len(d)])
def test_damaged_data(tmp_path, tensors, damage):
    path = write_checkpoint(tmp_path, tensors) / f"{PREFIX}.data-00000-of-00001"
    path.write_bytes(damage(path.read_bytes()))
    assert PREFIX in message(tmp_path)


def test_index_without_data(tmp_path, tensors):
    (write_checkpoint(tmp_path, tensors) / f"{PREFIX}.data-00000-of-00001").unlink()
    assert PREFIX in message(tmp_path)


def test_no_checkpoint_or_no_config(tmp_path, tensors):
    assert "no checkpoint" in message(tmp_path)
    assert "does not exist" in message(tmp_path / "absent")
    (write_checkpoint(tmp_path, tensors) / "bert_config.json").unlink()
    assert "bert_config.json" in message(tmp_path)


# --- Hugging Face files that do not fit ----------------------------------------------------------


@pytest.fixture
def bert(tmp_path):
    """Its first block only: fast."""
    folder = Path(shutil.copytree(FIXTURES / "plain_bert" / "hf", tmp_path / "bert"))
    edit(folder, num_hidden_layers=1)
    weights = load_file(folder / "model.safetensors")
    above = ("bert.encoder.layer.1.", "bert.encoder.layer.2.")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(above)}
    save_file(kept, folder / "model.safetensors")
    return folder


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_hugging_face_tensors_that_do_not_fit_are_all_listed(bert):
    path = bert / "model.safetensors"
    weights = load_file(path)
    del weights["bert.pooler.dense.bias"], weights["cls.predictions.bias"]
    weights["bert.foo"] = np.ones(3, "float32")
    weights["bert.embeddings.position_embeddings.weight"] = np.ones((7, 36), "float32")
    save_file(weights, path)
    text = message(bert)
    for part in [
        "bert.pooler.dense.bias is missing",
        "cls.predictions.bias is missing",
        "bert.foo is left over",
        "bert.embeddings.position_embeddings.weight has shape (7, 36)",
    ]:
        assert part in text


@pytest.mark.parametrize("damage", [lambda d: d[:-7], lambda d: b"", lambda d: b"x" * 99])
def test_hugging_face_file_damaged(bert, damage):
    path = bert / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert "model.safetensors is damaged" in message(bert)


def test_hugging_face_folder_that_is_none(bert):
    (bert / "model.safetensors").unlink()
    assert "model.safetensors" in message(bert)
    edit(bert, model_type="gpt2")
    assert "gpt2" in message(bert)
    (bert / "config.json").write_text("{")
    assert "config.json" in message(bert)
    (bert / "config.json").unlink()
    assert "config.json" in message(bert)


def test_hugging_face_config_that_is_a_list(bert):
    (bert / "config.json").write_text("[]")
    assert "config.json" in message(bert)


@pytest.mark.parametrize(
    "changes", [{"layer_norm_eps": 1e-3}, {"position_embedding_type": "relative_key"}]
)
def test_hugging_face_settings_that_we_do_not_have(bert, changes):
    edit(bert, **changes)
    assert next(iter(changes)) in message(bert)


def test_hugging_face_norms_called_gamma_and_beta(bert):
    path = bert / "model.safetensors"
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    weights = {}
    for name, tensor in load_file(path).items():
        for ours, old in names.items():
            name = name.replace(ours, old)
        weights[name] = tensor
    save_file(weights, path)
    load(bert)
