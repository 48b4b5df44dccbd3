"""Gives a model another vocabulary: each token keeps its embedding, whatever its new id."""

from collections.abc import Sequence

import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.model import MobileBert, copy_weights

# Paths of the weights whose first dimension is the vocabulary.
VOCABULARY_WEIGHTS = (
    "embeddings/word_embeddings",
    "masked_lm/extra_output_weights",
    "masked_lm/output_bias",
)


def replace_vocabulary(model: MobileBert, old: Sequence[str], new: Sequence[str]) -> MobileBert:
    """Returns a copy of the model for another vocabulary.

    Tokens of both vocabularies keep their rows in the word embeddings and the masked LM output; a
    new token starts with the mean of all old rows.

    Args:
        old: the model's tokens in id order.
        new: the tokens of the copy in id order.

    Raises InputError if `old` has another size than the model's vocabulary, or if `new` does not
    begin with [PAD]: padding is embedded as id 0.
    """
    if len(old) != model.config.vocab_size:
        raise InputError(
            f"the vocabulary has {len(old)} tokens, the model {model.config.vocab_size}"
        )
    if list(new[:1]) != ["[PAD]"]:
        raise InputError("the new vocabulary must begin with [PAD]: padding is embedded as id 0")
    old_ids = {token: index for index, token in enumerate(old)}
    rows = np.array([old_ids.get(token, -1) for token in new])  # [new tokens]
    resized = MobileBert(model.config.replace(vocab_size=len(new)), model.head)
    copy_weights(model, resized)
    tables = {weight.path: weight for weight in model.weights if weight.path in VOCABULARY_WEIGHTS}
    for weight in resized.weights:
        if weight.path in tables:
            weight.assign(_select_rows(tables[weight.path].numpy(), rows))
    return resized


def _select_rows(table: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the given rows of a table, and the mean of all rows where the index is -1.

    [old tokens,...], [new tokens] -> [new tokens,...]
    """
    selected = table[np.maximum(rows, 0)]
    selected[rows < 0] = table.mean(axis=0, dtype=np.float64)
    return selected
