"""Another vocabulary for a model: its rows follow the tokens' text."""

from collections.abc import Sequence

import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.model import MobileBert, copy_weights

# The weights with a row, or a number, for each token.
VOCABULARY_WEIGHTS = (
    "embeddings/word_embeddings",
    "masked_lm/extra_output_weights",
    "masked_lm/output_bias",
)


def replace_vocabulary(model: MobileBert, old: Sequence[str], new: Sequence[str]) -> MobileBert:
    """The same model for another vocabulary.

    Tokens of both keep their rows in the word embeddings and the masked LM output; a new token
    starts with the mean of all old rows.

    Args:
        old: the model's tokens in id order.
        new: the tokens that it shall have.

    Raises InputError if `old` is not the model's, or `new` does not begin with [PAD]: id 0 is what
    padding is embedded as.
    """
    if len(old) != model.config.vocab_size:
        raise InputError(
            f"the vocabulary has {len(old)} tokens, the model {model.config.vocab_size}"
        )
    if list(new[:1]) != ["[PAD]"]:
        raise InputError("the new vocabulary must begin with [PAD]: padding is embedded as id 0")
    places = {token: index for index, token in enumerate(old)}
    rows = np.array([places.get(token, -1) for token in new])  # [new tokens]
    resized = MobileBert(model.config.replace(vocab_size=len(new)), model.head)
    copy_weights(model, resized)
    tables = {weight.path: weight for weight in model.weights if weight.path in VOCABULARY_WEIGHTS}
    for weight in resized.weights:
        if weight.path in tables:
            weight.assign(_resized(tables[weight.path].numpy(), rows))
    return resized


def _resized(table: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """[old tokens,...] -> [new tokens,...]: the row of each place, the mean where it is -1."""
    taken = table[np.maximum(rows, 0)]
    taken[rows < 0] = table.mean(axis=0, dtype=np.float64)
    return taken
