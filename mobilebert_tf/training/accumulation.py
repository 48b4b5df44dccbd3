"""Gradient accumulation: a step's batch runs in parts, one after the other."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def sum_over_parts(function: Callable[[dict], Any], batch: dict, parts: int) -> Any:
    """Returns the sum of a function's results over the parts of a batch, in the memory of one part.

    Args:
        function: from a part to nested tensors, of the same shapes for each part.
        batch: tensors by name, with the same number of rows, at least one.
        parts: how many; fewer if the batch has fewer rows. All but the last have as many rows.
    """
    if parts == 1:
        return function(batch)
    some = next(iter(batch.values()))
    rows = tf.shape(some)[0]
    size = -(-rows // parts)  # of a part
    static = some.shape[0] // parts if some.shape[0] and some.shape[0] % parts == 0 else None

    def of_part(index):
        part = {name: x[index * size : (index + 1) * size] for name, x in batch.items()}
        return function(
            {name: tf.ensure_shape(x, [static, *x.shape[1:]]) for name, x in part.items()}
        )

    def add_part(index, sums):
        return index + 1, tf.nest.map_structure(tf.add, sums, of_part(index))

    # The first part stands before the loop: its results show the loop their shapes.
    _, sums = tf.while_loop(
        lambda index, _: index * size < rows,
        add_part,
        (tf.constant(1), of_part(0)),
        parallel_iterations=1,
    )
    return sums
