"""The encoder and its head as one functional Keras model."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import keras
import numpy as np
from keras import ops

from mobilebert_tf.environment import memory
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import ModelConfig, load_model_config
from mobilebert_tf.modeling.heads import HEADS, Head, HeadName
from mobilebert_tf.modeling.layers import (
    Block,
    Embeddings,
    MaskedLanguageModel,
    Padding,
    Pooler,
    dense,
)
from mobilebert_tf.modeling.quantization import Quantization

MODEL_INPUTS = ("input_ids", "input_mask", "segment_ids")
SHORTEST = 1e-12  # an embedding is divided by at least this length, as in PyTorch's F.normalize
HEAD_DROPOUT = 0.1  # before the classifier, in Google's run_classifier.py as in BERT's


@keras.saving.register_keras_serializable(package="mobilebert_tf")
class MobileBert(keras.Model):
    """MobileBERT, IB-BERT or BERT with a head (paper, section 3).

    Inputs, by name: input_ids, input_mask, segment_ids, int32 [B,T]; with a masked LM also
    masked_lm_positions, int32 [B,P]. Outputs, by name:

        every head: sequence_output [B,T,H], pooled_output [B,H],
            hidden_states: the embedding output, then one per block, each [B,T,H],
            attention_scores: one per block, each [B,N,T,T], masked, before softmax,
        encoder: embedding [B,H],
        pretraining, masked_lm: mlm_logits [B,P,V],
        pretraining, next_sentence: nsp_logits [B,2] (0: is the next sentence),
        classifier, multi_label_classifier: logits [B,C],
        token_classifier: logits [B,T,C],
        regression, multiple_choice: score [B],
        span: start_logits [B,T], end_logits [B,T].

    Layers are named embeddings, block_0 ..., pooler, masked_lm, next_sentence, classifier, span.

    Args:
        config: every size of the model.
        head: the head; None for the bare encoder.
    """

    def __init__(self, config: ModelConfig, head: Head | None = None, **kwargs):
        head = head or Head()
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in MODEL_INPUTS}
        embeddings = Embeddings(config, name="embeddings")
        outputs = _encode(config, embeddings, inputs)
        if head.predicts_masks:
            positions = keras.Input((None,), dtype="int32", name="masked_lm_positions")
            inputs["masked_lm_positions"] = positions
            masked_lm = MaskedLanguageModel(config, embeddings, name="masked_lm")
            masked = ops.take_along_axis(
                outputs["sequence_output"], positions[..., None], axis=1
            )  # [B,P,H]
            outputs["mlm_logits"] = masked_lm(masked)
        if head.kind == "encoder":
            outputs["embedding"] = _embedding(head, outputs, inputs["input_mask"])
        outputs |= _text_head(config, head, outputs["pooled_output"])
        outputs |= _token_head(config, head, outputs["sequence_output"])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.config, self.head = config, head
        self.quantization: Quantization | None = None  # set by quantization-aware training

    def get_config(self):
        return {"config": dataclasses.asdict(self.config), "head": dataclasses.asdict(self.head)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(ModelConfig(**config["config"]), Head(**config["head"]))


def _encode(config: ModelConfig, embeddings: Embeddings, inputs: dict) -> dict:
    hidden = embeddings(**inputs)  # [B,T,H]
    padding = Padding(name="padding")(inputs["input_mask"])  # [B,1,1,T]
    hidden_states, attention_scores = [hidden], []
    for index in range(config.num_hidden_layers):
        hidden, scores = Block(config, name=f"block_{index}")(hidden, padding)
        hidden_states.append(hidden)
        attention_scores.append(scores)
    return {
        "sequence_output": hidden,
        "pooled_output": Pooler(config, name="pooler")(hidden),
        "hidden_states": hidden_states,
        "attention_scores": attention_scores,
    }


def _embedding(head: Head, outputs: dict, input_mask):
    """Returns the texts' embeddings [B,H], pooled as sentence-transformers does."""
    embedding = outputs["pooled_output"]
    if head.pooling == "mean":
        real = ops.cast(input_mask, embedding.dtype)[..., None]  # [B,T,1]
        total = ops.sum(real * outputs["sequence_output"], axis=1)
        embedding = total / ops.maximum(ops.sum(real, axis=1), 1.0)
    if head.normalized:
        length = ops.sqrt(ops.sum(ops.square(embedding), axis=-1, keepdims=True))  # [B,1]
        embedding = embedding / ops.maximum(length, SHORTEST)
    return embedding


def _text_head(config: ModelConfig, head: Head, pooled) -> dict:
    """Returns the head's outputs for a whole text, from pooled [B,H]."""
    if head.kind in ("pretraining", "next_sentence"):
        return {"nsp_logits": _head(config, 2, "next_sentence", pooled)}
    if head.kind in ("classifier", "multi_label_classifier"):
        return {"logits": _classifier(config, len(head.labels), pooled)}
    if head.kind in ("regression", "multiple_choice"):
        return {"score": _classifier(config, 1, pooled)[:, 0]}
    return {}


def _token_head(config: ModelConfig, head: Head, hidden) -> dict:
    """Returns the head's outputs for each token, from hidden [B,T,H]."""
    if head.kind == "token_classifier":
        return {"logits": _classifier(config, len(head.labels), hidden)}
    if head.kind == "span":
        logits = _head(config, 2, "span", hidden)  # [B,T,2]
        return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}
    return {}


def _classifier(config: ModelConfig, units: int, x):
    return _head(config, units, "classifier", keras.layers.Dropout(HEAD_DROPOUT)(x))


def _head(config: ModelConfig, units: int, name: str, x):
    """Returns logits or scores [...,units], in float32 under mixed precision too."""
    return dense(config, units, name, dtype="float32")(x)


def build_model(
    config: ModelConfig | str | Path, head: str | None = None, labels: Sequence[str] = ()
) -> MobileBert:
    """Returns a model with random weights.

    Args:
        config: a ModelConfig, a named size (modeling.config.SIZES), or a bert_config.json.
        head: a key of HEADS, or None for the bare encoder.
        labels: class names of a classifier, multi_label_classifier or token_classifier.

    Raises InputError for an unknown size or head, a bad config file, a model that is larger than
    this machine's memory, and for a classifier with fewer than two labels.
    """
    if not isinstance(config, ModelConfig):
        config = load_model_config(config)
    if (head or "encoder") not in HEADS:
        raise InputError(f"no head named '{head}'; heads: {', '.join(HEADS)}")
    needed = 4 * config.encoder_parameters
    if needed > memory():
        raise InputError(
            f"a model of this config takes {needed / 1e9:,.0f} GB or more, this machine has "
            f"{memory() / 1e9:,.0f}"
        )
    return MobileBert(config, Head(kind=cast(HeadName, head or "encoder"), labels=tuple(labels)))


def copy_weights(
    source: MobileBert, target: MobileBert, select: Callable[[str], bool] | None = None
) -> set[str]:
    """Copies the weights that both models have, with equal path and shape, and returns their paths.

    Args:
        source: the model to read.
        target: the model whose weights are set.
        select: whether the weight of a path is copied; None copies all.
    """
    source_weights = {weight.path: weight for weight in source.weights}
    copied = set()
    for weight in target.weights:
        original = source_weights.get(weight.path)
        if original is None or original.shape != weight.shape:
            continue
        if select is None or select(weight.path):
            weight.assign(original)
            copied.add(weight.path)
    return copied


def checksum(model: MobileBert) -> str:
    """Returns the SHA-256 of the weights with their names and shapes."""
    digest = hashlib.sha256()
    for weight in sorted(model.weights, key=lambda weight: weight.path):
        digest.update(f"{weight.path} {tuple(weight.shape)}\n".encode())
        digest.update(np.asarray(weight.value.value()).data)
    return digest.hexdigest()
