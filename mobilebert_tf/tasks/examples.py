"""The texts of a task, and the arrays and batches that models are fine-tuned and evaluated on.

Shape letters: N examples, T tokens, B examples in a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.text.tokenizer import WordPiece

NO_LABEL = -1  # the target of what has no label: [CLS], padding, all but the first piece of a word
_WIDTH_MULTIPLE = 8  # of the width of a bucketed batch, so that few shapes occur
_POOL = 50  # batches that are sorted by length together: random enough, with little padding


@dataclass(frozen=True)
class Examples:
    """Texts of a task.

    Args:
        texts: N strings; for token classification N lists of words.
        pairs: N second texts, or None.
        targets: int32 class numbers [N], float32 scores [N], or for token classification N lists
            of class numbers, one a word; None if the file has no labels.
        ids: name of each example in the task's files.
    """

    texts: Sequence
    pairs: Sequence[str] | None
    targets: Sequence | np.ndarray | None
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)


def encode(examples: Examples, tokenizer: WordPiece, longest: int) -> dict[str, np.ndarray]:
    """Returns arrays by name: input_ids, input_mask, segment_ids int32 [N,T], and targets.

    Targets are there if the examples have any: [N], for token classification [N,T] with NO_LABEL
    where there is none. T is at most `longest`.
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
        word_labels = (
            examples.targets[index] if examples.targets is not None else [NO_LABEL] * len(text)
        )
        ids, token_labels = [], []
        for label in word_labels:
            word = next(pieces) or [tokenizer.unk_id]  # a word of removed characters needs a token
            ids += word
            token_labels += [label] + [NO_LABEL] * (len(word) - 1)
        rows.append([tokenizer.cls_id, *ids[: longest - 2], tokenizer.sep_id])
        labels.append([NO_LABEL, *token_labels[: longest - 2], NO_LABEL])
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


def add_unlabelled(first: dict, second: dict) -> dict[str, np.ndarray]:
    """Returns the examples of both arrays, one after the other; those of `second` have no label.

    Args:
        first, second: from `encode`, `first` with targets.
    """
    width = max(arrays["input_ids"].shape[1] for arrays in (first, second))
    targets = first["targets"]
    shape = second["input_ids"].shape[: targets.ndim]
    missing = np.nan if targets.dtype.kind == "f" else NO_LABEL
    second = second | {"targets": np.full(shape, missing, targets.dtype)}
    first, second = pad_tokens(first, width), pad_tokens(second, width)
    return {name: np.concatenate([array, second[name]]) for name, array in first.items()}


def pad_tokens(arrays: dict, width: int) -> dict[str, np.ndarray]:
    """Returns the arrays, those with an entry for each token padded from [N,T] to [N,width]."""
    tokens = arrays["input_ids"].shape[1]
    padded = dict(arrays)
    for name, array in arrays.items():
        if array.ndim > 1 and array.shape[1] == tokens:
            filler = NO_LABEL if name == "targets" else 0
            padded[name] = np.pad(array, ((0, 0), (0, width - tokens)), constant_values=filler)
    return padded


def _padded(rows: list[list[int]], width: int, filler: int) -> np.ndarray:
    return np.array([row + [filler] * (width - len(row)) for row in rows], np.int32)


class Batches:
    """Endless shuffled batches of encoded examples, which depend on the seed and the step alone.

    Args:
        arrays: from `encode`.
        batch_size: B; the last batch of an epoch may be smaller.
        seed: of the order, which differs from epoch to epoch.
        bucketed: put texts of similar length together and cut the padding; else keep T.

    Raises InputError if there are no examples.
    """

    def __init__(self, arrays: dict, batch_size: int, seed: int, bucketed: bool = True):
        self.arrays, self.batch_size, self.seed = arrays, batch_size, seed
        self.bucketed = bucketed
        # An epoch and the rows of its batches.
        self._cached_plan: tuple[int | None, list[np.ndarray]] = (None, [])
        self.lengths = arrays["input_mask"].sum(axis=1)  # [N]
        if not len(self.lengths):
            raise InputError("there are no examples to train on")

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def dataset(self, first_step: int, steps: int) -> tf.data.Dataset:
        """Returns the batches of `steps` steps, beginning with `first_step`: dicts as `arrays`."""
        signature = {
            name: tf.TensorSpec([None] * array.ndim, array.dtype)
            for name, array in self.arrays.items()
        }
        return tf.data.Dataset.from_generator(
            lambda: map(self.batch, range(first_step, first_step + steps)),
            output_signature=signature,
        ).prefetch(4)

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Returns the batch of a step: [B,...] each."""
        epoch, index = divmod(step, self.steps_per_epoch)
        rows = self._plan(epoch)[index]
        if not self.bucketed:
            return {name: array[rows] for name, array in self.arrays.items()}
        return _cut(self.arrays, rows, self.lengths)

    def _plan(self, epoch: int) -> list[np.ndarray]:
        """Returns the rows of each batch of an epoch."""
        if self._cached_plan[0] != epoch:
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
            self._cached_plan = epoch, [batches[i] for i in rng.permutation(len(batches))]
        return self._cached_plan[1]


def _cut(arrays: dict, rows: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Returns some rows of the arrays, cut to the longest of them, rounded up."""
    width = arrays["input_ids"].shape[1]
    needed = min(width, -(-int(lengths[rows].max()) // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE)
    return {
        name: array[rows][:, :needed] if array.ndim > 1 and array.shape[1] == width else array[rows]
        for name, array in arrays.items()
    }
