"""Wins back what 4-bit weights lose, without labels.

The float model is distilled, block by block and in its outputs, into the model that computes what
its file will compute (quantization_aware.py).
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.calibration_data import for_graph, joined
from mobilebert_tf.modeling.model import MODEL_INPUTS, MobileBert, copy_weights
from mobilebert_tf.training import recovery
from mobilebert_tf.training.finetuner import DISTILLED, Finetuner, distillation_loss
from mobilebert_tf.training.quantization_aware import QuantizationAware
from mobilebert_tf.training.run_config import Phase

_OBSERVED_TEXTS = 64  # for the scales of channels


def recovered(
    model: MobileBert,
    samples: Sequence[dict[str, np.ndarray]],
    mode: str,
    phase: Phase,
    seed: int = 0,
) -> MobileBert:
    """Returns a copy of `model` whose weights are those of a file in 4 bits, bit for bit.

    Args:
        model: with NoNorm, ReLU and a task's head.
        samples: texts: input_ids, input_mask, segment_ids, int32 [1,T] each, without padding.
        mode: of the file: int4 or int4-mixed.
        phase: steps and optimizer.
        seed: of the texts' order.

    Raises InputError for another head, norm or activation.
    """
    if model.head.kind not in DISTILLED:
        raise InputError(f"recovery needs a task's head, not {model.head.kind}")
    keras.utils.set_random_seed(seed)
    observed = [for_graph(sample) for sample in samples[:_OBSERVED_TEXTS]]
    teacher = QuantizationAware(_copied(model), observed, "none")
    student = QuantizationAware(_copied(model), observed, mode)
    student.start_as_exported(observed)
    recovery.run(_Recovery(student, phase, teacher=teacher), joined(samples), seed)
    return student.trained()


class _Recovery(Finetuner):
    def loss_of(self, batch: dict, training: bool):
        inputs = {name: batch[name] for name in MODEL_INPUTS}
        teacher, outputs = self.run_teacher(inputs), self.model(inputs)  # without dropout
        mask = batch["input_mask"]
        loss = distillation_loss(
            self.model.head.kind, teacher, outputs, mask, temperature=self.temperature
        )
        for expected, values in zip(
            teacher["hidden_states"], outputs["hidden_states"], strict=True
        ):
            loss += _relative_error(values, expected, mask)
        return loss


def _relative_error(values, expected, mask):
    """Returns the square error of a block's output at real tokens, as a share of its square.

    Args:
        values, expected: [B,T,H], or [B,1,H] of the first tokens.
        mask: int32 [B,T].
    """
    real = tf.cast(mask[:, : expected.shape[1]], tf.float32)[:, :, None]  # [B,T,1] or [B,1,1]
    return tf.reduce_sum(real * tf.square(values - expected)) / tf.reduce_sum(
        real * tf.square(expected)
    )


def _copied(model: MobileBert) -> MobileBert:
    copied = MobileBert(model.config, model.head)
    copy_weights(model, copied)
    return copied
