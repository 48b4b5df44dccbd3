"""BERT's relatives: DistilBERT and ELECTRA become the BERTs that they are, others are refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.checkpoints import (
    BERT,
    PIECES,
    edit,
    random_model,
    refusal,
    rewrite,
    run,
    tensors,
    weights,
)

from mobilebert_tf import Pipeline, load_model
from mobilebert_tf.checkpoints import formats
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.text.tokenizer import WordPiece

TOKENIZER = WordPiece(PIECES)
DISTILBERT = {
    "model_type": "distilbert",
    "vocab_size": 37,
    "dim": 14,
    "n_layers": 1,
    "n_heads": 2,
    "hidden_dim": 11,
    "max_position_embeddings": 17,
    "activation": "gelu",
    "dropout": 0.2,
    "attention_dropout": 0.3,
    "sinusoidal_pos_embds": False,
}
ELECTRA = {
    "model_type": "electra",
    "vocab_size": 37,
    "embedding_size": 14,
    "hidden_size": 14,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 11,
    "max_position_embeddings": 17,
    "hidden_act": "gelu",
    "summary_type": "first",
}
# {path in our model: the layer's name in a DistilBERT}
DISTILBERT_LAYERS = {
    "embeddings/norm": "distilbert.embeddings.LayerNorm",
    "block_0/attention/query": "distilbert.transformer.layer.0.attention.q_lin",
    "block_0/attention/key": "distilbert.transformer.layer.0.attention.k_lin",
    "block_0/attention/value": "distilbert.transformer.layer.0.attention.v_lin",
    "block_0/attention/output/dense": "distilbert.transformer.layer.0.attention.out_lin",
    "block_0/attention/output/norm": "distilbert.transformer.layer.0.sa_layer_norm",
    "block_0/feed_forward_0/intermediate": "distilbert.transformer.layer.0.ffn.lin1",
    "block_0/feed_forward_0/output/dense": "distilbert.transformer.layer.0.ffn.lin2",
    "block_0/feed_forward_0/output/norm": "distilbert.transformer.layer.0.output_layer_norm",
    "masked_lm/transform": "vocab_transform",
    "masked_lm/norm": "vocab_layer_norm",
    "span": "qa_outputs",
    "classifier": "classifier",
}
HEADS = {
    "encoder": "Model",
    "span": "ForQuestionAnswering",
    "token_classifier": "ForTokenClassification",
    "masked_lm": "ForMaskedLM",
}


def bert(kind, segments=1):
    """A BERT without a pooler; of one segment, with zeros for it."""
    labels = ("O", "B-x", "I-x") if kind == "token_classifier" else ()
    changes = dict(classifier_activation=False, type_vocab_size=segments, hidden_act="gelu_erf")
    config = BERT.replace(**changes)
    model = random_model(config, kind, labels)
    if segments == 1:
        for weight in model.weights:
            if weight.path == "embeddings/token_type_embeddings":
                weight.assign(np.zeros(weight.shape))
    return model


def write_folder(folder, values, architecture, held, model):
    folder.mkdir()
    names = {str(i): label for i, label in enumerate(model.head.labels)}
    values = values | {"architectures": [architecture], "id2label": names}
    (folder / "config.json").write_text(json.dumps(values))
    save_file({n: np.ascontiguousarray(t) for n, t in held.items()}, folder / "model.safetensors")
    TOKENIZER.save_files(folder)
    return folder


def write_distilbert(folder, kind):
    model, held = bert(kind), {}
    for path, value in weights(model).items():
        layer, _, name = path.rpartition("/")
        if path == "masked_lm/output_bias":
            held["vocab_projector.bias"] = value
        elif path == "embeddings/word_embeddings" and kind == "masked_lm":
            held["distilbert.embeddings.word_embeddings.weight"] = value
            held["vocab_projector.weight"] = value.copy()
        elif path.startswith("embeddings/") and layer == "embeddings":
            held[f"distilbert.embeddings.{name}.weight"] = value
        else:
            their_name = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(name, name)
            their_value = value.T if name == "kernel" else value
            held[f"{DISTILBERT_LAYERS[layer]}.{their_name}"] = their_value
    del held["distilbert.embeddings.token_type_embeddings.weight"]
    architecture = f"DistilBert{HEADS[kind]}"
    if kind == "encoder":  # the bare class, whose names have no prefix
        held = {name.removeprefix("distilbert."): t for name, t in held.items()}
    return model, write_folder(folder, DISTILBERT, architecture, held, model)


def write_electra(folder, kind, tmp_path):
    model = bert(kind, segments=2)
    (tmp_path / "bert").mkdir()
    formats.save(model, TOKENIZER, tmp_path / "bert", "huggingface")
    held = {n.replace("bert.", "electra.", 1): t for n, t in tensors(tmp_path / "bert").items()}
    return model, write_folder(folder, ELECTRA, f"Electra{HEADS[kind]}", held, model)


def assert_same(model, expected):
    assert model.head.kind == expected.head.kind
    assert list(model.head.labels) == list(expected.head.labels)
    ours, theirs = weights(model), weights(expected)
    assert ours.keys() == theirs.keys()
    for path, value in theirs.items():
        np.testing.assert_array_equal(ours[path], value, err_msg=path)


@pytest.mark.parametrize("kind", HEADS)
def test_distilbert_is_a_bert_without_segments(tmp_path, kind):
    expected, folder = write_distilbert(tmp_path / "distilbert", kind)
    (tmp_path / "out").mkdir()
    ours = run(folder, tmp_path / "out" / "ours")
    model = load_model(ours)
    assert_same(model, expected)
    assert model.config.replace(initializer_range=0.02) == expected.config.replace(
        hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.3
    )
    back = run(ours, tmp_path / "out" / "back", to="huggingface")  # as a BERT
    assert json.loads((back / "config.json").read_text())["model_type"] == "bert"
    assert_same(load_model(run(back, tmp_path / "out" / "again")), expected)


def test_distilbert_answers_questions_as_a_bert(tmp_path):
    expected, folder = write_distilbert(tmp_path / "distilbert", "span")
    arrays = TOKENIZER.encode(["a b"], ["c d e f"])
    model = load_model(run(folder, tmp_path / "ours"))
    for name in ("start_logits", "end_logits"):
        np.testing.assert_array_equal(model(arrays)[name], expected(arrays)[name])
    assert Pipeline(folder)("a b", "c d e f").answer


@pytest.mark.parametrize("kind", ["encoder", "span", "token_classifier"])
def test_electra_of_one_width_is_a_bert_without_pooler(tmp_path, kind):
    expected, folder = write_electra(tmp_path / "electra", kind, tmp_path)
    model = load_model(run(folder, tmp_path / "ours"))
    assert_same(model, expected)
    assert model.config == expected.config


def test_electra_of_two_widths_is_refused(tmp_path):
    _, folder = write_electra(tmp_path / "electra", "encoder", tmp_path)
    edit(folder / "config.json", embedding_size=8)
    assert "norms them before it widens them" in refusal(folder, tmp_path / "ours")


@pytest.mark.parametrize(
    ("family", "architecture", "names"),
    [
        (
            "distilbert",
            "DistilBertForSequenceClassification",
            {"pre_classifier.weight": (14, 14), "classifier.bias": (2,)},
        ),
        ("electra", "ElectraForSequenceClassification", {"classifier.out_proj.bias": (2,)}),
        ("electra", "ElectraForPreTraining", {"discriminator_predictions.dense.bias": (14,)}),
        ("electra", "ElectraForMaskedLM", {"generator_lm_head.bias": (37,)}),
        ("bert", "BertForSomethingElse", {"other.bias": (3,)}),
    ],
)
def test_other_heads_are_refused_unless_left_out(tmp_path, capsys, family, architecture, names):
    if family == "distilbert":
        expected, folder = write_distilbert(tmp_path / "model", "encoder")
        rewrite(folder, lambda held: held.update({f"distilbert.{n}": held.pop(n) for n in [*held]}))
    else:
        expected, folder = write_electra(tmp_path / "model", "span", tmp_path)
        rewrite(folder, lambda held: [held.pop(f"qa_outputs.{n}") for n in ("weight", "bias")])
    if family == "bert":
        rewrite(
            folder,
            lambda held: held.update({n.replace("electra", "bert"): held.pop(n) for n in [*held]}),
        )
    rewrite(folder, lambda held: held.update({n: np.ones(s, "f") for n, s in names.items()}))
    edit(folder / "config.json", architectures=[architecture], model_type=family)
    said = refusal(folder, tmp_path / "ours")
    assert architecture in said and "`head` encoder" in said
    capsys.readouterr()
    model = load_model(run(folder, tmp_path / "ours", head="encoder"))
    assert f"skipped {len(names)} tensors: of the head" in capsys.readouterr().out
    reduced = MobileBert(expected.config)
    found = weights(model)
    assert found.keys() == weights(reduced).keys()
    for path, value in weights(expected).items():
        if path in found:
            np.testing.assert_array_equal(found[path], value)


def test_without_model_type_the_tensors_tell(tmp_path):
    expected, folder = write_distilbert(tmp_path / "distilbert", "span")
    edit(folder / "config.json", model_type=None)
    assert_same(load_model(run(folder, tmp_path / "ours")), expected)
    rewrite(
        folder,
        lambda held: held.update(
            {n.replace("distilbert", "roberta"): held.pop(n) for n in [*held]}
        ),
    )
    assert "roberta" in refusal(folder, tmp_path / "other")


@pytest.mark.parametrize(
    "family", "albert camembert deberta deberta-v2 modernbert mpnet roberta xlm-roberta".split()
)
def test_relatives_that_are_none_of_ours_are_refused_by_name(tmp_path, family):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    said = refusal(folder, tmp_path / "ours")
    assert f"model_type {family} is not supported: " in said
    assert said == refusal(folder, tmp_path / "ours", head="encoder")
