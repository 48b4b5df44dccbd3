"""What models see and say about held-out text: attention maps, and tokens filled in for masks."""

from pathlib import Path

import numpy as np
from scipy.special import softmax

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import whole_file
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.modeling.model import MODEL_INPUTS, MobileBert
from mobilebert_tf.text.tokenizer import WordPiece

SENTENCES, GUESSES = 8, 3  # of the fill-mask examples
CONTEXT = 14  # tokens kept on each side of a mask


def save_examples(
    path: Path,
    teacher: MobileBert,
    student: MobileBert,
    layer_map: list[int],
    tokenizer: WordPiece,
    batch: dict[str, np.ndarray],
) -> None:
    """Saves what both models see in held-out text; one .npz file, whole or not at all.

    Attention maps of the batch's first example, without padding:
        tokens, str [T]; layer_map, int [L]: the teacher layer of each student layer;
        teacher, student, float16 [L,N,T,T]: probabilities after softmax.
    One [MASK] in each of K examples (8 at most):
        input_ids, input_mask, segment_ids, int32 [K,T]; position, int32 [K];
        before, after, true, str [K]: the text around the mask, and the token behind it;
        {teacher,student}_tokens, str [K,3], and _probabilities, float32 [K,3]: best guesses.
    """
    inputs = {name: batch[name][:SENTENCES] for name in student.input}
    length = int(batch["input_mask"][0].sum())
    rows, slots = _masked_places(batch, tokenizer.mask_id)
    arrays = {name: batch[name][rows] for name in MODEL_INPUTS}
    arrays["position"] = batch["masked_lm_positions"][rows, slots]
    around = [
        _around(ids, position, tokenizer)
        for ids, position in zip(arrays["input_ids"], arrays["position"], strict=True)
    ]
    arrays["before"], arrays["after"] = np.array(around, dtype=str).reshape(-1, 2).T
    arrays["true"] = np.array(tokenizer.tokens(batch["masked_lm_ids"][rows, slots]), dtype=str)
    arrays["tokens"] = np.array(tokenizer.tokens(batch["input_ids"][0, :length]))
    arrays["layer_map"] = np.array(layer_map)
    layers = {"teacher": layer_map, "student": range(len(layer_map))}
    for name, model in (("teacher", teacher), ("student", student)):
        outputs = model(inputs, training=False)
        scores = [outputs["attention_scores"][layer][0, :, :length, :length]
                  for layer in layers[name]]  # fmt: skip
        arrays[name] = softmax(np.array(scores), axis=-1).astype(np.float16)
        guesses = _best(np.array(outputs["mlm_logits"])[rows, slots], tokenizer)
        arrays[f"{name}_tokens"], arrays[f"{name}_probabilities"] = guesses
    with whole_file(path) as aside, open(aside, "wb") as file:
        np.savez_compressed(file, **arrays)


def _masked_places(batch: dict[str, np.ndarray], mask_id: int) -> tuple[np.ndarray, np.ndarray]:
    """In each example the [MASK] with most context on both sides: its row and its slot, [K]."""
    positions = batch["masked_lm_positions"][:SENTENCES]  # [B,P]; unused ones point to [CLS]
    masked = np.take_along_axis(batch["input_ids"][:SENTENCES], positions, axis=1) == mask_id
    lengths = batch["input_mask"][:SENTENCES].sum(axis=1, keepdims=True)  # [B,1]
    distance = np.where(masked, np.abs(positions - lengths / 2), np.inf)
    rows = np.flatnonzero(masked.any(axis=1))
    return rows, distance.argmin(axis=1)[rows]


def _around(ids: np.ndarray, position: int, tokenizer: WordPiece) -> tuple[str, str]:
    """The text before and after a position."""
    before = tokenizer.decode(ids[max(position - CONTEXT, 0) : position])
    return before, tokenizer.decode(ids[position + 1 : position + 1 + CONTEXT])


def _best(logits: np.ndarray, tokenizer: WordPiece) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest tokens and their probabilities, [K,3] each, of logits [K,V]."""
    probabilities = softmax(logits, axis=-1)
    ids = np.argsort(-probabilities, axis=1)[:, :GUESSES]
    tokens = np.array(tokenizer.tokens(ids.ravel()), dtype=str).reshape(ids.shape)
    return tokens, np.take_along_axis(probabilities, ids, axis=1)


def guesses_of_file(path: Path, maps: dict) -> tuple[np.ndarray, np.ndarray] | None:
    """What an exported file fills in for the masks of a saved .npz: tokens and probabilities.

    [K,3] each; None if the file is no masked language model, or takes no texts that long.
    """
    try:
        model = LiteModel(path)
        if model.kind != "pretraining" or not len(maps["true"]):
            return None
        logits = []
        for row, position in enumerate(maps["position"]):
            inputs = {name: maps[name][row, None] for name in MODEL_INPUTS}  # [1,T]
            logits.append(model(**inputs)["mlm_logits"][0, position])
    except InputError:
        return None
    return _best(np.array(logits), model.tokenizer)
