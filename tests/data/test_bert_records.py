"""Masked examples of create_pretraining_data.py: read by step, and written."""

import gzip

import numpy as np
import pytest
import tensorflow as tf
from support.texts import VOCABULARY, write_corpus

from mobilebert_tf.data.bert_preparation import write_bert
from mobilebert_tf.data.bert_records import BertRecords, is_bert
from mobilebert_tf.data.preparation import prepare_corpus
from mobilebert_tf.data.preparation_plan import PrepareConfig
from mobilebert_tf.data.prepared_text import DataConfig, prepare_text
from mobilebert_tf.data.sources import sources
from mobilebert_tf.errors import InputError

SIZES = {"sequence_length": 24, "max_predictions_per_sequence": 4}
NAMES = ("input_ids", "input_mask", "segment_ids")


def integers(values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def write_examples(path, count, first=0, renamed=False, length=24, predictions=4):
    """Examples that differ in their second token, as Google's program or Model Garden's writes."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i in range(first, first + count):
            weights = [1.0, 1.0] + [0.0] * (predictions - 2)
            words = {"input_ids": [2, 10 + i, 4, 3, 20, 3] + [0] * (length - 6)}
            words["segment_ids"] = [0, 0, 0, 0, 1, 1] + [0] * (length - 6)
            if renamed:
                words = {
                    "input_word_ids": words["input_ids"],
                    "input_type_ids": words["segment_ids"],
                }
            features = {name: integers(values) for name, values in words.items()}
            features["input_mask"] = integers([1] * 6 + [0] * (length - 6))
            features["masked_lm_positions"] = integers([1, 2] + [0] * (predictions - 2))
            features["masked_lm_ids"] = integers([30, 31] + [0] * (predictions - 2))
            features["masked_lm_weights"] = tf.train.Feature(
                float_list=tf.train.FloatList(value=weights)
            )
            features["next_sentence_labels"] = integers([i % 2])
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return str(path)


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(VOCABULARY))
    return str(path)


def text_of(tmp_path, corpus, held_out, vocabulary, **changes):
    config = DataConfig(
        corpus=corpus, held_out_corpus=held_out, vocabulary=vocabulary, batch_size=3,
        **{**SIZES, **changes},
    )  # fmt: skip
    return prepare_text(config, tmp_path / "run")


@pytest.mark.parametrize("renamed", [False, True])
def test_every_example_once_in_an_epoch(tmp_path, vocabulary, renamed):
    files = [
        write_examples(tmp_path / f"{i}.tfrecord", count, first, renamed)
        for i, (count, first) in enumerate([(7, 0), (12, 7), (2, 19)])
    ]
    text = text_of(tmp_path, files, files[0], vocabulary)
    examples, again = text.training_examples(1), text.training_examples(1)
    assert examples.batches_per_epoch == 2 + 4 + 1
    epochs = []
    for epoch in range(2):
        steps = range(7 * epoch, 7 * epoch + 7)
        batches = [examples.batch(step) for step in steps]
        for step, batch in list(zip(steps, batches, strict=True))[::-1]:
            for name, values in again.batch(step).items():
                np.testing.assert_array_equal(values, batch[name])
        epochs.append(np.concatenate([batch["input_ids"][:, 1] for batch in batches]) - 10)
        seen, times = np.unique(epochs[-1], return_counts=True)
        # The rest of the first file is left out, that of the last begins again.
        assert len(seen) == 20 and sorted(times.tolist()) == [1] * 19 + [2]
        for batch in batches:
            labels = batch["next_sentence_labels"]
            np.testing.assert_array_equal(labels, (batch["input_ids"][:, 1] - 10) % 2)
    assert epochs[0].tolist() != epochs[1].tolist()
    batch = next(iter(examples.dataset(0, 1).as_numpy_iterator()))
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        **{name: ((3, 24), "int32") for name in NAMES},
        "masked_lm_positions": ((3, 4), "int32"),
        "masked_lm_ids": ((3, 4), "int32"),
        "masked_lm_weights": ((3, 4), "float32"),
        "next_sentence_labels": ((3,), "int32"),
    }


def test_counts_are_of_the_original_tokens(tmp_path):
    records = BertRecords([write_examples(tmp_path / "a.tfrecord", 5)])
    counts = records.token_counts(40) - 1
    assert counts[[2, 3, 20, 30, 31]].tolist() == [5, 10, 5, 5, 5] and counts.sum() == 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence_length": 32}, "`sequence_length` is 32: it must be 24"),
        ({"max_predictions_per_sequence": 5}, "`max_predictions_per_sequence` is 5"),
        ({"vocabulary": None}, "name it with `vocabulary`"),
        ({"held_out": None}, "`held_out_corpus`"),
    ],
)
def test_what_the_records_do_not_say(tmp_path, vocabulary, changes, message):
    path = write_examples(tmp_path / "a.tfrecord", 5)
    with pytest.raises(InputError, match=message):
        text_of(tmp_path, path, **{"held_out": path, "vocabulary": vocabulary, **changes})


def test_damaged_records(tmp_path, vocabulary):
    path = tmp_path / "a.tfrecord"
    write_examples(path, 5)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(InputError, match="cut off"):
        BertRecords([path])
    path.write_bytes(whole)
    write_examples(tmp_path / "b.tfrecord", 5, length=30)
    text = text_of(tmp_path, [str(path), str(tmp_path / "b.tfrecord")], str(path), vocabulary)
    with pytest.raises(InputError, match="b.tfrecord has another example"):
        for step in range(text.training_examples(0).batches_per_epoch):
            text.training_examples(0).batch(step)


def test_compressed_records(tmp_path, vocabulary):
    write_examples(tmp_path / "a.tfrecord", 5)
    path = tmp_path / "b.tfrecord.gz"
    path.write_bytes(gzip.compress((tmp_path / "a.tfrecord").read_bytes()))
    with pytest.raises(InputError, match="b.tfrecord.gz.*unpack it first"):
        text_of(tmp_path, str(path), str(path), vocabulary)


def test_a_larger_vocabulary(tmp_path, vocabulary):
    path = write_examples(tmp_path / "a.tfrecord", 5, first=len(VOCABULARY))
    with pytest.raises(InputError, match="another, larger vocabulary"):
        text_of(tmp_path, path, path, vocabulary).training_examples(0).batch(0)


def test_sentence_encoders_need_text(tmp_path, vocabulary):
    path = write_examples(tmp_path / "a.tfrecord", 5)
    with pytest.raises(InputError, match="sentence encoder"):
        text_of(tmp_path, path, path, vocabulary).training_sentences(0)


def test_what_is_written_is_read(tmp_path, vocabulary):
    corpus = write_corpus(tmp_path / "corpus.txt", documents=20)
    documents = PrepareConfig(
        corpus=str(corpus), output_dir=str(tmp_path / "prepared"), vocabulary=vocabulary,
        held_out_fraction=0.3, shard_tokens=700, keep_duplicates=True,
    )  # fmt: skip
    with pytest.raises(InputError, match="prepared folder as `corpus`"):
        write_bert(PrepareConfig(corpus=str(corpus), format="bert"))
    folder = prepare_corpus(documents)
    config = PrepareConfig(
        corpus=str(tmp_path / "prepared"), output_dir=str(tmp_path / "bert"), format="bert",
        copies=3, **SIZES,
    )  # fmt: skip
    counts = write_bert(config)
    assert write_bert(config) == counts  # it goes on, and finds all files
    train = sorted(map(str, (tmp_path / "bert").glob("train-*")))
    assert len(train) == len(folder.train) > 1 and is_bert(sources(train, "text"))
    held_out = str(tmp_path / "bert" / "held_out-*")
    bert = text_of(tmp_path, train, held_out, vocabulary).training_examples(0)
    memory = prepare_text(
        DataConfig(corpus=str(tmp_path / "prepared"), batch_size=1, **SIZES), tmp_path / "memory"
    ).training_examples(0)
    assert counts["train"] == 3 * memory.batches_per_epoch
    batch = bert.batch(0)
    assert batch["input_ids"].shape == (3, 24) and batch["masked_lm_weights"].any()
    # The first shard's examples are those of its first seed, in their order.
    records = BertRecords([train[0]])
    got = records.read(0, np.arange(len(records.places[0])))
    expected = [memory.batch(step) for step in range(memory.batches_per_epoch)]
    rows = {step["input_ids"].tobytes() for step in expected}
    assert sum(row.tobytes() in rows for row in got["input_ids"]) >= len(got["input_ids"]) // 6
