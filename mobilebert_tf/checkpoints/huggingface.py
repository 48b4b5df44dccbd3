"""Weights of Hugging Face's BertForPreTraining: config.json and model.safetensors."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from mobilebert_tf.checkpoints.table import Entry, assign
from mobilebert_tf.config import ModelConfig, parse_strictly
from mobilebert_tf.errors import InputError
from mobilebert_tf.layers import LAYER_NORM_EPSILON
from mobilebert_tf.model import MobileBert, build_model

# The decoder is tied to the word embeddings and the bias; position_ids is a constant.
IGNORED = {
    "cls.predictions.decoder.weight",
    "cls.predictions.decoder.bias",
    "bert.embeddings.position_ids",
}
# Settings that change what the model computes and that ours does not have.
SUPPORTED = {"layer_norm_eps": LAYER_NORM_EPSILON, "position_embedding_type": "absolute"}
# Their names for ours, where the same name means another function.
ACTIVATION_NAMES = {"gelu": "gelu_erf", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu"}
LAYER_NORM_KEYS = {"gamma": "weight", "beta": "bias"}
DENSE_KEYS = {"kernel": "weight", "bias": "bias"}


def load_huggingface_bert(directory: str | Path) -> MobileBert:
    """The pre-training model of a BERT folder; raises InputError if it is not one."""
    directory = Path(directory)
    config = load_bert_config(directory / "config.json")
    path = directory / "model.safetensors"
    if not path.is_file():
        raise InputError(f"{directory} has no model.safetensors")
    model = build_model(config, "pretraining")
    try:
        with safe_open(path, framework="numpy") as file:
            names = {_modern(name): name for name in file.keys()}
            shapes = {new: file.get_slice(name).get_shape() for new, name in names.items()}
            assign(
                model,
                name_table(config),
                shapes,
                lambda name: file.get_tensor(names[name]),
                IGNORED.__contains__,
                str(path),
            )
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or no safetensors file: {error}") from None
    return model


def _modern(name: str) -> str:
    """The oldest files, bert-base-uncased's among them, name layer norms as TensorFlow does."""
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
    return name.replace("LayerNorm.beta", "LayerNorm.bias")


def load_bert_config(path: Path) -> ModelConfig:
    """A ModelConfig from Hugging Face's config.json of a BERT, which has more keys than ours."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable JSON file: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a JSON object")
    for key, supported in SUPPORTED.items():
        if values.get(key, supported) != supported:
            raise InputError(f"{path}: {key} is {values[key]}, only {supported} is supported")
    if values.get("model_type") != "bert":
        raise InputError(f"{path}: model_type is {values.get('model_type')!r}, expected 'bert'")
    values["hidden_act"] = ACTIVATION_NAMES.get(values.get("hidden_act"), values.get("hidden_act"))
    known = ModelConfig.__dataclass_fields__.keys()
    return parse_strictly(ModelConfig, {k: v for k, v in values.items() if k in known}, str(path))


def name_table(config: ModelConfig) -> list[Entry]:
    """Every weight of a plain BERT pre-training model with its name in a Hugging Face file."""
    table = [
        Entry(f"embeddings/{name}", f"bert.embeddings.{name}.weight")
        for name in ("word_embeddings", "position_embeddings", "token_type_embeddings")
    ]
    table += _norm("embeddings/norm", "bert.embeddings.LayerNorm")
    for index in range(config.num_hidden_layers):
        ours, theirs = f"block_{index}", f"bert.encoder.layer.{index}"
        for name in ("query", "key", "value"):
            table += _dense(f"{ours}/attention/{name}", f"{theirs}.attention.self.{name}")
        table += _dense(f"{ours}/feed_forward_0/intermediate", f"{theirs}.intermediate.dense")
        for inner, outer in (("attention", "attention.output"), ("feed_forward_0", "output")):
            table += _dense(f"{ours}/{inner}/output/dense", f"{theirs}.{outer}.dense")
            table += _norm(f"{ours}/{inner}/output/norm", f"{theirs}.{outer}.LayerNorm")
    table += _dense("pooler/dense", "bert.pooler.dense")
    table += _dense("masked_lm/transform", "cls.predictions.transform.dense")
    table += _norm("masked_lm/norm", "cls.predictions.transform.LayerNorm")
    table.append(Entry("masked_lm/output_bias", "cls.predictions.bias"))
    table += _dense("next_sentence", "cls.seq_relationship")
    return table


def _dense(ours: str, theirs: str) -> list[Entry]:
    """PyTorch keeps a matrix as [out, in]."""
    return [
        Entry(f"{ours}/{our}", f"{theirs}.{their}", transposed=our == "kernel")
        for our, their in DENSE_KEYS.items()
    ]


def _norm(ours: str, theirs: str) -> list[Entry]:
    return [Entry(f"{ours}/{our}", f"{theirs}.{their}") for our, their in LAYER_NORM_KEYS.items()]
