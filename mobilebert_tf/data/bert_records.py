"""BERT's own pre-training records: examples that are paired and masked before training.

create_pretraining_data.py writes a tf.train.Example for each, Google's with the features of
_FEATURES, Model Garden's with these or, by --use_v2_feature_names, with input_word_ids and
input_type_ids for input_ids and segment_ids. Both are read here. Written are Google's, which all
readers know; Model Garden's reads them unless it is told otherwise.
"""

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from mobilebert_tf.data.pretraining import PretrainingExamples
from mobilebert_tf.data.records import ShardedCorpus, write_examples
from mobilebert_tf.data.schedule import ShardPlans, ShardSchedule, dataset_of
from mobilebert_tf.data.sources import Source
from mobilebert_tf.errors import InputError, tensorflow_reason
from mobilebert_tf.text.tokenizer import WordPiece

_TOKENS = ("input_ids", "input_mask", "segment_ids")  # [T]
_PREDICTIONS = ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights")  # [P]
_LABEL = "next_sentence_labels"  # [1]
_FEATURES = (*_TOKENS, *_PREDICTIONS, _LABEL)
_NEW_NAMES = {"input_ids": "input_word_ids", "segment_ids": "input_type_ids"}
# A record is its length and a check of that, 12 bytes, its content, and a check of that.
_HEADER, _FOOTER = 12, 4
_COUNTED = 20_000  # records of which the tokens are counted


def is_bert(sources: Sequence[Source]) -> bool:
    """Returns whether files hold masked examples, by the first record of the first of them.

    Raises InputError if they do, but compressed: steps read from anywhere in a file.
    """
    if not sources or any(source.kind != ".tfrecord" for source in sources):
        return False
    first = sources[0]
    kind = "GZIP" if first.path.endswith(".gz") else ""
    try:
        records = iter(tf.data.TFRecordDataset(first.path, kind).as_numpy_iterator())
        if b"masked_lm_positions" not in next(records, b""):
            return False
    except tf.errors.OpError:
        return False  # reading it as text will say what is wrong
    if kind:
        raise InputError(f"{first.path} holds masked examples, compressed: unpack it first")
    return True


class BertRecords:
    """Files of masked examples. Only the place of each record is in memory.

    Args:
        files: the files.

    Attributes:
        sequence_length: T of all examples.
        max_predictions_per_sequence: P of all examples.

    Raises InputError for a file without such records, or one that is cut off.
    """

    def __init__(self, files: Sequence[str | Path]):
        self.files = [Path(file) for file in files]
        self.places = [record_places(file) for file in self.files]
        first = next(iter(tf.data.TFRecordDataset(str(self.files[0])).as_numpy_iterator()))
        features = tf.train.Example.FromString(first).features.feature
        renamed = "input_word_ids" in features
        self._names = {name: _NEW_NAMES.get(name, name) if renamed else name for name in _FEATURES}
        missing = [name for name in self._names.values() if name not in features]
        if missing:
            raise InputError(f"{files[0]} has no feature {', '.join(missing)}")
        self.sequence_length = len(features["input_mask"].int64_list.value)
        self.max_predictions_per_sequence = len(features["masked_lm_ids"].int64_list.value)

    def read(self, file: int, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns examples as PretrainingExamples.batch does.

        Args:
            file: number of the file.
            rows: which of its records, [B].

        Raises InputError for other records than the first one.
        """
        sizes = dict.fromkeys(_TOKENS, self.sequence_length)
        sizes |= dict.fromkeys(_PREDICTIONS, self.max_predictions_per_sequence) | {_LABEL: 1}
        spec = {
            self._names[name]: tf.io.FixedLenFeature(
                [size], tf.float32 if name == "masked_lm_weights" else tf.int64
            )
            for name, size in sizes.items()
        }
        places = self.places[file][rows]  # [B, 2]
        with open(self.files[file], "rb") as opened:
            records = [os.pread(opened.fileno(), size, at) for at, size in places.tolist()]
        try:
            parsed = tf.io.parse_example(records, spec)
        except tf.errors.OpError as error:
            raise InputError(
                f"{self.files[file]} has another example than its first, or is damaged: "
                f"{tensorflow_reason(error)}"
            ) from None
        batch = {name: parsed[self._names[name]].numpy() for name in _FEATURES}
        batch[_LABEL] = batch[_LABEL][:, 0]
        weights = batch["masked_lm_weights"]
        return {k: v if v is weights else v.astype(np.int32) for k, v in batch.items()}

    def token_counts(self, vocab_size: int) -> np.ndarray:
        """Returns how often each token occurs in the first examples, plus 1: [V]."""
        counts, left = np.ones(vocab_size), _COUNTED
        for file, places in enumerate(self.places):
            batch = self.read(file, np.arange(min(left, len(places))))
            rows, slots = np.nonzero(batch["masked_lm_weights"])
            ids = batch["input_ids"]
            ids[rows, batch["masked_lm_positions"][rows, slots]] = batch["masked_lm_ids"][
                rows, slots
            ]
            counts += np.bincount(ids[batch["input_mask"] == 1], minlength=vocab_size)[:vocab_size]
            left -= len(ids)
            if left <= 0:
                break
        return counts


def record_places(path: Path) -> np.ndarray:
    """Returns where the content of each record begins, and its bytes: int64 [records, 2].

    Raises InputError for a file that is cut off or has no record.
    """
    places, at, size = [], 0, path.stat().st_size
    with open(path, "rb") as file:
        while at < size:
            header = os.pread(file.fileno(), _HEADER, at)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == _HEADER else size
            if at + _HEADER + length + _FOOTER > size:
                raise InputError(f"{path} is cut off or no TFRecord file: see byte {at:,}")
            places.append((at + _HEADER, length))
            at += _HEADER + length + _FOOTER
    if not places:
        raise InputError(f"{path} holds no record")
    return np.array(places, np.int64)


class BertExamples:
    """Batches of masked examples; each depends on these arguments and its step alone.

    Each epoch has all examples in a new order, file by file; an epoch leaves out the rest of a file
    that makes no whole batch, another one each time.

    Args:
        records: the files.
        vocab_size: V.
        batch_size: B.
        seed: of the order.
    """

    def __init__(self, records: BertRecords, vocab_size: int, batch_size: int, seed: int):
        self._records, self._vocab_size = records, vocab_size
        self._batch_size = batch_size
        counts = np.array([len(places) for places in records.places])
        self._plans = ShardPlans(lambda file: counts[file], _permutation, [seed, 0])
        self._schedule = ShardSchedule(np.maximum(1, counts // batch_size), seed)
        self.batches_per_epoch = self._schedule.batches_per_epoch

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Returns the examples of one step, as PretrainingExamples.batch does.

        Raises InputError for a token that the vocabulary does not have.
        """
        epoch, file, index = self._schedule(step)
        _, order = self._plans(epoch, file)
        rows = np.arange(index * self._batch_size, (index + 1) * self._batch_size) % len(order)
        batch = self._records.read(file, order[rows])
        if max(batch["input_ids"].max(), batch["masked_lm_ids"].max()) >= self._vocab_size:
            raise InputError(
                f"{self._records.files[file]} was made with another, larger vocabulary than this "
                f"one of {self._vocab_size:,} pieces"
            )
        return batch

    def dataset(self, start_step: int, num_steps: int) -> tf.data.Dataset:
        """Returns the batches of `num_steps` steps, beginning with `start_step`, prefetched."""
        return dataset_of(self.batch, start_step, num_steps)


def _permutation(count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(count)


def write_bert_records(
    path: Path, corpus: ShardedCorpus, tokenizer: WordPiece, copies: int, **settings
) -> None:
    """Writes a prepared corpus as masked examples, whole or not at all.

    Args:
        path: of the file.
        corpus: the documents.
        tokenizer: the one that tokenized them.
        copies: how often each text is written, with other pairs and masks each time.
        settings: of PretrainingExamples.
    """
    examples = PretrainingExamples(corpus, tokenizer, batch_size=1, **settings)
    count = copies * examples.batches_per_epoch
    write_examples(path, map(_example, map(examples.batch, range(count))))


def _example(batch: dict[str, np.ndarray]) -> tf.train.Example:
    """Returns the only example of a batch."""
    features = {}
    for name in _FEATURES:
        values = batch[name].ravel()
        if name == "masked_lm_weights":
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        else:
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Example(features=tf.train.Features(feature=features))
