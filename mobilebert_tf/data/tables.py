"""Reads tables with named columns (.tsv, .csv, .jsonl) and text lines.

A .tsv has no quotes, as in GLUE, unless it is just what a program that quotes would have written.
"""

import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_bytes

TABLE_SUFFIXES = (".tsv", ".csv", ".jsonl")
SEPARATOR = "|"  # of the texts of a list in one field of a .tsv or .csv
_OPENING_QUOTE = re.compile('(?:^|\t)"', re.MULTILINE)
LONGEST_TEXT = 10_000_000  # characters; a document can be one field, or one line
_LARGEST_FILE = 2**30  # bytes; a table is in memory as a whole
csv.field_size_limit(LONGEST_TEXT)


class Row(NamedTuple):
    """A row of a table.

    Args:
        line: its number in the file.
        values: of the columns that were asked for, None where there is none; for columns of lists a
            tuple of texts.
        complete: whether it can be used: it has as many fields as the header, and all values but
            those that may be missing.
    """

    line: int
    values: list[Any]
    complete: bool


class TextRow(NamedTuple):
    """A text of a file.

    Args:
        text: the text, "" if there is none.
        pair: the second text, if there is a column for it.
        id: the value of the id column, if there is one; "" for a row without.
        complete: whether it can be used: all columns have a value.
    """

    text: str
    pair: str | None
    id: str | None
    complete: bool


def read_text(path: Path) -> str:
    """Returns the text of a UTF-8 file or a pipe, without its byte order mark.

    Raises InputError if the file is missing or too large, or for bytes that are not UTF-8, with
    their position.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist")
    try:
        return read_bytes(path, _LARGEST_FILE, pipe=True).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines = error.object[: error.start].split(b"\n")
        position = f"line {len(lines)}, byte {len(lines[-1]) + 1}"
        advice = encoding_advice(error.object)
        raise InputError(f"{path}, {position}: not UTF-8 text ({error.reason}){advice}") from None


def encoding_advice(data: bytes) -> str:
    """Returns how to make UTF-8 of bytes that are none; "" where nothing is likely to help."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ": convert it with iconv -f UTF-16 -t UTF-8"
    if b"\0" in data or not data.decode(errors="ignore").isascii():
        return ""  # no text, or UTF-8 with a damaged place, which a conversion would spoil
    return ": convert it, for example with iconv -f WINDOWS-1252 -t UTF-8"


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a UTF-8 file, which end with a line feed, a carriage return or both.

    Unlike str.splitlines, it does not break lines at U+2028, U+0085 and others: they may stand
    inside a line of JSON or text. Raises InputError as `read_text` does, and for a line of more
    than LONGEST_TEXT characters.
    """
    lines = [line.removesuffix("\n") for line in io.StringIO(read_text(path), newline=None)]
    for number, line in enumerate(lines, start=1):
        check_length(line, f"{path}, line {number}")
    return lines


def check_length(text: str | bytes, source: str) -> None:
    """Raises InputError for a text of more than LONGEST_TEXT characters."""
    if len(text) > LONGEST_TEXT:
        raise InputError(f"{source}: the text is longer than {LONGEST_TEXT:,} characters")


def read_texts(
    path: Path, text: str, pair: str | None = None, id: str | None = None
) -> list[TextRow]:
    """Returns every row of a table, or every line of a text file.

    A warning on stderr says how many are not complete.

    Args:
        path: a .tsv, .csv or .jsonl; a .txt, or a file without a suffix as /dev/stdin.
        text: name of a table's column.
        pair: name of the column of second texts, if there is one.
        id: name of a column to hand on, if there is one.

    Raises InputError for another kind of file, and as `read_rows` and `row_ids` do.
    """
    suffix = path.suffix.lower()
    if suffix not in (*TABLE_SUFFIXES, ".txt", ""):
        raise InputError(f"{path} is neither a .txt file nor a .tsv, .csv or .jsonl")
    if suffix not in TABLE_SUFFIXES:
        for column in (pair, id):
            if column:
                raise InputError(
                    f"{path} has no column {column!r}: columns are those of a .tsv, .csv or .jsonl"
                )
        lines = read_lines(path)
        empty = sum(not line.strip() for line in lines)
        if empty:
            _warn(path, f"{empty} of {len(lines)} lines are empty")
        return [TextRow(line, None, None, complete=bool(line.strip())) for line in lines]
    rows = read_rows(path, [text, *([pair] if pair else [])], optional=[id] if id else [])
    return [
        TextRow(row.values[0] or "", row.values[1] if pair else None, row_id, row.complete)
        for row, row_id in zip(rows, row_ids(path, rows, id), strict=True)
    ]


def row_ids(path: Path, rows: Sequence[Row], column: str | None) -> list[str | None]:
    """Returns the last value of each row, its id, "" for one without; None for each row if there is
    no such column.

    Raises InputError if no row has an id.
    """
    ids = [row.values[-1] or "" if column else None for row in rows]
    if column and not any(ids):
        raise InputError(f"{path}: no row has a value in the column {column!r}")
    return ids


def check_different(path: Path, rows: Sequence[Row], ids: Sequence[str]) -> None:
    """Raises InputError if an id is that of two rows; "" is none."""
    lines: dict[str, int] = {}
    for row, id in zip(rows, ids, strict=True):
        if id in lines:
            text = f"the id {id!r} is that of line {lines[id]} too"
            raise InputError(f"{path}, line {row.line}: {text}")
        if id:
            lines[id] = row.line


def read_rows(
    path: Path,
    columns: Sequence[str],
    optional: Sequence[str] = (),
    header: Sequence[str] | None = None,
    quotes: bool = True,
    lists: Sequence[str] = (),
) -> list[Row]:
    """Returns all rows, with the values of `columns` and then of `optional`.

    Rows with an empty value or another number of fields than the header are not complete, nor are
    blank lines, but for those at the end, which are no rows. A warning on stderr says how many, and
    the line of the first.

    Args:
        path: a .tsv, .csv or .jsonl.
        columns: names of the columns to read.
        optional: names of columns which may be missing, or have no value.
        header: names of all columns of a file without a header line.
        quotes: whether a .tsv may be quoted.
        lists: names of columns with a list of texts, perhaps an empty one. In a .tsv or .csv the
            texts are separated by SEPARATOR. A number in a .jsonl is read as its text: 1 as "1".

    Raises InputError for a missing file or column, a value that is no text or no list, text that is
    not UTF-8, or no complete row.
    """
    rows = []
    for number, row in _rows(path, columns, optional, header=header, quotes=quotes, lists=lists):
        values = [
            _listed(row.get(column)) if column in lists else _stripped(row.get(column))
            for column in (*columns, *optional)
        ]
        complete = None not in row and None not in values[: len(columns)]
        rows.append(Row(number, values, complete))
    skipped = [row.line for row in rows if not row.complete]
    if skipped:
        _warn(
            path,
            f"skipped {len(skipped)} of {len(rows)} rows with an empty value or another number of "
            f"fields, the first in line {skipped[0]}",
        )
    if len(skipped) == len(rows):
        raise InputError(f"{path} has no rows")
    return rows


def _warn(path: Path, text: str) -> None:
    print(f"warning: {path}: {text}", file=sys.stderr)


def _stripped(value) -> str | None:
    return None if _is_missing(value) else str(value).strip() or None


def _is_missing(value: Any) -> bool:
    """Returns whether a value of JSON is null or NaN, as programs write where there is none."""
    return value is None or value != value


def _listed(value: str | list | None) -> tuple[str, ...] | None:
    """Returns the texts of a list, or of a field; none for an empty field, None without one."""
    if isinstance(value, str):
        value = value.split(SEPARATOR) if value.strip() else []
    return None if value is None else tuple(str(text).strip() for text in value)


def read_score(path: Path, line: int, text: str) -> float:
    """Returns a score. Raises InputError, naming its line, unless it is a finite float32 number."""
    try:
        score = float(text)
    except ValueError:
        score = np.nan
    if not abs(score) <= float(np.finfo(np.float32).max):
        raise InputError(f"{path}, line {line}: the score is {text!r}, no number")
    return score


def _rows(
    path: Path,
    columns: Sequence[str],
    optional: Sequence[str],
    *,
    header,
    quotes: bool,
    lists: Sequence[str] = (),
) -> Iterator[tuple[int, dict]]:
    """Yields (line number, {column: value}); fields beyond the header have the key None."""
    if path.suffix.lower() == ".jsonl":
        return _json_rows(path, columns, optional, lists)
    return _delimited(path, columns, header, quotes)


def _delimited(
    path: Path, columns: Sequence[str], header, quotes: bool
) -> Iterator[tuple[int, dict]]:
    tabs, text = path.suffix.lower() == ".tsv", read_text(path)
    style: dict[str, Any] = {"delimiter": "\t"} if tabs else {}
    quotes = quotes and (not tabs or _is_quoted(path, text))
    style |= {"strict": True} if quotes else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(io.StringIO(text, newline=""), **style)
    # The line where a row begins: a quote that is never closed is noticed at the end of the file.
    begin = 1
    blank = []  # lines since the last row
    try:
        names = next(reader, []) if header is None else header
        _check_columns(path, columns, names)
        begin = reader.line_num + 1
        for fields in reader:
            if fields:
                yield from ((line, {}) for line in blank)
                yield reader.line_num, _by_column(names, fields)
                blank = []
            else:
                blank.append(reader.line_num)
            begin = reader.line_num + 1
    except csv.Error as error:
        reason = f"{error}; are its quotes balanced?" if quotes else error
        raise InputError(f"{path}, the row from line {begin}: {reason}") from None


def _by_column(names: Sequence[str], fields: Sequence[str]) -> dict:
    """Returns the fields of a row by column; those beyond the last one have the key None."""
    row: dict = dict(zip(names, fields, strict=False))
    return row | {None: fields[len(names) :]} if len(fields) > len(names) else row


def _is_quoted(path: Path, text: str) -> bool:
    """Returns whether a .tsv is what a program that quotes would have written, as pandas: read with
    quotes and written again, quoted where needed or everywhere, it is the same. Says what it takes
    the quotes for."""
    if '"' not in text:
        return False
    text = text.replace("\r\n", "\n").rstrip("\n")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
    except csv.Error:
        rows = []
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        again = io.StringIO(newline="")
        csv.writer(again, delimiter="\t", quoting=quoting, lineterminator="\n").writerows(rows)
        if again.getvalue().rstrip("\n") == text:
            print(f"{path}: a quoted .tsv, read with its quotes removed", file=sys.stderr)
            return True
    fields = len(_OPENING_QUOTE.findall(text))
    if fields:
        _warn(path, f"{fields} fields begin with a quotation mark, read as text: .csv has quotes")
    return False


def read_json_lines(path: Path) -> Iterator[tuple[int, dict]]:
    """Yields (line number, object) for each line of a .jsonl that is not blank.

    Raises InputError, with the line, for what is no JSON object, and as `read_text` does.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object")
        yield number, row


def _json_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str], lists: Sequence[str]
) -> Iterator[tuple[int, dict]]:
    for number, row in read_json_lines(path):
        _check_columns(f"{path}, line {number}", columns, list(row))
        row = {name: row.get(name) for name in (*columns, *optional)}
        for name, value in row.items():
            if name in lists:
                if value is not None and not is_list_of_texts(value):
                    raise InputError(
                        f"{path}, line {number}: {name!r} is no list of texts: {value!r:.40}"
                    )
            elif isinstance(value, list | dict):
                raise InputError(f"{path}, line {number}: {name!r} is no text: {value!r:.40}")
        yield number, row


def is_list_of_texts(value: Any) -> bool:
    """Returns whether a value of JSON is a list of texts or numbers."""
    return isinstance(value, list) and not any(
        isinstance(text, list | dict) or _is_missing(text) for text in value
    )


def _check_columns(source: Path | str, columns: Sequence[str], header: Sequence[str]) -> None:
    missing = [column for column in columns if column not in header]
    if missing:
        raise InputError(
            f"{source} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, header[:20])) or 'none'}"
        )
