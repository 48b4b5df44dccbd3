"""Distiller: a Keras model whose train_step computes the paper's objectives (section 3.4)."""

import keras
import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.training import losses
from mobilebert_tf.training.accumulation import sum_over_parts
from mobilebert_tf.training.distribution import summed
from mobilebert_tf.training.layer_transfer import check_fit, layer_map, loss_kinds, transfer_terms
from mobilebert_tf.training.optimizer import Lamb, WarmupLinearDecay, checked
from mobilebert_tf.training.projection import project
from mobilebert_tf.training.rematerialization import rematerialized
from mobilebert_tf.training.run_config import TransferConfig
from mobilebert_tf.training.strategies import Stage


class Distiller(keras.Model):
    """Trains `student` for one stage of a strategy, with a teacher or alone.

    A stage that only transfers layers runs both models up to its highest layer, and computes
    gradients only for the layers that it trains. The teacher runs without dropout and gradients.
    Beside a teacher the student runs without dropout too, as in Google's code: the maps to match
    have no noise. A model that trains alone has its dropout.

    Args:
        student: with the head that the stage trains; layers that it does not train are frozen.
        stage: from strategies.plan or strategies.bare.
        transfer: weights of the transfer losses, and the share of the hard labels.
        teacher: a model that fits the student; None for pre-training alone. One without a masked LM
            teaches layers, and leaves the masked LM to the true tokens.
        projection: from the student's width to the teacher's, if they differ; trained in stages
            that compare them.
        accumulation_steps: parts into which a step cuts its batch. It runs one after the other and
            adds up their gradients, so that a large batch needs the memory of a part. Without
            dropout the weights are those of the whole batch, but for rounding.
        rematerialize: whether the student's blocks run a second time for the gradients, so that
            their activations take no memory meanwhile.

    Batches are the dicts of data/pretraining.py, or of data/sentences.py for sentence encoders.
    `compile()` without arguments makes the stage's own optimizer. Works with `fit`, and with a loop
    that calls `train_step`.

    Raises InputError if teacher and student do not fit, or a stage that transfers layers or
    embeddings has no teacher.
    """

    def __init__(
        self,
        student: MobileBert,
        stage: Stage,
        transfer: TransferConfig | None = None,
        teacher: MobileBert | None = None,
        accumulation_steps: int = 1,
        rematerialize: bool = False,
        projection: keras.layers.Dense | None = None,
    ):
        super().__init__(name="distiller")
        self.accumulation_steps, self.rematerialize = accumulation_steps, rematerialize
        self.transfer = transfer or TransferConfig()
        if teacher is not None:
            projected = projection is not None
            check_fit(teacher.config, student.config, self.transfer, projected)
        elif stage.layers or stage.embedding:
            raise InputError(f"stage '{stage.name}' transfers knowledge: it needs a teacher")
        self.student, self.stage = student, stage
        for layer in student.layers:
            layer.trainable = layer.name in stage.rates
        self.projection = projection
        if projection is not None:
            projection.trainable = bool(stage.layers) or stage.embedding
        self.run_student = _first_blocks(student, stage.depth)
        self.teacher_layers = self.run_teacher = None
        self.distils_masks = teacher is not None and teacher.head.predicts_masks
        if teacher is not None:
            self.teacher_layers = layer_map(student.config, self.transfer)
            depth = None if stage.depth is None else self.teacher_layers[stage.depth - 1] + 1
            # Behind a function: as an attribute, the teacher would be in every checkpoint.
            self.run_teacher = _inference_function(_first_blocks(teacher, depth))
        self.trackers = {name: keras.metrics.Mean(name) for name in self._value_names()}

    def compile(self, optimizer=None, **kwargs):
        super().compile(optimizer=checked(optimizer or self._stage_optimizer()), **kwargs)
        self.optimizer.build(self.trainable_variables)

    def _stage_optimizer(self) -> Lamb:
        phase = self.stage.phase
        rates = {
            variable.path: rate
            for name, rate in self.stage.rates.items()
            for variable in self.student.get_layer(name).variables
        }
        schedule = WarmupLinearDecay(
            phase.learning_rate, phase.steps, round(phase.warmup * phase.steps), phase.end_factor
        )
        return Lamb(schedule, phase.weight_decay, rates=rates, clip_norm=phase.clip_norm)

    def call(self, inputs, training=None):
        return self.student(inputs, training=training)

    def train_step(self, batch):
        gradients, values = summed(self._accumulate(batch))
        scale = self.optimizer.scale_loss(1.0)
        values["gradient_norm"] = tf.linalg.global_norm(gradients) / scale
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._track(values)

    def test_step(self, batch):
        terms, measures = self.objectives(batch, training=False)
        return self._track(_with_loss(terms, measures, _WHOLE))

    def _accumulate(self, batch: dict) -> tuple[list, dict]:
        """Returns this device's share of the gradients of a batch and of {value: mean over it},
        from one part of its rows at a time."""
        whole = summed(_counts(batch))
        return sum_over_parts(
            lambda part: self._gradients(part, _shares(part, whole)), batch, self.accumulation_steps
        )

    def _gradients(self, part: dict, shares: dict) -> tuple[list, dict]:
        """Returns a part's share of the gradients and of {value: mean over the batch}."""
        # The tape records nothing below the variables that it watches.
        sources = [variable.value for variable in self.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            terms, measures = self.objectives(part, training=self.run_teacher is None)
            values = _with_loss(terms, measures, shares)
            scaled = self.optimizer.scale_loss(values["loss"])
        gradients = tape.gradient(scaled, sources)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], values

    def _value_names(self) -> list[str]:
        names = ["loss", "gradient_norm"]
        if self.stage.layers:
            names += list(loss_kinds(self.transfer))
        if self.stage.pretraining:
            names += ["masked_lm", "next_sentence", "mlm_accuracy"]
            if self.distils_masks:
                names.append("distillation")
        if self.stage.embedding:
            names += ["embedding", "similarity"]
        return names

    def _track(self, values: dict) -> dict:
        for name, value in values.items():
            self.trackers[name].update_state(value)
        return {name: self.trackers[name].result() for name in values}

    @property
    def metrics(self):
        return list(self.trackers.values())

    def objectives(self, batch: dict, training: bool) -> tuple[dict, dict]:
        """Returns ({term: (weight, value)}, {measure: value}); the loss is the weighted sum of the
        terms, the measures are only logged."""
        with rematerialized(self.run_student, self.rematerialize):
            student = self.run_student(_select_inputs(self.run_student, batch), training=training)
        teacher = self.run_teacher(batch) if self.run_teacher is not None else None
        terms, measures = {}, {}
        if self.stage.layers:
            terms |= transfer_terms(
                teacher,
                project(student, self.projection),
                batch["input_mask"],
                transfer=self.transfer,
                layers={layer: self.teacher_layers[layer] for layer in self.stage.layers},
                num_layers=self.student.config.num_hidden_layers,
            )
        if self.stage.pretraining:
            terms |= self._pretraining_terms(teacher, student, batch)
            measures["mlm_accuracy"] = losses.masked_lm_accuracy(
                student["mlm_logits"], batch["masked_lm_ids"], batch["masked_lm_weights"]
            )
        if self.stage.embedding:
            terms |= self._embedding_terms(teacher, student)
        return terms, measures

    def _pretraining_terms(self, teacher: dict | None, student: dict, batch: dict) -> dict:
        """Returns alpha * MLM + (1 - alpha) * KD + NSP (paper, equation 6) as terms; without a
        teacher that has a masked LM, MLM + NSP."""
        alpha = self.transfer.alpha if self.distils_masks else 1.0
        logits, weights = student["mlm_logits"], batch["masked_lm_weights"]
        mlm = losses.masked_lm_loss(logits, batch["masked_lm_ids"], weights)
        nsp = losses.next_sentence_loss(student["nsp_logits"], batch["next_sentence_labels"])
        terms = {"masked_lm": (alpha, mlm), "next_sentence": (1.0, nsp)}
        if self.distils_masks:
            distilled = losses.masked_lm_distillation_loss(teacher["mlm_logits"], logits, weights)
            terms["distillation"] = (1.0 - alpha, distilled)
        return terms

    def _embedding_terms(self, teacher: dict, student: dict) -> dict:
        """Returns the terms of embeddings [B,H]."""
        projected = project(student, self.projection)["embedding"]
        similarity = losses.similarity_loss(teacher["embedding"], student["embedding"])
        return {
            "embedding": (1.0, losses.embedding_loss(teacher["embedding"], projected)),
            "similarity": (self.transfer.similarity_weight, similarity),
        }


# What each value is a mean over; all others are means over real tokens.
_MEAN_OVER = {
    "masked_lm": "predictions",
    "distillation": "predictions",
    "mlm_accuracy": "predictions",
    "next_sentence": "examples",
    "embedding": "examples",
    "similarity": "examples",
}
_WHOLE = {"tokens": 1.0, "predictions": 1.0, "examples": 1.0}  # shares of a whole batch


def _counts(batch: dict) -> dict:
    """Returns the number of tokens, predictions and examples that means are taken over."""
    counts = {"tokens": tf.reduce_sum(batch["input_mask"])}
    if "masked_lm_weights" in batch:
        counts["predictions"] = tf.reduce_sum(batch["masked_lm_weights"])
    counts["examples"] = tf.shape(batch["input_mask"])[0]
    return {name: tf.cast(count, "float32") for name, count in counts.items()}


def _shares(part: dict, whole: dict) -> dict:
    """Returns which share of a whole batch's counts one of its parts has."""
    return {name: count / tf.maximum(whole[name], 1.0) for name, count in _counts(part).items()}


def _with_loss(terms: dict, measures: dict, shares: dict) -> dict:
    """Returns {name: share of the value} of all terms and measures, and the loss."""
    weights = {name: weight for name, (weight, _) in terms.items()}
    values = {name: value for name, (_, value) in terms.items()} | measures
    shared = {
        name: shares[_MEAN_OVER.get(name, "tokens")] * value for name, value in values.items()
    }
    return {"loss": sum(weights[name] * shared[name] for name in terms)} | shared


def _first_blocks(model: MobileBert, depth: int | None) -> keras.Model:
    """Returns the embeddings and the first `depth` blocks of a model, sharing its layers; None for
    the whole model."""
    if depth is None:
        return keras.Model(model.input, model.output)
    outputs = {
        "hidden_states": model.output["hidden_states"][: depth + 1],
        "attention_scores": model.output["attention_scores"][:depth],
    }
    inputs = {name: x for name, x in model.input.items() if "lm_" not in name}
    return keras.Model(inputs, outputs)


def _select_inputs(model: keras.Model, batch: dict) -> dict:
    return {name: batch[name] for name in model.input}


def _inference_function(model: keras.Model):
    return lambda batch: model(_select_inputs(model, batch), training=False)
