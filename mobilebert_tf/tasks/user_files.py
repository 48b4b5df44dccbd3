"""The user's own labelled data: a folder with train, dev and test as .tsv, .csv, .jsonl or .conll.

Classification and regression read tables. Multi-label classification reads a list of labels in each
line of a .jsonl, [] for none; in a .tsv or .csv the labels are separated by "|". Token
classification reads .jsonl with a list of words and a list of labels in each line, or .conll with a
word in each line, its label in the last column, and a blank line between sentences. The columns of
a .conll are separated by tabs, where a line has one, else by blanks; no other white space separates
words. A test split needs no labels.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mobilebert_tf.data.tables import (
    Row,
    check_different,
    is_list_of_texts,
    read_json_lines,
    read_lines,
    read_rows,
    read_score,
    read_texts,
    row_ids,
)
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.heads import HEADS
from mobilebert_tf.tasks.examples import Examples, split_ids

SUFFIXES = (".tsv", ".csv", ".jsonl", ".conll")
_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON may hold one alone, UTF-8 cannot
_FLOAT = re.compile(r"(-?\d+)\.0+")  # a whole number as pandas writes it beside missing values
_DOCUMENT_MARK = "-DOCSTART-"


@dataclass(frozen=True)
class Columns:
    """Names of the columns, or keys, of the user's files.

    Args:
        text: the text; for token classification the list of words.
        pair: the second text; null if there is none.
        label: the class, the score, the list of a text's labels, or of the words' labels.
        id: of a row, for predictions of classification and regression; null for its number.
    """

    text: str = "text"
    pair: str | None = None
    label: str = "label"
    id: str | None = None


def read_user_split(
    folder: str | Path, split: str, kind: str, columns: Columns, labels: Sequence[str] | None = None
) -> tuple[Examples, tuple[str, ...]]:
    """Returns the examples of a split, and the labels in the order of the class numbers.

    A test split in which a label is missing has no targets; a line says so.

    Args:
        folder: of the files.
        split: train, dev or test: the file's name without its suffix.
        kind: of the head: classifier, multi_label_classifier, regression or token_classifier.
        columns: names of the columns.
        labels: of the training split; None for those of this file, sorted. 0 and 0.0 are one.

    Raises InputError for a file that is missing or damaged, a label that is not one of `labels`,
    or a score that is no number, with file and line.
    """
    path = _split_file(Path(folder), split)
    if kind == "token_classifier":
        if columns.pair or columns.id:
            raise InputError("`columns.pair` and `columns.id` are for texts, not for words")
        return _read_words(path, columns, labels, split)
    if path.suffix == ".conll":
        raise InputError(f"{path}: .conll files are for token classification")
    texts = [columns.text, *([columns.pair] if columns.pair else [])]
    label = [columns.label]
    required, optional = (texts, label) if split == "test" else ([*texts, *label], [])
    ids = [columns.id] if columns.id else []
    lists = label if HEADS[kind].multi_label else []
    all_rows = read_rows(path, required, [*optional, *ids], lists=lists)
    rows = [row for row in all_rows if row.complete]
    values = [(row.line, row.values[len(texts)]) for row in rows]
    targets = None
    if not _lacks_labels(path, [value for _, value in values]):
        targets, labels = _targets(path, kind, values, labels)
    pairs = [row.values[1] for row in rows] if columns.pair else None
    texts, named = [row.values[0] for row in rows], _names(path, all_rows, columns.id)
    return Examples(texts, pairs, targets, *split_ids(all_rows, named)), tuple(labels or ())


def _names(path: Path, rows: Sequence[Row], column: str | None) -> list[str]:
    """Returns the id of each row, "" for one without; if there is no column for it, its number.

    Raises InputError for an id that occurs twice, or that a line of a .tsv cannot hold.
    """
    if column is None:
        return [str(number) for number in range(len(rows))]
    ids = row_ids(path, rows, column)
    check_different(path, rows, ids)
    for row, id in zip(rows, ids, strict=True):
        if "\t" in id or len(id.splitlines()) > 1:
            raise InputError(f"{path}, line {row.line}: the id {id!r} is no single field")
    if missing := ids.count(""):
        print(f"{path}: {missing} of {len(ids)} rows have no id")
    return ids


def _lacks_labels(path: Path, labels: Sequence) -> bool:
    """Returns whether a label is missing, and says how many are."""
    missing = sum(label is None for label in labels)
    if missing:
        print(f"{path}: {missing} of {len(labels)} rows have no label: none is scored")
    return missing > 0


def _targets(
    path: Path, kind: str, values: Sequence[tuple[int, Any]], labels: Sequence[str] | None
) -> tuple[np.ndarray, Sequence[str]]:
    """Returns the targets and the labels of (line number, label, or a tuple of labels)."""
    if HEADS[kind].multi_label:
        each = [(line, label) for line, several in values for label in several]
        labels = labels or _distinct_labels(path, each)
        targets = np.zeros((len(values), len(labels)), np.float32)
        for row, (line, several) in zip(targets, values, strict=True):
            row[[_class_number(path, line, label, labels) for label in several]] = 1
        return targets, labels
    if kind != "classifier":
        return np.array([read_score(path, *value) for value in values], np.float32), ()
    labels = labels or _distinct_labels(path, values)
    numbers = [_class_number(path, line, label, labels) for line, label in values]
    return np.array(numbers, np.int32), labels


def read_unlabelled(path: str | Path, columns: Columns) -> Examples:
    """Returns texts without labels, from a .txt file with one a line or the columns of a table.

    Skips empty texts and prints how many. Raises InputError as read_user_split does.
    """
    rows = read_texts(Path(path), columns.text, columns.pair)
    used = [row for row in rows if row.complete]
    if not used:
        raise InputError(f"{path} has no texts")
    print(f"{path}: {len(used)} texts without labels, {len(rows) - len(used)} empty lines skipped")
    pairs = [row.pair for row in used] if columns.pair else None
    ids = [str(index) for index in range(len(used))]
    return Examples([row.text.strip() for row in used], pairs, None, ids)


def has_split(folder: str | Path, split: str) -> bool:
    """Returns whether the folder has a file of a split."""
    return any((Path(folder) / f"{split}{suffix}").is_file() for suffix in SUFFIXES)


def _split_file(folder: Path, split: str) -> Path:
    paths = [folder / f"{split}{suffix}" for suffix in SUFFIXES]
    existing = [path for path in paths if path.is_file()]
    if len(existing) == 1:
        return existing[0]
    if existing:
        raise InputError(
            f"{folder} has more than one file for {split}: {', '.join(map(str, existing))}"
        )
    raise InputError(f"{folder} has no {split} file: {', '.join(path.name for path in paths)}")


def _distinct_labels(path: Path, labels: Iterable[tuple[int, str]]) -> list[str]:
    """Returns the different labels of (line number, label), sorted.

    Raises InputError for labels that are no line of text: exported files hold one a line.
    """
    for line, label in labels:
        if label.splitlines() != [label] or _SURROGATE.search(label):
            raise InputError(f"{path}, line {line}: the label {label!r} is no line of text")
    names = {label for _, label in labels}
    equal = sorted(name for name in names if _whole(name) != name and _whole(name) in names)
    if equal:
        print(f"{path}: labels that are one number are one class: {', '.join(equal)}")
    return sorted(names - set(equal))


def _whole(label: str) -> str:
    """Returns "1" for "1.0", and other labels as they are."""
    return _FLOAT.sub(r"\1", label) if _FLOAT.fullmatch(label) else label


def _class_number(path: Path, line: int, label: str, labels: Sequence[str]) -> int:
    if label not in labels:
        label = next((name for name in labels if _whole(name) == _whole(label)), label)
    if label not in labels:
        raise InputError(
            f"{path}, line {line}: the label {label!r} is not one of the training data's: "
            f"{', '.join(labels)}"
        )
    return labels.index(label)


def read_words(path: str | Path, column: str) -> list[list[str]] | None:
    """Returns the words of each sentence of a .conll file, or of a .jsonl with lists of words.

    None for a file of texts. Raises InputError for a damaged file, with its line.
    """
    path = Path(path)
    if path.suffix == ".conll":
        return [sentence.words for sentence in _conll_sentences(path, labelled=None)]
    if path.suffix != ".jsonl":
        return None
    rows = list(read_json_lines(path))
    if not rows or not isinstance(rows[0][1].get(column), list):
        return None
    return [sentence.words for sentence in _json_sentences(path, rows, column)]


class _Sentence(NamedTuple):
    """A sentence: its line number, its words, and their labels if it has any."""

    line: int
    words: list[str]
    labels: list[str] | None


def _read_words(path: Path, columns: Columns, labels: Sequence[str] | None, split: str):
    """Returns the examples of token classification and the labels, as read_user_split does."""
    labelled = None if split == "test" else True
    if path.suffix == ".conll":
        sentences = list(_conll_sentences(path, labelled))
    elif path.suffix == ".jsonl":
        lines = read_json_lines(path)
        sentences = list(_json_sentences(path, lines, columns.text, columns.label, labelled))
    else:
        raise InputError(f"{path}: token classification reads .jsonl and .conll files")
    rows = [Row(s.line, s.words, complete=bool(s.words)) for s in sentences]
    sentences = [sentence for sentence in sentences if sentence.words]
    if not sentences:
        raise InputError(f"{path} has no sentences")
    if len(sentences) < len(rows):
        print(f"{path}: {len(rows) - len(sentences)} of {len(rows)} sentences have no words")
    ids = split_ids(rows, [str(index) for index in range(len(rows))])
    words, targets = [sentence.words for sentence in sentences], None
    if not _lacks_labels(path, [sentence.labels for sentence in sentences]):
        marks = [(s.line, label) for s in sentences for label in s.labels]
        labels = labels or _distinct_labels(path, marks)
        targets = [
            [_class_number(path, s.line, label, labels) for label in s.labels] for s in sentences
        ]
    return Examples(words, None, targets, *ids), tuple(labels or ())


def _json_sentences(
    path: Path,
    rows: Iterable[tuple[int, dict]],
    text: str,
    label: str | None = None,
    labelled: bool | None = None,
) -> Iterator[_Sentence]:
    """Yields a sentence for each row.

    Args:
        path: of the file, for messages.
        rows: (line number, object) of each line.
        text, label: names of its columns; no label for words alone.
        labelled: whether there must be labels; None if there may be.
    """
    for number, row in rows:
        needed = [text, *([label] if labelled else [])]
        missing = [name for name in needed if name not in row]
        if missing:
            raise InputError(f"{path}, line {number}: no {missing[0]!r}")
        words, labels = row[text], row.get(label) or None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InputError(f"{path}, line {number}: {text!r} must be a list of words")
        if labels is not None or (labelled and words):
            if not is_list_of_texts(labels) or len(words) != len(labels):
                raise InputError(f"{path}, line {number}: it must have one label for each word")
            labels = list(map(str, labels))
        yield _Sentence(number, words, labels)


def _conll_sentences(path: Path, labelled: bool | None) -> Iterator[_Sentence]:
    """Yields the sentences of a .conll file.

    Comments are left out and counted: lines that begin with "# " where a sentence would begin, and
    are not built as the lines of words are. Lines with other words that begin with # are words.

    Args:
        path: of the file.
        labelled: whether there must be labels; None if a file may have words alone.
    """
    lines = read_lines(path)
    is_comment, has_labels = _line_kinds(lines)
    labelled = has_labels if labelled is None else labelled
    words, labels, comments = [], [], []
    for number, line in enumerate([*lines, ""], start=1):
        fields = _fields(line)
        if fields and not words and is_comment(line):
            comments.append(number)
        elif fields and fields[0] != _DOCUMENT_MARK:
            if not fields[0] or (labelled and len(fields) < 2):
                text = "a label without a word" if not fields[0] else "a word without a label"
                raise InputError(f"{path}, line {number}: {text}: {fields[-1]!r}")
            words.append(fields[0])
            labels.append(fields[-1])
        elif not fields and words:
            yield _Sentence(number - len(words), words, labels if labelled else None)
            words, labels = [], []
    if comments:
        print(
            f"{path}: {len(comments)} comments left out, the first in line {comments[0]}",
            file=sys.stderr,
        )


def _fields(line: str) -> list[str]:
    """Returns the columns of a line; none for a blank one."""
    if not line.strip():
        return []
    if "\t" in line:
        return [field.strip(" ") for field in line.rstrip("\t ").split("\t")]
    return [field for field in line.split(" ") if field]


def _line_kinds(lines: Sequence[str]) -> tuple[Callable[[str], bool], bool]:
    """Returns a function that tells comments from the words of a file, and whether a word has more
    than one column."""
    words = [_fields(line) for line in lines if line.strip() and not line.startswith("# ")]
    words = [fields for fields in words if fields[0] != _DOCUMENT_MARK]
    widths, labels = {len(fields) for fields in words}, {fields[-1] for fields in words}

    def is_comment(line: str) -> bool:
        fields = _fields(line)
        return line.startswith("# ") and not (len(fields) in widths and fields[-1] in labels)

    return is_comment, max(widths, default=0) > 1
