"""Reads tables with named columns (.tsv without quotes as in GLUE, .csv, .jsonl) and text lines."""

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mobilebert_tf.errors import InputError

TABLE_SUFFIXES = (".tsv", ".csv", ".jsonl")
csv.field_size_limit(10_000_000)  # a document can be one field


def read_text(path: Path) -> str:
    """Returns the text of a UTF-8 file, without its byte order mark.

    Raises InputError if the file is missing, or for bytes that are not UTF-8, with their position.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        lines = error.object[: error.start].split(b"\n")
        position = f"line {len(lines)}, byte {len(lines[-1]) + 1}"
        raise InputError(f"{path}, {position}: not UTF-8 text ({error.reason})") from None


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a UTF-8 file, which end with a line feed, a carriage return or both.

    Unlike str.splitlines, it does not break lines at U+2028, U+0085 and others: they may stand
    inside a line of JSON or text. Raises InputError as `read_text` does.
    """
    return [line.removesuffix("\n") for line in io.StringIO(read_text(path), newline=None)]


def read_texts(path: Path, text: str, pair: str | None = None) -> list[tuple[str, str | None]]:
    """Returns (text, pair) of each row of a table, or (line, None) of each line of a text file.

    Args:
        path: a .tsv, .csv or .jsonl; a .txt, or a file without a suffix as /dev/stdin.
        text: name of a table's column.
        pair: name of the column of second texts, if there is one.

    Raises InputError for another kind of file, and as `read_table` does.
    """
    suffix = path.suffix.lower()
    if suffix not in (*TABLE_SUFFIXES, ".txt", ""):
        raise InputError(f"{path} is neither a .txt file nor a .tsv, .csv or .jsonl")
    if suffix not in TABLE_SUFFIXES:
        if pair:
            raise InputError(
                f"{path} has no column {pair!r}: pairs come from a .tsv, .csv or .jsonl"
            )
        return [(line, None) for line in read_lines(path)]
    rows = read_table(path, [text, *([pair] if pair else [])])
    return [(values[0], values[1] if pair else None) for _, values in rows]


def read_table(
    path: Path, columns: Sequence[str], header: Sequence[str] | None = None
) -> list[tuple[int, list[str]]]:
    """Returns (line number, values of `columns`) for each row.

    Skips rows with an empty value or another number of fields than the header. A warning on
    stderr says how many, and the line of the first.

    Args:
        path: a .tsv, .csv or .jsonl.
        columns: names of the columns to read.
        header: names of all columns of a file without a header line.

    Raises InputError for a missing file or column, text that is not UTF-8, or no rows.
    """
    complete, skipped = [], []
    for number, row in _rows(path, columns, header):
        values = [row.get(column) for column in columns]
        if None in row or any(value is None or not str(value).strip() for value in values):
            skipped.append(number)
        else:
            complete.append((number, [str(value).strip() for value in values]))
    if skipped:
        print(
            f"warning: {path}: skipped {len(skipped)} of {len(skipped) + len(complete)} rows with "
            f"an empty value or another number of fields, the first in line {skipped[0]}",
            file=sys.stderr,
        )
    if not complete:
        raise InputError(f"{path} has no rows")
    return complete


def read_score(path: Path, line: int, text: str) -> float:
    """Returns a score. Raises InputError, naming its line, unless it is a finite float32 number."""
    try:
        score = float(text)
    except ValueError:
        score = np.nan
    if not abs(score) <= float(np.finfo(np.float32).max):
        raise InputError(f"{path}, line {line}: the score is {text!r}, no number")
    return score


def _rows(path: Path, columns: Sequence[str], header) -> Iterator[tuple[int, dict]]:
    """Yields (line number, {column: value}); fields beyond the header have the key None."""
    read = _json_lines if path.suffix.lower() == ".jsonl" else _delimited
    return read(path, columns, header)


def _delimited(path: Path, columns: Sequence[str], header) -> Iterator[tuple[int, dict]]:
    tabs = path.suffix.lower() == ".tsv"
    style = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"strict": True}
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), fieldnames=header, **style)
    # The line where a row begins: a quote that is never closed is noticed at the end of the file.
    begin = 1
    try:
        _check_columns(path, columns, reader.fieldnames or [])
        begin = reader.line_num + 1
        for row in reader:
            yield reader.line_num, row
            begin = reader.line_num + 1
    except csv.Error as error:
        reason = f"{error}; are its quotes balanced?" if not tabs else error
        raise InputError(f"{path}, the row from line {begin}: {reason}") from None


def _json_lines(path: Path, columns: Sequence[str], header) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object")
        _check_columns(f"{path}, line {number}", columns, list(row))
        for name in columns:
            if isinstance(row[name], list | dict):
                raise InputError(f"{path}, line {number}: {name!r} is no text: {row[name]!r:.40}")
        yield number, {name: row[name] for name in columns}


def _check_columns(source: Path | str, columns: Sequence[str], header: Sequence[str]) -> None:
    missing = [column for column in columns if column not in header]
    if missing:
        raise InputError(
            f"{source} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, header[:20])) or 'none'}"
        )
