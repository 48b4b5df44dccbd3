"""What a student starts with: its teacher's embeddings and pre-training heads (paper, section 3.5).

Letters: V vocab_size, E embedding_size, H hidden_size.
"""

import numpy as np

from mobilebert_tf.modeling.model import MobileBert, copy_weights
from mobilebert_tf.training.strategies import CLASSIFIER, EMBEDDINGS

_WORDS = f"{EMBEDDINGS}/word_embeddings"
_KERNEL = f"{EMBEDDINGS}/embedding_transformation/kernel"
_BIAS = f"{EMBEDDINGS}/embedding_transformation/bias"
_SELF = 1  # the token itself, between its neighbours, in the order of the trigrams


def copy_from_teacher(teacher: MobileBert, student: MobileBert) -> set[str]:
    """Copies the teacher's embeddings and pre-training heads to the student.

    Weights of equal shape are copied. A word embedding of another width, or without the neighbours
    of the trigrams, is factorised into the student's, and tables of another length are copied as
    far as they go. The rest (the pooler of a teacher with classifier_activation, the part of the
    masked LM's output that the teacher has not) stays as it is.

    Returns the paths of the weights that were set.
    """
    outside = (EMBEDDINGS, *CLASSIFIER)
    copied = copy_weights(teacher, student, lambda path: path.startswith(outside))
    theirs = {weight.path: weight.numpy() for weight in teacher.weights}
    ours = {weight.path: weight for weight in student.weights}
    for name in ("position_embeddings", "token_type_embeddings"):
        path = f"{EMBEDDINGS}/{name}"
        if path not in copied:
            rows = min(len(theirs[path]), ours[path].shape[0])
            ours[path].assign(np.concatenate([theirs[path][:rows], ours[path].numpy()[rows:]]))
            copied.add(path)
    if {path for path in (_WORDS, _KERNEL) if path in ours} - copied:
        copied |= _factorise_words(theirs, ours, grams=3 if student.config.trigram_input else 1)
    return copied


def _factorise_words(theirs: dict[str, np.ndarray], ours: dict, grams: int) -> set[str]:
    """Sets the student's word embeddings and their transformation so that their product is nearest
    to the teacher's: its best approximation of rank E, by singular value decomposition."""
    words = theirs[_WORDS].astype(np.float64)  # [V,E of the teacher]
    blocks = _blocks(theirs, grams)  # by the place in the trigram, [E of the teacher, H] each
    hidden = blocks[_SELF].shape[1]
    if _KERNEL not in ours:
        ours[_WORDS].assign(words @ blocks[_SELF])
        return {_WORDS}
    joined = np.concatenate(list(blocks.values()), axis=1)  # [E of the teacher, blocks * H]
    _, vectors = np.linalg.eigh(joined.T @ (words.T @ words) @ joined)
    axes = vectors[:, ::-1][:, : ours[_WORDS].shape[1]]  # [blocks * H, E]: the largest first
    table = words @ joined @ axes  # [V,E]
    # An optimizer moves weights of a usual size best.
    scale = words.std() / max(table.std(), 1e-12)
    kernel = np.zeros((grams, ours[_WORDS].shape[1], hidden))
    for place, part in zip(blocks, np.split(axes.T / scale, len(blocks), axis=1), strict=True):
        kernel[place if grams == 3 else 0] = part
    ours[_WORDS].assign(table * scale)
    ours[_KERNEL].assign(kernel.reshape(-1, hidden))
    ours[_BIAS].assign(theirs.get(_BIAS, np.zeros(hidden)))
    return {_WORDS, _KERNEL, _BIAS}


def _blocks(theirs: dict[str, np.ndarray], grams: int) -> dict[int, np.ndarray]:
    """The teacher's transformation of each neighbour that student and teacher both read."""
    width = theirs[_WORDS].shape[1]
    kernel = theirs.get(_KERNEL, np.eye(width))
    parts = np.split(kernel, len(kernel) // width)  # next, itself, previous; or itself alone
    if len(parts) == 3 and grams == 3:
        return dict(enumerate(parts))
    return {_SELF: parts[len(parts) // 2]}
