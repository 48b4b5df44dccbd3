"""Blocks that keep no activations for the gradients, and run a second time for them instead."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import keras
import tensorflow as tf

from mobilebert_tf.modeling.layers import Block


@contextmanager
def rematerialized(model: keras.Model, active: bool = True) -> Iterator[None]:
    """Within the block, calls of the model keep the outputs of its Blocks alone for gradients.

    The gradients are the same but for rounding, with the dropout of the first run: Keras's own
    rematerialisation (`keras.remat`) draws another one in the second.

    Args:
        model: whose layers are Blocks and others.
        active: whether to do so at all.
    """
    with ExitStack() as stack:
        for layer in model.layers if active else ():
            if isinstance(layer, Block):
                stack.enter_context(_replaced_call(layer))
        yield


@contextmanager
def _replaced_call(block: Block) -> Iterator[None]:
    block.call = _recomputing(block, block.call)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del block.call  # what the class has is seen again


def _recomputing(block: Block, call: Callable) -> Callable:
    seeds = [v for v in block.variables if "seed_generator" in v.path]

    def run(hidden, padding, training=None):
        drawn = [seed.value + 0 for seed in seeds]  # the states before the first run
        after = []

        @tf.recompute_grad
        def outputs(hidden):
            states = list(zip(seeds, drawn, strict=True))
            with keras.StatelessScope(state_mapping=states) as scope:
                result = call(hidden, padding, training=training)
            after[:] = [scope.get_current_value(seed) for seed in seeds]
            return result

        result = outputs(hidden)
        for seed, state in zip(seeds, list(after), strict=True):
            seed.assign(state)
        return result

    return run
