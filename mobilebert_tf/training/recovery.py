"""A changed model learns from the original what the change lost, on texts without labels."""

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.tasks.examples import Batches
from mobilebert_tf.training.finetuner import Finetuner, distillation_loss
from mobilebert_tf.training.losses import masked_lm_distillation_loss
from mobilebert_tf.training.run_config import Phase
from mobilebert_tf.training.teacher_outputs import DISTILLED

BATCH_SIZE = 16
FITTED_TEXTS = 128  # for least squares; the distillation uses all texts
RIDGE = 1e-3  # of least squares, of the features' mean square: weights stay near the original's
_PREDICTIONS = 8  # positions of each text at which a masked LM's predictions are distilled


class Recovery(Finetuner):
    """Distils all layers and the head's outputs of the original, on one device, batches whole."""

    def _counts(self, batch: dict) -> dict:
        return {}

    def _loss(self, part: dict, whole: dict, training: bool):
        inputs, mask, kind = dict(part), part["input_mask"], self.model.head.kind
        if self.model.head.predicts_masks:
            inputs["masked_lm_positions"] = _spread_positions(mask)
        teacher = self.run_teacher(inputs)
        outputs = self.model(inputs, training=training)
        loss = self._transfer_loss(teacher, outputs, mask)
        if self.model.head.predicts_masks:
            weights = tf.ones_like(inputs["masked_lm_positions"])
            return loss + masked_lm_distillation_loss(
                teacher["mlm_logits"], outputs["mlm_logits"], weights
            )
        if kind in DISTILLED:
            loss += distillation_loss(kind, teacher, outputs, mask, temperature=self.temperature)
        return loss


def _spread_positions(input_mask):
    """Returns positions evenly spread over the real tokens of each text: [B,T] -> int32 [B,P]."""
    tokens = tf.reduce_sum(input_mask, axis=1, keepdims=True)  # [B,1]
    return tf.range(_PREDICTIONS) * (tokens - 1) // (_PREDICTIONS - 1)


def recover(
    original: MobileBert,
    changed: MobileBert,
    arrays: dict[str, np.ndarray],
    *,
    phase: Phase,
    seed: int,
) -> None:
    """Distils the original into the changed model.

    Args:
        original: of as many layers, and of the same hidden size.
        changed: is trained in place.
        arrays: texts: input_ids, input_mask, segment_ids, int32 [N,T].
        phase: steps of BATCH_SIZE texts, and the optimizer.
        seed: of the texts' order.
    """
    trainer = Recovery(changed, phase, teacher=original, transfer_weight=1.0)
    trainer.compile()
    batches = Batches(arrays, BATCH_SIZE, seed).dataset(0, phase.steps)
    step = tf.function(trainer.train_step, input_signature=[batches.element_spec], autograph=False)
    with tqdm(batches, total=phase.steps, desc="recovering", unit="step") as progress:
        for batch in progress:
            progress.set_postfix(loss=f"{float(step(batch)['loss']):.3f}")
