"""The user's own labelled data: a folder with train, dev and test as .tsv, .csv, .jsonl or .conll.

Classification and regression read tables. Token classification reads .jsonl with a list of words
and a list of labels in each line, or .conll with a word in each line, its label in the last column,
and a blank line between sentences.
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
_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON may hold one alone, UTF-8 cannot
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
    """Returns the examples of a split, and the labels in the order of the class numbers.

    Args:
        folder: of the files.
        split: train, dev or test: the file's name without its suffix.
        kind: of the head: classifier, regression or token_classifier.
        columns: names of the columns.
        labels: of the training split; None for those of this file, sorted.

    Raises InputError for a file that is missing or damaged, a label that is not one of `labels`,
    or a score that is no number, with file and line.
    """
    path = _split_file(Path(folder), split)
    if kind == "token_classifier":
        return _read_words(path, columns, labels)
    if path.suffix == ".conll":
        raise InputError(f"{path}: .conll files are for token classification")
    names = [columns.text, *([columns.pair] if columns.pair else []), columns.label]
    rows = read_table(path, names)
    values = [(line, row[-1]) for line, row in rows]
    if kind == "classifier":
        labels = tuple(labels or _distinct_labels(path, values))
        targets = [_class_number(path, line, label, labels) for line, label in values]
        targets = np.array(targets, np.int32)
    else:
        labels, targets = (), np.array([read_score(path, *value) for value in values], np.float32)
    pairs = [row[1] for _, row in rows] if columns.pair else None
    ids = [str(index) for index in range(len(rows))]
    return Examples([row[0] for _, row in rows], pairs, targets, ids), labels


def read_unlabelled(path: str | Path, columns: Columns) -> Examples:
    """Returns texts without labels, from a .txt file with one a line or the columns of a table.

    Skips empty texts and prints how many. Raises InputError as read_user_split does.
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
    return sorted({label for _, label in labels})


def _class_number(path: Path, line: int, label: str, labels: Sequence[str]) -> int:
    if label not in labels:
        raise InputError(
            f"{path}, line {line}: the label {label!r} is not one of the training data's: "
            f"{', '.join(labels)}"
        )
    return labels.index(label)


def _read_words(path: Path, columns: Columns, labels: Sequence[str] | None):
    """Returns the examples of token classification and the labels, as read_user_split does."""
    if path.suffix == ".conll":
        sentences = list(_conll_sentences(path))
    else:
        sentences = list(_json_sentences(path, columns))
    if not sentences:
        raise InputError(f"{path} has no sentences")
    marks = [(line, label) for line, _, word_labels in sentences for label in word_labels]
    labels = tuple(labels or _distinct_labels(path, marks))
    targets = [
        [_class_number(path, line, label, labels) for label in word_labels]
        for line, _, word_labels in sentences
    ]
    ids = [str(index) for index in range(len(sentences))]
    return Examples([words for _, words, _ in sentences], None, targets, ids), labels


def _json_sentences(path: Path, columns: Columns) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yields (line number, words, labels) of each line with words."""
    if path.suffix != ".jsonl":
        raise InputError(f"{path}: token classification reads .jsonl and .conll files")
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            words, labels = row[columns.text], row[columns.label]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: {error!r}") from None
        lists = isinstance(words, list) and isinstance(labels, list)
        if not lists or len(words) != len(labels) or not all(isinstance(w, str) for w in words):
            raise InputError(f"{path}, line {number}: it must have one label for each word")
        if words:
            yield number, words, list(map(str, labels))


def _conll_sentences(path: Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yields (number of the first line, words, labels) of each sentence."""
    lines = read_lines(path)
    words, labels = [], []
    for number, line in enumerate([*lines, ""], start=1):
        fields = line.split()
        if fields and not fields[0].startswith(_CONLL_SKIPPED):
            if len(fields) < 2:
                raise InputError(f"{path}, line {number}: a word without a label: {line!r}")
            words.append(fields[0])
            labels.append(fields[-1])
        elif not fields and words:
            yield number - len(words), words, labels
            words, labels = [], []
