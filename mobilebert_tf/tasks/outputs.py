"""What a model says of many examples: a Keras model in batches, a .tflite file one by one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mobilebert_tf.checkpoints.formats import load
from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.graph import BY_TOKEN
from mobilebert_tf.lite.runtime import KerasModel, LiteModel, Runnable
from mobilebert_tf.modeling.model import MODEL_INPUTS
from mobilebert_tf.tasks.examples import by_length
from mobilebert_tf.tasks.registry import SEQUENCE_LENGTH, SPAN_LENGTH, AnyTask


def open_any(path: str | Path, num_threads: int = 1) -> Runnable:
    """A .tflite file, a model directory, or anything that convert reads.

    Raises InputError if it is none of them, or has no vocabulary.
    """
    if Path(path).suffix == ".tflite":
        return LiteModel(path, num_threads)
    loaded = load(path)
    if loaded.tokenizer is None:
        raise InputError(f"{path} has no vocabulary (vocab.txt): it cannot read text")
    return KerasModel(loaded.model, loaded.tokenizer)


def run_all(
    model: Runnable, arrays: dict[str, np.ndarray], batch_size: int = 32
) -> dict[str, np.ndarray]:
    """The model's outputs for many examples.

    A Keras model runs batches of texts of one length, a file one text at a time.

    Args:
        arrays: MODEL_INPUTS by name, int32 [N,T].
        batch_size: of a Keras model.

    Returns outputs by name [N,...]; one by token has zeros at padding.
    """
    collected = {}
    count, width = arrays["input_ids"].shape
    size = batch_size if isinstance(model, KerasModel) else 1
    inputs = {name: arrays[name] for name in MODEL_INPUTS}
    for rows, batch in by_length(inputs, size):
        for name, values in model(**batch).items():
            by_token = name in BY_TOKEN
            shape = (count, width, *values.shape[2:]) if by_token else (count, *values.shape[1:])
            output = collected.setdefault(name, np.zeros(shape, np.float32))
            output[(rows, slice(values.shape[1])) if by_token else rows] = values
    return collected


def class_order(name: str, model: Runnable, task: AnyTask) -> list[int] | None:
    """Which of the model's classes each of the task's is; None if it has none.

    Raises InputError for a model with another head or other classes.
    """
    if model.kind != task.kind:
        raise InputError(f"{name} has a {model.kind} head, {task.name} needs a {task.kind}")
    if not task.labels:
        return None
    theirs, ours = list(model.labels), list(task.labels)
    if set(theirs) == set(ours):
        return [theirs.index(name) for name in ours]
    theirs, ours = ([label.lower() for label in labels] for labels in (theirs, ours))
    if set(theirs) == set(ours) and len(set(ours)) == len(ours) == len(theirs):
        return [theirs.index(name) for name in ours]
    if len(theirs) == len(ours) and theirs == [f"label_{i}" for i in range(len(ours))]:
        return list(range(len(ours)))  # Hugging Face's names for no names
    raise InputError(
        f"{name} has the classes {', '.join(model.labels)}, {task.name} has "
        f"{', '.join(task.labels)}"
    )


def longest(model: Runnable, task: AnyTask, wanted: int | None = None) -> int:
    """Tokens of a text at most: as wanted, or what the head was trained on, or usual."""
    usual = SPAN_LENGTH if task.kind == "span" else SEQUENCE_LENGTH
    return min(wanted or model.sequence_length or usual, model.max_tokens)


def ordered(name: str, values: np.ndarray, order: Sequence[int] | None) -> np.ndarray:
    """An output by its name, classes in the task's order."""
    return values[..., order] if order and name.endswith("probability") else values
