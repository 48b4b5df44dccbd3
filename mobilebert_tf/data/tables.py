"""Rows with names from .tsv (unquoted, as GLUE's), .csv (quoted) and .jsonl files."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mobilebert_tf.errors import InputError

csv.field_size_limit(10_000_000)  # a document can be one field


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


def _rows(path: Path, columns: Sequence[str], header) -> Iterator[tuple[int, dict]]:
    """(line number, {column: value}); None is the key of fields beyond the header."""
    read = _json_lines if path.suffix == ".jsonl" else _delimited
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from read(path, file, columns, header)
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, about line {line}: not UTF-8 text ({error.reason})") from None
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except csv.Error as error:
        raise InputError(f"{path}: {error}") from None


def _delimited(path: Path, file, columns: Sequence[str], header) -> Iterator[tuple[int, dict]]:
    tabs = path.suffix == ".tsv"
    style = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"strict": True}
    reader = csv.DictReader(file, fieldnames=header, **style)
    _check_columns(path, columns, reader.fieldnames or [])
    for row in reader:
        yield reader.line_num, row


def _json_lines(path: Path, file, columns: Sequence[str], header) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object")
        _check_columns(f"{path}, line {number}", columns, list(row))
        yield number, {name: row[name] for name in columns}


def _check_columns(where: Path | str, columns: Sequence[str], there: Sequence[str]) -> None:
    missing = [column for column in columns if column not in there]
    if missing:
        raise InputError(
            f"{where} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, there[:20])) or 'none'}"
        )
