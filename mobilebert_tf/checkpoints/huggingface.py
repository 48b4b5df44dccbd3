"""Hugging Face's MobileBERT and BERT, with every head: config.json and model.safetensors.

DistilBERT and ELECTRA are read too, as the BERTs that they are (relatives.py).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from mobilebert_tf.checkpoints.name_table import Checkpoint, Entry, Ignored, foreign_tensors
from mobilebert_tf.checkpoints.relatives import OTHERS, RELATIVES, BertTensors, bert_config
from mobilebert_tf.checkpoints.sentence_transformers import read_embedding, write_embedding
from mobilebert_tf.checkpoints.torch_files import TensorFiles
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_json
from mobilebert_tf.modeling.config import SIZES, ModelConfig, parse_strictly
from mobilebert_tf.modeling.heads import HEADS, Head, HeadName
from mobilebert_tf.modeling.layers import LAYER_NORM_EPSILON
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.model_directory import check_depth

WEIGHTS_FILE = "model.safetensors"
# By config.json's model_type: Hugging Face's defaults of keys that config.json leaves out.
DEFAULTS = {
    "bert": SIZES["bert-base"],
    "mobilebert": SIZES["mobilebert"].replace(classifier_activation=True),
}
# By model_type: prefix of Hugging Face's class names; HEADS has their suffixes.
FAMILIES = {"bert": "Bert", "mobilebert": "MobileBert"}
# Keys of ours in a BERT's config.json; a MobileBERT's has all of them.
BERT_KEYS = (
    "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act "
    "hidden_dropout_prob attention_probs_dropout_prob max_position_embeddings type_vocab_size "
    "initializer_range"
).split()
# The only values that we support of settings that our config does not have.
SUPPORTED = {
    "layer_norm_eps": LAYER_NORM_EPSILON,
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
    "pruned_heads": {},
}
MULTI_LABEL = "multi_label_classification"  # problem_type of a multi_label_classifier
# Settings of our heads that Hugging Face does not have. As keys of config.json transformers keeps
# them.
HEAD_KEYS = ("sequence_length", "metric", "pairs", "thresholds", "joiners")
# {Hugging Face's name: ours} of activations: "gelu" names different functions.
ACTIVATIONS = {"gelu": "gelu_erf", "gelu_new": "gelu", "relu": "relu", "relu6": "relu6"}
ACTIVATION_SYNONYMS = {"gelu_pytorch_tanh": "gelu_new", "gelu_python": "gelu"}

IGNORED = (
    Ignored("cls.predictions.decoder.*", "tied to the word embeddings and the bias"),
    Ignored("*embeddings.position_ids", "a constant"),
    Ignored("fit_dense*", "TinyBERT's, for its distillation alone"),
)
UNUSED_TRANSFORMATION = Ignored(
    "*embeddings.embedding_transformation.*", "not used where trigram_input is false"
)
UNUSED_POOLER = Ignored("*pooler.dense.*", "not used by sentence-transformers")
EMPTY_OUTPUT = Ignored("cls.predictions.dense.weight", "empty where the embeddings are full width")
LAYER_NORM_KEYS = {"gamma": "weight", "beta": "bias"}
DENSE_KEYS = {"kernel": "weight", "bias": "bias"}


def open_checkpoint(directory: Path, encoder_only: bool = False) -> Checkpoint:
    """Opens a folder with config.json and the weights in one file or in shards.

    Args:
        directory: the folder.
        encoder_only: leave out the head, which then may be any.

    Raises InputError if it is none, is damaged, or holds a model that we do not have.
    """
    path = directory / "config.json"
    values = read_json(path)
    _check_config(values, path, encoder_only)
    files = TensorFiles(directory, _class_name(values))
    values["model_type"] = values.get("model_type") or _guessed_model_type(files.shapes)
    if values["model_type"] in RELATIVES:
        files = BertTensors(files, values["model_type"])
        values = bert_config(values, path, encoder_only)
    _check_model_type(values, path)
    names = _original_names(files)
    shapes = {name: files.shapes[original] for name, original in names.items()}
    head = Head() if encoder_only else _read_head(values, shapes, path)
    config = _model_config(values, path)
    check_depth(config, len(shapes), directory)
    if not any(name.endswith("pooler.dense.weight") for name in shapes):
        # The model was saved without a pooler.
        config = config.replace(classifier_activation=False)
    ignored = list(IGNORED)
    if head.kind == "encoder" and (embedding := read_embedding(directory, config)):
        head = replace(head, **embedding)
        if head.pooling == "first":  # sentence-transformers takes the token without a pooler
            config = config.replace(classifier_activation=False)
            ignored.append(UNUSED_POOLER)
    prefix = f"{values['model_type']}."
    prefix = prefix if any(name.startswith(prefix) for name in shapes) else ""
    if encoder_only:
        encoder = (f"{prefix}embeddings.", f"{prefix}encoder.", f"{prefix}pooler.")
        heads = [name for name in shapes if not name.startswith(encoder)]
        ignored += [Ignored(name, "of the head") for name in heads]
    if not config.trigram_input and config.embedding_size == config.hidden_size:
        ignored += [UNUSED_TRANSFORMATION, EMPTY_OUTPUT]
    table = name_table(config, head, prefix)
    return Checkpoint(
        source=str(directory),
        config=config,
        head=head,
        table=table,
        shapes=shapes,
        read=lambda name: files.read(names[name]),
        ignored=ignored,
    )


def save_checkpoint(model: MobileBert, directory: Path) -> None:
    """Writes config.json and model.safetensors into an existing folder; for an encoder also the
    files of sentence-transformers.

    Raises InputError for a model that Hugging Face's classes cannot hold.
    """
    config, head = model.config, model.head
    family = model_type(config, head)
    prefix = "" if head.kind == "encoder" else f"{family}."
    tensors = foreign_tensors(model, name_table(config, head, prefix))
    arrays = {name: np.asarray(tensor) for name, tensor in tensors}
    try:
        save_file(arrays, directory / WEIGHTS_FILE, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"cannot write {directory / WEIGHTS_FILE}: {error}") from None
    text = json.dumps(_config_values(config, head, family), indent=2)
    (directory / "config.json").write_text(text + "\n", encoding="utf-8")
    if head.kind == "encoder":
        write_embedding(config, head, directory)


def _check_config(values: Mapping, path: Path, encoder_only: bool) -> None:
    if values.get("model_type") is not None:
        _check_model_type(values, path)
    for key, supported in SUPPORTED.items():
        if values.get(key) not in (None, supported):
            raise InputError(
                f"{path}: {key} is {values[key]}, only {supported} is supported: it has no key in "
                "Google's config, which is ours"
            )


def _check_model_type(values: Mapping, path: Path) -> None:
    family = values["model_type"]
    if family in list(OTHERS):
        raise InputError(f"{path}: model_type {family} is not supported: {OTHERS[family]}")
    if family not in [*FAMILIES, *RELATIVES]:
        raise InputError(
            f"{path}: model_type is {family!r}, expected {' or '.join((*FAMILIES, *RELATIVES))}"
        )


def _guessed_model_type(names: Iterable[str]) -> str | None:
    """Returns the model_type by the names of the tensors; None if they tell none.

    config.json has had model_type since transformers 2.2 (November 2019).
    """
    prefixes = {name.partition(".")[0] for name in names}
    known = (family for family in (*FAMILIES, *RELATIVES, *OTHERS) if family in prefixes)
    return next(known, "bert" if "embeddings" in prefixes else None)


def _class_name(values: Mapping) -> str:
    """Returns the name of the class that saved a folder, AutoModel if config.json has none."""
    architectures = values.get("architectures")
    named = isinstance(architectures, list) and architectures
    return str(architectures[0]) if named else "AutoModel"


def _model_config(values: Mapping, path: Path) -> ModelConfig:
    defaults = asdict(DEFAULTS[values["model_type"]])
    keys = defaults if values["model_type"] == "mobilebert" else BERT_KEYS
    sizes = {key: values[key] for key in keys if key in values}
    if "hidden_act" in sizes:
        activation = str(sizes["hidden_act"])
        activation = ACTIVATION_SYNONYMS.get(activation, activation)
        sizes["hidden_act"] = ACTIVATIONS.get(activation, activation)
    else:
        sizes["hidden_act"] = ACTIVATIONS[defaults["hidden_act"]]
    if values["model_type"] == "bert":
        sizes |= {"embedding_size": None, "intra_bottleneck_size": None}
    return parse_strictly(ModelConfig, defaults | sizes, str(path))


def _config_values(config: ModelConfig, head: Head, family: str) -> dict:
    values = asdict(config)
    if family == "bert":
        values = {key: values[key] for key in BERT_KEYS}
    activations = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    values |= {
        "architectures": [FAMILIES[family] + HEADS[head.kind].huggingface],
        "hidden_act": activations[config.hidden_act],
        "layer_norm_eps": LAYER_NORM_EPSILON,
        "model_type": family,
        "pad_token_id": 0,
        "torch_dtype": "float32",
    }
    if head.has_labels:
        values["id2label"] = {str(index): label for index, label in enumerate(head.labels)}
        values["label2id"] = {label: index for index, label in enumerate(head.labels)}
    if head.kind == "multi_label_classifier":
        values["problem_type"] = MULTI_LABEL
    if head.kind == "regression":
        values |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        values["problem_type"] = "regression"
    settings = {key: getattr(head, key) for key in HEAD_KEYS}
    return values | {key: value for key, value in settings.items() if value or value is False}


def model_type(config: ModelConfig, head: Head) -> str:
    """Returns the key of FAMILIES whose classes can hold a model of ours.

    Raises InputError if none can.
    """
    if (
        not config.use_bottleneck
        and not config.trigram_input
        and config.embedding_size == config.hidden_size
        and config.num_feedforward_networks == 1
        and config.normalization_type == "layer_norm"
        and (config.classifier_activation or not head.reads_pooler)
    ):
        return "bert"
    shared = config.use_bottleneck_attention or config.key_query_shared_bottleneck
    if config.use_bottleneck and not shared and config.attention_size != config.hidden_size:
        raise InputError(
            "Hugging Face's MobileBERT cannot hold an IB-BERT: its queries and keys read the "
            f"{config.attention_size} channels inside a block, not the {config.hidden_size} between"
        )
    return "mobilebert"


def _read_head(values: Mapping, shapes: Mapping[str, tuple[int, ...]], path: Path) -> Head:
    kind = _kind(values, shapes, path)
    classes = shapes.get("classifier.bias", (0,))[0]
    if kind == "classifier" and values.get("problem_type") == MULTI_LABEL:
        kind = "multi_label_classifier"
    if kind == "classifier" and classes == 1:
        kind = "regression"
    if kind == "classifier" and values.get("problem_type") == "regression":
        raise InputError(
            f"{path}: problem_type is regression of {classes} numbers, only one number is "
            "supported: convert it with `head` encoder, which leaves the head out"
        )
    head = {"kind": kind, **_settings(values, kind)}
    if HEADS[kind].has_labels:
        head["labels"] = _labels(values, classes, path)
    return parse_strictly(Head, head, str(path))


def _labels(values: Mapping, classes: int, path: Path) -> list[str]:
    names = values.get("id2label") or {}
    if not isinstance(names, dict):
        raise InputError(f"{path}: id2label is {names!r}, expected an object")
    return [str(names.get(str(i), f"LABEL_{i}")) for i in range(classes)]


def _settings(values: Mapping, kind: HeadName) -> dict:
    """Returns the values of HEAD_KEYS that a kind of head can have.

    transformers keeps those of the head that it started from, where it trains another one.
    """
    foreign = {"thresholds": not HEADS[kind].multi_label, "joiners": kind != "token_classifier"}
    keys = (key for key in HEAD_KEYS if not foreign.get(key))
    return {key: values[key] for key in keys if values.get(key) is not None}


def _kind(values: Mapping, shapes: Mapping[str, tuple[int, ...]], path: Path) -> HeadName:
    """Returns the kind of head by the class in config.json, or without one by the tensors."""
    for architecture in values.get("architectures") or ():
        for name, kind in HEADS.items():
            if architecture == FAMILIES[values["model_type"]] + kind.huggingface:
                return cast(HeadName, name)
        raise InputError(
            f"{path}: architectures has {architecture}, whose head is none of ours: convert it "
            "with `head` encoder, which leaves the head out"
        )
    masked_lm, next_sentence = "cls.predictions.bias", "cls.seq_relationship.bias"
    if masked_lm in shapes:
        return "pretraining" if next_sentence in shapes else "masked_lm"
    heads: dict[str, HeadName] = {next_sentence: "next_sentence", "qa_outputs.bias": "span"}
    heads["classifier.bias"] = "classifier"
    return next((kind for name, kind in heads.items() if name in shapes), "encoder")


def _original_names(files: TensorFiles | BertTensors) -> dict[str, str]:
    """Returns {current name: name in the files}.

    Old files name the weights of layer norms as TensorFlow does, and some hold only the copy of a
    tied tensor. Raises InputError if tied tensors differ.
    """
    names = {}
    for name in files.shapes:
        modern = name.replace("LayerNorm.gamma", "LayerNorm.weight")
        names[modern.replace("LayerNorm.beta", "LayerNorm.bias")] = name
    words = [name for name in names if name.endswith("embeddings.word_embeddings.weight")]
    tied = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
    if words:
        tied["cls.predictions.decoder.weight"] = words[0]
    for copy, original in tied.items():
        if copy in names and original not in names:
            names[original] = names.pop(copy)
        elif copy in names and (files.read(copy) != files.read(names[original])).any():
            raise InputError(f"{files.source}: {copy} is not tied to {original}, ours is")
    return names


def name_table(config: ModelConfig, head: Head, prefix: str) -> list[Entry]:
    """Returns an entry for every weight of a model.

    Args:
        config, head: of the model.
        prefix: of the names of the encoder's tensors.
    """
    return _encoder(config, prefix) + _heads(config, head)


def _encoder(config: ModelConfig, prefix: str) -> list[Entry]:
    embeddings = f"{prefix}embeddings"
    table = [
        Entry(f"embeddings/{name}", f"{embeddings}.{name}.weight")
        for name in ("word_embeddings", "position_embeddings", "token_type_embeddings")
    ]
    if config.trigram_input or config.embedding_size != config.hidden_size:
        name = "embedding_transformation"
        table += _dense(f"embeddings/{name}", f"{embeddings}.{name}")
    table += _norm("embeddings/norm", f"{embeddings}.LayerNorm")
    for index in range(config.num_hidden_layers):
        table += _block(config, f"block_{index}", f"{prefix}encoder.layer.{index}")
    if config.classifier_activation:
        table += _dense("pooler/dense", f"{prefix}pooler.dense")
    return table


def _block(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    last = config.num_feedforward_networks - 1  # has BERT's own names
    feed_forward = [(f"feed_forward_{i}", f"ffn.{i}.") for i in range(last)]
    feed_forward.append((f"feed_forward_{last}", ""))
    # (our scope, theirs) of every dense layer that a norm follows
    normed = [("attention/output", "attention.output")]
    normed += [(f"{inner}/output", f"{outer}output") for inner, outer in feed_forward]
    if config.use_bottleneck:
        normed.append(("input_bottleneck", "bottleneck.input"))
        normed.append(("output_bottleneck", "output.bottleneck"))
    if config.use_bottleneck and config.key_query_shared_bottleneck:
        normed.append(("shared_bottleneck", "bottleneck.attention"))
    table = []
    for inner, outer in normed:
        table += _dense(f"{ours}/{inner}/dense", f"{theirs}.{outer}.dense")
        table += _norm(f"{ours}/{inner}/norm", f"{theirs}.{outer}.LayerNorm")
    for name in ("query", "key", "value"):
        table += _dense(f"{ours}/attention/{name}", f"{theirs}.attention.self.{name}")
    for inner, outer in feed_forward:
        table += _dense(f"{ours}/{inner}/intermediate", f"{theirs}.{outer}intermediate.dense")
    return table


def _heads(config: ModelConfig, head: Head) -> list[Entry]:
    table = []
    if head.predicts_masks:
        table += _dense("masked_lm/transform", "cls.predictions.transform.dense")
        table += _norm("masked_lm/norm", "cls.predictions.transform.LayerNorm")
        table.append(Entry("masked_lm/output_bias", "cls.predictions.bias"))
        if config.hidden_size > config.embedding_size:
            name, extra = "masked_lm/extra_output_weights", "cls.predictions.dense.weight"
            table.append(Entry(name, extra, transposed=True))
    if head.output_layer is not None:
        table += _dense(head.output_layer, HEADS[head.kind].huggingface_layer)
    return table


def _dense(ours: str, theirs: str) -> list[Entry]:
    """Returns the entries of a PyTorch dense layer, whose matrix is [out, in]."""
    return [
        Entry(f"{ours}/{our}", f"{theirs}.{their}", transposed=our == "kernel")
        for our, their in DENSE_KEYS.items()
    ]


def _norm(ours: str, theirs: str) -> list[Entry]:
    return [Entry(f"{ours}/{our}", f"{theirs}.{their}") for our, their in LAYER_NORM_KEYS.items()]
