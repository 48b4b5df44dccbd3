"""The vocabulary goes with the model, into every format and to another vocabulary."""

import json
import re

import numpy as np
import pytest
import tokenizers
from support.checkpoints import (
    BERT,
    FORMATS,
    PIECES,
    STUDENT,
    edit,
    refusal,
    run,
    weights,
    write_model,
)

from mobilebert_tf import InputError, load_model
from mobilebert_tf.checkpoints.huggingface_tokenizer import (
    load_tokenizer_files,
    save_tokenizer_files,
)
from mobilebert_tf.modeling.model_directory import load_tokenizer
from mobilebert_tf.text.tokenizer import WordPiece

ODD = [
    "",
    "  a\tb\n\u00a0c\u3000d ",
    "Straße, NAÏVE cafés!",
    "日本語abc日 한국어 \U00020001x",
    "a\u200bb\u00adc\u0000d\ufffde\ufeff",
    "$a^b`c~d+e <f> ... ¿que?—–",
    "İstanbul ΑΣ Σ ﬁ ǆ ſ",
    "a" * 100 + " " + "a" * 101 + " " + "é" * 100,
    "👩‍👩‍👧 ok \U0001f1e9\U0001f1ea",
    "ab [MASK] cd[SEP]e [mask] [ MASK ]",
]


def pieces_of(texts):
    """Specials, every letter of the texts in every form, words and word ends."""
    forms = [form for text in texts for form in (text, text.lower(), text.casefold())]
    letters = sorted({letter for form in forms for letter in form if letter.isprintable()})
    letters = [letter for letter in letters if not letter.isspace()]
    more = ["e", "i", "\u0301", "istan", "Straß", "##e", "##bul", "ab", "##b", "aaa", "##aa"]
    unique = dict.fromkeys([*PIECES, *more, *letters, *(f"##{x}" for x in letters)])
    return list(unique)


def spoken(folder):
    tokenizer = load_tokenizer(folder)
    return tokenizer.vocabulary, tokenizer.lower_case


@pytest.mark.parametrize(
    "to,lower", [*((to, False) for to in FORMATS), ("google", True), ("huggingface", True)]
)
def test_vocabulary_survives(tmp_path, to, lower):
    model = write_model(tmp_path / "model", head="masked_lm", pieces=PIECES, lower=lower)
    there = run(model, tmp_path / "there", to=to)
    assert (there / "vocab.txt").read_text("utf-8").splitlines() == PIECES
    assert json.loads((there / "tokenizer_config.json").read_text())["do_lower_case"] == lower
    assert spoken(run(there, tmp_path / "back")) == (PIECES, lower)


DECOMPOSED = "re\u0301sume\u0301 É"


@pytest.mark.parametrize(
    "config,lower,texts",
    [
        (STUDENT, True, [*ODD, DECOMPOSED]),
        (BERT, False, ODD),
        (STUDENT, False, [DECOMPOSED]),
    ],
)
def test_tokenizer_json_gives_the_same_ids(tmp_path, config, lower, texts):
    pieces = pieces_of([*ODD, DECOMPOSED])
    config = config.replace(vocab_size=len(pieces))
    model = write_model(tmp_path / "model", config, "encoder", pieces=pieces, lower=lower)
    there = run(model, tmp_path / "there", to="huggingface")
    theirs = tokenizers.Tokenizer.from_file(str(there / "tokenizer.json"))
    ours = load_tokenizer(model)
    for text in texts:
        ids = ours.encode([text], special_tokens=True)["input_ids"][0].tolist()
        assert theirs.encode(text).ids == ids, text
    pair = ours.encode(["ab c"], ["de"])
    assert theirs.encode("ab c", "de").ids == pair["input_ids"][0].tolist()
    assert theirs.encode("ab c", "de").type_ids == pair["segment_ids"][0].tolist()
    for name in ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        (there / name).unlink()
    assert spoken(run(there, tmp_path / "back")) == (pieces, lower)


CAPITAL = [*PIECES[:-1], "A"]


@pytest.mark.parametrize(
    "to,pieces,lower",
    [("google", PIECES, True), ("google", CAPITAL, False), ("huggingface", CAPITAL, False)],
)
def test_capitals_tell_a_cased_vocabulary(tmp_path, to, pieces, lower):
    there = run(
        write_model(tmp_path / "model", head="encoder", pieces=pieces, lower=not lower),
        tmp_path / "there",
        to=to,
    )
    (there / "tokenizer_config.json").unlink()
    assert spoken(run(there, tmp_path / "back")) == (pieces, lower)


def test_tokenizer_settings_that_we_lack(tmp_path):
    model = write_model(tmp_path / "model", head="encoder", pieces=PIECES)
    there = run(model, tmp_path / "there", to="huggingface")
    edit(there / "tokenizer_config.json", tokenize_chinese_chars=False)
    assert "tokenize_chinese_chars" in refusal(there, tmp_path / "x")


@pytest.fixture
def theirs(tmp_path):
    """A folder with the tokenizer files of a BERT."""
    save_tokenizer_files(WordPiece(PIECES), tmp_path, "Bert", 17)
    return tmp_path


@pytest.mark.parametrize(
    "key,value,supported",
    [
        ("word_tokenizer_type", "mecab", "basic"),
        ("subword_tokenizer_type", "character", "wordpiece"),
        ("do_word_tokenize", False, True),
        ("do_subword_tokenize", False, True),
    ],
)
def test_settings_of_japanese_tokenizers(theirs, key, value, supported):
    edit(theirs / "tokenizer_config.json", **{key: value})
    with pytest.raises(InputError, match=f"{key} is {value}, only {supported} is supported"):
        load_tokenizer_files(theirs)
    edit(theirs / "tokenizer_config.json", **{key: supported})
    assert load_tokenizer_files(theirs).vocabulary == PIECES


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_class_of_another_tokenizer(theirs, file):
    (theirs / "tokenizer_config.json").write_text("{}")
    for name in ("BertJapaneseTokenizer", "RobertaTokenizerFast", ["BertTokenizer"]):
        (theirs / file).write_text(json.dumps({"tokenizer_class": name}))
        with pytest.raises(
            InputError, match=rf"/{file}: tokenizer_class is {re.escape(str(name))}"
        ):
            load_tokenizer_files(theirs)
    for name in ("BertTokenizer", "ElectraTokenizerFast", "DPRContextEncoderTokenizer", None):
        (theirs / file).write_text(json.dumps({"tokenizer_class": name}))
        assert load_tokenizer_files(theirs).vocabulary == PIECES


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "TokenizersBackend"])
def test_class_of_any_tokenizer_is_what_tokenizer_json_says(theirs, name):
    edit(theirs / "tokenizer_config.json", tokenizer_class=name)
    (theirs / "config.json").write_text('{"tokenizer_class": "BertJapaneseTokenizer"}')  # unread
    assert load_tokenizer_files(theirs).vocabulary == PIECES
    edit(theirs / "tokenizer.json", pre_tokenizer={"type": "WhitespaceSplit"})
    with pytest.raises(InputError, match="WhitespaceSplit"):
        load_tokenizer_files(theirs)
    (theirs / "tokenizer.json").unlink()
    assert load_tokenizer_files(theirs).vocabulary == PIECES


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("file", ["tokenizer_config.json", "tokenizer.json"])
def test_accents_may_be_kept_or_stripped_in_any_casing(tmp_path, lower, file):
    """As in Hugging Face's tokenizer_config.json: German, Japanese, Thai and Hindi need them."""
    model = write_model(tmp_path / "model", head="encoder", pieces=PIECES, lower=lower)
    there = run(model, tmp_path / "there", to="huggingface")
    edit(there / "tokenizer_config.json", strip_accents=not lower)
    back = run(there, tmp_path / "back")
    again = run(back, tmp_path / "again", to="huggingface")
    if file == "tokenizer.json":
        (again / "vocab.txt").unlink()
        (again / "tokenizer_config.json").unlink()
    tokenizer = load_tokenizer(run(again, tmp_path / "ours"))
    assert (tokenizer.lower_case, tokenizer.strip_accents) == (lower, not lower)
    theirs = tokenizers.Tokenizer.from_file(str(again / "tokenizer.json"))
    for text in ("é e\u0301 É ß", "b\u0323e"):
        ids = tokenizer.encode([text])["input_ids"][0].tolist()
        assert theirs.encode(text).ids == ids


@pytest.mark.parametrize(
    "key,value",
    [
        ("handle_chinese_chars", False),
        ("clean_text", False),
    ],
)
def test_settings_of_tokenizer_json_that_we_lack(tmp_path, key, value):
    model = write_model(tmp_path / "model", head="encoder", pieces=PIECES)
    there = run(model, tmp_path / "there", to="huggingface")
    (there / "vocab.txt").unlink()
    path = there / "tokenizer.json"
    values = json.loads(path.read_text("utf-8"))
    edit(path, normalizer=values["normalizer"] | {key: value})
    assert key in refusal(there, tmp_path / "x")


def test_pieces_of_tokenizer_json_that_vocab_txt_cannot_hold(tmp_path):
    model = write_model(tmp_path / "model", head="encoder", pieces=PIECES)
    there = run(model, tmp_path / "there", to="huggingface")
    (there / "vocab.txt").unlink()
    path = there / "tokenizer.json"
    path.write_text(path.read_text("utf-8").replace('"p": 20', '"p\\nq": 20'), "utf-8")
    said = refusal(there, tmp_path / "x")
    assert "tokenizer.json: vocab.txt cannot hold the piece 'p\\nq' (id 20)" in said


# --- another vocabulary --------------------------------------------------------------------------

NEW = ["[PAD]", "ü", "[MASK]", "[CLS]", "[SEP]", "[UNK]", *"ponmlkjihgfedcba", "##a", "##zz", "日"]


def write_vocabulary(path, pieces):
    path.write_text("".join(f"{piece}\n" for piece in pieces), "utf-8")
    return str(path)


@pytest.mark.parametrize("to", ["mobilebert", "huggingface"])
def test_rows_follow_their_tokens(tmp_path, to):
    model = write_model(tmp_path / "model", head="masked_lm", pieces=PIECES, lower=False)
    vocab = write_vocabulary(tmp_path / "new.txt", NEW)
    run(model, tmp_path / "there", to=to, vocab=vocab)
    back = run(tmp_path / "there", tmp_path / "back")
    assert spoken(back) == (NEW, False)
    old, new = weights(model), weights(back)
    tables = ["embeddings/word_embeddings", "masked_lm/extra_output_weights"]
    tables.append("masked_lm/output_bias")
    for table in tables:
        mean = old[table].astype("float64").mean(0)
        for row, piece in zip(new.pop(table), NEW, strict=True):
            if piece in PIECES:
                assert (row == old[table][PIECES.index(piece)]).all()
            else:
                np.testing.assert_allclose(row, mean, rtol=1e-6, atol=1e-7)
        del old[table]
    assert all((new[path] == old[path]).all() for path in old) and new.keys() == old.keys()


@pytest.mark.parametrize("config", [STUDENT, BERT])
def test_outputs_on_common_tokens_do_not_change(tmp_path, config):
    model = write_model(tmp_path / "model", config, "pretraining", pieces=PIECES)
    vocab = write_vocabulary(tmp_path / "new.txt", NEW)
    back = run(model, tmp_path / "back", vocab=vocab)
    tokens = ["[CLS]", "a", "[MASK]", "日", "##a", "p", "[SEP]", "[PAD]", "[PAD]"]
    found = []
    for folder, pieces in ((model, PIECES), (back, NEW)):
        inputs = {"input_ids": [[pieces.index(token) for token in tokens]]}
        inputs["input_mask"] = [[1] * 7 + [0] * 2]
        inputs |= {"segment_ids": [[0] * 4 + [1] * 3 + [0] * 2], "masked_lm_positions": [[2, 5]]}
        arrays = {name: np.array(values, "int32") for name, values in inputs.items()}
        outputs = load_model(folder)(arrays, training=False)
        common = [pieces.index(piece) for piece in PIECES if piece in NEW]
        found.append((outputs["sequence_output"], outputs["mlm_logits"].numpy()[..., common]))
    np.testing.assert_array_equal(found[1][0], found[0][0])
    # another size of product may sum in another order
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "pieces",
    [["[UNK]", *NEW[:-1]], NEW[1:], [p for p in NEW if p != "[MASK]"], [*NEW, "a"], [], ["[PAD]"]],
)
def test_vocabularies_that_do_not_do(tmp_path, pieces):
    model = write_model(tmp_path / "model", head="masked_lm", pieces=PIECES)
    refusal(model, tmp_path / "x", vocab=write_vocabulary(tmp_path / "new.txt", pieces))


def test_vocabulary_where_there_is_none(tmp_path):
    vocab = write_vocabulary(tmp_path / "new.txt", NEW)
    bare = write_model(tmp_path / "bare", head="masked_lm")
    assert "vocab.txt" in refusal(bare, tmp_path / "x", vocab=vocab)
    model = write_model(tmp_path / "model", head="masked_lm", pieces=PIECES)
    assert "absent.txt" in refusal(model, tmp_path / "x", vocab=str(tmp_path / "absent.txt"))
    run(bare, tmp_path / "there", to="huggingface")
    assert not (tmp_path / "there" / "vocab.txt").exists()


def add_tokens(folder, tokens, file):
    """The last pieces of the folder are tokens added behind the vocabulary."""
    kept = PIECES[: -len(tokens)]
    (folder / "vocab.txt").write_text("\n".join(kept) + "\n", "utf-8")
    ids = {token: len(kept) + i for i, token in enumerate(tokens)}
    named = [{"id": i, "content": token, "normalized": True} for token, i in ids.items()]
    (folder / "tokenizer.json").unlink()
    if file == "added_tokens.json":
        (folder / file).write_text(json.dumps(ids))
    elif file == "tokenizer.json":
        (folder / file).write_text(json.dumps({"added_tokens": named}))
    else:
        edit(folder / file, added_tokens_decoder={str(token["id"]): token for token in named})
    return kept


@pytest.mark.parametrize(
    "file", ["added_tokens.json", "tokenizer.json", "tokenizer_config.json", None]
)
def test_added_words_join_the_vocabulary(copy_of, destination, capsys, file):
    folder = copy_of("huggingface")
    if file is None:  # neither vocab.txt nor added_tokens.json: the fast tokenizer's file alone
        fast = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        values = json.loads(fast.to_str())
        for piece in PIECES[-2:]:
            del values["model"]["vocab"][piece]
        fast = tokenizers.Tokenizer.from_str(json.dumps(values))
        assert fast.add_tokens(["Abba", "cafe"]) == 2
        fast.save(str(folder / "tokenizer.json"))
        (folder / "vocab.txt").unlink()
        kept = PIECES[:-2]
    else:
        kept = add_tokens(folder, ["Abba", "cafe"], file)
    tokenizer = load_tokenizer(run(folder, destination))
    assert tokenizer.vocabulary == [*kept, "abba", "cafe"]
    assert "added tokens are read as words: Abba, cafe" in capsys.readouterr().err
    found = tokenizer.encode(["ab abba CAFE"])["input_ids"][0, 1:-1].tolist()
    assert tokenizer.tokens(found) == ["a", "##b", "abba", "cafe"]


@pytest.mark.parametrize("file", ["added_tokens.json", "tokenizer.json", "tokenizer_config.json"])
def test_added_tokens_that_are_no_words_are_refused_with_what_to_do(copy_of, destination, file):
    folder = copy_of("huggingface")
    kept = add_tokens(folder, ["<joy>", "ab c"], file)
    said = refusal(folder, destination)
    assert "<joy>, ab c" in said and "vocab.txt" in said
    with open(folder / "vocab.txt", "a") as vocabulary:
        vocabulary.write("addedjoy\nabc\n")
    assert load_tokenizer(run(folder, destination)).vocabulary == [*kept, "addedjoy", "abc"]


def test_added_tokens_inside_the_vocabulary(copy_of, destination):
    folder = copy_of("huggingface")
    pieces = [*PIECES[:-2], "[unused1]", "[e1]"]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", "utf-8")
    ids = {"[CLS]": 2, "a": 5, "[unused1]": len(pieces) - 2}
    (folder / "added_tokens.json").write_text(json.dumps(ids))
    assert load_tokenizer(run(folder, destination)).vocabulary == pieces
    (folder / "added_tokens.json").write_text(json.dumps(ids | {"[e1]": len(pieces) - 1}))
    assert "([e1])" in refusal(folder, destination.with_name("other"))


@pytest.mark.parametrize("damaged", ['{"a": "b"}', '{"a": null}'])
def test_damaged_added_tokens(copy_of, destination, damaged):
    folder = copy_of("huggingface")
    (folder / "added_tokens.json").write_text(damaged)
    assert "added_tokens.json" in refusal(folder, destination)
