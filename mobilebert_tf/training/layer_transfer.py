"""Layer-wise knowledge transfer (paper, section 3.4): its layers, losses and weights."""

from collections.abc import Callable, Mapping

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.training import losses
from mobilebert_tf.training.run_config import LayerTransfer


def loss_kinds(transfer: LayerTransfer) -> dict[str, tuple[float, Callable, str]]:
    """Returns {term: (weight, loss function, name of the model outputs that it compares)}."""
    attention = (transfer.attention_map_weight, losses.attention_map_loss, "attention_scores")
    features = {
        "feature_map": (transfer.feature_map_weight, losses.feature_map_loss),
        "feature_mean": (transfer.feature_mean_weight, losses.feature_mean_loss),
        "feature_variance": (transfer.feature_variance_weight, losses.feature_variance_loss),
    }
    if transfer.raw_feature_maps:  # this error includes that of mean and variance
        features = {"feature_map": (transfer.feature_map_weight, losses.raw_feature_map_loss)}
    features = {name: (*kind, "hidden_states") for name, kind in features.items()}
    return features | {"attention_map": attention}


def transfer_terms(
    teacher: dict,
    student: dict,
    input_mask,
    transfer: LayerTransfer,
    layers: Mapping[int, int],
    num_layers: int,
) -> dict[str, tuple]:
    """Returns {term: (weight, value)}; a value is the loss of all layers divided by num_layers.

    All values are 0 for equal models.

    Args:
        teacher, student: outputs of the models with hidden_states and attention_scores.
        input_mask: int32 [B,T]; padding is not counted.
        transfer: the weights.
        layers: {student layer: teacher layer} to transfer, from 0.
        num_layers: number of layers of the student.
    """
    scale, terms = 1.0 / num_layers, {}
    for name, (weight, loss, output) in loss_kinds(transfer).items():
        first = 1 if output == "hidden_states" else 0  # hidden_states[0] are the embeddings
        values = [
            loss(teacher[output][teacher_layer + first], student[output][layer + first], input_mask)
            for layer, teacher_layer in layers.items()
        ]
        terms[name] = (weight, scale * sum(values))
    return terms


def layer_map(student: ModelConfig, transfer: LayerTransfer) -> list[int]:
    """Returns the teacher layer, from 0, that each student layer learns from."""
    if transfer.layer_map is None:
        return list(range(student.num_hidden_layers))
    return transfer.layer_map


def check_fit(
    teacher: ModelConfig, student: ModelConfig, transfer: LayerTransfer, projected: bool = False
) -> None:
    """Raises InputError unless each student layer has a teacher layer with maps of equal width.

    The numbers of heads may differ: see losses.attention_map_loss.

    Args:
        teacher, student: sizes of the models.
        transfer: names the layers.
        projected: whether the student's maps are projected to the teacher's width, so that their
            own may differ.
    """
    for key in ("vocab_size",) if projected else ("vocab_size", "hidden_size"):
        teacher_size, student_size = getattr(teacher, key), getattr(student, key)
        if teacher_size != student_size:
            raise InputError(
                f"{key} of teacher ({teacher_size}) and student ({student_size}) must be equal"
            )
    if transfer.layer_map is None and teacher.num_hidden_layers != student.num_hidden_layers:
        raise InputError(
            f"the teacher has {teacher.num_hidden_layers} layers, the student "
            f"{student.num_hidden_layers}: give `transfer.layer_map`, the teacher layer (from 0) "
            "for each student layer"
        )
    layers = layer_map(student, transfer)
    if len(layers) != student.num_hidden_layers or not all(
        0 <= layer < teacher.num_hidden_layers for layer in layers
    ):
        raise InputError(
            f"`transfer.layer_map` is {layers}: it must name a teacher layer, 0 to "
            f"{teacher.num_hidden_layers - 1}, for each of {student.num_hidden_layers} layers"
        )
    if layers != sorted(layers):
        raise InputError(f"`transfer.layer_map` is {layers}: it must not go down")
