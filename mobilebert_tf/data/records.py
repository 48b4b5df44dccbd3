"""A prepared folder: tokenized documents in sharded TFRecord files, and an index of them.

index.json   settings, digests, counts of each shard, statistics; written last
vocab.txt    with tokenizer_config.json: the tokenizer
token_counts.npy   how often each token occurs in the training text, int64 [V]
train-00000-of-00008.tfrecord, held_out-00000-of-00001.tfrecord, ...

A record is a tf.train.Example, a document, with two features of little-endian bytes: `tokens`, ids
of uint16 (int32 if the vocabulary has more than 65,536 pieces), and `sentence_tokens`, the number
of tokens of each sentence, int32. Lists of 64-bit numbers would take ten times as long to write.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from mobilebert_tf.data.tokenized import TokenizedCorpus, offsets
from mobilebert_tf.errors import InputError, tensorflow_reason
from mobilebert_tf.files import INDEX, read_bytes, read_json, whole_file, write_json

FORMAT = "mobilebert_tf documents 1"
TOKEN_COUNTS = "token_counts.npy"
_LENGTH = np.dtype("<i4")


@dataclass(frozen=True)
class Shard:
    """What the index says about a file of records.

    Args:
        file: its name.
        documents, sentences, tokens: their numbers.
        single_sentence_documents: documents of one sentence.
        unknown: tokens that are [UNK].
        digest: of the documents.
    """

    file: str
    documents: int
    sentences: int
    tokens: int
    single_sentence_documents: int
    unknown: int
    digest: str


def token_type(vocab_size: int) -> np.dtype:
    """Returns the type of the ids in records."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<i4")


def write_shard(path: Path, corpus: TokenizedCorpus, vocab_size: int, unk_id: int) -> Shard:
    """Writes a shard, whole or not at all, and returns its entry of the index."""
    kind, digest = token_type(vocab_size), hashlib.blake2b(digest_size=16)
    lengths = np.diff(corpus.sentence_offsets).astype(_LENGTH)
    tokens = corpus.tokens.astype(kind)
    bounds = corpus.document_offsets.tolist()

    def documents() -> Iterator[tf.train.Example]:
        for begin, end in zip(bounds, bounds[1:], strict=False):
            document = tokens[corpus.sentence_offsets[begin] : corpus.sentence_offsets[end]]
            features = {
                "tokens": _bytes_feature(document.tobytes()),
                "sentence_tokens": _bytes_feature(lengths[begin:end].tobytes()),
            }
            yield tf.train.Example(features=tf.train.Features(feature=features))

    write_examples(path, documents())
    for array in (tokens, lengths, np.diff(corpus.document_offsets).astype(_LENGTH)):
        digest.update(array.tobytes())
    return Shard(
        file=path.name,
        documents=len(corpus.document_offsets) - 1,
        sentences=len(lengths),
        tokens=len(tokens),
        single_sentence_documents=corpus.single_sentence_documents,
        unknown=int((corpus.tokens == unk_id).sum()),
        digest=digest.hexdigest(),
    )


def write_examples(path: Path, examples: Iterable[tf.train.Example]) -> None:
    """Writes a TFRecord file, whole or not at all. Raises OSError if the disk does not take it."""
    try:
        with whole_file(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for example in examples:
                writer.write(example.SerializeToString(deterministic=True))
    except tf.errors.OpError as error:
        reason = tensorflow_reason(error).rpartition("; ")[2]
        raise OSError(f"cannot write {path}: {reason}") from None


def _bytes_feature(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


_FEATURES = {name: tf.io.FixedLenFeature([], tf.string) for name in ("tokens", "sentence_tokens")}


def read_shard(path: Path, shard: Shard, vocab_size: int) -> TokenizedCorpus:
    """Returns the documents of a shard. Raises InputError if it is missing, damaged or another."""
    kind, digest = token_type(vocab_size), hashlib.blake2b(digest_size=16)
    try:
        parsed = (
            tf.data.TFRecordDataset(str(path))
            .batch(1024)
            .map(lambda records: tf.io.parse_example(records, _FEATURES))
        )
        batches = list(parsed.as_numpy_iterator())
    except tf.errors.OpError as error:
        raise InputError(f"{path} is missing or damaged: {tensorflow_reason(error)}") from None
    documents = [b"".join(batch["tokens"]) for batch in batches]
    sentences = [row for batch in batches for row in batch["sentence_tokens"]]
    tokens = np.frombuffer(b"".join(documents), kind)
    lengths = np.frombuffer(b"".join(sentences), _LENGTH)
    counts = np.array([len(row) // _LENGTH.itemsize for row in sentences], _LENGTH)
    for array in (tokens, lengths, counts):
        digest.update(array.tobytes())
    if digest.hexdigest() != shard.digest:
        raise InputError(f"{path} is damaged: its content is not that of {INDEX}; prepare it again")
    return TokenizedCorpus(tokens.astype(np.int32), offsets(lengths), offsets(counts))


class ShardedCorpus:
    """The training or held-out documents of a prepared folder: a Corpus that stays on disk.

    Args:
        directory: the folder.
        shards: the entries of the index.
        vocab_size: V.
        memory: file in which `sizes` are remembered, if they are.
    """

    def __init__(
        self, directory: Path, shards: list[Shard], vocab_size: int, memory: Path | None = None
    ):
        self.directory, self.shards = directory, shards
        self._vocab_size, self._memory = vocab_size, memory

    @property
    def shard_count(self) -> int:
        return len(self.shards)

    def shard(self, index: int) -> TokenizedCorpus:
        """Returns the documents of a shard. Raises InputError if it is missing or damaged."""
        shard = self.shards[index]
        return read_shard(self.directory / shard.file, shard, self._vocab_size)

    def sizes(self, name: str, size_of: Callable[[int], int]) -> list[int]:
        """Returns a size of each shard, for which all are read once; see Corpus."""
        known = {}
        if self._memory is not None and self._memory.exists():
            known = read_json(self._memory)
        if name not in known:
            numbers = range(self.shard_count)
            progress = tqdm(numbers, "counting examples", unit="shard", disable=len(numbers) < 4)
            known[name] = [size_of(number) for number in progress]
            if self._memory is not None:
                write_json(self._memory, known)
        return known[name]

    def token_counts(self, vocab_size: int) -> np.ndarray:
        """Returns how often each token occurs in the training text, plus 1: [V]."""
        path = self.directory / TOKEN_COUNTS
        try:
            counts = np.load(path, allow_pickle=False)
        except Exception as error:  # NumPy raises errors of many kinds for a damaged file
            raise InputError(f"{path} is missing or damaged: {str(error)[:100]}") from None
        if counts.shape != (vocab_size,):
            raise InputError(f"{path} is not of a vocabulary of {vocab_size:,} pieces")
        return counts + 1.0

    @property
    def single_sentence_documents(self) -> int:
        """Number of documents with a single sentence, which has no next sentence."""
        return sum(shard.single_sentence_documents for shard in self.shards)

    def share_of_unknown(self) -> float:
        """Returns the share of [UNK] in the text, 0 to 1."""
        return sum(s.unknown for s in self.shards) / sum(s.tokens for s in self.shards)


_LEFT_OUT = ("documents_read", "documents_without_tokens", "bad_documents", "near_duplicates")


@dataclass(frozen=True)
class PreparedFolder:
    """A prepared folder as its index describes it.

    Args:
        directory: the folder.
        train, held_out: the shards.
        vocab_size: V.
        digest: of the index, and so of all content.
        settings: with which it was prepared.
        statistics: as in data.preparation.
    """

    directory: Path
    train: list[Shard]
    held_out: list[Shard]
    vocab_size: int
    digest: str
    settings: dict[str, Any]
    statistics: dict[str, Any]

    def corpus(self, side: str, memory: Path | None = None) -> ShardedCorpus:
        """Returns the documents of a side, "train" or "held_out"; `memory` as in ShardedCorpus."""
        return ShardedCorpus(self.directory, getattr(self, side), self.vocab_size, memory)

    def index(self) -> dict[str, Any]:
        """Returns the content of index.json."""
        values = asdict(self) | {"format": FORMAT}
        return {k: v for k, v in values.items() if k not in ("directory", "digest")}


def prepared_folder(corpus: str | Sequence[str]) -> Path | None:
    """Returns the prepared folder that a corpus is; None if it is anything else."""
    items = [corpus] if isinstance(corpus, str) else list(corpus)
    return Path(items[0]) if len(items) == 1 and (Path(items[0]) / INDEX).is_file() else None


def open_prepared(directory: Path) -> PreparedFolder:
    """Reads the index of a prepared folder. Raises InputError if it is damaged."""
    path = directory / INDEX
    values = read_json(path)
    if values.pop("format", None) != FORMAT:
        raise InputError(f"{path} is no index of this version: prepare the folder again")
    digest = hashlib.blake2b(read_bytes(path, 2**25), digest_size=16).hexdigest()
    try:
        for side in ("train", "held_out"):
            check_counts({f"number of {side} shards": len(values[side])}, least=1)
            values[side] = [_shard(entry) for entry in values[side]]
        statistics = values["statistics"]
        check_counts({name: statistics[name] for name in _LEFT_OUT})
        return PreparedFolder(directory=directory, digest=digest, **values)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {error}; prepare the folder again") from None


def _shard(entry: dict[str, Any]) -> Shard:
    """Returns what an entry of the index says. Raises TypeError or KeyError for a damaged one."""
    names = {name: entry[name] for name in ("file", "digest")}
    check_counts({k: v for k, v in entry.items() if k in ("documents", "sentences", "tokens")}, 1)
    check_counts({k: v for k, v in entry.items() if k not in names})
    if not all(isinstance(name, str) for name in names.values()):
        raise TypeError(f"{names} are no names")
    return Shard(**entry)


def check_counts(counts: dict[str, Any], least: int = 0) -> None:
    """Raises TypeError for a value that is no whole number, or less than `least`."""
    for name, count in counts.items():
        if type(count) is not int or count < least:
            raise TypeError(f"{name} is {count!r:.40}")
