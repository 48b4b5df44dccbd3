"""Tokenized documents on their way into a prepared folder, as the first pass leaves them on disk.

Shape letters: N tokens, S sentences, P paragraphs, D documents.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from mobilebert_tf.data.corpus import SkippedDocuments, document_hash
from mobilebert_tf.data.duplicates import bands, sketches
from mobilebert_tf.data.prepared_text import check_unknown
from mobilebert_tf.data.records import token_type
from mobilebert_tf.data.sources import Source, documents, refuse
from mobilebert_tf.data.tokenized import TokenizedCorpus, offsets, tokenize_paragraphs
from mobilebert_tf.files import whole_file, write_json
from mobilebert_tf.text.tokenizer import WordPiece

_BATCH = 2**18  # characters that are tokenized at once


@dataclass(frozen=True)
class DocumentPart:
    """Documents with what decides which of them, and which of their paragraphs, are kept.

    Args:
        tokens: ids, [N].
        sentence_tokens: tokens of each sentence, [S].
        paragraph_sentences, paragraph_tokens: sentences and tokens of each paragraph, [P].
        paragraph_hashes: of their text, uint64 [P].
        document_paragraphs: paragraphs of each document, [D].
        document_hashes: of their text, in [0, 1): [D].
        sketches, bands: as in data.duplicates: [D, 64] and [16, D].
    """

    tokens: np.ndarray
    sentence_tokens: np.ndarray
    paragraph_sentences: np.ndarray
    paragraph_tokens: np.ndarray
    paragraph_hashes: np.ndarray
    document_paragraphs: np.ndarray
    document_hashes: np.ndarray
    sketches: np.ndarray
    bands: np.ndarray

    def save(self, path: Path) -> None:
        """Writes one .npz file, whole or not at all."""
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    def selected(self, paragraphs: np.ndarray) -> TokenizedCorpus:
        """Returns the documents with only some of their paragraphs, those without any left out.

        Args:
            paragraphs: bool [P].
        """
        sentences = np.repeat(paragraphs, self.paragraph_sentences)
        tokens = self.tokens[np.repeat(sentences, self.sentence_tokens)]
        counts = _sums(self.paragraph_sentences * paragraphs, self.document_paragraphs)
        return TokenizedCorpus(
            tokens.astype(np.int32),
            offsets(self.sentence_tokens[sentences]),
            offsets(counts[counts > 0]),
        )

    def document_tokens(self, paragraphs: np.ndarray) -> np.ndarray:
        """Returns the tokens of each document in some of its paragraphs, bool [P]: int64 [D]."""
        return _sums(self.paragraph_tokens * paragraphs, self.document_paragraphs)


def load_part(path: Path, *names: str) -> DocumentPart:
    """Reads a part, or only some of its arrays; the others are empty."""
    with np.load(path, allow_pickle=False) as arrays:
        chosen = names or [field.name for field in fields(DocumentPart)]
        empty = np.empty(0)
        return DocumentPart(
            **{f.name: arrays[f.name] if f.name in chosen else empty for f in fields(DocumentPart)}
        )


def _sums(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns the sums of consecutive rows of values, with their lengths."""
    totals = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return np.diff(totals[offsets(lengths)])


def write_parts(
    unit: Sequence[Source],
    stem: Path,
    tokenizer: WordPiece,
    *,
    part_tokens: int,
    skip_bad: bool,
) -> None:
    """Tokenizes the documents of a unit of work into STEM-0000.npz, ..., and STEM.json at the end.

    Args:
        unit: files and parts of files.
        stem: path of the results, without their ends.
        tokenizer: the tokenizer.
        part_tokens: a part ends after so many tokens.
        skip_bad: leave out damaged documents, and count them.

    Raises InputError for a damaged document unless skip_bad, for a file that is unreadable, and for
    text that the vocabulary does not fit.
    """
    skipped = SkippedDocuments()
    writer = _PartWriter(stem, tokenizer, part_tokens)
    for source in unit:
        for document in documents(source, skipped if skip_bad else refuse):
            writer.add(document)
    writer.finish()
    report = {
        "parts": writer.parts,
        "documents": writer.documents,
        "empty": writer.empty,
        "bad": skipped.count,
        "first_bad": skipped.first,
    }
    write_json(stem.with_suffix(".json"), report)


class _PartWriter:
    """Tokenizes documents in batches, and writes a part when it has enough tokens.

    Attributes:
        parts, documents: how many were written.
        empty: number of documents without any token.
    """

    def __init__(self, stem: Path, tokenizer: WordPiece, part_tokens: int):
        self._stem, self._tokenizer, self._part_tokens = stem, tokenizer, part_tokens
        self.parts = self.documents = self.empty = 0
        self._waiting: list[list[str]] = []
        self._characters = self._tokens = 0
        self._batches: list[dict[str, np.ndarray]] = []

    def add(self, document: list[str]) -> None:
        self._waiting.append(document)
        self._characters += sum(map(len, document))
        if self._characters >= _BATCH:
            self._tokenize()
        if self._tokens >= self._part_tokens:
            self._write()

    def finish(self) -> None:
        self._tokenize()
        self._write()

    def _tokenize(self) -> None:
        if not self._waiting:
            return
        paragraphs = [paragraph for document in self._waiting for paragraph in document]
        tokens, sentence_tokens, paragraph_sentences = tokenize_paragraphs(
            paragraphs, self._tokenizer
        )
        paragraph_tokens = _sums(sentence_tokens, paragraph_sentences)
        counts = np.array([len(document) for document in self._waiting])
        kept = _sums(paragraph_tokens, counts) > 0
        self.empty += int((~kept).sum())
        self.documents += int(kept.sum())
        chosen = np.repeat(kept, counts)  # [P]
        starts = offsets(_sums(paragraph_tokens, counts)[kept])
        sketch = sketches(tokens, starts)
        self._batches.append(
            {
                "tokens": tokens.astype(token_type(len(self._tokenizer))),
                "sentence_tokens": sentence_tokens.astype(np.int32),
                "paragraph_sentences": paragraph_sentences[chosen].astype(np.int32),
                "paragraph_tokens": paragraph_tokens[chosen].astype(np.int32),
                "paragraph_hashes": np.array([_text_hash(p) for p in paragraphs], "<u8")[chosen],
                "document_paragraphs": counts[kept].astype(np.int32),
                "document_hashes": np.array([document_hash(d) for d in self._waiting])[kept],
                "sketches": sketch,
            }
        )
        self._tokens += len(tokens)
        self._waiting, self._characters = [], 0

    def _write(self) -> None:
        if not self._tokens:
            return
        names = self._batches[0]
        arrays = {name: np.concatenate([b[name] for b in self._batches]) for name in names}
        unknown = (arrays["tokens"] == self._tokenizer.unk_id).mean()
        check_unknown(float(unknown), self._tokenizer)  # now, not after hours
        part = DocumentPart(**arrays, bands=bands(arrays["sketches"]))
        part.save(self._stem.with_name(f"{self._stem.name}-{self.parts:04d}.npz"))
        self.parts += 1
        self._batches, self._tokens = [], 0


def _text_hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
