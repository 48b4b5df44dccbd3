"""WordPiece against a plain Python copy of BERT's own tokenizer, and against recorded ids of
Hugging Face's BertTokenizer (transformers 4.46, the slow one)."""

import json
import os
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilebert_tf.errors import InputError
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece, truncated_lengths
from mobilebert_tf.text.vocabulary import train_vocabulary

DATA = Path(__file__).parents[1] / "data"
GOLDEN = json.loads((DATA / "tokenizer_golden.json").read_text(encoding="utf-8"))
REAL_VOCABULARY = os.environ.get("MOBILEBERT_TF_BERT_VOCAB")

# ---------------------------------------------------------------------------------------------
# The oracle: google-research/bert's BasicTokenizer and WordpieceTokenizer, one function each,
# with Hugging Face's reading of "control" (all of Unicode's C) and letter-by-letter lower-casing.
# ---------------------------------------------------------------------------------------------

CHINESE = [
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
]  # fmt: skip


def is_separate(character):
    code = ord(character)
    ascii_symbol = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return (
        ascii_symbol
        or unicodedata.category(character)[0] == "P"
        or any(low <= code <= high for low, high in CHINESE)
    )


def basic_words(text, lower_case):
    if lower_case:
        text = "".join(character.lower() for character in text)
    clean = ""
    for character in text:
        if character in "\t\n\r" or unicodedata.category(character) == "Zs":
            clean += " "
        elif character != "\ufffd" and unicodedata.category(character)[0] != "C":
            clean += character
    if lower_case:
        clean = unicodedata.normalize("NFD", clean)
        clean = "".join(c for c in clean if unicodedata.category(c) != "Mn")
    else:
        clean = unicodedata.normalize("NFC", clean)
    return "".join(f" {c} " if is_separate(c) else c for c in clean).split()


def pieces_of(word, ids):
    if len(word) > 100:
        return ["[UNK]"]
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in ids:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def oracle(text, ids, lower_case=True, special_tokens=False):
    specials = "|".join(re.escape(token) for token in SPECIAL_TOKENS)
    result = []
    for part in re.split(f"({specials})", text) if special_tokens else [text]:
        if special_tokens and part in SPECIAL_TOKENS:
            result.append(ids[part])
        else:
            words = basic_words(part, lower_case)
            result += [ids[piece] for word in words for piece in pieces_of(word, ids)]
    return result


# Letters whose case Unicode 14 added, and TensorFlow's tables (13) do not know.
CASE_OF_UNICODE_14 = {0x2C2F, 0xA7C0, 0xA7D0, 0xA7D6, 0xA7D8, *range(0x10570, 0x10596)}


def same_in_both_tables():
    """The characters that Python's and TensorFlow's Unicode versions both know, or both do not."""
    codes = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    characters = tf.constant([chr(c).encode() for c in codes])
    known = tf.strings.regex_full_match(characters, r"[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Z}]").numpy()
    return {
        c
        for c, assigned in zip(codes, known, strict=True)
        if assigned == (unicodedata.category(chr(c))[0] != "C") and c not in CASE_OF_UNICODE_14
    }


SAME = same_in_both_tables()
VOCABULARY = GOLDEN["vocabulary"]


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def lower_case(request):
    return request.param


@pytest.fixture(scope="module")
def wordpiece(lower_case):
    return WordPiece(VOCABULARY, lower_case)


def ids_of(vocabulary):
    return {token: i for i, token in enumerate(vocabulary)}


def assert_equals_oracle(wordpiece, texts, special_tokens=False):
    ids = ids_of(wordpiece.vocabulary)
    got = wordpiece.tokenize(texts, special_tokens).to_list()
    for text, row in zip(texts, got, strict=True):
        assert row == oracle(text, ids, wordpiece.lower_case, special_tokens), ascii(text)


def test_equals_recorded_hugging_face(wordpiece, lower_case):
    expected = GOLDEN["cased" if not lower_case else "uncased"]
    assert wordpiece.tokenize(GOLDEN["texts"], special_tokens=True).to_list() == expected
    assert_equals_oracle(wordpiece, GOLDEN["texts"], special_tokens=True)
    assert_equals_oracle(wordpiece, GOLDEN["texts"])


def test_unicode_tables_differ_only_in_recent_characters():
    everything = set(range(0x110000)) - set(range(0xD800, 0xE000))
    odd = everything - SAME
    assert len(odd) < 15_000  # a later Python knows later scripts
    assert all(c > 0x0C00 for c in odd)


def test_every_character_in_every_place(wordpiece):
    """Alone, inside a word, before and after one; of the many letters without case, each 37th."""
    characters = [chr(c) for c in sorted(SAME) if c % 37 == 0 or c < 0x30000]
    few = [c for c in characters if unicodedata.category(c) not in ("Lo", "Co", "Cn")]
    texts = [f"a{c}b {c}a b{c} {c}" for c in {*few, *characters[::37]}]
    assert_equals_oracle(wordpiece, texts)


@pytest.mark.parametrize(
    "piece", ["a b", "##a b", "\x00", "\ue000", "\u2028", "\u3000", "##"], ids=ascii
)
def test_pieces_that_no_word_equals_change_nothing(piece):
    texts = ["a b", "aa b a.b \ue000 ##", "\u2028a\u2028"]
    assert WordPiece([*SMALL, piece]).tokenize(texts).to_list() == (
        WordPiece([*SMALL, "never"]).tokenize(texts).to_list()
    )


# Mostly what the vocabulary knows, so that words survive; then any character of any plane.
FAMILIAR = st.sampled_from(
    [
        *"abcdeABE .,!\n\tΣσςİßﬁ…éÉñ한中文☃\u0300\u0301\u200b\u00ad\x00\x85\u2028\u3000ⅷ🙂",
        *SPECIAL_TOKENS,
        *(token.removeprefix("##") for token in VOCABULARY),
    ]
)
ANY = st.characters(exclude_categories=["Cs"]).filter(lambda character: ord(character) in SAME)
TEXTS = st.lists(
    st.lists(st.one_of(FAMILIAR, FAMILIAR, ANY), max_size=30).map("".join), min_size=1, max_size=8
)


@settings(max_examples=150, deadline=None)
@given(texts=TEXTS, special_tokens=st.booleans())
def test_equals_oracle_on_any_text(wordpiece, texts, special_tokens):
    assert_equals_oracle(wordpiece, texts, special_tokens)


PLAIN = st.one_of(
    st.sampled_from([" ", *SPECIAL_TOKENS, *(token.removeprefix("##") for token in VOCABULARY)]),
    st.characters(min_codepoint=32, max_codepoint=126),
    st.integers(98, 103).map(lambda count: "x" * count),
)


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(st.lists(PLAIN, max_size=30).map("".join), min_size=1, max_size=9))
def test_a_few_plain_texts_equal_the_oracle(wordpiece, texts):
    """They take another way, without TensorFlow; nine take the usual one."""
    texts = ["".join(c for c in text if c.isascii() and c.isprintable()) for text in texts]
    batch, ids = wordpiece.encode(texts), ids_of(wordpiece.vocabulary)
    for text, row, mask in zip(texts, batch["input_ids"], batch["input_mask"], strict=True):
        expected = oracle(text, ids, wordpiece.lower_case, False)
        assert row[mask == 1].tolist() == [wordpiece.cls_id, *expected, wordpiece.sep_id], text


@settings(max_examples=100, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.text("ab ", max_size=20), st.text("cd ", max_size=20)), max_size=4),
    length=st.one_of(st.none(), st.integers(3, 30)),
    paired=st.booleans(),
)
def test_a_few_plain_texts_are_as_among_many(wordpiece, pairs, length, paired):
    """Arrays too, with pairs, cut and padded; among more texts they take the usual way."""
    longest = "a" * 90  # [UNK]: one piece, which makes no row wider
    several = [*pairs, *[(longest, longest)] * 9]
    few, many = (
        wordpiece.encode([a for a, _ in rows], [b for _, b in rows] if paired else None, length)
        for rows in (pairs, several)
    )
    for name, array in few.items():
        expected = many[name][: len(pairs), : array.shape[1]]
        assert array.dtype == np.int32 and np.array_equal(array, expected), name


LETTERS = ["a", "é", "중", "𝔞", "e\u0301", "\u0301", "中", "a.", "A\u200b", "Σ", "İ"]


@pytest.mark.parametrize("letter", LETTERS, ids=ascii)
def test_words_of_more_than_100_characters_are_one_unknown(wordpiece, letter):
    texts = [f"x {letter * n},{letter * n} b" for n in (1, 50, 99, 100, 101, 102, 200, 10_000)]
    assert_equals_oracle(wordpiece, texts)


@pytest.mark.skipif(not REAL_VOCABULARY, reason="MOBILEBERT_TF_BERT_VOCAB names no vocab.txt")
@settings(max_examples=300, deadline=None)
@given(texts=TEXTS, special_tokens=st.booleans())
def test_equals_oracle_with_the_real_vocabulary(texts, special_tokens):
    wordpiece = real_wordpiece()
    assert_equals_oracle(wordpiece, texts, special_tokens)


def real_wordpiece(cache=[]):  # noqa: B006
    if not cache:
        cache.append(WordPiece.from_file(REAL_VOCABULARY))
    return cache[0]


def test_same_in_tf_data(wordpiece):
    texts = GOLDEN["texts"]
    rows = tf.data.Dataset.from_tensor_slices(texts).batch(7).map(wordpiece.tokenize)
    assert [row for batch in rows for row in batch.to_list()] == wordpiece.tokenize(texts).to_list()


def test_half_a_surrogate_pair_is_dropped(wordpiece):
    assert wordpiece.tokenize(["a\ud800b"]).to_list() == wordpiece.tokenize(["ab"]).to_list()


def test_special_tokens_are_text_unless_asked_for(wordpiece):
    plain, special = (wordpiece.tokenize(["a[MASK]b"], s).to_list()[0] for s in (False, True))
    assert wordpiece.mask_id not in plain
    a, b = wordpiece.vocabulary.index("a"), wordpiece.vocabulary.index("b")
    assert special == [a, wordpiece.mask_id, b]
    assert wordpiece.tokenize(["a\ue004b"], True).to_list() == wordpiece.tokenize(["ab"]).to_list()


# ---------------------------------------------------------------------------------------------
# encode, decode
# ---------------------------------------------------------------------------------------------

SMALL = [*SPECIAL_TOKENS, *"abcd", "##a", "##b", ".", "'", "(", ")"]


def test_encode_pairs_by_hand():
    inputs = WordPiece(SMALL).encode(["a b", "c"], ["d", "ab."], sequence_length=7)
    np.testing.assert_array_equal(
        inputs["input_ids"], [[2, 5, 6, 3, 8, 3, 0], [2, 7, 3, 5, 10, 11, 3]]
    )
    np.testing.assert_array_equal(inputs["input_mask"], [[1] * 6 + [0], [1] * 7])
    np.testing.assert_array_equal(
        inputs["segment_ids"], [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0] + [1] * 4]
    )
    assert all(value.dtype == np.int32 for value in inputs.values())


@pytest.mark.parametrize("pairs", [None, ["d", "ab. c a", ""]])
@pytest.mark.parametrize("longest", [4, 5, 30])
def test_encoded_within_a_length(pairs, longest):
    wordpiece, texts = WordPiece(SMALL), ["a b", "c", "a b c d d"]
    uncut = wordpiece.encode(texts, pairs)["input_mask"].sum(axis=1)
    arrays, lengths = wordpiece.encode_within(texts, pairs, longest)
    np.testing.assert_array_equal(lengths, uncut)
    expected = wordpiece.encode(texts, pairs, sequence_length=min(longest, uncut.max()))
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_encode_pads_to_the_longest_and_cuts_to_the_length():
    wordpiece = WordPiece(SMALL)
    assert wordpiece.encode(["a b c", "d"])["input_ids"].tolist() == [
        [2, 5, 6, 7, 3],
        [2, 8, 3, 0, 0],
    ]
    cut = wordpiece.encode(["a b c d", ""], sequence_length=4)
    assert cut["input_ids"].tolist() == [[2, 5, 6, 3], [2, 3, 0, 0]]
    assert cut["segment_ids"].tolist() == [[0] * 4] * 2
    assert wordpiece.encode([])["input_ids"].shape[0] == 0
    assert wordpiece.encode(["[MASK]"], special_tokens=True)["input_ids"].tolist() == [[2, 4, 3]]


def test_encode_refuses_what_cannot_be():
    wordpiece = WordPiece(SMALL)
    with pytest.raises(InputError, match="2 texts but 1 pairs"):
        wordpiece.encode(["a", "b"], ["c"])
    with pytest.raises(InputError, match="sequence_length 2"):
        wordpiece.encode(["a"], ["b"], sequence_length=2)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 40))
def test_truncation_is_one_by_one_from_the_longer(a, b, budget):
    """Google's _truncate_seq_pair, as a loop."""
    kept_a, kept_b = a, b
    while kept_a + kept_b > budget:
        if kept_a > kept_b:
            kept_a -= 1
        else:
            kept_b -= 1
    got = truncated_lengths(np.array([a]), np.array([b]), budget)
    assert (got[0][0], got[1][0]) == (kept_a, kept_b)


def test_decode_is_readable():
    wordpiece = WordPiece(SMALL)
    ids = wordpiece.encode(["aba (b) d'a. c"], sequence_length=20)["input_ids"][0]
    assert wordpiece.tokens(ids[:4]) == ["[CLS]", "a", "##b", "##a"]
    assert wordpiece.decode(ids) == "aba (b) d'a. c"
    assert wordpiece.decode([5, 4, 6]) == "a [MASK] b"


# ---------------------------------------------------------------------------------------------
# Vocabulary files
# ---------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    path = tmp_path / "vocab.txt"
    WordPiece(SMALL).save(path)
    loaded = WordPiece.from_file(path)
    assert loaded.vocabulary == SMALL and len(loaded) == len(SMALL)
    assert (loaded.pad_id, loaded.unk_id, loaded.cls_id, loaded.sep_id, loaded.mask_id) == (
        0, 1, 2, 3, 4,
    )  # fmt: skip
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert WordPiece.from_file(path).vocabulary == SMALL
    assert [file.name for file in tmp_path.iterdir()] == ["vocab.txt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"", "empty"),
        ("[PAD]\n\xe9\n".encode("latin-1"), r"not UTF-8 text \(byte 6\)"),
        (b"[PAD]\n[UNK]\n[CLS]\na\n", r"lacks the special tokens \[SEP\], \[MASK\]"),
        ("\n".join([*SMALL, "a", "b"]).encode(), r"2 pieces more than once: \['a', 'b'\]"),
        ("\n".join([*SMALL, "", "e"]).encode(), "line 16 is empty"),
    ],
    ids=["missing", "empty", "latin-1", "no specials", "repeated", "blank line"],
)
def test_bad_vocabulary_files(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        WordPiece.from_file(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("piece", ["a\nb", "a\r", "a\rb", "a ", "a\t", " ", "\ud800"], ids=ascii)
def test_pieces_that_no_line_can_hold_are_refused(piece):
    """Saved and read again, they or all later pieces would be others."""
    with pytest.raises(InputError, match=r"cannot hold the piece .* \(id 5\)") as error:
        WordPiece([*SPECIAL_TOKENS, piece, "cat", "dog"])
    assert ascii(piece) in str(error.value) and str(error.value).isascii()


def test_odd_pieces_survive_saving(tmp_path):
    pieces = [
        *SPECIAL_TOKENS,
        "a\x85b",
        "\u2028",
        "\u2029a",
        "a\x0c",
        "\xa0",
        "a\u3000",
        " a",
        "\ufeff",
    ]
    WordPiece(pieces).save(tmp_path / "vocab.txt")
    assert WordPiece.from_file(tmp_path / "vocab.txt").vocabulary == pieces


# ---------------------------------------------------------------------------------------------
# Training a vocabulary
# ---------------------------------------------------------------------------------------------

PROSE = [
    "The quick brown fox jumps over the lazy dog, quickly and quietly; the dog sleeps.",
    "Éclairs and cafés: naïve façades! 中文 and Ångström, 1234567890 (brackets).",
    "Whoever quotes the quotation quotes the quoter's quota.",
] * 3


def test_trained_vocabulary_covers_its_text():
    vocabulary = train_vocabulary(PROSE, 150)
    assert vocabulary[:5] == list(SPECIAL_TOKENS) and len(set(vocabulary)) == len(vocabulary) <= 150
    wordpiece = WordPiece(vocabulary)
    assert wordpiece.unk_id not in wordpiece.tokenize(PROSE).flat_values.numpy()
    assert "the" in vocabulary and "É" not in vocabulary
    # What always is a word of its own never continues one.
    assert not [t for t in vocabulary if t.startswith("##") and is_separate(t[2])]


def test_trained_vocabulary_keeps_case():
    vocabulary = train_vocabulary(PROSE, 150, lower_case=False)
    assert "É" in vocabulary and "T" in vocabulary


def test_training_is_the_same_in_every_process():
    """The library alone numbers pieces differently from process to process."""
    code = (
        "import sys, json; from mobilebert_tf.text.vocabulary import train_vocabulary;"
        "print(json.dumps(train_vocabulary(json.load(sys.stdin), 150)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(PROSE), capture_output=True, text=True,
        check=True, cwd=DATA.parent.parent,
    )  # fmt: skip
    here = [train_vocabulary(PROSE, 150) for _ in range(3)]
    assert here == [json.loads(other.stdout)] * 3


def test_only_the_most_frequent_characters_are_kept():
    rare = "".join(chr(c) for c in range(0xAC00, 0xAC00 + 1200))
    vocabulary = train_vocabulary(["common words " * 5, rare], 3000, lower_case=False)
    assert len([t for t in vocabulary if len(t) == 1]) == 1000
    assert vocabulary == train_vocabulary(["common words " * 5, rare], 3000, lower_case=False)


def test_no_piece_is_longer_than_the_tokenizer_takes():
    """Thai writes whole sentences without a blank; in a short text they would become pieces."""
    letters = [chr(code) for code in range(0xE01, 0xE2F)]
    sentence = "".join(random.Random(0).choices(letters, k=99))
    vocabulary = train_vocabulary([sentence] * 3, 3000)
    assert sentence not in vocabulary
    tokenizer = WordPiece(vocabulary)
    (ids,) = tokenizer.tokenize([sentence]).to_list()
    assert len(ids) > 1 and tokenizer.unk_id not in ids


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [([], 100, "empty text"), ([" \n", ""], 100, "empty text"), (PROSE, 40, "40 pieces is too")],
)
def test_training_refuses(texts, size, message):
    with pytest.raises(InputError, match=message):
        train_vocabulary(texts, size)


@pytest.mark.parametrize("lower_case", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False])
@pytest.mark.parametrize("text", ["möchte MÖCHTE", "か が", "mo\u0308chte", "ก็ ที่", "हिन्दी"])
def test_accents_are_kept_or_stripped(text, lower_case, strip_accents):
    normal = unicodedata.normalize("NFC", text)
    normal = normal.lower() if lower_case else normal
    if strip_accents:
        decomposed = unicodedata.normalize("NFD", normal)
        normal = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    tokenizer = WordPiece(SPECIAL_TOKENS, lower_case, strip_accents)
    (found,) = tokenizer.normalized(tf.constant([text])).numpy()
    assert found.decode() == normal


def test_vocabularies_as_people_have_them(tmp_path):
    """A byte order mark, blanks at the ends of lines, capitals, what is twice."""
    path, pieces = tmp_path / "vocab.txt", [*SPECIAL_TOKENS, "haus", "##e", "é"]
    path.write_bytes(b"\xef\xbb\xbf" + "".join(f"{piece} \t\r\n" for piece in pieces).encode())
    assert WordPiece.from_file(path).vocabulary == pieces
    assert WordPiece.from_file(path).lower_case
    path.write_text("".join(f"{piece}\n" for piece in [*pieces, "Haus", "Baum"]))
    assert not WordPiece.from_file(path).lower_case
    path.write_text("".join(f"{piece}\n" for piece in [*pieces, "haus"]))
    with pytest.raises(InputError, match=r"again in line 9: put a name .*\[unused"):
        WordPiece.from_file(path)


def test_pieces_of_new_characters_are_found():
    """Unicode 15's, which Python 3.11 does not know as printable."""
    tokenizer = WordPiece([*SPECIAL_TOKENS, "\U0001fae8"])
    assert tokenizer.tokenize(["\U0001fae8"]).to_list() == [[5]]
