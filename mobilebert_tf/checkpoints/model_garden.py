"""Model Garden's TF2 checkpoints (tf-models-official): object graphs of its MobileBERTEncoder and
MobileBertMaskedLM, beside a bert_config.json.

A tensor's name here is its path through the objects, as `encoder/layer_with_weights-0/...`; what
the file itself calls a tensor depends on which objects were saved with it.
"""

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from mobilebert_tf.checkpoints.table import Checkpoint, Entry, Ignored, dense
from mobilebert_tf.checkpoints.tensorflow_file import OBJECT_GRAPH, TensorFlowFile, reading
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert

PREFIX = "mobilebert.ckpt"
# Where a checkpoint keeps encoder and masked LM: the converter's files, a trainer's.
ROOTS = (
    {"encoder": "encoder", "masked_lm": "masked_lm"},
    {"encoder": "model/encoder_network", "masked_lm": "model/masked_lm"},
)
IGNORED = (
    Ignored("save_counter/*", "the number of saves"),
    Ignored("global_step/*", "the step of training"),
    Ignored("optimizer/*", "optimizer state"),
    Ignored("*/.OPTIMIZER_SLOT/*", "optimizer slots"),
    Ignored("next_sentence*", "a next sentence head with a hidden layer, which ours has not"),
    Ignored("model/classification_heads/*", "heads with a hidden layer, which ours have not"),
)
ATTENTION_LAYERS = ("query", "key", "value")


def open_checkpoint(path: Path, config: ModelConfig | None = None) -> Checkpoint:
    """A folder with a TF2 checkpoint, or the prefix of one.

    Args:
        config: in place of the bert_config.json beside it.

    Raises InputError if it is none, damaged, or of another kind of model.
    """
    file = TensorFlowFile(path, config)
    _check_config(file.config)
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    with reading(file.prefix):
        graph.ParseFromString(file.read(OBJECT_GRAPH))
    roots = _roots(graph, file.prefix)
    head = Head(kind="masked_lm" if _descend(graph, roots["masked_lm"]) is not None else "encoder")
    table = name_table(file.config, head)
    keys = _keys(graph, table, roots)
    names = {key: name for name, key in keys.items()}
    shapes = {names.get(key, key): s for key, s in file.shapes.items() if key != OBJECT_GRAPH}

    def read(name):
        return file.read(keys[name])

    return Checkpoint(file.prefix, file.config, head, table, shapes, read, IGNORED)


def save_checkpoint(model: MobileBert, directory: Path) -> None:
    """Writes a TF2 checkpoint and bert_config.json into an existing folder.

    A next sentence head is left out. Raises InputError for other heads: Model Garden's have a
    hidden layer.
    """
    _check_config(model.config)
    root = tf.train.Checkpoint()
    weights = {weight.path: weight.value for weight in model.weights}
    for entry in name_table(model.config, model.head):
        variable = weights[entry.ours]  # itself: a copy of all takes as much memory again
        if entry.shape is not None:
            variable = tf.Variable(entry.to_theirs(variable.value()))
        _track(root, entry.theirs, variable)
    if model.head.predicts_masks:  # one variable, tracked twice
        embeddings = getattr(root.encoder, "layer_with_weights-0")
        root.masked_lm.embedding_table = embeddings.word_embedding.embeddings
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
    *path, last = name.split("/")
    node = root
    for part in path:
        if not hasattr(node, part):
            setattr(node, part, tf.train.Checkpoint())
        node = getattr(node, part)
    setattr(node, last.replace(".S", "/"), variable)


def _descend(graph, path: str) -> int | None:
    """The node that a path of child names leads to from the root; None if it leads nowhere."""
    node = 0
    for part in path.split("/"):
        children = {child.local_name: child.node_id for child in graph.nodes[node].children}
        node = children.get(part.replace(".S", "/"))
        if node is None:
            return None
    return node


def _roots(graph, prefix: str) -> Mapping[str, str]:
    for roots in ROOTS:
        if _descend(graph, f"{roots['encoder']}/layer_with_weights-0") is not None:
            return roots
    raise InputError(f"{prefix} holds no MobileBERTEncoder of Model Garden's as encoder or model")


def _keys(graph, table: list[Entry], roots: Mapping[str, str]) -> dict[str, str]:
    """{name: the file's key} of every name of the table that the file has."""
    keys = {}
    for entry in table:
        root, _, rest = entry.theirs.partition("/")
        node = _descend(graph, f"{roots[root]}/{rest}")
        attributes = graph.nodes[node].attributes if node is not None else ()
        if attributes:
            keys[entry.theirs] = attributes[0].checkpoint_key
    return keys


def name_table(config: ModelConfig, head: Head) -> list[Entry]:
    """Every weight of a model but the next sentence head's, with its path in Model Garden's."""
    if head.kind not in ("encoder", "masked_lm", "pretraining"):
        raise InputError(
            f"Model Garden's {head.kind} head has a hidden layer, ours has not: convert the "
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
    # (our scope, their lists of a dense layer, with its place, and a norm, with its)
    normed = [("input_bottleneck", "bottleneck_input", 0, 1)]
    normed.append(("output_bottleneck", "bottleneck_output", 0, 2))  # 1 is a dropout
    if config.key_query_shared_bottleneck:
        normed.append(("shared_bottleneck", "kq_shared_bottleneck", 0, 1))
    for index in range(config.num_feedforward_networks):
        normed.append((f"feed_forward_{index}/output", f"ffn/{index}", 1, 2))
    table = _attention(config, f"{ours}/attention", f"{layers}/attention")
    for inner, outer, dense_place, norm_place in normed:
        table += dense(f"{ours}/{inner}/dense", f"{layers}/{outer}/{dense_place}")
        table += _norm(f"{ours}/{inner}/norm", f"{layers}/{outer}/{norm_place}")
    for index in range(config.num_feedforward_networks):
        table += dense(f"{ours}/feed_forward_{index}/intermediate", f"{layers}/ffn/{index}/0")
    return table


def _attention(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    """Keras's multi-head attention keeps the heads as an axis of their own."""
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
    """By name: in a layer norm gamma comes first, in Model Garden's NoNorm beta does."""
    return [Entry(f"{ours}/{name}", f"{theirs}/{name}") for name in ("gamma", "beta")]
