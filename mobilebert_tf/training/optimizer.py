"""LAMB (You et al., 2020) as in the paper's code, with a relative learning rate for each layer."""

from collections.abc import Mapping

import keras
from keras import ops

from mobilebert_tf.errors import InputError
from mobilebert_tf.training.distribution import replicas

# Names of variables without weight decay and layer adaptation: the last parts of their paths.
NOT_ADAPTED = ("bias", "gamma", "beta")


@keras.saving.register_keras_serializable(package="mobilebert_tf")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak` in `warmup_steps`, then falls linearly to `end_factor * peak`, which
    it reaches after the last of `steps`: no step has the rate 0."""

    def __init__(self, peak: float, steps: int, warmup_steps: int, end_factor: float):
        self.peak, self.steps = peak, steps
        self.warmup_steps, self.end_factor = warmup_steps, end_factor

    def __call__(self, step):
        step = ops.cast(step, "float32") + 1.0  # the rate of the first step is not 0
        warmup = step / max(self.warmup_steps, 1)
        left = (self.steps + 1 - step) / max(self.steps - self.warmup_steps, 1)
        decay = self.end_factor + (1.0 - self.end_factor) * ops.clip(left, 0.0, 1.0)
        return self.peak * ops.minimum(warmup, decay)

    def get_config(self):
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "end_factor": self.end_factor,
        }


class OfSummedGradients:
    """Makes a Keras optimizer take gradients that are summed over all devices already.

    Keras clips each device's gradients before it sums them, which is another norm than that of the
    batch. A trainer of ours sums them first, and then they must not be summed again.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars


def checked(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns an optimizer.

    Raises InputError if it cannot train on several devices: one that would sum gradients a second
    time, or under mixed_float16, where Keras's scaling of the loss fails.
    """
    if replicas() == 1:
        return optimizer
    if not isinstance(optimizer, OfSummedGradients):
        raise InputError(
            f"{type(optimizer).__name__} sums gradients over devices itself: on many devices take "
            "the AdamW or Lamb of mobilebert_tf.training.optimizer"
        )
    if keras.config.dtype_policy().name == "mixed_float16":
        raise InputError(
            "`precision` mixed_float16 trains on one device only: take mixed_bfloat16, which needs "
            "no scaling of the loss"
        )
    return optimizer


@keras.saving.register_keras_serializable(package="mobilebert_tf")
class AdamW(OfSummedGradients, keras.optimizers.AdamW):
    """keras.optimizers.AdamW of summed gradients."""


@keras.saving.register_keras_serializable(package="mobilebert_tf")
class Lamb(OfSummedGradients, keras.optimizers.Optimizer):
    """LAMB without bias correction, with weight decay inside the trust ratio.

    keras.optimizers.Lamb differs: it corrects the bias, applies weight decay outside the trust
    ratio, and adapts biases and norms too.

    Args:
        learning_rate: number or schedule.
        weight_decay_rate: of everything but biases and norms.
        beta_1, beta_2: decay of the moving averages of gradients and of their squares.
        epsilon: added to the root of the second moment.
        rates: relative learning rate by variable path, 1 where absent. It multiplies the update;
            a factor on the gradient would cancel out.
        clip_norm: largest global norm of the gradients.
        name: of the optimizer.
    """

    def __init__(
        self,
        learning_rate=1.5e-3,
        weight_decay_rate: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        rates: Mapping[str, float] | None = None,
        clip_norm: float | None = 1.0,
        name: str = "lamb",
    ):
        super().__init__(learning_rate, global_clipnorm=clip_norm, name=name)
        self.weight_decay_rate = weight_decay_rate
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.rates = dict(rates or {})

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.first_moments, self.second_moments = self.add_optimizer_variables(
                variables, ["first_moment", "second_moment"]
            )
            # By index: the variables that the TensorFlow backend gives update_step have no path.
            self.relative_rates = [self.rates.get(variable.path, 1.0) for variable in variables]
            self.adapted = [not variable.name.endswith(NOT_ADAPTED) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        first, second = self.first_moments[index], self.second_moments[index]
        gradient = ops.cast(gradient, variable.dtype)
        self.assign(first, self.beta_1 * first + (1 - self.beta_1) * gradient)
        self.assign(second, self.beta_2 * second + (1 - self.beta_2) * ops.square(gradient))
        update = first / (ops.sqrt(second) + self.epsilon)
        rate = ops.cast(learning_rate, variable.dtype) * self.relative_rates[index]
        if self.adapted[index]:
            update = update + self.weight_decay_rate * variable
            rate = rate * _trust_ratio(variable, update)
        self.assign_sub(variable, rate * update)

    def get_config(self):
        return super().get_config() | {
            "weight_decay_rate": self.weight_decay_rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "rates": self.rates,
            "clip_norm": self.global_clipnorm,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        keys = ("weight_decay_rate", "beta_1", "beta_2", "epsilon", "rates", "clip_norm", "name")
        schedule = config["learning_rate"]
        if isinstance(schedule, dict):
            schedule = keras.saving.deserialize_keras_object(schedule)
        return cls(schedule, **{key: config[key] for key in keys})


def _trust_ratio(variable, update):
    """Returns ||variable|| / ||update||; 1 if either is 0."""
    weight_norm, update_norm = ops.norm(variable), ops.norm(update)
    both = ops.logical_and(weight_norm > 0, update_norm > 0)
    return ops.where(both, weight_norm / ops.where(both, update_norm, 1.0), 1.0)
