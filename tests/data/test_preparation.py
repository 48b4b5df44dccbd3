"""Preparing text: which documents, on several processes, going on after a kill."""

import json
import shutil

import pytest
from support.prepared import content, made_up, prepared, write

from mobilebert_tf.data import preparation, preparation_plan
from mobilebert_tf.data.corpus import load_documents
from mobilebert_tf.data.records import open_prepared
from mobilebert_tf.errors import InputError
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS


@pytest.fixture
def corpus(tmp_path):
    return write(tmp_path / "corpus.txt", made_up(80))


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

    modules = [m for m in (preparation, preparation_plan) if hasattr(m, place)]
    for module in modules:
        monkeypatch.setattr(module, place, dies)
    if place in ("lay_out", "write_json") and calls:  # they are called once or twice
        left[0] = 1 if place == "write_json" else 0
    with pytest.raises(KilledError):
        prepared(tmp_path, "killed", corpus=corpus, shard_tokens=1000)
    assert not (tmp_path / "killed" / "index.json").exists()
    for module in modules:
        monkeypatch.setattr(module, place, counts)
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
