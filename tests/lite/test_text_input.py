"""Files that read strings: the tokens of WordPiece, and the outputs of the file without them."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text
from ai_edge_litert.interpreter import Interpreter
from support.lite_files import content, named
from support.models import MAX_TOKENS, save_directory
from support.texts import TOKENIZER, VOCABULARY, write_corpus

from mobilebert_tf import InputError
from mobilebert_tf.cli import parse
from mobilebert_tf.export import export
from mobilebert_tf.lite import flatbuffer, quantize, text_input
from mobilebert_tf.lite.export_config import ExportConfig
from mobilebert_tf.lite.graph import INPUTS, SIGNATURE
from mobilebert_tf.lite.normalizer import normalizer_table
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.quantization_report import ReportConfig, quantization_report
from mobilebert_tf.text.tokenizer import WordPiece

TEXTS = {
    "plain": "the dog runs under the tree",
    "punctuation": "An old cat, a river; who's over-there?! (the 3 stones...)",
    "cut": "this dog never likes that old house . " * 9,
    "empty": "",
    "blank": " \t\r\n ",
    "unknown": "the €uro",
    "accents": "the náïve dōg, cafe\u0301",
    "scripts": "dog 漢字 नमस्ते मराठी Ελλάς ΟΔΟΣ İstanbul ﬁ ½ Ⅷ 한국어",
    "invisible": "the do\u200bg\ufeff a\u00a0b\u2028c d\x00e\x07f \ue000 \U0010fffd \ufffd",
    "emoji": "the cat 😀👍🏽 runs",
}


@functools.cache
def file(head="classifier", mode="none", length=None):
    plain = content("student", head, mode, length)
    arguments = (head, length or MAX_TOKENS, length is not None)
    return text_input.add_tokenizer(plain, TOKENIZER, *arguments)


@functools.cache
def runner(head="classifier", signature="tokenize", length=None):
    return text_input.string_runner(file(head, "none", length), signature)


def encoded(*texts, length=MAX_TOKENS, tokenizer=TOKENIZER):
    """The ordinary pipeline's inputs for the graph, without padding."""
    inputs = tokenizer.encode(*([text] for text in texts), sequence_length=length)
    real = inputs["input_mask"].sum()
    return {name: array[:, :real] for name, array in named(inputs).items()}


def assert_same(found, expected):
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, name)


@pytest.mark.parametrize("name", TEXTS)
def test_tokens_are_those_of_the_ordinary_pipeline(name):
    found = runner()(text=TEXTS[name])
    assert found.keys() == set(INPUTS)
    assert_same(found, encoded(TEXTS[name]))


def test_pairs_are_cut_as_in_the_ordinary_pipeline():
    pair, words = runner(signature="tokenize_pair"), "the dog runs , a cat sleeps ".split() * 9
    for a, b in ((0, 0), (3, 0), (0, 50), (5, 5), (17, 17), (17, 18), (18, 17), (40, 9), (60, 60)):
        texts = " ".join(words[:a]), " ".join(words[:b])
        assert_same(pair(text=texts[0], pair=texts[1]), encoded(*texts))


@pytest.mark.parametrize("mode", quantize.MODES)
def test_outputs_are_those_of_the_file_without_it(mode):
    """The model's graph is the same: equal bits. And strings go through both signatures."""
    whole = text_input.open_interpreter(file(mode=mode))
    tokenize = whole.get_signature_runner("tokenize")
    models = [
        Interpreter(model_content=each).get_signature_runner(SIGNATURE)
        for each in (file(mode=mode), content(mode=mode))
    ]
    for text in TEXTS.values():
        tokens = tokenize(text=np.array([text.encode()], object))
        expected = models[1](**encoded(text))["probability"]
        np.testing.assert_array_equal(models[0](**tokens)["probability"], expected)
        # tf.lite's kernels are a little older than LiteRT's.
        found = whole.get_signature_runner(SIGNATURE)(**tokens)["probability"]
        np.testing.assert_allclose(found, expected, atol=2 / 256)


@pytest.mark.parametrize("head", ["span", "pretraining"])
def test_outputs_of_other_heads(head):
    texts = dict(question="who runs?", context="the dog runs") if head == "span" else {"text": "a"}
    tokens = runner(head)(**texts)
    model = Interpreter(model_content=file(head)).get_signature_runner(SIGNATURE)
    plain = Interpreter(model_content=content(head=head)).get_signature_runner(SIGNATURE)
    outputs = model(**{name: tokens[name] for name in INPUTS})
    expected = plain(**encoded(*texts.values()))
    assert outputs.keys() == expected.keys()
    assert_same(outputs, expected)


def test_tokens_of_answers_have_places():
    """Of answers and labelled words: bytes of the text, which accents and lost characters shift."""
    question, context = "Which dóg?", "Thé  ca\u0301t\u200b, an İ-dog."
    found = runner("span")(question=question, context=context)
    rows = zip(*(found[name][0] for name in ("segment_ids", "starts", "ends")), strict=True)
    texts = question.encode(), context.encode()
    words = [texts[segment][start:end].decode() for segment, start, end in rows]
    assert words[:9] == ["", "W", "h", "i", "c", "h", "dóg", "?", ""]
    assert words[9:] == ["Thé", "ca\u0301t\u200b", ",", "an", "İ", "-", "dog", ".", ""]


def test_fixed_length_pads():
    for text in TEXTS.values():
        found = runner("classifier", length=13)(text=text)
        inputs = TOKENIZER.encode([text], sequence_length=13)
        assert_same(found, named(inputs))
        assert all(values.shape == (1, 13) for values in found.values())


def test_padding_is_the_vocabularys():
    tokenizer = WordPiece([*VOCABULARY[1:], VOCABULARY[0]])  # [PAD] is the last
    arguments = (tokenizer, "classifier", 13, True)
    joined = text_input.add_tokenizer(content(mode="none", length=13), *arguments)
    assert text_input.equal_texts(joined, *arguments, ["the dog", "a cat"]) == 1


@pytest.mark.parametrize("lower_case", [True, False])
def test_every_character_becomes_what_the_tokenizer_makes_of_it(lower_case):
    tokenizer = WordPiece(VOCABULARY, lower_case)
    normalizer = tensorflow_text.FastBertNormalizer(model_buffer=normalizer_table(tokenizer))
    everything = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    characters = tf.constant([character.encode() for character in everything])
    expected, found = tokenizer.normalized(characters), normalizer.normalize(characters)
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_without_our_table_tokens_would_differ():
    """tensorflow-text's own normalisation folds more than BERT's, and parts words it keeps."""
    theirs = tensorflow_text.FastBertTokenizer(VOCABULARY, lower_case_nfd_strip_accents=True)
    for text in ("ﬁ", "Ⅷ", "do\x07g"):
        tokens = runner()(text=text)["ids"][0, 1:-1].tolist()
        assert tokens == TOKENIZER.tokenize([text]).to_list()[0]
        assert tokens != theirs.tokenize([text]).to_list()[0]


@pytest.mark.parametrize("letters", [100, 101, 400, 401])
def test_known_difference_long_words(letters):
    """BERT takes a word of more than 100 characters for [UNK], the file one of over 400 bytes."""
    found, expected = runner()(text="x" * letters)["ids"], encoded("x" * letters)["ids"]
    assert np.array_equal(found, expected) == (letters in (100, 401))
    assert (TOKENIZER.unk_id in found) == (letters > 400)
    assert (TOKENIZER.unk_id in expected) == (letters > 100)


def test_known_difference_special_tokens():
    """The pipeline can take "[MASK]" for the token, the file always takes it for plain text."""
    ids = runner()(text="the [MASK] runs")["ids"]
    assert TOKENIZER.mask_id not in ids
    assert_same({"ids": ids}, {"ids": encoded("the [MASK] runs")["ids"]})


def test_known_difference_cased_vocabularies():
    """A file composes no accents: where a vocabulary keeps them, the text must have them whole."""
    cased = WordPiece([*VOCABULARY, "Thé"], lower_case=False)
    joined = text_input.add_tokenizer(content(), cased, "classifier", MAX_TOKENS, False)
    run = text_input.string_runner(joined, "tokenize")
    for text, same in (("Thé dog", True), ("The\u0301 dog", False)):
        expected = encoded(text, tokenizer=cased)["ids"]
        assert len(VOCABULARY) in expected
        assert np.array_equal(run(text=text)["ids"], expected) == same


# ---- export --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model directory, a text, and the export."""
    folder = tmp_path_factory.mktemp("export")
    save_directory(folder / "student")
    write_corpus(folder / "corpus.txt")
    export(config_in(folder))
    return folder


def config_in(folder, **changes):
    options = ["--model", str(folder / "student"), "--calibration-data", str(folder / "corpus.txt")]
    config = parse(ExportConfig, [*options, "--with-tokenizer"])
    return dataclasses.replace(config, **changes)


def test_export_report(place):
    report = json.loads((place / "student-int8.json").read_text())
    assert report["options"]["with_tokenizer"] is True
    assert report["tokenizer"]["signatures"] == {
        "tokenize": ["text"],
        "tokenize_pair": ["text", "pair"],
    }
    assert report["tokenizer"]["equal_texts"] == 1
    assert 0 < report["tokenizer"]["bytes"] < report["bytes"]
    assert "CUSTOM" not in report["ops"]


def test_exported_file_runs_without_the_operations(place):
    """In everything that runs the ordinary file, which stays what it was."""
    lite = LiteModel(place / "student-int8.tflite")
    plain = place / "plain.tflite"
    export(config_in(place, with_tokenizer=False, output=str(plain)))
    assert "tokenizer" not in json.loads(plain.with_suffix(".json").read_text())
    tokens = TOKENIZER.encode([TEXTS["plain"]])
    assert_same(lite(**tokens), LiteModel(plain)(**tokens))
    with pytest.raises(RuntimeError, match="unresolved custom op"):
        strings = Interpreter(str(lite.path)).get_signature_runner("tokenize")
        strings(text=np.array([b"the dog"], object))
    quantization_report(ReportConfig(str(lite.path), str(place / "student")))


def test_both_signatures_share_their_tables(place):
    model = flatbuffer.read((place / "student-int8.tflite").read_bytes())
    assert [graph.name for graph in model.subgraphs[1:]] == [b"tokenize", b"tokenize_pair"]
    one = text_input.add_tokenizer(content("student", "span"), TOKENIZER, "span", 37, False)
    added = json.loads((place / "student-int8.json").read_text())["tokenizer"]["bytes"]
    assert added < 1.05 * (len(one) - len(content("student", "span")))


def test_export_of_another_kind_is_in_the_way(place):
    with pytest.raises(InputError, match="other options"):
        export(config_in(place, with_tokenizer=False))


def test_tokenizer_that_reads_otherwise_leaves_no_file(place, tmp_path, monkeypatch):
    right = text_input.add_tokenizer
    other = WordPiece([*VOCABULARY[:5], *reversed(VOCABULARY[5:])])
    monkeypatch.setattr(
        text_input, "add_tokenizer", lambda content, _, *rest: right(content, other, *rest)
    )
    with pytest.raises(InputError, match="100.0 % of the texts otherwise than BERT's"):
        export(config_in(place, output=str(tmp_path / "x.tflite")))
    assert list(tmp_path.iterdir()) == []
