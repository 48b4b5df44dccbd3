"""Scores models on held-out text: masked LM, embeddings, agreement with a teacher."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from scipy.special import log_softmax

from mobilebert_tf.data.prepared_text import prepare_text
from mobilebert_tf.data.schedule import MaskedExamples
from mobilebert_tf.data.sentences import SentenceExamples
from mobilebert_tf.files import read_json, write_json
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.modeling.model import MODEL_INPUTS, SHORTEST, MobileBert
from mobilebert_tf.training.run_folder import data_settings

MAX_EXAMPLES = 1024  # about 10,000 predictions: a standard error of half a point
EVALUATED = 256  # examples of an evaluation during training


def scored_examples(examples: MaskedExamples | SentenceExamples) -> int:
    """Returns the number of held-out examples that a finished model is scored on."""
    return sum(len(batch["input_ids"]) for batch in _first(examples, MAX_EXAMPLES))


def evaluation_batches(
    examples: MaskedExamples | SentenceExamples,
) -> list[dict[str, np.ndarray]]:
    """Returns the first EVALUATED held-out examples (all, if there are fewer) in their batches, for
    evaluations during training."""
    return list(_first(examples, EVALUATED))


def _first(
    examples: MaskedExamples | SentenceExamples, most: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the first epoch's batches until there are `most` rows: whole batches, but one at
    least."""
    taken = 0
    for step in range(examples.batches_per_epoch):
        batch = examples.batch(step)
        taken += len(batch["input_ids"])
        if step and taken > most:
            return
        yield batch


def masked_lm_scores(
    model: MobileBert, examples: MaskedExamples, teacher: MobileBert | None = None
) -> dict[str, float]:
    """Returns the scores of a pre-training model on masked held-out tokens.

    mlm_accuracy: share of the tokens that it predicts right.
    mlm_loss: mean cross-entropy with the tokens, in nats.
    agreement: share of the tokens where it makes the teacher's choice, right or wrong; only if
        there is a teacher.
    """
    return _scores(_logits(model), examples, None if teacher is None else _logits(teacher))


def embedding_scores(
    model: MobileBert, teacher: MobileBert, examples: SentenceExamples
) -> dict[str, float]:
    """Returns how near a sentence encoder is to its teacher on held-out sentences.

    embedding_cosine: between the two embeddings of a sentence, mean over sentences; only if both
        have the same width.
    similarity_correlation: Pearson's, between the cosines of all pairs of sentences in a batch.
    """
    cosines, similarities = [], []
    for batch in _first(examples, MAX_EXAMPLES):
        first, second = (_unit_embeddings(encoder, batch) for encoder in (model, teacher))
        if first.shape == second.shape:
            cosines.append((first * second).sum(axis=-1))
        pairs = np.triu_indices(len(first), 1)
        similarities.append([(rows @ rows.T)[pairs] for rows in (first, second)])
    ours, theirs = np.concatenate(similarities, axis=1)
    scores = {"similarity_correlation": float(np.corrcoef(ours, theirs)[0, 1])}
    if cosines:
        scores["embedding_cosine"] = float(np.concatenate(cosines).mean())
    return scores


def _unit_embeddings(encoder: MobileBert, batch: dict) -> np.ndarray:
    """Returns the embeddings [B,H] of a batch, of length 1."""
    embeddings = np.asarray(encoder(batch, training=False)["embedding"])
    lengths = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return embeddings / np.maximum(lengths, SHORTEST)


def _logits(model: MobileBert) -> Callable[[dict], np.ndarray]:
    """Returns a function from a batch to logits [B,P,V]."""

    @tf.function(autograph=False)
    def run(batch):
        return model({name: batch[name] for name in model.input}, training=False)["mlm_logits"]

    return lambda batch: np.asarray(run(batch))


def _scores(
    logits: Callable[[dict], np.ndarray],
    examples: MaskedExamples,
    teacher: Callable[[dict], np.ndarray] | None = None,
) -> dict[str, float]:
    """Returns masked_lm_scores of functions from a batch to logits [B,P,V]."""
    sums = {"mlm_accuracy": 0.0, "mlm_loss": 0.0} | ({} if teacher is None else {"agreement": 0.0})
    total = 0.0
    for batch in _first(examples, MAX_EXAMPLES):
        scores, ids, weights = logits(batch), batch["masked_lm_ids"], batch["masked_lm_weights"]
        best = scores.argmax(axis=-1)  # [B,P]
        of_ids = np.take_along_axis(log_softmax(scores, axis=-1), ids[..., None], axis=-1)[..., 0]
        sums["mlm_accuracy"] += float(((best == ids) * weights).sum())
        sums["mlm_loss"] -= float((of_ids * weights).sum())
        if teacher is not None:
            sums["agreement"] += float(((best == teacher(batch).argmax(axis=-1)) * weights).sum())
        total += float(weights.sum())
    return {name: value / total for name, value in sums.items()}


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
    scores = _scores(lambda batch: _file_logits(lite, batch), text.held_out_examples())
    report = path.with_suffix(".json")
    write_json(report, read_json(report) | scores)
    return scores["mlm_accuracy"]


def _file_logits(lite: LiteModel, batch: dict) -> np.ndarray:
    """Returns the file's logits at the masked positions, [B,P,V]; it runs one row at a time.

    A padded row keeps one [PAD], which the trigram of the last real token reads.
    """
    rows = []
    for row, length in enumerate(batch["input_mask"].sum(axis=1)):
        inputs = {name: batch[name][row : row + 1, : length + 1] for name in MODEL_INPUTS}
        rows.append(lite(**inputs)["mlm_logits"][0, batch["masked_lm_positions"][row]])
    return np.stack(rows)
