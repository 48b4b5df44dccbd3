"""Distiller: a Keras model whose train_step computes the paper's objectives (section 3.4)."""

import keras
import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.training import losses
from mobilebert_tf.training.layer_transfer import check_fit, layer_map, loss_kinds, transfer_terms
from mobilebert_tf.training.optimizer import Lamb, WarmupLinearDecay
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
    ):
        super().__init__(name="distiller")
        self.transfer = transfer or TransferConfig()
        if teacher is not None:
            check_fit(teacher.config, student.config, self.transfer)
        elif stage.layers or stage.embedding:
            raise InputError(f"stage '{stage.name}' transfers knowledge: it needs a teacher")
        self.student, self.stage = student, stage
        for layer in student.layers:
            layer.trainable = layer.name in stage.rates
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
        super().compile(optimizer=optimizer or self._stage_optimizer(), **kwargs)
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
        # The tape records nothing below the variables that it watches.
        sources = [variable.value for variable in self.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            terms, measures = self.objectives(batch, training=self.run_teacher is None)
            loss = sum(weight * value for weight, value in terms.values())
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, sources)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        scale = self.optimizer.scale_loss(1.0)
        measures["gradient_norm"] = tf.linalg.global_norm(gradients) / scale
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._track(loss, terms, measures)

    def test_step(self, batch):
        terms, measures = self.objectives(batch, training=False)
        loss = sum(weight * value for weight, value in terms.values())
        return self._track(loss, terms, measures)

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

    def _track(self, loss, terms: dict, measures: dict) -> dict:
        values = {"loss": loss, **{name: value for name, (_, value) in terms.items()}, **measures}
        for name, value in values.items():
            self.trackers[name].update_state(value)
        return {name: self.trackers[name].result() for name in values}

    @property
    def metrics(self):
        return list(self.trackers.values())

    def objectives(self, batch: dict, training: bool) -> tuple[dict, dict]:
        """Returns ({term: (weight, value)}, {measure: value}); the loss is the weighted sum of the
        terms, the measures are only logged."""
        student = self.run_student(_select_inputs(self.run_student, batch), training=training)
        teacher = self.run_teacher(batch) if self.run_teacher is not None else None
        terms, measures = {}, {}
        if self.stage.layers:
            terms |= transfer_terms(
                teacher,
                student,
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
            terms |= self._embedding_terms(teacher["embedding"], student["embedding"])
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

    def _embedding_terms(self, teacher, student) -> dict:
        """Returns the terms of embeddings [B,H]."""
        similarity = losses.similarity_loss(teacher, student)
        return {
            "embedding": (1.0, losses.embedding_loss(teacher, student)),
            "similarity": (self.transfer.similarity_weight, similarity),
        }


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
