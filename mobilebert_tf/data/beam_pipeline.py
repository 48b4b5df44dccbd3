"""Prepares text by Apache Beam, on any of its runners: the same shards as data.preparation makes.

An element is a part of the text. Its key is its place: the side (1 for the held-out corpus), the
unit of work and the number in it. Parts are sorted by it wherever their order matters, so that of
the runner does not. All workers see the text and the folder under the same paths.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.pvalue import AsIter, AsSingleton, TaggedOutput
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from mobilebert_tf.data.document_parts import DocumentPart, UnitOfWork
from mobilebert_tf.data.duplicates import near_duplicates_in_band
from mobilebert_tf.data.preparation import (
    Units,
    Written,
    folder_tokenizer,
    shard_name,
    write_documents,
    write_index,
)
from mobilebert_tf.data.preparation_plan import PrepareConfig
from mobilebert_tf.data.shard_layout import (
    SIDES,
    Choice,
    Split,
    check_side,
    count_lengths,
    find_border,
    shard_numbers,
    union,
)
from mobilebert_tf.data.sources import Source
from mobilebert_tf.data.tokenized import TokenizedCorpus, concatenated
from mobilebert_tf.errors import InputError

Key = tuple[int, int, int]
ShardKey = tuple[int, int]  # side and number
Bucket = tuple[int, int]  # band and number
_BAD_INPUT = re.compile(r"\b(?:InputError|OSError): (.+?)(?: \[while running|\\n|\n|$)")


def run_pipeline(
    options: Sequence[str], config: PrepareConfig, path: Path, units: Units, held_out: Units
) -> None:
    """Makes the shards and the index of a prepared folder; see data.preparation.prepare_corpus.

    Args:
        options: of Beam, as on a command line.

    Raises InputError where data.preparation does, and for options that Beam refuses.
    """
    try:
        parsed = PipelineOptions(list(options))
        runner = parsed.view_as(StandardOptions).runner or "DirectRunner"
        # DirectRunner would download Prism, another runner, and leave the work to that.
        pipeline = beam.Pipeline(FnApiRunner() if runner == "DirectRunner" else runner, parsed)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"Apache Beam refuses its options: {error}") from None
    _build(pipeline, config, path, units, held_out)
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:  # a runner tells in a way of its own what a worker raised
        said = _BAD_INPUT.search(f"{type(error).__name__}: {error}")
        if said is None:
            raise
        raise InputError(said[1]) from None


def _build(
    pipeline: beam.Pipeline, config: PrepareConfig, path: Path, units: Units, held_out: Units
) -> None:
    work = [((side, i), unit) for side in (0, 1) for i, unit in enumerate((units, held_out)[side])]
    tokenized = (
        pipeline
        | "units" >> beam.Create(work)
        | "spread" >> beam.Reshuffle()
        | "tokenize" >> beam.FlatMap(_tokenize, config, path).with_outputs("reports", main="parts")
    )
    duplicates = (
        tokenized.parts
        | "bands" >> beam.FlatMap(_bands, 0 if config.keep_duplicates else len(work))
        | "by band" >> beam.GroupByKey()
        | "duplicates" >> beam.FlatMap(_duplicates)
    )
    choices = (
        {"part": tokenized.parts, "duplicates": duplicates}
        | "by part" >> beam.CoGroupByKey()
        | "choose" >> beam.Map(_choose)
    )
    border = AsSingleton(
        choices
        | "extreme hashes" >> beam.FlatMap(lambda item: item[1].extreme_hashes())
        | "all extreme hashes" >> beam.combiners.ToList()
        | "border" >> beam.Map(find_border, config.held_out_fraction, bool(held_out))
    )
    of_held_out = AsSingleton(
        choices
        | "held-out paragraphs" >> beam.Map(_held_out_paragraphs, border)
        | "all held-out paragraphs" >> beam.CombineGlobally(union)
    )
    split = AsSingleton(
        choices
        | "shared paragraphs" >> beam.Map(_shared_paragraphs, border, of_held_out)
        | "all shared paragraphs" >> beam.CombineGlobally(union)
        | "split" >> beam.Map(lambda shared, at: Split(at, shared), border)
    )
    totals = AsSingleton(
        choices
        | "counts" >> beam.Map(_count, split)
        | "all counts" >> beam.combiners.ToList()
        | "totals" >> beam.Map(_add_up)
    )
    shards = (
        choices
        | "cut" >> beam.FlatMap(_cut, split, totals, config.shard_tokens)
        | "by shard" >> beam.GroupByKey()
    )
    names = AsSingleton(
        shards | beam.Keys() | beam.combiners.ToList() | "names" >> beam.Map(_names)
    )
    written = shards | "write" >> beam.Map(_write, names, path)
    (
        pipeline
        | "folder" >> beam.Create([path])
        | "index" >> beam.Map(_index, AsIter(written), AsIter(tokenized.reports), totals)
    )


def _tokenize(
    item: tuple[tuple[int, int], list[Source]], config: PrepareConfig, path: Path
) -> Iterator[Any]:
    """Yields the parts of a unit of work, and its report."""
    place, sources = item
    tokenizer = folder_tokenizer(path)
    unit = UnitOfWork(sources, tokenizer, part_tokens=config.shard_tokens, skip_bad=config.skip_bad)
    for number, part in enumerate(unit.parts()):
        yield (*place, number), part
    yield TaggedOutput("reports", (place, unit.report()))


def _bands(item: tuple[Key, DocumentPart], buckets: int) -> Iterator[tuple[Bucket, Any]]:
    """Yields the documents of a part by bucket: those with a key in common meet in one."""
    key, part = item
    for band, keys in enumerate(part.bands if buckets else ()):
        bucket = keys % np.uint64(buckets)
        for number in np.unique(bucket):
            rows = np.flatnonzero(bucket == number)
            yield (band, int(number)), (key, rows, keys[rows], part.sketches[rows])


def _duplicates(item: tuple[Bucket, Iterable[Any]]) -> Iterator[tuple[Key, np.ndarray]]:
    """Yields which documents of a part are nearly the same as an earlier one of a bucket."""
    parts, rows, keys, sketches = zip(*sorted(item[1], key=itemgetter(0)), strict=True)
    dropped = near_duplicates_in_band(np.concatenate(keys), np.concatenate(sketches))
    ends = np.cumsum([len(each) for each in rows])
    for part, of_part, end in zip(parts, rows, ends, strict=True):
        yield part, of_part[dropped[end - len(of_part) : end]]


def _choose(item: tuple[Key, dict[str, Iterable[Any]]]) -> tuple[Key, Choice]:
    key, found = item
    (part,) = found["part"]
    kept = np.ones(len(part.document_hashes), bool)
    for rows in found["duplicates"]:
        kept[rows] = False
    return key, Choice(part, bool(key[0]), kept)


def _held_out_paragraphs(item: tuple[Key, Choice], border: float) -> np.ndarray:
    return item[1].paragraph_hashes(border, "held_out")


def _shared_paragraphs(
    item: tuple[Key, Choice], border: float, of_held_out: np.ndarray
) -> np.ndarray:
    return np.intersect1d(item[1].paragraph_hashes(border, "train"), of_held_out)


def _count(item: tuple[Key, Choice], split: Split) -> tuple[Key, int, list[int], list[np.ndarray]]:
    """Returns the duplicates of a part, and for each side its tokens and `count_lengths`."""
    key, choice = item
    sizes = [choice.sizes(split, side) for side in SIDES]
    duplicates = int((~choice.kept).sum())
    return key, duplicates, [int(each.sum()) for each in sizes], list(map(count_lengths, sizes))


@dataclass(frozen=True)
class _Totals:
    """What all parts have.

    Args:
        duplicates: documents that are dropped.
        tokens: of each side, [2].
        before: for each part, the tokens of each side in earlier parts, [2].
        lengths: `count_lengths` of each side.
    """

    duplicates: int
    tokens: np.ndarray
    before: dict[Key, np.ndarray]
    lengths: dict[str, np.ndarray]


def _add_up(counts: list[tuple]) -> _Totals:
    """Adds up what `_count` returned. Raises InputError if a side has no token."""
    counts = sorted(counts, key=itemgetter(0))
    tokens = np.array([of_part for _, _, of_part, _ in counts], np.int64).reshape(-1, len(SIDES))
    for side, total in zip(SIDES, tokens.sum(axis=0), strict=True):
        check_side(side, total)
    return _Totals(
        duplicates=sum(of_part for _, of_part, _, _ in counts),
        tokens=tokens.sum(axis=0),
        before=dict(zip((key for key, *_ in counts), np.cumsum(tokens, 0) - tokens, strict=True)),
        lengths={side: sum(each[i] for *_, each in counts) for i, side in enumerate(SIDES)},
    )


def _cut(
    item: tuple[Key, Choice], split: Split, totals: _Totals, shard_tokens: int
) -> Iterator[tuple[ShardKey, tuple[Key, TokenizedCorpus]]]:
    """Yields what a part gives to each shard."""
    key, choice = item
    for i, side in enumerate(SIDES):
        before, total = totals.before[key][i], totals.tokens[i]
        shard = shard_numbers(choice.sizes(split, side), before, total, shard_tokens)
        for number in np.unique(shard[shard >= 0]).tolist():
            yield (i, number), (key, choice.corpus(shard == number, split, side))


def _names(shards: list[ShardKey]) -> dict[ShardKey, str]:
    """Returns the file name of each shard: those that have no document have no number."""
    names = {}
    for i, side in enumerate(SIDES):
        of_side = sorted(shard for shard in shards if shard[0] == i)
        names |= {shard: shard_name(side, n, len(of_side)) for n, shard in enumerate(of_side)}
    return names


def _write(
    item: tuple[ShardKey, Iterable[tuple[Key, TokenizedCorpus]]],
    names: dict[ShardKey, str],
    path: Path,
) -> tuple[ShardKey, Written]:
    shard, pieces = item
    corpus = concatenated([corpus for _, corpus in sorted(pieces, key=itemgetter(0))])
    return shard, write_documents(corpus, path / names[shard], path)


def _index(path: Path, written: Iterable[tuple], reports: Iterable[tuple], totals: _Totals) -> None:
    shards, of_units = ([v for _, v in sorted(x, key=itemgetter(0))] for x in (written, reports))
    write_index(path, shards, of_units, totals.duplicates, totals.lengths)
