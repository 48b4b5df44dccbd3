"""The files that a corpus is, and parts of them that can be read apart."""

import dataclasses
import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import INDEX

DEFAULT_CORPUS = "docs"
PACKED = (".gz", ".zst")
ROWS = (".jsonl", ".parquet", ".arrow")


@dataclass(frozen=True)
class Source:
    """A file of text, or a part of one.

    Args:
        path: of the file, or "docs".
        field: of the rows, which holds their text.
        start, stop: of the part: bytes of a text or .jsonl file, row groups of a .parquet; None for
            the end.
    """

    path: str
    field: str
    start: int = 0
    stop: int | None = None

    @property
    def kind(self) -> str:
        """The format: .txt, .jsonl, .parquet, .arrow, .tfrecord or docs."""
        if self.path == DEFAULT_CORPUS:
            return DEFAULT_CORPUS
        name = Path(self.path).name
        for suffix in PACKED:
            name = name.removesuffix(suffix)
        if ".tfrecord" in name:
            return ".tfrecord"
        return Path(name).suffix if Path(name).suffix in ROWS else ".txt"

    @property
    def is_packed(self) -> bool:
        return self.path.endswith(PACKED)

    @property
    def size(self) -> int:
        """Bytes of the part; of a .parquet those that its row groups unpack to."""
        if self.kind == DEFAULT_CORPUS:
            return 0
        if self.kind == ".parquet":
            return sum(_group_sizes(self.path)[self.start : self.stop])
        return (self.stop or Path(self.path).stat().st_size) - self.start


def sources(corpus: str | Sequence[str], field: str) -> list[Source]:
    """Returns the files of a corpus in a fixed order. Arguments and errors as of
    `sources_by_item`."""
    return [source for _, of_item in sources_by_item(corpus, field) for source in of_item]


def sources_by_item(corpus: str | Sequence[str], field: str) -> list[tuple[str, list[Source]]]:
    """Returns each item of a corpus with its files, in a fixed order.

    Args:
        corpus: one item or several: "docs" (English prose from the documentation inside the
            installed packages), a file, a folder (all files below it whose names end as those of a
            format do), or a glob pattern.
        field: of .jsonl, .parquet, .arrow and .tfrecord, which holds the text.

    Raises InputError, naming it, for an item that is no file, or a folder without any.
    """
    items = [corpus] if isinstance(corpus, str | Path) else list(corpus)
    if not items or "" in items:
        raise InputError('no corpus is named: give files, folders, or "docs"')
    return [(item, _sources_of(item, field)) for item in map(str, items)]


def _sources_of(item: str, field: str) -> list[Source]:
    if item == DEFAULT_CORPUS:
        return [Source(item, field)]
    return [Source(str(path), field) for path in _files(item)]


def _files(item: str) -> list[Path]:
    path = Path(item)
    if path.is_file():
        return [path]
    if path.is_dir():
        if (path / INDEX).is_file():
            raise InputError(
                f"{item} is a prepared folder: only pretrain and distill read it, as their whole "
                "`corpus`"
            )
        files = sorted(p for p in path.rglob("*") if _is_corpus_file(p.name) and p.is_file())
        if not files:
            raise InputError(
                f"the folder {item} holds no .txt, .jsonl, .parquet, .arrow or .tfrecord file, and "
                "none of them as .gz or .zst"
            )
        return files
    matches = sorted(glob.glob(item, recursive=True))
    if not matches:
        raise InputError(f"no file, folder or match of a pattern: {item}")
    if matches == [item]:
        raise InputError(f"{item} is neither a file nor a folder")
    return [file for match in matches for file in _files(match)]


def _is_corpus_file(name: str) -> bool:
    if ".tfrecord" in name:
        return True
    if name.startswith("cache-"):  # what Hugging Face's datasets keeps of transformed data
        return False
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    return name.endswith((".txt", *ROWS))


def parts(source: Source, size: int) -> list[Source]:
    """Returns the parts of a file, of about `size` bytes each; one part if it cannot be cut."""
    if source.kind == ".parquet":
        starts, filled = [0], 0
        for group, group_size in enumerate(_group_sizes(source.path)):
            if filled >= size:
                starts, filled = [*starts, group], 0
            filled += group_size
    elif source.kind in (".txt", ".jsonl") and not source.is_packed:
        starts = list(range(0, max(1, source.size), size))
    else:
        return [source]
    ends = [*starts[1:], None]
    return [dataclasses.replace(source, start=a, stop=b) for a, b in zip(starts, ends, strict=True)]


def _group_sizes(path: str) -> list[int]:
    """Returns the bytes that each row group of a .parquet unpacks to."""
    try:
        metadata = pyarrow.parquet.read_metadata(path)
    except (pyarrow.ArrowException, OSError):
        return [Path(path).stat().st_size]  # reading it will say what is wrong
    return [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
