"""python -m mobilebert_tf.predict MODEL TEXT...: what a model directory or a .tflite file says.

A pre-training model fills each [MASK], a classifier names the class, a token classifier labels the
words, a span model answers the question TEXT from --context, a bare encoder gives its embedding.
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
    """What to predict with, and on.

    Args:
        model: a model directory, an exported .tflite file or a Hugging Face folder.
        texts: one prediction each; without any, and without input, lines of standard input.
        input: a .txt file with a text a line, or a .tsv, .csv or .jsonl file with columns.
        text_column: of the texts in the input.
        pair_column: of the second texts, or of the contexts of questions.
        context: the passage that a span model answers from, of any length, or a file with it
            (@FILE); a classifier's second sentence.
        top: candidates for each [MASK] or answer.
        truncate: cut texts that are too long for the model.
        null_threshold: for questions that may have no answer: how much better "no answer" must
            score than the best one.
        format: readable lines, one JSON object a text, or CSV.
        json: the same as --format jsonl.
        output: a file for the results, in place of standard output.
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
    """Fills masks, classifies, labels words, answers or embeds, as the model's head can."""
    _check(config)
    pipeline = Pipeline(
        config.model, config.top, config.truncate, config.null_threshold, config.num_threads
    )
    results = _results(pipeline, config)
    lines = _lines(results, "jsonl" if config.json else config.format)
    if config.output:
        write_whole(Path(config.output), "".join(f"{line}\n" for line in lines))
        return
    for line in lines:
        print(line, flush=True)


def _check(config: PredictConfig) -> None:
    """InputError for options of which one would be passed over."""
    if config.output:
        check_free(config.output, config.overwrite)
    if config.input and config.texts:
        raise InputError("texts go with no `input`: it has texts of its own")
    if config.pair_column and (config.context or not config.input):
        raise InputError("`pair_column` goes with `input`, and without `context`")
    if config.json and config.format == "csv":
        raise InputError("`json` goes with no `format` csv")


def _results(pipeline: Pipeline, config: PredictConfig) -> Iterator[Result]:
    """Results of the arguments, the file's rows in batches, or of each line as it comes."""
    context = _context(config)
    if config.input:
        rows = iter(read_texts(Path(config.input), config.text_column, config.pair_column))
        while batch := list(itertools.islice(rows, _BATCH)):
            texts, pairs = zip(*batch, strict=True)
            yield from pipeline(texts, context or (pairs if config.pair_column else None))
    elif config.texts:
        yield from pipeline(config.texts, context)
    else:
        for line in _lines_of_input():
            yield pipeline(line, context)


def _lines_of_input() -> Iterator[str]:
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


def _lines(results: Iterable[Result], style: str) -> Iterator[str]:
    if style == "jsonl":
        yield from (json.dumps(_record(result), ensure_ascii=False) for result in results)
    elif style == "text":
        for result in results:
            yield from _readable(result)
    else:
        yield from _csv(results)


def _csv(results: Iterable[Result]) -> Iterator[str]:
    """A column for each field; lists and objects as JSON."""
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
            place = f"{result.start}-{result.end}"
            return [f"{result.answer} {result.probability:.3f} ({place})  {result.text}"]
        case Labelled():
            words = (f"{w.text} {w.label} {w.probability:.3f}" for w in result.words)
            return [result.text, *(f"  {word}" for word in words)]
        case Filled():
            found = (", ".join(f"{c.token} {c.probability:.3f}" for c in m) for m in result.masks)
            return [result.text, *(f"  {line}" for line in found)]
        case Embedded():
            return [json.dumps(_record(result), ensure_ascii=False)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(predict, PredictConfig, {"model": None, "texts": "*"}, arguments=arguments)


if __name__ == "__main__":
    main()
