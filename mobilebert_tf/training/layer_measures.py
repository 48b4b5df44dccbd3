"""What the layers of a model do, measured through a run: attention, and distances to a teacher."""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mobilebert_tf.files import read_json, write_json
from mobilebert_tf.modeling.model import MODEL_INPUTS, MobileBert
from mobilebert_tf.training import losses
from mobilebert_tf.training.projection import project

ROWS = 8  # held-out examples that are measured: means over them differ by a few hundredths


class LayerRecorder:
    """Measures a model during its training, and writes one small file at each step.

    Args:
        directory: of the files, MODEL-STEP.json.
        name: of the model within the run.
        model: the model in training.
        batch: held-out examples as data/pretraining.py makes them; the first ROWS are used.
        teacher: a model that it learns from, or None.
        layer_map: the teacher layer, from 0, for each of its layers.
        projection: from the model's width to the teacher's, if they differ.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        model: MobileBert,
        batch: Mapping[str, np.ndarray],
        teacher: MobileBert | None = None,
        layer_map: list[int] | None = None,
        projection: keras.layers.Dense | None = None,
    ):
        self.directory, self.name, self.model = directory, name, model
        self.batch = {key: values[:ROWS] for key, values in batch.items()}
        self.layer_map, self.projection = layer_map, projection
        self.taught = None if teacher is None else self._run(teacher)

    def _run(self, model: MobileBert) -> dict:
        shown = {name: model.output[name] for name in ("hidden_states", "attention_scores")}
        runner = keras.Model({name: model.input[name] for name in MODEL_INPUTS}, shown)
        return runner({name: self.batch[name] for name in MODEL_INPUTS}, training=False)

    def record(self, step: int) -> None:
        """Measures the model after a step of the run, unless that is done already.

        TensorBoard, if a writer of summaries is the default, gets a picture of the first example's
        attention in each layer, mean over heads: the darker, the more.
        """
        path = self.directory / f"{self.name}-{step:08d}.json"
        if not path.exists():  # a continued run has those before it
            outputs = self._run(self.model)
            write_json(path, {"step": step} | self._measure(outputs))
            self._draw(outputs["attention_scores"])

    def _draw(self, scores: list) -> None:
        tokens = int(self.batch["input_mask"][0].sum())
        maps = [ops.mean(ops.softmax(s[0, :, :tokens, :tokens]), axis=0) for s in scores]  # [T,T]
        pictures = [(1 - ops.sqrt(x / ops.max(x)))[..., None] for x in maps]  # [T,T,1]
        tf.summary.image("attention", ops.stack(pictures), max_outputs=len(pictures))

    def _measure(self, outputs: dict) -> dict[str, list[float]]:
        mask = self.batch["input_mask"]
        measures = _of_attention(outputs["attention_scores"], mask)
        measures["token_variation"] = [
            _token_variation(np.asarray(hidden)[mask == 1])
            for hidden in outputs["hidden_states"][1:]
        ]
        if self.taught is not None:
            projected = project(outputs, self.projection)
            measures |= map_distances(self.taught, projected, self.layer_map, mask)
            scores = [self.taught["attention_scores"][layer] for layer in self.layer_map]
            of_teacher = _of_attention(scores, mask)
            measures |= {f"teacher_{name}": values for name, values in of_teacher.items()}
        return measures


def read_measures(directory: Path, name: str) -> list[dict]:
    """Returns what a LayerRecorder wrote of a model, oldest first: {"step", measure: [layers]}.

    Raises InputError for a damaged file.
    """
    return [read_json(path) for path in sorted(directory.glob(f"{name}-*.json"))]


def map_distances(
    teacher: Mapping, student: Mapping, layer_map: list[int], input_mask
) -> dict[str, list[float]]:
    """Returns {"feature_map", "attention_map"}: the transfer loss of each student layer.

    Args:
        teacher, student: outputs with hidden_states and attention_scores of the same batch.
        layer_map: the teacher layer, from 0, for each student layer.
        input_mask: int32 [B,T].
    """
    distances = {"feature_map": [], "attention_map": []}
    for layer, teacher_layer in enumerate(layer_map):
        features = losses.feature_map_loss(
            teacher["hidden_states"][teacher_layer + 1],
            student["hidden_states"][layer + 1],
            input_mask,
        )
        attention = losses.attention_map_loss(
            teacher["attention_scores"][teacher_layer],
            student["attention_scores"][layer],
            input_mask,
        )
        distances["feature_map"].append(float(features))
        distances["attention_map"].append(float(attention))
    return distances


def _token_variation(features: np.ndarray) -> float:
    """Returns how much of a feature map [tokens,H] varies from token to token: 1 is all, 0 means
    that all tokens have the same features."""
    return float(features.var(axis=0).mean() / max(np.square(features).mean(), 1e-30))


def _of_attention(scores: list, input_mask) -> dict[str, list[float]]:
    """Returns two measures of each layer's scores before softmax, [B,N,T,T] each.

    attention_entropy: in nats, mean over heads and real queries; 0 is attention to one token, the
        logarithm of the number of tokens is attention to all alike.
    largest_score: largest absolute score between real tokens.
    """
    real = ops.cast(input_mask[:, None, :, None] * input_mask[:, None, None, :], "float32")
    measures = {"attention_entropy": [], "largest_score": []}
    for layer in scores:
        log_probabilities = ops.log_softmax(layer, axis=-1)
        entropy = -ops.sum(ops.exp(log_probabilities) * log_probabilities, axis=-1)  # [B,N,T]
        entropy = losses.masked_mean(ops.mean(entropy, axis=1), input_mask)
        largest = ops.max(ops.abs(ops.where(real > 0, layer, 0.0)))
        measures["attention_entropy"].append(float(entropy))
        measures["largest_score"].append(float(largest))
    return measures
