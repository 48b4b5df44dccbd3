"""python -m mobilebert_tf.prepare: makes a prepared folder of text of any size, to train on."""

from collections.abc import Sequence
from functools import partial

from tabulate import tabulate

from mobilebert_tf.cli import door
from mobilebert_tf.data.bert_preparation import write_bert
from mobilebert_tf.data.preparation import Work, prepare_corpus
from mobilebert_tf.data.preparation_plan import PrepareConfig
from mobilebert_tf.data.records import PreparedFolder
from mobilebert_tf.errors import InputError
from mobilebert_tf.reports.html_pages import percent


def prepare(config: PrepareConfig) -> None:
    """Tokenizes text of any size into a folder of shards, which pretrain and distill train on.

    Drops documents that are nearly the same as an earlier one, and holds some out. The same command
    goes on with a preparation that was killed. With --format bert it writes such a folder as the
    masked examples that BERT's programs train on. What follows -- are options of Apache Beam, which
    then prepares, on many machines. Next: python -m mobilebert_tf.pretrain --corpus OUTPUT_DIR
    """
    if config.format == "bert":
        for side, count in write_bert(config).items():
            print(f"{count:,} examples in {config.output_dir}/{side}-*.tfrecord")
    elif config.pipeline_options:
        _report(prepare_corpus(config, _beam_pipeline(config.pipeline_options)))
    else:
        _report(prepare_corpus(config))


def _beam_pipeline(options: Sequence[str]) -> Work:
    """Returns what prepares by Apache Beam. Raises InputError if it is not installed."""
    try:
        from mobilebert_tf.data.beam_pipeline import run_pipeline
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "apache_beam":
            raise
        raise InputError(
            "options after -- are for Apache Beam, which is not installed: `make beam` makes an "
            "environment with it"
        ) from None
    return partial(run_pipeline, options)


def _report(folder: PreparedFolder) -> None:
    """Prints what a prepared folder holds, and what was left out."""
    sides = {"train": folder.train, "held out": folder.held_out}
    rows = [
        {
            "": name,
            "documents": f"{sum(s.documents for s in shards):,}",
            "sentences": f"{sum(s.sentences for s in shards):,}",
            "tokens": f"{sum(s.tokens for s in shards):,}",
            "[UNK]": percent(sum(s.unknown for s in shards) / sum(s.tokens for s in shards)),
            "shards": len(shards),
        }
        for name, shards in sides.items()
    ]
    print(tabulate(rows, headers="keys"))
    counts = folder.statistics
    print(
        f"of {counts['documents_read'] + counts['bad_documents']:,} documents left out: "
        f"{counts['near_duplicates']:,} near duplicates, {counts['bad_documents']:,} bad, "
        f"{counts['documents_without_tokens']:,} without tokens"
    )
    if counts["bad_documents"]:
        print(f"the first bad document: {counts['first_bad_document']}")
    print(f"prepared: {folder.directory}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(prepare, PrepareConfig, {"pipeline_options": "*"}, arguments)


if __name__ == "__main__":
    main()
