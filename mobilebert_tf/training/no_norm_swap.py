"""The operational optimizations (paper, section 3.3) for a model that was trained without them.

The paper trains with NoNorm and ReLU. A model with layer norms and GELU is changed afterwards: from
the first layer to the last, NoNorms take the place of layer norms and feed-forward networks get
ReLU, each fitted by least squares to what the original computes there, from what the changed model
computes before it. A short distillation from the original, layer by layer, then mends the rest.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.layers import AttentionBias, Block, FeedForward, NoNorm
from mobilebert_tf.modeling.model import MobileBert, copy_weights
from mobilebert_tf.tasks.examples import Batches
from mobilebert_tf.training.finetuner import Finetuner, distillation_loss
from mobilebert_tf.training.losses import masked_lm_distillation_loss
from mobilebert_tf.training.run_config import Phase

BATCH_SIZE = 16  # of the distillation
_FITTED = 128  # texts of the least squares; the distillation takes all
_RIDGE = 1e-3  # of the mean square of the features: keeps fitted weights near the original's
_PREDICTIONS = 8  # positions of each text at which a masked LM's words are distilled


def swap(
    model: MobileBert, arrays: dict[str, np.ndarray], phase: Phase, seed: int = 0
) -> MobileBert:
    """A copy of `model` with NoNorm and ReLU that computes nearly the same.

    Args:
        model: with layer norms, or another activation than ReLU.
        arrays: texts to fit on: input_ids, input_mask, segment_ids, int32 [B,T].
        phase: steps and learning rate of the distillation.
        seed: of its order and dropout.

    Raises InputError for a model that has NoNorm and ReLU already.
    """
    config = model.config.replace(normalization_type="no_norm", hidden_act="relu")
    if config == model.config:
        raise InputError("the model has NoNorm and ReLU already: there is nothing to swap")
    keras.utils.set_random_seed(seed)
    swapped = MobileBert(config, model.head)
    copy_weights(model, swapped)
    fit(model, swapped, {name: array[:_FITTED] for name, array in arrays.items()})
    _recover(model, swapped, arrays, phase, seed)
    return swapped


def fit(original: MobileBert, swapped: MobileBert, arrays: dict[str, np.ndarray]) -> None:
    """Fits the norms and feed-forward outputs of `swapped` by least squares, bottom to top."""
    fitter = _Fitter(arrays["input_mask"])
    theirs, ours = (model.get_layer("embeddings") for model in (original, swapped))
    old, new = fitter.norm(ours.norm, lambda: theirs(**arrays), lambda: ours(**arrays))
    for index in tqdm(range(original.config.num_hidden_layers), desc="fitting", unit="block"):
        blocks = (model.get_layer(f"block_{index}") for model in (original, swapped))
        old, new = fitter.block(*blocks, old, new)


class _Fitter:
    """Fits layers to those of the original on the real tokens of a batch.

    Feature maps are [B,T,H] or [B,T,I]; "old" are the original's, "new" the changed model's.
    """

    def __init__(self, input_mask: np.ndarray):
        self.real = input_mask == 1  # [B,T]
        self.bias = AttentionBias()(input_mask)  # [B,1,1,T]

    def block(self, theirs: Block, ours: Block, old, new) -> tuple:
        """Fits a block that reads `old` and `new`; gives what both blocks make of it."""
        old_x, new_x, old_query, new_query, old_value, new_value = (old, new) * 3
        if ours.input_bottleneck is not None:
            old_x, new_x = self._bottleneck("input_bottleneck", theirs, ours, old, new)
        if ours.config.use_bottleneck_attention:
            old_query, new_query, old_value, new_value = (old_x, new_x) * 2
        elif ours.shared_bottleneck is not None:
            old_query, new_query = self._bottleneck("shared_bottleneck", theirs, ours, old, new)
        old_x, new_x = self.norm(
            ours.attention.output_layer.norm,
            lambda x=old_x: theirs.attention(old_query, old_value, x, self.bias)[0],
            lambda x=new_x: ours.attention(new_query, new_value, x, self.bias)[0],
        )
        for their_network, our_network in zip(theirs.feed_forward, ours.feed_forward, strict=True):
            old_x, new_x = self._feed_forward(their_network, our_network, old_x, new_x)
        if ours.output_bottleneck is None:
            return old_x, new_x
        return self.norm(
            ours.output_bottleneck.norm,
            lambda: theirs.output_bottleneck(old_x, old),
            lambda: ours.output_bottleneck(new_x, new),
        )

    def _bottleneck(self, name: str, theirs: Block, ours: Block, old, new) -> tuple:
        theirs, ours = getattr(theirs, name), getattr(ours, name)
        return self.norm(ours.norm, lambda: theirs(old), lambda: ours(new))

    def _feed_forward(self, theirs: FeedForward, ours: FeedForward, old_x, new_x) -> tuple:
        """The output layer is fitted to the original's from the new activations, then the norm."""
        wanted = theirs.output_layer.dense(theirs.intermediate(old_x))
        self._dense(ours.output_layer.dense, ours.intermediate(new_x), wanted)
        return self.norm(ours.output_layer.norm, lambda: theirs(old_x), lambda: ours(new_x))

    def norm(self, norm: NoNorm, old: Callable, new: Callable) -> tuple:
        """Sets gamma and beta so that new() is nearest to old(); gives both."""
        norm.gamma.assign(np.ones(norm.gamma.shape))  # now new() gives what the norm reads
        norm.beta.assign(np.zeros(norm.beta.shape))
        inputs, targets = new(), old()
        x, t = self._rows(inputs), self._rows(targets)
        centred = x - x.mean(axis=0)
        variance = np.maximum(np.square(centred).mean(axis=0), 1e-12)
        gamma = (centred * (t - t.mean(axis=0))).mean(axis=0) / variance
        norm.gamma.assign(gamma)
        norm.beta.assign(t.mean(axis=0) - gamma * x.mean(axis=0))
        return targets, norm(inputs)

    def _dense(self, dense: keras.layers.Dense, inputs, targets) -> None:
        """Sets kernel and bias so that dense(inputs) is nearest to targets: ridge regression."""
        x, t = self._rows(inputs), self._rows(targets)
        kernel = np.asarray(dense.kernel, np.float64)
        rest = t - x @ kernel
        centred = x - x.mean(axis=0)
        products = centred.T @ centred / len(x)
        products += np.eye(len(products)) * (_RIDGE * np.trace(products) / len(products) + 1e-12)
        kernel += np.linalg.solve(products, centred.T @ (rest - rest.mean(axis=0)) / len(x))
        dense.kernel.assign(kernel)
        dense.bias.assign((t - x @ kernel).mean(axis=0))

    def _rows(self, features) -> np.ndarray:
        """Real tokens' features, [tokens,C]."""
        return np.asarray(features, np.float64)[self.real]


class Recovery(Finetuner):
    """Distils all layers and the head's outputs of the original, without any label."""

    def loss_of(self, batch: dict, training: bool):
        inputs, kind = dict(batch), self.model.head.kind
        if self.model.head.predicts_masks:
            inputs["masked_lm_positions"] = _spread(batch["input_mask"])
        teacher, mask = self.run_teacher(inputs), batch["input_mask"]
        outputs = self.model(inputs, training=training)
        loss = self._transfer_loss(teacher, outputs, mask)
        if self.model.head.predicts_masks:
            weights = tf.ones_like(inputs["masked_lm_positions"])
            names = (teacher["mlm_logits"], outputs["mlm_logits"])
            return loss + masked_lm_distillation_loss(*names, weights)
        if kind in ("classifier", "regression", "token_classifier", "span"):
            loss += distillation_loss(kind, teacher, outputs, mask, self.temperature)
        return loss


def _spread(input_mask):
    """Positions of real tokens from end to end of each text: [B,T] -> int32 [B,P]."""
    tokens = tf.reduce_sum(input_mask, axis=1, keepdims=True)  # [B,1]
    return tf.range(_PREDICTIONS) * (tokens - 1) // (_PREDICTIONS - 1)


def _recover(original, swapped, arrays, phase: Phase, seed: int) -> None:
    trainer = Recovery(swapped, phase, teacher=original, transfer_weight=1.0)
    trainer.compile()
    batches = Batches(arrays, BATCH_SIZE, seed).dataset(0, phase.steps)
    step = tf.function(trainer.train_step, input_signature=[batches.element_spec], autograph=False)
    with tqdm(batches, total=phase.steps, desc="recovering", unit="step") as progress:
        for batch in progress:
            progress.set_postfix(loss=f"{float(step(batch)['loss']):.3f}")
