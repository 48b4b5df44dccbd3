"""python -m mobilebert_tf.predict MODEL TEXT...: runs a model directory or a .tflite file on text.

A masked LM fills each [MASK], a classifier names the class, a multi-label classifier every label
from its threshold on, a token classifier labels the words, a span model answers the question TEXT
from --context, a bare encoder returns its embedding, or with --search FOLDER the folder's sentences
that are nearest to TEXT.
"""

import csv
import dataclasses
import io
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from mobilebert_tf.cli import door
from mobilebert_tf.data.tables import LONGEST_TEXT, check_length, read_text, read_texts
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import check_free, write_whole
from mobilebert_tf.pipeline import Pipeline
from mobilebert_tf.results import (
    Answered,
    Classified,
    Embedded,
    Filled,
    Labelled,
    MultiLabelClassified,
    Result,
    Scored,
)
from mobilebert_tf.tasks.text_search import Collection
from mobilebert_tf.tasks.user_files import read_words

_BATCH = 64  # texts of a file that are run together


@dataclass(frozen=True)
class PredictConfig:
    """Settings of a prediction.

    Args:
        model: a .tflite file, a model directory, a Hugging Face folder or a checkpoint.
        texts: the texts; without texts and input, the lines of standard input.
        input: a .txt file with a text in each line, or a .tsv, .csv or .jsonl file with columns;
            for a token classifier also a .conll or a .jsonl with lists of words. Each row has a
            result; rows without text are marked as skipped, in CSV by empty fields.
        text_column: column of the texts in the input.
        id_column: column of the input that is repeated in the results.
        pair_column: column of the second texts, or of the contexts of questions.
        context: the text, of any length, from which a span model answers, or a file with it
            (@FILE); a classifier's second sentence.
        search: a folder of text (.txt, .txt.gz, .md), in which an encoder finds the sentences that
            are nearest to each text.
        top: candidates for each [MASK] or answer, or sentences that a search finds.
        truncate: cut texts that are too long for the model; long questions are cut in any case.
        null_threshold: allow "no answer" to a question, if its score is higher than that of the
            best answer by more than this.
        format: readable lines, a JSON object for each text, or CSV.
        json: the same as --format jsonl.
        output: a file for the results, instead of standard output.
        overwrite: replace output if it exists.
        num_threads: of a .tflite file.
    """

    model: str
    texts: Sequence[str] = field(default_factory=list)
    input: str | None = None
    text_column: str = "text"
    id_column: str | None = None
    pair_column: str | None = None
    context: str | None = None
    search: str | None = None
    top: int = 5
    truncate: bool = False
    null_threshold: float | None = None
    format: Literal["text", "jsonl", "csv"] = "text"
    json: bool = False
    output: str | None = None
    overwrite: bool = False
    num_threads: int = 1


def predict(config: PredictConfig) -> None:
    """Fills masks, classifies, labels words, answers questions, embeds or searches, by the model's
    head."""
    _check_options(config)
    pipeline = Pipeline(
        config.model,
        top=config.top,
        truncate=config.truncate,
        null_threshold=config.null_threshold,
        num_threads=config.num_threads,
    )
    collection = None
    if config.search:
        collection = Collection(config.search, pipeline.model)
        results = _search(collection, config)
    else:
        results = _predict(pipeline, config)
    lines = _format(results, "jsonl" if config.json else config.format)
    if config.output:
        write_whole(Path(config.output), "".join(f"{line}\n" for line in lines))
    else:
        for line in lines:
            print(line, flush=True)
    if collection is not None:
        print(f"searched {collection.summary}", file=sys.stderr)
    if pipeline.cut:
        longest = pipeline.model.max_tokens
        warning = f"{pipeline.cut} texts cut to fit into the {longest} tokens of the model"
        print(f"warning: {warning}", file=sys.stderr)


def _check_options(config: PredictConfig) -> None:
    """Raises InputError for options that do not go together."""
    if config.output:
        context = [config.context[1:]] if (config.context or "").startswith("@") else []
        inputs = [config.model, *([config.input] if config.input else []), *context]
        check_free(config.output, config.overwrite, inputs)
    if config.input and config.texts:
        raise InputError("give texts or `input`, not both")
    if config.pair_column and (config.context or not config.input):
        raise InputError("`pair_column` goes with `input`, and without `context`")
    if config.id_column and not config.input:
        raise InputError("`id_column` goes with `input`")
    if config.search and (config.input or config.context or not config.texts):
        raise InputError("`search` takes its queries as texts: leave out `input` and `context`")
    if config.json and config.format == "csv":
        raise InputError("give `json` or `format` csv, not both")


@dataclass(frozen=True)
class Skipped:
    """What stands in place of the result of a row that the model cannot read."""

    text: str | list[str]
    skipped: str


@dataclass(frozen=True)
class Hit:
    """A sentence that a search found."""

    query: str
    rank: int
    score: float
    file: str
    line: int
    text: str


class _Output(NamedTuple):
    """The result of a row of the input, and the row's id if there is a column of ids."""

    result: Result | Skipped | Hit
    id: str | None = None


class _Input(NamedTuple):
    """A row of the input: its text or words, second text and id, and whether it can be read."""

    text: str | list[str]
    pair: str | None = None
    id: str | None = None
    complete: bool = True


def _predict(pipeline: Pipeline, config: PredictConfig) -> Iterator[_Output]:
    """Yields results of the arguments, of the file's rows in batches, or of each input line."""
    context = _context(config)
    if config.input:
        rows = iter(_read_rows(pipeline, config))
        while batch := list(itertools.islice(rows, _BATCH)):
            yield from _predict_rows(pipeline, batch, context)
    elif config.texts:
        yield from map(_Output, pipeline(list(config.texts), context))
    else:
        for line in _read_standard_input():
            row = _Input(line, complete=bool(line.strip()))
            yield from _predict_rows(pipeline, [row], context)


def _search(collection: Collection, config: PredictConfig) -> Iterator[_Output]:
    """Yields what a search finds for each query, best first."""
    for query in config.texts:
        for rank, found in enumerate(collection.search(query, config.top), start=1):
            passage = found.passage
            yield _Output(
                Hit(query, rank, found.score, str(passage.file), passage.line, passage.text)
            )


def _read_rows(pipeline: Pipeline, config: PredictConfig) -> Iterable[_Input]:
    """Returns the rows of the input file."""
    path = Path(config.input)
    if pipeline.model.kind == "token_classifier":
        sentences = read_words(path, config.text_column)
        if sentences is not None:
            if config.id_column or config.pair_column:
                name = "id_column" if config.id_column else "pair_column"
                raise InputError(f"{path} holds words: `{name}` is for tables of texts")
            return [_Input(words, complete=bool(words)) for words in sentences]
    rows = read_texts(path, config.text_column, config.pair_column, config.id_column)
    return [_Input(*row) for row in rows]


def _predict_rows(
    pipeline: Pipeline, rows: Sequence[_Input], context: str | None
) -> Iterator[_Output]:
    """Yields an output for each row."""
    used = [row for row in rows if row.complete]
    pairs = context or ([row.pair for row in used] if used and used[0].pair is not None else None)
    results = iter(pipeline([row.text for row in used], pairs) if used else [])
    for row in rows:
        if row.complete:
            yield _Output(next(results), row.id)
        else:
            reason = "a value is missing" if row.text else "no text"
            yield _Output(Skipped(row.text or "", reason), row.id)


def _read_standard_input() -> Iterator[str]:
    if sys.stdin is None:
        raise InputError("no texts, no `input`, and no standard input")
    lines = iter(lambda: sys.stdin.buffer.readline(LONGEST_TEXT + 1), b"")
    for number, line in enumerate(lines, start=1):
        check_length(line, f"standard input, line {number}")
        try:
            yield line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(f"standard input, line {number}: not UTF-8 ({error.reason})") from None


def _context(config: PredictConfig) -> str | None:
    if config.context is None or not config.context.startswith("@"):
        return config.context
    return read_text(Path(config.context[1:]))


def _format(rows: Iterable[_Output], style: str) -> Iterator[str]:
    if style == "jsonl":
        yield from (json.dumps(_record(row), ensure_ascii=False) for row in rows)
    elif style == "text":
        for row in rows:
            first, *more = _readable(row.result)
            yield first if row.id is None else f"{row.id}\t{first}"
            yield from more
    else:
        yield from _csv(rows)


def _csv(rows: Iterable[_Output]) -> Iterator[str]:
    """Yields CSV lines with a column for each field; lists and objects are written as JSON.

    Rows that were skipped have empty fields. If all were, the columns are those of Skipped.
    """
    rows = iter(rows)
    first = []  # up to the first result, which tells the columns
    for row in rows:
        first.append(row)
        if not isinstance(row.result, Skipped):
            break
    columns = list(_record(first[-1])) if first else []
    if columns:
        yield _csv_row(columns)
    for row in itertools.chain(first, rows):
        values = (_record(row).get(column, "") for column in columns)
        yield _csv_row(
            json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v for v in values
        )


def _csv_row(values: Iterable) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(values)
    return buffer.getvalue()


def _record(row: _Output) -> dict:
    record = dataclasses.asdict(row.result)
    return record if row.id is None else {"id": row.id} | record


def _readable(result: Result | Skipped | Hit) -> list[str]:
    match result:
        case Hit():
            heading = [f"query: {result.query}"] if result.rank == 1 else []
            return [*heading, f"{result.score:.3f}  {result.file}:{result.line}  {result.text}"]
        case Skipped():
            return [f"(skipped: {result.skipped})  {result.text}".rstrip()]
        case Classified():
            return [f"{result.label} {result.probability:.3f}  {result.text}"]
        case MultiLabelClassified():
            labels = (f"{name} {result.probabilities[name]:.3f}" for name in result.labels)
            return [f"{', '.join(labels) or '(no label)'}  {result.text}"]
        case Scored():
            return [f"{result.score:.3f}  {result.text}"]
        case Answered():
            position = f"{result.start}-{result.end}"
            return [f"{result.answer} {result.probability:.3f} ({position})  {result.text}"]
        case Labelled():
            words = (f"{w.text} {w.label} {w.probability:.3f}" for w in result.words)
            return [result.text, *(f"  {word}" for word in words)]
        case Filled():
            masks = (", ".join(f"{c.token} {c.probability:.3f}" for c in m) for m in result.masks)
            return [result.text, *(f"  {mask}" for mask in masks)]
        case Embedded():
            return [json.dumps(dataclasses.asdict(result), ensure_ascii=False)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(predict, PredictConfig, {"model": None, "texts": "*"}, arguments=arguments)


if __name__ == "__main__":
    main()
