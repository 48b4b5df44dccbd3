"""A folder with small inputs of every door, all of them good."""

import json
from pathlib import Path

from support.lite_files import packed_file
from support.models import save_directory
from support.texts import labelled_texts, write_corpus

from mobilebert_tf.convert import ConvertConfig, convert

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
    row = {"file": "x.tflite", "tokens": 16, "threads": 1, "p50_ms": 1.5}
    report = {"machine": {"cpu": "x"}, "files": [{"file": "x", "bytes": 7}], "latency": [row]}
    (folder / "benchmark.json").write_text(json.dumps(report))
