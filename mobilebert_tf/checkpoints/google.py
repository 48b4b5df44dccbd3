"""Checkpoints of Google's TF 1.15 release: `mobilebert_variables.ckpt` and bert_config.json."""

from pathlib import Path

import tensorflow as tf

from mobilebert_tf.checkpoints.name_table import Checkpoint, Entry, Ignored, dense, foreign_tensors
from mobilebert_tf.checkpoints.tensorflow_file import TensorFlowFile, writing
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_bytes
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.heads import HEADS, Head
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.model_directory import check_depth

PREFIX = "mobilebert_variables.ckpt"
LABELS_FILE = "labels.txt"  # an addition of ours: Google's code has no file of labels
_LARGEST_LABELS = 2**24  # bytes
IGNORED = (
    Ignored("teacher/*", "the frozen teacher of distillation"),
    Ignored("*/adam_[mv]", "optimizer slots"),
    Ignored("global_step", "the step of training"),
)


def open_checkpoint(path: Path, config: ModelConfig | None = None) -> Checkpoint:
    """Opens a checkpoint of Google's.

    Args:
        path: a folder with its files, or the prefix of a checkpoint.
        config: in place of the bert_config.json beside it.

    Raises InputError if there is no checkpoint, or it is damaged.
    """
    file = TensorFlowFile(path, config)
    check_depth(file.config, len(file.shapes), file.prefix)
    head = _read_head(file.shapes, file.folder / LABELS_FILE)
    return Checkpoint(
        source=file.prefix,
        config=file.config,
        head=head,
        table=name_table(file.config, head),
        shapes=file.shapes,
        read=file.read,
        ignored=IGNORED,
    )


def _read_head(shapes: dict[str, tuple[int, ...]], labels_path: Path) -> Head:
    """Returns the head that a checkpoint's tensors belong to.

    Labels are numbers unless labels.txt names them.
    """
    masked_lm, next_sentence, span, classifier = (
        any(name.startswith(scope) for name in shapes)
        for scope in ("cls/predictions/", "cls/seq_relationship/", "cls/squad/", "output_")
    )
    if masked_lm:
        return Head(kind="pretraining" if next_sentence else "masked_lm")
    if next_sentence:
        return Head(kind="next_sentence")
    if span:
        return Head(kind="span")
    if not classifier:
        return Head()
    classes = shapes.get("output_bias", (1,))[0]
    if classes == 1:
        return Head(kind="regression")
    if not labels_path.is_file():
        return Head(kind="classifier", labels=tuple(map(str, range(classes))))
    try:
        text = read_bytes(labels_path, _LARGEST_LABELS).decode()
        labels = tuple(text.removesuffix("\n").split("\n"))
    except UnicodeDecodeError as error:
        raise InputError(f"{labels_path} is not UTF-8 text ({error.reason})") from None
    if len(labels) != classes:
        raise InputError(f"{labels_path} has {len(labels)} lines, the classifier {classes} classes")
    return Head(kind="classifier", labels=labels)


def save_checkpoint(model: MobileBert, directory: Path) -> None:
    """Writes Google's files into an existing folder: checkpoint, bert_config.json, labels.txt.

    Raises InputError for a head that Google's code does not have.
    """
    table = dict(foreign_tensors(model, name_table(model.config, model.head)))
    with writing(directory):
        tf.raw_ops.SaveV2(
            prefix=str(directory / PREFIX),
            tensor_names=list(table),
            shape_and_slices=[""] * len(table),
            tensors=list(table.values()),
        )
    (directory / "bert_config.json").write_text(model.config.to_json())
    if model.head.labels:
        labels = "".join(f"{label}\n" for label in model.head.labels)
        (directory / LABELS_FILE).write_text(labels, encoding="utf-8")


def name_table(config: ModelConfig, head: Head) -> list[Entry]:
    """Returns an entry for every weight of a model, with its name in Google's checkpoints."""
    return _encoder(config) + _heads(config, head)


def _encoder(config: ModelConfig) -> list[Entry]:
    table = [
        Entry(f"embeddings/{name}", f"bert/embeddings/{name}")
        for name in ("word_embeddings", "position_embeddings", "token_type_embeddings")
    ]
    if config.trigram_input or config.embedding_size != config.hidden_size:
        name = "embedding_transformation"
        table += dense(f"embeddings/{name}", f"bert/embeddings/{name}")
    table += _norm(config, "embeddings/norm", "bert/embeddings")
    for index in range(config.num_hidden_layers):
        table += _block(config, f"block_{index}", f"bert/encoder/layer_{index}")
    if config.classifier_activation:
        table += dense("pooler/dense", "bert/pooler/dense")
    return table


def _heads(config: ModelConfig, head: Head) -> list[Entry]:
    table = _masked_lm(config) if head.predicts_masks else []
    ours, theirs = head.output_layer, HEADS[head.kind].google_scope
    if ours is None:
        return table
    if theirs is None:
        raise InputError(
            f"Google's code has no {head.kind} head: convert the encoder alone (`head` encoder)"
        )
    # run_pretraining.py, run_squad.py, run_classifier.py
    table.append(Entry(f"{ours}/kernel", f"{theirs}output_weights", transposed=True))
    table.append(Entry(f"{ours}/bias", f"{theirs}output_bias"))
    return table


def _masked_lm(config: ModelConfig) -> list[Entry]:
    table = dense("masked_lm/transform", "cls/predictions/transform/dense")
    for name in ("gamma", "beta"):  # a true layer norm in every variant
        table.append(Entry(f"masked_lm/norm/{name}", f"cls/predictions/transform/LayerNorm/{name}"))
    table.append(Entry("masked_lm/output_bias", "cls/predictions/output_bias"))
    if config.hidden_size > config.embedding_size:
        name = "extra_output_weights"
        table.append(Entry(f"masked_lm/{name}", f"cls/predictions/{name}"))
    return table


def _norm(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    scope = "FakeLayerNorm" if config.normalization_type == "no_norm" else "LayerNorm"
    return [Entry(f"{ours}/{name}", f"{theirs}/{scope}/{name}") for name in ("gamma", "beta")]


def _block(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    # (our scope, Google's scope) of every dense layer that a norm follows
    normed = [("attention/output", "attention/output"), *_feed_forward_outputs(config)]
    if config.use_bottleneck:
        normed.append(("input_bottleneck", "bottleneck/input"))
        normed.append(("output_bottleneck", "output/bottleneck"))
    if config.use_bottleneck and config.key_query_shared_bottleneck:
        normed.append(("shared_bottleneck", "bottleneck/attention"))
    table = []
    for inner, outer in normed:
        table += dense(f"{ours}/{inner}/dense", f"{theirs}/{outer}/dense")
        table += _norm(config, f"{ours}/{inner}/norm", f"{theirs}/{outer}")
    for name in ("query", "key", "value"):
        table += dense(f"{ours}/attention/{name}", f"{theirs}/attention/self/{name}")
    for index, scope in enumerate(_feed_forward_scopes(config)):
        name = f"feed_forward_{index}/intermediate"
        table += dense(f"{ours}/{name}", f"{theirs}/{scope}intermediate/dense")
    return table


def _feed_forward_scopes(config: ModelConfig) -> list[str]:
    """Returns the scopes of a block's networks: the last one has BERT's, those before a number."""
    return [f"ffn_layer_{i}/" for i in range(config.num_feedforward_networks - 1)] + [""]


def _feed_forward_outputs(config: ModelConfig) -> list[tuple[str, str]]:
    """Returns (our scope, Google's scope) of the networks' output layers."""
    scopes = _feed_forward_scopes(config)
    return [(f"feed_forward_{i}/output", f"{scope}output") for i, scope in enumerate(scopes)]
