"""Masked language model and next sentence examples from raw text.

BERT's recipe (Devlin et al. 2019, section 3.1; google-research/bert, create_pretraining_data.py),
but the examples are made during training: every epoch draws new pairs and masks, and the batch of
any step can be computed directly.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from mobilebert_tf.data.schedule import ShardPlans, ShardSchedule, dataset_of
from mobilebert_tf.data.tokenized import Corpus, TokenizedCorpus
from mobilebert_tf.errors import InputError, require
from mobilebert_tf.text.tokenizer import WordPiece

# Independent streams of random numbers from one seed: [seed, stream, epoch or step].
_PLAN, _MASKS = 0, 1


class PretrainingExamples:
    """Batches of pre-training examples; each depends on these arguments and its step alone.

    The examples of an epoch contain every token of the corpus. (All epochs have as many batches
    of each shard as the first; an epoch with more examples leaves a few out, others each time.)
    Shards follow one another in an order that each epoch draws; one is in memory. Sentences
    longer than half of an example are cut into consecutive pieces, each of which counts as a
    sentence. Where BERT's code truncates an example, here the sentence that did not fit starts the
    next example. [UNK] is never predicted.

    Args:
        corpus: the tokenized text, in one shard or many.
        tokenizer: the one that tokenized it.
        batch_size: B, examples per batch.
        sequence_length: T, tokens per example with [CLS] and two [SEP].
        max_predictions_per_sequence: P, largest number of masked tokens.
        masking_probability: share of the tokens that are masked (at least one).
        short_sequence_probability: share of examples with a random shorter length.
        whole_word_masking: mask all pieces of a word or none.
        seed: of pairs, order and masks.

    Raises InputError for sizes that no example can have.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: WordPiece,
        *,
        batch_size: int,
        sequence_length: int,
        max_predictions_per_sequence: int,
        masking_probability: float = 0.15,
        short_sequence_probability: float = 0.1,
        whole_word_masking: bool = False,
        seed: int = 0,
    ):
        self.corpus = corpus
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.sequence_length = sequence_length
        self.max_predictions_per_sequence = max_predictions_per_sequence
        self.masking_probability = masking_probability
        self.short_sequence_probability = short_sequence_probability
        self.whole_word_masking = whole_word_masking
        self.seed = seed
        self._check()
        special = (
            tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id,
            tokenizer.mask_id,
        )  # fmt: skip
        self._ordinary_ids = np.delete(np.arange(len(tokenizer), dtype=np.int32), special)
        self._continues_word = np.array([t.startswith("##") for t in tokenizer.vocabulary])  # [V]
        self._plans = ShardPlans(self._pairs_of, _ShardPairs.plan, [seed, _PLAN])
        name = f"examples {sequence_length} {short_sequence_probability} {seed}"
        examples = corpus.sizes(name, lambda shard: len(self._plans(0, shard)[1]))
        self._schedule = ShardSchedule(np.maximum(1, np.array(examples) // batch_size), seed)
        self.batches_per_epoch = self._schedule.batches_per_epoch

    def _check(self) -> None:
        longest = self.sequence_length - 3
        require(longest >= 2, "sequence_length", self.sequence_length, "at least 5")
        if self.batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {self.batch_size}")
        predictions = self.max_predictions_per_sequence
        require(
            1 <= predictions <= longest,
            "max_predictions_per_sequence",
            predictions,
            f"from 1 to `sequence_length` - 3, {longest}",
        )
        for name in ("masking_probability", "short_sequence_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        if self.seed < 0:
            raise InputError(f"seed must not be negative: {self.seed}")

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Returns the examples of one step.

        int32 [B, T]: input_ids, input_mask (1 = token), segment_ids (1 = second segment);
        [B, P], 0 where unused: masked_lm_positions, masked_lm_ids (the original tokens),
        masked_lm_weights (float32, 1 = used);
        int32 [B]: next_sentence_labels (1 = random).
        """
        epoch, shard, index = self._schedule(step)
        pairs, plan = self._plans(epoch, shard)  # [E, 5]
        # Another epoch may have fewer examples than the first: its last batch starts over.
        rows = np.arange(index * self.batch_size, (index + 1) * self.batch_size) % len(plan)
        first, first_length, second, second_length, random_next = plan[rows].T  # [B] each
        inputs, maskable = self._assemble(pairs.tokens, first, first_length, second, second_length)
        rng = np.random.default_rng([self.seed, _MASKS, step])
        masked = self._mask(inputs["input_ids"], maskable, rng)
        return {**inputs, **masked, "next_sentence_labels": random_next.astype(np.int32)}

    def dataset(self, start_step: int, num_steps: int) -> tf.data.Dataset:
        """Returns the batches of `num_steps` steps, beginning with `start_step`, prefetched."""
        return dataset_of(self.batch, start_step, num_steps)

    def _pairs_of(self, shard: int) -> "_ShardPairs":
        corpus = self.corpus.shard(shard)
        if corpus.tokens.max() >= len(self.tokenizer):
            raise InputError("the text was tokenized with another, larger vocabulary")
        return _ShardPairs(corpus, self.sequence_length, self.short_sequence_probability)

    def _assemble(
        self,
        tokens: np.ndarray,
        first: np.ndarray,
        a: np.ndarray,
        second: np.ndarray,
        b: np.ndarray,
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns [CLS] first [SEP] second [SEP] as the model's inputs, and the maskable tokens.

        Args:
            tokens: of the shard, [N].
            first, second: where the segments start in the tokens, [B] each.
            a, b: their lengths, [B] each.

        Returns the inputs by name, and a mask of the text's tokens except [UNK]: [B, T] each.
        """
        position = np.arange(self.sequence_length)[None, :]  # [1, T]
        first, a, second, b = (x[:, None] for x in (first, a, second, b))  # [B, 1] each
        used = position < a + b + 3
        segments = used & (position > a + 1)
        separators = (position == a + 1) | (position == a + b + 2)
        source = np.where(segments, second + position - a - 2, first + position - 1)  # [B, T]
        ids = tokens.take(source, mode="clip")
        ids[separators] = self.tokenizer.sep_id
        ids[~used] = self.tokenizer.pad_id
        ids[:, 0] = self.tokenizer.cls_id
        inputs = {
            "input_ids": ids,
            "input_mask": used.astype(np.int32),
            "segment_ids": segments.astype(np.int32),
        }
        known = ids != self.tokenizer.unk_id
        return inputs, used & ~separators & (position > 0) & known

    def _mask(
        self, ids: np.ndarray, maskable: np.ndarray, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Masks ids [B, T] in place; returns positions, original ids and weights, [B, P] each."""
        predicted = self._choose_predicted(ids, maskable, rng)
        rows, columns = np.nonzero(predicted)  # [M] each, row by row
        slots = np.arange(len(rows)) - np.searchsorted(rows, rows)
        shape = (self.batch_size, self.max_predictions_per_sequence)
        positions, originals = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        weights = np.zeros(shape, np.float32)
        positions[rows, slots] = columns
        originals[rows, slots] = ids[rows, columns]
        weights[rows, slots] = 1
        # 80 % become [MASK], 10 % a random token, 10 % stay as they are.
        uniform = rng.random(len(rows))
        random_ids = self._ordinary_ids[rng.integers(len(self._ordinary_ids), size=len(rows))]
        replacements = np.where(uniform < 0.8, self.tokenizer.mask_id, random_ids)
        ids[rows, columns] = np.where(uniform < 0.9, replacements, ids[rows, columns])
        return {
            "masked_lm_positions": positions,
            "masked_lm_ids": originals,
            "masked_lm_weights": weights,
        }

    def _choose_predicted(
        self, ids: np.ndarray, maskable: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Returns which tokens are predicted, bool [B, T]: random words that fit the budget.

        Without whole_word_masking each token is a word of its own.
        """
        starts = maskable.copy()
        if self.whole_word_masking:
            starts[:, 1:] &= ~(self._continues_word[ids[:, 1:]] & maskable[:, :-1])
        word = np.cumsum(starts, axis=1)  # [B, T]: 1, 2, ... in each row
        row = np.arange(len(ids))
        limit = self.max_predictions_per_sequence
        cells = (row[:, None] * ids.shape[1] + word)[maskable]
        sizes = np.bincount(cells, minlength=ids.size).reshape(ids.shape)  # [B, words]
        cost = np.minimum(sizes, limit)  # of a word longer than P its first P pieces are predicted
        budget = np.rint((maskable.sum(axis=1) + 3) * self.masking_probability)
        shortest = np.where(cost, cost, limit).min(axis=1)
        budget = np.clip(budget, shortest, limit)  # [B]
        order = np.argsort(np.where(cost, rng.random(ids.shape, np.float32), 2), axis=1)
        taken, taken_words = np.zeros(len(ids), np.int64), np.zeros(ids.shape, bool)
        for candidate in order[:, : word.max()].T:  # [B]
            candidate_cost = cost[row, candidate]
            fits = (candidate_cost > 0) & (taken + candidate_cost <= budget)
            taken_words[row, candidate] = fits
            taken += candidate_cost * fits
        position = np.arange(ids.shape[1])
        # Index of each piece within its word.
        index = position - np.maximum.accumulate(np.where(starts, position, 0), axis=1)
        return maskable & np.take_along_axis(taken_words, word, axis=1) & (index < limit)


class _ShardPairs:
    """Which segments of a shard's text make an epoch's examples.

    Args:
        corpus: its documents.
        sequence_length: T.
        short_sequence_probability: share of examples with a random shorter length.
    """

    def __init__(
        self,
        corpus: TokenizedCorpus,
        sequence_length: int,
        short_sequence_probability: float,
    ):
        self.tokens = corpus.tokens
        self._longest = sequence_length - 3
        self._short_sequence_probability = short_sequence_probability
        self._piece_offsets, documents = corpus.pieces(max(1, self._longest // 2))
        self._document_offsets = documents.tolist()

    def plan(self, rng: np.random.Generator) -> np.ndarray:
        """Returns the examples of an epoch in their order: int64 [E, 5].

        Columns: start (in the tokens) and length of the first segment, start and length of the
        second, and whether the second is random.
        """
        return rng.permutation(np.array(list(self._pairs(rng)), np.int64))

    def _pairs(self, rng: np.random.Generator) -> Iterator[tuple[int, int, int, int, bool]]:
        """Yields the examples of an epoch in the order of the text, with the columns of `plan`."""
        draw = _uniforms(rng).__next__
        tokens = memoryview(self._piece_offsets.data)  # bisect is fastest on Python's ints
        documents = self._document_offsets
        longest = self._longest
        for document, (start, end) in enumerate(zip(documents, documents[1:], strict=False)):
            while start < end:
                target = longest
                if draw() < self._short_sequence_probability:
                    target = 2 + int(draw() * (longest - 1))
                stop = bisect_left(tokens, tokens[start] + target, start + 1, end)
                middle = start + 1 + int(draw() * (stop - start - 1))
                first, length = tokens[start], tokens[middle] - tokens[start]
                rest = max(1, target - length)
                if stop - start > 1 and draw() < 0.5:
                    available = tokens[stop] - tokens[middle]
                    yield first, length, tokens[middle], min(rest, available), False
                    start = stop - (available > rest)  # a piece that was cut is used again
                    continue
                begin, limit = self._random_range(document, middle, draw)
                finish = bisect_left(tokens, tokens[begin] + rest, begin + 1, limit)
                available = tokens[finish] - tokens[begin]
                yield first, length, tokens[begin], min(rest, available), True
                start = middle  # the pieces that the random ones replaced are used next

    def _random_range(
        self, document: int, following: int, draw: Callable[[], float]
    ) -> tuple[int, int]:
        """Returns a random piece of another document, and the end of that document.

        If there is only one document, returns another piece of it than `following`, if it has one.
        """
        other = self._other_document(document, draw())
        begin, limit = self._document_offsets[other : other + 2]
        count = limit - begin
        if other == document and following < limit and count > 1:
            piece = begin + int(draw() * (count - 1))
            return piece + (piece >= following), limit
        return begin + int(draw() * count), limit

    def _other_document(self, document: int, uniform: float) -> int:
        """Returns another document, chosen by a number in [0, 1); `document` if it is the only."""
        others = len(self._document_offsets) - 2
        if not others:
            return document
        other = int(uniform * others)
        return other + (other >= document)


def _uniforms(rng: np.random.Generator) -> Iterator[float]:
    """Yields random numbers in [0, 1), drawn in blocks: one by one takes ten times as long."""
    while True:
        yield from rng.random(4096).tolist()
