"""Which batch of which shard a training step is, and the batches of many steps."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

_SHARDS = 2  # of [seed, stream, epoch]: other streams are those of data/pretraining.py


class MaskedExamples(Protocol):
    """Pre-training examples in batches that depend on the step alone."""

    batches_per_epoch: int

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Returns the examples of one step; see PretrainingExamples.batch."""
        ...

    def dataset(self, start_step: int, num_steps: int) -> tf.data.Dataset:
        """Returns the batches of `num_steps` steps, beginning with `start_step`."""
        ...


def dataset_of(
    batch: Callable[[int], dict[str, np.ndarray]], start_step: int, num_steps: int
) -> tf.data.Dataset:
    """Returns the batches of `num_steps` steps, of one shape, prefetched."""
    signature = {
        name: tf.TensorSpec(array.shape, array.dtype) for name, array in batch(start_step).items()
    }
    return tf.data.Dataset.from_generator(
        lambda: map(batch, range(start_step, start_step + num_steps)), output_signature=signature
    ).prefetch(tf.data.AUTOTUNE)


def shard_seed(seed: list[int], shard: int) -> list[int]:
    """Returns the seed of a shard's random numbers; that of the first is the corpus's own."""
    return [*seed, shard] if shard else seed


class ShardSchedule:
    """Takes all batches of a shard before those of the next; each epoch has a new order of shards.

    Args:
        batches: of each shard in an epoch, at least 1: [shards].
        seed: of the orders.
    """

    def __init__(self, batches: np.ndarray, seed: int):
        self._batches, self._seed = np.asarray(batches, np.int64), seed
        self.batches_per_epoch = int(self._batches.sum())

    def __call__(self, step: int) -> tuple[int, int, int]:
        """Returns the epoch of a step, its shard, and which of the shard's batches it is."""
        epoch, index = divmod(step, self.batches_per_epoch)
        order = np.random.default_rng([self._seed, _SHARDS, epoch]).permutation(len(self._batches))
        ends = np.cumsum(self._batches[order])
        place = int(np.searchsorted(ends, index, side="right"))
        shard = int(order[place])
        return epoch, shard, index - int(ends[place] - self._batches[shard])
