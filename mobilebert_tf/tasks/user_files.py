"""The user's own labelled data: a folder with train, dev and test as .tsv, .csv, .jsonl or .conll.

Tables are for classification and regression; token classification reads .jsonl with a list of words
and a list of labels in each line, or .conll: a word a line, its label in the last column, a blank
line between sentences.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilebert_tf.data.tables import read_lines, read_score, read_table, read_texts
from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.examples import Examples

SUFFIXES = (".tsv", ".csv", ".jsonl", ".conll")
_HALF_PAIR = re.compile("[\ud800-\udfff]")  # a surrogate: JSON may hold one, UTF-8 cannot
_CONLL_SKIPPED = ("-DOCSTART-", "#")  # document marks, comments


@dataclass(frozen=True)
class Columns:
    """Names of the columns, or keys, of the user's files.

    Args:
        text: the text; for token classification the list of words.
        pair: the second text; null if there is none.
        label: the class, the score, or the list of the words' labels.
    """

    text: str = "text"
    pair: str | None = None
    label: str = "label"


def read_user_split(
    folder: str | Path, split: str, kind: str, columns: Columns, labels: Sequence[str] | None = None
) -> tuple[Examples, tuple[str, ...]]:
    """The examples of a split, and the labels in the order of the class numbers.

    Args:
        split: train, dev or test: the file's name without its ending.
        kind: classifier, regression or token_classifier.
        labels: of the training split; null: the ones in this file, sorted.

    Raises InputError for a file that is missing or damaged, a label that is not among `labels`, or
    a score that is no number, with file and line.
    """
    path = _find(Path(folder), split)
    if kind == "token_classifier":
        return _tokens(path, columns, labels)
    if path.suffix == ".conll":
        raise InputError(f"{path}: .conll files are for token classification")
    names = [columns.text, *([columns.pair] if columns.pair else []), columns.label]
    rows = read_table(path, names)
    values = [(line, row[-1]) for line, row in rows]
    if kind == "classifier":
        labels = tuple(labels or _names(path, values))
        targets = [_class(path, line, label, labels) for line, label in values]
        targets = np.array(targets, np.int32)
    else:
        labels, targets = (), np.array([read_score(path, *value) for value in values], np.float32)
    pairs = [row[1] for _, row in rows] if columns.pair else None
    ids = [str(index) for index in range(len(rows))]
    return Examples([row[0] for _, row in rows], pairs, targets, ids), labels


def read_unlabelled(path: str | Path, columns: Columns) -> Examples:
    """Texts without labels, from a .txt file with one a line or from the columns of a table.

    Empty ones are skipped; how many there are is said. Raises InputError as read_user_split.
    """
    rows = read_texts(Path(path), columns.text, columns.pair)
    rows = [(text.strip(), pair) for text, pair in rows]
    used = [row for row in rows if row[0]]
    if not used:
        raise InputError(f"{path} has no texts")
    print(f"{path}: {len(used)} texts without labels, {len(rows) - len(used)} empty lines skipped")
    pairs = [pair for _, pair in used] if columns.pair else None
    ids = [str(index) for index in range(len(used))]
    return Examples([text for text, _ in used], pairs, None, ids)


def has_split(folder: str | Path, split: str) -> bool:
    return any((Path(folder) / f"{split}{suffix}").is_file() for suffix in SUFFIXES)


def _find(folder: Path, split: str) -> Path:
    paths = [folder / f"{split}{suffix}" for suffix in SUFFIXES]
    there = [path for path in paths if path.is_file()]
    if len(there) == 1:
        return there[0]
    if there:
        raise InputError(
            f"{folder} has more than one file for {split}: {', '.join(map(str, there))}"
        )
    raise InputError(f"{folder} has no {split} file: {', '.join(path.name for path in paths)}")


def _names(path: Path, labels: Iterable[tuple[int, str]]) -> list[str]:
    """The different ones of (line, label), sorted; exported files hold one a line, in UTF-8."""
    for line, label in labels:
        if label.splitlines() != [label] or _HALF_PAIR.search(label):
            raise InputError(f"{path}, line {line}: the label {label!r} is no line of text")
    return sorted({label for _, label in labels})


def _class(path: Path, line: int, label: str, labels: Sequence[str]) -> int:
    if label not in labels:
        raise InputError(
            f"{path}, line {line}: the label {label!r} is not one of the training data's: "
            f"{', '.join(labels)}"
        )
    return labels.index(label)


def _tokens(path: Path, columns: Columns, labels: Sequence[str] | None):
    read = _conll if path.suffix == ".conll" else _json_words
    sentences = list(read(path, columns))  # (line, words, labels)
    if not sentences:
        raise InputError(f"{path} has no sentences")
    found = [(line, mark) for line, _, marks in sentences for mark in marks]
    labels = tuple(labels or _names(path, found))
    targets = [[_class(path, line, m, labels) for m in marks] for line, _, marks in sentences]
    ids = [str(index) for index in range(len(sentences))]
    return Examples([words for _, words, _ in sentences], None, targets, ids), labels


def _json_words(path: Path, columns: Columns) -> Iterator[tuple[int, list[str], list[str]]]:
    if path.suffix != ".jsonl":
        raise InputError(f"{path}: token classification reads .jsonl and .conll files")
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            words, marks = row[columns.text], row[columns.label]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: {error!r}") from None
        lists = isinstance(words, list) and isinstance(marks, list)
        if not lists or len(words) != len(marks) or not all(isinstance(w, str) for w in words):
            raise InputError(f"{path}, line {number}: it must have one label for each word")
        if words:
            yield number, words, list(map(str, marks))


def _conll(path: Path, columns: Columns) -> Iterator[tuple[int, list[str], list[str]]]:
    lines = read_lines(path)
    words, marks = [], []
    for number, line in enumerate([*lines, ""], start=1):
        fields = line.split()
        if fields and not fields[0].startswith(_CONLL_SKIPPED):
            if len(fields) < 2:
                raise InputError(f"{path}, line {number}: a word without a label: {line!r}")
            words.append(fields[0])
            marks.append(fields[-1])
        elif not fields and words:
            yield number - len(words), words, marks
            words, marks = [], []
