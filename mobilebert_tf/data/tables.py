"""Rows with names: .tsv (unquoted, as GLUE's), .csv (quoted), .jsonl; and lines of text."""

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mobilebert_tf.errors import InputError

TABLES = (".tsv", ".csv", ".jsonl")
csv.field_size_limit(10_000_000)  # a document can be one field


def read_text(path: Path) -> str:
    """All of a UTF-8 file, without its byte order mark.

    Raises InputError for a missing file, and for other bytes, with their place.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        lines = error.object[: error.start].split(b"\n")
        place = f"line {len(lines)}, byte {len(lines[-1]) + 1}"
        raise InputError(f"{path}, {place}: not UTF-8 text ({error.reason})") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, which end with a line feed, a carriage return or both.

    Not str.splitlines: JSON and plain text may have U+2028, U+0085 and others inside a line.
    """
    return [line.removesuffix("\n") for line in io.StringIO(read_text(path), newline=None)]


def read_texts(path: Path, text: str, pair: str | None = None) -> list[tuple[str, str | None]]:
    """(text, pair) of each row of a table with these columns, or (line, None) of each line of
    another file."""
    suffix = path.suffix.lower()
    if suffix not in (*TABLES, ".txt", ""):  # none: /dev/stdin and the like
        raise InputError(f"{path} is neither a .txt file nor a .tsv, .csv or .jsonl")
    if suffix not in TABLES:
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
    """(line number, the values of `columns`) of each row.

    Rows with too few or too many fields, and rows with an empty value, are skipped; how many, and
    the first one's line, is said on stderr.

    Args:
        columns: names of the wanted columns.
        header: names of all columns of a file without a header line.

    Raises InputError for a missing file or column, text that is not UTF-8, or no rows.
    """
    found, skipped = [], []
    for number, row in _rows(path, columns, header):
        values = [row.get(column) for column in columns]
        if None in row or any(value is None or not str(value).strip() for value in values):
            skipped.append(number)
        else:
            found.append((number, [str(value).strip() for value in values]))
    if skipped:
        print(
            f"warning: {path}: skipped {len(skipped)} of {len(skipped) + len(found)} rows with an "
            f"empty value or another number of fields, the first in line {skipped[0]}",
            file=sys.stderr,
        )
    if not found:
        raise InputError(f"{path} has no rows")
    return found


def read_score(path: Path, line: int, text: str) -> float:
    """The score in a line of a file; InputError if it is none that float32 holds."""
    try:
        score = float(text)
    except ValueError:
        score = np.nan
    if not abs(score) <= np.finfo(np.float32).max:
        raise InputError(f"{path}, line {line}: the score is {text!r}, no number")
    return score


def _rows(path: Path, columns: Sequence[str], header) -> Iterator[tuple[int, dict]]:
    """(line number, {column: value}); None is the key of fields beyond the header."""
    read = _json_lines if path.suffix.lower() == ".jsonl" else _delimited
    return read(path, columns, header)


def _delimited(path: Path, columns: Sequence[str], header) -> Iterator[tuple[int, dict]]:
    tabs = path.suffix.lower() == ".tsv"
    style = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"strict": True}
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), fieldnames=header, **style)
    begin = 1  # of the row that is read: an open quote is noticed at the end of the file only
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


def _check_columns(where: Path | str, columns: Sequence[str], there: Sequence[str]) -> None:
    missing = [column for column in columns if column not in there]
    if missing:
        raise InputError(
            f"{where} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, there[:20])) or 'none'}"
        )
