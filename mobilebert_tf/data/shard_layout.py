"""Decides which tokenized documents go into which shard: without duplicates, some held out.

In memory for all documents at once are two bytes for each, and the hashes of the held-out
paragraphs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilebert_tf.data.corpus import held_out_border
from mobilebert_tf.data.document_parts import DocumentPart, load_part
from mobilebert_tf.data.duplicates import BANDS, near_duplicates
from mobilebert_tf.data.tokenized import TokenizedCorpus, concatenated
from mobilebert_tf.errors import InputError

SIDES = ("train", "held_out")


@dataclass(frozen=True)
class ShardPlan:
    """Which documents make a shard.

    Args:
        parts: paths of parts, each with its documents that belong to the shard: bool [D].
        left_out: sorted hashes of the paragraphs that are left out of them.
    """

    parts: list[tuple[Path, np.ndarray]]
    left_out: np.ndarray

    def corpus(self) -> TokenizedCorpus:
        """Returns the documents."""
        read = [(load_part(path), documents) for path, documents in self.parts]
        return concatenated(
            [part.selected(kept_paragraphs(part, d, self.left_out)) for part, d in read]
        )


@dataclass
class Layout:
    """The shards of a prepared folder.

    Args:
        shards: of "train" and "held_out".
        duplicates: number of documents that were dropped as such.
        lengths: for each side the number of documents of 1, 2 to 3, 4 to 7, ... tokens.
    """

    shards: dict[str, list[ShardPlan]]
    duplicates: int
    lengths: dict[str, list[int]]


@dataclass(frozen=True)
class _Choice:
    """What decides for a document of a part.

    Args:
        part: path of the part.
        held_out: whether it was made from `held_out_corpus`.
        kept: whether each document is no duplicate: bool [D].
    """

    part: Path
    held_out: bool
    kept: np.ndarray


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
    # Hashes lie in [0, 1): nothing of the corpus is held out if there is a held-out corpus.
    border = -1.0 if held_out else held_out_border(_extreme_hashes(choices), held_out_fraction)
    layout = Layout({}, sum(int((~choice.kept).sum()) for choice in choices), {})
    left_out = {"train": np.empty(0, np.uint64), "held_out": _shared_paragraphs(choices, border)}
    for side in SIDES:
        total, lengths = 0, np.zeros(64, np.int64)
        for choice in choices:
            sizes = _kept_tokens(choice, border, side, left_out[side])
            total += int(sizes.sum())
            lengths += np.bincount(np.log2(sizes[sizes > 0]).astype(np.int64), minlength=64)
        if not total:
            raise InputError(f"no document is left for {side}: {_NOTHING_LEFT[side]}")
        count = max(1, round(total / shard_tokens))
        layout.shards[side] = _cut(choices, border, side, left_out[side], total, count)
        layout.lengths[side] = np.trim_zeros(lengths, "b").tolist()
    return layout


_NOTHING_LEFT = {
    "train": "every one is held out, or a duplicate",
    "held_out": "every paragraph also occurs in the other text, or in a duplicate",
}


def _without_duplicates(
    train: Sequence[Path], held_out: Sequence[Path], work: Path, keep: bool
) -> list[_Choice]:
    parts = [*((part, False) for part in train), *((part, True) for part in held_out)]
    counts = [len(load_part(part, "document_hashes").document_hashes) for part, _ in parts]
    dropped = np.zeros(sum(counts), bool)
    if not keep:
        band_files = [work / f"bands-{band:02d}" for band in range(BANDS)]
        sketch_file = work / "sketches"
        for path in (*band_files, sketch_file):
            path.unlink(missing_ok=True)
        for part, _ in parts:
            arrays = load_part(part, "sketches", "bands")
            _append(sketch_file, arrays.sketches)
            for path, values in zip(band_files, arrays.bands, strict=True):
                _append(path, values)
        if sum(counts):
            dropped = near_duplicates(band_files, sketch_file, sum(counts))
        for path in (*band_files, sketch_file):
            path.unlink(missing_ok=True)
    ends = np.cumsum(counts)
    return [
        _Choice(part, of_held_out, ~dropped[end - count : end])
        for (part, of_held_out), end, count in zip(parts, ends, counts, strict=True)
    ]


def _append(path: Path, values: np.ndarray) -> None:
    with open(path, "ab") as file:
        file.write(np.ascontiguousarray(values).tobytes())


def _extreme_hashes(choices: Sequence[_Choice]) -> list[float]:
    """Returns the least and the two greatest hashes of each part's kept documents."""
    extremes = []
    for choice in choices:
        hashes = np.unique(load_part(choice.part, "document_hashes").document_hashes[choice.kept])
        extremes += [*hashes[:1].tolist(), *hashes[-2:].tolist()]
    return extremes


def _documents(choice: _Choice, part: DocumentPart, border: float, side: str) -> np.ndarray:
    """Returns which documents of a part are kept on a side: bool [D]."""
    held_out = choice.held_out | (part.document_hashes <= border)
    return choice.kept & (held_out == (side == "held_out"))


def kept_paragraphs(part: DocumentPart, documents: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Returns which paragraphs of a part are kept: bool [P].

    Args:
        part: the part.
        documents: which documents are kept, bool [D].
        left_out: hashes of paragraphs that are not.
    """
    of_documents = np.repeat(documents, part.document_paragraphs)
    return of_documents & ~np.isin(part.paragraph_hashes, left_out)


_TEXT = ("document_hashes", "document_paragraphs", "paragraph_hashes")


def _shared_paragraphs(choices: Sequence[_Choice], border: float) -> np.ndarray:
    """Returns the hashes of the held-out paragraphs that are trained on too, sorted."""

    def hashes(choice: _Choice, side: str) -> np.ndarray:
        part = load_part(choice.part, *_TEXT)
        documents = _documents(choice, part, border, side)
        return part.paragraph_hashes[np.repeat(documents, part.document_paragraphs)]

    found = [np.unique(hashes(choice, "held_out")) for choice in choices]
    held_out = np.unique(np.concatenate(found))
    shared = np.zeros(len(held_out), bool)
    for choice in choices:
        shared |= np.isin(held_out, hashes(choice, "train"))
    return held_out[shared]


def _kept_tokens(choice: _Choice, border: float, side: str, left_out: np.ndarray) -> np.ndarray:
    """Returns the tokens of each document of a part that a side keeps; 0 for others: [D]."""
    part = load_part(choice.part, *_TEXT, "paragraph_tokens")
    documents = _documents(choice, part, border, side)
    return part.document_tokens(kept_paragraphs(part, documents, left_out))


def _cut(
    choices: Sequence[_Choice],
    border: float,
    side: str,
    left_out: np.ndarray,
    total: int,
    count: int,
) -> list[ShardPlan]:
    """Returns the kept documents of a side as `count` shards of nearly equal size, of `total`
    tokens together; fewer where a document is longer than a shard."""
    shards = [ShardPlan([], left_out) for _ in range(count)]
    before = 0
    for choice in choices:
        sizes = _kept_tokens(choice, border, side, left_out)
        starts = before + np.cumsum(sizes) - sizes
        before += int(sizes.sum())
        shard = np.where(sizes > 0, starts * count // total, -1)
        for number in np.unique(shard[shard >= 0]).tolist():
            shards[number].parts.append((choice.part, shard == number))
    return [shard for shard in shards if shard.parts]
