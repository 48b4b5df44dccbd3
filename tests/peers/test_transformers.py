"""Hugging Face's own classes load what we write, we load what they write, and both compute the
same. Run by make test-peers; with -s for the table."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from mobilebert_tf import build_model
from mobilebert_tf.checkpoints import formats
from mobilebert_tf.convert import ConvertConfig, convert
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.heads import HEADS
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece

SMALL = dict(vocab_size=97, hidden_size=24, num_hidden_layers=2, num_attention_heads=3)
SMALL |= dict(intermediate_size=13, max_position_embeddings=17, type_vocab_size=2)
STUDENT = SMALL | dict(embedding_size=10, intra_bottleneck_size=12, classifier_activation=True)
VARIANTS = {
    "student": STUDENT | dict(num_feedforward_networks=3),
    "no_pooler": STUDENT | dict(classifier_activation=False, hidden_act="gelu_new"),
    "tiny": STUDENT | dict(use_bottleneck_attention=True, key_query_shared_bottleneck=False),
    "layer_norm": STUDENT | dict(normalization_type="layer_norm", hidden_act="gelu"),
    "full_width": STUDENT | dict(embedding_size=24, trigram_input=False, use_bottleneck=False),
    "bert": SMALL,
}
# Hugging Face builds some of this one's layer norms with epsilon 1e-5 in place of 1e-12.
TOLERANCE = {"layer_norm": 5e-3}
LABELS = ("no", "maybe", "yes")


def their_model(variant, kind):
    family = "Bert" if variant == "bert" else "MobileBert"
    config_class = getattr(transformers, f"{family}Config")
    labels = len(LABELS) if kind.endswith("classifier") else 1 if kind == "regression" else 2
    config = config_class(**VARIANTS[variant], num_labels=labels)
    if kind.endswith("classifier"):
        config.id2label = dict(enumerate(LABELS))
    if kind == "multi_label_classifier":
        config.problem_type = "multi_label_classification"
    torch.manual_seed(7)
    model = getattr(transformers, family + HEADS[kind].huggingface)(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            parameter.copy_(centre + 0.1 * torch.randn(parameter.shape))
    return model


def batch():
    rng = np.random.default_rng(13)
    mask = np.ones((3, 13), np.int32)
    mask[1, 7:] = mask[2, 12:] = 0
    ids = rng.integers(5, 97, (3, 13)).astype(np.int32) * mask
    segments = np.zeros_like(ids)
    segments[:, 5:] = 1
    return {"input_ids": ids, "input_mask": mask, "segment_ids": segments * mask}


def their_outputs(model, kind):
    names = {"input_ids": "input_ids", "attention_mask": "input_mask"}
    names["token_type_ids"] = "segment_ids"
    inputs = {theirs: torch.from_numpy(batch()[ours]).long() for theirs, ours in names.items()}
    if kind == "multiple_choice":
        inputs = {name: tensor[None] for name, tensor in inputs.items()}  # three choices
    with torch.no_grad():
        outputs = model(**inputs, output_hidden_states=True)
    hidden = {f"hidden_states {i}": x.numpy() for i, x in enumerate(outputs.hidden_states)}
    by_class = {
        "encoder": {"pooled_output": "pooler_output", "sequence_output": "last_hidden_state"},
        "pretraining": {"mlm_logits": "prediction_logits", "nsp_logits": "seq_relationship_logits"},
        "masked_lm": {"mlm_logits": "logits"},
        "next_sentence": {"nsp_logits": "logits"},
        "span": {"start_logits": "start_logits", "end_logits": "end_logits"},
    }
    head = "score" if kind in ("regression", "multiple_choice") else "logits"
    named = by_class.get(kind, {head: "logits"})
    found = {ours: getattr(outputs, theirs).numpy() for ours, theirs in named.items()}
    if head == "score":
        found["score"] = found["score"].reshape(-1)
    return hidden | found


def our_outputs(model):
    inputs = batch()
    if model.head.predicts_masks:
        inputs["masked_lm_positions"] = np.tile(np.arange(13, dtype=np.int32), (3, 1))
    outputs = model(inputs, training=False)
    hidden = {f"hidden_states {i}": x for i, x in enumerate(outputs["hidden_states"])}
    return {name: np.asarray(x) for name, x in (hidden | outputs).items() if x is not None}


def disagreement(ours, theirs):
    """The largest difference at real positions over the largest value, of all their outputs."""
    real = batch()["input_mask"].astype(bool)
    errors = {}
    for name, expected in theirs.items():
        actual = ours[name]
        assert actual.shape == expected.shape
        if expected.shape[:2] == real.shape:  # by token
            actual, expected = actual[real], expected[real]
        errors[name] = np.abs(actual - expected).max() / np.abs(expected).max()
    return max(errors.values())


@pytest.mark.parametrize(("pooling", "normalized"), [("mean", True), ("cls", False)])
def test_sentence_embeddings(pooling, normalized, tmp_path):
    """sentence-transformers' recipe, in torch, on the model that transformers reads back."""
    their_model("bert", "encoder").save_pretrained(tmp_path)
    kinds = ["Transformer", "Pooling", *["Normalize"] * normalized]
    modules = [
        {"path": "1_Pooling" if kind == "Pooling" else "", "type": f"sentence_transformers.{kind}"}
        for kind in kinds
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    modes = {f"pooling_mode_{n}": n.startswith(pooling) for n in ("cls_token", "mean_tokens")}
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    tokens = torch.from_numpy(their_outputs(theirs, "encoder")["sequence_output"])
    real = torch.from_numpy(batch()["input_mask"])[..., None].float()
    mean = (tokens * real).sum(1) / real.sum(1).clamp(min=1e-9)
    expected = mean if pooling == "mean" else tokens[:, 0]
    if normalized:
        expected = torch.nn.functional.normalize(expected, p=2, dim=1)
    found = our_outputs(formats.load(tmp_path).model)["embedding"]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


CASES = [(variant, kind) for variant in ("student", "bert") for kind in HEADS]
CASES += [(v, kind) for v in VARIANTS for kind in ("pretraining", "span") if (v, kind) not in CASES]


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_we_load_what_they_write(variant, kind, tmp_path):
    theirs = their_model(variant, kind)
    theirs.save_pretrained(tmp_path)
    ours = formats.load(tmp_path).model
    assert ours.head.kind == kind
    assert ours.head.labels == (LABELS if ours.head.has_labels else ())
    expected = their_outputs(theirs, kind)
    error = disagreement(our_outputs(ours), expected)
    print(f"{variant:12} {kind:18} {error:.1e}")
    assert error <= TOLERANCE.get(variant, 1e-5)


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_they_load_what_we_write(variant, kind, tmp_path):
    theirs = their_model(variant, kind)
    theirs.save_pretrained(tmp_path / "theirs")
    convert(ConvertConfig(str(tmp_path / "theirs"), str(tmp_path / "ours")))
    convert(ConvertConfig(str(tmp_path / "ours"), str(tmp_path / "back"), to="huggingface"))
    before, after = (
        load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "back")
    )
    unused = {name for name in before if "embedding_transformation" in name and name not in after}
    empty = {name for name, tensor in before.items() if not tensor.size}
    assert unused == set() or variant == "full_width"
    assert set(before) - unused - empty == set(after)
    for name, tensor in after.items():
        assert tensor.dtype == before[name].dtype and (tensor == before[name]).all(), name
    loaded, info = type(theirs).from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not info["unexpected_keys"] and not info["mismatched_keys"]
    assert {name for name in info["missing_keys"] if "decoder" not in name} <= unused | empty
    expected, actual = their_outputs(theirs, kind), their_outputs(loaded.eval(), kind)
    for name, values in expected.items():
        np.testing.assert_allclose(actual[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("config", ["test-student", "test-teacher"])
def test_fresh_models_of_ours(config, tmp_path):
    model = build_model(config, "classifier", LABELS)
    if config == "test-teacher":
        with pytest.raises(InputError, match="cannot hold an IB-BERT"):
            formats.save(model, None, tmp_path, "huggingface")
        return
    formats.save(model, None, tmp_path, "huggingface")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert theirs.config.id2label == dict(enumerate(LABELS))
    assert disagreement(our_outputs(model), their_outputs(theirs, "classifier")) <= 1e-5


VOCABULARY = [*SPECIAL_TOKENS, *"abcdefghij,.!", "##a", "##b", "bad", "##e", "Ä", "c\u0327"]
TEXTS = ["bad, bade!", "B\u00c4D a\u0301bade \u4e2dab", "", "[MASK] a.b", "\u200bab\ufffd"]


@pytest.mark.parametrize("lower_case", [True, False])
def test_their_tokenizers_read_our_files(lower_case, tmp_path):
    tokenizer = WordPiece(VOCABULARY, lower_case)
    model = build_model("test-student", "masked_lm")
    formats.save(model, tokenizer, tmp_path, "huggingface")
    expected = tokenizer.encode(TEXTS, special_tokens=True, sequence_length=20)
    for fast in (True, False):
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, use_fast=fast)
        assert "MobileBert" in type(theirs).__name__
        encoded = theirs(TEXTS, padding="max_length", max_length=20)
        np.testing.assert_array_equal(encoded["input_ids"], expected["input_ids"])
        pairs = theirs(TEXTS[0], TEXTS[1], padding="max_length", max_length=20)
        ours = tokenizer.encode(TEXTS[:1], TEXTS[1:2], sequence_length=20)
        np.testing.assert_array_equal([pairs["token_type_ids"]], ours["segment_ids"])
        assert theirs.model_max_length == 37
    theirs.save_pretrained(tmp_path / "again")
    (tmp_path / "again" / "config.json").write_text((tmp_path / "config.json").read_text())
    again = formats.load_tokenizer_files(tmp_path / "again")
    assert (again.vocabulary, again.lower_case) == (VOCABULARY, lower_case)


def test_pickles_are_read_without_running_them(tmp_path):
    theirs = their_model("student", "span")
    theirs.save_pretrained(tmp_path / "safe")
    theirs.save_pretrained(tmp_path / "pickle", safe_serialization=False)
    assert (tmp_path / "pickle" / "pytorch_model.bin").is_file()
    safe, pickled = (formats.load(tmp_path / name).model for name in ("safe", "pickle"))
    for a, b in zip(safe.weights, pickled.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    old = torch.load(tmp_path / "pickle" / "pytorch_model.bin", weights_only=True)
    torch.save(old, tmp_path / "pickle" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    formats.load(tmp_path / "pickle")  # as files of 2020 are


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_pickle_that_runs_code_is_refused(tmp_path):
    their_model("student", "span").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"x": Attack(str(tmp_path / "ran"))}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="not only weights") as error:
        formats.load(tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "ran").exists()


def test_convert_runs_transformers_where_it_is(tmp_path, capsys):
    their_model("bert", "pretraining").save_pretrained(tmp_path / "bert")
    convert(ConvertConfig(str(tmp_path / "bert"), str(tmp_path / "back"), to="huggingface"))
    said = capsys.readouterr().out
    assert "transformers agrees on the source" in said
    assert "transformers agrees on the destination" in said
