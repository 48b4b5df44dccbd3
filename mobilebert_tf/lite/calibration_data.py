"""Real text as model inputs, to calibrate an export on and to check it with."""

import itertools
from collections.abc import Sequence

import numpy as np

from mobilebert_tf.data.corpus import load_documents
from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.graph import INPUTS
from mobilebert_tf.text.tokenizer import WordPiece

# A sample is cut to one of these lengths: from a short phrase to a long paragraph, odd ones too.
_LENGTHS = (7, 13, 25, 37, 64, 127, 256, 512)
_MASKED_SHARE = 0.15  # of the tokens, as in pre-training


def samples(
    corpus: str | Sequence[str],
    tokenizer: WordPiece,
    max_tokens: int,
    count: int,
    masked: bool,
    most: int = 0,
) -> list[dict[str, np.ndarray]]:
    """Returns paragraphs, evenly spread over the corpus, as input_ids, input_mask, segment_ids.

    Each is int32 [1,T] without padding. Every second paragraph is cut into a pair of its halves,
    so that both segments occur.

    Args:
        corpus: as in data.corpus.load_documents.
        max_tokens: longest T.
        count, most: the number of paragraphs: at least `count`, up to `most` if there are so many.
        masked: replace some tokens by [MASK], for a masked language model.

    Raises InputError if the corpus has fewer than `count` paragraphs.
    """
    texts = paragraphs(corpus, count, most)
    count = len(texts)
    lengths = [min(length, max_tokens) for length in _LENGTHS]
    encoded: list[dict[str, np.ndarray]] = [{}] * count
    for pair, length in itertools.product((False, True), range(len(lengths))):
        chosen = range(count)[2 * length + pair :: 2 * len(lengths)]
        rows = _encoded(tokenizer, [texts[i] for i in chosen], lengths[length], pair)
        for i, row in zip(chosen, rows, strict=True):
            encoded[i] = row
    return _with_masks(tokenizer, encoded) if masked else encoded


def paragraphs(corpus: str | Sequence[str], count: int, most: int = 0) -> list[str]:
    """Returns paragraphs, evenly spread over the corpus. Arguments and errors as in `samples`."""
    documents = load_documents(corpus, every=8)
    texts = [text for document in documents for text in document if text.strip()]
    if len(texts) < count:
        raise InputError(
            f"the calibration data {corpus} has {len(texts)} paragraphs: at least {count} "
            "are needed"
        )
    places = np.linspace(0, len(texts) - 1, max(count, min(most, len(texts)))).astype(int)
    return [texts[place] for place in places]


def _encoded(tokenizer: WordPiece, texts: list[str], length: int, pair: bool) -> list[dict]:
    if not texts:
        return []
    pairs = None
    if pair:
        words = [text.split() for text in texts]
        texts = [" ".join(row[: len(row) // 2]) for row in words]
        pairs = [" ".join(row[len(row) // 2 :]) for row in words]
    batch = tokenizer.encode(texts, pairs, sequence_length=length)  # [N,length] each
    tokens = batch["input_mask"].sum(axis=1)
    return [
        {name: array[i : i + 1, : tokens[i]] for name, array in batch.items()}
        for i in range(len(texts))
    ]


def _with_masks(tokenizer: WordPiece, encoded: list[dict]) -> list[dict]:
    random = np.random.default_rng(0)
    masked = []
    for inputs in encoded:
        ids = inputs["input_ids"]
        words = (ids != tokenizer.cls_id) & (ids != tokenizer.sep_id)
        chosen = words & (random.random(ids.shape) < _MASKED_SHARE)
        ids = np.where(chosen, np.int32(tokenizer.mask_id), ids)
        masked.append(inputs | {"input_ids": ids})
    return masked


def for_graph(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a sample under the names of the graph's inputs."""
    return dict(zip(INPUTS, inputs.values(), strict=True))


def padded(inputs: dict[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """Returns a sample padded with zeros to `length` tokens."""
    return {
        name: np.pad(array, ((0, 0), (0, length - array.shape[1])))
        for name, array in inputs.items()
    }


def joined(inputs: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns samples as one padded batch, [B,T] with the longest T."""
    longest = max(sample["input_ids"].shape[1] for sample in inputs)
    rows = [padded(sample, longest) for sample in inputs]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
