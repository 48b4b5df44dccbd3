"""Offsets: the ids are WordPiece's own, and every span is the text that its piece came from."""

import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilebert_tf.text.offsets import tokenize_with_offsets
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "data" / "tokenizer_golden.json").read_text(encoding="utf-8")
)
REAL_VOCABULARY = os.environ.get("MOBILEBERT_TF_BERT_VOCAB")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SMALL = [
    *SPECIAL_TOKENS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *"É.,[]!中文é🙂ﬁ",
    "\u1112", "##\u1161", "##\u11ab", "##中", "##é", "##ﬁ", "한",
]  # fmt: skip


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def lower_case(request):
    return request.param


@pytest.fixture(scope="module")
def small(lower_case):
    return WordPiece(SMALL, lower_case)


@pytest.fixture(scope="module")
def golden(lower_case):
    return WordPiece(GOLDEN["vocabulary"], lower_case)


def cut(wordpiece, text):
    """(piece, its part of the text) of each piece."""
    ids, spans = tokenize_with_offsets(wordpiece, [text])[0]
    parts = [text[start:end] for start, end in spans]
    return list(zip(wordpiece.tokens(ids), parts, strict=True))


def assert_same_ids(wordpiece, texts):
    expected = wordpiece.tokenize(texts).to_list()
    for text, found, ids in zip(
        texts, tokenize_with_offsets(wordpiece, texts), expected, strict=True
    ):
        assert found.ids == ids, ascii(text)
        assert_spans_in_order(text, found.spans)


def assert_spans_in_order(text, spans):
    """None is empty, none begins before the one before it, blanks are in none."""
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    assert starts == sorted(starts) and ends == sorted(ends)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert not any(set(text[start:end]) & set(" \t\n\r\u00a0\u3000") for start, end in spans)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ab, c", [("a", "A"), ("##b", "b"), (",", ","), ("c", "c")]),
        ("xÉ cafe\u0301s", [
            ("x", "x"), ("##e", "É"),
            ("c", "c"), ("##a", "a"), ("##f", "f"), ("##e", "e\u0301"), ("##s", "s"),
        ]),
        ("a\u00adb\u200b\x00c", [("a", "a"), ("##b", "b"), ("##c", "c")]),
        ("e\u200d\u0301x", [("e", "e\u200d\u0301"), ("##x", "x")]),  # removed inside the letter
        ("ab🙂c", [("[UNK]", "ab🙂c")]),
        ("🙂 ☃a", [("🙂", "🙂"), ("[UNK]", "☃a")]),
        ("a中文b", [("a", "a"), ("中", "中"), ("文", "文"), ("b", "b")]),
        ("ﬁﬁ", [("ﬁ", "ﬁ"), ("##ﬁ", "ﬁ")]),
        ("한a", [("\u1112", "한"), ("##\u1161", "한"), ("##\u11ab", "한"), ("##a", "a")]),
        ("[MASK]", [("[", "["), ("m", "M"), ("##a", "A"), ("##s", "S"), ("##k", "K"), ("]", "]")]),
        ("\n\u3000İ\ud800", [("i", "İ")]),
        ("x" * 100, [("x", "x")] + [("##x", "x")] * 99),
        ("x" * 101, [("[UNK]", "x" * 101)]),
        ("\u0301", []),
        (".\u0301a", [(".", ".\u0301"), ("a", "a")]),
        ("\u1112\u1161a", [("\u1112", "\u1112"), ("##\u1161", "\u1161"), ("##a", "a")]),
        ("", []),
    ],
    ids=ascii,
)  # fmt: skip
def test_pieces_and_their_text(text, expected):
    assert cut(WordPiece(SMALL), text) == expected


def test_cased_letters_keep_their_accents():
    """They are composed, so a letter and its accent are one piece; Hangul too."""
    cased = WordPiece(SMALL, lower_case=False)
    assert cut(cased, "éae\u0301") == [("é", "é"), ("##a", "a"), ("##é", "e\u0301")]
    assert cut(cased, "E\u200b\u0301") == [("É", "E\u200b\u0301")]
    assert cut(cased, "\u1112\u1161\u11ab") == [("한", "\u1112\u1161\u11ab")]


def test_no_texts(small):
    assert tokenize_with_offsets(small, []) == []


def test_same_ids_on_recorded_texts(golden):
    assert_same_ids(golden, GOLDEN["texts"])


def test_same_ids_for_every_character(golden):
    """Alone, inside a word, before and after one; of the many letters without case, each 97th."""
    few = (
        c
        for c in map(chr, range(0x110000))
        if unicodedata.category(c) not in ("Lo", "Co", "Cn", "Cs") or ord(c) % 97 == 0
    )
    assert_same_ids(golden, [f"a{c}b {c}a b{c} {c}" for c in few])


# Mostly what the vocabulary knows; then what joins, moves or vanishes; then anything.
FAMILIAR = st.sampled_from(
    [*"abcABE .,!\n\tΣσςİßﬁ…éÉñ한中文☃\u200b\u00ad\x00\x85\u2028\u3000ⅷ🙂", *SPECIAL_TOKENS]
)
MARKS = st.one_of(
    st.characters(categories=["Mn", "Mc", "Me"]),
    st.characters(min_codepoint=0x1100, max_codepoint=0x11FF),
)
TEXTS = st.lists(
    st.lists(st.one_of(FAMILIAR, MARKS, st.characters()), max_size=30).map("".join),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(texts=TEXTS)
def test_same_ids_on_any_text(golden, texts):
    assert_same_ids(golden, texts)


@pytest.mark.skipif(not REAL_VOCABULARY, reason="MOBILEBERT_TF_BERT_VOCAB names no vocab.txt")
@settings(max_examples=300, deadline=None)
@given(texts=TEXTS)
def test_same_ids_with_the_real_vocabulary(texts):
    assert_same_ids(real_wordpiece(), texts)


def real_wordpiece(cache=[]):  # noqa: B006
    if not cache:
        cache.append(WordPiece.from_file(REAL_VOCABULARY))
    return cache[0]


@settings(max_examples=100, deadline=None)
@given(texts=TEXTS)
def test_a_span_tokenized_alone_gives_its_piece(small, texts):
    """Of pieces that are a whole word and do not share their span."""
    for text, found in zip(texts, tokenize_with_offsets(small, texts), strict=True):
        pieces = [*small.tokens(found.ids), ""]
        alone = [
            i
            for i, span in enumerate(found.spans)
            if not (pieces[i] + pieces[i + 1]).count("##") and found.spans.count(span) == 1
        ]
        again = tokenize_with_offsets(small, [text[slice(*found.spans[i])] for i in alone])
        assert [each.ids for each in again] == [[found.ids[i]] for i in alone]


def test_marks_newer_than_pythons_tables_belong_to_their_letter():
    """U+0ECE, a mark of Unicode 15, is stripped from its letter as any accent."""
    tokenizer = WordPiece([*SPECIAL_TOKENS, "a", "b"])
    (encoded,) = tokenize_with_offsets(tokenizer, ["a\u0ece b"])
    assert encoded.ids == [5, 6] and encoded.spans == [(0, 2), (3, 4)]
