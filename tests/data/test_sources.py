"""Documents in files of every format, whole and in parts, good and damaged."""

import gzip
import json

import numpy as np
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilebert_tf.data.corpus import SkippedDocuments, load_documents
from mobilebert_tf.data.documents import documents
from mobilebert_tf.data.sources import parts, sources
from mobilebert_tf.errors import InputError

TEXTS = ["One.\nTwo.", "Drei für dich.\n\n  Vier. ", "Five.\r\nSix."]
DOCUMENTS = [["One.", "Two."], ["Drei für dich.", "Vier."], ["Five.", "Six."]]


def write_jsonl(path, field="text"):
    path.write_text("".join(json.dumps({"id": i, field: t}) + "\n" for i, t in enumerate(TEXTS)))


def table(field="text"):
    return pyarrow.table({"id": [1, 2, 3], field: TEXTS})


def write(path, field="text"):
    """A file with TEXTS, in the format of its name."""
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    if ".tfrecord" in name:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for text in TEXTS:
                value = tf.train.BytesList(value=[text.encode()])
                feature = {field: tf.train.Feature(bytes_list=value)}
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
    elif name.endswith(".parquet"):
        pyarrow.parquet.write_table(table(field), path, row_group_size=2)
    elif name.endswith(".stream.arrow"):  # as Hugging Face's save_to_disk
        with pyarrow.ipc.new_stream(str(path), table(field).schema) as writer:
            writer.write_table(table(field), max_chunksize=2)
    elif name.endswith(".arrow"):
        with pyarrow.ipc.new_file(str(path), table(field).schema) as writer:
            writer.write_table(table(field), max_chunksize=2)
    else:
        write_jsonl(path, field) if name.endswith(".jsonl") else path.write_text(
            "\n\n".join("\n".join(document) for document in DOCUMENTS)
        )
        if path.name.endswith(".gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
        elif path.name.endswith(".zst"):
            content = path.read_bytes()
            # Two frames, as `cat a.zst b.zst` leaves them.
            path.write_bytes(b"".join(packed(half) for half in (content[:9], content[9:])))


def packed(content):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


NAMES = [
    "a.txt", "a.txt.gz", "a.txt.zst", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet",
    "a.arrow", "data-00000-of-00001.stream.arrow", "wiki-train.tfrecord-00000-of-00001",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_format(tmp_path, name):
    write(tmp_path / name)
    assert load_documents(str(tmp_path / name)) == DOCUMENTS
    assert load_documents(str(tmp_path)) == DOCUMENTS  # in a folder it is found by its name


def test_a_folder_of_all_formats(tmp_path):
    for name in NAMES:
        write(tmp_path / f"{NAMES.index(name)}{name}")
    (tmp_path / "dataset_info.json").write_text("{}")
    write_jsonl(tmp_path / "readme.md")
    write(tmp_path / "cache-1.arrow")  # as Hugging Face leaves them beside the data
    assert load_documents(str(tmp_path)) == DOCUMENTS * len(NAMES)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.arrow", "a.tfrecord"])
def test_a_field_of_another_name(tmp_path, name):
    write(tmp_path / name, "article")
    assert load_documents(str(tmp_path / name), field="article") == DOCUMENTS
    with pytest.raises(InputError, match="no field 'text'.*'article'.*`field`"):
        load_documents(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.arrow"])
def test_rows_without_text(tmp_path, name):
    rows = [{"text": None}, {"text": ""}, {"text": "One."}, {"text": " \n "}]
    (tmp_path / "a.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    with pyarrow.ipc.new_file(
        str(tmp_path / "a.arrow"), pyarrow.Table.from_pylist(rows).schema
    ) as writer:
        writer.write_table(pyarrow.Table.from_pylist(rows))
    assert load_documents(str(tmp_path / name)) == [["One."]]


LINES = st.lists(st.sampled_from(["", " ", "a", "Bé.", "ccc cc", " "]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(lines=LINES, size=st.integers(1, 9), end=st.sampled_from(["\n", "\r\n"]))
def test_parts_have_each_document_once(tmp_path_factory, lines, size, end):
    path = tmp_path_factory.mktemp("parts") / "a.txt"
    path.write_bytes(end.join(lines).encode())
    (whole,) = sources(str(path), "text")
    cut = parts(whole, size)
    assert len(cut) == max(1, -(-path.stat().st_size // size))
    assert [d for part in cut for d in documents(part)] == list(documents(whole))


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("size", [1, 30, 10_000])
def test_parts_of_rows(tmp_path, name, size):
    write(tmp_path / name)
    (whole,) = sources(str(tmp_path / name), "text")
    assert [d for part in parts(whole, size) for d in documents(part)] == DOCUMENTS
    assert (len(parts(whole, size)) > 1) == (size < 10_000)


# ---------------------------------------------------------------------------------------------
# Damaged documents
# ---------------------------------------------------------------------------------------------

GOOD = b"One.\nTwo.\n\n"
BAD_TEXTS = {
    "not UTF-8": b"W\xf6rter.\nStill the same.\n\n",
    "a zero byte": b"Ten.\nZe\0ro.\n\n",
}


@pytest.mark.parametrize("reason", BAD_TEXTS)
@pytest.mark.parametrize("size", [3, 10_000])
def test_a_damaged_document_is_skipped(tmp_path, reason, size):
    path = tmp_path / "a.txt"
    path.write_bytes(GOOD + BAD_TEXTS[reason] + GOOD + BAD_TEXTS[reason])
    with pytest.raises(InputError, match=reason):
        load_documents(str(path))
    skipped = SkippedDocuments()
    (whole,) = sources(str(path), "text")
    found = [d for part in parts(whole, size) for d in documents(part, skipped)]
    assert found == [["One.", "Two."]] * 2
    assert skipped.count == 2 and reason in skipped.first


def test_damaged_rows_are_skipped(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    rows = ['{"text": "One."}', "{", "[1]", '{"text": 3}', '{"other": "x"}', '{"text": "Six."}']
    path.write_text("\n".join(rows))
    with pytest.raises(InputError, match="byte 17: not JSON"):
        load_documents(str(path))
    skipped = SkippedDocuments()
    assert load_documents(str(path), bad=skipped) == [["One."], ["Six."]]
    skipped.report()
    assert "skipped 4 bad documents" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["a.txt.gz", "a.txt.zst", "a.jsonl.gz", "a.parquet", "a.arrow", "a.tfrecord"]
)
def test_what_is_left_of_a_cut_file(tmp_path, name):
    path = tmp_path / name
    write(path)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match="damaged"):
        load_documents(str(path))
    skipped = SkippedDocuments()
    (source,) = sources(str(path), "text")
    found = list(documents(source, skipped))
    assert skipped.count == 1 and found == DOCUMENTS[: len(found)]


def test_a_text_without_blank_lines_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("mobilebert_tf.data.documents.LONGEST_TEXT", 20)
    path = tmp_path / "a.txt"
    path.write_text("A line of text.\n" * 7)
    found = load_documents(str(path))
    assert [len(document) for document in found] == [2, 2, 2, 1]


def binary(values, kind):
    """A column of texts that nobody has checked."""
    return pyarrow.array(values, pyarrow.binary()).view(kind)


@pytest.mark.parametrize("name", ["a.arrow", "a.parquet"])
def test_a_row_that_is_not_utf8(tmp_path, name):
    column = binary([b"One.", b"W\xf6rter.", None, b"Two."], pyarrow.string())
    table, path = pyarrow.table({"text": column}), str(tmp_path / name)
    if name == "a.parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(InputError, match="not UTF-8 text"):
        load_documents(path)
    bad = []
    assert load_documents(path, bad=bad.append) == [["One."], ["Two."]]
    assert len(bad) == 1 and "row 1 of" in bad[0]


def test_a_text_of_a_negative_length(tmp_path):
    """Reading it would end the process."""
    offsets = np.array([0, 90, 4], np.int32).tobytes()
    buffers = [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(b"One.")]
    column = pyarrow.Array.from_buffers(pyarrow.string(), 2, buffers)
    table = pyarrow.table({"text": column})
    with pyarrow.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InputError, match="a.arrow is damaged"):
        load_documents(str(tmp_path / "a.arrow"))
