"""The encoder with its heads, as one functional Keras model, and model directories."""

import dataclasses
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import h5py
import keras
import numpy as np
from keras import ops

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.fold import HIDDEN
from mobilebert_tf.modeling.config import ModelConfig, load_model_config, parse_strictly, read_json
from mobilebert_tf.modeling.layers import (
    AttentionBias,
    Block,
    Embeddings,
    MaskedLanguageModel,
    Pooler,
    dense,
    zeros,
)
from mobilebert_tf.modeling.quantization import QUANTIZATION_FILE, Quantization
from mobilebert_tf.text.tokenizer import WordPiece

MODEL_INPUTS = ("input_ids", "input_mask", "segment_ids")
WEIGHTS_FILE = "model.weights.h5"
MODEL_FILES = {"config.json", "task.json", WEIGHTS_FILE, QUANTIZATION_FILE} | {
    "vocab.txt",
    "tokenizer_config.json",
}
SMALL_ENOUGH = 10**8  # parameters that any machine has the memory for
SHORTEST = 1e-12  # length that an embedding is divided by, PyTorch's in F.normalize
HEAD_DROPOUT = 0.1  # before the classifier, in Google's run_classifier.py as in BERT's

NEXT_SENTENCE_LABELS = ("next", "random")  # in the order of BERT's next sentence logits


@dataclass(frozen=True)
class Task:
    """What a model's head is for: a model directory's task.json.

    Args:
        kind: which head. pretraining is masked LM and next sentence; regression and
            multiple_choice give one score a text (a choice is the likelier, the higher its score).
        labels: names of the classes of a classifier or token_classifier, in the order of its
            logits.
        sequence_length: tokens that the head was trained on; null if any.
        metric: name of the metric that the head is judged by.
        pooling: what an encoder's embedding of a text is: the pooled output, of the first token,
            or the mean of the sequence output over real tokens.
        normalized: whether that embedding has length 1.
    """

    kind: Literal[
        "encoder",
        "pretraining",
        "masked_lm",
        "next_sentence",
        "classifier",
        "regression",
        "multiple_choice",
        "token_classifier",
        "span",
    ] = "encoder"
    labels: Sequence[str] = ()
    sequence_length: int | None = None
    metric: str | None = None
    pooling: Literal["first", "mean"] = "first"
    normalized: bool = False

    def __post_init__(self):
        if self.kind != "encoder" and (self.pooling != "first" or self.normalized):
            raise InputError(f"pooling and normalized are an encoder's, this is a {self.kind}")
        if self.has_labels and len(self.labels) < 2:
            raise InputError(f"a {self.kind} needs at least two labels, not {len(self.labels)}")

    @property
    def has_labels(self) -> bool:
        return self.kind in ("classifier", "token_classifier")

    @property
    def output_labels(self) -> Sequence[str]:
        """What the head's classes mean."""
        return NEXT_SENTENCE_LABELS if self.kind == "next_sentence" else self.labels

    @property
    def predicts_masks(self) -> bool:
        return self.kind in ("pretraining", "masked_lm")


@keras.saving.register_keras_serializable(package="mobilebert_tf")
class MobileBert(keras.Model):
    """MobileBERT, IB-BERT or BERT with a head (paper, section 3), all tensors by name.

    Inputs: input_ids, input_mask, segment_ids, int32 [B,T]; to predict masks also
    masked_lm_positions, int32 [B,P]. Outputs:

        sequence_output [B,T,H], pooled_output [B,H]; encoder: embedding [B,H],
        hidden_states: the embedding output, then one per block, each [B,T,H],
        attention_scores: one per block, [B,N,T,T], masked, before softmax,
        pretraining, masked_lm: mlm_logits [B,P,V],
        pretraining, next_sentence: nsp_logits [B,2] (0: is the next sentence),
        classifier: logits [B,C];   token_classifier: logits [B,T,C],
        regression, multiple_choice: score [B];   span: start_logits, end_logits [B,T].

    Layers are named embeddings, block_0 ..., pooler, masked_lm, next_sentence, classifier, span.
    """

    def __init__(self, config: ModelConfig, task: Task | None = None, **kwargs):
        task = task or Task()
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in MODEL_INPUTS}
        embeddings = Embeddings(config, name="embeddings")
        outputs = _encode(config, embeddings, inputs)
        if task.predicts_masks:
            positions = keras.Input((None,), dtype="int32", name="masked_lm_positions")
            inputs["masked_lm_positions"] = positions
            masked_lm = MaskedLanguageModel(config, embeddings, name="masked_lm")
            masked = ops.take_along_axis(
                outputs["sequence_output"], positions[..., None], axis=1
            )  # [B,P,H]
            outputs["mlm_logits"] = masked_lm(masked)
        if task.kind == "encoder":
            outputs["embedding"] = _embedding(task, outputs, inputs["input_mask"])
        outputs |= _text_head(config, task, outputs["pooled_output"])
        outputs |= _token_head(config, task, outputs["sequence_output"])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.config, self.task = config, task
        self.quantization: Quantization | None = None  # by quantization-aware training

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


def _embedding(task: Task, outputs: dict, input_mask):
    """A text's embedding [B,H], as sentence-transformers makes it."""
    embedding = outputs["pooled_output"]
    if task.pooling == "mean":
        real = ops.cast(input_mask, embedding.dtype)[..., None]  # [B,T,1]
        total = ops.sum(real * outputs["sequence_output"], axis=1)
        embedding = total / ops.maximum(ops.sum(real, axis=1), 1.0)
    if task.normalized:
        length = ops.sqrt(ops.sum(ops.square(embedding), axis=-1, keepdims=True))  # [B,1]
        embedding = embedding / ops.maximum(length, SHORTEST)
    return embedding


def _text_head(config: ModelConfig, task: Task, pooled) -> dict:
    """What the head says of a whole text, from pooled [B,H]."""
    if task.kind in ("pretraining", "next_sentence"):
        return {"nsp_logits": _head(config, 2, "next_sentence", pooled)}
    if task.kind == "classifier":
        return {"logits": _classifier(config, len(task.labels), pooled)}
    if task.kind in ("regression", "multiple_choice"):
        return {"score": _classifier(config, 1, pooled)[:, 0]}
    return {}


def _token_head(config: ModelConfig, task: Task, hidden) -> dict:
    """What the head says of each token, from hidden [B,T,H]."""
    if task.kind == "token_classifier":
        return {"logits": _classifier(config, len(task.labels), hidden)}
    if task.kind == "span":
        logits = _head(config, 2, "span", hidden)  # [B,T,2]
        return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}
    return {}


def _classifier(config: ModelConfig, units: int, x):
    return _head(config, units, "classifier", keras.layers.Dropout(HEAD_DROPOUT)(x))


def _head(config: ModelConfig, units: int, name: str, x):
    """Logits and scores are float32 under mixed precision too."""
    return dense(config, units, name, dtype="float32")(x)


def build_model(
    config: ModelConfig | str | Path, head: str | None = None, labels: Sequence[str] = ()
) -> MobileBert:
    """A model with fresh weights.

    Args:
        config: a ModelConfig, a named size (modeling.config.SIZES), or a bert_config.json.
        head: a Task's kind, or None for the bare encoder.
        labels: class names of a classifier or token_classifier.
    """
    if not isinstance(config, ModelConfig):
        config = load_model_config(config)
    kinds = get_args(Task.__annotations__["kind"])
    if (head or "encoder") not in kinds:
        raise InputError(f"no head named '{head}'; heads: {', '.join(kinds)}")
    return MobileBert(config, Task(kind=head or "encoder", labels=tuple(labels)))


def copy_weights(
    source: MobileBert, target: MobileBert, chosen: Callable[[str], bool] = lambda path: True
) -> set[str]:
    """Sets the weights of `target` that `source` has too, by path and shape; gives their paths.

    Args:
        chosen: whether a path is to be copied.
    """
    theirs = {weight.path: weight for weight in source.weights}
    copied = set()
    for weight in target.weights:
        other = theirs.get(weight.path)
        if other is not None and other.shape == weight.shape and chosen(weight.path):
            weight.assign(other)
            copied.add(weight.path)
    return copied


def checksum(model: MobileBert) -> str:
    """sha256 of the weights with their names and shapes."""
    digest = hashlib.sha256()
    for weight in sorted(model.weights, key=lambda weight: weight.path):
        digest.update(f"{weight.path} {tuple(weight.shape)}\n".encode())
        digest.update(np.asarray(weight.value.value()))
    return digest.hexdigest()


def save_model(
    model: MobileBert, directory: str | Path, tokenizer: WordPiece | None = None
) -> None:
    """Writes a model directory: config.json, task.json, model.weights.h5 and vocab.txt; after
    quantization-aware training quantization.npz too.

    The directory appears whole or not at all; a model directory that exists is replaced. Without a
    tokenizer there is no vocab.txt: enough for numbers, not for text. Raises InputError for a
    directory that holds something else.
    """
    directory = Path(directory).resolve()
    if directory.exists() and not set(os.listdir(directory)) <= MODEL_FILES:
        raise InputError(f"{directory} holds more than a model: choose another directory")
    aside = directory.with_name(directory.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _write_files(model, aside, tokenizer)
        put_directory(aside, directory)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_files(model: MobileBert, directory: Path, tokenizer: WordPiece | None) -> None:
    directory.mkdir(parents=True)
    _check_room(model, directory)
    (directory / "config.json").write_text(model.config.to_json())
    task = json.dumps(dataclasses.asdict(model.task), indent=2)
    (directory / "task.json").write_text(task + "\n")
    model.save_weights(directory / WEIGHTS_FILE)
    if model.quantization is not None:
        model.quantization.save(directory)
    if tokenizer is not None:
        tokenizer.save_files(directory)


def _check_room(model: MobileBert, directory: Path) -> None:
    """OSError if the disk has no room for the weights, on which HDF5 would kill the interpreter."""
    needed = sum(math.prod(w.shape) * np.dtype(w.dtype).itemsize + 4096 for w in model.weights)
    if shutil.disk_usage(directory).free < needed + 2**16:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} for a model", str(directory))


def put_directory(aside: Path, directory: Path) -> None:
    """Gives a finished folder its name; what had it goes only when the new one stands."""
    if not directory.exists():
        os.replace(aside, directory)
        return
    old = tempfile.mkdtemp(".old", f"{directory.name}.", directory.parent)
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
        task = parse_strictly(Task, read_json(path), str(path))
    weights = directory / WEIGHTS_FILE
    if not weights.is_file():
        raise InputError(f"{directory} is not a whole model directory: it has no {WEIGHTS_FILE}")
    check_size(config, _numbers_in(weights), weights.stat().st_size, weights)
    with zeros():
        model = MobileBert(config, task)
    load_weights(model, directory)
    if (directory / QUANTIZATION_FILE).is_file():
        model.quantization = _quantization(model, directory)
    return model


def _quantization(model: MobileBert, directory: Path) -> Quantization:
    kernels = {w.path: w.shape[-1] for w in model.weights if w.path.endswith("/kernel")}
    widths = {
        path.removesuffix("/kernel").removesuffix("/dense"): width
        for path, width in kernels.items()
    }
    quantization = Quantization.load(directory)
    if name := quantization.misfit(widths | {HIDDEN: model.config.hidden_size}):
        raise InputError(f"{directory / QUANTIZATION_FILE} belongs to another model: see {name}")
    return quantization


def check_size(config: ModelConfig, numbers: int, size: int, source: str | Path) -> None:
    """InputError if a config is out of all proportion to its file, before any memory is taken.

    What is nearer is built, and compared weight by weight.

    Args:
        numbers: how many the file says it holds.
        size: its bytes, two or more for each number.
        source: its name, for the message.
    """
    numbers = min(numbers, size // 2)
    if config.encoder_parameters > max(4 * numbers, SMALL_ENOUGH):
        raise InputError(
            f"{source} is damaged or belongs to another config: it holds {numbers:,} numbers, the "
            f"config says {config.encoder_parameters:,} or more"
        )


def load_weights(model: MobileBert, directory: Path) -> None:
    """Sets the weights of `model` to those of a model directory; InputError if they do not fit."""
    path = directory / WEIGHTS_FILE
    try:
        model.load_weights(path)
        _check_all_used(path, model)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is damaged or belongs to another config: {reason}") from None
    bad = [weight.path for weight in model.weights if not np.isfinite(weight.numpy()).all()]
    if bad:
        raise InputError(f"{path} has numbers that are not finite in {', '.join(bad)}")


def _check_all_used(path: Path, model: MobileBert) -> None:
    """ValueError if the file has numbers that the model has no place for; Keras ignores them."""
    held, expected = _numbers_in(path), sum(math.prod(weight.shape) for weight in model.weights)
    if held != expected:
        raise ValueError(f"it holds {held:,} numbers, the config says {expected:,}")


def _numbers_in(path: Path) -> int:
    """How many numbers an HDF5 file holds; InputError if it is none."""
    sizes = []
    try:
        with h5py.File(path) as file:
            file.visititems(lambda _, item: sizes.append(getattr(item, "size", 0)))
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is damaged or no weights file: {reason}") from None
    return sum(sizes)


def load_tokenizer(directory: str | Path) -> WordPiece:
    """The tokenizer of a model directory; InputError if it has none."""
    directory = Path(directory)
    if not (directory / "vocab.txt").is_file():
        raise InputError(f"{directory} has no vocab.txt: it cannot read text")
    settings = directory / "tokenizer_config.json"
    lower_case = read_json(settings).get("do_lower_case") if settings.is_file() else None
    if not isinstance(lower_case, bool | None):
        raise InputError(f"{settings}: do_lower_case is {lower_case!r}: it must be true or false")
    return WordPiece.from_file(directory / "vocab.txt", lower_case=lower_case)
