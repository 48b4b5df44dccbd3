"""Weights of Google's TF 1.15 release: `mobilebert_variables.ckpt` beside a bert_config.json."""

from pathlib import Path

import tensorflow as tf

from mobilebert_tf.checkpoints.table import Entry, assign, dense
from mobilebert_tf.config import ModelConfig, load_model_config
from mobilebert_tf.errors import InputError
from mobilebert_tf.model import MobileBert, build_model

# What a training checkpoint holds beside the model: optimizer slots, the step, a frozen teacher.
IGNORED_SUFFIXES = ("/adam_m", "/adam_v")
IGNORED_PREFIXES = ("teacher/", "global_step")


def load_google_checkpoint(directory: str | Path) -> MobileBert:
    """The pre-training model of a folder with Google's files; raises InputError if it is not one.

    A checkpoint without the masked LM and next sentence heads gives the bare encoder.
    """
    directory = Path(directory)
    indexes = sorted(directory.glob("*.ckpt*.index"))
    if not indexes:
        raise InputError(f"{directory} has no TensorFlow checkpoint (*.ckpt*.index)")
    if len(indexes) > 1:
        names = ", ".join(index.name for index in indexes)
        raise InputError(f"{directory} has more than one checkpoint, which is meant? {names}")
    prefix = str(indexes[0]).removesuffix(".index")
    config = load_model_config(directory / "bert_config.json")
    try:
        return _load(prefix, config)
    except (tf.errors.OpError, ValueError, IndexError) as error:
        raise InputError(f"{prefix} is damaged or no checkpoint: {error}") from None


def _load(prefix: str, config: ModelConfig) -> MobileBert:
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    has_heads = any(name.startswith("cls/predictions") for name in shapes)
    model = build_model(config, "pretraining" if has_heads else None)
    table = name_table(config)
    if not has_heads:
        table = [entry for entry in table if not entry.theirs.startswith("cls/")]
    assign(model, table, shapes, reader.get_tensor, _is_ignored, prefix)
    return model


def _is_ignored(name: str) -> bool:
    return name.startswith(IGNORED_PREFIXES) or name.endswith(IGNORED_SUFFIXES)


def name_table(config: ModelConfig) -> list[Entry]:
    """Every weight of a pre-training model with its name in Google's checkpoints."""
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
    table += dense("masked_lm/transform", "cls/predictions/transform/dense")
    for name in ("gamma", "beta"):  # a true layer norm in every variant
        table.append(Entry(f"masked_lm/norm/{name}", f"cls/predictions/transform/LayerNorm/{name}"))
    table.append(Entry("masked_lm/output_bias", "cls/predictions/output_bias"))
    if config.hidden_size > config.embedding_size:
        name = "extra_output_weights"
        table.append(Entry(f"masked_lm/{name}", f"cls/predictions/{name}"))
    table.append(Entry("next_sentence/kernel", "cls/seq_relationship/output_weights", True))
    table.append(Entry("next_sentence/bias", "cls/seq_relationship/output_bias"))
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
    """The last network of a block has BERT's own scope, the others before it their number."""
    return [f"ffn_layer_{i}/" for i in range(config.num_feedforward_networks - 1)] + [""]


def _feed_forward_outputs(config: ModelConfig) -> list[tuple[str, str]]:
    scopes = _feed_forward_scopes(config)
    return [(f"feed_forward_{i}/output", f"{scope}output") for i, scope in enumerate(scopes)]
