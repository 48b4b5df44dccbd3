"""Which batch of which shard a training step is."""

import numpy as np

_SHARDS = 2  # of [seed, stream, epoch]: other streams are those of data/pretraining.py


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
