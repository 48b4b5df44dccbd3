"""The objectives, as pure functions (paper, section 3.4). All are float32 scalars.

Shape letters as in layers.py. Means run over real tokens only: `input_mask` is 1 there, 0 at
padding. Teacher arguments come first and are constants to the caller.
"""

from keras import ops

VARIANCE_EPSILON = 1e-12


def feature_map_loss(teacher, student, input_mask):
    """Mean square error of the feature maps [B,T,H] normalised over H without affine.

    The paper splits the plain error into this and the errors of the statistics (footnote 3).
    """
    difference = _normalize(teacher) - _normalize(student)
    return masked_mean(ops.mean(ops.square(difference), axis=-1), input_mask)


def raw_feature_map_loss(teacher, student, input_mask):
    """The paper's equation 4: mean square error of the feature maps [B,T,H] as they are."""
    difference = _float32(teacher) - _float32(student)
    return masked_mean(ops.mean(ops.square(difference), axis=-1), input_mask)


def feature_mean_loss(teacher, student, input_mask):
    """Square error of the mean over H of the feature maps [B,T,H]."""
    difference = ops.mean(_float32(teacher), axis=-1) - ops.mean(_float32(student), axis=-1)
    return masked_mean(ops.square(difference), input_mask)


def feature_variance_loss(teacher, student, input_mask):
    """Absolute error of the variance over H of the feature maps [B,T,H]."""
    difference = ops.var(_float32(teacher), axis=-1) - ops.var(_float32(student), axis=-1)
    return masked_mean(ops.abs(difference), input_mask)


def attention_map_loss(teacher, student, input_mask):
    """KL(teacher || student) of the attention distributions (paper, equation 5).

    From masked scores before softmax, [B,N,T,T]; mean over heads and real queries.
    """
    log_teacher = ops.log_softmax(_float32(teacher), axis=-1)
    log_student = ops.log_softmax(_float32(student), axis=-1)
    divergence = ops.sum(ops.exp(log_teacher) * (log_teacher - log_student), axis=-1)  # [B,N,T]
    return masked_mean(ops.mean(divergence, axis=1), input_mask)


def masked_lm_loss(logits, ids, weights):
    """Cross-entropy of logits [B,P,V] with token ids [B,P], mean over weights [B,P]."""
    log_probabilities = ops.log_softmax(_float32(logits), axis=-1)
    at_ids = ops.take_along_axis(log_probabilities, ids[..., None], axis=-1)[..., 0]  # [B,P]
    return -masked_mean(at_ids, weights)


def masked_lm_distillation_loss(teacher, student, weights):
    """Cross-entropy of student logits [B,P,V] with the teacher's softmax, mean over weights.

    At teacher == student this is the teacher's entropy.
    """
    probabilities = ops.softmax(_float32(teacher), axis=-1)
    log_student = ops.log_softmax(_float32(student), axis=-1)
    return -masked_mean(ops.sum(probabilities * log_student, axis=-1), weights)


def next_sentence_loss(logits, labels):
    """Cross-entropy of logits [B,2] with labels [B], 0: the segment does follow."""
    log_probabilities = ops.log_softmax(_float32(logits), axis=-1)
    return -ops.mean(ops.take_along_axis(log_probabilities, labels[:, None], axis=-1))


def masked_lm_accuracy(logits, ids, weights):
    """Share of predictions [B,P,V] whose best token is the true one [B,P]."""
    best = ops.cast(ops.argmax(logits, axis=-1), ids.dtype)
    return masked_mean(ops.cast(ops.equal(best, ids), "float32"), weights)


def masked_mean(values, weights):
    """Mean of `values` over positions with weight 1; 0 if there are none."""
    weights = _float32(weights)
    return ops.sum(values * weights) / ops.maximum(ops.sum(weights), 1.0)


def _normalize(x):
    x = _float32(x)
    mean = ops.mean(x, axis=-1, keepdims=True)
    variance = ops.var(x, axis=-1, keepdims=True)
    return (x - mean) * ops.rsqrt(variance + VARIANCE_EPSILON)


def _float32(x):
    return ops.cast(x, "float32")
