"""Between models of unequal width: a linear map that is learnt with the student, then dropped.

TinyBERT (Jiao et al., 2020, section 3) has such a map too, one for all layers: W_h of equation 8.
Shape letters: V vocab_size, H hidden_size.
"""

import keras
import numpy as np

from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.training.from_teacher import width_axes


def make_projection(
    teacher: MobileBert, student: MobileBert, counts: np.ndarray
) -> keras.layers.Dense | None:
    """Returns the layer from the student's feature maps [B,T,H] to the teacher's width; None if
    both have the same.

    It starts as the inverse of what `copy_from_teacher` does to the embeddings.

    Args:
        teacher, student: the models.
        counts: how often each token occurs in the text, above 0, [V].
    """
    width, narrow = teacher.config.hidden_size, student.config.hidden_size
    if width == narrow:
        return None
    projection = keras.layers.Dense(width, use_bias=False, name="projection")
    projection.build((None, narrow))
    projection.kernel.assign(width_axes(teacher, narrow, counts).T)
    return projection


def project(outputs: dict, projection: keras.layers.Dense | None) -> dict:
    """Returns a model's outputs with hidden_states and embedding, if there is one, projected."""
    if projection is None:
        return outputs
    projected = {"hidden_states": [projection(x) for x in outputs["hidden_states"]]}
    if "embedding" in outputs:
        projected["embedding"] = projection(outputs["embedding"])
    return outputs | projected
