"""What a run is judged by: masked LM accuracy and distances of maps on held-out text."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from mobilebert_tf.data.pretraining import PretrainingExamples
from mobilebert_tf.data.run_text import prepare_text
from mobilebert_tf.files import write_whole
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.modeling.model import MODEL_INPUTS, MobileBert
from mobilebert_tf.training import losses
from mobilebert_tf.training.run_folder import data_settings

MAX_EXAMPLES = 1024  # about 10,000 predictions: a standard error of half a point


def batches(examples: PretrainingExamples) -> list[dict[str, np.ndarray]]:
    """The first epoch of held-out examples, MAX_EXAMPLES at most."""
    size = len(examples.batch(0)["input_ids"])
    count = max(1, min(examples.batches_per_epoch, MAX_EXAMPLES // size))
    return [examples.batch(step) for step in range(count)]


def masked_lm_accuracy(model: MobileBert, examples: PretrainingExamples) -> float:
    """Share of held-out masked tokens that the model's best guess restores."""

    @tf.function(autograph=False)
    def logits(batch):
        return model({name: batch[name] for name in model.input}, training=False)["mlm_logits"]

    return accuracy_of(lambda batch: np.asarray(logits(batch)), examples)


def accuracy_of(mlm_logits, examples: PretrainingExamples) -> float:
    """As masked_lm_accuracy, of any function from a batch to logits [B,P,V]."""
    right = total = 0.0
    for batch in batches(examples):
        hit = mlm_logits(batch).argmax(axis=-1) == batch["masked_lm_ids"]
        right += float((hit * batch["masked_lm_weights"]).sum())
        total += float(batch["masked_lm_weights"].sum())
    return right / total


def map_distances(
    teacher: MobileBert, student: MobileBert, layer_map: list[int], batch: dict
) -> dict[str, list[float]]:
    """{"feature_map", "attention_map"}: the transfer losses of each student layer on a batch."""
    inputs = {name: batch[name] for name in student.input}
    theirs, ours = teacher(inputs, training=False), student(inputs, training=False)
    mask = batch["input_mask"]
    pairs = list(enumerate(layer_map))
    return {
        "feature_map": [
            float(
                losses.feature_map_loss(
                    theirs["hidden_states"][t + 1], ours["hidden_states"][s + 1], mask
                )
            )
            for s, t in pairs
        ],
        "attention_map": [
            float(
                losses.attention_map_loss(
                    theirs["attention_scores"][t], ours["attention_scores"][s], mask
                )
            )
            for s, t in pairs
        ],
    }


def score_file(path: Path) -> float | None:
    """Adds the held-out masked LM accuracy to the FILE.json of a file exported into a run's folder.

    The examples are those that teacher and student were scored on. None, and nothing done, if the
    folder holds no finished run or the file no masked LM.
    """
    directory, lite = path.parent, LiteModel(path)
    if lite.kind != "pretraining" or not (directory / "evaluation.json").exists():
        return None
    text = prepare_text(data_settings(directory), directory / "data")
    if lite.max_tokens < text.config.sequence_length:
        return None  # a file of a shorter fixed length
    accuracy = accuracy_of(lambda batch: _file_logits(lite, batch), text.held_out_examples())
    report = path.with_suffix(".json")
    values = json.loads(report.read_text()) | {"mlm_accuracy": accuracy}
    write_whole(report, json.dumps(values, indent=2) + "\n")
    return accuracy


def _file_logits(lite: LiteModel, batch: dict) -> np.ndarray:
    """The file's logits at the masked positions, [B,P,V]; it runs one row at a time.

    A padded row keeps one [PAD]: the last real token's trigram sees it, more of them nobody does.
    """
    rows = []
    for row, length in enumerate(batch["input_mask"].sum(axis=1)):
        inputs = {name: batch[name][row : row + 1, : length + 1] for name in MODEL_INPUTS}
        rows.append(lite(**inputs)["mlm_logits"][0, batch["masked_lm_positions"][row]])
    return np.stack(rows)
