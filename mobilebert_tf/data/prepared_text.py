"""Prepares the text of a run: a vocabulary, and the tokenized training and held-out documents."""

from dataclasses import dataclass
from pathlib import Path

from mobilebert_tf.data.corpus import load_documents, split_held_out
from mobilebert_tf.data.pretraining import (
    PretrainingExamples,
    TokenizedCorpus,
    tokenize_documents,
)
from mobilebert_tf.errors import InputError, require
from mobilebert_tf.files import write_whole
from mobilebert_tf.text.tokenizer import WordPiece
from mobilebert_tf.text.vocabulary import train_vocabulary

HELD_OUT_SEED = 20200704  # the held-out masks are the same in every run, whatever its seed


@dataclass(frozen=True)
class DataConfig:
    """The text of a run, and how pre-training examples are made of it (Devlin et al., 2019).

    Args:
        corpus: "docs" (docstrings of installed packages), or text files, folders, globs, .gz.
        held_out_fraction: share of the documents for evaluation; they are never trained on.
        vocabulary: a vocab.txt; null for the teacher's, or without a teacher one trained on the
            corpus.
        vocabulary_size: tokens of a trained vocabulary.
        lower_case: lower-case the text and strip its accents.
        sequence_length: tokens in an example.
        batch_size: examples in a step.
        max_predictions_per_sequence: largest number of masked tokens in an example.
        masking_probability: share of the tokens that are predicted.
        short_sequence_probability: share of the examples that are made shorter.
        whole_word_masking: mask all pieces of a word together.
    """

    corpus: str | list[str] = "docs"
    held_out_fraction: float = 0.05
    vocabulary: str | None = None
    vocabulary_size: int = 6000
    lower_case: bool = True
    sequence_length: int = 64
    batch_size: int = 32
    max_predictions_per_sequence: int = 10
    masking_probability: float = 0.15
    short_sequence_probability: float = 0.1
    whole_word_masking: bool = False

    def __post_init__(self):
        fraction = self.held_out_fraction
        require(0 < fraction < 1, "held_out_fraction", fraction, "above 0 and below 1")
        probability = self.masking_probability
        require(0 < probability <= 1, "masking_probability", probability, "above 0, at most 1")
        short = self.short_sequence_probability
        require(0 <= short <= 1, "short_sequence_probability", short, "from 0 to 1")
        for key in ("sequence_length", "batch_size", "max_predictions_per_sequence"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")


@dataclass(frozen=True)
class PreparedText:
    """A tokenizer, and the training and held-out documents that it tokenized."""

    tokenizer: WordPiece
    train: TokenizedCorpus
    held_out: TokenizedCorpus
    config: DataConfig

    def training_examples(self, seed: int) -> PretrainingExamples:
        return self._examples(self.train, seed)

    def held_out_examples(self) -> PretrainingExamples:
        return self._examples(self.held_out, HELD_OUT_SEED)

    def _examples(self, corpus: TokenizedCorpus, seed: int) -> PretrainingExamples:
        config = self.config
        return PretrainingExamples(
            corpus,
            self.tokenizer,
            batch_size=config.batch_size,
            sequence_length=config.sequence_length,
            max_predictions_per_sequence=config.max_predictions_per_sequence,
            masking_probability=config.masking_probability,
            short_sequence_probability=config.short_sequence_probability,
            whole_word_masking=config.whole_word_masking,
            seed=seed,
        )


def prepare_text(
    config: DataConfig, directory: Path, tokenizer: WordPiece | None = None
) -> PreparedText:
    """Reads, splits and tokenizes the corpus into `directory`; if that was done, loads the result.

    Args:
        config: which corpus, and how to tokenize it.
        directory: of vocab.txt, train.npz, held_out.npz and held_out.txt.
        tokenizer: the teacher's, if there is one: a student must have the same vocabulary.

    Raises InputError for bad text, or a vocabulary that is not the teacher's.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "train.npz").exists():  # written last
        print(f"reading {config.corpus}", flush=True)
        train, held_out = split_held_out(load_documents(config.corpus), config.held_out_fraction)
        tokenizer = _choose_tokenizer(config, train, tokenizer)
        print(
            f"{len(train):,} documents to train on, {len(held_out):,} held out, "
            f"{len(tokenizer):,} tokens in the vocabulary",
            flush=True,
        )
        tokenizer.save(directory / "vocab.txt")
        text = "\n\n".join("\n".join(paragraphs) for paragraphs in held_out)
        write_whole(directory / "held_out.txt", text + "\n")
        tokenize_documents(held_out, tokenizer).save(directory / "held_out.npz")
        tokenize_documents(train, tokenizer).save(directory / "train.npz")
    tokenizer = WordPiece.from_file(directory / "vocab.txt", config.lower_case)
    train = TokenizedCorpus.load(directory / "train.npz")
    held_out = TokenizedCorpus.load(directory / "held_out.npz")
    return PreparedText(tokenizer, train, held_out, config)


def _choose_tokenizer(config: DataConfig, documents: list, teacher: WordPiece | None) -> WordPiece:
    """Returns the tokenizer of the config's vocabulary, the teacher's, or a newly trained one."""
    if config.vocabulary is not None:
        tokenizer = WordPiece.from_file(config.vocabulary, config.lower_case)
        if teacher is not None and tokenizer.vocabulary != teacher.vocabulary:
            raise InputError(f"vocabulary {config.vocabulary} is not the teacher's vocabulary")
        return tokenizer
    if teacher is not None:
        return teacher
    lines = (line for paragraphs in documents for line in paragraphs)
    return WordPiece(
        train_vocabulary(lines, config.vocabulary_size, config.lower_case), config.lower_case
    )
