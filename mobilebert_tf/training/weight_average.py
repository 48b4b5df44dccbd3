"""The moving average of a model's weights, which often generalises better than the last ones."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf


class WeightAverage:
    """average = decay * average + (1 - decay) * weights, after each step.

    After step t the decay is at most (1 + t) / (10 + t), so that the first weights are soon
    forgotten, as in TensorFlow's ExponentialMovingAverage.

    Args:
        model: the model.
        decay: below 1; 0 for no average: then all of this does nothing.

    Attributes:
        variables: the average, a variable for each weight.
    """

    def __init__(self, model: keras.Model, decay: float):
        self.decay = decay
        self._weights = list(model.weights) if decay else []
        self.variables = [tf.Variable(w.value, trainable=False) for w in self._weights]

    def add(self, step: int) -> None:
        """Adds the weights after a step of the run, from 1."""
        if self.decay:
            self._add(tf.constant(1 - min(self.decay, (1 + step) / (10 + step)), "float32"))

    @tf.function(autograph=False)
    def _add(self, share: tf.Tensor) -> None:
        for average, weight in zip(self.variables, self._weights, strict=True):
            average.assign_add(tf.cast(share, average.dtype) * (weight.value - average))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Gives the model the average within the block, and then its own weights again."""
        weights = [weight.numpy() for weight in self._weights]
        self.take()
        try:
            yield
        finally:
            for weight, value in zip(self._weights, weights, strict=True):
                weight.assign(value)

    def take(self) -> None:
        """Gives the model the average."""
        for average, weight in zip(self.variables, self._weights, strict=True):
            weight.assign(average)
