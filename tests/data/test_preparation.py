"""Prepared folders: the batches of the text in memory, nothing lost, going on after a kill."""

import dataclasses
import json
import random
import shutil

import numpy as np
import pytest

from mobilebert_tf.data import preparation, records
from mobilebert_tf.data.corpus import load_documents
from mobilebert_tf.data.preparation import PrepareConfig, prepare_corpus
from mobilebert_tf.data.prepared_text import DataConfig, prepare_text
from mobilebert_tf.data.records import open_prepared
from mobilebert_tf.data.sentences import SentenceExamples
from mobilebert_tf.errors import InputError
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS

WORDS = [a + b for a in "bcdfghklmnprst" for b in ("al", "em", "ins", "oy", "ug")]


def made_up(count, seed=0):
    """Documents of paragraphs of sentences; a paragraph in ten is also in the first document."""
    rng = random.Random(seed)

    def sentence():
        return " ".join(rng.choices(WORDS, k=rng.randint(3, 12))).capitalize() + "."

    shared = " ".join(sentence() for _ in range(3))
    documents = [
        [" ".join(sentence() for _ in range(rng.randint(1, 5))) for _ in range(rng.randint(1, 6))]
        for _ in range(count)
    ]
    for document in documents[::10]:
        document.append(shared)
    return documents


def write(path, documents):
    path.write_text("\n\n".join("\n".join(document) for document in documents))
    return str(path)


@pytest.fixture
def corpus(tmp_path):
    return write(tmp_path / "corpus.txt", made_up(80))


def prepared(tmp_path, name="prepared", **changes):
    settings = {"held_out_fraction": 0.2, "vocabulary_size": 300, "shard_tokens": 10**6}
    return prepare_corpus(PrepareConfig(output_dir=str(tmp_path / name), **{**settings, **changes}))


def text_of(tmp_path, corpus, **changes):
    settings = {"held_out_fraction": 0.2, "vocabulary_size": 300, "batch_size": 7}
    config = DataConfig(corpus=corpus, sequence_length=32, **{**settings, **changes})
    return prepare_text(config, tmp_path / f"run-{abs(hash(str(config)))}")


def content(folder):
    files = [file for file in folder.directory.iterdir() if file.name != ".lock"]
    return {file.name: file.read_bytes() for file in files if file.name != "plan.json"}


def assert_same_batches(first, second, steps):
    for step in steps:
        one, other = first.batch(step), second.batch(step)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


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
# Documents
# -------------------------------------------------------------------------------------------------


def test_duplicates_are_dropped_or_kept(tmp_path):
    documents = made_up(40)
    near = [[*document[:-1], document[-1] + " Tug bal."] for document in documents[5:15]]
    path = write(tmp_path / "corpus.txt", [*documents, *documents[:10], *near])
    for keep, dropped in ((False, 20), (True, 0)):
        folder = prepared(tmp_path, f"keep-{keep}", corpus=path, keep_duplicates=keep)
        statistics = folder.statistics
        assert statistics["documents_read"] == 60
        # A short one may differ in more than a fifth.
        assert dropped - 4 <= statistics["near_duplicates"] <= dropped
        kept = sum(s.documents for s in (*folder.train, *folder.held_out))
        assert kept == 60 - statistics["near_duplicates"]
        assert sum(map(sum, statistics["documents_by_length"].values())) == kept


def test_a_held_out_corpus(tmp_path, corpus):
    other = write(tmp_path / "other.txt", [*made_up(20, seed=1), *made_up(80)[3:4]])
    folder = prepared(tmp_path, corpus=corpus, held_out_corpus=other)
    assert sum(s.documents for s in folder.train) == 80
    assert sum(s.documents for s in folder.held_out) == 20  # not the one that is trained on


def test_gzip_jsonl_and_parts_make_one_corpus(tmp_path, corpus):
    rows = "".join(json.dumps({"body": "\n".join(d)}) + "\n" for d in load_documents(corpus))
    (tmp_path / "rows.jsonl").write_text(rows)
    first = prepared(tmp_path, corpus=corpus, shard_tokens=700)
    second = prepared(
        tmp_path, "rows", corpus=str(tmp_path / "rows.jsonl"), field="body", shard_tokens=700
    )
    for side in ("train", "held_out"):
        assert getattr(first, side) == getattr(second, side)  # with their digests


def test_bad_documents(tmp_path, corpus, capsys):
    with open(corpus, "ab") as file:
        file.write(b"\n\nW\xf6rter.\n\nGood.\n\n\x00\n")
    with pytest.raises(InputError, match="not UTF-8"):
        prepared(tmp_path, corpus=corpus, shard_tokens=500)
    folder = prepared(tmp_path, corpus=corpus, shard_tokens=500, skip_bad=True)
    assert folder.statistics["bad_documents"] == 2
    assert "not UTF-8" in folder.statistics["first_bad_document"]
    assert folder.statistics["documents_read"] == 81


def test_a_vocabulary_that_does_not_fit(tmp_path, corpus):
    greek = [*SPECIAL_TOKENS, "λ", "."]
    (tmp_path / "greek.txt").write_text("\n".join(greek), encoding="utf-8")
    with pytest.raises(InputError, match=r"% of the text is \[UNK\]"):
        prepared(tmp_path, corpus=corpus, vocabulary=str(tmp_path / "greek.txt"))


# -------------------------------------------------------------------------------------------------
# Processes and kills
# -------------------------------------------------------------------------------------------------


def test_two_processes_write_the_same(tmp_path, corpus):
    one = prepared(tmp_path, corpus=corpus, shard_tokens=1500)
    two = prepared(tmp_path, "two", corpus=corpus, shard_tokens=1500, processes=2)
    assert len(one.train) > 1 and content(one) == content(two)


class KilledError(BaseException):
    """Stands for a kill: nothing of the package handles it."""


@pytest.mark.parametrize("place", ["write_parts", "lay_out", "write_shard", "write_json"])
@pytest.mark.parametrize("calls", [0, 2])
def test_a_killed_preparation_goes_on(tmp_path, corpus, monkeypatch, place, calls):
    expected = prepared(tmp_path, corpus=corpus, shard_tokens=1000)
    original, left, done = getattr(preparation, place), [calls], []

    def dies(*arguments, **options):
        if not left[0]:
            raise KilledError
        left[0] -= 1
        return original(*arguments, **options)

    def counts(*arguments, **options):
        done.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(preparation, place, dies)
    if place in ("lay_out", "write_json") and calls:  # they are called once or twice
        left[0] = 1 if place == "write_json" else 0
    with pytest.raises(KilledError):
        prepared(tmp_path, "killed", corpus=corpus, shard_tokens=1000)
    assert not (tmp_path / "killed" / "index.json").exists()
    monkeypatch.setattr(preparation, place, counts)
    folder = prepared(tmp_path, "killed", corpus=corpus, shard_tokens=1000)
    assert content(folder) == content(expected)
    if place == "write_parts":
        units = len(preparation._units(preparation.sources(corpus, "text"), 1000))
        assert len(done) == units - calls  # finished units are not done again


@pytest.mark.parametrize("left", [0, 100, -20], ids=["empty", "cut", "no end"])
def test_a_part_that_lost_its_end(tmp_path, corpus, monkeypatch, left):
    """As after a power cut: the error says how to go on."""

    def dies(*_, **__):
        raise KilledError

    with monkeypatch.context() as context, pytest.raises(KilledError):
        context.setattr(preparation, "lay_out", dies)
        prepared(tmp_path, corpus=corpus)
    (part,) = (tmp_path / "prepared").glob("work/*.npz")
    part.write_bytes(part.read_bytes()[:left])
    with pytest.raises(InputError, match=r"train-00000-0000.npz is damaged: .*; delete (.*/work),"):
        prepared(tmp_path, corpus=corpus)
    report = part.with_name("train-00000.json")
    for damage in ({"bad": "x"}, {"parts": 10**30}, {"first_bad": None}):
        whole = report.read_text()
        report.write_text(json.dumps(json.loads(whole) | damage))
        with pytest.raises(InputError, match="train-00000.json is damaged; delete"):
            prepared(tmp_path, corpus=corpus)
        report.write_text(whole)
    shutil.rmtree(tmp_path / "prepared" / "work")
    assert content(prepared(tmp_path, corpus=corpus)) == content(
        prepared(tmp_path, "whole", corpus=corpus)
    )


def test_a_finished_folder_is_left_as_it_is(tmp_path, corpus):
    folder = prepared(tmp_path, corpus=corpus)
    before = {file: file.stat().st_mtime_ns for file in folder.directory.iterdir()}
    again = prepared(tmp_path, corpus=corpus, processes=3)
    assert again == folder
    del before[folder.directory / ".lock"]
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())


def test_other_settings_or_files_are_refused(tmp_path, corpus):
    folder = prepared(tmp_path, corpus=corpus)
    with pytest.raises(InputError, match="other settings.*vocabulary_size: 300 -> 200"):
        prepared(tmp_path, corpus=corpus, vocabulary_size=200)
    write(tmp_path / "corpus.txt", made_up(30))
    with pytest.raises(InputError, match="files that have changed"):
        prepared(tmp_path, corpus=corpus)
    assert open_prepared(folder.directory) == folder
    again = prepared(tmp_path, corpus=corpus, vocabulary_size=200, overwrite=True)
    (again.directory / again.train[0].file).write_bytes(b"damaged")
    assert prepared(tmp_path, corpus=corpus, vocabulary_size=200, overwrite=True) == again
    assert again.corpus("train").shard(0).document_offsets.size
    assert again.digest != folder.digest


def test_a_wrong_setting_leaves_no_preparation(tmp_path, corpus):
    with pytest.raises(InputError, match="too small"):
        prepared(tmp_path, corpus=corpus, vocabulary_size=10)
    assert prepared(tmp_path, corpus=corpus).train


def test_foreign_folders_are_left_alone(tmp_path, corpus):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tfrecord").write_text("x")
    with pytest.raises(InputError, match="is not empty"):
        prepared(tmp_path, "mine", corpus=corpus, overwrite=True)
    assert (tmp_path / "mine" / "thesis.tfrecord").read_text() == "x"


# -------------------------------------------------------------------------------------------------
# What training refuses
# -------------------------------------------------------------------------------------------------


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


def test_another_vocabulary_is_refused(tmp_path, corpus):
    folder = prepared(tmp_path, corpus=corpus)
    given = prepared(tmp_path, "other", corpus=corpus, lower_case=False)
    tokenizer = text_of(tmp_path, str(given.directory)).tokenizer
    with pytest.raises(InputError, match="another vocabulary"):
        prepare_text(DataConfig(corpus=str(folder.directory)), tmp_path / "data", tokenizer)
    with pytest.raises(InputError, match="`vocabulary`"):
        text_of(tmp_path, str(folder.directory), vocabulary=str(given.directory / "vocab.txt"))
