"""Prepares the text of a run: a vocabulary, and the tokenized training and held-out documents."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilebert_tf.data.bert_records import BertExamples, BertRecords, is_bert
from mobilebert_tf.data.corpus import (
    SkippedDocuments,
    load_documents,
    split_held_out,
    without_paragraphs_of,
)
from mobilebert_tf.data.documents import refuse
from mobilebert_tf.data.pretraining import PretrainingExamples
from mobilebert_tf.data.records import open_prepared, prepared_folder
from mobilebert_tf.data.schedule import MaskedExamples
from mobilebert_tf.data.sentences import SentenceExamples
from mobilebert_tf.data.sources import Source, sources
from mobilebert_tf.data.tokenized import Corpus, TokenizedCorpus, tokenize_documents
from mobilebert_tf.errors import InputError, check_number, require
from mobilebert_tf.files import read_json, write_json, write_whole
from mobilebert_tf.modeling.model_directory import load_tokenizer
from mobilebert_tf.text.tokenizer import LARGEST_VOCABULARY, WordPiece, has_capitals
from mobilebert_tf.text.vocabulary import train_vocabulary

MAX_UNKNOWN = 0.4  # share of [UNK] in the text
# The held-out examples are the same in every run, whatever its seed and batch size.
HELD_OUT_SEED, HELD_OUT_BATCH = 20200704, 32


@dataclass(frozen=True)
class TextConfig:
    """Text, what is held out of it, and its vocabulary.

    Args:
        corpus: "docs" (docstrings of installed packages), or files, folders, globs: .txt, and with
            a field .jsonl, .parquet, .arrow, .tfrecord; also as .gz or .zst.
        held_out_fraction: share of the documents for evaluation; they are never trained on.
        held_out_corpus: text to evaluate on in place of that share, named as corpus is.
        field: of .jsonl, .parquet, .arrow and .tfrecord, that holds the text.
        skip_bad: leave out documents that are damaged, and say how many.
        vocabulary: a vocab.txt; null for that of the teacher or of init, or one trained on the
            corpus.
        vocabulary_size: tokens of a trained vocabulary.
        lower_case: lower-case the text; null for the casing of the vocabulary or the model, or
            true for a vocabulary that is trained here.
        strip_accents: strip accents; null for the value of lower_case, as in BERT.
    """

    corpus: str | list[str] = "docs"
    held_out_fraction: float = 0.05
    held_out_corpus: str | list[str] | None = None
    field: str = "text"
    skip_bad: bool = False
    vocabulary: str | None = None
    vocabulary_size: int = 6000
    lower_case: bool | None = None
    strip_accents: bool | None = None

    def __post_init__(self):
        fraction = self.held_out_fraction
        check_number("held_out_fraction", fraction, 0, 1, above=True, below=True)
        check_number("vocabulary_size", self.vocabulary_size, 1, LARGEST_VOCABULARY)


@dataclass(frozen=True)
class ExampleConfig:
    """How pre-training examples are made of text (Devlin et al., 2019).

    Args:
        sequence_length: tokens in an example.
        max_predictions_per_sequence: largest number of masked tokens in an example.
        masking_probability: share of the tokens that are predicted.
        short_sequence_probability: share of the examples that are made shorter.
        whole_word_masking: mask all pieces of a word together.
    """

    sequence_length: int = 64
    max_predictions_per_sequence: int = 10
    masking_probability: float = 0.15
    short_sequence_probability: float = 0.1
    whole_word_masking: bool = False

    def __post_init__(self):
        check_number("masking_probability", self.masking_probability, 0, 1, above=True)
        check_number("short_sequence_probability", self.short_sequence_probability, 0, 1)
        for key in ("sequence_length", "max_predictions_per_sequence"):
            check_number(key, getattr(self, key), 1)

    def example_settings(self) -> dict[str, Any]:
        """Returns the settings by name."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(ExampleConfig)}


@dataclass(frozen=True)
class DataConfig(ExampleConfig, TextConfig):
    """The text of a run and its examples.

    A student of a sentence encoder learns from single sentences: no token of them is masked.

    Args:
        batch_size: examples in a step.
    """

    batch_size: int = 32

    def __post_init__(self):
        TextConfig.__post_init__(self)
        ExampleConfig.__post_init__(self)
        check_number("batch_size", self.batch_size, 1)


@dataclass(frozen=True)
class PreparedText:
    """A tokenizer, and the training and held-out documents that it tokenized."""

    tokenizer: WordPiece
    train: Corpus | BertRecords
    held_out: Corpus | BertRecords
    config: DataConfig

    def training_examples(self, seed: int) -> MaskedExamples:
        """Returns the examples to train on."""
        return self._examples(self.train, seed, self.config.batch_size)

    def held_out_examples(self) -> MaskedExamples:
        """Returns the examples to evaluate on, the same in every run on this text."""
        return self._examples(self.held_out, HELD_OUT_SEED, HELD_OUT_BATCH)

    def training_sentences(self, seed: int) -> SentenceExamples:
        """Returns the sentences that a sentence encoder trains on."""
        return self._sentences(self.train, seed, self.config.batch_size)

    def held_out_sentences(self) -> SentenceExamples:
        """Returns the sentences that it is evaluated on, the same in every run on this text."""
        return self._sentences(self.held_out, HELD_OUT_SEED, HELD_OUT_BATCH)

    def _sentences(
        self, corpus: Corpus | BertRecords, seed: int, batch_size: int
    ) -> SentenceExamples:
        if isinstance(corpus, BertRecords):
            raise InputError("`corpus` holds masked examples: a sentence encoder learns from text")
        return SentenceExamples(
            corpus,
            self.tokenizer,
            batch_size=batch_size,
            sequence_length=self.config.sequence_length,
            seed=seed,
        )

    def _examples(self, corpus: Corpus | BertRecords, seed: int, batch_size: int) -> MaskedExamples:
        if isinstance(corpus, BertRecords):
            return BertExamples(corpus, len(self.tokenizer), batch_size, seed)
        return PretrainingExamples(
            corpus,
            self.tokenizer,
            batch_size=batch_size,
            seed=seed,
            **self.config.example_settings(),
        )


def prepare_text(
    config: DataConfig, directory: Path, tokenizer: WordPiece | None = None
) -> PreparedText:
    """Returns the tokenized corpus.

    Text is read, split and tokenized into `directory` the first time. A prepared folder stays where
    it is, and shard by shard is read from there.

    Args:
        config: which corpus, and how to tokenize it.
        directory: of vocab.txt, train.npz, held_out.npz and held_out.txt; of prepared.json
            and sizes-*.json.
        tokenizer: of the model that is given, a teacher or the one to continue: its vocabulary must
            stay. None if there is no such model.

    Raises InputError for bad text, or a vocabulary that is not the given model's.
    """
    directory.mkdir(parents=True, exist_ok=True)
    folder = prepared_folder(config.corpus)
    if folder is not None:
        return _open_prepared_text(config, folder, directory, tokenizer)
    if not (directory / "train.npz").exists():  # written last
        if is_bert(files := sources(config.corpus, config.field)):
            return _open_bert_records(config, files, directory, tokenizer)
        print(f"reading {config.corpus}", flush=True)
        documents, held_out = _read_documents(config)
        tokenizer = choose_tokenizer(config, documents, tokenizer)
        print(
            f"{len(documents):,} documents to train on, {len(held_out):,} held out, "
            f"{len(tokenizer):,} tokens in the vocabulary ({tokenizer.casing})",
            flush=True,
        )
        train = tokenize_documents(documents, tokenizer)
        _report_losses(train.share_of(tokenizer.unk_id), train.single_sentence_documents, tokenizer)
        evaluated = tokenize_documents(held_out, tokenizer)
        _check_held_out(evaluated.share_of(tokenizer.unk_id))
        tokenizer.save_files(directory)
        text = "\n\n".join("\n".join(paragraphs) for paragraphs in held_out)
        write_whole(directory / "held_out.txt", text + "\n")
        evaluated.save(directory / "held_out.npz")
        train.save(directory / "train.npz")
    tokenizer = load_tokenizer(directory)
    train = TokenizedCorpus.load(directory / "train.npz")
    held_out = TokenizedCorpus.load(directory / "held_out.npz")
    return PreparedText(tokenizer, train, held_out, config)


def _open_prepared_text(
    config: DataConfig, folder: Path, directory: Path, given: WordPiece | None
) -> PreparedText:
    """Returns the text of a prepared folder.

    Raises InputError if it has another vocabulary than the given model or the settings, or if it
    was prepared anew since the run began.
    """
    prepared, tokenizer = open_prepared(folder), load_tokenizer(folder)
    known = directory / "prepared.json"
    if not known.exists():
        if config.held_out_corpus is not None:
            raise InputError("a prepared folder has held-out text: leave out `held_out_corpus`")
        vocabulary = folder / "vocab.txt" if config.vocabulary is None else config.vocabulary
        choose_tokenizer(dataclasses.replace(config, vocabulary=str(vocabulary)), [], tokenizer)
        if given is not None and not given.reads_as(tokenizer):
            raise InputError(
                f"{folder} was prepared with another vocabulary ({tokenizer.casing}) than that of "
                f"the given model ({given.casing}): prepare it with `vocabulary`"
            )
        train = prepared.corpus("train")
        print(f"{folder}: {sum(s.documents for s in train.shards):,} documents to train on")
        _report_losses(train.share_of_unknown(), train.single_sentence_documents, tokenizer)
        write_json(known, {"digest": prepared.digest})
    if read_json(known).get("digest") != prepared.digest:
        raise InputError(
            f"{folder} was prepared anew since this run began: choose another `output_dir`, or "
            "`overwrite`"
        )
    train, held_out = (
        prepared.corpus(side, directory / f"sizes-{side}.json") for side in ("train", "held_out")
    )
    return PreparedText(tokenizer, train, held_out, config)


def _open_bert_records(
    config: DataConfig, files: list[Source], directory: Path, given: WordPiece | None
) -> PreparedText:
    """Returns text of which the examples are masked already.

    Raises InputError if the settings do not say which vocabulary and held-out examples belong to
    it, or say another length.
    """
    if (directory / "vocab.txt").exists():
        given = load_tokenizer(directory)
    if config.vocabulary is None and given is None:
        raise InputError(
            f"{files[0].path} holds masked examples, which do not say which vocabulary they were "
            "made with: name it with `vocabulary`"
        )
    held_out = config.held_out_corpus
    held_out_files = [] if held_out is None else sources(held_out, config.field)
    if not is_bert(held_out_files):
        raise InputError(
            f"{files[0].path} holds masked examples, perhaps of one text many times: name others "
            "that were made of held-out text with `held_out_corpus`"
        )
    tokenizer = choose_tokenizer(config, [], given)
    train, held_out = (BertRecords([Path(s.path) for s in of]) for of in (files, held_out_files))
    for records in (train, held_out):
        for name in ("sequence_length", "max_predictions_per_sequence"):
            found, wanted = getattr(records, name), getattr(config, name)
            require(found == wanted, name, wanted, f"{found}, as in {records.files[0]}")
    tokenizer.save_files(directory)
    return PreparedText(tokenizer, train, held_out, config)


def _read_documents(config: DataConfig) -> tuple[list[list[str]], list[list[str]]]:
    """Returns (training documents, held-out documents)."""
    skipped = SkippedDocuments()
    bad = skipped if config.skip_bad else refuse
    documents = load_documents(config.corpus, field=config.field, bad=bad)
    if config.held_out_corpus is None:
        split = split_held_out(documents, config.held_out_fraction)
    else:
        held_out = load_documents(config.held_out_corpus, field=config.field, bad=bad)
        split = documents, without_paragraphs_of(documents, held_out)
    skipped.report()
    return split


def check_unknown(unknown: float, tokenizer: WordPiece) -> None:
    """Raises InputError if the share of [UNK] in a text is too large to train on it."""
    if unknown > MAX_UNKNOWN:
        raise InputError(
            f"{100 * unknown:.1f} % of the text is [UNK] to this vocabulary ({tokenizer.casing}), "
            "which does not fit it: set another `vocabulary`, or leave it out to train one"
        )


def _check_held_out(unknown: float) -> None:
    """Raises InputError if held-out text is nothing but [UNK], which is never predicted."""
    if unknown == 1:
        raise InputError(
            "the held-out text is [UNK] alone: hold out more (`held_out_fraction`), or name other "
            "text with `held_out_corpus`"
        )


def _report_losses(unknown: float, single: int, tokenizer: WordPiece) -> None:
    """Prints the share of [UNK] in the text, and the number of documents without a next sentence.

    Raises InputError as `check_unknown` does.
    """
    check_unknown(unknown, tokenizer)
    print(f"[UNK]: {100 * unknown:.2f} % of the tokens", flush=True)
    if single:
        print(
            f"{single:,} documents have one sentence: its next sentence is always a random one",
            flush=True,
        )


def choose_tokenizer(config: TextConfig, documents: list, given: WordPiece | None) -> WordPiece:
    """Returns the tokenizer of the config's vocabulary, the given one, or a newly trained one.

    Raises InputError if the settings contradict one another or the given one.
    """
    casing = (config.lower_case, config.strip_accents)
    if config.vocabulary is not None:
        tokenizer = _read_vocabulary(Path(config.vocabulary), *casing)
        if given is not None and not tokenizer.reads_as(given):
            raise InputError(
                f"`vocabulary` {config.vocabulary} ({tokenizer.casing}) is not that of the "
                f"given model ({given.casing})"
            )
        return tokenizer
    if given is not None:
        if not given.reads_as(WordPiece(given.vocabulary, *_fill_casing(casing, given))):
            raise InputError(
                f"the given model's vocabulary is {given.casing}: leave out `lower_case` and "
                "`strip_accents`"
            )
        return given
    lower_case = config.lower_case is not False
    lines = (line for paragraphs in documents for line in paragraphs)
    vocabulary = train_vocabulary(lines, config.vocabulary_size, lower_case, config.strip_accents)
    if len(vocabulary) < config.vocabulary_size:
        print(f"the text gives {len(vocabulary):,} pieces, not {config.vocabulary_size:,}")
    return WordPiece(vocabulary, lower_case, config.strip_accents)


def _fill_casing(
    casing: tuple[bool | None, bool | None], tokenizer: WordPiece
) -> tuple[bool, bool]:
    """Returns lower_case and strip_accents as set, those of a tokenizer where they are None."""
    lower_case, strip_accents = casing
    return (
        tokenizer.lower_case if lower_case is None else lower_case,
        tokenizer.strip_accents if strip_accents is None else strip_accents,
    )


def _read_vocabulary(path: Path, lower_case: bool | None, strip_accents: bool | None) -> WordPiece:
    """Returns the tokenizer of a vocab.txt and of the tokenizer_config.json beside it, if any.

    Raises InputError if the settings contradict these files.
    """
    tokenizer = WordPiece.from_file(path, lower_case, strip_accents)
    if lower_case and has_capitals(tokenizer.vocabulary):
        raise InputError(
            f"{path} has pieces with capitals: leave out `lower_case`, or set it to false"
        )
    if (path.parent / "tokenizer_config.json").is_file() and path.name == "vocab.txt":
        saved = load_tokenizer(path.parent)
        casing = _fill_casing((lower_case, strip_accents), saved)
        tokenizer = WordPiece(saved.vocabulary, *casing)
        if not tokenizer.reads_as(saved):
            raise InputError(
                f"{path} is {saved.casing}, as tokenizer_config.json beside it says: leave out "
                "`lower_case` and `strip_accents`"
            )
    return tokenizer
