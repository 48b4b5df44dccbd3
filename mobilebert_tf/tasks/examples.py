"""The texts of a task, and the arrays and batches that models are fine-tuned and evaluated on.

Shape letters: N examples, T tokens, B examples in a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mobilebert_tf.data.schedule import dataset_of
from mobilebert_tf.data.sentences import batch_rows
from mobilebert_tf.data.tables import Row
from mobilebert_tf.errors import InputError
from mobilebert_tf.text.tokenizer import WordPiece, padded

NO_LABEL = -1  # the target of what has no label: [CLS], padding, all but the first piece of a word
OF_TOKENS = "token_"  # before the name of a float array with an entry for each token
_WIDTH_MULTIPLE = 8  # of the width of a bucketed batch, so that few shapes occur


@dataclass(frozen=True)
class Examples:
    """Texts of a task.

    Args:
        texts: N strings; for token classification N lists of words.
        pairs: N second texts, or None.
        targets: int32 class numbers [N], float32 scores [N], for multi-label classification float32
            [N,C] with 1 for the labels that a text has, or for token classification N lists of
            class numbers, one a word; None if the file has no labels.
        ids: name of each example in the task's files.
        skipped: rows of the file that are no examples: (place among all rows, id), ascending.
    """

    texts: Sequence
    pairs: Sequence[str] | None
    targets: Sequence | np.ndarray | None
    ids: Sequence[str]
    skipped: Sequence[tuple[int, str]] = ()

    def __len__(self) -> int:
        return len(self.texts)


def split_ids(rows: Sequence[Row], ids: Sequence[str]) -> tuple[list[str], list[tuple[int, str]]]:
    """Returns `ids` and `skipped` of Examples, from all rows of a file and their ids."""
    places = list(enumerate(ids))
    kept = [id for place, id in places if rows[place].complete]
    return kept, [(place, id) for place, id in places if not rows[place].complete]


@dataclass(frozen=True)
class EncodedWords:
    """Texts that are given as words.

    Args:
        arrays: MODEL_INPUTS int32 [N,T].
        places: for each text the position of each word's first piece, whose label is the word's.
            Words that were cut off at the end have none.
        cut: number of texts that were cut.
    """

    arrays: dict[str, np.ndarray]
    places: list[np.ndarray]
    cut: int


def encode(
    examples: Examples, tokenizer: WordPiece, longest: int, name: str = "texts"
) -> dict[str, np.ndarray]:
    """Returns arrays by name: input_ids, input_mask, segment_ids int32 [N,T], and targets.

    Targets are there if the examples have any: [N], for multi-label classification [N,C]. T is at
    most `longest`; a line says how many texts were cut.

    Args:
        examples: N texts or pairs of them.
        tokenizer: of the model.
        longest: number of tokens.
        name: of the examples, for that line.
    """
    arrays, lengths = tokenizer.encode_within(examples.texts, examples.pairs, longest)
    say_cut(name, int((lengths > longest).sum()), len(examples), longest)
    if examples.targets is not None:
        arrays["targets"] = np.asarray(examples.targets)
    return arrays


def encode_labelled_words(
    examples: Examples, tokenizer: WordPiece, longest: int, name: str
) -> EncodedWords:
    """Returns the same as `encode` for texts that are lists of words, and where these begin.

    Targets are the classes of words, [N,T] with NO_LABEL where no word begins.
    """
    words = encode_words(examples.texts, tokenizer, longest)
    missed = sum(map(len, examples.texts)) - sum(map(len, words.places))
    say_cut(name, words.cut, len(examples), longest, f", {missed} words lost")
    if examples.targets is not None:
        words.arrays["targets"] = _token_targets(words, examples.targets)
    return words


def say_cut(name: str, cut: int, count: int, longest: int, more: str = "") -> None:
    """Prints how many of `count` texts were cut to the longest input, if any were."""
    if cut:
        print(f"{name}: {cut} of {count} texts cut to {longest} tokens{more}", flush=True)


def encode_words(
    texts: Sequence[Sequence[str]], tokenizer: WordPiece, longest: int | None = None
) -> EncodedWords:
    """Returns the inputs for N lists of words, in at most `longest` tokens; None for no limit."""
    pieces = iter(tokenizer.tokenize([word for text in texts for word in text]).to_list())
    rows, places, cut = [], [], 0
    for text in texts:
        ids, starts = [tokenizer.cls_id], []
        for _ in text:
            starts.append(len(ids))
            ids += next(pieces) or [tokenizer.unk_id]  # a word of removed characters needs a token
        room = len(ids) if longest is None else longest - 1  # without [SEP]
        cut += len(ids) > room
        rows.append([*ids[:room], tokenizer.sep_id])
        places.append(np.array([start for start in starts if start < room], np.int32))
    width = max(map(len, rows))
    mask = padded([[1] * len(row) for row in rows], width)
    arrays = {
        "input_ids": padded(rows, width, tokenizer.pad_id),
        "input_mask": mask,
        "segment_ids": np.zeros_like(mask),
    }
    return EncodedWords(arrays, places, cut)


def _token_targets(words: EncodedWords, targets: Sequence | np.ndarray) -> np.ndarray:
    """Returns the classes of the words' first pieces, NO_LABEL elsewhere: int32 [N,T]."""
    result = np.full_like(words.arrays["input_ids"], NO_LABEL)
    for row, places, classes in zip(result, words.places, targets, strict=True):
        row[places] = classes[: len(places)]
    return result


def add_unlabelled(first: dict, second: dict) -> dict[str, np.ndarray]:
    """Returns the examples of both arrays, one after the other; those of `second` have no label.

    Args:
        first, second: from `encode`, `first` with targets.
    """
    width = max(arrays["input_ids"].shape[1] for arrays in (first, second))
    targets = first["targets"]
    is_float = targets.dtype.kind == "f"
    shape = targets.shape if is_float else second["input_ids"].shape[: targets.ndim]
    missing = np.full((len(second["input_ids"]), *shape[1:]), np.nan if is_float else NO_LABEL)
    second = second | {"targets": missing.astype(targets.dtype)}
    first, second = pad_tokens(first, width), pad_tokens(second, width)
    return {name: np.concatenate([array, second[name]]) for name, array in first.items()}


def pad_tokens(arrays: dict, width: int) -> dict[str, np.ndarray]:
    """Returns the arrays, those with an entry for each token padded from [N,T] to [N,width]."""
    tokens = arrays["input_ids"].shape[1]
    wide = dict(arrays)
    for name, array in arrays.items():
        if _is_by_token(name, array, tokens):
            filler = NO_LABEL if name == "targets" else 0
            wide[name] = np.pad(array, ((0, 0), (0, width - tokens)), constant_values=filler)
    return wide


def _is_by_token(name: str, array: np.ndarray, tokens: int) -> bool:
    """Returns whether an array has an entry for each of T tokens, [N,T,...]. Float arrays say so by
    their name: multi-label targets may have as many labels as there are tokens."""
    if array.dtype.kind == "f":
        return name.startswith(OF_TOKENS)
    return array.ndim > 1 and array.shape[1] == tokens


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
        return dataset_of(self.batch, first_step, steps, signature)

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
            lengths = self.lengths if self.bucketed else np.zeros_like(self.lengths)
            rng = np.random.default_rng([self.seed, epoch])
            self._cached_plan = epoch, batch_rows(lengths, self.batch_size, rng)
        return self._cached_plan[1]


def _cut(arrays: dict, rows: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Returns some rows of the arrays, cut to the longest of them, rounded up."""
    width = arrays["input_ids"].shape[1]
    needed = min(width, -(-int(lengths[rows].max()) // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE)
    return {
        name: array[rows][:, :needed] if _is_by_token(name, array, width) else array[rows]
        for name, array in arrays.items()
    }
