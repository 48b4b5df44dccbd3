"""What is measured of layers through a run, and the scores on held-out text."""

import json

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax
from support.models import STUDENT, TEACHER, random_model, training_batch

from mobilebert_tf.training import held_out
from mobilebert_tf.training.layer_measures import ROWS, LayerRecorder, map_distances, read_measures


@pytest.fixture(scope="module")
def models():
    return [random_model(config, "pretraining") for config in (TEACHER, STUDENT)]


@pytest.fixture(scope="module")
def batch():
    return {name: np.asarray(values) for name, values in training_batch("pretraining").items()}


def test_measures_equal_numpy(tmp_path, models, batch):
    teacher, student = models
    recorder = LayerRecorder(tmp_path, "student", student, batch, teacher, [1, 0])
    recorder.record(7)
    (measures,) = read_measures(tmp_path, "student")
    assert measures["step"] == 7
    outputs = [m({k: batch[k] for k in m.input}, training=False) for m in models]
    real = batch["input_mask"].astype(bool)  # [B,T]
    for layer in range(2):
        scores = np.asarray(outputs[1]["attention_scores"][layer], np.float64)
        probabilities = softmax(scores, axis=-1)
        entropies = -(probabilities * np.log(probabilities + 1e-300)).sum(-1).mean(1)  # [B,T]
        assert measures["attention_entropy"][layer] == pytest.approx(
            entropies[real].mean(), rel=1e-5
        )
        pairs = (real[:, None, :, None] & real[:, None, None, :]) & np.ones_like(scores, bool)
        assert measures["largest_score"][layer] == pytest.approx(abs(scores[pairs]).max())
        features = np.asarray(outputs[1]["hidden_states"][layer + 1], np.float64)[real]
        varying = ((features - features.mean(0)) ** 2).mean() / (features**2).mean()
        assert measures["token_variation"][layer] == pytest.approx(varying, rel=1e-5)
    of_teacher = np.asarray(outputs[0]["attention_scores"][1], np.float64)
    assert measures["teacher_largest_score"][0] == pytest.approx(abs(of_teacher[pairs]).max())


def test_padding_changes_no_measure(tmp_path, models, batch):
    teacher, student = models
    for name, width in (("short", 0), ("long", 6)):
        padded = {
            k: np.pad(v, [(0, 0), (0, width)]) if v.shape == batch["input_ids"].shape else v
            for k, v in batch.items()
        }
        # One [PAD] stands behind every text: the trigram of the last token reads it.
        padded |= {
            k: np.pad(padded[k], [(0, 0), (0, 1)])
            for k in ("input_ids", "input_mask", "segment_ids")
        }
        LayerRecorder(tmp_path / name, "m", student, padded, teacher, [0, 1]).record(0)
    (short,), (long,) = (read_measures(tmp_path / name, "m") for name in ("short", "long"))
    for name, values in short.items():
        np.testing.assert_allclose(values, long[name], rtol=2e-5, err_msg=name)


def test_a_model_has_no_distance_to_itself(models, batch):
    student = models[1]
    outputs = student({name: batch[name] for name in student.input}, training=False)
    distances = map_distances(outputs, outputs, [0, 1], batch["input_mask"])
    assert distances == {"feature_map": [0.0, 0.0], "attention_map": [0.0, 0.0]}


def test_records_once_and_few_rows(tmp_path, models, batch):
    many = {name: np.concatenate([values] * 3) for name, values in batch.items()}
    recorder = LayerRecorder(tmp_path, "m", models[1], many)
    assert len(recorder.batch["input_ids"]) == ROWS
    recorder.record(3)
    path = tmp_path / "m-00000003.json"
    path.write_text(json.dumps({"step": 3, "kept": True}))
    recorder.record(3)  # a continued run comes by again
    recorder.record(12)
    assert [m["step"] for m in read_measures(tmp_path, "m")] == [3, 12]
    assert read_measures(tmp_path, "m")[0]["kept"]


def test_pictures_for_tensorboard(tmp_path, models, batch):
    """Of each layer, as large as the first example is long; the teacher's scores are not drawn."""
    recorder = LayerRecorder(tmp_path, "m", models[1], batch)
    writer = tf.summary.create_file_writer(str(tmp_path / "board"))
    with writer.as_default(step=7):
        recorder.record(7)
    writer.flush()
    (path,) = (tmp_path / "board").iterdir()
    (image,) = (
        (event.step, value.tensor.string_val)
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    )
    step, (width, height, *pictures) = image
    length = str(batch["input_mask"][0].sum()).encode()
    assert (step, width, height) == (7, length, length)
    assert len(pictures) == models[1].config.num_hidden_layers


class OneBatch:
    """Examples with a single batch."""

    batches_per_epoch = 1

    def __init__(self, batch):
        self.only = batch

    def batch(self, _):
        return self.only


def test_held_out_scores_equal_numpy(models, batch):
    teacher, student = models
    logits = [
        np.asarray(m({k: batch[k] for k in m.input}, training=False)["mlm_logits"]) for m in models
    ]
    weights, ids = batch["masked_lm_weights"].astype(bool), batch["masked_lm_ids"]
    best = [values.argmax(-1) for values in logits]
    expected = {
        "mlm_accuracy": (best[1] == ids)[weights].mean(),
        "mlm_loss": -np.take_along_axis(log_softmax(logits[1], -1), ids[..., None], -1)[..., 0][
            weights
        ].mean(),
        "agreement": (best[0] == best[1])[weights].mean(),
    }
    scores = held_out.masked_lm_scores(student, OneBatch(batch), teacher)
    assert scores == pytest.approx(expected, rel=1e-5)
    assert held_out.masked_lm_scores(student, OneBatch(batch), student)["agreement"] == 1
    assert "agreement" not in held_out.masked_lm_scores(student, OneBatch(batch))
