"""Initialises a student's blocks from a plain BERT by least squares, before any training.

A block is fitted to what its teacher layer adds to the feature maps: a linear function of the
block's input, of rank I, and one of what each attention head gathers. The feed-forward networks
start near 0 and are left to training.

Shape letters: n tokens, T tokens of a text, H hidden_size, I intra_bottleneck_size, N heads, D
size of a head.
"""

from collections.abc import Sequence

import keras
import numpy as np

from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.model import MobileBert

FITTED_SENTENCES = 640  # about 13,000 tokens
_RIDGE = 1e-3  # added to a normal equation's diagonal, as a share of its mean


def can_fit(teacher: ModelConfig, student: ModelConfig) -> bool:
    """Returns whether fit_blocks knows both models."""
    plain = not teacher.use_bottleneck and student.use_bottleneck
    grouped = teacher.num_attention_heads % student.num_attention_heads == 0
    norm = student.normalization_type == "no_norm"
    return plain and grouped and norm and student.key_query_shared_bottleneck


def fit_blocks(
    teacher: MobileBert, student: MobileBert, layer_map: Sequence[int], batches: Sequence[dict]
) -> None:
    """Sets the weights of the student's blocks, one after the other from the bottom.

    Args:
        teacher, student: for which `can_fit`; the student's embeddings are set already.
        layer_map: the teacher layer, from 0, of each student layer.
        batches: the models' inputs.
    """
    weights = {weight.path: weight.numpy().astype(np.float64) for weight in teacher.weights}
    run_teacher = keras.Model(teacher.input, teacher.output["hidden_states"])
    embeddings, padding = student.get_layer("embeddings"), student.get_layer("padding")
    masks = [batch["input_mask"] for batch in batches]
    targets = [run_teacher(batch, training=False) for batch in batches]
    hidden = [embeddings(**batch) for batch in batches]
    paddings = [padding(mask) for mask in masks]
    for index, layer in enumerate(layer_map):
        block = student.get_layer(f"block_{index}")
        x = _real(hidden, masks)  # [n,H]
        added = _real([states[layer + 1] for states in targets], masks) - x
        _set_attention(block, weights, layer, teacher.config, x)
        gathered = [_gathered(block, h, p) for h, p in zip(hidden, paddings, strict=True)]
        heads = [_real(head, masks) for head in zip(*gathered, strict=True)]  # N of [n,H]
        _set_linear(block, x, heads, added)
        inner = [_inner(block, h, p) for h, p in zip(hidden, paddings, strict=True)]
        _assign(block.output_bottleneck.dense, *_least_squares(_real(inner, masks), added)[:2])
        hidden = [block(h, p)[0] for h, p in zip(hidden, paddings, strict=True)]


def _real(arrays: Sequence, masks: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the rows of [B,T,...] at real tokens, [n,...]."""
    rows = [np.asarray(array)[mask == 1] for array, mask in zip(arrays, masks, strict=True)]
    return np.concatenate(rows)


def _assign(dense, kernel: np.ndarray, bias: np.ndarray | float = 0.0) -> None:
    dense.kernel.assign(kernel)
    dense.bias.assign(np.broadcast_to(bias, dense.bias.shape))


def _set_attention(
    block, weights: dict[str, np.ndarray], layer: int, teacher: ModelConfig, x: np.ndarray
) -> None:
    """Sets query and key: for inputs as `x` [n,H], the scores of a head are nearest to the mean of
    those of its group of the teacher's heads."""
    heads, size = block.attention.heads, block.attention.head_size
    names = [f"block_{layer}/attention/{name}" for name in ("query", "key")]
    query, key = (np.split(weights[f"{name}/kernel"], heads, axis=1) for name in names)
    query_bias = np.split(weights[f"{names[0]}/bias"], heads)
    scale = (size / teacher.head_size) ** 0.5 * heads / teacher.num_attention_heads
    values, vectors = np.linalg.eigh(
        x.T @ x / len(x) + _RIDGE * np.square(x).mean() * np.eye(len(x.T))
    )
    root, inverse = (vectors * values**power @ vectors.T for power in (0.5, -0.5))
    forms = [scale * root @ q @ k.T @ root for q, k in zip(query, key, strict=True)]  # [H,H] each
    energy = sum(form @ form.T + form.T @ form for form in forms)
    axes = np.linalg.eigh(energy)[1][:, ::-1][:, : heads * size]  # [H,I]
    queries, keys, biases = [], [], []
    for form, k, bias in zip(forms, key, query_bias, strict=True):
        left, strength, right = np.linalg.svd(axes.T @ form @ axes)
        queries.append(left[:, :size] * strength[:size] ** 0.5)
        keys.append(right[:size].T * strength[:size] ** 0.5)
        by_key = scale * axes.T @ root @ k @ bias  # [I]: what the query's bias adds to a score
        biases.append(np.linalg.lstsq(keys[-1], by_key, rcond=None)[0])
    _assign(block.shared_bottleneck.dense, inverse @ axes)
    _assign(block.attention.query, np.concatenate(queries, axis=1), np.concatenate(biases))
    _assign(block.attention.key, np.concatenate(keys, axis=1))


def _gathered(block, hidden, padding) -> np.ndarray:
    """Returns the mean of the inputs [B,T,H] by the attention of each head: [N,B,T,H]."""
    _, scores = block(hidden, padding)
    probabilities = np.asarray(keras.ops.softmax(scores, axis=-1))
    return np.asarray(keras.ops.matmul(probabilities, keras.ops.expand_dims(hidden, 1))).swapaxes(
        0, 1
    )


def _set_linear(block, x: np.ndarray, heads: Sequence[np.ndarray], added: np.ndarray) -> None:
    """Sets input bottleneck, value and the attention's output: inside the block stand the I linear
    functions of its input `x` and of what the `heads` gather that explain most of what is `added`,
    [n,H] each; of each head D of them."""
    size, width = block.attention.head_size, x.shape[1]
    features = np.concatenate([x, *heads], axis=1)  # [n,(1+N)H]
    kernel, _, moments = _least_squares(features, added)
    axes = np.linalg.eigh(kernel.T @ moments @ kernel)[1][:, ::-1][:, : block.attention.query.units]
    kernel = kernel @ axes  # [(1+N)H,I]
    # The root of the deviation stays here, the other root goes to the output: weights of like size.
    kernel /= (np.sum(kernel * (moments @ kernel), axis=0) + 1e-12) ** 0.25
    own, *by_head = np.split(kernel, 1 + len(heads))  # [H,I] each
    values, outputs = [], []
    for index, part in enumerate(by_head, start=1):
        block_moments = moments[index * width :, index * width :][:width, :width]
        main = np.linalg.eigh(part.T @ block_moments @ part)[1][:, ::-1][:, :size]  # [I,D]
        values.append(part @ main)
        outputs.append(main.T)
    _assign(block.input_bottleneck.dense, own, -features.mean(axis=0) @ kernel)
    _assign(block.attention.value, np.concatenate(values, axis=1))
    _assign(block.attention.output_layer.dense, np.concatenate(outputs))


def _inner(block, hidden, padding):
    """Returns what the output bottleneck reads, [B,T,I]."""
    flat = keras.ops.reshape(hidden, (-1, hidden.shape[-1]))
    query_key = block.shared_bottleneck(flat)
    x, _ = block.attention(query_key, flat, block.input_bottleneck(flat), padding)
    for feed_forward in block.feed_forward:
        x = feed_forward(x)
    return keras.ops.reshape(x, (*hidden.shape[:2], -1))


def _least_squares(
    features: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns kernel [F,H] and bias [H] of the best linear function from [n,F] to [n,H], and the
    features' covariances [F,F]."""
    means = features.mean(axis=0, dtype=np.float64), target.mean(axis=0, dtype=np.float64)
    features, target = features - np.float32(means[0]), target - np.float32(means[1])
    moments = (features.T @ features / len(features)).astype(np.float64)
    moments += _RIDGE * np.trace(moments) / len(moments) * np.eye(len(moments))
    kernel = np.linalg.solve(moments, features.T @ target / len(features))
    return kernel, means[1] - means[0] @ kernel, moments
