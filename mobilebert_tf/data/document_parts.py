"""Tokenized documents on their way into a prepared folder, as the first pass leaves them on disk.

Shape letters: N tokens, S sentences, P paragraphs, D documents.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from mobilebert_tf.data.corpus import SkippedDocuments, document_hash
from mobilebert_tf.data.documents import documents, refuse
from mobilebert_tf.data.duplicates import bands, sketches
from mobilebert_tf.data.prepared_text import check_unknown
from mobilebert_tf.data.records import check_counts, token_type
from mobilebert_tf.data.sources import Source
from mobilebert_tf.data.tokenized import TokenizedCorpus, offsets, tokenize_paragraphs
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_arrays, read_json, whole_file, write_json
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

    def load(self, *names: str) -> "DocumentPart":
        """Returns itself: it is in memory, as that of a StoredPart is when it is loaded."""
        return self

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


@dataclass(frozen=True)
class StoredPart:
    """A part in a file."""

    path: Path

    def load(self, *names: str) -> DocumentPart:
        """Reads it, or only some of its arrays; the others are empty.

        Raises InputError for a file that is missing or damaged.
        """
        all_names = [field.name for field in fields(DocumentPart)]
        try:
            arrays = read_arrays(self.path, names or all_names)
        except InputError as error:
            raise InputError(f"{error}; {_begin_anew(self.path)}") from None
        return DocumentPart(**{name: arrays.get(name, np.empty(0)) for name in all_names})


def _sums(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns the sums of consecutive rows of values, with their lengths."""
    totals = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return np.diff(totals[offsets(lengths)])


class UnitOfWork:
    """Tokenizes the documents of some files, or of parts of files.

    Args:
        sources: the files.
        tokenizer: the tokenizer.
        part_tokens: a part ends after so many tokens.
        skip_bad: leave out damaged documents, and count them.
    """

    def __init__(
        self, sources: Sequence[Source], tokenizer: WordPiece, *, part_tokens: int, skip_bad: bool
    ):
        self._sources, self._skip_bad, self._skipped = sources, skip_bad, SkippedDocuments()
        self._maker = _PartMaker(tokenizer, part_tokens)

    def parts(self) -> Iterator[DocumentPart]:
        """Yields the documents.

        Raises InputError for a damaged document unless skip_bad, for a file that is unreadable, and
        for text that the vocabulary does not fit.
        """
        for source in self._sources:
            for document in documents(source, self._skipped if self._skip_bad else refuse):
                self._maker.add(document)
                if self._maker.is_full:
                    yield self._maker.take()
        if self._maker.finish():
            yield self._maker.take()

    def report(self) -> dict[str, Any]:
        """Returns what is counted of all parts."""
        maker = self._maker
        return {
            "parts": maker.parts,
            "documents": maker.documents,
            "empty": maker.empty,
            "bad": self._skipped.count,
            "first_bad": self._skipped.first,
        }


def write_parts(unit: UnitOfWork, stem: Path) -> None:
    """Writes the parts of a unit of work as STEM-0000.npz, ..., and STEM.json, its report, last.

    Raises InputError as UnitOfWork.parts does.
    """
    for number, part in enumerate(unit.parts()):
        part.save(part_path(stem, number))
    write_json(stem.with_suffix(".json"), unit.report())


def part_path(stem: Path, number: int) -> Path:
    """Returns where a part of a unit of work is written."""
    return stem.with_name(f"{stem.name}-{number:04d}.npz")


def read_report(stem: Path) -> dict[str, Any]:
    """Returns the report of a unit of work. Raises InputError if it is damaged, or a part gone."""
    path = stem.with_suffix(".json")
    report = read_json(path)
    try:
        check_counts({name: report[name] for name in ("parts", "documents", "empty", "bad")})
        whole = not report["parts"] or part_path(stem, report["parts"] - 1).is_file()
    except (KeyError, TypeError, OSError):
        whole = False
    if not whole or not isinstance(report.get("first_bad"), str):
        raise InputError(f"{path} is damaged; {_begin_anew(path)}")
    return report


def _begin_anew(path: Path) -> str:
    return f"delete {path.parent}, and the same command begins anew"


class _PartMaker:
    """Tokenizes documents in batches, which make a part when they have enough tokens.

    Attributes:
        parts, documents: how many were made.
        empty: number of documents without any token.
    """

    def __init__(self, tokenizer: WordPiece, part_tokens: int):
        self._tokenizer, self._part_tokens = tokenizer, part_tokens
        self.parts = self.documents = self.empty = 0
        self._waiting: list[list[str]] = []
        self._characters = self._tokens = 0
        self._batches: list[dict[str, np.ndarray]] = []

    def add(self, document: list[str]) -> None:
        self._waiting.append(document)
        self._characters += sum(map(len, document))
        if self._characters >= _BATCH:
            self._tokenize()

    @property
    def is_full(self) -> bool:
        return self._tokens >= self._part_tokens

    def finish(self) -> bool:
        """Tokenizes what waits; returns whether it is left to take."""
        self._tokenize()
        return self._tokens > 0

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

    def take(self) -> DocumentPart:
        """Returns the part. Raises InputError if the vocabulary does not fit it."""
        names = self._batches[0]
        arrays = {name: np.concatenate([b[name] for b in self._batches]) for name in names}
        unknown = (arrays["tokens"] == self._tokenizer.unk_id).mean()
        check_unknown(float(unknown), self._tokenizer)  # now, not after hours
        self.parts += 1
        self._batches, self._tokens = [], 0
        return DocumentPart(**arrays, bands=bands(arrays["sketches"]))


def _text_hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
