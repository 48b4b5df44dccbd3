"""Layer-wise knowledge transfer (paper, section 3.4): which layers, which losses, which weights."""

from collections.abc import Callable, Mapping

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.training import losses
from mobilebert_tf.training.run_config import LayerTransfer


def loss_kinds(transfer: LayerTransfer) -> dict[str, tuple[float, Callable, str]]:
    """{term: (weight, loss function, the model's output that it compares)}."""
    attention = (transfer.attention_map_weight, losses.attention_map_loss, "attention_scores")
    features = {
        "feature_map": (transfer.feature_map_weight, losses.feature_map_loss),
        "feature_mean": (transfer.feature_mean_weight, losses.feature_mean_loss),
        "feature_variance": (transfer.feature_variance_weight, losses.feature_variance_loss),
    }
    if transfer.raw_feature_maps:  # the plain error contains that of the statistics
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
    """{term: (weight, value)}: sums over layers, each scaled by 1 / num_layers; 0 for equal models.

    Args:
        teacher, student: outputs of the models: hidden_states and attention_scores.
        input_mask: int32 [B,T]; padding counts nothing.
        layers: the teacher's layer for each of the student's layers to transfer, from 0.
        num_layers: of the student.
    """
    scale, terms = 1.0 / num_layers, {}
    for name, (weight, function, output) in loss_kinds(transfer).items():
        first = 1 if output == "hidden_states" else 0  # hidden_states[0]: the embeddings
        values = [
            function(teacher[output][theirs + first], student[output][ours + first], input_mask)
            for ours, theirs in layers.items()
        ]
        terms[name] = (weight, scale * sum(values))
    return terms


def layer_map(student: ModelConfig, transfer: LayerTransfer) -> list[int]:
    """The teacher layer, from 0, that each student layer learns from."""
    if transfer.layer_map is None:
        return list(range(student.num_hidden_layers))
    return transfer.layer_map


def check_fit(teacher: ModelConfig, student: ModelConfig, transfer: LayerTransfer) -> None:
    """InputError unless every map of the student has a teacher's map of the same shape."""
    for key in ("vocab_size", "hidden_size", "num_attention_heads"):
        ours, theirs = getattr(student, key), getattr(teacher, key)
        if ours != theirs:
            raise InputError(f"{key} of teacher ({theirs}) and student ({ours}) must be equal")
    if transfer.layer_map is None and teacher.num_hidden_layers != student.num_hidden_layers:
        raise InputError(
            f"the teacher has {teacher.num_hidden_layers} layers, the student "
            f"{student.num_hidden_layers}: give transfer.layer_map, the teacher layer (from 0) "
            "for each student layer"
        )
    layers = layer_map(student, transfer)
    if len(layers) != student.num_hidden_layers or not all(
        0 <= layer < teacher.num_hidden_layers for layer in layers
    ):
        raise InputError(
            f"transfer.layer_map is {layers}: it must name a teacher layer, 0 to "
            f"{teacher.num_hidden_layers - 1}, for each of {student.num_hidden_layers} layers"
        )
    if layers != sorted(layers):
        raise InputError(f"transfer.layer_map is {layers}: it must not go down")
