"""Makes a prepared folder (data/records.py) of text of any size: python -m mobilebert_tf.prepare.

A first pass tokenizes the text in units of work, each by one process and each kept when it is done,
so that a preparation that was killed goes on. Then the documents are laid out in shards, without
near duplicates, and a second pass over the tokens writes these.
"""

import dataclasses
import functools
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mobilebert_tf.data.bert_records import record_places, write_bert_records
from mobilebert_tf.data.corpus import SkippedDocuments, split_held_out
from mobilebert_tf.data.document_parts import UnitOfWork, part_path, read_report, write_parts
from mobilebert_tf.data.prepared_text import (
    HELD_OUT_SEED,
    ExampleConfig,
    TextConfig,
    choose_tokenizer,
)
from mobilebert_tf.data.records import (
    TOKEN_COUNTS,
    PreparedFolder,
    Shard,
    ShardedCorpus,
    open_prepared,
    prepared_folder,
    write_shard,
)
from mobilebert_tf.data.shard_layout import SIDES, ShardPlan, lay_out
from mobilebert_tf.data.sources import DEFAULT_CORPUS, Source, documents, parts, refuse, sources
from mobilebert_tf.data.tokenized import TokenizedCorpus
from mobilebert_tf.data.workers import Workers
from mobilebert_tf.errors import InputError, check_number
from mobilebert_tf.files import (
    INDEX,
    locked_directory,
    read_json,
    whole_file,
    write_json,
)
from mobilebert_tf.modeling.model_directory import load_tokenizer
from mobilebert_tf.text.tokenizer import WordPiece

_WORK, _PLAN = "work", "plan.json"
_DONE = f"{_WORK}/*.json"  # a report of each unit of work that is done
_VOCABULARY_TEXT = 32_000_000  # bytes of text that a vocabulary is learnt from
_UNPACKED = 4  # times the size of a .gz or .zst
_BYTES_PER_TOKEN = 4  # of English text: a unit of work gives about a part


@dataclass(frozen=True)
class PrepareConfig(ExampleConfig, TextConfig):
    """How text becomes a prepared folder, and that BERT's own pre-training records.

    Args:
        output_dir: folder to prepare; the same command goes on with a preparation that was killed.
        format: documents makes a prepared folder of any corpus; bert makes of a prepared folder
            the masked examples that other programs train on (the settings of examples are theirs).
        copies: how often bert writes the text, with other pairs and masks each time.
        seed: of these pairs and masks.
        processes: how many tokenize at once; each takes a core and 0.8 GB of memory.
        keep_duplicates: keep documents that are nearly the same as an earlier one.
        shard_tokens: tokens in a file, about; training has one or two in memory.
        overwrite: delete what an earlier preparation left in output_dir.
        pipeline_options: after --, the options of Apache Beam, which then prepares:
            -- --runner FlinkRunner --flink_master HOST:8081
    """

    output_dir: str = "runs/prepared"
    format: Literal["documents", "bert"] = "documents"
    copies: int = 1
    seed: int = 0
    processes: int = 1
    keep_duplicates: bool = False
    shard_tokens: int = 8_000_000
    overwrite: bool = False
    pipeline_options: list[str] = field(default_factory=list)

    def __post_init__(self):
        TextConfig.__post_init__(self)
        ExampleConfig.__post_init__(self)
        check_number("copies", self.copies, 1)
        check_number("seed", self.seed, 0, 2**32 - 1)
        check_number("processes", self.processes, 1, 1024)
        check_number("shard_tokens", self.shard_tokens, 1)
        options = self.pipeline_options
        if options and not options[0].startswith("--"):
            raise InputError(f"what is {options[0]!r}? Text is named with `corpus`")
        if options and (self.processes > 1 or self.format == "bert"):
            raise InputError(
                "Apache Beam makes a prepared folder, with workers that its own options name: "
                "leave out `processes` and `format`"
            )


# Settings that may change when a preparation goes on.
_CHANGEABLE = ("output_dir", "processes", "skip_bad", "overwrite", "pipeline_options")


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
    plan = _plan(config, [*corpus, *held_out])
    with locked_directory(path, "preparation", [_PLAN]):
        _begin(path, plan, config.overwrite)
        if not (path / INDEX).exists():
            units = _units(corpus, config.shard_tokens)
            held_out_units = _units(held_out, config.shard_tokens)
            if not (path / "tokenizer_config.json").exists():  # written after vocab.txt
                text = _vocabulary_text(config, units) if config.vocabulary is None else []
                choose_tokenizer(config, text, None).save_files(path)
            (work or _work_here)(config, path, units, held_out_units)
            shutil.rmtree(path / _WORK, ignore_errors=True)
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


def write_bert(config: PrepareConfig) -> dict[str, int]:
    """Writes a prepared folder as BERT's records; returns the number of examples of each side.

    Raises InputError if `corpus` is no prepared folder, or `output_dir` holds something else.
    """
    folder = prepared_folder(config.corpus)
    if folder is None:
        raise InputError(
            "`format` bert takes a prepared folder as `corpus`: prepare the text first"
        )
    prepared, path = open_prepared(folder), Path(config.output_dir)
    files = {side: [path / shard.file for shard in getattr(prepared, side)] for side in SIDES}
    with locked_directory(path, "preparation", [_PLAN]):
        _begin(path, _plan(config, [Source(str(folder / INDEX), config.field)]), config.overwrite)
        tasks = [
            (config, side, number, file)
            for side in SIDES
            for number, file in enumerate(files[side])
            if not file.exists()
        ]
        with Workers(min(config.processes, len(tasks))) as workers:
            workers.run(_write_bert_shard, tasks, "writing")
    return {side: sum(len(record_places(file)) for file in files[side]) for side in SIDES}


def _write_bert_shard(config: PrepareConfig, side: str, number: int, path: Path) -> None:
    folder = prepared_folder(config.corpus)
    prepared = open_prepared(folder)
    shard = ShardedCorpus(folder, [getattr(prepared, side)[number]], prepared.vocab_size)
    seed = config.seed if side == "train" else HELD_OUT_SEED
    settings = config.example_settings() | {"seed": seed + number}
    write_bert_records(path, shard, folder_tokenizer(folder), config.copies, **settings)


def _plan(config: PrepareConfig, files: Iterable[Source]) -> dict[str, Any]:
    """Returns the settings, and what tells whether a file has changed."""
    settings = dataclasses.asdict(config)
    states = {}
    for source in files:
        if Path(source.path).exists():
            status = os.stat(source.path)
            states[source.path] = [status.st_size, status.st_mtime_ns]
    kept = {name: value for name, value in settings.items() if name not in _CHANGEABLE}
    return json.loads(json.dumps({"settings": kept, "files": states}))


def _begin(path: Path, plan: dict[str, Any], overwrite: bool) -> None:
    """Makes a new preparation, or checks that the one in the folder is the same.

    One of which nothing is done yet is replaced, as after a wrong setting. Raises InputError if it
    is not the same.
    """
    if (path / _PLAN).exists():
        before, is_done = read_json(path / _PLAN), (path / INDEX).exists()
        if before == plan and not (overwrite and is_done):
            return
        if not overwrite and (is_done or any(path.glob("*.tfrecord")) or any(path.glob(_DONE))):
            raise InputError(
                f"{path} holds a preparation {_difference(before, plan)}: choose another "
                "`output_dir`, or `overwrite`"
            )
        for file in plan["files"]:
            if Path(file).resolve().is_relative_to(path.resolve()):
                raise InputError(f"{file} lies in {path}, which `overwrite` would delete")
        _delete(path)
    write_json(path / _PLAN, plan)


def _difference(before: dict[str, Any], plan: dict[str, Any]) -> str:
    old, new = before.get("settings", {}), plan["settings"]
    changed = [name for name in old | new if old.get(name) != new.get(name)]
    if changed:
        shown = "; ".join(f"{name}: {old.get(name)} -> {new.get(name)}" for name in changed)
        return f"with other settings ({shown})"
    return "of files that have changed since"


def _delete(path: Path) -> None:
    """Deletes a preparation, the index first and the plan last."""
    (path / INDEX).unlink(missing_ok=True)
    shutil.rmtree(path / _WORK, ignore_errors=True)
    for pattern in ("*.tfrecord", "*.npy", "vocab.txt", "tokenizer_config.json", _PLAN):
        for file in path.glob(pattern):
            file.unlink()


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
        work = path / _WORK
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
    stems = [path / _WORK / f"{side}-{number:05d}" for number in range(len(units))]
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
        settings=read_json(path / _PLAN)["settings"],
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
