"""The objectives as pure functions (paper, section 3.4). All return float32 scalars.

Shape letters as in modeling/layers.py. Means are taken over real tokens only: `input_mask` is 1
there, 0 at padding. The teacher's tensor is the first argument.
"""

import math

from keras import ops

VARIANCE_EPSILON = 1e-12


def feature_map_loss(teacher, student, input_mask):
    """Returns the mean square error of feature maps [B,T,H], normalised over H without affine.

    The paper splits the plain error into this one and those of mean and variance (footnote 3).
    """
    difference = _normalize(teacher) - _normalize(student)
    return masked_mean(ops.mean(ops.square(difference), axis=-1), input_mask)


def raw_feature_map_loss(teacher, student, input_mask):
    """Returns the mean square error of feature maps [B,T,H] (paper, equation 4)."""
    difference = _float32(teacher) - _float32(student)
    return masked_mean(ops.mean(ops.square(difference), axis=-1), input_mask)


def feature_mean_loss(teacher, student, input_mask):
    """Returns the square error of the mean over H of feature maps [B,T,H]."""
    difference = ops.mean(_float32(teacher), axis=-1) - ops.mean(_float32(student), axis=-1)
    return masked_mean(ops.square(difference), input_mask)


def feature_variance_loss(teacher, student, input_mask):
    """Returns the absolute error of the variance over H of feature maps [B,T,H]."""
    difference = ops.var(_float32(teacher), axis=-1) - ops.var(_float32(student), axis=-1)
    return masked_mean(ops.abs(difference), input_mask)


def attention_map_loss(teacher, student, input_mask):
    """Returns KL(teacher || student) of the attention distributions (paper, equation 5).

    Both are given as masked scores before softmax, [B,N,T,T]. Mean over heads and real queries.
    If one has more heads than the other, the probabilities of consecutive heads are averaged until
    both have the greatest common divisor of their numbers: 12 and 4 heads are compared as 4.
    """
    heads = math.gcd(teacher.shape[1], student.shape[1])
    log_teacher, log_student = (_log_attention(scores, heads) for scores in (teacher, student))
    divergence = ops.sum(ops.exp(log_teacher) * (log_teacher - log_student), axis=-1)  # [B,N,T]
    return masked_mean(ops.mean(divergence, axis=1), input_mask)


def masked_lm_loss(logits, ids, weights):
    """Returns the cross-entropy of logits [B,P,V] with ids [B,P], mean by weights [B,P]."""
    log_probabilities = ops.log_softmax(_float32(logits), axis=-1)
    at_ids = ops.take_along_axis(log_probabilities, ids[..., None], axis=-1)[..., 0]  # [B,P]
    return -masked_mean(at_ids, weights)


def masked_lm_distillation_loss(teacher, student, weights):
    """Returns the cross-entropy of the student's softmax with the teacher's, mean by weights [B,P].

    Both are given as logits [B,P,V]. For equal logits this is the teacher's entropy, not 0.
    """
    probabilities = ops.softmax(_float32(teacher), axis=-1)
    log_student = ops.log_softmax(_float32(student), axis=-1)
    return -masked_mean(ops.sum(probabilities * log_student, axis=-1), weights)


def next_sentence_loss(logits, labels):
    """Returns the cross-entropy of logits [B,2] with labels [B] (0: is the next sentence)."""
    log_probabilities = ops.log_softmax(_float32(logits), axis=-1)
    return -ops.mean(ops.take_along_axis(log_probabilities, labels[:, None], axis=-1))


def masked_lm_accuracy(logits, ids, weights):
    """Returns the share of logits [B,P,V] whose highest is that of the true id [B,P]."""
    best = ops.cast(ops.argmax(logits, axis=-1), ids.dtype)
    return masked_mean(ops.cast(ops.equal(best, ids), "float32"), weights)


def embedding_loss(teacher, student):
    """Returns 1 - cosine of the embeddings [B,H] of the same texts, mean over texts."""
    return 1.0 - ops.mean(ops.sum(_unit(teacher) * _unit(student), axis=-1))


def similarity_loss(teacher, student):
    """Returns the mean square error of the cosines between all texts of a batch: embeddings [B,H]
    give [B,B]."""
    teacher, student = _unit(teacher), _unit(student)
    difference = ops.matmul(teacher, ops.transpose(teacher)) - ops.matmul(
        student, ops.transpose(student)
    )
    return ops.mean(ops.square(difference))


def masked_mean(values, weights):
    """Returns the mean of `values` at positions of weight 1; 0 if there are none."""
    weights = _float32(weights)
    return ops.sum(values * weights) / ops.maximum(ops.sum(weights), 1.0)


def _normalize(x):
    x = _float32(x)
    mean = ops.mean(x, axis=-1, keepdims=True)
    variance = ops.var(x, axis=-1, keepdims=True)
    return (x - mean) * ops.rsqrt(variance + VARIANCE_EPSILON)


def _unit(x):
    """Returns embeddings [B,H] with length 1."""
    x = _float32(x)
    return x * ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + VARIANCE_EPSILON)


def _log_attention(scores, heads: int):
    """Returns the logarithms of the probabilities [B,heads,T,T] of scores [B,N,T,T]."""
    log_probabilities = ops.log_softmax(_float32(scores), axis=-1)
    averaged = scores.shape[1] // heads
    if averaged == 1:
        return log_probabilities
    tokens = ops.shape(scores)[-1]
    grouped = ops.reshape(log_probabilities, (-1, heads, averaged, tokens, tokens))
    return ops.logsumexp(grouped, axis=2) - math.log(averaged)


def _float32(x):
    return ops.cast(x, "float32")
