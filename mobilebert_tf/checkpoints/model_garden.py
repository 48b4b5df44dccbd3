"""Model Garden's TF2 checkpoints (tf-models-official) of MobileBERTEncoder and MobileBertMaskedLM.

In this table the name of a tensor is its path through the checkpoint's objects, as
`encoder/layer_with_weights-0/...`. The file's own key of a tensor depends on the objects that were
saved with it.
"""

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from mobilebert_tf.checkpoints.name_table import Checkpoint, Entry, Ignored, dense
from mobilebert_tf.checkpoints.tensorflow_file import OBJECT_GRAPH, TensorFlowFile, reading, writing
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.model_directory import check_depth

PREFIX = "mobilebert.ckpt"
# Paths of encoder and masked LM in checkpoints of Model Garden's converter, and of its trainer.
ROOTS = (
    {"encoder": "encoder", "masked_lm": "masked_lm"},
    {"encoder": "model/encoder_network", "masked_lm": "model/masked_lm"},
)
IGNORED = (
    Ignored("save_counter/*", "the number of saves"),
    Ignored("global_step/*", "the step of training"),
    Ignored("optimizer/*", "optimizer state"),
    Ignored("*/.OPTIMIZER_SLOT/*", "optimizer slots"),
    Ignored("next_sentence*", "a next sentence head with a hidden layer, unlike ours"),
    Ignored("model/classification_heads/*", "heads with a hidden layer, unlike ours"),
)
ATTENTION_LAYERS = ("query", "key", "value")


def open_checkpoint(path: Path, config: ModelConfig | None = None) -> Checkpoint:
    """Opens a TF2 checkpoint.

    Args:
        path: a folder with one checkpoint, or the prefix of a checkpoint.
        config: in place of the bert_config.json beside it.

    Raises InputError if there is no checkpoint, or it is damaged or of another kind of model.
    """
    file = TensorFlowFile(path, config)
    _check_config(file.config)
    check_depth(file.config, len(file.shapes), file.prefix)
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    with reading(file.prefix):
        graph.ParseFromString(file.read(OBJECT_GRAPH))
        roots = _find_roots(graph, file.prefix)
        has_masked_lm = _descend(graph, roots["masked_lm"]) is not None
        head = Head(kind="masked_lm" if has_masked_lm else "encoder")
        table = name_table(file.config, head)
        keys = _keys(graph, table, roots)
    names = {key: name for name, key in keys.items()}
    shapes = {names.get(key, key): s for key, s in file.shapes.items() if key != OBJECT_GRAPH}

    def read(name):
        return file.read(keys[name])

    return Checkpoint(
        source=file.prefix,
        config=file.config,
        head=head,
        table=table,
        shapes=shapes,
        read=read,
        ignored=IGNORED,
    )


def save_checkpoint(model: MobileBert, directory: Path) -> None:
    """Writes a TF2 checkpoint and bert_config.json into an existing folder.

    A next sentence head is left out. Raises InputError for a head that is no masked LM: those of
    Model Garden have a hidden layer.
    """
    _check_config(model.config)
    root = tf.train.Checkpoint()
    weights = {weight.path: weight.value for weight in model.weights}
    for entry in name_table(model.config, model.head):
        variable = weights[entry.ours]  # not a copy, which would need the memory twice
        if entry.shape is not None:
            variable = tf.Variable(entry.to_theirs(variable.value()))
        _track(root, entry.theirs, variable)
    if model.head.predicts_masks:  # a second path to the same variable
        embeddings = getattr(root.encoder, "layer_with_weights-0")
        root.masked_lm.embedding_table = embeddings.word_embedding.embeddings
    with writing(directory):
        root.save(str(directory / PREFIX))
    (directory / "bert_config.json").write_text(model.config.to_json())


def _check_config(config: ModelConfig) -> None:
    if not (config.use_bottleneck and config.trigram_input):
        raise InputError(
            "Model Garden's MobileBERTEncoder always has bottlenecks and trigram embeddings"
        )
    if config.hidden_act == "gelu_erf":
        raise InputError("Model Garden's gelu is the tanh approximation, not hidden_act gelu_erf")


def _track(root: tf.Module, name: str, variable: tf.Variable) -> None:
    """Adds a variable to a checkpoint at a path of objects, which are made where needed."""
    *path, last = name.split("/")
    node = root
    for part in path:
        if not hasattr(node, part):
            setattr(node, part, tf.train.Checkpoint())
        node = getattr(node, part)
    setattr(node, last.replace(".S", "/"), variable)


def _descend(graph, path: str) -> int | None:
    """Returns the node at a path of child names from the root; None if there is none."""
    node = 0
    for part in path.split("/"):
        children = {child.local_name: child.node_id for child in graph.nodes[node].children}
        node = children.get(part.replace(".S", "/"))
        if node is None:
            return None
    return node


def _find_roots(graph, prefix: str) -> Mapping[str, str]:
    for roots in ROOTS:
        if _descend(graph, f"{roots['encoder']}/layer_with_weights-0") is not None:
            return roots
    raise InputError(f"{prefix} holds no MobileBERTEncoder of Model Garden's as encoder or model")


def _keys(graph, table: list[Entry], roots: Mapping[str, str]) -> dict[str, str]:
    """Returns {name: key in the file} of each name of the table that the file has."""
    keys = {}
    for entry in table:
        root, _, rest = entry.theirs.partition("/")
        node = _descend(graph, f"{roots[root]}/{rest}")
        attributes = graph.nodes[node].attributes if node is not None else ()
        if attributes:
            keys[entry.theirs] = attributes[0].checkpoint_key
    return keys


def name_table(config: ModelConfig, head: Head) -> list[Entry]:
    """Returns an entry for every weight of a model, except those of a next sentence head.

    Raises InputError for a head that is no masked LM.
    """
    if head.kind not in ("encoder", "masked_lm", "pretraining"):
        raise InputError(
            f"Model Garden's {head.kind} head has a hidden layer, ours has none: convert the "
            "encoder alone (`head` encoder)"
        )
    embeddings = "encoder/layer_with_weights-0"
    names = {
        "word_embeddings": "word_embedding",
        "position_embeddings": "pos_embedding",
        "token_type_embeddings": "type_embedding",
    }
    table = [
        Entry(f"embeddings/{ours}", f"{embeddings}/{theirs}/embeddings")
        for ours, theirs in names.items()
    ]
    table += dense("embeddings/embedding_transformation", f"{embeddings}/word_embedding_proj")
    table += _norm("embeddings/norm", f"{embeddings}/layer_norm")
    for index in range(config.num_hidden_layers):
        table += _block(config, f"block_{index}", f"encoder/layer_with_weights-{index + 1}")
    if config.classifier_activation:
        table += dense("pooler/dense", f"encoder/layer_with_weights-{config.num_hidden_layers + 1}")
    if head.predicts_masks:
        table += _masked_lm(config)
    return table


def _block(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    layers = f"{theirs}/block_layers"
    # (our scope, Model Garden's list of layers, index of the dense layer in it, index of the norm)
    normed = [("input_bottleneck", "bottleneck_input", 0, 1)]
    normed.append(("output_bottleneck", "bottleneck_output", 0, 2))  # layer 1 is a dropout
    if config.key_query_shared_bottleneck:
        normed.append(("shared_bottleneck", "kq_shared_bottleneck", 0, 1))
    for index in range(config.num_feedforward_networks):
        normed.append((f"feed_forward_{index}/output", f"ffn/{index}", 1, 2))
    table = _attention(config, f"{ours}/attention", f"{layers}/attention")
    for inner, outer, dense_index, norm_index in normed:
        table += dense(f"{ours}/{inner}/dense", f"{layers}/{outer}/{dense_index}")
        table += _norm(f"{ours}/{inner}/norm", f"{layers}/{outer}/{norm_index}")
    for index in range(config.num_feedforward_networks):
        table += dense(f"{ours}/feed_forward_{index}/intermediate", f"{layers}/ffn/{index}/0")
    return table


def _attention(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    """Returns the entries of Keras's multi-head attention, whose weights have a heads dimension."""
    heads, size = config.num_attention_heads, config.head_size
    table = _norm(f"{ours}/output/norm", f"{theirs}/1")
    for name in ATTENTION_LAYERS:
        layer = f"{theirs}/0/_{name}_dense"
        table.append(Entry(f"{ours}/{name}/kernel", f"{layer}/kernel", shape=(-1, heads, size)))
        table.append(Entry(f"{ours}/{name}/bias", f"{layer}/bias", shape=(heads, size)))
    layer = f"{theirs}/0/_output_dense"
    table.append(Entry(f"{ours}/output/dense/kernel", f"{layer}/kernel", shape=(heads, size, -1)))
    table.append(Entry(f"{ours}/output/dense/bias", f"{layer}/bias"))
    return table


def _masked_lm(config: ModelConfig) -> list[Entry]:
    table = dense("masked_lm/transform", "masked_lm/dense")
    table += _norm("masked_lm/norm", "masked_lm/layer_norm")
    table.append(Entry("masked_lm/output_bias", "masked_lm/output_bias.Sbias"))
    if config.hidden_size > config.embedding_size:
        name = "extra_output_weights"
        table.append(Entry(f"masked_lm/{name}", f"masked_lm/{name}"))
    return table


def _norm(ours: str, theirs: str) -> list[Entry]:
    """Returns the entries of a norm.

    Model Garden's NoNorm makes beta before gamma, unlike its layer norm, so order does not tell.
    """
    return [Entry(f"{ours}/{name}", f"{theirs}/{name}") for name in ("gamma", "beta")]
