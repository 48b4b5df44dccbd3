"""Core's tokenizer on texts that nobody would write: pieces, ids and places are Python's."""

import random
import sys
import unicodedata

import pytest
from texts import VOCABULARY

from mobilebert_tf.text.offsets import tokenize_with_offsets
from mobilebert_tf.text.tokenizer import WordPiece

COUNT = 10_000
_FAMILIAR = (
    "abcdeABE    .,!'-[]\n\t\u00a0\u3000ΣσςİßﬁéÉñ…한각가中文日☃\U0001f642\U00010400\U0001d400½ⅷ"
)
_MARKS = [range(0x300, 0x370), range(0x1100, 0x1200), range(0x591, 0x5C8), range(0x900, 0x950)]
_MARKS += [range(0x20D0, 0x20F1), range(0x1D165, 0x1D173), range(0xA8E0, 0xA8F2)]
_VANISHING = [range(0x20), range(0x7F, 0xA0), range(0x200B, 0x2010), range(0xD800, 0xE006)]
# Marks that Unicode has since versions 14 and 15; TensorFlow's tables, and so ours, know them.
# Java 17's Normalizer knows version 13: in cased text it does not put such a mark into its order
# among others. The unicodedata of Python 3.11, with which offsets.py finds marks, knows 14: it does
# not count a mark of 15 to its letter.
_NEW_MARKS = {
    *range(0x898, 0x8A0), *range(0x8CA, 0x8D3), 0xC3C, 0xCF3, 0xECE, 0x1715, 0x180F,
    *range(0x1AC1, 0x1ACF), 0x1DFA, *range(0x10EFD, 0x10F00), *range(0x10F82, 0x10F86), 0x11070,
    0x11073, 0x11074, 0x110C2, 0x11241, *range(0x11F00, 0x11F43), *range(0x13440, 0x13456),
    *range(0x1CF00, 0x1CF47), 0x1E08F, 0x1E2AE, *range(0x1E4EC, 0x1E4F0),
}  # fmt: skip


def strange_text(source: random.Random) -> str:
    """Mostly what the vocabulary knows, then what joins, moves or vanishes, then anything."""
    kinds = (
        lambda: source.choice(_FAMILIAR),
        lambda: source.choice(VOCABULARY[5:]).removeprefix("##"),
        lambda: chr(source.choice(source.choice(_MARKS))),
        lambda: chr(source.choice(source.choice(_VANISHING))),
        lambda: chr(source.randrange(0x3000)),
        lambda: chr(source.randrange(sys.maxunicode + 1)),
    )
    chosen = source.choices(kinds, weights=(40, 10, 20, 8, 12, 10), k=source.randrange(41))
    return "".join(kind() for kind in chosen)


def whole(text: str) -> str:
    """The text as UTF-16 can hold it: two halves side by side are one character there."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def vocabulary_for(texts: list[str]) -> list[str]:
    """Pieces of one character for what the texts hold, so that ids tell each character from all
    others; but a few, that there are unknown words too."""
    forms = {unicodedata.normalize(form, "".join(texts)) for form in ("NFC", "NFD")}
    characters = set("".join(forms)) | set("".join(forms).lower())
    known = sorted(c for c in characters if c.isprintable() and c != " " and ord(c) % 50)
    pieces = (piece for c in known for piece in (c, f"##{c}"))
    return list(dict.fromkeys([*VOCABULARY, *pieces]))


@pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])
@pytest.mark.parametrize("made_by", ["python", "kotlin"])
def test_strange_texts(host, made_by, lower_case):
    if made_by == "python":
        source = random.Random(20)
        texts = [whole(strange_text(source)) for _ in range(COUNT)]
    else:
        texts = host("generate", {"count": COUNT, "seed": 20})
    vocabulary = vocabulary_for(texts)
    wordpiece = WordPiece(vocabulary, lower_case)
    request = {"vocabulary": vocabulary, "lower_case": lower_case, "texts": texts}
    found = host("tokenize", request)
    expected = tokenize_with_offsets(wordpiece, texts)
    ids = wordpiece.tokenize(texts).to_list()
    assert len(texts) == len(found) == COUNT and sum(map(len, ids)) > 10 * COUNT
    different = []
    for text, theirs, ours, our_ids in zip(texts, found, expected, ids, strict=True):
        assert our_ids == ours.ids
        places = list(zip(theirs["starts"], theirs["ends"], strict=True))
        if (theirs["ids"], places) != (our_ids, [tuple(span) for span in ours.spans]):
            different.append(text)
    unexplained = [text for text in different if not _NEW_MARKS.intersection(map(ord, text))]
    assert not unexplained, ascii(unexplained[0])
    assert len(different) < COUNT / 200
    print(
        f"{COUNT} texts, {len(different)} differ, all for marks newer than Java 17 or Python 3.11"
    )


@pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])
def test_every_character(host, lower_case):
    """Alone, in a word, and with an accent behind: 1,112,064 of them and the halves of pairs."""
    texts = [f"a{chr(code)}b {chr(code)}\u0301 {chr(code)}" for code in range(sys.maxunicode + 1)]
    vocabulary = vocabulary_for([chr(code) for code in range(0x3000)])
    wordpiece = WordPiece(vocabulary, lower_case)
    for start in range(0, len(texts), 100_000):
        part = texts[start : start + 100_000]
        request = {"vocabulary": vocabulary, "lower_case": lower_case, "texts": part}
        for text, theirs, ids in zip(
            part, host("tokenize", request), wordpiece.tokenize(part).to_list(), strict=True
        ):
            assert theirs["ids"] == ids, ascii(text)
