"""The documents in files of many formats.

A document is a list of paragraphs. In a text file each line is a paragraph and a blank line ends
the document: the format of Google's create_pretraining_data.py, where each line is a sentence. In
the other formats each row is a document, and each line of its text a paragraph.
"""

import contextlib
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import tensorflow as tf

from mobilebert_tf.data.docs_corpus import docs_documents
from mobilebert_tf.data.sources import DEFAULT_CORPUS, Source
from mobilebert_tf.data.tables import LONGEST_TEXT, check_length, encoding_advice
from mobilebert_tf.errors import InputError, tensorflow_reason

# A text becomes 3 to 10 times smaller by gzip; a gigabyte of line ends a thousand times.
_LARGEST_RATIO, _ALWAYS_UNPACKED = 100, 2**20
_BATCH = 256  # rows of .parquet in memory

Bad = Callable[[str], None]


def refuse(message: str) -> None:
    """Raises InputError: what is done about a bad document unless it is skipped."""
    raise InputError(message)


def documents(source: Source, bad: Bad = refuse, every: int = 1) -> Iterator[list[str]]:
    """Yields the documents of a file, or of a part: those that begin in it.

    A text without a blank line in LONGEST_TEXT characters is cut into documents of that length.

    Args:
        source: the file.
        bad: is told of each document that is damaged; unless it raises an error, the document is
            left out.
        every: 8 reads only every eighth module of "docs", in an eighth of the time.

    Raises InputError for a file that cannot be read at all.
    """
    if source.kind == DEFAULT_CORPUS:
        yield from docs_documents(every)
        return
    read = _text_documents if source.kind == ".txt" else _row_documents
    try:
        yield from read(source, bad)
    except _DamageError as error:
        bad(str(error))


class _DamageError(InputError):
    """What follows in the file cannot be read."""


# -------------------------------------------------------------------------------------------------
# Text files
# -------------------------------------------------------------------------------------------------


def text_lines(path: Path) -> Iterator[str]:
    """Yields the lines of a text file, or of a .gz or .zst of one, without surrounding blanks.

    Raises InputError, naming the path, for a file that cannot be read or is not UTF-8 text.
    """
    plain = True
    for offset, raw in _raw_lines(path):
        yield _decoded(path, offset, raw, plain)
        plain = plain and raw.isascii()


def _text_documents(source: Source, bad: Bad) -> Iterator[list[str]]:
    path = Path(source.path)
    document: list[str] = []
    size, plain = 0, source.start == 0
    # Before the part's first blank line stands the end of a document of the part before.
    skipping = source.start > 0
    for offset, raw in _raw_lines(path, source.start):
        try:
            line = _decoded(path, offset, raw, plain)
        except InputError as error:
            if not skipping:
                bad(str(error))
            document, size, skipping = [], 0, True
            continue
        plain = plain and raw.isascii()
        past_end = source.stop is not None and offset >= source.stop
        if not line:
            if document:
                yield document
            document, size, skipping = [], 0, False
        if past_end and (skipping or not line):
            return
        if line and not skipping:
            document.append(line)
            size += len(line)
            if size > LONGEST_TEXT:
                yield document
                document, size = [], 0
    if document:
        yield document


def _raw_lines(path: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yields each line that begins at `start` or later, and its position.

    A line longer than a text may be comes in pieces. Raises InputError for a file that cannot be
    opened, and _DamageError where it cannot be read on.
    """
    try:
        packed = path.stat().st_size
        with _opened(path) as file:
            offset = start
            if start:
                file.seek(start - 1)
                offset = start - 1 + _skip_line(file)
            for raw in iter(lambda: file.readline(LONGEST_TEXT + 1), b""):
                if offset > max(_LARGEST_RATIO * packed, _ALWAYS_UNPACKED):
                    raise _DamageError(
                        f"{path} unpacks to more than {_LARGEST_RATIO} times its size, as no text "
                        "does: unpack it first if it is one"
                    )
                yield offset, raw
                offset += len(raw)
    except (EOFError, gzip.BadGzipFile, zlib.error, pyarrow.ArrowException) as error:
        kind = "zstd" if path.suffix == ".zst" else "gzip"
        raise _DamageError(f"{path} is a damaged or cut off {kind} file: {error}") from None
    except OSError as error:
        if path.suffix == ".zst" and error.errno is None:  # Arrow's way to say that it is damaged
            raise _DamageError(f"{path} is a damaged or cut off zstd file: {error}") from None
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _skip_line(file: BinaryIO) -> int:
    """Reads the rest of a line; returns its number of bytes."""
    size = 0
    for raw in iter(lambda: file.readline(LONGEST_TEXT), b""):
        size += len(raw)
        if raw.endswith(b"\n"):
            break
    return size


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if path.suffix == ".zst":
        with pyarrow.input_stream(str(path), compression="zstd") as file:
            yield io.BufferedReader(file)
    else:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file


def _decoded(path: Path, offset: int, raw: bytes, plain: bool) -> str:
    """Returns a line without surrounding blanks.

    Args:
        path: of the file.
        offset: of the line, in bytes.
        raw: the line.
        plain: whether the file is ASCII so far: then the line tells what its encoding may be.

    Raises InputError for what is not UTF-8 text.
    """
    check_length(raw, f"{path}, byte {offset:,}")
    if b"\0" in raw:
        advice = "" if offset else encoding_advice(raw)
        raise InputError(f"{path} is not text: a zero byte near {offset:,}{advice}")
    try:
        return raw.decode("utf-8-sig" if offset == 0 else "utf-8").strip()
    except UnicodeDecodeError as error:
        advice = encoding_advice(raw) if plain else ""
        raise InputError(f"{path} is not UTF-8 (byte {offset + error.start:,}){advice}") from None


# -------------------------------------------------------------------------------------------------
# Rows
# -------------------------------------------------------------------------------------------------


def _row_documents(source: Source, bad: Bad) -> Iterator[list[str]]:
    read = {".jsonl": _json_texts, ".parquet": _parquet_texts, ".arrow": _arrow_texts}
    for place, value in read.get(source.kind, _record_texts)(source, bad):
        try:
            text = value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError:
            bad(f"{source.path}, {place}: not UTF-8 text")
            continue
        if text is not None and not isinstance(text, str):
            bad(f"{source.path}, {place}: {source.field!r} is no text: {text!r:.40}")
        elif text is not None and len(text) > LONGEST_TEXT:
            bad(f"{source.path}, {place}: the text is longer than {LONGEST_TEXT:,} characters")
        elif text is not None:
            # JSON may hold half a surrogate pair, which is no character.
            lines = text.encode("utf-8", "ignore").decode().replace("\r", "\n").split("\n")
            document = [line.strip() for line in lines if line.strip()]
            if document:
                yield document


def _json_texts(source: Source, bad: Bad) -> Iterator[tuple[str, Any]]:
    """Yields the place of each line and the value of its field."""
    path = Path(source.path)
    for offset, raw in _raw_lines(path, source.start):
        if source.stop is not None and offset >= source.stop:
            return
        place = f"byte {offset:,}"
        try:
            row = json.loads(_decoded(path, offset, raw, plain=False) or "null")
        except InputError as error:
            bad(str(error))
        except (ValueError, RecursionError) as error:
            bad(f"{path}, {place}: not JSON ({error})")
        else:
            if isinstance(row, dict) and source.field in row:
                yield place, row[source.field]
            elif row is not None:
                bad(f"{path}, {place}: {_lacks(source.field, row)}")


def _lacks(field: str, names: Any) -> str:
    if not isinstance(names, dict | list):
        return "not a JSON object"
    shown = ", ".join(map(repr, list(names)[:20])) or "none"
    return f"no field {field!r}: name one of its fields, {shown}, with `field`"


def _parquet_texts(source: Source, bad: Bad) -> Iterator[tuple[str, Any]]:
    with _arrow_errors(source.path), pyarrow.parquet.ParquetFile(source.path) as file:
        _check_field(source, file.schema_arrow.names)
        groups = range(source.start, source.stop or file.num_row_groups)
        for group in groups:
            batches = file.iter_batches(_BATCH, row_groups=[group], columns=[source.field])
            for number, batch in enumerate(batches):
                for i, text in enumerate(_values(batch.column(0))):
                    yield f"row {_BATCH * number + i} of row group {group}", text


def _arrow_texts(source: Source, bad: Bad) -> Iterator[tuple[str, Any]]:
    """Reads Arrow's stream format, in which Hugging Face's datasets saves, and its file format."""
    with _arrow_errors(source.path), pyarrow.memory_map(source.path) as file:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        opened = pyarrow.ipc.open_file(file) if is_file else pyarrow.ipc.open_stream(file)
        _check_field(source, opened.schema.names)
        batches = map(opened.get_batch, range(opened.num_record_batches)) if is_file else opened
        for number, batch in enumerate(batches):
            column = batch.column(batch.schema.get_field_index(source.field))
            for i, text in enumerate(_values(column)):
                yield f"row {i} of batch {number}", text


def _values(column: pyarrow.Array) -> Iterator[Any]:
    """Yields the values of a column, texts as bytes. Raises ArrowInvalid for a damaged one."""
    as_bytes = {pyarrow.string(): pyarrow.binary(), pyarrow.large_string(): pyarrow.large_binary()}
    column = column.view(as_bytes.get(column.type, column.type))
    column.validate(full=True)  # reading a text of a negative length would end the process
    return (value.as_py() for value in column)


@contextlib.contextmanager
def _arrow_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise _DamageError(f"{path} is damaged, or no such file: {reason}") from None


def _check_field(source: Source, names: list[str]) -> None:
    if source.field not in names:
        raise InputError(f"{source.path}: {_lacks(source.field, names)}")


def _record_texts(source: Source, bad: Bad) -> Iterator[tuple[str, Any]]:
    """Reads TFRecords of tf.train.Example, as TensorFlow Datasets writes them."""
    kind = "GZIP" if source.path.endswith(".gz") else ""
    records = tf.data.TFRecordDataset(source.path, compression_type=kind).as_numpy_iterator()
    number = 0
    try:
        for number, record in enumerate(records):
            features = tf.train.Example.FromString(record).features.feature
            if source.field not in features:
                raise InputError(f"{source.path}: {_lacks(source.field, sorted(features))}")
            yield f"record {number}", b"\n".join(features[source.field].bytes_list.value)
    except tf.errors.OpError as error:
        reason = f"damaged after record {number}: {tensorflow_reason(error)}"
        raise _DamageError(f"{source.path} is {reason}") from None
    except ValueError:  # protobuf's DecodeError
        raise _DamageError(f"{source.path}, record {number} is no tf.train.Example") from None
