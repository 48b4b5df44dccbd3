"""Where in the text each piece comes from: WordPiece's ids with character offsets.

WordPiece tokenizes bytes that it has already normalised, so it cannot tell. Here the text is cut
into clusters, a character with the marks that belong to it, that are normalised each on its own
by WordPiece's own rules; the tokenizers library then only looks for the longest pieces, and its
offsets lead back to the clusters.
"""

import functools
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import tensorflow as tf
import tokenizers

from mobilebert_tf.text.fast_tokenizer import build_fast_tokenizer
from mobilebert_tf.text.tokenizer import WordPiece


class Encoded(NamedTuple):
    """A text's pieces.

    Args:
        ids: the ids that WordPiece.tokenize gives.
        spans: for each of them the (start, end) of its characters in the text as it was given.
            Accents, and removed characters inside a piece, belong to it. Pieces of one character,
            or of marks that normalisation reordered, share a span.
    """

    ids: list[int]
    spans: list[tuple[int, int]]


def tokenize_with_offsets(tokenizer: WordPiece, texts: Sequence[str]) -> list[Encoded]:
    """The texts' pieces and where they come from; special tokens in them are plain text."""
    return _aligner(tokenizer).encode(texts)


@functools.lru_cache(maxsize=4)
def _aligner(tokenizer: WordPiece) -> "_Aligner":
    return _Aligner(tokenizer)


class _Aligner:
    """A tokenizer's pieces in the tokenizers library, and the normal forms met so far."""

    def __init__(self, tokenizer: WordPiece):
        self._tokenizer = tokenizer
        # Its normalisation, punctuation and special tokens stay out: they differ from BERT's.
        self._pieces = tokenizers.Tokenizer(
            build_fast_tokenizer(tokenizer.vocabulary, tokenizer.lower_case).model
        )
        self._pieces.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        self._forms = {}

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        self._learn(set().union(*texts))
        cleaned = [self._cleaned(text) for text in texts]
        self._learn(set().union(*(_cluster_pattern().findall(clean) for clean, _ in cleaned)))
        return [self._encode(clean, places) for clean, places in cleaned]

    def _encode(self, clean: str, places: Sequence[int]) -> Encoded:
        parts = [
            part
            for match in _cluster_pattern().finditer(clean)
            for part in self._parts(match.group(), places[match.start() : match.end()])
        ]
        normal = "".join(form for form, _, _ in parts)
        origins = [(start, end) for form, start, end in parts for _ in form]
        found = self._pieces.encode(normal, add_special_tokens=False)
        spans = [(origins[first][0], origins[last - 1][1]) for first, last in found.offsets]
        return Encoded(found.ids, spans)

    def _learn(self, clusters: set[str]) -> None:
        """Normalises those that are new."""
        new = sorted(clusters - self._forms.keys())
        if not new:
            return
        encoded = [cluster.encode("utf-8", "ignore") for cluster in new]
        forms = self._tokenizer.words(tf.constant(encoded, tf.string)).numpy()
        self._forms.update(zip(new, (form.decode("utf-8") for form in forms), strict=True))

    def _cleaned(self, text: str) -> tuple[str, Sequence[int]]:
        """The text without what cleaning removes, and where its characters were.

        That separates nothing: "e", a soft hyphen and an accent make an "é".
        """
        kept = [i for i, character in enumerate(text) if not self._is_removed(character)]
        if len(kept) == len(text):
            return text, range(len(text))
        return "".join(text[i] for i in kept), kept

    def _parts(self, cluster: str, places: Sequence[int]) -> list[tuple[str, int, int]]:
        """The cluster's normal form in parts, each with the start and end of its characters.

        One for each character, whose stripped accents count to it; or the first character and
        its reordered marks; or one for all, if they were composed.
        """
        whole = self._forms[cluster]
        if len(cluster) == 1:
            return [(whole, places[0], places[0] + 1)]
        forms = [self._forms[character] for character in cluster]
        if "".join(forms) != whole:
            if not whole.startswith(forms[0]):
                return [(whole, places[0], places[-1] + 1)]
            marks = whole.removeprefix(forms[0])
            return [(forms[0], places[0], places[0] + 1), (marks, places[1], places[-1] + 1)]
        parts = []
        for form, place in zip(forms, places, strict=True):
            if form:
                parts.append((form, place, place + 1))
            elif parts:
                parts[-1] = (*parts[-1][:2], place + 1)
        return parts

    def _is_removed(self, character: str) -> bool:
        # A stripped accent also leaves nothing, but it belongs to its letter.
        return not self._forms[character] and unicodedata.category(character) != "Mn"


@functools.cache
def _cluster_pattern() -> re.Pattern:
    """A blank, or a character and what normalisation may join to it or reorder behind it.

    That are marks, and the vowels and final consonants of which Hangul syllables are composed.
    """
    marks = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c)[0] == "M"]
    joined = f"{_ranges(marks)}\u1160-\u11ff"
    return re.compile(rf"\s|.[{joined}]*", re.DOTALL)


def _ranges(characters: Iterable[str]) -> str:
    """Sorted characters as the inside of a regular expression's brackets."""
    runs = []
    for character in characters:
        if runs and ord(character) == ord(runs[-1][1]) + 1:
            runs[-1][1] = character
        else:
            runs.append([character, character])
    return "".join(f"{first}-{last}" for first, last in runs)
