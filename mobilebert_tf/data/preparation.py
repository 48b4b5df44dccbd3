"""Makes a prepared folder (data/records.py) of text of any size: python -m mobilebert_tf.prepare.

A first pass tokenizes the text in units of work, each by one process and each kept when it is done,
so that a preparation that was killed goes on. Then the documents are laid out in shards, without
near duplicates, and a second pass over the tokens writes these.
"""

import functools
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilebert_tf.data.corpus import SkippedDocuments, split_held_out
from mobilebert_tf.data.document_parts import UnitOfWork, part_path, read_report, write_parts
from mobilebert_tf.data.documents import documents, refuse
from mobilebert_tf.data.preparation_plan import PLAN, WORK, PrepareConfig, begin, plan_of
from mobilebert_tf.data.prepared_text import choose_tokenizer
from mobilebert_tf.data.records import (
    TOKEN_COUNTS,
    PreparedFolder,
    Shard,
    open_prepared,
    write_shard,
)
from mobilebert_tf.data.shard_layout import SIDES, ShardPlan, lay_out
from mobilebert_tf.data.sources import DEFAULT_CORPUS, Source, parts, sources
from mobilebert_tf.data.tokenized import TokenizedCorpus
from mobilebert_tf.data.workers import Workers
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import INDEX, locked_directory, read_json, whole_file, write_json
from mobilebert_tf.modeling.model_directory import load_tokenizer
from mobilebert_tf.text.tokenizer import WordPiece

_VOCABULARY_TEXT = 32_000_000  # bytes of text that a vocabulary is learnt from
_UNPACKED = 4  # times the size of a .gz or .zst
_BYTES_PER_TOKEN = 4  # of English text: a unit of work gives about a part

Units = list[list[Source]]
Work = Callable[[PrepareConfig, Path, Units, Units], None]


def prepare_corpus(config: PrepareConfig, work: Work | None = None) -> PreparedFolder:
    """Prepares a folder, or goes on with it; returns it as it is if it is finished.

    Args:
        config: how.
        work: makes the shards and the index of units of work, of the corpus and of the held-out
            corpus, with the tokenizer that is in the folder; None for processes of this machine.

    Raises InputError for text that cannot be read or trained on, and for a folder of something
    else.
    """
    path = Path(config.output_dir)
    corpus = sources(config.corpus, config.field)
    held_out = sources(config.held_out_corpus, config.field) if config.held_out_corpus else []
    _check_place(config)
    plan = plan_of(config, [*corpus, *held_out])
    with locked_directory(path, "preparation", [PLAN]):
        begin(path, plan, config.overwrite)
        if not (path / INDEX).exists():
            units = _units(corpus, config.shard_tokens)
            held_out_units = _units(held_out, config.shard_tokens)
            if not (path / "tokenizer_config.json").exists():  # written after vocab.txt
                text = _vocabulary_text(config, units) if config.vocabulary is None else []
                choose_tokenizer(config, text, None).save_files(path)
            (work or _work_here)(config, path, units, held_out_units)
            shutil.rmtree(path / WORK, ignore_errors=True)
        return open_prepared(path)


def _check_place(config: PrepareConfig) -> None:
    """Raises InputError if `output_dir` lies in a folder of text: its files would become text."""
    output = Path(config.output_dir).resolve()
    for corpus in (config.corpus, config.held_out_corpus or []):
        for item in [corpus] if isinstance(corpus, str) else corpus:
            folder = Path(item).resolve()
            if item != DEFAULT_CORPUS and folder.is_dir() and output.is_relative_to(folder):
                raise InputError(
                    f"`output_dir` {config.output_dir} lies in {item}, which is read as text: "
                    "choose a folder elsewhere"
                )


def _units(files: Sequence[Source], shard_tokens: int) -> Units:
    """Returns units of work: parts of large files, several small files together."""
    size = _BYTES_PER_TOKEN * shard_tokens
    units: Units = []
    filled = size
    for source in files:
        for part in parts(source, size):
            if filled >= size:
                units.append([])
                filled = 0
            units[-1].append(part)
            filled += min(part.size, size)
    return units


def _vocabulary_text(config: PrepareConfig, units: Units) -> list[list[str]]:
    """Returns training documents to learn a vocabulary from: all, or the begin of each unit."""
    total = sum(s.size * (_UNPACKED if s.is_packed else 1) for unit in units for s in unit)
    most = math.inf if total <= _VOCABULARY_TEXT else _VOCABULARY_TEXT / len(units)
    bad = SkippedDocuments() if config.skip_bad else refuse
    chosen: list[list[str]] = []
    for unit in units:
        characters = 0
        for document in (d for source in unit for d in documents(source, bad)):
            chosen.append(document)
            characters += sum(map(len, document))
            if characters > most:
                break
    if not chosen:
        raise InputError(f"{config.corpus} holds no text")
    if most < math.inf:
        learnt = sum(len(paragraph) for document in chosen for paragraph in document)
        print(f"the vocabulary is learnt from {learnt / 1e6:,.0f} MB of the text", flush=True)
    if config.held_out_corpus is not None:
        return chosen
    return split_held_out(chosen, config.held_out_fraction)[0]


def _work_here(config: PrepareConfig, path: Path, units: Units, held_out_units: Units) -> None:
    with Workers(min(config.processes, len(units))) as workers:
        work = path / WORK
        work.mkdir(exist_ok=True)
        train, reports = _tokenize(config, path, "train", units, workers)
        held_out, of_held_out = _tokenize(config, path, "held_out", held_out_units, workers)
        if held_out_units and not held_out:
            raise InputError(f"{config.held_out_corpus} holds no text")
        print("comparing documents", flush=True)
        layout = lay_out(
            train,
            held_out,
            work,
            held_out_fraction=config.held_out_fraction,
            keep_duplicates=config.keep_duplicates,
            shard_tokens=config.shard_tokens,
        )
        plans = [
            (plan, path / shard_name(side, i, len(layout.shards[side])), path)
            for side in SIDES
            for i, plan in enumerate(layout.shards[side])
        ]
        written = workers.run(_write_planned, plans, "writing")
        write_index(path, written, reports + of_held_out, layout.duplicates, layout.lengths)


def _tokenize(
    config: PrepareConfig, path: Path, side: str, units: Units, workers: Workers
) -> tuple[list[Path], list[dict[str, Any]]]:
    """Returns the parts of all units in order, and what is reported of each unit; makes those that
    are not there yet."""
    stems = [path / WORK / f"{side}-{number:05d}" for number in range(len(units))]
    tasks = [
        (unit, stem, path, config.shard_tokens, config.skip_bad)
        for unit, stem in zip(units, stems, strict=True)
        if not stem.with_suffix(".json").exists()
    ]
    if tasks:
        workers.run(_tokenize_unit, tasks, "tokenizing")
    reports = [read_report(stem) for stem in stems]
    made = [
        part_path(stem, number)
        for stem, report in zip(stems, reports, strict=True)
        for number in range(report["parts"])
    ]
    return made, reports


def shard_name(side: str, number: int, count: int) -> str:
    """Returns the file name of a shard of `count`."""
    return f"{side}-{number:05d}-of-{count:05d}.tfrecord"


Written = tuple[Shard, np.ndarray]


def write_index(
    path: Path,
    written: Sequence[Written],
    reports: Sequence[dict[str, Any]],
    duplicates: int,
    lengths: dict[str, np.ndarray],
) -> None:
    """Writes the rest of a prepared folder, the index last.

    Args:
        path: of the folder.
        written: what `write_documents` returned for each shard, in order.
        reports: of the units of work, in order.
        duplicates, lengths: as in data.shard_layout.Layout.
    """
    shards = {side: [s for s, _ in written if s.file.startswith(side)] for side in SIDES}
    with whole_file(path / TOKEN_COUNTS) as temporary, open(temporary, "wb") as file:
        np.save(file, sum(counts for _, counts in written[: len(shards["train"])]))
    folder = PreparedFolder(
        directory=path,
        **shards,
        vocab_size=len(folder_tokenizer(path)),
        digest="",
        settings=read_json(path / PLAN)["settings"],
        statistics={
            "documents_read": sum(report["documents"] + report["empty"] for report in reports),
            "documents_without_tokens": sum(report["empty"] for report in reports),
            "bad_documents": sum(report["bad"] for report in reports),
            "first_bad_document": next((r["first_bad"] for r in reports if r["bad"]), None),
            "near_duplicates": duplicates,
            "documents_by_length": {
                side: np.trim_zeros(counts, "b").tolist() for side, counts in lengths.items()
            },
        },
    )
    write_json(path / INDEX, folder.index())


# -------------------------------------------------------------------------------------------------
# Processes
# -------------------------------------------------------------------------------------------------


def _tokenize_unit(
    unit: list[Source], stem: Path, directory: Path, part_tokens: int, skip_bad: bool
) -> None:
    tokenizer = folder_tokenizer(directory)
    write_parts(UnitOfWork(unit, tokenizer, part_tokens=part_tokens, skip_bad=skip_bad), stem)


def _write_planned(plan: ShardPlan, path: Path, directory: Path) -> Written:
    return write_documents(plan.corpus(), path, directory)


def write_documents(corpus: TokenizedCorpus, path: Path, directory: Path) -> Written:
    """Writes a shard; returns its entry of the index and how often each token occurs in it."""
    tokenizer = folder_tokenizer(directory)
    shard = write_shard(path, corpus, len(tokenizer), tokenizer.unk_id)
    return shard, np.bincount(corpus.tokens, minlength=len(tokenizer))


def folder_tokenizer(directory: Path) -> WordPiece:
    """Returns the tokenizer of a folder, which is loaded once in a process."""
    return _loaded(directory, (directory / "vocab.txt").stat().st_mtime_ns)


@functools.lru_cache(1)
def _loaded(directory: Path, written: int) -> WordPiece:
    """Returns the tokenizer of a folder that was `written` then: loading takes half a second."""
    return load_tokenizer(directory)
