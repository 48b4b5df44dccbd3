"""What a word is: the one definition, from training data to raw text.

Training data give words; a raw text gives characters. BERT's tokenizer cuts a text at blanks, and
makes each mark (punctuation and the symbols of ASCII) and each Chinese character a part of its own:
"U.S." has four parts, though it was one word, with one label, in training. So the words of a raw
text are BERT's parts, and those without a blank between them are one word where the training
words say so. A word's label is that of its first piece.

What the training words say is learnt from them, for each mark and what stands beside it, by
majority, and kept as joiners. A joiner is written as an example, with x for a letter, 0 for a digit
and a blank where a word ends:

    x-x    e-mail, cat-dog, covid-19: one word. Between two digits it is 0-0, 0.0, 0,0.
    x 'x   John 's: a new word begins with the mark
    x' x   l' homme: a word ends with the mark
    #x     behind a blank or another mark, the mark and what follows are one word
    0%     before a blank or another mark, the mark and what precedes are one word
    x.x.   the same, in a word that has this mark already: U.S.
    ..     two marks are one word, as in ...

Without a joiner a mark is a word of its own, as in BERT. Chinese characters are never joined, and
scripts without blanks between words (Thai) are cut at blanks alone: give words for these. An
apostrophe is the same mark in both its forms. Kotlin (android_demo) and JavaScript (web_demo) read
joiners in the same way; tests/goldens/words.json holds all three to it.
"""

import functools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import tensorflow as tf

_BLANK = re.compile(r"[\t\n\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
# Kinds of characters, as the tokenizer sees them; what is none of them is removed.
_KINDS = {
    "mark": r"[\p{P}!-/:-@\[-`{-~]",
    "Chinese": (
        r"[\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{2A6DF}"
        r"\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{2F800}-\x{2FA1F}]"
    ),
    "removed": r"\x{FFFD}",
    "letter": r"[\p{L}\p{M}\p{N}\p{S}]",
}
_ONE_MARK = {"\u2019": "'"}  # an apostrophe


@dataclass(frozen=True)
class _Part:
    """What the parts beside one of BERT's parts see of it.

    Args:
        separate: the mark or Chinese character that it is; "" for letters and digits.
        first, last: of letters and digits: "0" for a digit, else "x".
    """

    separate: str = ""
    first: str = ""
    last: str = ""


_NOTHING = _Part()


def continued_words(
    text: str, parts: Sequence[tuple[int, int]], joiners: Sequence[str]
) -> list[bool]:
    """Returns for each of BERT's parts whether it continues the word of the part before it.

    Args:
        text: the raw text.
        parts: start and end of each part in it, in its order.
        joiners: from `learn_joiners`; without any, each part is a word.
    """
    if not joiners:
        return [False] * len(parts)
    known = {joiner.replace(" ", ""): joiner for joiner in joiners}
    shapes = [_part(text[start:end]) for start, end in parts]
    gaps = ((end, start) for (_, end), (start, _) in pairwise(parts))
    touching = [False, *(not _BLANK.search(text, *gap) for gap in gaps), False]
    continued: list[bool] = []
    marks: set[str] = set()  # in the word so far
    takes_next = False  # whether the mark before and this part are one word
    for i, part in enumerate(shapes):
        before = shapes[i - 1] if touching[i] else _NOTHING
        after = shapes[i + 1] if touching[i + 1] else _NOTHING
        joined = takes_next and not part.separate
        takes_next = False
        if mark := part.separate:
            joiner = known.get(_example(before.last, mark, after.first, mark in marks), "")
            joined = bool(before.last and joiner) and joiner[1] != " "
            takes_next = bool(after.first and joiner) and joiner[-2] != " "
            if before.separate:
                joined = before.separate + mark in known
        marks = (marks if joined else set()) | {mark}
        continued.append(joined)
    return continued


def learn_joiners(sentences: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Returns the joiners of training words, sorted.

    Each mark has a vote for how it stands between its neighbours: in a word, at its begin or end,
    or alone. The words do not tell where their text had blanks. So a mark that ends a word has no
    vote before a capital: there it may end a sentence or an abbreviation.

    Args:
        sentences: lists of words.
    """
    votes: dict[str, Counter[str]] = defaultdict(Counter)  # by the reading with all blanks
    for words in sentences:
        for apart, reading in _readings(words):
            votes[apart][reading] += 1
    joiners = []
    for apart, counts in votes.items():
        best = max(counts, key=lambda reading: (counts[reading], -reading.count(" ")))
        if best != apart:
            joiners.append(best)
    return tuple(sorted(joiners))


def _readings(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields how each mark is read, as a joiner: if all its parts were apart, and as it is."""
    pieces = (_split(piece) for word in words for piece in _BLANK.split(word))
    parts = [(part, index > 0) for piece in pieces for index, part in enumerate(piece)]
    shapes = [_NOTHING, *(_part(part) for part, _ in parts), _NOTHING]
    marks: set[str] = set()  # in the word so far
    for i, ((_, joined), (following, takes_next)) in enumerate(pairwise([*parts, ("", False)])):
        before, mark, after = shapes[i], shapes[i + 1].separate, shapes[i + 2]
        repeated = mark in marks
        marks = (marks if joined else set()) | {mark}
        if not mark or _kind(mark) == "Chinese":
            continue
        if before.separate and _kind(before.separate) != "Chinese":
            yield f"{before.separate} {mark}", before.separate + ("" if joined else " ") + mark
        left, right = before.last, after.first
        if repeated and joined and not takes_next:
            right = ""  # "U.S. team": not "U.S.team"
        elif left and right and not takes_next and following[0].isupper():
            continue
        if left or right:
            apart = _example(left, mark, right, repeated, " ", " ")
            gaps = ("" if joined else " ", "" if takes_next else " ")
            yield apart, _example(left, mark, right, repeated, *gaps)


def _example(
    left: str, mark: str, right: str, repeated: bool, gap: str = "", next_gap: str = ""
) -> str:
    """Returns a joiner: how a mark stands between its neighbours.

    Args:
        left, right: "x", "0" or "" for what stands beside it.
        mark: the mark.
        repeated: whether the word before it has the mark already.
        gap, next_gap: between it and its neighbours.
    """
    if left and right:
        left = right = "0" if left == right == "0" else "x"
    elif left and repeated:
        left += mark + left
    return (left + gap if left else "") + mark + (next_gap + right if right else "")


def _split(word: str) -> list[str]:
    """Returns the parts that BERT makes of a word without blanks, before it normalises them."""
    parts, is_open = [], False
    for character in word:
        kind = _kind(character)
        if kind == "letter" and is_open:
            parts[-1] += character
        elif kind != "removed":
            parts.append(character)
            is_open = kind == "letter"
    return parts


def _part(text: str) -> _Part:
    if _kind(text[0]) in ("mark", "Chinese"):
        return _Part(separate=_ONE_MARK.get(text[0], text[0]))
    first, last = ("0" if character.isdecimal() else "x" for character in (text[0], text[-1]))
    return _Part(first=first, last=last)


@functools.cache
def _kind(character: str) -> str:
    """Returns a key of _KINDS. The tables are the tokenizer's, RE2's: Python's are older."""
    encoded = unicodedata.normalize("NFC", character).encode("utf-8", "ignore")
    kinds = (kind for kind, pattern in _KINDS.items() if _matches(encoded, pattern))
    return next(kinds, "removed")


def _matches(text: bytes, pattern: str) -> bool:
    return bool(tf.strings.regex_full_match(text, pattern))
