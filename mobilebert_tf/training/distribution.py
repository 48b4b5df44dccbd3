"""Training on many devices, of one machine or of several: synchronous, each with its own rows.

A step's batch is the same on one device and on many: each replica takes its rows, weighs their
means by their share of the batch, and gradients are summed. So no setting changes with the number
of devices. Everything here reads tf.distribute's current strategy; without one it does nothing.
"""

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import keras
import tensorflow as tf

from mobilebert_tf.errors import InputError

Devices = Literal["one", "all", "workers", "tpu"]
_SEEDS = 2**40  # more than Keras has
# What a collective operation raises when another worker ended, or its connection broke.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


@contextmanager
def on_devices(devices: Devices) -> Iterator[None]:
    """Trains on these devices in the block, in which the models must be built.

    Args:
        devices: one: TensorFlow's first device. all: the accelerators of this machine, or its
            logical processors if it has none. workers: the processes that TF_CONFIG names, each
            with its machine's accelerators; this must be the process's first use of TensorFlow.
            tpu: the TPU of this machine.

    Raises InputError if there are no such devices, or another worker is lost in the block.
    """
    scope = nullcontext() if devices == "one" else _strategy(devices).scope()
    with scope, told_of_lost_workers():
        yield


@contextmanager
def told_of_lost_workers() -> Iterator[None]:
    """Turns what TensorFlow raises when another worker is lost into an InputError."""
    try:
        yield
    except _LOST as error:
        if not has_workers():
            raise
        reason = str(error).partition("aborted by: ")[2].partition("\n")[0] or type(error).__name__
        raise InputError(
            "another worker ended or cannot be reached: start all workers again, and the run goes "
            f"on from its newest state ({reason})"
        ) from None


@functools.cache  # the collective operations of a second one would be taken for those of the first
def _strategy(devices: Devices) -> tf.distribute.Strategy:
    if devices == "workers":
        _check_tf_config()
        print("waiting for all workers that TF_CONFIG names", flush=True)
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (tf.errors.OpError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"the workers that TF_CONFIG names did not meet: {reason}") from None
    if devices == "tpu":
        return tf.distribute.TPUStrategy(_connected_tpu())
    if devices == "all":
        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if len(found) > 1:
            return tf.distribute.MirroredStrategy([device.name for device in found])
    return tf.distribute.get_strategy()


def _check_tf_config() -> None:
    """Raises InputError unless TF_CONFIG names workers and which of them this process is."""
    example = (
        '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", '
        '"index": 0}}'
    )
    try:
        config = json.loads(os.environ.get("TF_CONFIG", ""))
        workers, task = config["cluster"]["worker"], config["task"]
        right = task["type"] == "worker" and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise InputError(
            f"`devices` workers needs the environment variable TF_CONFIG in each process: {example}"
        )


def _connected_tpu() -> tf.distribute.cluster_resolver.TPUClusterResolver:
    try:
        return tf.distribute.cluster_resolver.TPUClusterResolver.connect(tpu="local")
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"`devices` tpu finds no TPU on this machine: {reason}") from None


# ---------------------------------------------------------------------------------------------
# In a step
# ---------------------------------------------------------------------------------------------


def replicas() -> int:
    """Returns the number of replicas that a batch is spread over."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def summed(values: Any) -> Any:
    """Returns the sums over all replicas of nested tensors; within a step."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    tensors = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.nest.flatten(values))
    return tf.nest.pack_sequence_as(values, tensors)


def on_replicas(step: Callable, *arguments: Any) -> Any:
    """Runs a step on all replicas, and returns the first local one's values: nested tensors."""
    strategy = tf.distribute.get_strategy()
    if replicas() == 1:
        return step(*arguments)
    values = strategy.run(step, arguments)
    return tf.nest.map_structure(lambda x: strategy.experimental_local_results(x)[0], values)


def draw_own_masks(model: keras.Model) -> None:
    """Gives each replica dropout masks of its own; those of the first one stay as they are.

    A seed is a mirrored variable. Its copy on each replica counts alike, so that the first one's,
    in a checkpoint, stands for all; the replica's number stands above the seed's own bits.
    """
    if replicas() == 1:
        return
    seeds = [v for v in model.variables if "seed_generator" in v.path]

    def set_seeds() -> None:
        number = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, "int64")
        for seed in seeds:
            low = tf.math.floormod(seed.value, [_SEEDS, 2**62])  # the seed, and its counter
            seed.assign(low + [_SEEDS * number, 0])

    tf.distribute.get_strategy().run(tf.function(set_seeds, autograph=False))


def spread(batch: Mapping[str, tf.Tensor]) -> Mapping[str, Any]:
    """Returns a batch of which each replica has its own rows, in order.

    If there are fewer rows than replicas, each has all of them, and so an equal share.
    """
    count, rows = replicas(), len(next(iter(batch.values())))
    if count == 1:
        return batch

    def own(context: Any) -> dict[str, tf.Tensor]:
        index = context.replica_id_in_sync_group
        first, last = (rows * i // count for i in (index, index + 1))
        return {name: x[first:last] if rows >= count else x for name, x in batch.items()}

    return tf.distribute.get_strategy().experimental_distribute_values_from_function(own)


# ---------------------------------------------------------------------------------------------
# Between workers
# ---------------------------------------------------------------------------------------------


def has_workers() -> bool:
    """Returns whether several processes train together."""
    return isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy)


def is_first_worker() -> bool:
    """Returns whether this process writes the run's folder: it is alone, or the first worker."""
    return not has_workers() or tf.distribute.get_strategy().cluster_resolver.task_id == 0


def sum_of_workers(number: int | None) -> int:
    """Returns the sum of a whole number over all workers, who must all call this; None is 0."""
    number = int(number or 0)
    if not has_workers():
        return number
    strategy = tf.distribute.get_strategy()
    total = _sum(strategy)(tf.constant(number, "int64"))
    locals_ = strategy.experimental_local_results(total)  # each has added the number
    return int(locals_[0]) // len(locals_)


def of_first_worker(number: int | None) -> int:
    """Returns the whole number that the first worker gives; all workers must call this."""
    return sum_of_workers(number if is_first_worker() else 0)


@functools.cache
def _sum(strategy: tf.distribute.Strategy) -> Callable:
    def sum_of_replicas(number):
        return strategy.run(lambda: summed(tf.identity(number)))  # on the replica's device

    signature = [tf.TensorSpec([], "int64")]
    return tf.function(sum_of_replicas, input_signature=signature, autograph=False)
