"""The exported files: equal to Keras, right for any length, readable by phones, safe on disk."""

import dataclasses
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils
from flatbuffers.number_types import UOffsetTFlags
from support.lite_files import packed_file
from support.models import (
    MAX_TOKENS,
    VARIANTS,
    model,
    random_model,
    save_directory,
    undecided,
)
from support.texts import LABELS, TOKENIZER, VOCABULARY, write_corpus

from mobilebert_tf import InputError, Pipeline, save_model
from mobilebert_tf.export import ToTfliteConfig, export, main, to_tflite
from mobilebert_tf.lite import metadata, quantize, verify
from mobilebert_tf.lite.calibration_data import samples
from mobilebert_tf.lite.export_config import ExportConfig
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.quantization import Quantization
from mobilebert_tf.text.tokenizer import WordPiece

TO_TFLITE = Path(__file__).parents[2] / "export" / "to_tflite.py"

# ---- metadata ------------------------------------------------------------------------------


class Table:
    """A flatbuffer table read by field numbers: an independent look at what was written."""

    def __init__(self, data, position=None):
        start = flatbuffers.encode.Get(UOffsetTFlags.packer_type, data, 0)
        self._table = flatbuffers.table.Table(data, start if position is None else position)

    def _slot(self, number):
        return self._table.Offset(4 + 2 * number)

    def string(self, number):
        return self._table.String(self._slot(number) + self._table.Pos).decode()

    def byte(self, number):
        return self._table.Bytes[self._slot(number) + self._table.Pos]

    def child(self, number):
        return Table(self._table.Bytes, self._table.Indirect(self._slot(number) + self._table.Pos))

    def children(self, number):
        if not self._slot(number):
            return []
        start = self._table.Vector(self._slot(number))
        positions = [start + 4 * i for i in range(self._table.VectorLen(self._slot(number)))]
        return [Table(self._table.Bytes, self._table.Indirect(p)) for p in positions]


@pytest.mark.parametrize("head", ["classifier", "span"])
def test_metadata_is_what_mediapipe_reads(tmp_path, head):
    file = packed_file(tmp_path / "x.tflite", head)
    parsed = flatbuffer_utils.read_model_from_bytearray(file.read_bytes())
    (entry,) = [m for m in parsed.metadata if m.name == b"TFLITE_METADATA"]
    data = bytes(parsed.buffers[entry.buffer].data)
    assert data[4:8] == b"M001"
    root = Table(data)
    assert root.string(7) == "1.1.0"
    (graph,) = root.children(3)
    names = metadata.tensor_names(parsed)
    assert sorted(names[0]) == ["ids", "mask", "segment_ids"]
    assert [t.string(0) for t in graph.children(2)] == names[0]
    outputs = graph.children(3)
    assert [t.string(0) for t in outputs] == names[1]
    (tokenizer,) = graph.children(5)
    assert tokenizer.byte(0) == 4  # BertTokenizerOptions
    (vocabulary,) = tokenizer.child(1).children(0)
    assert (vocabulary.string(0), vocabulary.byte(2)) == ("vocab.txt", 5)
    labels = [(f.string(0), f.byte(2)) for t in outputs for f in t.children(6)]
    assert labels == ([("labels.txt", 2)] if head == "classifier" else [])
    with zipfile.ZipFile(file) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("vocab.txt").decode() == "\n".join(VOCABULARY) + "\n"
        if head == "classifier":
            assert archive.read("labels.txt").decode() == "bad\ngood\nso so\n"


# ---- samples -------------------------------------------------------------------------------


def test_samples_are_real_text_of_many_lengths(tmp_path):
    corpus = write_corpus(tmp_path / "corpus.txt", documents=30)
    first = samples(str(corpus), TOKENIZER, MAX_TOKENS, 60, masked=True)
    again = samples(str(corpus), TOKENIZER, MAX_TOKENS, 60, masked=True)
    lengths = {sample["input_ids"].shape[1] for sample in first}
    assert max(lengths) == MAX_TOKENS and min(lengths) == 7 and len(lengths) > 4
    assert any(sample["segment_ids"].any() for sample in first)
    assert all(sample["input_mask"].all() for sample in first)
    ids = np.concatenate([sample["input_ids"][0] for sample in first])
    assert 0.05 < np.mean(ids == TOKENIZER.mask_id) < 0.2
    assert np.mean(ids == TOKENIZER.unk_id) == 0
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a["input_ids"], b["input_ids"])
    plain = samples(str(corpus), TOKENIZER, MAX_TOKENS, 60, masked=False)
    assert not any((sample["input_ids"] == TOKENIZER.mask_id).any() for sample in plain)
    with pytest.raises(InputError, match="has 120 paragraphs: at least 121"):
        samples(str(corpus), TOKENIZER, MAX_TOKENS, 121, masked=False)


# ---- export --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model directory, a text, and its exports in every mode."""
    folder = tmp_path_factory.mktemp("export")
    save_directory(folder / "student")
    write_corpus(folder / "corpus.txt")
    for mode in quantize.MODES:
        export(config_in(folder, quantize=mode))
    return folder


def config_in(folder, **changes):
    return ExportConfig(
        model=str(folder / "student"), calibration_data=str(folder / "corpus.txt"), **changes
    )


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("mode", quantize.MODES)
def test_export_report(place, mode):
    file = place / f"student-{mode}.tflite"
    report = json.loads(file.with_suffix(".json").read_text())
    assert report["file"] == file.name and report["mode"] == mode
    assert report["bytes"] == file.stat().st_size
    assert report["tensors"]["inputs"] == {
        name: {"shape": [1, -1], "dtype": "int32"} for name in ("ids", "mask", "segment_ids")
    }
    assert report["tensors"]["outputs"] == {"probability": {"shape": [1, 3], "dtype": "float32"}}
    # With activations that are quantized on the fly, weights need newer kernels.
    newer = dict.fromkeys(("dynamic", "int8"), "2.17") | dict.fromkeys(quantize.FOUR_BITS, "2.18")
    assert report["min_runtime"] == newer.get(mode, "2.4")
    attention = 2 * 2 * 2 * (mode == "int8-full")  # blocks, heads, products
    assert report["ops"]["FULLY_CONNECTED"] == 18 + attention
    assert verify.complaints(report["agreement"], mode) == []
    assert [row["tokens"] for row in report["latency"]] == [16, 32]
    assert report["latency"][0].keys() >= {"threads", "p50_ms", "p90_ms", "p99_ms"}
    page = file.with_suffix(".html").read_text()
    assert f"<td>FULLY_CONNECTED</td><td>{18 + attention}</td>" in page
    assert report["versions"]["ai-edge-litert"] and report["date"] and report["machine"]["cores"]
    lite = LiteModel(file)
    assert lite.labels == list(LABELS) and lite.tokenizer.vocabulary == VOCABULARY


def test_exports_leave_nothing_else(place):
    names = {
        f"student-{mode}.{kind}" for mode in quantize.MODES for kind in ("tflite", "json", "html")
    }
    assert set(files_in(place)) == names | {"corpus.txt"}


def test_export_again_does_nothing(place, capsys):
    before = files_in(place)
    export(config_in(place))
    assert "nothing to do" in capsys.readouterr().out
    assert files_in(place) == before


def test_page_that_is_gone_is_made_again(place, tmp_path):
    config = config_in(place, output=str(tmp_path / "x.tflite"))
    export(config)
    before = files_in(tmp_path)
    (tmp_path / "x.html").unlink()
    export(config)
    assert files_in(tmp_path).keys() == before.keys()
    assert files_in(tmp_path)["x.tflite"] == before["x.tflite"]


def test_export_over_something_else(place, tmp_path):
    output = tmp_path / "x.tflite"
    output.write_bytes(b"mine")
    with pytest.raises(InputError, match="x.tflite exists.*`overwrite`"):
        export(config_in(place, output=str(output)))
    assert files_in(tmp_path) == {"x.tflite": b"mine"}
    export(config_in(place, output=str(output), quantize="none", overwrite=True))
    assert output.read_bytes() == (place / "student-none.tflite").read_bytes()
    with pytest.raises(InputError, match="other options"):
        export(config_in(place, output=str(output)))
    output.write_bytes(b"damaged")  # the report alone does not make it done
    with pytest.raises(InputError, match="exists"):
        export(config_in(place, output=str(output), quantize="none"))


def test_failed_check_leaves_no_file(place, tmp_path, monkeypatch):
    right, other = quantize.convert, random_model(VARIANTS["student"], "classifier", seed=1)
    monkeypatch.setattr(quantize, "convert", lambda _, *args, **kw: right(other, *args, **kw))
    with pytest.raises(InputError, match="does not agree with the model and is not kept"):
        export(config_in(place, output=str(tmp_path / "x.tflite"), quantize="none"))
    assert files_in(tmp_path) == {}


def test_file_whose_answers_hang_on_the_texts_before(place, tmp_path, monkeypatch):
    monkeypatch.setattr("mobilebert_tf.lite.export.wrong_after_shorter", lambda *_: 13)
    config = config_in(place, output=str(tmp_path / "x.tflite"))
    with pytest.raises(InputError, match="after shorter texts, one of 13 tokens has other"):
        export(config)
    assert files_in(tmp_path) == {}


@pytest.mark.parametrize(
    ("factor", "mode", "message"),
    [
        (10.0, "none", "probability is not finite"),  # activations beyond float32
        (3.0, "int8-full", "has numbers too far apart"),  # would abort the interpreter
        (3.0, "int16x8", "has numbers too far apart"),
        (np.nan, "dynamic", "numbers that are not finite in embeddings/"),
    ],
)
def test_diverged_model(place, tmp_path, factor, mode, message):
    diverged = MobileBert(model().config, model().head)
    for weight in diverged.weights:
        weight.assign(np.random.default_rng(0).normal(0, 1, weight.shape) * factor)
    save_model(diverged, tmp_path / "model", TOKENIZER)
    config = config_in(place, output=str(tmp_path / "x.tflite"), quantize=mode)
    with pytest.raises(InputError, match=message):
        export(dataclasses.replace(config, model=str(tmp_path / "model")))
    assert not list(tmp_path.glob("x*"))


def test_warnings_of_a_cased_vocabulary_and_of_numbers_beyond_float16(place, tmp_path, capsys):
    source = model("bert")
    wide = MobileBert(source.config, source.head)
    wide.set_weights(source.get_weights())
    (kernel,) = [w for w in wide.weights if w.path == "block_0/feed_forward_0/output/dense/kernel"]
    kernel.assign(kernel * 1e5 / np.abs(kernel).max() / 2)  # a layer norm follows
    reports = {}
    for name, network, lower_case in (("plain", source, True), ("wide", wide, False)):
        save_model(network, tmp_path / name, WordPiece(VOCABULARY, lower_case))
        output = str(tmp_path / f"{name}.tflite")
        config = config_in(place, output=output, quantize="float16")
        export(dataclasses.replace(config, model=str(tmp_path / name)))
        reports[name] = json.loads((tmp_path / f"{name}.json").read_text())["warnings"]
        said = capsys.readouterr().err
        assert all(f"warning: {warning}" in said for warning in reports[name])
    assert reports["plain"] == []
    cased, overflow = reports["wide"]
    assert "the vocabulary is cased, but MediaPipe" in cased
    assert "float16 ends at 65,504" in overflow
    assert overflow in (tmp_path / "wide.html").read_text()


def test_warning_of_the_numbers_that_trained_scales_give(place, tmp_path):
    """The file has the scales of quantization-aware training, so the warning has them too."""
    built = random_model(VARIANTS["student"], "classifier")
    weights = {weight.path: weight for weight in built.weights}
    value, output = (f"block_1/attention/{name}/kernel" for name in ("value", "output/dense"))
    factor = 2e3 / np.abs(weights[value]).max()
    weights[value].assign(weights[value] * factor)
    weights[output].assign(weights[output] / factor)
    for name, scale in (("narrow", 1.0), ("wide", 16.0)):
        scales = {"block_1/attention/value": np.full(built.config.attention_size, scale)}
        built.quantization = Quantization(scales, {})
        save_model(built, tmp_path / name, TOKENIZER)
        config = config_in(place, output=str(tmp_path / f"{name}.tflite"), quantize="float16")
        export(dataclasses.replace(config, model=str(tmp_path / name)))
    narrow, (wide,) = (
        json.loads((tmp_path / f"{name}.json").read_text())["warnings"]
        for name in ("narrow", "wide")
    )
    assert narrow == [] and "float16 ends at 65,504" in wide


def test_file_for_an_older_runtime(place, tmp_path):
    config = config_in(place, output=str(tmp_path / "x.tflite"), quantize="dynamic")
    needs = r"is 2.3, but this dynamic file needs 2.4 for .*CUMSUM.*: `min_runtime` 2.4 will do"
    with pytest.raises(InputError, match=needs):
        export(dataclasses.replace(config, min_runtime="2.3"))
    assert files_in(tmp_path) == {}
    export(dataclasses.replace(config, min_runtime="2.4"))
    assert json.loads((tmp_path / "x.json").read_text())["min_runtime"] == "2.4"


def test_fixed_length_encoder_export(place, tmp_path):
    output = tmp_path / "x.tflite"
    export(config_in(place, output=str(output), sequence_length=13, head="encoder"))
    report = json.loads((tmp_path / "x.json").read_text())
    assert report["tensors"]["inputs"]["ids"]["shape"] == [1, 13]
    lite = LiteModel(output)
    assert (lite.kind, lite.labels, lite.max_tokens) == ("encoder", [], 13)


def test_encoder_of_a_model_of_pairs_takes_single_texts(place, tmp_path):
    built = random_model(VARIANTS["student"], "classifier")
    built.head = dataclasses.replace(built.head, pairs=True)
    save_model(built, tmp_path / "pairs", TOKENIZER)
    config = config_in(place, output=str(tmp_path / "x.tflite"), quantize="none", head="encoder")
    export(dataclasses.replace(config, model=str(tmp_path / "pairs")))
    assert LiteModel(tmp_path / "x.tflite").pairs is None
    assert len(Pipeline(tmp_path / "x.tflite")("the dog").embedding) == built.config.hidden_size
    with pytest.raises(InputError, match="trained on pairs"):
        Pipeline(tmp_path / "pairs")("the dog")


@pytest.mark.parametrize("mode", ["none", "int8", "int4"])
def test_scores_around_0_are_kept(place, tmp_path, mode):
    """Those of STS-B's unrelated pairs are: a file may turn their signs."""
    save_model(undecided("regression", seed=1), tmp_path / "scores", TOKENIZER)
    config = config_in(place, output=str(tmp_path / "x.tflite"), quantize=mode)
    export(dataclasses.replace(config, model=str(tmp_path / "scores")))
    (measured,) = json.loads((tmp_path / "x.json").read_text())["agreement"].values()
    assert measured.keys() == {"error", "cosine", "worst"} and measured["cosine"] > 0.9


def test_existing_file_whose_score_is_too_low(place, tmp_path):
    """Asked for once more with a task, a file says that it is worse than the model, and stays."""
    save_model(undecided("classifier"), tmp_path / "model", TOKENIZER)
    texts = [text for text in (place / "corpus.txt").read_text().splitlines() if text.strip()]
    found = Pipeline(tmp_path / "model", truncate=True)(texts)
    rows = [f"{result.text}\t{result.label}" for result in found]
    (tmp_path / "dev.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    config = config_in(place, output=str(tmp_path / "x.tflite"), quantize="int4")
    config = dataclasses.replace(config, model=str(tmp_path / "model"))
    export(config)
    task = dict(task="classification", data_dir=str(tmp_path), max_drop=0.0)
    with pytest.raises(InputError, match="x.tflite loses .* points, more than .max_drop. 0.0$"):
        to_tflite(ToTfliteConfig(**dataclasses.asdict(config), **task))
    other = dataclasses.replace(config, output=str(tmp_path / "y.tflite"))
    with pytest.raises(InputError, match="the int4 file loses .* points.*, and is not kept"):
        to_tflite(ToTfliteConfig(**dataclasses.asdict(other), **task))
    assert (tmp_path / "x.tflite").exists() and not list(tmp_path.glob("y*"))


# ---- bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no model at runs/demo/student: make one with `python -m mobilebert_tf.distill`"),
        (["--model", "nowhere"], "--model: nowhere is not a model directory"),
        (["--quantize", "int2"], "int2"),
        (["--unknown", "1"], "unknown"),
        (["--model", "{}", "--output", "x.bin"], "must end in .tflite"),
        (["--model", "{}", "--output", "x.tflite", "--sequence-length", "38"], "3 to 37"),
        (["--model", "{}", "--output", "x.tflite", "--num-threads", "0"], "at least 1"),
        (["--model", "{}", "--output", "x.tflite", "--calibration-data", "gone"], "gone"),
        (["--model", "{}", "--min-runtime", "new"], "new: a version such as 2.4"),
        (["--model", "{}", "--task", "sst-2"], "--task and --data-dir go together"),
        (["--model", "{}", "--max-drop", "-1"], "--max-drop is -1"),
        (["--model", "{}", "--task", "mlperf-squad", "--data-dir", "x"], "evaluate scores it"),
        (["--model", "{}", "--task", "rte", "--data-dir", "x", "--head", "encoder"], "own head"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    place, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    arguments = [argument.format(place / "student") for argument in arguments]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert files_in(tmp_path) == {}


def test_door_as_a_process(tmp_path):
    done = subprocess.run(
        [sys.executable, str(TO_TFLITE)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: no model at runs/demo/student")


def test_model_without_vocabulary(place, tmp_path):
    directory = save_directory(tmp_path / "bare")
    (directory / "vocab.txt").unlink()
    config = dataclasses.replace(config_in(place), model=str(directory))
    with pytest.raises(InputError, match="no vocab.txt"):
        export(config)
