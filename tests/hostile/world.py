"""A folder with small inputs of every door, all of them good."""

import contextlib
import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import tensorflow as tf
from support.lite_files import packed_file
from support.models import save_directory
from support.texts import labelled_texts, write_corpus

from hostile.generators import PREPARE
from mobilebert_tf.cli import parse
from mobilebert_tf.convert import ConvertConfig, convert
from mobilebert_tf.data import preparation
from mobilebert_tf.data.corpus import load_documents
from mobilebert_tf.data.preparation import prepare_corpus
from mobilebert_tf.data.preparation_plan import PrepareConfig
from mobilebert_tf.files import INDEX

_CONFIG = """\
corpus: corpus.txt
vocabulary_size: 300
sequence_length: 20
batch_size: 2
max_predictions_per_sequence: 3
log_steps: 1
checkpoint_steps: 1
model: test-teacher
training:
  steps: 1
"""


def write_texts(folder: Path, documents: list[list[str]]) -> None:
    """Writes documents in every format that a corpus may have."""
    rows = ["\n".join(document) for document in documents]
    text = "\n\n".join(rows).encode()
    (folder / "a.txt").write_bytes(text)
    (folder / "b.txt.gz").write_bytes(gzip.compress(text))
    with pyarrow.CompressedOutputStream(str(folder / "c.txt.zst"), "zstd") as file:
        file.write(text)
    (folder / "d.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    table = pyarrow.table({"text": rows})
    pyarrow.parquet.write_table(table, folder / "e.parquet")
    with pyarrow.ipc.new_stream(str(folder / "f.arrow"), table.schema) as stream:
        stream.write_table(table)
    with tf.io.TFRecordWriter(str(folder / "g.tfrecord")) as writer:
        for row in rows:
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[row.encode()]))
            example = tf.train.Example(features=tf.train.Features(feature={"text": feature}))
            writer.write(example.SerializeToString())


def _prepare_config(output_dir: str) -> PrepareConfig:
    return parse(PrepareConfig, [*PREPARE, "corpus.txt", "--output-dir", output_dir])


def _begin_preparation(output_dir: str) -> None:
    """Leaves what a preparation leaves that is killed when all is tokenized."""
    write_index = preparation.write_index
    preparation.write_index = _dies
    with contextlib.suppress(KeyboardInterrupt):
        prepare_corpus(_prepare_config(output_dir))
    preparation.write_index = write_index
    assert not (Path(output_dir) / INDEX).exists()


def _dies(*_) -> None:
    raise KeyboardInterrupt


def write_world(folder: Path) -> None:
    """Fills an existing folder: models in every format, files of text, settings, reports."""
    for head in ("pretraining", "classifier", "encoder"):
        save_directory(folder / head, "student", head)
    for name in ("huggingface", "google", "model-garden"):
        convert(ConvertConfig(str(folder / "pretraining"), str(folder / name), to=name))
    convert(ConvertConfig(str(folder / "encoder"), str(folder / "sentences"), to="huggingface"))
    packed_file(folder / "dynamic.tflite", "classifier", "dynamic")
    packed_file(folder / "int8.tflite", "classifier", "int8")
    write_corpus(folder / "corpus.txt", documents=6)
    (folder / "settings.yaml").write_text(_CONFIG)
    (folder / "reviews").mkdir()
    for split, count in (("train", 8), ("dev", 4)):
        (folder / "reviews" / f"{split}.tsv").write_text(labelled_texts(count, count))
    (folder / "text").mkdir()
    write_texts(folder / "text", load_documents(str(folder / "corpus.txt")))
    with contextlib.chdir(folder):  # a preparation knows its files by the names that it was given
        prepare_corpus(_prepare_config("prepared"))
        _begin_preparation("unfinished")
    row = {"file": "x.tflite", "tokens": 16, "threads": 1, "p50_ms": 1.5}
    report = {"machine": {"cpu": "x"}, "files": [{"file": "x", "bytes": 7}], "latency": [row]}
    (folder / "benchmark.json").write_text(json.dumps(report))
