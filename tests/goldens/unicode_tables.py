"""What BERT's normalisation does with each character, as two short strings that a phone can carry.

Phones and browsers know different versions of Unicode, an old Android none of today's emojis, so a
tokenizer that asked its platform would read the same text differently. These tables say what
mobilebert_tf.tokenizer's WordPiece does with every character, found by asking it.
"""

import itertools
import string
import sys
from collections.abc import Iterable

import tensorflow as tf

from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece

# Kinds of characters by their letter in the table.
LETTER, REMOVED, BLANK, SEPARATE, ACCENT, MARK = "LRBSAM"
_DIGITS = string.digits + string.ascii_lowercase
_SURROGATES = range(0xD800, 0xE000)


def kinds() -> str:
    """The kind of every code point, in runs: a kind's letter and the run's length in base 36."""
    codes = [code for code in range(sys.maxunicode + 1) if code not in _SURROGATES]
    characters = tf.constant([chr(code).encode() for code in codes])
    words = WordPiece(SPECIAL_TOKENS, lower_case=False).words(characters).numpy()
    found = [REMOVED] * (sys.maxunicode + 1)
    accents, marks = (
        tf.strings.regex_full_match(characters, category).numpy()
        for category in (r"\p{Mn}", r"\p{M}")
    )
    for code, word, is_accent, is_mark in zip(codes, words, accents, marks, strict=True):
        found[code] = _kind(word.decode(), is_accent, is_mark)
    runs = ((kind, sum(1 for _ in run)) for kind, run in itertools.groupby(found))
    return "".join(f"{kind}{_base36(length)}" for kind, length in runs)


def _kind(word: str, is_accent: bool, is_mark: bool) -> str:
    if not word:
        return REMOVED
    if not word.strip():
        return BLANK
    if is_mark:
        return ACCENT if is_accent else MARK
    return SEPARATE if word != word.strip() else LETTER


def lower_case() -> str:
    """Characters that have a lower case: runs of first,count,step,difference in base 36."""
    codes = [code for code in range(sys.maxunicode + 1) if code not in _SURROGATES]
    pairs = [(code, lower - code) for code, lower in zip(codes, _lower(codes), strict=True)]
    runs = []
    for code, difference in pairs:
        if not difference:
            continue
        if runs and _continues(runs[-1], code, difference):
            first, count, step, _ = runs[-1]
            runs[-1] = (first, count + 1, step or code - first, difference)
        else:
            runs.append((code, 1, 0, difference))
    return " ".join(
        ",".join(map(_base36, (first, count, step or 1, difference)))
        for first, count, step, difference in runs
    )


def _continues(run: tuple[int, int, int, int], code: int, difference: int) -> bool:
    first, count, step, its_difference = run
    wanted = (step,) if step else (1, 2)
    return difference == its_difference and code - (first + (count - 1) * step) in wanted


def _lower(characters: Iterable[int]) -> list[int]:
    """ICU's lower case, as TensorFlow gives it."""
    given = tf.constant([chr(code).encode() for code in characters])
    lower = [text.decode() for text in tf.strings.lower(given, encoding="utf-8").numpy()]
    # An I with a dot becomes an i and a dot, which is stripped as an accent; U+0000 nothing.
    return [ord(text[0]) if text else 0 for text in lower]


def _base36(number: int) -> str:
    if number < 0:
        return f"-{_base36(-number)}"
    head, last = divmod(number, 36)
    return (_base36(head) if head else "") + _DIGITS[last]
