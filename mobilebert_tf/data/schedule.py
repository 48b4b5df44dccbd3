"""Which batch of which shard a training step is, and the batches of many steps."""

from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

import numpy as np
import tensorflow as tf

Content = TypeVar("Content")
Plan = TypeVar("Plan")

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
    batch: Callable[[int], dict[str, np.ndarray]],
    start_step: int,
    num_steps: int,
    signature: Mapping[str, tf.TensorSpec] | None = None,
) -> tf.data.Dataset:
    """Returns the batches of `num_steps` steps, prefetched.

    Args:
        batch: returns that of a step.
        start_step: the first one.
        num_steps: how many.
        signature: of all batches; None if they have the shapes of the first one.
    """
    if signature is None:
        first = batch(start_step)
        signature = {name: tf.TensorSpec(array.shape, array.dtype) for name, array in first.items()}
    return tf.data.Dataset.from_generator(
        lambda: map(batch, range(start_step, start_step + num_steps)), output_signature=signature
    ).prefetch(tf.data.AUTOTUNE)


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


class ShardPlans(Generic[Content, Plan]):
    """What the batches of a shard are in an epoch; the last shard and its plan are kept.

    Args:
        load: returns the content of a shard, by its number.
        plan: returns the plan of a content, drawn from random numbers.
        seed: of these; the epoch and the shard follow.
    """

    def __init__(
        self,
        load: Callable[[int], Content],
        plan: Callable[[Content, np.random.Generator], Plan],
        seed: list[int],
    ):
        self._load, self._plan, self._seed = load, plan, seed
        self._kept: tuple[int, int, Content, Plan] | None = None

    def __call__(self, epoch: int, shard: int) -> tuple[Content, Plan]:
        """Returns a shard's content and its plan in an epoch."""
        kept = self._kept  # read once: another thread may replace it
        if kept is None or kept[:2] != (epoch, shard):
            content = kept[2] if kept is not None and kept[1] == shard else self._load(shard)
            # The seed of the first shard is that of a corpus of one.
            rng = np.random.default_rng([*self._seed, epoch, *([shard] if shard else [])])
            kept = self._kept = (epoch, shard, content, self._plan(content, rng))
        return kept[2:]
