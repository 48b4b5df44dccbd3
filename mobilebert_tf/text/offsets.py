"""WordPiece ids with character offsets: the position of each piece in the original text.

WordPiece normalises the text before it splits it, so the positions of its pieces are lost. Here
the text is cut into clusters (a character with its combining marks), and each cluster is
normalised on its own by WordPiece's rules. The tokenizers library splits the joined result into
pieces, and the offsets of these pieces lead back to the clusters.
"""

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import tensorflow as tf
import tokenizers

from mobilebert_tf.text.fast_tokenizer import build_fast_tokenizer
from mobilebert_tf.text.tokenizer import WordPiece


class Encoded(NamedTuple):
    """The pieces of a text.

    Args:
        ids: the ids that WordPiece.tokenize returns.
        spans: for each id the (start, end) of its characters in the original text. A span
            includes stripped accents, and removed characters inside the piece. Pieces that come
            from one character, or from marks that normalisation reordered, share a span.
    """

    ids: list[int]
    spans: list[tuple[int, int]]


def tokenize_with_offsets(tokenizer: WordPiece, texts: Sequence[str]) -> list[Encoded]:
    """Returns the pieces of each text with their offsets; "[MASK]" and the like are plain text."""
    return _aligner(tokenizer).encode(texts)


@functools.lru_cache(maxsize=4)
def _aligner(tokenizer: WordPiece) -> "_Aligner":
    return _Aligner(tokenizer)


class _Aligner:
    """Returns the pieces of each text with offsets; special tokens in a text are plain text."""

    def __init__(self, tokenizer: WordPiece):
        self._tokenizer = tokenizer
        # The model alone: the library's normalisation and punctuation rules differ from BERT's.
        self._pieces = tokenizers.Tokenizer(
            build_fast_tokenizer(
                tokenizer.vocabulary, tokenizer.lower_case, tokenizer.strip_accents
            ).model
        )
        self._pieces.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        self._normalized = {}  # by character or cluster

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        self._normalize(set().union(*texts))
        cleaned = [self._clean(text) for text in texts]
        self._normalize(set().union(*(_cluster_pattern().findall(clean) for clean, _ in cleaned)))
        return [self._encode(clean, positions) for clean, positions in cleaned]

    def _encode(self, clean: str, positions: Sequence[int]) -> Encoded:
        parts = [
            part
            for match in _cluster_pattern().finditer(clean)
            for part in self._parts(match.group(), positions[match.start() : match.end()])
        ]
        normalized = "".join(text for text, _, _ in parts)
        origins = [(start, end) for text, start, end in parts for _ in text]
        encoding = self._pieces.encode(normalized, add_special_tokens=False)
        spans = [(origins[first][0], origins[last - 1][1]) for first, last in encoding.offsets]
        return Encoded(encoding.ids, spans)

    def _normalize(self, clusters: set[str]) -> None:
        """Adds the clusters that the cache does not have yet."""
        new = sorted(clusters - self._normalized.keys())
        if not new:
            return
        encoded = [cluster.encode("utf-8", "ignore") for cluster in new]
        words = self._tokenizer.words(tf.constant(encoded, tf.string)).numpy()
        self._normalized.update(zip(new, (word.decode("utf-8") for word in words), strict=True))

    def _clean(self, text: str) -> tuple[str, Sequence[int]]:
        """Returns the text without the characters that BERT removes, and the positions of the rest.

        Removed characters separate nothing: "e", a soft hyphen and an accent make an "é".
        """
        kept = [i for i, character in enumerate(text) if not self._is_removed(character)]
        if len(kept) == len(text):
            return text, range(len(text))
        return "".join(text[i] for i in kept), kept

    def _parts(self, cluster: str, positions: Sequence[int]) -> list[tuple[str, int, int]]:
        """Splits a normalised cluster into (text, start, end), as finely as positions are known.

        Usually a part is a character with the accents that were stripped from it. Where
        normalisation reordered the marks, they are one part behind their character; where it
        composed characters, the whole cluster is one part.
        """
        whole = self._normalized[cluster]
        if len(cluster) == 1:
            return [(whole, positions[0], positions[0] + 1)]
        characters = [self._normalized[character] for character in cluster]
        if "".join(characters) != whole:
            first = characters[0]
            if not whole.startswith(first):
                return [(whole, positions[0], positions[-1] + 1)]
            marks = whole.removeprefix(first)
            return [
                (first, positions[0], positions[0] + 1),
                (marks, positions[1], positions[-1] + 1),
            ]
        parts = []
        for text, position in zip(characters, positions, strict=True):
            if text:
                parts.append((text, position, position + 1))
            elif parts:
                parts[-1] = (*parts[-1][:2], position + 1)
        return parts

    def _is_removed(self, character: str) -> bool:
        # Nothing remains of a stripped accent either, but its span belongs to its letter.
        return not self._normalized[character] and character not in _characters_of("Mn")


@functools.cache
def _cluster_pattern() -> re.Pattern:
    """Returns a pattern for a blank, or for a character with all that normalisation may join to it.

    These are combining marks, and the vowels and final consonants of Hangul syllables.
    """
    joined = f"{_ranges(sorted(_characters_of('M')))}\u1160-\u11ff"
    return re.compile(rf"\s|.[{joined}]*", re.DOTALL)


@functools.cache
def _characters_of(category: str) -> frozenset[str]:
    """Returns the characters of a Unicode category, as the tokenizer sees them.

    Its tables, RE2's, are newer than Python's. Marks stand in the planes 0, 1 and 14 alone.
    """
    planes = (range(0xD800), range(0xE000, 0x20000), range(0xE0000, 0xE0200))
    characters = [chr(code) for plane in planes for code in plane]
    encoded = tf.constant([character.encode() for character in characters], tf.string)
    matches = tf.strings.regex_full_match(encoded, rf"(?s)\p{{{category}}}").numpy()
    return frozenset(itertools.compress(characters, matches))


def _ranges(characters: Iterable[str]) -> str:
    """Returns sorted characters as ranges for the brackets of a regular expression."""
    runs = []
    for character in characters:
        if runs and ord(character) == ord(runs[-1][1]) + 1:
            runs[-1][1] = character
        else:
            runs.append([character, character])
    return "".join(f"{first}-{last}" for first, last in runs)
