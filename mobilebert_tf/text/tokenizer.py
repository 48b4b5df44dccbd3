"""BERT's WordPiece tokenizer as TensorFlow operations.

It returns the ids of Google's BasicTokenizer and WordpieceTokenizer (google-research/bert,
tokenization.py) and of Hugging Face's BertTokenizer, but runs inside a TensorFlow graph, on all
cores.
"""

import collections
import functools
import itertools
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text
import tokenizers
from numpy.typing import ArrayLike

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_bytes, write_whole
from mobilebert_tf.text.fast_tokenizer import LONGEST_WORD, build_fast_tokenizer

LARGEST_VOCABULARY = 1_000_000  # pieces; that of 100 languages has 250,000
_LARGEST_FILE = 2**26  # bytes of such a vocab.txt
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# Inside the graph private-use characters stand for the special tokens. Cleaning first removes all
# private-use characters from the text, so a user cannot write a special token by accident.
_PLACEHOLDERS = tuple(chr(0xE000 + i) for i in range(len(SPECIAL_TOKENS)))
_UNREACHABLE = chr(0xE000 + len(SPECIAL_TOKENS))
# All characters but Unicode's letters, marks, numbers, punctuation, symbols and blanks: control,
# format, private-use and unassigned characters; also the replacement character.
_UNCLEAN = r"[^\p{L}\p{M}\p{N}\p{P}\p{S}\p{Z}\t\n\r%s]|\x{FFFD}"
# Characters that BERT makes words of their own (punctuation, all ASCII symbols, Chinese
# characters), and blanks.
_SEPARATORS = (
    r"([\p{Z}\t\n\r\p{P}!-/:-@\[-`{-~\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}"
    r"\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}"
    r"\x{2F800}-\x{2FA1F}])"
)
# Not isprintable(): Python's Unicode is older than TensorFlow's, which keeps newer characters.
_NEVER_IN_A_WORD = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\ue000-\uf8ff]"
)
# What vocab.txt cannot hold. Unicode's other line ends survive saving and reading.
_NO_LINE = re.compile(r"[\n\r\ud800-\udfff]|[ \t]\Z")
_FEW_TEXTS = 8
_LONGEST_WORD_BYTES = 4 * LONGEST_WORD


@dataclass(frozen=True)
class _Pieces:
    """The ids of all texts in one row [pieces], and the number of pieces of each text [N]."""

    values: np.ndarray
    lengths: np.ndarray


class WordPiece:
    """Turns text into ids: normalises it and splits it into the longest pieces of a vocabulary.

    Args:
        vocabulary: the pieces in id order; pieces inside a word start with "##". It must hold the
            five special tokens, each piece once.
        lower_case: lower-case the text ("uncased" vocabularies).
        strip_accents: strip accents, as BERT does when it lower-cases: German "möchte" becomes
            "mochte", and Japanese, Thai and Hindi lose marks that distinguish words. None for the
            value of `lower_case`.

    Raises InputError for a vocabulary that is empty, lacks special tokens, repeats a piece, or has
    a piece that vocab.txt cannot hold: with a line break, half a surrogate pair, or a blank at its
    end.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        lower_case: bool = True,
        strip_accents: bool | None = None,
    ):
        self.vocabulary = list(vocabulary)
        self.lower_case = lower_case
        self.strip_accents = lower_case if strip_accents is None else strip_accents
        _check_vocabulary(self.vocabulary)
        ids = {token: self.vocabulary.index(token) for token in SPECIAL_TOKENS}
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = ids.values()
        try:
            self._pieces = tensorflow_text.FastBertTokenizer(**piece_settings(self.vocabulary))
        except RuntimeError as error:
            raise InputError(f"no usable vocabulary: {error}") from None
        self._id_of_piece = np.array([*range(len(self)), *ids.values()], np.int32)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike,
        lower_case: bool | None = None,
        strip_accents: bool | None = None,
    ) -> "WordPiece":
        """Reads a vocab.txt with one piece a line.

        Blanks at the end of a line and a byte order mark are not part of a piece.

        Args:
            path: the file.
            lower_case: as in the class; None for true if the pieces have no capitals.
            strip_accents: as in the class.

        Raises InputError if the file cannot be read or is no vocabulary.
        """
        try:
            text = read_bytes(path, _LARGEST_FILE).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path} is not UTF-8 text (byte {error.start}): a vocabulary is one piece a line"
            ) from None
        if text.count("\n") > LARGEST_VOCABULARY:
            raise InputError(f"{path} has more than {LARGEST_VOCABULARY:,} lines: no vocabulary")
        vocabulary = [line.rstrip(" \t\r") for line in text.split("\n")]
        while vocabulary and not vocabulary[-1]:
            vocabulary.pop()
        if lower_case is None:
            lower_case = not has_capitals(vocabulary)
        try:
            return cls(vocabulary, lower_case, strip_accents)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def save_files(self, directory: Path) -> None:
        """Writes vocab.txt and tokenizer_config.json, which load_tokenizer reads."""
        self.save(directory / "vocab.txt")
        settings = {"do_lower_case": self.lower_case}
        if self.strip_accents != self.lower_case:
            settings["strip_accents"] = self.strip_accents
        text = json.dumps(settings) + "\n"
        (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")

    def save(self, path: str | os.PathLike) -> None:
        """Writes vocab.txt, whole or not at all."""
        write_whole(path, "".join(f"{token}\n" for token in self.vocabulary))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def reads_as(self, other: "WordPiece") -> bool:
        """Returns whether both tokenizers return the same ids for every text."""
        return (
            self.vocabulary == other.vocabulary
            and self.lower_case == other.lower_case
            and self.strip_accents == other.strip_accents
        )

    @property
    def casing(self) -> str:
        """The normalisation in words, for messages."""
        case = "uncased" if self.lower_case else "cased"
        return f"{case}, accents {'stripped' if self.strip_accents else 'kept'}"

    def tokenize(
        self, texts: Sequence[str] | tf.Tensor, special_tokens: bool = False
    ) -> tf.RaggedTensor:
        """Returns the ids of the texts' pieces, int32 [N, (tokens)].

        Also works inside tf.data and tf.function.

        Args:
            texts: N strings, or a string tensor [N] of UTF-8.
            special_tokens: recognise "[MASK]" and the like in the text; else they are plain text.
        """
        if not tf.is_tensor(texts):
            # Half a surrogate pair is no character: it is dropped, as BERT does.
            texts = tf.constant([text.encode("utf-8", "ignore") for text in texts], tf.string)
        pieces = self.tokenize_normalized(self._normalize(texts, special_tokens))
        return tf.gather(self._id_of_piece, pieces) if special_tokens else pieces

    def tokenize_normalized(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Returns what `tokenize` does for texts that are `normalized` already: [N] of UTF-8."""
        return self._pieces.tokenize(_cut_long_words(texts))

    def normalized_plain(self, text: str) -> str:
        """Returns what `normalized` does for a text that `is_plain`, in a fraction of the time."""
        return text.lower() if self.lower_case else text

    def words(self, texts: tf.Tensor) -> tf.Tensor:
        """Returns the words of BERT's BasicTokenizer with blanks between them: string [N] -> [N].

        Special tokens are plain text.
        """
        return _separate_words(self.normalized(texts))

    def normalized(self, texts: tf.Tensor) -> tf.Tensor:
        """Returns the cleaned and, for an uncased vocabulary, lower-cased texts: string [N] -> [N].

        Special tokens are plain text.
        """
        return self._normalize(texts, special_tokens=False)

    def _normalize(self, texts: tf.Tensor, special_tokens: bool) -> tf.Tensor:
        """Cleans, lower-cases and strips accents as BasicTokenizer does: string [N] -> [N]."""
        placeholders = ""
        if special_tokens:
            placeholders = "".join(_PLACEHOLDERS)
            texts = tf.strings.regex_replace(texts, f"[{placeholders}]", "")
            for token, placeholder in zip(SPECIAL_TOKENS, _PLACEHOLDERS, strict=True):
                texts = tf.strings.regex_replace(texts, re.escape(token), f" {placeholder} ")
        texts = tf.strings.regex_replace(texts, _UNCLEAN % placeholders, "")
        if not self.strip_accents:
            texts = tensorflow_text.normalize_utf8(texts, "NFC")
        if self.lower_case:
            # BERT always lower-cases a capital sigma to σ; TensorFlow takes ς at the end of a word.
            texts = tf.strings.regex_replace(texts, "Σ", "σ")
            texts = tf.strings.lower(texts, encoding="utf-8")
        if not self.strip_accents:
            return texts
        # Not by lower_case_nfd_strip_accents of tensorflow-text: it also replaces ligatures.
        texts = tensorflow_text.normalize_utf8(texts, "NFD")
        return tf.strings.regex_replace(texts, r"\p{Mn}", "")

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        sequence_length: int | None = None,
        special_tokens: bool = False,
    ) -> dict[str, np.ndarray]:
        """Returns the model's inputs for [CLS] text [SEP], or [CLS] text [SEP] pair [SEP].

        Args:
            texts: N strings.
            pairs: N strings, the second segments.
            sequence_length: T. Longer inputs lose tokens at the end of their longer segment. None
                for the length of the longest input.
            special_tokens: as in `tokenize`.

        Returns int32 [N, T] each: input_ids, input_mask (1 = token), segment_ids (1 = pair).
        Raises InputError for another number of pairs, or a sequence_length without any room.
        """
        if pairs is not None and len(pairs) != len(texts):
            raise InputError(f"{len(texts)} texts but {len(pairs)} pairs: give one pair per text")
        if sequence_length is not None:
            _check_room(sequence_length, pairs)
        inputs = itertools.chain(texts, () if pairs is None else pairs)
        if 0 < len(texts) <= _FEW_TEXTS and not special_tokens and all(map(is_plain, inputs)):
            return self._encode_few(texts, pairs, sequence_length)
        first = self._pieces_of(texts, special_tokens)
        second = self._pieces_of(pairs, special_tokens) if pairs is not None else None
        return self._assemble(first, second, sequence_length)

    def encode_within(
        self, texts: Sequence[str], pairs: Sequence[str] | None, longest: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns the same as `encode`, as wide as the longest input but at most `longest`, and the
        number of tokens of each input before it was cut: [N], N at least 1."""
        _check_room(longest, pairs)
        first = self._pieces_of(texts)
        second = self._pieces_of(pairs) if pairs is not None else None
        lengths = first.lengths + 2 + (second.lengths + 1 if second is not None else 0)
        return self._assemble(first, second, min(longest, int(lengths.max()))), lengths

    def _encode_few(
        self, texts: Sequence[str], pairs: Sequence[str] | None, length: int | None
    ) -> dict[str, np.ndarray]:
        """Returns the same as `encode` for a few plain texts.

        Python lists are fastest here: for one sentence TensorFlow takes over 10 times as long,
        NumPy twice as long.
        """
        rows, segments = [], []
        for text, pair in zip(texts, [None] * len(texts) if pairs is None else pairs, strict=True):
            a, b = self._plain_ids(text), [] if pair is None else self._plain_ids(pair)
            if length is not None:
                kept = truncated_lengths(len(a), len(b), length - (2 if pair is None else 3))
                a, b = a[: kept[0]], b[: kept[1]]
            start, end = [self.cls_id, *a, self.sep_id], [] if pair is None else [*b, self.sep_id]
            rows.append(start + end)
            segments.append([0] * len(start) + [1] * len(end))
        width = length or max(map(len, rows))

        return {
            "input_ids": padded(rows, width, self.pad_id),
            "input_mask": padded([[1] * len(row) for row in rows], width),
            "segment_ids": padded(segments, width),
        }

    def _plain_ids(self, text: str) -> list[int]:
        (encoding,) = self._plain.encode_batch_fast([text])
        return encoding.ids

    def _pieces_of(self, texts: Sequence[str], special_tokens: bool = False) -> _Pieces:
        ids = self.tokenize(texts, special_tokens)
        return _Pieces(ids.values.numpy(), ids.row_lengths().numpy())

    @functools.cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """Hugging Face's tokenizer: it equals BERT's on ASCII text, but not on all of Unicode."""
        return build_fast_tokenizer(self.vocabulary, self.lower_case, self.strip_accents)

    def _assemble(
        self, first: _Pieces, second: _Pieces | None, length: int | None
    ) -> dict[str, np.ndarray]:
        """Returns the model's inputs for [CLS] first [SEP] second [SEP].

        NumPy is 15 times as fast here as ragged tensors, with which encoding one sentence took
        longer than running the model on it.
        """
        a, b = first.lengths, np.zeros_like(first.lengths)  # [N]
        if second is not None:
            b = second.lengths
        if length is not None:
            a, b = truncated_lengths(a, b, length - (2 if second is None else 3))
        used = a + b + (2 if second is None else 3)  # [N]
        width = used.max(initial=0) if length is None else length
        ids = np.full([len(a), width], self.pad_id, np.int32)  # [N,T]
        rows = np.arange(len(a))
        ids[:, :1] = self.cls_id
        _put(ids, first, a, np.ones_like(a))
        ids[rows, a + 1] = self.sep_id
        if second is not None:
            _put(ids, second, b, a + 2)
            ids[rows, used - 1] = self.sep_id
        position = np.arange(width)[None]  # [1,T]
        mask = position < used[:, None]
        return {
            "input_ids": ids,
            "input_mask": mask.astype(np.int32),
            "segment_ids": (mask & (position >= a[:, None] + 2)).astype(np.int32),
        }

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Returns the pieces of the ids."""
        return [self.vocabulary[i] for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns readable text: pieces joined to words, without [PAD], [CLS] and [SEP]."""
        skipped = {self.pad_id, self.cls_id, self.sep_id}
        text = " ".join(self.tokens(i for i in ids if i not in skipped)).replace(" ##", "")
        text = re.sub(r" ([.,;:!?%)\]}’])|([(\[{]) ", r"\1\2", text)
        return re.sub(r"(\w) (['’-]) (?=\w)", r"\1\2", text)


def piece_settings(vocabulary: Sequence[str]) -> dict:
    """Returns the arguments with which tensorflow-text's FastBertTokenizer splits cleaned texts."""
    return {
        "vocab": [*_reachable(vocabulary), *_PLACEHOLDERS],
        "max_bytes_per_word": _LONGEST_WORD_BYTES,
        "token_out_type": tf.int32,
    }


def is_plain(text: str) -> bool:
    """Returns whether a text is printable ASCII, which needs no cleaning."""
    return text.isascii() and text.isprintable()


def _check_room(length: int, pairs: Sequence[str] | None) -> None:
    specials = 2 if pairs is None else 3
    if length < specials:
        raise InputError(
            f"sequence_length {length} has no room for the special tokens: at least {specials}"
        )


def padded(rows: Sequence[list[int]], width: int, filler: int = 0) -> np.ndarray:
    """Returns rows of at most `width` numbers, filled up at the end: int32 [N,width]."""
    return np.array([row + [filler] * (width - len(row)) for row in rows], np.int32)


def _put(ids: np.ndarray, pieces: _Pieces, kept: np.ndarray, start: np.ndarray) -> None:
    """Writes the first `kept` [N] pieces of each row into ids [N,T], beginning at `start` [N]."""
    begin = np.cumsum(pieces.lengths) - pieces.lengths  # [N]
    column = np.arange(ids.shape[1])[None] - start[:, None]  # [N,T]: index of the piece to write
    inside = (column >= 0) & (column < kept[:, None])
    ids[inside] = pieces.values[(begin[:, None] + column)[inside]]


def truncated_lengths(a: ArrayLike, b: ArrayLike, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lengths [N] of pairs after truncation to `budget` tokens together.

    Tokens are taken from the longer segment, from b where both are equally long.
    """
    a, b = np.asarray(a), np.asarray(b)
    kept_a = np.minimum(a, np.maximum(budget - b, (budget + 1) // 2))
    return kept_a, np.minimum(b, budget - kept_a)


def _check_vocabulary(vocabulary: list[str]) -> None:
    if not vocabulary:
        raise InputError("the vocabulary is empty")
    remedy = (
        "put a name there that no text holds, such as [unused1000]: other pieces keep their ids"
    )
    if "" in vocabulary:
        raise InputError(f"line {vocabulary.index('') + 1} is empty: {remedy}")
    broken = next((i for i, piece in enumerate(vocabulary) if _NO_LINE.search(piece)), None)
    if broken is not None:
        raise InputError(
            f"vocab.txt cannot hold the piece {ascii(vocabulary[broken]):.60} (id {broken}), which "
            f"has a line break, half a surrogate pair, or a blank at its end: {remedy}"
        )
    repeated = [token for token, n in collections.Counter(vocabulary).items() if n > 1]
    if repeated:
        last = len(vocabulary) - vocabulary[::-1].index(repeated[0])
        raise InputError(
            f"the vocabulary holds {len(repeated)} pieces more than once: {repeated[:5]}, the "
            f"first again in line {last}: {remedy}"
        )
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing:
        raise InputError(f"the vocabulary lacks the special tokens {', '.join(missing)}")


def has_capitals(vocabulary: Sequence[str]) -> bool:
    """Returns whether a vocabulary is cased: has more than a few pieces with capitals, as some
    uncased vocabularies have by mistake."""
    pieces = [piece for piece in vocabulary if not piece.startswith("[")]
    return sum(piece != piece.lower() for piece in pieces) > 0.01 * len(pieces)


def _reachable(vocabulary: Sequence[str]) -> list[str]:
    """Returns the vocabulary with placeholders for pieces that no cleaned text can contain.

    These are pieces with a blank or a control character. FastBertTokenizer would match "a b" in a
    text, which BERT splits into two words first.
    """
    return [
        f"{_UNREACHABLE}{i}" if _NEVER_IN_A_WORD.search(piece) else piece
        for i, piece in enumerate(vocabulary)
    ]


def _separate_words(texts: tf.Tensor) -> tf.Tensor:
    """Puts blanks around every character that is a word of its own: string [N] -> [N]."""
    return tf.strings.regex_replace(texts, _SEPARATORS, r" \1 ")


def _cut_long_words(texts: tf.Tensor) -> tf.Tensor:
    """Makes FastBertTokenizer return [UNK] for each word of more than 100 characters, as BERT does.

    FastBertTokenizer's limit is in bytes. It is set to 400, the most that 100 characters can take,
    and longer words are replaced by one that exceeds it. string [N] -> [N]
    """
    long_word = rf"[^ ]{{{LONGEST_WORD + 1}}}"

    def replaced():
        too_long = "x" * (_LONGEST_WORD_BYTES + 1)
        return tf.strings.regex_replace(_separate_words(texts), f"{long_word}[^ ]*", too_long)

    any_long = tf.reduce_any(tf.strings.regex_full_match(texts, f"(?s).*{long_word}.*"))
    return tf.cond(any_long, replaced, lambda: texts)
