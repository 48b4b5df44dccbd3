"""Initialises a student with its teacher's embeddings and pre-training heads (paper, section 3.5).

Shape letters: V vocab_size, E embedding_size, H hidden_size.
"""

import numpy as np

from mobilebert_tf.modeling.model import MobileBert, copy_weights
from mobilebert_tf.training.strategies import CLASSIFIER, EMBEDDINGS

_WORDS = f"{EMBEDDINGS}/word_embeddings"
_KERNEL = f"{EMBEDDINGS}/embedding_transformation/kernel"
_BIAS = f"{EMBEDDINGS}/embedding_transformation/bias"
_SELF = 1  # index of the token itself in a trigram: next, self, previous


def copy_from_teacher(teacher: MobileBert, student: MobileBert) -> set[str]:
    """Copies the teacher's embeddings and pre-training heads to the student.

    Weights of equal shape are copied. Word embeddings of another width, or of a teacher without
    trigrams, are factorised into those of the student. Of position and segment embeddings with
    another number of rows, the rows that both models have are copied. All other weights of the
    student stay as they are, such as the part of the masked LM's output that the teacher lacks.

    Returns the paths of the weights that were set.
    """
    outside = (EMBEDDINGS, *CLASSIFIER)
    copied = copy_weights(teacher, student, lambda path: path.startswith(outside))
    source = {weight.path: weight.numpy() for weight in teacher.weights}
    target = {weight.path: weight for weight in student.weights}
    for name in ("position_embeddings", "token_type_embeddings"):
        path = f"{EMBEDDINGS}/{name}"
        if path not in copied:
            rows = min(len(source[path]), target[path].shape[0])
            table = np.concatenate([source[path][:rows], target[path].numpy()[rows:]])
            target[path].assign(table)
            copied.add(path)
    if {path for path in (_WORDS, _KERNEL) if path in target} - copied:
        copied |= _factorise_words(source, target, grams=3 if student.config.trigram_input else 1)
    return copied


def _factorise_words(source: dict[str, np.ndarray], target: dict, grams: int) -> set[str]:
    """Sets the student's word embeddings and their transformation, and returns their paths.

    Their product is the best approximation of rank E of the teacher's, found by singular value
    decomposition.

    Args:
        source: weights of the teacher by path.
        target: variables of the student by path.
        grams: tokens that the student's transformation reads, 1 or 3.
    """
    words = source[_WORDS].astype(np.float64)  # [V,E of the teacher]
    blocks = _transformations(source, grams)  # [E of the teacher, H] each
    hidden = blocks[_SELF].shape[1]
    if _KERNEL not in target:
        target[_WORDS].assign(words @ blocks[_SELF])
        return {_WORDS}
    joined = np.concatenate(list(blocks.values()), axis=1)  # [E of the teacher, blocks * H]
    _, vectors = np.linalg.eigh(joined.T @ (words.T @ words) @ joined)
    size = target[_WORDS].shape[1]
    axes = vectors[:, ::-1][:, :size]  # [blocks * H, E]: those of the largest singular values
    table = words @ joined @ axes  # [V,E]
    scale = words.std() / max(table.std(), 1e-12)  # optimizers expect embeddings of usual size
    kernel = np.zeros((grams, size, hidden))
    for index, part in zip(blocks, np.split(axes.T / scale, len(blocks), axis=1), strict=True):
        kernel[index if grams == 3 else 0] = part
    target[_WORDS].assign(table * scale)
    target[_KERNEL].assign(kernel.reshape(-1, hidden))
    target[_BIAS].assign(source.get(_BIAS, np.zeros(hidden)))
    return {_WORDS, _KERNEL, _BIAS}


def _transformations(source: dict[str, np.ndarray], grams: int) -> dict[int, np.ndarray]:
    """Returns the teacher's transformation of each token of a trigram that both models read, by its
    index in the trigram."""
    width = source[_WORDS].shape[1]
    kernel = source.get(_KERNEL, np.eye(width))
    parts = np.split(kernel, len(kernel) // width)  # of next, self, previous; or of self alone
    if len(parts) == 3 and grams == 3:
        return dict(enumerate(parts))
    return {_SELF: parts[len(parts) // 2]}
