"""Embeddings of sentences: sentence-transformers' pooling and normalization, told by numpy."""

import json

import numpy as np
import pytest
from support.checkpoints import (
    BERT,
    PIECES,
    copy,
    edit,
    random_model,
    refusal,
    run,
    tensors,
    weights,
)

from mobilebert_tf import InputError, Pipeline, load_model, save_model
from mobilebert_tf.checkpoints import formats
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.runner import KerasModel
from mobilebert_tf.predict import PredictConfig, predict
from mobilebert_tf.text.tokenizer import WordPiece

TEXTS = ["abc", "a b c d e f", "日 ß é", "p"]
TOKENIZER = WordPiece(PIECES)


def recipe(tokens, mask, pooling, normalized):
    """sentence-transformers' Pooling and Normalize in numpy: tokens [B,T,H] -> [B,H]."""
    if pooling == "mean":
        real = mask[..., None].astype(np.float64)
        found = (tokens * real).sum(1) / np.clip(real.sum(1), 1e-9, None)
    else:
        found = tokens[:, 0].astype(np.float64)
    if not normalized:
        return found
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def encoder(pooling="mean", normalized=True, pooler=False):
    source = random_model(BERT.replace(classifier_activation=pooler), "encoder")
    model = MobileBert(source.config, Head("encoder", pooling=pooling, normalized=normalized))
    model.set_weights(source.get_weights())
    return model


def of(model):
    return model.head.kind, model.head.pooling, model.head.normalized


CASES = [("mean", True), ("mean", False), ("first", True), ("first", False)]


@pytest.mark.parametrize(("pooling", "normalized"), CASES)
def test_embedding_is_the_recipes(pooling, normalized):
    model = encoder(pooling, normalized)
    arrays = TOKENIZER.encode(TEXTS)
    outputs = {k: np.asarray(v) for k, v in model(arrays).items() if hasattr(v, "shape")}
    expected = recipe(outputs["sequence_output"], arrays["input_mask"], pooling, normalized)
    np.testing.assert_allclose(outputs["embedding"], expected, rtol=1e-5, atol=1e-6)
    if normalized:
        np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1, rtol=1e-5)
    # Behind one function, and one text at a time: padding is no part of a mean.
    runnable = KerasModel(model, TOKENIZER)
    for index, text in enumerate(TEXTS):
        (found,) = runnable(**TOKENIZER.encode([text]))["embedding"]
        np.testing.assert_allclose(found, expected[index], rtol=1e-4, atol=1e-5)


def test_embedding_by_hand():
    tokens = np.array([[[3.0, 0], [0, 4], [9, 9]]])
    mask = np.array([[1, 1, 0]])
    assert recipe(tokens, mask, "mean", False).tolist() == [[1.5, 2.0]]
    assert recipe(tokens, mask, "mean", True).tolist() == [[0.6, 0.8]]
    assert recipe(tokens, mask, "first", True).tolist() == [[1.0, 0.0]]


def test_other_heads_pool_nothing_and_give_the_pooled_output_when_asked():
    for changes in ({"pooling": "mean"}, {"normalized": True}):
        with pytest.raises(InputError, match="settings of an encoder, this is a span"):
            Head("span", **changes)
    model = random_model(BERT, "span")
    arrays = TOKENIZER.encode(TEXTS[:1])
    found = KerasModel(model, TOKENIZER, "encoder")(**arrays)["embedding"]
    np.testing.assert_allclose(found, model(arrays)["pooled_output"], rtol=1e-5)


@pytest.mark.parametrize(("pooling", "normalized"), CASES)
def test_directories_and_keras_keep_them(pooling, normalized, tmp_path, capsys):
    model = encoder(pooling, normalized)
    save_model(model, tmp_path / "model", TOKENIZER)
    task = json.loads((tmp_path / "model" / "task.json").read_text())
    assert (task["pooling"], task["normalized"]) == (pooling, normalized)
    assert of(load_model(tmp_path / "model")) == ("encoder", pooling, normalized)
    assert MobileBert.from_config(model.get_config()).head == model.head
    expected = Pipeline(tmp_path / "model")(TEXTS[1]).embedding
    predict(PredictConfig(str(tmp_path / "model"), texts=[TEXTS[1]], json=True))
    assert json.loads(capsys.readouterr().out)["embedding"] == expected
    arrays = TOKENIZER.encode([TEXTS[1]])
    np.testing.assert_allclose(expected, model(arrays)["embedding"][0], rtol=1e-4, atol=1e-5)


def sentence_folder(folder, model):
    """A folder as sentence-transformers writes it, made without our writer of its files."""
    task = Head("encoder")
    plain = MobileBert(model.config, task)
    plain.set_weights(model.get_weights())
    folder.mkdir()
    formats.save(plain, TOKENIZER, folder, "huggingface")
    kinds = ["Transformer", "Pooling", *["Normalize"] * model.head.normalized]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=False))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    modes = {"pooling_mode_cls_token": "first", "pooling_mode_mean_tokens": "mean"}
    values = {mode: name == model.head.pooling for mode, name in modes.items()}
    values |= {"word_embedding_dimension": 14, "pooling_mode_max_tokens": False}
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(("pooling", "normalized"), CASES)
def test_folders_are_read_and_written_back(pooling, normalized, tmp_path):
    """With a pooler in the file, which sentence-transformers never asks."""
    model = encoder(pooling, normalized, pooler=True)
    folder = sentence_folder(tmp_path / "theirs", model)
    loaded = formats.load(folder)
    assert of(loaded.model) == ("encoder", pooling, normalized)
    arrays = TOKENIZER.encode(TEXTS)
    tokens = model(arrays)["sequence_output"].numpy()
    expected = recipe(tokens, arrays["input_mask"], pooling, normalized)
    found = loaded.model(arrays)["embedding"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert loaded.skipped == (
        {"not used by sentence-transformers": 2} if pooling == "first" else {}
    )
    (tmp_path / "out").mkdir()
    ours = run(folder, tmp_path / "out" / "ours", head="encoder")
    back = run(ours, tmp_path / "out" / "back", to="huggingface")
    run(ours, back, to="huggingface", overwrite=True)  # its folders too are a model's
    assert of(formats.load(back).model) == of(load_model(ours)) == of(loaded.model)
    assert weights(formats.load(back).model).keys() == weights(ours).keys()
    read = [json.loads((f / "modules.json").read_text()) for f in (folder, back)]
    assert read[0] == read[1]
    assert set(tensors(back)) <= set(tensors(folder))


@pytest.mark.parametrize(
    ("files", "longest"),
    [
        ({"sentence_bert_config.json": {"max_seq_length": 5}}, 5),
        ({"sentence_distilbert_config.json": {"max_seq_length": 5}}, 5),
        ({"sentence_bert_config.json": {"max_seq_length": None}}, 17),
        ({"sentence_bert_config.json": {"max_seq_length": 512}}, 17),
        ({"sentence_bert_config.json": {}, "tokenizer_config.json": {"model_max_length": 6}}, 6),
        ({"tokenizer_config.json": {"model_max_length": 1e30}}, 17),
    ],
)
def test_texts_are_cut_where_sentence_transformers_cuts_them(files, longest, tmp_path):
    folder = sentence_folder(tmp_path / "theirs", encoder())
    (folder / "sentence_bert_config.json").unlink()
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values))
    (tmp_path / "out").mkdir()
    ours = run(folder, tmp_path / "out" / "ours")
    text = "abcdefghijklmabcdefghijklm"
    arrays = TOKENIZER.encode([text], sequence_length=longest)
    tokens = np.asarray(encoder()(arrays)["sequence_output"])
    expected = recipe(tokens, arrays["input_mask"], "mean", True)
    back = run(ours, tmp_path / "out" / "back", to="huggingface")
    for path in (folder, ours, back):
        found = Pipeline(path, truncate=True)(text).embedding
        np.testing.assert_allclose([found], expected, rtol=1e-4, atol=1e-5)
        with pytest.raises(InputError, match=f"too long: 28 tokens, the model takes {longest}"):
            Pipeline(path)(text)


@pytest.mark.parametrize("length", ["5", 2, True])
def test_a_length_that_is_none(length, tmp_path):
    folder = sentence_folder(tmp_path / "theirs", encoder())
    edit(folder / "sentence_bert_config.json", max_seq_length=length)
    assert "max_seq_length" in refusal(folder, tmp_path / "out")


def test_formats_without_a_place_for_it_say_so(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    save_model(encoder(), tmp_path / "ours", TOKENIZER)
    google = run(tmp_path / "ours", tmp_path / "out" / "google", to="google")
    said = "left out, because the destination cannot hold it: pooling, normalized\n"
    assert said in capsys.readouterr().out
    assert formats.load(google).model.head == Head("encoder")
    run(google, tmp_path / "out" / "bare")
    run(tmp_path / "out" / "bare", tmp_path / "out" / "again", to="google")
    assert "left out" not in capsys.readouterr().out
    save_model(encoder("first", True, pooler=True), tmp_path / "pooler", TOKENIZER)
    said = refusal(tmp_path / "pooler", tmp_path / "out" / "x", to="huggingface")
    assert "no normalized output of a pooler" in said
    save_model(encoder("first", False, pooler=True), tmp_path / "plain", TOKENIZER)
    plain = run(tmp_path / "plain", tmp_path / "out" / "plain", to="huggingface")
    assert not (plain / "modules.json").exists()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return sentence_folder(tmp_path_factory.mktemp("theirs") / "folder", encoder())


@pytest.mark.parametrize(
    ("modes", "said"),
    [
        ({"pooling_mode_max_tokens": True}, "mean_tokens and pooling_mode_max_tokens"),
        ({"pooling_mode_mean_tokens": False}, "no pooling mode"),
        (
            {"pooling_mode_mean_tokens": False, "pooling_mode_weightedmean_tokens": True},
            "has pooling_mode_weightedmean_tokens: only the first token",
        ),
    ],
)
def test_ways_to_pool_that_ours_has_not(theirs, tmp_path, modes, said):
    folder = copy(theirs, tmp_path / "folder")
    edit(folder / "1_Pooling" / "config.json", **modes)
    text = refusal(folder, tmp_path / "out")
    assert said in text and "1_Pooling" in text


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ("[", "not a readable JSON"),
        ("{}", "not a JSON list"),
        ("[]", "no list of sentence-transformers' modules"),
        ('[{"type": 3}]', "no list of sentence-transformers' modules"),
        ("Dense", "Transformer, Pooling, Dense"),
        ("absent", "1_Pooling/config.json: No such file"),
    ],
)
def test_modules_that_ours_has_not(theirs, tmp_path, modules, said):
    folder = copy(theirs, tmp_path / "folder")
    path = folder / "modules.json"
    if modules == "absent":
        (folder / "1_Pooling" / "config.json").unlink()
    elif modules == "Dense":
        path.write_text(path.read_text().replace("Normalize", "Dense"))
    else:
        path.write_text(modules)
    assert said in refusal(folder, tmp_path / "out")
