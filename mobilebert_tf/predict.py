"""python -m mobilebert_tf.predict MODEL TEXT...: runs a model directory or a .tflite file on text.

A masked LM fills each [MASK], a classifier names the class, a token classifier labels the words, a
span model answers the question TEXT from --context, a bare encoder returns its embedding.
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
from typing import Literal

from mobilebert_tf.cli import door
from mobilebert_tf.data.tables import read_text, read_texts
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import check_free, write_whole
from mobilebert_tf.pipeline import (
    Answered,
    Classified,
    Embedded,
    Filled,
    Labelled,
    Pipeline,
    Result,
    Scored,
)

_BATCH = 64  # texts of a file that are run together


@dataclass(frozen=True)
class PredictConfig:
    """Settings of a prediction.

    Args:
        model: a model directory, an exported .tflite file or a Hugging Face folder.
        texts: the texts; without texts and input, the lines of standard input.
        input: a .txt file with a text in each line, or a .tsv, .csv or .jsonl file with columns.
        text_column: column of the texts in the input.
        pair_column: column of the second texts, or of the contexts of questions.
        context: the text, of any length, from which a span model answers, or a file with it
            (@FILE); a classifier's second sentence.
        top: candidates for each [MASK] or answer.
        truncate: cut texts that are too long for the model.
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
    pair_column: str | None = None
    context: str | None = None
    top: int = 5
    truncate: bool = False
    null_threshold: float | None = None
    format: Literal["text", "jsonl", "csv"] = "text"
    json: bool = False
    output: str | None = None
    overwrite: bool = False
    num_threads: int = 1


def predict(config: PredictConfig) -> None:
    """Fills masks, classifies, labels words, answers questions or embeds, by the model's head."""
    _check_options(config)
    pipeline = Pipeline(
        config.model,
        top=config.top,
        truncate=config.truncate,
        null_threshold=config.null_threshold,
        num_threads=config.num_threads,
    )
    results = _predict(pipeline, config)
    lines = _format(results, "jsonl" if config.json else config.format)
    if config.output:
        write_whole(Path(config.output), "".join(f"{line}\n" for line in lines))
        return
    for line in lines:
        print(line, flush=True)


def _check_options(config: PredictConfig) -> None:
    """Raises InputError for options that do not go together."""
    if config.output:
        check_free(config.output, config.overwrite)
    if config.input and config.texts:
        raise InputError("give texts or `input`, not both")
    if config.pair_column and (config.context or not config.input):
        raise InputError("`pair_column` goes with `input`, and without `context`")
    if config.json and config.format == "csv":
        raise InputError("give `json` or `format` csv, not both")


def _predict(pipeline: Pipeline, config: PredictConfig) -> Iterator[Result]:
    """Yields results of the arguments, of the file's rows in batches, or of each input line."""
    context = _context(config)
    if config.input:
        rows = iter(read_texts(Path(config.input), config.text_column, config.pair_column))
        while batch := list(itertools.islice(rows, _BATCH)):
            texts, pairs = zip(*batch, strict=True)
            yield from pipeline(texts, context or (pairs if config.pair_column else None))
    elif config.texts:
        yield from pipeline(list(config.texts), context)
    else:
        for line in _read_standard_input():
            yield pipeline(line, context)


def _read_standard_input() -> Iterator[str]:
    if sys.stdin is None:
        raise InputError("no texts, no `input`, and no standard input")
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(f"standard input, line {number}: not UTF-8 ({error.reason})") from None


def _context(config: PredictConfig) -> str | None:
    if config.context is None or not config.context.startswith("@"):
        return config.context
    return read_text(Path(config.context[1:]))


def _format(results: Iterable[Result], style: str) -> Iterator[str]:
    if style == "jsonl":
        yield from (json.dumps(_record(result), ensure_ascii=False) for result in results)
    elif style == "text":
        for result in results:
            yield from _readable(result)
    else:
        yield from _csv(results)


def _csv(results: Iterable[Result]) -> Iterator[str]:
    """Yields CSV lines with a column for each field; lists and objects are written as JSON."""
    for number, result in enumerate(results):
        record = _record(result)
        if number == 0:
            yield _csv_row(record)
        yield _csv_row(
            json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v
            for v in record.values()
        )


def _csv_row(values: Iterable) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(values)
    return buffer.getvalue()


def _record(result: Result) -> dict:
    return dataclasses.asdict(result)


def _readable(result: Result) -> list[str]:
    match result:
        case Classified():
            return [f"{result.label} {result.probability:.3f}  {result.text}"]
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
            return [json.dumps(_record(result), ensure_ascii=False)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(predict, PredictConfig, {"model": None, "texts": "*"}, arguments=arguments)


if __name__ == "__main__":
    main()
