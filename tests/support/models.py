"""Tiny models of every variant with random weights, and random batches for them."""

import functools

import numpy as np
import tensorflow as tf

from mobilebert_tf import build_model, save_model
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.modeling.heads import HEADS
from mobilebert_tf.modeling.runner import KerasModel
from mobilebert_tf.tasks.examples import NO_LABEL
from support.texts import LABELS, TOKENIZER, VOCABULARY

MAX_TOKENS = 37
STUDENT = SIZES["test-student"].replace(vocab_size=len(VOCABULARY))
TEACHER = SIZES["test-teacher"].replace(vocab_size=len(VOCABULARY))
VARIANTS = {
    "student": STUDENT,
    "without-opt": STUDENT.replace(hidden_act="gelu", normalization_type="layer_norm"),
    "tiny": STUDENT.replace(key_query_shared_bottleneck=False, use_bottleneck_attention=True),
    "teacher": TEACHER,
    "bert": TEACHER.replace(
        use_bottleneck=False,
        trigram_input=False,
        embedding_size=24,
        intra_bottleneck_size=24,
        hidden_act="gelu_erf",
    ),
}
SCALE = 0.14  # of the weights: small enough for a softmax that is no choice
LABELS_OF_HEADS = {None: (), "pretraining": (), "classifier": ("a", "b", "c"), "span": ()}


def randomized(model, seed=0, scale=0.3):
    """The model with every weight random: fresh norms and biases, ones and zeros, hide mistakes."""
    random = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.path.endswith("gamma"):
            variable.assign(random.uniform(0.7, 1.3, variable.shape))
        elif "seed_generator" not in variable.path:
            # A classifier must not be so sure that all its probabilities are 0 or 1.
            small = min(scale, 0.01) if variable.path == "classifier/kernel" else scale
            variable.assign(random.normal(0, small, variable.shape))
    return model


def random_model(config, head=None, labels=None, *, seed=0, scale=0.3):
    """A model of random weights; a head that has labels gets LABELS unless told others."""
    if labels is None:
        labels = LABELS if head is not None and HEADS[head].has_labels else ()
    return randomized(build_model(config, head, labels), seed, scale)


@functools.cache
def model(variant="student", head="classifier"):
    """A model that tests share: none may change it."""
    return random_model(VARIANTS[variant], head)


@functools.cache
def keras_model(variant="student", head="classifier"):
    return KerasModel(model(variant, head), TOKENIZER, head)


def save_directory(directory, variant="student", head="classifier"):
    save_model(model(variant, head), directory, TOKENIZER)
    return directory


def models_of_heads():
    """A model of one block for each of LABELS_OF_HEADS."""
    config = STUDENT.replace(num_hidden_layers=1)
    return {
        head: random_model(config, head, labels, scale=SCALE)
        for head, labels in LABELS_OF_HEADS.items()
    }


def batch(lengths, width=None, *, seed=0, noise=False, vocab_size=STUDENT.vocab_size):
    """Random texts of `lengths` tokens, int32 [texts,width], each in two segments.

    In the padding stand zeros; with `noise`, random tokens of the second segment.
    """
    random = np.random.default_rng(seed)
    lengths = np.array(lengths)[:, None]
    place = np.arange(width or lengths.max())
    mask = (place < lengths).astype(np.int32)
    ids = random.integers(5, vocab_size, mask.shape, dtype=np.int32)
    segments = (place > lengths // 2).astype(np.int32)
    kept = 1 if noise else mask
    return {"input_ids": ids * kept, "input_mask": mask, "segment_ids": segments * kept}


def inputs(tokens, seed=0, padding=0):
    """One random text, int32 [1,tokens], the last `padding` tokens of it padding."""
    return batch([tokens - padding], tokens, seed=seed)


def undecided(head, seed=0):
    """A model whose scores lie around 0, or whose classes have nearly the same probability."""
    built = random_model(VARIANTS["student"], head, seed=seed)
    name = "score" if head == "regression" else "logits"
    outputs = [built(inputs(n, n), training=False)[name] for n in (7, 13, 25, 37)]
    (bias,) = [weight for weight in built.weights if weight.path == "classifier/bias"]
    bias.assign(bias - np.mean(outputs, axis=0).reshape(bias.shape))
    return built


def with_positions(model, arrays):
    """The inputs of `model`: one that predicts masks is asked for the first token, twice."""
    if not model.head.predicts_masks:
        return arrays
    return arrays | {"masked_lm_positions": np.zeros([len(arrays["input_ids"]), 2], np.int32)}


def inputs_of(model, lengths=(7, 4, 1), width=13, *, seed=0, noise=True):
    """A batch for `model`, with tokens in the padding too."""
    return with_positions(model, batch(lengths, width, seed=seed, noise=noise))


def training_batch(head, *, seed=0, noise=False):
    """Four texts of up to seven tokens with what `head` learns from them, as tensors."""
    arrays = batch([7, 4, 7, 6], seed=seed, noise=noise) | _targets(head, seed)
    return {name: tf.constant(array) for name, array in arrays.items()}


def _targets(head, seed):
    random = np.random.default_rng(seed)
    if head == "pretraining":
        return {
            "masked_lm_positions": random.integers(0, 3, (4, 3)).astype(np.int32),
            "masked_lm_ids": random.integers(0, len(VOCABULARY), (4, 3)).astype(np.int32),
            "masked_lm_weights": np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]], np.float32),
            "next_sentence_labels": random.integers(0, 2, 4).astype(np.int32),
        }
    by_token = random.integers(0, len(LABELS), (4, 7))
    by_token[1, 4:] = by_token[3, 6:] = NO_LABEL
    targets = {
        "classifier": np.array([0, 1, 2, 1], np.int32),
        "multi_label_classifier": np.array(
            [[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], np.float32
        ),
        "regression": np.array([0.5, -1, 2, 0], np.float32),
        "token_classifier": by_token.astype(np.int32),
        "span": np.array([[1, 2], [0, 3], [2, 6], [5, 5]], np.int32),
    }
    return {"targets": targets[head]}


def relative_error(values, expected):
    return np.abs(values - expected).max() / np.abs(expected).max()
