"""The page's modules in node; its tokenizer is ours: every character, and 10,000 fuzzed texts."""

import random
import subprocess
import unicodedata
from pathlib import Path

import pytest

from mobilebert_tf.text.offsets import tokenize_with_offsets
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = [
    *SPECIAL_TOKENS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *"É.,[]!中文é🙂ﬁßσ한",
    "\u1112", "##\u1161", "##\u11ab", "##中", "##é", "##ﬁ", "##σ", "the", "##ing",
]  # fmt: skip
FAMILIAR = [*"abcABE .,!\n\tΣσςİßﬁ…éÉñ한中文☃\u200b\u00ad\x00\x85\u2028\u3000ⅷ🙂", *SPECIAL_TOKENS]
# Marks that Python 3.11's own tables do not know yet, but the tokenizer's do: mobilebert_tf.offsets
# says that they are nothing, the page that they belong to their letter. The ids are the same.
NEWER_MARKS = [
    chr(code)
    for first, last in ((0x0CF3, 0x0CF3), (0x0ECE, 0x0ECE), (0x10EFD, 0x10EFF), (0x11241, 0x11241),
        (0x11F00, 0x11F03), (0x11F34, 0x11F3A), (0x11F3E, 0x11F42), (0x13440, 0x13440),
        (0x13447, 0x13455), (0x1E08F, 0x1E08F), (0x1E4EC, 0x1E4EF))
    for code in range(first, last + 1)
    if unicodedata.category(chr(code)) == "Cn"
]  # fmt: skip


@pytest.fixture(params=[True, False], ids=["uncased", "cased"])
def wordpiece(request):
    return WordPiece(VOCABULARY, request.param)


@pytest.mark.parametrize("program", ["goldens.test.mjs", "pipeline.test.mjs"])
def test_modules(program):
    here = Path(__file__).parent
    done = subprocess.run(["node", "--test", here / program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def in_page(in_browser, wordpiece, texts, special_tokens=False):
    given = {"vocabulary": VOCABULARY, "lower_case": wordpiece.lower_case}
    return in_browser("pieces.mjs", given | {"texts": texts, "special_tokens": special_tokens})


def test_fuzzed(wordpiece, in_browser):
    texts = fuzzed(10_000, seed=int(wordpiece.lower_case))
    found = in_page(in_browser, wordpiece, texts)
    for text, theirs, ours in zip(
        texts, found, tokenize_with_offsets(wordpiece, texts), strict=True
    ):
        assert theirs["ids"] == ours.ids, ascii(text)
        if not set(text) & set(NEWER_MARKS):
            places = [(s["start"], s["end"]) for s in theirs["spans"]]
            assert in_characters(text, places) == ours.spans, ascii(text)


def test_fuzzed_with_special_tokens(wordpiece, in_browser):
    texts = fuzzed(2_000, seed=7)
    expected = wordpiece.tokenize(texts, special_tokens=True).to_list()
    found = in_page(in_browser, wordpiece, texts, special_tokens=True)
    assert [each["ids"] for each in found] == expected


def test_every_character(wordpiece, in_browser):
    """Inside a word and alone, 50 to a text; of the many letters without case, each 97th."""
    few = [
        c
        for c in map(chr, range(0x110000))
        if unicodedata.category(c) not in ("Lo", "Co", "Cn", "Cs") or ord(c) % 97 == 0
    ]
    texts = [
        " ".join(f"a{c}b {c}" for c in few[start : start + 50]) for start in range(0, len(few), 50)
    ]
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]  # no halves of pairs
    found = in_page(in_browser, wordpiece, texts)
    assert [each["ids"] for each in found] == wordpiece.tokenize(texts).to_list()


def fuzzed(count, seed):
    """Mostly what the vocabulary knows; then what joins, moves or vanishes; then anything."""
    chooser = random.Random(seed)
    marks = [c for c in map(chr, range(0x110000)) if unicodedata.category(c)[0] == "M"]
    marks += [*map(chr, range(0x1100, 0x1200)), *NEWER_MARKS]
    anything = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) != "Cs"]
    pools = (FAMILIAR, marks, anything[:0x3000], anything)

    def text():
        chosen = chooser.choices(pools, (50, 25, 15, 10), k=chooser.randrange(30))
        return "".join(map(chooser.choice, chosen))

    return [text() for _ in range(count)]


def in_characters(text, spans):
    """Places in UTF-16 units as places in characters."""
    places = {0: 0}
    units = 0
    for index, character in enumerate(text, start=1):
        units += len(character.encode("utf-16-le")) // 2
        places[units] = index
    return [(places[start], places[end]) for start, end in spans]
