"""Evaluates models on the held-out text of a run: masked LM accuracy and distances of maps."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from mobilebert_tf.data.prepared_text import prepare_text
from mobilebert_tf.data.pretraining import PretrainingExamples
from mobilebert_tf.files import write_json
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.modeling.model import MODEL_INPUTS, MobileBert
from mobilebert_tf.training import losses
from mobilebert_tf.training.run_folder import data_settings

MAX_EXAMPLES = 1024  # about 10,000 predictions: a standard error of half a point


def batches(examples: PretrainingExamples) -> list[dict[str, np.ndarray]]:
    """Returns the first epoch of held-out examples, at most MAX_EXAMPLES of them."""
    size = len(examples.batch(0)["input_ids"])
    count = max(1, min(examples.batches_per_epoch, MAX_EXAMPLES // size))
    return [examples.batch(step) for step in range(count)]


def masked_lm_accuracy(model: MobileBert, examples: PretrainingExamples) -> float:
    """Returns the share of masked held-out tokens that the model predicts right."""

    @tf.function(autograph=False)
    def logits(batch):
        return model({name: batch[name] for name in model.input}, training=False)["mlm_logits"]

    return _accuracy(lambda batch: np.asarray(logits(batch)), examples)


def _accuracy(mlm_logits: Callable[[dict], np.ndarray], examples: PretrainingExamples) -> float:
    """Returns the masked LM accuracy of a function from a batch to logits [B,P,V]."""
    correct = total = 0.0
    for batch in batches(examples):
        is_correct = mlm_logits(batch).argmax(axis=-1) == batch["masked_lm_ids"]
        correct += float((is_correct * batch["masked_lm_weights"]).sum())
        total += float(batch["masked_lm_weights"].sum())
    return correct / total


def map_distances(
    teacher: MobileBert, student: MobileBert, layer_map: list[int], batch: dict
) -> dict[str, list[float]]:
    """Returns {"feature_map", "attention_map"}: the loss of each student layer on a batch.

    Args:
        teacher, student: pre-training models.
        layer_map: the teacher layer, from 0, for each student layer.
        batch: as data/pretraining.py makes it.
    """
    inputs = {name: batch[name] for name in student.input}
    teacher_outputs = teacher(inputs, training=False)
    student_outputs = student(inputs, training=False)
    distances = {"feature_map": [], "attention_map": []}
    for layer, teacher_layer in enumerate(layer_map):
        features = losses.feature_map_loss(
            teacher_outputs["hidden_states"][teacher_layer + 1],
            student_outputs["hidden_states"][layer + 1],
            batch["input_mask"],
        )
        attention = losses.attention_map_loss(
            teacher_outputs["attention_scores"][teacher_layer],
            student_outputs["attention_scores"][layer],
            batch["input_mask"],
        )
        distances["feature_map"].append(float(features))
        distances["attention_map"].append(float(attention))
    return distances


def score_file(path: Path) -> float | None:
    """Scores a file that was exported into a run's folder and returns its masked LM accuracy.

    The examples are those on which teacher and student were scored. The result is added to
    FILE.json. Returns None, and does nothing, if the folder holds no finished run, the file has no
    masked LM, or the file is too short for the examples.
    """
    directory, lite = path.parent, LiteModel(path)
    if lite.kind != "pretraining" or not (directory / "evaluation.json").exists():
        return None
    text = prepare_text(data_settings(directory), directory / "data")
    if lite.max_tokens < text.config.sequence_length:
        return None  # a file of a shorter fixed length
    accuracy = _accuracy(lambda batch: _file_logits(lite, batch), text.held_out_examples())
    report = path.with_suffix(".json")
    values = json.loads(report.read_text()) | {"mlm_accuracy": accuracy}
    write_json(report, values)
    return accuracy


def _file_logits(lite: LiteModel, batch: dict) -> np.ndarray:
    """Returns the file's logits at the masked positions, [B,P,V]; it runs one row at a time.

    A padded row keeps one [PAD], which the trigram of the last real token reads.
    """
    rows = []
    for row, length in enumerate(batch["input_mask"].sum(axis=1)):
        inputs = {name: batch[name][row : row + 1, : length + 1] for name in MODEL_INPUTS}
        rows.append(lite(**inputs)["mlm_logits"][0, batch["masked_lm_positions"][row]])
    return np.stack(rows)
