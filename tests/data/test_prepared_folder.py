"""Training from a prepared folder: the batches of the text in memory, and what is refused."""

import dataclasses
import json
import random

import numpy as np
import pytest
from support.disks import files_may_grow_to
from support.prepared import assert_same_batches, made_up, prepared, text_of, write

from mobilebert_tf.data import records
from mobilebert_tf.data.bert_records import write_bert_records
from mobilebert_tf.data.prepared_text import DataConfig, prepare_text
from mobilebert_tf.data.records import open_prepared, write_shard
from mobilebert_tf.data.sentences import SentenceExamples
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.model_directory import load_tokenizer


@pytest.fixture
def corpus(tmp_path):
    return write(tmp_path / "corpus.txt", made_up(80))


# -------------------------------------------------------------------------------------------------
# Batches
# -------------------------------------------------------------------------------------------------


def test_one_shard_gives_the_batches_of_the_text(tmp_path, corpus):
    folder = prepared(tmp_path, corpus=corpus)
    assert len(folder.train) == len(folder.held_out) == 1
    memory, disk = text_of(tmp_path, corpus), text_of(tmp_path, str(folder.directory))
    assert disk.tokenizer.reads_as(memory.tokenizer)
    counts = len(memory.tokenizer)
    np.testing.assert_array_equal(
        disk.train.token_counts(counts), memory.train.token_counts(counts)
    )
    for first, second in (
        (memory.training_examples(3), disk.training_examples(3)),
        (memory.held_out_examples(), disk.held_out_examples()),
        (memory.training_sentences(3), disk.training_sentences(3)),
    ):
        assert first.batches_per_epoch == second.batches_per_epoch > 1
        assert_same_batches(first, second, (0, 1, first.batches_per_epoch + 1))


def all_shards(side):
    return [side.shard(i) for i in range(side.shard_count)]


def test_shards_hold_the_documents_in_order(tmp_path, corpus):
    whole = prepared(tmp_path, corpus=corpus).corpus("train").shard(0)
    side = prepared(tmp_path, "cut", corpus=corpus, shard_tokens=500).corpus("train")
    shards = all_shards(side)
    assert len(shards) > 5
    np.testing.assert_array_equal(np.concatenate([s.tokens for s in shards]), whole.tokens)
    for name in ("sentence_offsets", "document_offsets"):
        lengths = np.concatenate([np.diff(getattr(s, name)) for s in shards])
        np.testing.assert_array_equal(lengths, np.diff(getattr(whole, name)))
    sizes = [len(s.tokens) for s in shards]
    assert max(sizes) < 2 * min(sizes)


def steps_of(examples, epoch):
    count = examples.batches_per_epoch
    return range(epoch * count, (epoch + 1) * count)


@pytest.mark.parametrize("kind", ["training_examples", "training_sentences"])
def test_batches_of_shards_depend_on_the_step_alone(tmp_path, corpus, kind):
    folder = prepared(tmp_path, corpus=corpus, shard_tokens=500)
    text = text_of(tmp_path, str(folder.directory))
    first, again = getattr(text, kind)(1), getattr(text, kind)(1)
    steps = [*steps_of(first, 0), *steps_of(first, 1)]
    shuffled = random.Random(0).sample(steps, len(steps))
    batches = {step: first.batch(step) for step in steps}
    for step in shuffled:
        for name, values in again.batch(step).items():
            np.testing.assert_array_equal(values, batches[step][name])
    got = list(first.dataset(3, 4).as_numpy_iterator())
    for step, batch in enumerate(got, 3):
        np.testing.assert_array_equal(batch["input_ids"], batches[step]["input_ids"])


def test_shards_are_counted_once(tmp_path, corpus, monkeypatch):
    folder = prepared(tmp_path, corpus=corpus, shard_tokens=500)
    config = DataConfig(corpus=str(folder.directory), sequence_length=32)
    read = []
    original = records.read_shard
    monkeypatch.setattr(records, "read_shard", lambda *a: read.append(a[0]) or original(*a))
    first = prepare_text(config, tmp_path / "data").training_examples(0)
    assert len(read) == len(folder.train)
    again = prepare_text(config, tmp_path / "data").training_examples(0)
    assert again.batches_per_epoch == first.batches_per_epoch
    assert len(read) == len(folder.train)
    assert_same_batches(first, again, [3])
    prepare_text(config, tmp_path / "data").training_examples(1)  # another seed: other examples
    assert len(read) == 2 * len(folder.train) + 2


def numbered(examples, monkeypatch):
    """Gives each token of the corpus a number of its own, shard by shard."""
    corpus, first, shards = examples.corpus, 5, []
    for shard in all_shards(corpus):
        tokens = np.arange(first, first + len(shard.tokens), dtype=np.int32)
        shards.append(dataclasses.replace(shard, tokens=tokens))
        first += len(tokens)
    monkeypatch.setattr(corpus, "shard", shards.__getitem__)
    return first


def test_an_epoch_has_every_sentence_of_all_shards(tmp_path, corpus, monkeypatch):
    folder = prepared(tmp_path, corpus=corpus, shard_tokens=500)
    side = folder.corpus("train")
    text = text_of(tmp_path, str(folder.directory))
    examples = SentenceExamples(side, text.tokenizer, batch_size=7, sequence_length=32, seed=1)
    end = numbered(examples, monkeypatch)
    examples._planned = None
    orders = []
    for epoch in (0, 1):
        rows = [examples.batch(step)["input_ids"].ravel() for step in steps_of(examples, epoch)]
        seen = np.concatenate(rows)
        orders.append(seen[seen >= 5])
        assert np.array_equal(np.sort(orders[-1]), np.arange(5, end))
    assert not np.array_equal(orders[0], orders[1])


def test_an_epoch_has_every_token_of_all_shards(tmp_path, corpus):
    folder = prepared(tmp_path, corpus=corpus, shard_tokens=500)
    text = text_of(tmp_path, str(folder.directory), batch_size=1)
    examples = text.training_examples(0)
    seen = np.zeros(len(text.tokenizer), np.int64)
    for step in steps_of(examples, 0):
        batch = examples.batch(step)
        ids = batch["input_ids"].copy()
        used = batch["masked_lm_weights"][0] == 1
        ids[0, batch["masked_lm_positions"][0, used]] = batch["masked_lm_ids"][0, used]
        seen += np.bincount(ids[0], minlength=len(seen))
    # A random second segment repeats tokens: each occurs at least as often as in the text.
    assert (seen >= text.train.token_counts(len(seen)) - 1).all()


# -------------------------------------------------------------------------------------------------
# What training refuses
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tokens", "bert"])
def test_a_disk_that_takes_no_shard(tmp_path, corpus, kind):
    """One clear error, and nothing is left; TensorFlow has an error of its own for each reason."""
    path = tmp_path / "shard.tfrecord"
    folder = prepared(tmp_path, corpus=corpus)
    shard, tokenizer = folder.corpus("train"), load_tokenizer(folder.directory)
    sizes = {"sequence_length": 13, "max_predictions_per_sequence": 3}
    with files_may_grow_to(100), pytest.raises(OSError, match=f"{path}: File too large"):
        if kind == "bert":
            write_bert_records(path, shard, tokenizer, 1, **sizes)
        else:
            write_shard(path, shard.shard(0), len(tokenizer), tokenizer.unk_id)
    assert not list(tmp_path.glob("shard*"))


def test_a_damaged_shard_is_named(tmp_path, corpus):
    folder = prepared(tmp_path, corpus=corpus)
    path = folder.directory / folder.train[0].file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    damaged = r"train-00000-of-00001.tfrecord is missing or damaged: corrupted record at \d+$"
    with pytest.raises(InputError, match=damaged):
        text_of(tmp_path, str(folder.directory)).training_examples(0)
    path.write_bytes((folder.directory / folder.held_out[0].file).read_bytes())
    with pytest.raises(InputError, match="its content is not that of index.json"):
        text_of(tmp_path, str(folder.directory)).training_examples(0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda index: index["statistics"].pop("bad_documents"),
        lambda index: index["statistics"].update(near_duplicates={}),
        lambda index: index.update(statistics=7),
        lambda index: index.update(train=[]),
        lambda index: index["train"][0].update(tokens=0),
        lambda index: index["train"][0].update(documents=1.5),
        lambda index: index["held_out"][0].update(unknown=-1),
        lambda index: index["held_out"][0].update(file=None),
        lambda index: index["held_out"].append("x"),
    ],
)
def test_a_damaged_index(tmp_path, corpus, damage):
    path = prepared(tmp_path, corpus=corpus).directory / "index.json"
    index = json.loads(path.read_text())
    damage(index)
    path.write_text(json.dumps(index))
    with pytest.raises(InputError, match="index.json is damaged: .*; prepare the folder again"):
        open_prepared(path.parent)


def test_damaged_counts_of_tokens(tmp_path, corpus):
    """NumPy's parser of headers has errors of its own."""
    folder = prepared(tmp_path, corpus=corpus)
    path = folder.directory / "token_counts.npy"
    path.write_bytes(path.read_bytes().replace(b"'shape': (", b"'shape': (("))
    with pytest.raises(InputError, match="token_counts.npy is missing or damaged"):
        folder.corpus("train").token_counts(folder.vocab_size)


def test_a_prepared_folder_stands_alone(tmp_path, corpus):
    folder = prepared(tmp_path, corpus=corpus)
    with pytest.raises(InputError, match="prepared folder"):
        text_of(tmp_path, [corpus, str(folder.directory)])
    with pytest.raises(InputError, match="leave out `held_out_corpus`"):
        text_of(tmp_path, str(folder.directory), held_out_corpus=corpus)


def test_a_folder_that_was_prepared_anew_is_refused(tmp_path, corpus):
    folder = prepared(tmp_path, corpus=corpus)
    config = DataConfig(corpus=str(folder.directory))
    prepare_text(config, tmp_path / "data")
    prepare_text(config, tmp_path / "data")
    prepared(tmp_path, corpus=corpus, keep_duplicates=True, overwrite=True)
    with pytest.raises(InputError, match="prepared anew"):
        prepare_text(config, tmp_path / "data")


def test_a_run_has_its_own_copy_of_plain_text(tmp_path, corpus):
    """An export scores its file on the run's held-out text, though the corpus may be gone."""
    first = text_of(tmp_path, corpus).held_out_examples().batch(0)
    (tmp_path / "corpus.txt").unlink()
    again = text_of(tmp_path, corpus).held_out_examples().batch(0)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])


def test_held_out_examples_are_the_same_whatever_the_batch_size(tmp_path, corpus):
    """Runs that are compared may differ in it: their scores are of the same masks."""
    small, large = (text_of(tmp_path, corpus, batch_size=size) for size in (7, 64))
    for first, second in (
        (small.held_out_examples(), large.held_out_examples()),
        (small.held_out_sentences(), large.held_out_sentences()),
    ):
        assert first.batches_per_epoch == second.batches_per_epoch
        assert_same_batches(first, second, (0, first.batches_per_epoch - 1))


def test_another_vocabulary_is_refused(tmp_path, corpus):
    folder = prepared(tmp_path, corpus=corpus)
    given = prepared(tmp_path, "other", corpus=corpus, lower_case=False)
    tokenizer = text_of(tmp_path, str(given.directory)).tokenizer
    with pytest.raises(InputError, match="another vocabulary"):
        prepare_text(DataConfig(corpus=str(folder.directory)), tmp_path / "data", tokenizer)
    with pytest.raises(InputError, match="`vocabulary`"):
        text_of(tmp_path, str(folder.directory), vocabulary=str(given.directory / "vocab.txt"))


def test_held_out_text_without_a_known_token_is_refused(tmp_path, corpus):
    """Nothing of it would be predicted: known before the training, not after."""
    snow = write(tmp_path / "snow.txt", [["\u2603 \u2603\u2603"], ["\u2603"]])
    with pytest.raises(InputError, match="the held-out text is .UNK. alone"):
        text_of(tmp_path, corpus, held_out_corpus=snow)
    with pytest.raises(InputError, match="100.0 % of the text is .UNK."):
        prepared(tmp_path, corpus=corpus, held_out_corpus=snow)
