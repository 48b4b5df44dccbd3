"""Text as token ids: documents, their sentences, and the tokens of these.

Shape letters: N tokens, S sentences, P paragraphs, D documents.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_arrays, whole_file
from mobilebert_tf.text.tokenizer import WordPiece, is_plain

# A sentence ends at . ! or ? before a capital, except after a single letter (an initial). This is
# 25 times as fast as tensorflow-text's StateBasedSentenceBreaker, which also breaks inside "3.50".
_SENTENCE_END = r"([\p{L}\p{N})\]%'\"’”]{2}[.!?]+[\"'’”)\]]*)\s+([\"'‘“(\[]*\p{Lu})"
# Full stops that end a sentence whatever follows: of Chinese and Japanese, Hindi, Arabic and Urdu.
_FULL_STOP = r"([。！？｡।॥؟۔]+[”’」』）\"')\]]*)"
# _SENTENCE_END for ASCII. It begins at the mark, where Python's search is 3 times as fast.
_PLAIN_END = re.compile(
    r"(?<=[A-Za-z0-9)\]%'\"]{2})[.!?]+[\"')\]]*(?=\s+([\"'(\[]*[A-Z]))", re.ASCII
)
_BATCH = 512  # paragraphs


class Corpus(Protocol):
    """Tokenized text in shards, of which the user holds one or two in memory."""

    @property
    def shard_count(self) -> int: ...

    def shard(self, index: int) -> "TokenizedCorpus":
        """Returns the documents of a shard."""
        ...

    def sizes(self, name: str, size_of: Callable[[int], int]) -> list[int]:
        """Returns a size of each shard.

        Args:
            name: of what is measured, under which a corpus on disk remembers it.
            size_of: returns it for the number of a shard, by reading it.
        """
        ...

    def token_counts(self, vocab_size: int) -> np.ndarray:
        """Returns how often each token occurs in the text, plus 1: [V]."""
        ...


@dataclass(frozen=True)
class TokenizedCorpus:
    """The token ids of D documents with S sentences, one after the other: a corpus of one shard.

    Args:
        tokens: ids, int32 [N].
        sentence_offsets: index in tokens where each sentence starts, and N; int64 [S + 1].
        document_offsets: index of each document's first sentence, and S; int64 [D + 1].
    """

    tokens: np.ndarray
    sentence_offsets: np.ndarray
    document_offsets: np.ndarray

    def save(self, path: str | os.PathLike) -> None:
        """Writes one .npz file, whole or not at all."""
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **asdict(self))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "TokenizedCorpus":
        """Reads a file that `save` wrote. Raises InputError if it is missing or damaged."""
        try:
            return cls(**read_arrays(path))
        except TypeError as error:
            raise InputError(f"{path} is no tokenized corpus: {error}") from None

    @property
    def shard_count(self) -> int:
        return 1

    def shard(self, index: int) -> "TokenizedCorpus":
        """Returns itself."""
        return self

    def sizes(self, name: str, size_of: Callable[[int], int]) -> list[int]:
        """Returns a size of the only shard."""
        return [size_of(0)]

    @property
    def single_sentence_documents(self) -> int:
        """Number of documents with a single sentence, which has no next sentence."""
        return int((np.diff(self.document_offsets) == 1).sum())

    def token_counts(self, vocab_size: int) -> np.ndarray:
        """Returns how often each token occurs in the text, plus 1: [V]."""
        return np.bincount(self.tokens, minlength=vocab_size) + 1.0

    def share_of(self, token: int) -> float:
        """Returns the share of a token in the text, 0 to 1."""
        return float((self.tokens == token).mean())

    def pieces(self, longest: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns sentence_offsets and document_offsets of the text with shorter sentences.

        Sentences of more than `longest` tokens are cut into consecutive pieces of nearly equal
        length.
        """
        lengths = np.diff(self.sentence_offsets)
        counts = -(-lengths // longest)  # [S]
        first = np.concatenate([[0], np.cumsum(counts)])  # [S + 1]: each sentence's first piece
        sentence = np.repeat(np.arange(len(lengths)), counts)  # [pieces]
        index = np.arange(len(sentence)) - first[sentence]  # of each piece in its sentence
        starts = self.sentence_offsets[sentence] + lengths[sentence] * index // counts[sentence]
        return np.append(starts, self.sentence_offsets[-1]), first[self.document_offsets]


def split_sentences(paragraphs: Sequence[str]) -> list[list[str]]:
    """Returns the sentences of each paragraph, without surrounding blanks."""
    rows = _sentences(tf.constant(paragraphs)).to_list()
    return [[sentence.decode().strip() for sentence in row] for row in rows]


def _sentences(paragraphs: tf.Tensor) -> tf.RaggedTensor:
    """Returns the sentences [N, (sentences)] of paragraphs [N]."""
    marked = tf.strings.regex_replace(paragraphs, _SENTENCE_END, "\\1\n\\2")
    return tf.strings.split(tf.strings.regex_replace(marked, _FULL_STOP, "\\1\n"), "\n")


def _plain_sentences(paragraph: str) -> list[str]:
    """Returns what `_sentences` does for a paragraph of printable ASCII."""
    sentences, start, free = [], 0, 0
    for match in _PLAIN_END.finditer(paragraph):
        if match.start() - 2 >= free:  # the two characters before the mark are not the last match's
            sentences.append(paragraph[start : match.end()])
            start, free = match.start(1), match.end(1)
    return [*sentences, paragraph[start:]]


class TokenizedParagraphs(NamedTuple):
    """The tokens of P paragraphs, one after the other.

    Args:
        tokens: ids, int32 [N].
        sentence_tokens: number of tokens of each sentence that has any, int64 [S].
        paragraph_sentences: number of such sentences of each paragraph, int64 [P].
    """

    tokens: np.ndarray
    sentence_tokens: np.ndarray
    paragraph_sentences: np.ndarray


def tokenize_paragraphs(paragraphs: Sequence[str], tokenizer: WordPiece) -> TokenizedParagraphs:
    """Splits paragraphs into sentences, and those into tokens, on one core.

    Python splits and lower-cases paragraphs of printable ASCII, in half of TensorFlow's time.
    """
    plain = np.array([is_plain(paragraph) for paragraph in paragraphs], bool)
    chosen, rest = np.flatnonzero(plain).tolist(), np.flatnonzero(~plain).tolist()
    rows = [_plain_sentences(paragraphs[i]) for i in chosen]
    encoded = [paragraphs[i].encode("utf-8", "ignore") for i in rest]
    others = _sentences(tf.constant(encoded, tf.string))
    texts = [tokenizer.normalized_plain(sentence) for row in rows for sentence in row]
    sentences = tf.concat(
        [tf.constant(texts, tf.string), tokenizer.normalized(others.flat_values)], axis=0
    )
    ids = tokenizer.tokenize_normalized(sentences)
    tokens, lengths = ids.flat_values.numpy(), ids.row_lengths().numpy()
    counts = np.concatenate([[len(row) for row in rows], others.row_lengths().numpy()])
    paragraph = np.repeat(np.array(chosen + rest, np.int64), counts.astype(np.int64))
    order = np.argsort(paragraph, kind="stable")
    if not plain.all():
        tokens = _reordered(tokens, lengths, order)
    lengths, paragraph = lengths[order], paragraph[order]
    counts = np.bincount(paragraph[lengths > 0], minlength=len(paragraphs))
    return TokenizedParagraphs(tokens, lengths[lengths > 0], counts)


def _reordered(tokens: np.ndarray, lengths: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Returns rows of tokens, one after the other, in another order of the rows."""
    starts = (np.cumsum(lengths) - lengths)[order]
    lengths = lengths[order]
    shift = starts - (np.cumsum(lengths) - lengths)
    return tokens[np.arange(len(tokens)) + np.repeat(shift, lengths)]


def tokenize_documents(documents: Sequence[Sequence[str]], tokenizer: WordPiece) -> TokenizedCorpus:
    """Splits documents of paragraphs into sentences, and those into tokens.

    Raises InputError for documents without any token.
    """
    paragraphs = [paragraph for document in documents for paragraph in document]
    if not paragraphs:
        raise InputError("the corpus holds no text")
    starts = range(0, len(paragraphs), _BATCH)
    parts = [tokenize_paragraphs(paragraphs[i : i + _BATCH], tokenizer) for i in starts]
    tokens, lengths, sentences = (np.concatenate(part) for part in zip(*parts, strict=True))
    document = np.repeat(np.arange(len(documents)), [len(d) for d in documents])  # [P]
    document = np.repeat(document, sentences)  # [S]: the document of each sentence
    if not len(tokens):
        raise InputError("the corpus holds no text that gives tokens")
    counts = np.unique(document, return_counts=True)[1]
    return TokenizedCorpus(tokens, offsets(lengths), offsets(counts))


def offsets(lengths: np.ndarray) -> np.ndarray:
    """Returns where rows of these lengths start, and the end of the last one: int64 [n + 1]."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def concatenated(corpora: Sequence[TokenizedCorpus]) -> TokenizedCorpus:
    """Returns the documents of several corpora, one after the other."""
    sentences = np.concatenate([np.diff(corpus.sentence_offsets) for corpus in corpora])
    documents = np.concatenate([np.diff(corpus.document_offsets) for corpus in corpora])
    tokens = np.concatenate([corpus.tokens for corpus in corpora])
    return TokenizedCorpus(tokens, offsets(sentences), offsets(documents))
