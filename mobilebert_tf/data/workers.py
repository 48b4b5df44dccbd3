"""Processes that work on tasks side by side."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from mobilebert_tf.errors import InputError


class Workers:
    """Runs tasks in processes of their own, or in this one if one is enough.

    Args:
        count: of processes.
    """

    def __init__(self, count: int):
        self._pool = None
        if count > 1:
            context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
            self._pool = ProcessPoolExecutor(count, context, _begin_process)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(self, function: Callable, tasks: Sequence[tuple], description: str) -> list:
        """Returns the results of a function for each task, in order.

        Raises the first error of a task; what is finished by then stays.
        """
        results: dict[int, Any] = {}
        with tqdm(total=len(tasks), desc=description, unit="part", mininterval=1) as progress:
            for number, result in self._results(function, tasks):
                results[number] = result
                progress.update()
        return [results[number] for number in range(len(tasks))]

    def _results(self, function: Callable, tasks: Sequence[tuple]) -> Iterator[tuple[int, Any]]:
        if self._pool is None:
            yield from ((number, function(*task)) for number, task in enumerate(tasks))
            return
        numbers = {self._pool.submit(function, *task): i for i, task in enumerate(tasks)}
        try:
            for future in as_completed(numbers):
                yield numbers[future], future.result()
        except BrokenProcessPool:
            raise InputError(
                "a process died, perhaps for want of memory: the same command goes on, with fewer "
                "`processes` if need be"
            ) from None


def _begin_process() -> None:
    """Keeps a process to one core, and ends it with its parent, also if that is killed.

    Ctrl-C is the parent's to answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
