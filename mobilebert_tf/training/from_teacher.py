"""Initialises a student with its teacher's embeddings and pre-training heads (paper, section 3.5).

Shape letters: V vocab_size, E embedding_size, H hidden_size, T tokens.
"""

import numpy as np

from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.training.strategies import CLASSIFIER, EMBEDDINGS

_WORDS = f"{EMBEDDINGS}/word_embeddings"
_POSITIONS = f"{EMBEDDINGS}/position_embeddings"
_SEGMENTS = f"{EMBEDDINGS}/token_type_embeddings"
_KERNEL = f"{EMBEDDINGS}/embedding_transformation/kernel"
_BIAS = f"{EMBEDDINGS}/embedding_transformation/bias"
_GAMMA = f"{EMBEDDINGS}/norm/gamma"
_BETA = f"{EMBEDDINGS}/norm/beta"
_SELF = 1  # index of the token itself in a trigram: next, self, previous


def copy_from_teacher(
    teacher: MobileBert, student: MobileBert, counts: np.ndarray | None = None
) -> set[str]:
    """Copies the teacher's embeddings and pre-training heads to the student.

    Weights of equal shape are copied. Word embeddings of another width, or of a teacher without
    trigrams, are factorised into those of the student. Of position and segment embeddings with
    another number of rows, the rows that both models have are copied. A NoNorm gets the embeddings
    of a plain BERT as its layer norm leaves them (see _normalised), unless a masked LM reads the
    same table. A student of another width gets the embeddings along the axes in which they vary
    most (see width_axes). All other weights of the student stay as they are, such as the part of
    the masked LM's output that the teacher lacks.

    Args:
        teacher, student: of equal vocabulary.
        counts: how often each token occurs in the text, above 0, [V]; None if that is unknown.

    Returns the paths of the weights that were set.
    """
    source = {weight.path: weight.numpy() for weight in teacher.weights}
    counts = np.ones(teacher.config.vocab_size) if counts is None else counts
    if _loses_norm(teacher.config, student.config) and not student.head.predicts_masks:
        source = _normalised(source, counts)
    if teacher.config.hidden_size != student.config.hidden_size:
        axes = width_axes(teacher, student.config.hidden_size, counts)
        source = _along_axes(source, axes)
    target = {weight.path: weight for weight in student.weights}
    copied = set()
    for path, weight in target.items():
        equal = path in source and source[path].shape == tuple(weight.shape)
        if equal and path.startswith((EMBEDDINGS, *CLASSIFIER)):
            weight.assign(source[path])
            copied.add(path)
    for path in {_POSITIONS, _SEGMENTS} - copied:
        rows = min(len(source[path]), target[path].shape[0])
        target[path].assign(np.concatenate([source[path][:rows], target[path].numpy()[rows:]]))
        copied.add(path)
    if {path for path in (_WORDS, _KERNEL) if path in target} - copied:
        grams = 3 if student.config.trigram_input else 1
        copied |= _factorise_words(source, target, grams, counts)
    return copied


def _loses_norm(teacher: ModelConfig, student: ModelConfig) -> bool:
    norms = (teacher.normalization_type, student.normalization_type)
    return norms == ("layer_norm", "no_norm") and not teacher.trigram_input


def _normalised(source: dict[str, np.ndarray], counts: np.ndarray) -> dict[str, np.ndarray]:
    """Returns a plain BERT's weights for a student whose embeddings have no layer norm.

    The norm of a token's embedding mostly depends on its word. So each word is centred and divided
    by the deviation that it has with an average position, positions and segments by the average
    deviation. That keeps 97.5 % of the variance of all-MiniLM-L6-v2's embedding output; without it
    the student's would have a fourteenth of the scale.

    Args:
        source: weights of the teacher by path.
        counts: as in copy_from_teacher.
    """
    gamma = source[_GAMMA].astype(np.float64)
    words = source[_WORDS].astype(np.float64) @ _transformations(source, 1)[_SELF]  # [V,H]
    segments = source[_SEGMENTS] + source.get(_BIAS, 0.0)
    words, positions, segments = map(_centred, (words, source[_POSITIONS], segments))
    variance = np.square(words + segments[0]).mean(axis=1) + np.square(positions).mean()  # [V]
    average = np.average(variance**-0.5, weights=counts)
    return {path: value for path, value in source.items() if path not in (_KERNEL, _BIAS)} | {
        _WORDS: gamma * words * variance[:, None] ** -0.5,
        _POSITIONS: gamma * positions * average,
        _SEGMENTS: gamma * segments * average,
        _GAMMA: np.ones_like(gamma),
    }


def width_axes(teacher: MobileBert, width: int, counts: np.ndarray) -> np.ndarray:
    """Returns orthogonal axes of the teacher's feature maps for a student of another width.

    They are those in which its words vary most, each word as often as the text has it; a wider
    student's axes beyond the teacher's are zero.

    Args:
        teacher: a model of width H.
        width: of the student.
        counts: how often each token occurs in the text, above 0, [V].

    Returns float64 [H, width].
    """
    source = {weight.path: weight.numpy() for weight in teacher.weights}
    words = source[_WORDS].astype(np.float64) @ _transformations(source, 1)[_SELF]  # [V,H]
    words *= source[_GAMMA]
    centred = words - np.average(words, axis=0, weights=counts)
    _, vectors = np.linalg.eigh((centred * counts[:, None]).T @ centred)
    axes = np.zeros((len(vectors), width))
    kept = min(axes.shape)
    axes[:, :kept] = vectors[:, ::-1][:, :kept]
    return axes


def _along_axes(source: dict[str, np.ndarray], axes: np.ndarray) -> dict[str, np.ndarray]:
    """Returns a teacher's weights by path with embeddings [...,H] along axes [H,H of the student].

    The norm's gamma, which belongs to the teacher's own axes, goes into what it multiplies.
    """
    gamma, width = source[_GAMMA], axes.shape[1]
    kernel = source.get(_KERNEL, np.eye(source[_WORDS].shape[1]))
    changed = {path: source[path] * gamma @ axes for path in (_POSITIONS, _SEGMENTS)}
    changed[_KERNEL] = kernel * gamma @ axes
    changed[_BIAS] = source.get(_BIAS, np.zeros_like(gamma)) * gamma @ axes
    return source | changed | {_GAMMA: np.ones(width), _BETA: source[_BETA] @ axes}


def _centred(rows: np.ndarray) -> np.ndarray:
    return rows - rows.mean(axis=1, keepdims=True)


def _factorise_words(
    source: dict[str, np.ndarray], target: dict, grams: int, counts: np.ndarray
) -> set[str]:
    """Sets the student's word embeddings and their transformation, and returns their paths.

    Their product is the best approximation of rank E of the teacher's for the words of the text,
    found by singular value decomposition.

    Args:
        source: weights of the teacher by path.
        target: variables of the student by path.
        grams: tokens that the student's transformation reads, 1 or 3.
        counts: as in copy_from_teacher.
    """
    words = source[_WORDS].astype(np.float64)  # [V,E of the teacher]
    blocks = _transformations(source, grams)  # [E of the teacher, H] each
    hidden = blocks[_SELF].shape[1]
    if _KERNEL not in target:
        target[_WORDS].assign(words @ blocks[_SELF])
        return {_WORDS}
    joined = np.concatenate(list(blocks.values()), axis=1)  # [E of the teacher, blocks * H]
    seen = (words * counts[:, None]).T @ words / counts.sum()
    _, vectors = np.linalg.eigh(joined.T @ seen @ joined)
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
