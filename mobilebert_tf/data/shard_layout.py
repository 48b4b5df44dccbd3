"""Decides which tokenized documents go into which shard: without duplicates, some held out.

A `Choice` decides for one part, by what was found out of all of them. In memory for all documents
at once are two bytes for each, and the hashes of the held-out paragraphs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mobilebert_tf.data.corpus import held_out_border
from mobilebert_tf.data.document_parts import DocumentPart, StoredPart
from mobilebert_tf.data.duplicates import BANDS, near_duplicates
from mobilebert_tf.data.tokenized import TokenizedCorpus, concatenated
from mobilebert_tf.errors import InputError

SIDES = ("train", "held_out")
_TEXT = ("document_hashes", "document_paragraphs", "paragraph_hashes")
_LENGTHS = 64  # of documents that are counted: powers of 2


@dataclass(frozen=True)
class Split:
    """What is held out.

    Args:
        border: up to which hash documents are.
        shared: sorted hashes of the paragraphs that are trained on too, and so are not.
    """

    border: float
    shared: np.ndarray

    def left_out(self, side: str) -> np.ndarray:
        """Returns the hashes of the paragraphs that a side is without."""
        return self.shared if side == "held_out" else self.shared[:0]


@dataclass(frozen=True)
class Choice:
    """A part of the text, and which of its documents are kept.

    Args:
        part: the documents, in memory or in a file.
        of_held_out: whether it was made from `held_out_corpus`.
        kept: whether each document is no duplicate: bool [D].
    """

    part: DocumentPart | StoredPart
    of_held_out: bool
    kept: np.ndarray

    def extreme_hashes(self) -> list[float]:
        """Returns the least and the two greatest hashes of the documents."""
        hashes = np.unique(self.part.load("document_hashes").document_hashes[self.kept])
        return [*hashes[:1].tolist(), *hashes[-2:].tolist()]

    def paragraph_hashes(self, border: float, side: str) -> np.ndarray:
        """Returns the hashes of the paragraphs on a side, sorted."""
        part = self.part.load(*_TEXT)
        documents = self._documents(part, border, side)
        return np.unique(part.paragraph_hashes[np.repeat(documents, part.document_paragraphs)])

    def sizes(self, split: Split, side: str) -> np.ndarray:
        """Returns the tokens that a side keeps of each document; 0 for others: int64 [D]."""
        part = self.part.load(*_TEXT, "paragraph_tokens")
        documents = self._documents(part, split.border, side)
        return part.document_tokens(_paragraphs(part, documents, split, side))

    def corpus(self, documents: np.ndarray, split: Split, side: str) -> TokenizedCorpus:
        """Returns what a side keeps of some documents, bool [D]."""
        part = self.part.load()
        return part.selected(_paragraphs(part, documents, split, side))

    def _documents(self, part: DocumentPart, border: float, side: str) -> np.ndarray:
        """Returns which documents are on a side: bool [D]."""
        held_out = self.of_held_out | (part.document_hashes <= border)
        return self.kept & (held_out == (side == "held_out"))


def _paragraphs(part: DocumentPart, documents: np.ndarray, split: Split, side: str) -> np.ndarray:
    """Returns which paragraphs of some documents, bool [D], a side keeps: bool [P]."""
    of_documents = np.repeat(documents, part.document_paragraphs)
    return of_documents & ~np.isin(part.paragraph_hashes, split.left_out(side))


def find_border(hashes: Iterable[float], fraction: float, has_held_out: bool) -> float:
    """Returns up to which hash documents are held out.

    Args:
        hashes: Choice.extreme_hashes of all parts.
        fraction: the share to hold out.
        has_held_out: whether there is a held-out corpus: then nothing of the other is held out.

    Raises InputError if there are fewer than two different documents.
    """
    return -1.0 if has_held_out else held_out_border(hashes, fraction)  # hashes lie in [0, 1)


def count_lengths(sizes: np.ndarray) -> np.ndarray:
    """Returns the number of documents of 1, 2 to 3, 4 to 7, ... tokens, of their sizes: [64]."""
    return np.bincount(np.log2(sizes[sizes > 0]).astype(np.int64), minlength=_LENGTHS)


def shard_numbers(sizes: np.ndarray, before: int, total: int, shard_tokens: int) -> np.ndarray:
    """Returns the shard of each document of a part, -1 for one that a side does not have: [D].

    Shards are of nearly equal size. A number is left out where a document is longer than a shard.

    Args:
        sizes: tokens of each document: [D].
        before: tokens of the side in earlier parts.
        total: tokens of the side in all parts.
        shard_tokens: tokens of a shard, about.
    """
    count = max(1, round(total / shard_tokens))
    starts = before + np.cumsum(sizes) - sizes
    return np.where(sizes > 0, starts * count // total, -1)


def check_side(side: str, total: int) -> None:
    """Raises InputError if a side has no token."""
    if not total:
        raise InputError(f"no document is left for {side}: {_NOTHING_LEFT[side]}")


_NOTHING_LEFT = {
    "train": "every one is held out, or a duplicate",
    "held_out": "there is none, or each paragraph also occurs in the other text, or in a duplicate",
}


@dataclass(frozen=True)
class ShardPlan:
    """Which documents make a shard.

    Args:
        side: that it is of.
        split: what is held out.
        pieces: parts, each with its documents that belong to the shard: bool [D].
    """

    side: str
    split: Split
    pieces: list[tuple[Choice, np.ndarray]] = field(default_factory=list)

    def corpus(self) -> TokenizedCorpus:
        """Returns the documents."""
        return concatenated(
            [choice.corpus(documents, self.split, self.side) for choice, documents in self.pieces]
        )


@dataclass
class Layout:
    """The shards of a prepared folder.

    Args:
        shards: of "train" and "held_out".
        duplicates: number of documents that were dropped as such.
        lengths: for each side the number of documents of 1, 2 to 3, 4 to 7, ... tokens: [64].
    """

    shards: dict[str, list[ShardPlan]]
    duplicates: int
    lengths: dict[str, np.ndarray]


def lay_out(
    train: Sequence[Path],
    held_out: Sequence[Path],
    work: Path,
    *,
    held_out_fraction: float,
    keep_duplicates: bool,
    shard_tokens: int,
) -> Layout:
    """Returns the shards of a prepared folder.

    Args:
        train: parts of the corpus, in its order.
        held_out: parts of the held-out corpus; none to hold out a share of the corpus.
        work: folder for temporary files.
        held_out_fraction: that share.
        keep_duplicates: keep documents that are nearly the same as an earlier one.
        shard_tokens: tokens of a shard, about.

    Raises InputError if a side has no document.
    """
    choices = _without_duplicates(train, held_out, work, keep_duplicates)
    extremes = (hash_ for choice in choices for hash_ in choice.extreme_hashes())
    border = find_border(extremes, held_out_fraction, bool(held_out))
    split = Split(border, _shared_paragraphs(choices, border))
    layout = Layout({}, sum(int((~choice.kept).sum()) for choice in choices), {})
    for side in SIDES:
        total, lengths = 0, np.zeros(_LENGTHS, np.int64)
        for choice in choices:
            sizes = choice.sizes(split, side)
            total += int(sizes.sum())
            lengths += count_lengths(sizes)
        check_side(side, total)
        layout.shards[side] = _cut(choices, split, side, total, shard_tokens)
        layout.lengths[side] = lengths
    return layout


def _without_duplicates(
    train: Sequence[Path], held_out: Sequence[Path], work: Path, keep: bool
) -> list[Choice]:
    parts = [
        *((StoredPart(path), False) for path in train),
        *((StoredPart(path), True) for path in held_out),
    ]
    counts = [len(part.load("document_hashes").document_hashes) for part, _ in parts]
    dropped = np.zeros(sum(counts), bool)
    if not keep:
        band_files = [work / f"bands-{band:02d}" for band in range(BANDS)]
        sketch_file = work / "sketches"
        for path in (*band_files, sketch_file):
            path.unlink(missing_ok=True)
        for part, _ in parts:
            arrays = part.load("sketches", "bands")
            _append(sketch_file, arrays.sketches)
            for path, values in zip(band_files, arrays.bands, strict=True):
                _append(path, values)
        if sum(counts):
            dropped = near_duplicates(band_files, sketch_file, sum(counts))
        for path in (*band_files, sketch_file):
            path.unlink(missing_ok=True)
    ends = np.cumsum(counts)
    return [
        Choice(part, of_held_out, ~dropped[end - count : end])
        for (part, of_held_out), end, count in zip(parts, ends, counts, strict=True)
    ]


def _append(path: Path, values: np.ndarray) -> None:
    with open(path, "ab") as file:
        file.write(np.ascontiguousarray(values).tobytes())


def _shared_paragraphs(choices: Sequence[Choice], border: float) -> np.ndarray:
    """Returns the hashes of the held-out paragraphs that are trained on too, sorted."""
    held_out = union(choice.paragraph_hashes(border, "held_out") for choice in choices)
    shared = np.zeros(len(held_out), bool)
    for choice in choices:
        shared |= np.isin(held_out, choice.paragraph_hashes(border, "train"))
    return held_out[shared]


def union(hashes: Iterable[np.ndarray]) -> np.ndarray:
    """Returns the hashes that arrays hold, sorted."""
    return np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]))


def _cut(
    choices: Sequence[Choice], split: Split, side: str, total: int, shard_tokens: int
) -> list[ShardPlan]:
    """Returns the documents of a side, of `total` tokens together, as shards."""
    shards: dict[int, ShardPlan] = {}
    before = 0
    for choice in choices:
        sizes = choice.sizes(split, side)
        shard = shard_numbers(sizes, before, total, shard_tokens)
        before += int(sizes.sum())
        for number in np.unique(shard[shard >= 0]).tolist():
            plan = shards.setdefault(number, ShardPlan(side, split))
            plan.pieces.append((choice, shard == number))
    return list(shards.values())
