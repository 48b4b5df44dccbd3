"""Batches of single sentences, without masks: what a sentence encoder learns from.

Shape letters: B sentences in a batch, T tokens, S sentences of the corpus.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mobilebert_tf.data.schedule import ShardPlans, ShardSchedule, dataset_of
from mobilebert_tf.data.tokenized import Corpus
from mobilebert_tf.errors import InputError
from mobilebert_tf.text.tokenizer import WordPiece

_POOL = 50  # batches that are sorted by length together: random enough, with little padding


def batch_rows(lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Returns the rows of each batch of an epoch, in random order, those of like length together.

    Args:
        lengths: of each row, [N].
        batch_size: the last batch may be smaller.
        rng: decides the order.
    """
    order = rng.permutation(len(lengths))
    pool = _POOL * batch_size
    pools = [order[i : i + pool] for i in range(0, len(order), pool)]
    order = np.concatenate([p[np.argsort(lengths[p], kind="stable")] for p in pools])
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


class SentenceExamples:
    """Batches of sentences of like length; each depends on these arguments and its step alone.

    Each epoch has all sentences in a new order. Longer ones are cut into consecutive pieces of
    nearly equal length, each of which counts as a sentence. Batches are as wide as their longest
    sentence, so that most have no padding: as in inference, where a text has none.

    Args:
        corpus: the tokenized text, in one shard or many.
        tokenizer: the one that tokenized it.
        batch_size: B; the last batch of an epoch may be smaller.
        sequence_length: largest T, with [CLS] and [SEP].
        seed: of the order.

    Raises InputError for sizes that no example can have.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: WordPiece,
        *,
        batch_size: int,
        sequence_length: int,
        seed: int = 0,
    ):
        if sequence_length < 3:
            raise InputError(f"sequence_length {sequence_length} is too short: at least 3")
        self.corpus, self.tokenizer = corpus, tokenizer
        self.batch_size, self.seed = batch_size, seed
        self._longest = sequence_length - 2
        self._plans = ShardPlans(self._sentences, self._batches_of, [seed])
        name = f"sentences {sequence_length}"
        counts = corpus.sizes(name, lambda shard: len(self._sentences(shard).lengths))
        self.count = sum(counts)
        self._schedule = ShardSchedule(-(-np.array(counts) // batch_size), seed)
        self.batches_per_epoch = self._schedule.batches_per_epoch

    def dataset(self, first_step: int, steps: int) -> tf.data.Dataset:
        """Returns the batches of `steps` steps, beginning with `first_step`."""
        signature = {
            name: tf.TensorSpec([None, None], tf.int32)
            for name in ("input_ids", "input_mask", "segment_ids")
        }
        return dataset_of(self.batch, first_step, steps, signature)

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Returns the batch of a step: the model's inputs by name, int32 [B,T] each."""
        epoch, shard, index = self._schedule(step)
        sentences, batches = self._plans(epoch, shard)
        rows = batches[index]
        lengths = sentences.lengths[rows, None]  # [B,1]
        position = np.arange(lengths.max() + 2)  # [T]
        ids = sentences.tokens.take(sentences.offsets[rows, None] + position - 1, mode="clip")
        ids[:, 0] = self.tokenizer.cls_id
        ids[position == lengths + 1] = self.tokenizer.sep_id
        mask = position < lengths + 2
        ids[~mask] = self.tokenizer.pad_id
        return {
            "input_ids": ids.astype(np.int32),
            "input_mask": mask.astype(np.int32),
            "segment_ids": np.zeros(ids.shape, np.int32),
        }

    def _batches_of(
        self, sentences: "_ShardSentences", rng: np.random.Generator
    ) -> list[np.ndarray]:
        """Returns the rows of each batch of a shard in an epoch."""
        return batch_rows(sentences.lengths, self.batch_size, rng)

    def _sentences(self, shard: int) -> "_ShardSentences":
        corpus = self.corpus.shard(shard)
        offsets, _ = corpus.pieces(self._longest)
        return _ShardSentences(corpus.tokens, offsets)


class _ShardSentences(NamedTuple):
    """The sentences of a shard, without [CLS] and [SEP].

    Args:
        tokens: ids, [N].
        offsets: where each sentence starts, and N: [S + 1].
    """

    tokens: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)
