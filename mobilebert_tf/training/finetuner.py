"""Finetuner: a Keras model whose train_step fine-tunes on a task, with or without a teacher."""

import keras
import tensorflow as tf
from keras import ops

from mobilebert_tf.modeling.model import MODEL_INPUTS, MobileBert
from mobilebert_tf.tasks.examples import NO_LABEL
from mobilebert_tf.training.accumulation import sum_over_parts
from mobilebert_tf.training.distribution import summed
from mobilebert_tf.training.layer_transfer import check_fit, layer_map, transfer_terms
from mobilebert_tf.training.optimizer import NOT_ADAPTED, AdamW, WarmupLinearDecay, checked
from mobilebert_tf.training.rematerialization import rematerialized
from mobilebert_tf.training.run_config import LayerTransfer, Phase
from mobilebert_tf.training.teacher_outputs import DISTILLED, array_name

EPSILON = 1e-6  # of AdamW, as in the fine-tuning code of BERT and MobileBERT


class Finetuner(keras.Model):
    """Trains a model with a head on batches of examples.

    Args:
        model: with the head of the task.
        phase: steps and optimizer, which is AdamW as in BERT's fine-tuning.
        class_weights: weight of each class in the loss, [C]; None for equal weights.
        teacher: a model with the same head, whose outputs are learnt too; or None.
        temperature: divides the logits before distributions of teacher and model are compared.
        teacher_weight: share of the teacher's outputs in the loss; the rest is the labels'. For an
            example without a label the share is 1.
        transfer_weight: weight of the losses of feature and attention maps (paper, section 3.4);
            0 leaves them out.
        transfer: weights of those losses, and the teacher's layer for each of the model's.
        accumulation_steps, rematerialize: as for a Distiller; a batch may have any number of rows.

    Batches are the dicts of tasks/examples.py: MODEL_INPUTS int32 [B,T], and targets as for
    task_loss. The teacher runs unless they hold its outputs too (teacher_outputs.py). `compile()`
    without arguments makes the phase's optimizer.

    Raises InputError if layers are to be transferred and those of the teacher do not fit.
    """

    def __init__(
        self,
        model: MobileBert,
        phase: Phase,
        class_weights=None,
        teacher: MobileBert | None = None,
        temperature: float = 1.0,
        teacher_weight: float = 0.5,
        transfer_weight: float = 0.0,
        transfer: LayerTransfer | None = None,
        accumulation_steps: int = 1,
        rematerialize: bool = False,
    ):
        super().__init__(name="finetuner")
        self.accumulation_steps, self.rematerialize = accumulation_steps, rematerialize
        self.model, self.phase, self.class_weights = model, phase, class_weights
        self.temperature, self.teacher_weight = temperature, teacher_weight
        self.transfer_weight, self.transfer = transfer_weight, transfer or LayerTransfer()
        if transfer_weight:
            check_fit(teacher.config, model.config, self.transfer)
        # A function: as an attribute, the teacher would be in every checkpoint.
        self.run_teacher = _inference_function(teacher) if teacher is not None else None
        self.trackers = [keras.metrics.Mean(name) for name in ("loss", "gradient_norm")]

    def compile(self, optimizer=None, **kwargs):
        super().compile(optimizer=checked(optimizer or self._adamw()), **kwargs)
        self.optimizer.build(self.trainable_variables)

    def _adamw(self) -> keras.optimizers.Optimizer:
        phase = self.phase
        schedule = WarmupLinearDecay(
            phase.learning_rate, phase.steps, round(phase.warmup * phase.steps), phase.end_factor
        )
        optimizer = AdamW(
            schedule, phase.weight_decay, epsilon=EPSILON, global_clipnorm=phase.clip_norm
        )
        optimizer.exclude_from_weight_decay(
            [v for v in self.model.trainable_variables if v.name.endswith(NOT_ADAPTED)]
        )
        return optimizer

    def call(self, inputs, training=None):
        return self.model(inputs, training=training)

    @property
    def metrics(self):
        return self.trackers

    def train_step(self, batch):
        whole = summed(self._counts(batch))
        gradients, loss = summed(
            sum_over_parts(
                lambda part: self._gradients(part, whole), batch, self.accumulation_steps
            )
        )
        norm = tf.linalg.global_norm(gradients) / self.optimizer.scale_loss(1.0)
        self.optimizer.apply(gradients, self.trainable_variables)
        for tracker, value in zip(self.trackers, (loss, norm), strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}

    def _gradients(self, part: dict, whole: dict) -> tuple[list, tf.Tensor]:
        """Returns a part's share of the gradients and of the loss."""
        with tf.GradientTape() as tape:
            loss = self._loss(part, whole, training=True)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_variables)
        pairs = zip(gradients, self.trainable_variables, strict=True)
        # Layers that the head does not read, such as the pooler of a span, have no gradient.
        return [tf.zeros(v.shape) if g is None else tf.convert_to_tensor(g) for g, v in pairs], loss

    def test_step(self, batch):
        self.trackers[0].update_state(self.loss_of(batch, training=False))
        return {"loss": self.trackers[0].result()}

    def loss_of(self, batch: dict, training: bool):
        """Returns the loss of a batch, a scalar."""
        return summed(self._loss(batch, summed(self._counts(batch)), training))

    def _counts(self, batch: dict) -> dict:
        """Returns what the means of a batch are taken over: the weights of its labels, and the
        numbers of its examples and tokens; and how many examples' worth of the loss is the labels'.
        """
        kind, targets = self.model.head.kind, batch["targets"]
        return {
            "labels": ops.maximum(ops.sum(target_weights(kind, targets, self.class_weights)), 1e-6),
            "examples": ops.cast(ops.shape(targets)[0], "float32"),
            "tokens": ops.cast(ops.sum(batch["input_mask"]), "float32"),
            "labelled": ops.sum(self._label_shares(targets)),
        }

    def _label_shares(self, targets):
        """Returns the labels' share of each example's loss, [B]: the rest is the teacher's."""
        own = 1.0 if self.run_teacher is None else 1 - self.teacher_weight
        return own * labelled(self.model.head.kind, targets)

    def _loss(self, part: dict, whole: dict, training: bool):
        """Returns a part's share of the loss of a batch with these counts."""
        inputs = {name: part[name] for name in MODEL_INPUTS}
        with rematerialized(self.model, self.rematerialize):
            outputs = self.model(inputs, training=training)
        kind, counts = self.model.head.kind, self._counts(part)
        share = {name: counts[name] / whole[name] for name in ("labels", "examples", "tokens")}
        loss = share["labels"] * task_loss(kind, outputs, part["targets"], self.class_weights)
        if self.run_teacher is None:
            return loss
        teacher, mask = self._outputs_of_teacher(part, inputs), part["input_mask"]
        # Each example weighs its label 1 - teacher_weight, or 0 if it has none; the rest is the
        # teacher's.
        loss *= whole["labelled"] / whole["examples"]
        loss += share["tokens" if kind == "token_classifier" else "examples"] * distillation_loss(
            kind,
            teacher,
            outputs,
            mask,
            temperature=self.temperature,
            weights=1 - self._label_shares(part["targets"]),
        )
        if self.transfer_weight:
            transfer = self._transfer_loss(teacher, outputs, mask)
            loss += share["tokens"] * self.transfer_weight * transfer
        return loss

    def _outputs_of_teacher(self, part: dict, inputs: dict) -> dict:
        """Returns the teacher's outputs from the batch if it holds them, else from the teacher."""
        kind = self.model.head.kind
        names = {output: array_name(kind, output) for output in DISTILLED[kind]}
        if set(names.values()) <= part.keys():
            return {output: part[name] for output, name in names.items()}
        return self.run_teacher(inputs)

    def _transfer_loss(self, teacher: dict, outputs: dict, input_mask):
        config = self.model.config
        layers = dict(enumerate(layer_map(config, self.transfer)))
        terms = transfer_terms(
            teacher,
            outputs,
            input_mask,
            transfer=self.transfer,
            layers=layers,
            num_layers=config.num_hidden_layers,
        )
        return sum(weight * value for weight, value in terms.values())


def _inference_function(model: MobileBert):
    return lambda inputs: model(inputs, training=False)


def labelled(kind: str, targets):
    """Returns 1.0 for each example that has a label, else 0.0: [B]. Targets as for task_loss."""
    if kind == "regression":
        return ops.cast(ops.logical_not(ops.isnan(targets)), "float32")
    if kind == "multi_label_classifier":
        return labelled("regression", targets[:, 0])
    counted = targets != NO_LABEL
    return ops.cast(counted if kind == "classifier" else ops.any(counted, axis=-1), "float32")


def target_weights(kind: str, targets, class_weights=None):
    """Returns the weights over which task_loss takes its mean, of each text [B] or token [B,T].

    Args: as for task_loss.
    """
    if kind in ("regression", "multi_label_classifier"):
        return labelled(kind, targets)
    if kind == "span":
        return ops.ones_like(targets[:, 0], dtype="float32")
    counted = ops.cast(targets != NO_LABEL, "float32")
    if class_weights is None:
        return counted
    return counted * ops.take(class_weights, ops.maximum(targets, 0))


def task_loss(kind: str, outputs: dict, targets, class_weights=None):
    """Returns the mean loss over examples, or tokens, that have a label: a scalar.

    Args:
        kind: of the head, one of DISTILLED.
        outputs: of the model.
        targets: classifier: int32 [B], NO_LABEL where there is none; multi_label_classifier:
            float32 [B,C], 1 for the labels that a text has, else 0, a row of NaN where they are not
            known; regression: float32 [B], NaN where there is none; token_classifier: int32 [B,T],
            NO_LABEL where there is none; span: int32 [B,2], positions of the first and last token.
        class_weights: weight of each class, [C]; None for equal weights, which a
            multi_label_classifier has.
    """
    weights = target_weights(kind, targets, class_weights)
    if kind == "regression":
        # NaN is replaced, not multiplied by 0: the gradient would still be NaN.
        losses = ops.square(outputs["score"] - ops.where(ops.isnan(targets), 0.0, targets))
    elif kind == "multi_label_classifier":
        known = ops.where(ops.isnan(targets), 0.0, targets)
        by_label = ops.binary_crossentropy(known, outputs["logits"], from_logits=True)  # [B,C]
        losses = ops.mean(by_label, axis=-1)
    elif kind == "span":
        ends = (outputs["start_logits"], outputs["end_logits"])
        losses = sum(_cross_entropy(logits, targets[:, i]) for i, logits in enumerate(ends)) / 2
    else:
        losses = _cross_entropy(outputs["logits"], ops.maximum(targets, 0))
    return ops.sum(weights * losses) / ops.maximum(ops.sum(weights), 1e-6)


def distillation_loss(
    kind: str, teacher: dict, student: dict, input_mask, temperature: float, weights=None
):
    """Returns the distance of the student's outputs from the teacher's (Hinton et al., 2015).

    A scalar: the mean over texts, or over real tokens, of temperature^2 * KL(teacher || student)
    of the softened distributions, for a multi_label_classifier the mean over its labels; for
    regression, of the square error. 0 for equal outputs.

    Args:
        kind: of the head, one of DISTILLED.
        teacher, student: outputs of the two models.
        input_mask: int32 [B,T].
        temperature: divides the logits.
        weights: of the texts, [B]; None for equal weights.
    """
    distances = _distances(kind, teacher, student, input_mask, temperature=temperature)
    if kind != "token_classifier":
        return ops.mean(distances if weights is None else weights * distances)
    real = ops.cast(input_mask, "float32")  # [B,T]
    counted = real if weights is None else real * weights[:, None]
    return ops.sum(counted * distances) / ops.sum(real)


def _distances(kind: str, teacher: dict, student: dict, input_mask, *, temperature: float):
    """Returns the distance of each text's outputs [B], or of each token's [B,T]."""
    if kind == "regression":
        return ops.square(teacher["score"] - student["score"])
    if kind == "span":
        padding = -1e4 * ops.cast(1 - input_mask, "float32")  # no answer is in the padding
        ends = [
            _divergence(teacher[name] + padding, student[name] + padding, temperature)
            for name in ("start_logits", "end_logits")
        ]
        return sum(ends) / 2
    if kind == "multi_label_classifier":
        # Of each label, yes or no: their logits are the label's and 0.
        first, second = (
            ops.stack([x["logits"], ops.zeros_like(x["logits"])], axis=-1)
            for x in (teacher, student)
        )
        return ops.mean(_divergence(first, second, temperature), axis=-1)
    return _divergence(teacher["logits"], student["logits"], temperature)


def _cross_entropy(logits, targets):
    return keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)


def _divergence(teacher, student, temperature: float):
    teacher = ops.log_softmax(teacher / temperature)
    student = ops.log_softmax(student / temperature)
    return temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
