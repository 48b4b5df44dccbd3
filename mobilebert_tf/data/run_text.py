"""The text of a run: corpus -> vocabulary, tokenized training and held-out documents on disk."""

from dataclasses import dataclass
from pathlib import Path

from mobilebert_tf.data.corpus import load_documents, split_held_out
from mobilebert_tf.data.pretraining import (
    PretrainingExamples,
    TokenizedCorpus,
    tokenize_documents,
)
from mobilebert_tf.errors import InputError
from mobilebert_tf.text.tokenizer import WordPiece, train_vocabulary
from mobilebert_tf.training.run_config import DataConfig
from mobilebert_tf.training.run_folder import write_whole

HELD_OUT_SEED = 20200704  # held-out masks are the same in every run, whatever its seed


@dataclass(frozen=True)
class RunText:
    """A tokenizer and the documents that it made numbers of."""

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
) -> RunText:
    """Reads, splits and tokenizes the corpus into `directory`, or loads what is there already.

    Args:
        tokenizer: the teacher's, if there is one: a student has to read the same numbers.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "train.npz").exists():  # written last
        print(f"reading {config.corpus}", flush=True)
        train, held_out = split_held_out(load_documents(config.corpus), config.held_out_fraction)
        tokenizer = _tokenizer(config, train, tokenizer)
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
    return RunText(tokenizer, train, held_out, config)


def _tokenizer(config: DataConfig, documents: list, tokenizer: WordPiece | None) -> WordPiece:
    if config.vocabulary is not None:
        given = WordPiece.from_file(config.vocabulary, config.lower_case)
        if tokenizer is not None and given.vocabulary != tokenizer.vocabulary:
            raise InputError(f"vocabulary {config.vocabulary} is not the teacher's vocabulary")
        return given
    if tokenizer is not None:
        return tokenizer
    lines = (line for paragraphs in documents for line in paragraphs)
    return WordPiece(
        train_vocabulary(lines, config.vocabulary_size, config.lower_case), config.lower_case
    )
