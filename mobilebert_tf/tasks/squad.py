"""Questions about a text: the files of SQuAD and its relatives."""

import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mobilebert_tf.data.tables import read_text
from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.tfds import load_rows


@dataclass(frozen=True)
class Question:
    """A question about a context, with the answers that people gave.

    Args:
        id: unique in its file.
        question: its text.
        context: the text that holds the answer.
        answers: as written in the context; empty if it holds no answer.
        starts: the first character of each answer in the context.
        is_impossible: marked in SQuAD 2.0 as a question that the context does not answer.
    """

    id: str
    question: str
    context: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]
    is_impossible: bool


def read_squad(
    path: str | os.PathLike, version_2: bool = False, needs_answers: bool = True
) -> list[Question]:
    """Returns the questions of a SQuAD file, in its order.

    It is JSON in the layout of SQuAD 1.1 and 2.0, or has a question, its context and its answers in
    each row, as Hugging Face's data sets: a list of rows, or a row in each line. Empty answers are
    none.

    Args:
        path: of the file.
        version_2: a question whose `answers` are empty has no answer, also if it is not marked so;
            a line says how many.
        needs_answers: whether each question must have `answers`. A line says how many have not.

    Raises InputError for a file that cannot be read or has another layout, for repeated ids, and
    for "impossible" questions with an answer.
    """
    questions = [
        _question(entry, context, path, version_2=version_2, needs_answers=needs_answers)
        for entry, context in _entries(path)
    ]
    unmarked = sum(question.is_impossible and not marked for question, marked in questions)
    if unmarked:
        print(f"{path}: {unmarked} questions without answers are taken as unanswerable")
    questions = _unique((question for question, _ in questions), path)
    unknown = sum(not (question.answers or question.is_impossible) for question in questions)
    if unknown and not needs_answers:
        print(f"{path}: {unknown} of {len(questions)} questions have no answers: none is scored")
    return questions


def _entries(path: str | os.PathLike) -> Iterator[tuple[dict, str]]:
    """Yields each question's JSON object and its context."""
    content = _read_json_or_lines(Path(path))
    if isinstance(content, dict) and "context" in content:
        content = [content]  # a single line
    for item in content if isinstance(content, list) else _get(content, "data", list, path):
        if isinstance(item, dict) and "context" in item:
            yield item, _get(item, "context", str, path)
            continue
        for paragraph in _get(item, "paragraphs", list, path):
            context = _get(paragraph, "context", str, path)
            yield from ((entry, context) for entry in _get(paragraph, "qas", list, path))


def _read_json_or_lines(path: Path):
    """Returns the content of a JSON file, or the list of those of its lines."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = error
    try:
        return [json.loads(line) for line in io.StringIO(text) if line.strip()]
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not a readable JSON file: {reason}") from None


def load_squad(version: str, split: str) -> list[Question]:
    """Returns the questions of a split of TensorFlow Datasets' squad, ordered by id.

    Args:
        version: v1.1 or v2.0.
        split: train or dev.

    Raises InputError if they cannot be loaded.
    """
    name = f"squad/{version}"
    rows, _ = load_rows(name, split)
    rows.sort(key=lambda row: row["id"])
    return _unique(map(_from_row, rows), f"{name}, {split}")


def _from_row(row: dict) -> Question:
    answers = row["answers"]
    return Question(
        id=row["id"].decode(),
        question=row["question"].decode(),
        context=row["context"].decode(),
        answers=tuple(text.decode() for text in answers["text"]),
        starts=tuple(map(int, answers["answer_start"])),
        is_impossible=bool(row.get("is_impossible", False)),
    )


def _unique(questions: Iterable[Question], source: str | os.PathLike) -> list[Question]:
    """Returns all questions. Raises InputError if an id is repeated, or there are none."""
    by_id = {}
    for question in questions:
        if question.id in by_id:
            raise InputError(f"{source}: question {question.id} appears more than once")
        by_id[question.id] = question
    if not by_id:
        raise InputError(f"{source} holds no question")
    return list(by_id.values())


def _question(
    entry: dict, context: str, path: str | os.PathLike, *, version_2: bool, needs_answers: bool
) -> tuple[Question, bool]:
    """Returns a question, and whether the file says if it is impossible."""
    id = entry.get("id") if isinstance(entry, dict) else None
    id = str(id) if isinstance(id, int) else _get(entry, "id", str, path)
    where = f"{path}: question {id}"
    given = needs_answers or entry.get("answers") is not None
    answers = _answers(entry, where) if given else []
    impossible = entry.get("is_impossible")
    question = Question(
        id=id,
        question=_get(entry, "question", str, where),
        context=context,
        answers=tuple(text for text, _ in answers),
        starts=tuple(start for _, start in answers),
        is_impossible=given and version_2 and not answers
        if impossible is None
        else bool(impossible),
    )
    if question.is_impossible and question.answers:
        raise InputError(f"{where} is marked impossible, but has an answer")
    return question, impossible is not None


def _answers(entry: dict, where: str) -> list[tuple[str, int]]:
    """Returns (text, start) of each answer that is not empty."""
    answers = entry.get("answers")
    if isinstance(answers, dict):  # Hugging Face: a list of texts and a list of starts
        texts, starts = (_get(answers, key, list, where) for key in ("text", "answer_start"))
        if len(texts) != len(starts):
            raise InputError(f"{where} has {len(texts)} answers, but {len(starts)} starts")
        answers = [{"text": t, "answer_start": s} for t, s in zip(texts, starts, strict=True)]
    else:
        answers = _get(entry, "answers", list, where)
    return [
        (answer["text"], _get(answer, "answer_start", int, where))
        for answer in answers
        if _get(answer, "text", str, where).strip()
    ]


def _get(values: dict, key: str, kind: type, where: str | os.PathLike):
    """Returns a value of a JSON object. Raises InputError if it is missing or of another type."""
    value = values.get(key) if isinstance(values, dict) else None
    if not isinstance(value, kind):
        problem = "has no" if value is None else f"needs a {kind.__name__} as"
        raise InputError(f'{where} {problem} "{key}": is it a SQuAD file?')
    return value
