"""Beam makes the bytes that the local preparation makes, in whatever order it works."""

import json
import random
from functools import partial

import apache_beam
import pytest
from support.texts import VOCABULARY, write_corpus

from mobilebert_tf import prepare
from mobilebert_tf.data import beam_pipeline
from mobilebert_tf.data.beam_pipeline import run_pipeline
from mobilebert_tf.data.corpus import load_documents
from mobilebert_tf.data.preparation import prepare_corpus
from mobilebert_tf.data.preparation_plan import PrepareConfig
from mobilebert_tf.errors import InputError

TWO_PROCESSES = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
BAD = b"W\xc3r\n\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Text with near duplicates far apart, paragraphs in common, and what is no text."""
    folder = tmp_path_factory.mktemp("text")
    documents = load_documents(str(write_corpus(folder / "plain.txt", documents=120)))
    near = [[*document[:-1], document[-1] + " The dog."] for document in documents[:25]]
    for document in documents[::7]:
        document.append("This boat sleeps under the tree, and never sees a river.")
    documents += [*near, *documents[30:35], ["\u2028."], [" ".join(sum(documents[:40], []))]]
    text = "\n\n".join("\n".join(document) for document in documents)
    (folder / "corpus.txt").write_bytes(text.encode() + b"\n\n" + BAD + b"The end.\n")
    rows = "".join(json.dumps({"body": "\n".join(d)}) + "\n" for d in documents[::-1])
    (folder / "rows.jsonl").write_text(rows + "[]\n")
    write_corpus(folder / "other.txt", documents=20, seed=3)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return folder


def prepared(place, output, work=None, **changes):
    settings = {"held_out_fraction": 0.2, "vocabulary": str(place / "vocab.txt"), "field": "body"}
    settings |= {"corpus": [str(place / "corpus.txt"), str(place / "rows.jsonl")]}
    settings |= {"shard_tokens": 1500, "skip_bad": True, "output_dir": str(output)}
    return prepare_corpus(PrepareConfig(**(settings | changes)), work)


def content(folder):
    files = {file.name: file for file in folder.directory.iterdir()}
    return {name: file.read_bytes() for name, file in files.items() if name != ".lock"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"keep_duplicates": True},
        {"held_out_corpus": "other.txt"},
        {"shard_tokens": 10**6},
        {"vocabulary": None, "vocabulary_size": 200, "lower_case": False},
    ],
    ids=str,
)
def test_the_same_bytes(place, tmp_path, changes):
    if "held_out_corpus" in changes:
        changes = {"held_out_corpus": str(place / "other.txt")}
    local = prepared(place, tmp_path / "local", **changes)
    by_beam = prepared(place, tmp_path / "beam", partial(run_pipeline, []), **changes)
    assert content(by_beam) == content(local)
    statistics = local.statistics
    assert statistics["bad_documents"] == 2 and "not UTF-8" in statistics["first_bad_document"]
    assert (statistics["near_duplicates"] > 100) is not changes.get("keep_duplicates", False)
    assert (len(local.train) > 3) is ("shard_tokens" not in changes)


def test_two_processes_in_any_order(place, tmp_path, monkeypatch):
    local = prepared(place, tmp_path / "local")
    create = apache_beam.Create

    def create_in_another_order(values):
        return create(random.Random(1).sample(values, len(values)))

    monkeypatch.setattr(beam_pipeline.beam, "Create", create_in_another_order)
    by_beam = prepared(place, tmp_path / "beam", partial(run_pipeline, TWO_PROCESSES))
    assert content(by_beam) == content(local)
    assert by_beam.settings == local.settings


def test_the_local_preparation_goes_on_with_what_beam_left(place, tmp_path, monkeypatch):
    def dies(*_):
        raise OSError(28, "no space left")

    local = prepared(place, tmp_path / "local")
    monkeypatch.setattr(beam_pipeline, "write_index", dies)
    with pytest.raises(InputError, match="no space left$"):
        prepared(place, tmp_path / "beam", partial(run_pipeline, []))
    assert list((tmp_path / "beam").glob("*.tfrecord"))
    assert not (tmp_path / "beam" / "index.json").exists()
    assert content(prepared(place, tmp_path / "beam")) == content(local)


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_info:
        prepare.main(list(map(str, arguments)))
    assert exit_info.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("options", [["--runner=DirectRunner"], TWO_PROCESSES], ids=len)
def test_bad_text_is_told_as_without_beam(place, tmp_path, capsys, options):
    arguments = ["--corpus", place / "corpus.txt", "--vocabulary", place / "vocab.txt"]
    arguments += ["--output-dir", tmp_path / "out"]
    line = refused(capsys, *arguments)
    assert line.startswith("error: ") and "corpus.txt is not UTF-8" in line
    assert refused(capsys, *arguments, "--", *options) == line
    assert not (tmp_path / "out" / "index.json").exists()


def test_options_that_beam_refuses(place, tmp_path, capsys):
    arguments = ["--corpus", place / "corpus.txt", "--output-dir", tmp_path / "out"]
    line = refused(capsys, *arguments, "--vocabulary", place / "vocab.txt", "--", "--runner=Walker")
    assert "Apache Beam refuses its options" in line and "Walker" in line


def test_a_shard_number_may_be_left_out(place, tmp_path):
    """A document of several shards' tokens: the files are numbered without a gap."""
    local = prepared(place, tmp_path / "local", shard_tokens=300)
    assert len(local.train) < round(sum(s.tokens for s in local.train) / 300)
    by_beam = prepared(place, tmp_path / "beam", partial(run_pipeline, []), shard_tokens=300)
    assert content(by_beam) == content(local)
