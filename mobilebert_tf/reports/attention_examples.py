"""Examples for the report: attention maps and fill-mask predictions on held-out text."""

from pathlib import Path

import numpy as np
from scipy.special import softmax

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import whole_file
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.modeling.model import MODEL_INPUTS, MobileBert
from mobilebert_tf.text.tokenizer import WordPiece

SENTENCES, PREDICTIONS = 8, 3  # number of fill-mask examples, and of predictions for each
CONTEXT = 14  # tokens shown on each side of a mask


def save_examples(
    path: Path,
    teacher: MobileBert,
    student: MobileBert,
    *,
    layer_map: list[int],
    tokenizer: WordPiece,
    batch: dict[str, np.ndarray],
) -> None:
    """Saves examples of both models on held-out text as one .npz file, whole or not at all.

    Attention maps of the batch's first example, without padding:
        tokens, str [T]; layer_map, int [L]: the teacher layer of each student layer;
        teacher, student, float16 [L,N,T,T]: probabilities after softmax.
    One [MASK] in each of K examples (8 at most):
        input_ids, input_mask, segment_ids, int32 [K,T]; position, int32 [K];
        before, after, true, str [K]: the text around the mask, and the masked token;
        {teacher,student}_tokens, str [K,3], and _probabilities, float32 [K,3]: likeliest tokens.

    Args:
        path: of the file.
        teacher, student: pre-training models.
        layer_map: the teacher layer, from 0, of each student layer.
        tokenizer: of both models.
        batch: as data/pretraining.py makes it.
    """
    inputs = {name: batch[name][:SENTENCES] for name in student.input}
    length = int(batch["input_mask"][0].sum())
    rows, slots = _select_masks(batch, tokenizer.mask_id)
    arrays = {name: batch[name][rows] for name in MODEL_INPUTS}
    arrays["position"] = batch["masked_lm_positions"][rows, slots]
    contexts = [
        _context(ids, position, tokenizer)
        for ids, position in zip(arrays["input_ids"], arrays["position"], strict=True)
    ]
    arrays["before"], arrays["after"] = np.array(contexts, dtype=str).reshape(-1, 2).T
    arrays["true"] = np.array(tokenizer.tokens(batch["masked_lm_ids"][rows, slots]), dtype=str)
    arrays["tokens"] = np.array(tokenizer.tokens(batch["input_ids"][0, :length]))
    arrays["layer_map"] = np.array(layer_map)
    layers = {"teacher": layer_map, "student": range(len(layer_map))}
    for name, model in (("teacher", teacher), ("student", student)):
        outputs = model(inputs, training=False)
        scores = [outputs["attention_scores"][layer][0, :, :length, :length]
                  for layer in layers[name]]  # fmt: skip
        arrays[name] = softmax(np.array(scores), axis=-1).astype(np.float16)
        logits = np.array(outputs["mlm_logits"])[rows, slots]
        arrays[f"{name}_tokens"], arrays[f"{name}_probabilities"] = _likeliest(logits, tokenizer)
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def _select_masks(batch: dict[str, np.ndarray], mask_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns row and slot of the [MASK] nearest to the middle of each example, [K] each."""
    positions = batch["masked_lm_positions"][:SENTENCES]  # [B,P]; unused ones point to [CLS]
    masked = np.take_along_axis(batch["input_ids"][:SENTENCES], positions, axis=1) == mask_id
    lengths = batch["input_mask"][:SENTENCES].sum(axis=1, keepdims=True)  # [B,1]
    distance = np.where(masked, np.abs(positions - lengths / 2), np.inf)
    rows = np.flatnonzero(masked.any(axis=1))
    return rows, distance.argmin(axis=1)[rows]


def _context(ids: np.ndarray, position: int, tokenizer: WordPiece) -> tuple[str, str]:
    """Returns the text before and after a position."""
    before = tokenizer.decode(ids[max(position - CONTEXT, 0) : position])
    return before, tokenizer.decode(ids[position + 1 : position + 1 + CONTEXT])


def _likeliest(logits: np.ndarray, tokenizer: WordPiece) -> tuple[np.ndarray, np.ndarray]:
    """Returns the likeliest tokens and their probabilities, [K,3] each, from logits [K,V]."""
    probabilities = softmax(logits, axis=-1)
    ids = np.argsort(-probabilities, axis=1)[:, :PREDICTIONS]
    tokens = np.array(tokenizer.tokens(ids.ravel()), dtype=str).reshape(ids.shape)
    return tokens, np.take_along_axis(probabilities, ids, axis=1)


def predict_masks(path: Path, examples: dict) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns an exported file's likeliest tokens for saved masks and their probabilities, [K,3].

    None if the file has no masked LM, or takes no texts of that length.

    Args:
        path: of the file.
        examples: content of a saved .npz file.
    """
    try:
        model = LiteModel(path)
        if model.kind != "pretraining" or not len(examples["true"]):
            return None
        logits = []
        for row, position in enumerate(examples["position"]):
            inputs = {name: examples[name][row, None] for name in MODEL_INPUTS}  # [1,T]
            logits.append(model(**inputs)["mlm_logits"][0, position])
    except InputError:
        return None
    return _likeliest(np.array(logits), model.tokenizer)
