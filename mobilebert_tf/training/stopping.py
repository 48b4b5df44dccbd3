"""What ends a training before its last step: a signal, or a loss that went wrong."""

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from mobilebert_tf.training.distribution import has_workers, sum_of_workers

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C, and what a preempted machine gets


class StopRequest:
    """Whether the user or the system asked this process to stop.

    Attributes:
        signal: the number of the signal that asked; None if none did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def of_any(self, ask_workers: bool = True) -> int | None:
        """Returns the signal that asks this process to stop; None if none does.

        A signal to one worker stops all workers, so that they stop after the same step. They learn
        of it in a call with `ask_workers`, which all of them must make after the same step. Alone,
        a process does not wait for that.
        """
        if not has_workers():
            return self.signal
        if ask_workers and sum_of_workers(self.signal is not None):
            return self.signal or signal.SIGTERM
        return None


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Yields what tells whether SIGTERM or Ctrl-C came. The first one ends nothing by itself in the
    block; the second one ends the process at once. A signal that is ignored stays ignored, and in
    another thread than the main one all do what they did before."""
    request = StopRequest()
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _SIGNALS if is_main}
    handled = [number for number, handler in before.items() if handler != signal.SIG_IGN]

    def note(number, _frame):
        request.signal = number
        for each in handled:
            signal.signal(each, signal.SIG_DFL)

    try:
        for number in handled:
            signal.signal(number, note)
        yield request
    finally:
        for number in handled:
            signal.signal(number, before[number])


class LossGuard:
    """Notes the first step whose loss or gradients went wrong, in the graph: no step waits for it.

    Losses that are not finite are wrong, gradients too (unless the optimizer scales its loss: it
    passes over those), and losses above a limit.

    Args:
        optimizer: of the trainer.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        self._finite = ("loss",) if scales else ("loss", "gradient_norm")
        self._limit = tf.Variable(float("inf"), dtype="float32", trainable=False)
        self._first = tf.Variable(0, dtype="int64", trainable=False)
        self._loss = tf.Variable(0.0, dtype="float32", trainable=False)

    def watch(self, values: dict, step: tf.Tensor) -> None:
        """Notes the first step after which a value of train_step is wrong.

        These values are means over the steps since the last log, so one that is not finite stays
        so until the next log.

        Args:
            values: scalars by name.
            step: int64, from 1.
        """
        right = values["loss"] <= self._limit
        for name in self._finite:
            if name in values:
                right &= tf.math.is_finite(values[name])
        noted = self._first > 0
        self._first.assign(tf.where(noted | right, self._first, step))
        self._loss.assign(tf.where(noted | right, self._loss, values["loss"]))

    def limit(self, loss: float) -> None:
        """Sets the limit."""
        self._limit.assign(loss)

    @property
    def is_limited(self) -> bool:
        """Whether a limit is set."""
        return math.isfinite(float(self._limit.numpy()))

    @property
    def wrong_step(self) -> int | None:
        """The first step that went wrong; None if all were right."""
        return int(self._first.numpy()) or None

    def reason(self) -> str:
        """Returns what was wrong with that step."""
        loss, limit = float(self._loss.numpy()), float(self._limit.numpy())
        if not math.isfinite(loss):
            return f"the loss was {loss}"
        if loss > limit:
            return f"the loss was {loss:.4g}, above the loss limit of {limit:.4g}"
        return "the norm of the gradients was not finite"
