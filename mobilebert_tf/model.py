"""The encoder with its heads, as one functional Keras model, and model directories."""

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import keras
from keras import ops

from mobilebert_tf.config import ModelConfig, load_model_config, parse_strictly
from mobilebert_tf.errors import InputError
from mobilebert_tf.layers import (
    AttentionBias,
    Block,
    Embeddings,
    MaskedLanguageModel,
    Pooler,
    dense,
)
from mobilebert_tf.tokenizer import WordPiece

MODEL_FILES = {"config.json", "task.json", "model.weights.h5", "vocab.txt", "tokenizer_config.json"}
HEAD_DROPOUT = 0.1  # before the classifier, in Google's run_classifier.py as in BERT's


@dataclass(frozen=True)
class Task:
    """What a model's head is for: a model directory's task.json.

    Args:
        kind: which head; pretraining is masked LM and next sentence.
        labels: names of a classifier's classes, in the order of its logits.
        sequence_length: tokens that the head was trained on; null if any.
        metric: name of the metric that the head is judged by.
    """

    kind: Literal["encoder", "pretraining", "classifier", "span"] = "encoder"
    labels: Sequence[str] = ()
    sequence_length: int | None = None
    metric: str | None = None

    def __post_init__(self):
        if self.kind == "classifier" and len(self.labels) < 2:
            raise InputError(f"a classifier needs at least two labels, not {len(self.labels)}")


@keras.saving.register_keras_serializable(package="mobilebert_tf")
class MobileBert(keras.Model):
    """MobileBERT, IB-BERT or BERT with a head (paper, section 3), all tensors by name.

    Inputs: input_ids, input_mask, segment_ids, int32 [B,T]; with the pretraining head also
    masked_lm_positions, int32 [B,P]. Outputs:

        sequence_output [B,T,H], pooled_output [B,H],
        hidden_states: the embedding output, then one per block, each [B,T,H],
        attention_scores: one per block, [B,N,T,T], masked, before softmax,
        pretraining: mlm_logits [B,P,V], nsp_logits [B,2] (0: is the next sentence),
        classifier: logits [B,C];   span: start_logits, end_logits [B,T].

    Layers are named embeddings, block_0 ..., pooler and by their head.
    """

    def __init__(self, config: ModelConfig, task: Task | None = None, **kwargs):
        task = task or Task()
        names = ["input_ids", "input_mask", "segment_ids"]
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
        embeddings = Embeddings(config, name="embeddings")
        outputs = _encode(config, embeddings, inputs)
        if task.kind == "pretraining":
            positions = keras.Input((None,), dtype="int32", name="masked_lm_positions")
            inputs["masked_lm_positions"] = positions
            outputs |= _pretraining_head(config, embeddings, positions, outputs)
        elif task.kind == "classifier":
            pooled = keras.layers.Dropout(HEAD_DROPOUT)(outputs["pooled_output"])
            outputs["logits"] = dense(config, len(task.labels), "classifier")(pooled)
        elif task.kind == "span":
            logits = dense(config, 2, "span")(outputs["sequence_output"])  # [B,T,2]
            outputs |= {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.config, self.task = config, task

    def get_config(self):
        return {"config": dataclasses.asdict(self.config), "task": dataclasses.asdict(self.task)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(ModelConfig(**config["config"]), Task(**config["task"]))


def _encode(config: ModelConfig, embeddings: Embeddings, inputs: dict) -> dict:
    hidden = embeddings(**inputs)  # [B,T,H]
    attention_bias = AttentionBias(name="attention_bias")(inputs["input_mask"])  # [B,1,1,T]
    hidden_states, attention_scores = [hidden], []
    for index in range(config.num_hidden_layers):
        hidden, scores = Block(config, name=f"block_{index}")(hidden, attention_bias)
        hidden_states.append(hidden)
        attention_scores.append(scores)
    return {
        "sequence_output": hidden,
        "pooled_output": Pooler(config, name="pooler")(hidden),
        "hidden_states": hidden_states,
        "attention_scores": attention_scores,
    }


def _pretraining_head(config: ModelConfig, embeddings: Embeddings, positions, outputs) -> dict:
    masked = ops.take_along_axis(
        outputs["sequence_output"], positions[..., None], axis=1
    )  # [B,P,H]
    masked_lm = MaskedLanguageModel(config, embeddings, name="masked_lm")
    return {
        "mlm_logits": masked_lm(masked),
        "nsp_logits": dense(config, 2, "next_sentence")(outputs["pooled_output"]),
    }


def build_model(
    config: ModelConfig | str | Path, head: str | None = None, labels: Sequence[str] = ()
) -> MobileBert:
    """A model with fresh weights.

    Args:
        config: a ModelConfig, a named size (mobilebert_tf.config.SIZES), or a bert_config.json.
        head: "pretraining", "classifier", "span", or None for the bare encoder.
        labels: the classifier's class names.
    """
    if not isinstance(config, ModelConfig):
        config = load_model_config(config)
    kinds = ("encoder", "pretraining", "classifier", "span")
    if (head or "encoder") not in kinds:
        raise InputError(f"no head named '{head}'; heads: {', '.join(kinds)}")
    return MobileBert(config, Task(kind=head or "encoder", labels=tuple(labels)))


def save_model(
    model: MobileBert, directory: str | Path, tokenizer: WordPiece | None = None
) -> None:
    """Writes a model directory: config.json, task.json, model.weights.h5 and vocab.txt.

    The directory appears whole or not at all; a model directory that exists is replaced. Without a
    tokenizer there is no vocab.txt: enough for numbers, not for text. Raises InputError for a
    directory that holds something else.
    """
    directory = Path(directory).resolve()
    if directory.exists() and not set(os.listdir(directory)) <= MODEL_FILES:
        raise InputError(f"{directory} holds more than a model: choose another directory")
    aside = directory.with_name(directory.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    (aside / "config.json").write_text(model.config.to_json())
    (aside / "task.json").write_text(json.dumps(dataclasses.asdict(model.task), indent=2) + "\n")
    model.save_weights(aside / "model.weights.h5")
    if tokenizer is not None:
        tokenizer.save(aside / "vocab.txt")
        settings = {"do_lower_case": tokenizer.lower_case}
        (aside / "tokenizer_config.json").write_text(json.dumps(settings) + "\n")
    old = directory.with_name(directory.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        os.replace(directory, old)
    os.replace(aside, directory)
    shutil.rmtree(old, ignore_errors=True)


def load_model(directory: str | Path) -> MobileBert:
    """The model of a model directory. Nothing in the directory is executed.

    Raises InputError if the directory, or a file in it, is missing, damaged or does not fit.
    """
    directory = Path(directory)
    if not (directory / "config.json").is_file():
        raise InputError(f"{directory} is not a model directory: it has no config.json")
    config = load_model_config(directory / "config.json")
    task = Task()
    if (directory / "task.json").is_file():
        path = directory / "task.json"
        task = parse_strictly(Task, _read_json(path), str(path))
    model = MobileBert(config, task)
    weights = directory / "model.weights.h5"
    if not weights.is_file():
        raise InputError(f"{directory} is not a whole model directory: it has no {weights.name}")
    try:
        model.load_weights(weights)
        _check_all_used(weights, model)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{weights} is damaged or belongs to another config: {reason}") from None
    return model


def _check_all_used(path: Path, model: MobileBert) -> None:
    """ValueError if the file has numbers that the model has no place for; Keras ignores them."""
    sizes = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: sizes.append(getattr(item, "size", 0)))
    held = sum(sizes)
    expected = sum(math.prod(weight.shape) for weight in model.weights)
    if held != expected:
        raise ValueError(f"it holds {held:,} numbers, the config says {expected:,}")


def load_tokenizer(directory: str | Path) -> WordPiece:
    """The tokenizer of a model directory; InputError if it has none."""
    directory = Path(directory)
    if not (directory / "vocab.txt").is_file():
        raise InputError(f"{directory} has no vocab.txt: it cannot read text")
    settings = directory / "tokenizer_config.json"
    lower_case = _read_json(settings).get("do_lower_case", True) if settings.is_file() else True
    return WordPiece.from_file(directory / "vocab.txt", lower_case=lower_case)


def _read_json(path: Path) -> dict:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a JSON object")
    return values
