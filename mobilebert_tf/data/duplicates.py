"""Finds documents that are nearly the same, without comparing all with all.

A document is a set of runs of 5 tokens. Two documents are alike in as many of them as both have,
as a share of those that either has. MinHash estimates that share from 64 numbers a document (one
permutation hashing: Li, Owen and Zhang, 2012, densified as Shrivastava and Li, 2014, did). Only
documents are compared that agree in one of 16 bands of 4 numbers. Everything but one bit for each
document stays on disk.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

RUN, SLOTS, BANDS = 5, 64, 16
ALIKE = 0.8  # estimated share of common runs from which a document is a duplicate
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MOST_KEYS = 2**22  # of a band that are sorted at once; 64 MB


def sketches(tokens: np.ndarray, document_offsets: np.ndarray) -> np.ndarray:
    """Returns 64 numbers for each document, of which near duplicates share most: uint16 [D, 64].

    Args:
        tokens: ids of D documents, one after the other: [N].
        document_offsets: where each document starts, and N: [D + 1]; none is empty.
    """
    lengths = np.diff(document_offsets)
    runs = _run_hashes(tokens, document_offsets)
    document = np.repeat(np.arange(len(lengths)), lengths)
    # A run may not reach into the next document; the only one of a short document may.
    last = np.maximum(document_offsets[:-1], document_offsets[1:] - RUN)
    kept = np.arange(len(tokens)) <= last[document]
    runs, document = runs[kept], document[kept]
    slot = document * SLOTS + (runs >> np.uint64(58)).astype(np.int64)
    smallest = np.full(len(lengths) * SLOTS, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, slot, runs << np.uint64(6) >> np.uint64(6))
    return _densified(smallest.reshape(-1, SLOTS)).astype(np.uint16)


def _run_hashes(tokens: np.ndarray, document_offsets: np.ndarray) -> np.ndarray:
    """Returns a hash of the run that begins at each token, within its document: uint64 [N]."""
    rest = np.repeat(document_offsets[1:], np.diff(document_offsets)) - np.arange(len(tokens))
    padded = np.append(tokens, np.zeros(RUN, tokens.dtype)).astype(np.uint64) + np.uint64(1)
    hashes = np.zeros(len(tokens), np.uint64)
    for i in range(RUN):
        following = padded[i : i + len(tokens)] * (rest > i)
        hashes = (hashes + following) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    return hashes * _MULTIPLIER


def _densified(smallest: np.ndarray) -> np.ndarray:
    """Fills each empty slot with the next one's number, plus a constant for each slot between."""
    empty = np.iinfo(np.uint64).max
    step = 1
    while step < SLOTS:
        following = np.roll(smallest, -step, axis=1)
        shifted = np.where(following == empty, empty, following + np.uint64(step * 0x632BE5AB))
        smallest = np.where(smallest == empty, shifted, smallest)
        step *= 2
    return smallest ^ (smallest >> np.uint64(32)) ^ (smallest >> np.uint64(16))


def bands(sketch: np.ndarray) -> np.ndarray:
    """Returns the bands of sketches [D, 64] as one number each: uint64 [16, D]."""
    return np.ascontiguousarray(sketch).view("<u8").T.copy()


def near_duplicates(
    band_files: Sequence[Path], sketch_file: Path, count: int, most_keys: int = _MOST_KEYS
) -> np.ndarray:
    """Returns which documents are nearly the same as an earlier one: bool [D].

    A document is compared with the first one and the one before of those that share a band with it.

    Args:
        band_files: 16 files of uint64 [D].
        sketch_file: file of uint16 [D, 64].
        count: D.
        most_keys: of a band that are sorted at once, in memory.
    """
    dropped = np.zeros(count, bool)
    with open(sketch_file, "rb") as file:
        for path in band_files:
            for earlier, later in _candidates(path, count, most_keys):
                chosen = ~dropped[later]
                earlier, later = earlier[chosen], later[chosen]
                for i in range(0, len(later), most_keys // SLOTS):
                    rows = slice(i, i + most_keys // SLOTS)
                    one, other = (_read(file.fileno(), each[rows]) for each in (earlier, later))
                    dropped[later[rows][_alike(one, other)]] = True
    return dropped


def near_duplicates_in_band(keys: np.ndarray, sketch: np.ndarray) -> np.ndarray:
    """Returns what `near_duplicates` does as far as one band tells it: bool [n].

    Args:
        keys: uint64 [n] of the band, of all documents that have one of these keys, in order.
        sketch: theirs, uint16 [n, 64].
    """
    dropped = np.zeros(len(keys), bool)
    for earlier, later in _sharing(keys):
        dropped[later[_alike(sketch[earlier], sketch[later])]] = True
    return dropped


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns whether documents are nearly the same, by their sketches [n, 64]: bool [n]."""
    return (one == other).mean(axis=1) >= ALIKE


def _candidates(path: Path, count: int, most_keys: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields pairs of documents (earlier [n], later [n]) that share a band."""
    passes = -(-count // most_keys)
    for number in range(passes):
        keys, document = _keys(path, number, passes, most_keys)
        for earlier, later in _sharing(keys):
            yield document[earlier], document[later]


def _sharing(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields pairs of rows (earlier [n], later [n]) with the same key: the first one and the one
    before."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    same = np.append(False, keys[1:] == keys[:-1])
    first = np.maximum.accumulate(np.where(same, 0, np.arange(len(keys))))
    later = np.flatnonzero(same)
    yield order[first[later]], order[later]
    others = later[first[later] != later - 1]
    yield order[others - 1], order[others]


def _keys(path: Path, number: int, passes: int, most_keys: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of a band that fall to one of the passes, and their documents."""
    keys, documents, start = [], [], 0
    with open(path, "rb") as file:
        while len(block := np.fromfile(file, "<u8", most_keys)):
            chosen = np.flatnonzero(block % np.uint64(passes) == number)
            keys.append(block[chosen])
            documents.append(chosen + start)
            start += len(block)
    return np.concatenate(keys), np.concatenate(documents)


def _read(descriptor: int, rows: np.ndarray) -> np.ndarray:
    """Returns rows [n] of the sketches: uint16 [n, 64]. Not by mmap: its pages count as memory."""
    size = 2 * SLOTS
    read = b"".join(os.pread(descriptor, size, row * size) for row in rows.tolist())
    return np.frombuffer(read, "<u2").reshape(-1, SLOTS)
