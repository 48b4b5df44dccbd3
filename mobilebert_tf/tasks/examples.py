"""Labelled texts, and the arrays and batches that a model is fine-tuned and judged on.

Letters: N examples, T tokens, B examples in a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.text.tokenizer import WordPiece

NO_LABEL = -1  # of tokens that have none: [CLS], padding, later pieces of a word
_WIDTH = 8  # batches are cut to a multiple of it, so that few shapes occur
_POOL = 50  # batches that are sorted by length together: random enough, and little padding


@dataclass(frozen=True)
class Examples:
    """Texts of a task.

    Args:
        texts: N strings; for token classification N lists of words.
        pairs: N second texts, or None.
        targets: int32 class numbers [N], float32 scores [N], or for token classification N lists
            of class numbers, one a word; None if the file has no labels.
        ids: how the task's own files name each example.
    """

    texts: Sequence
    pairs: Sequence[str] | None
    targets: Sequence | None
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)


def encode(examples: Examples, tokenizer: WordPiece, longest: int) -> dict[str, np.ndarray]:
    """Arrays by name: input_ids, input_mask, segment_ids int32 [N,T], and if there are any targets:
    [N], for token classification [N,T] with NO_LABEL where there is none. T is at most `longest`.
    """
    if len(examples) and not isinstance(examples.texts[0], str):
        return _encode_words(examples, tokenizer, longest)
    longest = min(longest, _longest(examples, tokenizer))
    arrays = tokenizer.encode(examples.texts, examples.pairs, sequence_length=longest)
    if examples.targets is not None:
        arrays["targets"] = np.asarray(examples.targets)
    return arrays


def _longest(examples: Examples, tokenizer: WordPiece) -> int:
    lengths = tokenizer.tokenize(examples.texts).row_lengths().numpy() + 2
    if examples.pairs is not None:
        lengths += tokenizer.tokenize(examples.pairs).row_lengths().numpy() + 1
    return int(lengths.max())


def _encode_words(examples: Examples, tokenizer: WordPiece, longest: int) -> dict[str, np.ndarray]:
    words = [word for text in examples.texts for word in text]
    pieces = iter(tokenizer.tokenize(words).to_list())
    rows, labels = [], []
    for index, text in enumerate(examples.texts):
        targets = (
            examples.targets[index] if examples.targets is not None else [NO_LABEL] * len(text)
        )
        ids, marks = [], []
        for target in targets:
            word = next(pieces) or [tokenizer.unk_id]  # a word of removed characters keeps a place
            ids += word
            marks += [target] + [NO_LABEL] * (len(word) - 1)
        rows.append([tokenizer.cls_id, *ids[: longest - 2], tokenizer.sep_id])
        labels.append([NO_LABEL, *marks[: longest - 2], NO_LABEL])
    width = max(map(len, rows))
    lengths = np.array([len(row) for row in rows])
    mask = (np.arange(width) < lengths[:, None]).astype(np.int32)
    arrays = {
        "input_ids": _padded(rows, width, tokenizer.pad_id),
        "input_mask": mask,
        "segment_ids": np.zeros_like(mask),
    }
    if examples.targets is not None:
        arrays["targets"] = _padded(labels, width, NO_LABEL)
    return arrays


def joined(first: dict, second: dict) -> dict[str, np.ndarray]:
    """The examples of both arrays, one after the other; those of `second` have no label.

    Args:
        first, second: as from `encode`, `first` with targets.
    """
    width = max(arrays["input_ids"].shape[1] for arrays in (first, second))
    targets = first["targets"]
    shape = second["input_ids"].shape[: targets.ndim]
    missing = np.nan if targets.dtype.kind == "f" else NO_LABEL
    second = second | {"targets": np.full(shape, missing, targets.dtype)}
    first, second = widened(first, width), widened(second, width)
    return {name: np.concatenate([array, second[name]]) for name, array in first.items()}


def widened(arrays: dict, width: int) -> dict[str, np.ndarray]:
    """The same examples, the arrays by token padded from [N,T] to [N,width]."""
    tokens = arrays["input_ids"].shape[1]
    return {
        name: np.pad(
            array,
            ((0, 0), (0, width - tokens)),
            constant_values=NO_LABEL if name == "targets" else 0,
        )
        if array.ndim > 1 and array.shape[1] == tokens
        else array
        for name, array in arrays.items()
    }


def _padded(rows: list[list[int]], width: int, filler: int) -> np.ndarray:
    return np.array([row + [filler] * (width - len(row)) for row in rows], np.int32)


class Batches:
    """Endless shuffled batches of encoded examples; a function of the seed and the step.

    Args:
        arrays: as from `encode`.
        batch_size: B; the last batch of an epoch may have fewer.
        seed: of the order, another one in each epoch.
        bucketed: put texts of like lengths together and cut the padding; or keep T.
    """

    def __init__(self, arrays: dict, batch_size: int, seed: int, bucketed: bool = True):
        self.arrays, self.batch_size, self.seed = arrays, batch_size, seed
        self.bucketed = bucketed
        self._planned = (None, [])  # the last epoch asked for, and its batches
        self.lengths = arrays["input_mask"].sum(axis=1)  # [N]
        if not len(self.lengths):
            raise InputError("there are no examples to train on")

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def dataset(self, first_step: int, steps: int) -> tf.data.Dataset:
        """Batches of steps first_step, first_step + 1, ...: dicts as `arrays`, [B,...]."""
        signature = {
            name: tf.TensorSpec([None] * array.ndim, array.dtype)
            for name, array in self.arrays.items()
        }
        generator = lambda: (self.batch(step) for step in range(first_step, first_step + steps))  # noqa: E731
        return tf.data.Dataset.from_generator(generator, output_signature=signature).prefetch(4)

    def batch(self, step: int) -> dict[str, np.ndarray]:
        epoch, place = divmod(step, self.steps_per_epoch)
        rows = self._plan(epoch)[place]
        if not self.bucketed:
            return {name: array[rows] for name, array in self.arrays.items()}
        return cut(self.arrays, rows, self.lengths)

    def _plan(self, epoch: int) -> list[np.ndarray]:
        """The rows of each batch of an epoch."""
        if self._planned[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            order = rng.permutation(len(self.lengths))
            if self.bucketed:
                pool = _POOL * self.batch_size
                pools = [order[i : i + pool] for i in range(0, len(order), pool)]
                order = np.concatenate(
                    [p[np.argsort(self.lengths[p], kind="stable")] for p in pools]
                )
            size = self.batch_size
            batches = [order[i : i + size] for i in range(0, len(order), size)]
            self._planned = epoch, [batches[i] for i in rng.permutation(len(batches))]
        return self._planned[1]


def cut(arrays: dict, rows: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of the arrays, those by token little wider than the longest row needs."""
    width = arrays["input_ids"].shape[1]
    needed = min(width, -(-int(lengths[rows].max()) // _WIDTH) * _WIDTH)
    return {
        name: array[rows][:, :needed] if array.ndim > 1 and array.shape[1] == width else array[rows]
        for name, array in arrays.items()
    }
