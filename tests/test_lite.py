"""The exported files: equal to Keras, right for any length, readable by phones, safe on disk."""

import dataclasses
import json
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from flatbuffers.number_types import UOffsetTFlags
from tiny_lite import (
    HEADS,
    LABELS,
    MAX_TOKENS,
    TOKENIZER,
    VARIANTS,
    VOCABULARY,
    content,
    inputs,
    keras_model,
    model,
    save_corpus,
    save_directory,
)

from mobilebert_tf import InputError
from mobilebert_tf.lite import export as export_module
from mobilebert_tf.lite import flatbuffer, metadata, quantize, verify
from mobilebert_tf.lite.export import ExportConfig, export
from mobilebert_tf.lite.graph import INPUTS, quantized_rows
from mobilebert_tf.lite.runtime import LiteModel, open_model
from mobilebert_tf.lite.samples import padded, samples
from mobilebert_tf.model import MobileBert, Task, copy_weights

QUANTIZED = quantize.MODES[1:]
TO_TFLITE = Path(__file__).parents[1] / "export" / "to_tflite.py"


def run(file_content, sample):
    """The outputs by name, float32 in integer files too."""
    runner = Interpreter(model_content=file_content).get_signature_runner()
    ids, mask, segment_ids = sample.values()
    outputs = runner(ids=ids, mask=mask, segment_ids=segment_ids)
    for name, details in runner.get_output_details().items():
        scale, zero_point = details["quantization"]
        if scale:
            outputs[name] = (outputs[name].astype(np.float32) - zero_point) * np.float32(scale)
    return outputs


def relative_error(values, expected):
    return np.abs(values - expected).max() / np.abs(expected).max()


# ---- the graph -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "head"),
    [("student", head) for head in HEADS]
    + [(variant, "span") for variant in VARIANTS if variant != "student"]
    + [("teacher", "classifier"), ("bert", "pretraining")],  # with a pooler; gelu_erf
)
def test_graph_equals_keras(variant, head):
    for tokens, padding in ((1, 0), (7, 0), (13, 4), (37, 1)):
        sample = inputs(tokens, seed=tokens, padding=padding)
        expected = keras_model(variant, head)(**sample)
        outputs = run(content(variant, head), sample)
        assert outputs.keys() == expected.keys()
        for name, values in expected.items():
            assert outputs[name].shape == values.shape
            # One token's logits are single numbers near zero: some processors round them 1.1e-5 off
            assert relative_error(outputs[name], values) < 3e-5


def test_encoder_of_a_model_with_another_head():
    sample, classifier = inputs(13), model(head="classifier")
    embedding = run(quantize.convert(classifier, "none", head="encoder"), sample)["embedding"]
    pooled = classifier(sample, training=False)["pooled_output"].numpy()
    assert relative_error(embedding, pooled) < 1e-5
    with pytest.raises(InputError, match="no span head"):
        quantize.convert(classifier, "none", head="span")


@pytest.mark.parametrize("mode", ["none", "int8-full"])
def test_sentence_embeddings(mode):
    """The mean of real tokens at length 1: a folded stream's scales must be undone."""
    task = Task("encoder", pooling="mean", normalized=True)
    keras = MobileBert(VARIANTS["student"], task)
    copy_weights(model(head="encoder"), keras)
    calibration = [dict(zip(INPUTS, inputs(13, i).values(), strict=True)) for i in range(8)]
    file = quantize.convert(keras, mode, calibration)
    for padding in (0, 4):
        sample = inputs(13, padding=padding)
        expected = keras(sample, training=False)["embedding"].numpy()
        embedding = run(file, sample)["embedding"]
        np.testing.assert_allclose(np.linalg.norm(expected), 1, rtol=1e-5)
        assert np.abs(embedding - expected).max() < (1e-5 if mode == "none" else 0.1)


@pytest.mark.parametrize("mode", ["none", "dynamic"])
def test_any_length_file_equals_fixed_length_files(mode):
    sample = inputs(13, padding=2)
    fixed = run(content("student", "span", mode, 13), sample)
    for name, values in run(content("student", "span", mode), sample).items():
        np.testing.assert_array_equal(values, fixed[name])


@pytest.mark.parametrize(
    ("variant", "mode"),
    [(variant, "none") for variant in VARIANTS] + [("student", mode) for mode in QUANTIZED],
)
def test_what_stands_at_padding_changes_nothing(variant, mode):
    for tokens, padding in ((7, 1), (13, 6), (37, 24)):
        clean = inputs(tokens, padding=padding)
        other = inputs(tokens, seed=99)
        dirty = {
            name: np.where(clean["input_mask"] == 1, clean[name], other[name]) for name in clean
        } | {"input_mask": clean["input_mask"]}
        assert (dirty["input_ids"] != clean["input_ids"]).any()
        file = content(variant, "span", mode)
        before, after = run(file, clean), run(file, dirty)
        # LiteRT's 16-bit softmax looks e^x up from -10 on: padding keeps a weight of 1/32768.
        limit = 0.02 if mode == "int16x8" else 0.0
        for name in before:
            real = tokens - padding
            assert relative_error(after[name][:, :real], before[name][:, :real]) <= limit


@pytest.mark.parametrize(
    ("mode", "limit"),
    [("none", 1e-5), ("int8", 1e-5), ("int8-full", 0.0), ("int16x8", 0.002)],  # the softmax, above
)
def test_more_padding_changes_nothing(mode, limit):
    """Though the calibration texts have none: in integers its scores must have a place."""
    short, long = inputs(13, padding=1), padded(inputs(13, padding=1), 37)
    file = content("student", "span", mode)
    for name, values in run(file, short).items():
        assert relative_error(run(file, long)[name][:, :12], values[:, :12]) <= limit


@pytest.mark.parametrize("mode", quantize.MODES)
def test_only_builtins_and_no_shape_operation(mode):
    operations = export_module._operations(content("student", "span", mode))
    assert operations["FULLY_CONNECTED"] > 10
    if mode in ("int8-full", "int16x8"):  # not a single island of float
        assert operations["DEQUANTIZE"] == 2 and "CAST" not in operations  # the two outputs
        assert ("BATCH_MATMUL" in operations) == (mode == "int16x8")
    assert not {"SHAPE", "CUSTOM", "BROADCAST_TO"} & set(operations)


@pytest.mark.parametrize(
    ("mode", "length", "per_channel", "runtime"),
    [
        ("none", None, True, "2.4"),  # CUMSUM numbers the positions
        ("none", 13, True, "2.3"),
        ("dynamic", None, True, "2.17"),
        ("dynamic", 13, False, "2.8"),  # CAST of int8 tables
        ("int8", 13, False, "2.8"),
        ("int8-full", 13, True, "2.3"),
        ("int8-full", 13, False, "2.3"),
        ("int16x8", None, True, "2.4"),
    ],
)
def test_minimum_runtime(mode, length, per_channel, runtime):
    calibration = [dict(zip(INPUTS, inputs(13, i).values(), strict=True)) for i in range(6)]
    arguments = dict(sequence_length=length, per_channel=per_channel)
    file = quantize.convert(model("student", "span"), mode, calibration, **arguments)
    assert flatbuffer.minimum_runtime(flatbuffer.read(file)) == runtime
    expected = keras_model("student", "span")(**inputs(13))
    for name, values in run(file, inputs(13)).items():
        assert relative_error(values, expected[name]) < 0.4


def test_custom_operation_is_refused():
    parsed = flatbuffer_utils.read_model_from_bytearray(content())
    parsed.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
    parsed.operatorCodes[0].customCode = b"FlexErf"
    with pytest.raises(InputError, match="phones lack: FlexErf"):
        export_module._operations(bytes(flatbuffer_utils.convert_object_to_bytearray(parsed)))


# ---- quantization --------------------------------------------------------------------------


def weights_of(file_content, operation):
    """The weights of dense layers (their second input), or the tables of gathers (their first)."""
    parsed = flatbuffer_utils.read_model_from_bytearray(file_content)
    graph = parsed.subgraphs[0]
    for op in graph.operators:
        code = parsed.operatorCodes[op.opcodeIndex].builtinCode
        if code == getattr(schema.BuiltinOperator, operation):
            yield graph.tensors[op.inputs[1 if operation == "FULLY_CONNECTED" else 0]]


@pytest.mark.parametrize("mode", ["dynamic", "int8"])
def test_embedding_tables_are_int8(mode):
    tables = weights_of(content("student", "span", mode), "GATHER")
    by_shape = {tuple(table.shape): table.type for table in tables}
    config = VARIANTS["student"]
    for rows, width in (
        (config.vocab_size, config.embedding_size),
        (config.max_position_embeddings, config.hidden_size),
        (config.type_vocab_size, config.hidden_size),
    ):
        assert by_shape[rows, width] == schema.TensorType.INT8


def test_int8_dense_weights_are_per_channel_and_symmetric():
    weights = list(weights_of(content("student", "span", "int8"), "FULLY_CONNECTED"))
    assert len(weights) == 18  # embedding, 8 in each of 2 blocks, head
    for tensor in weights:
        assert tensor.type == schema.TensorType.INT8
        assert len(tensor.quantization.scale) == tensor.shape[0]
        assert not np.any(tensor.quantization.zeroPoint)


def test_int8_blocks_compute_in_int8():
    parsed = flatbuffer_utils.read_model_from_bytearray(content("student", "span", "int8"))
    graph = parsed.subgraphs[0]
    types = {"block_": set(), "embeddings": set(), "span": set()}
    for op in graph.operators:
        code = parsed.operatorCodes[op.opcodeIndex].builtinCode
        if code == schema.BuiltinOperator.FULLY_CONNECTED:
            name = graph.tensors[op.outputs[0]].name.decode()
            (scope,) = (scope for scope in types if scope in name)
            types[scope].add(graph.tensors[op.inputs[0]].type)
    assert types == {
        "block_": {schema.TensorType.INT8},
        "embeddings": {schema.TensorType.FLOAT32},
        "span": {schema.TensorType.FLOAT32},
    }


@pytest.mark.parametrize("mode", QUANTIZED)
def test_quantized_outputs_are_near(mode):
    expected = [keras_model(head="span")(**inputs(tokens, seed=3)) for tokens in (7, 13, 37)]
    for tokens, values in zip((7, 13, 37), expected, strict=True):
        outputs = run(content("student", "span", mode), inputs(tokens, seed=3))
        limits = {"float16": 0.01, "dynamic": 0.1, "int8": 0.3, "int8-full": 0.4, "int16x8": 0.2}
        for name in values:
            assert 0 < relative_error(outputs[name], values[name]) < limits[mode]


@pytest.mark.parametrize("mode", ["dynamic", "int8"])
def test_same_model_same_bytes(mode):
    assert content.__wrapped__("student", "span", mode) == content("student", "span", mode)


def test_quantized_rows():
    table = np.array([[0.5, -1.27, 0.0], [0, 0, 0], [100, 50, -25.2]], np.float32)
    rows, scales = quantized_rows(table)
    assert rows.tolist() == [[50, -127, 0], [0, 0, 0], [127, 64, -32]]
    np.testing.assert_allclose(scales[:, 0], [0.01, 1, 100 / 127])


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


def packed_file(path, head="classifier", mode="none", length=None):
    path.write_bytes(
        metadata.pack(
            content("student", head, mode, length),
            metadata.Packed(
                kind=head,
                vocabulary=VOCABULARY,
                labels=LABELS if head == "classifier" else [],
                do_lower_case=True,
                max_tokens=MAX_TOKENS,
            ),
        )
    )
    return path


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


# ---- the runtime ---------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["classifier", "span"])
def test_lite_model_equals_keras_at_changing_lengths(tmp_path, head):
    lite = LiteModel(packed_file(tmp_path / "x.tflite", head))
    assert lite.kind == head
    assert lite.tokenizer.vocabulary == VOCABULARY
    assert lite.labels == (list(LABELS) if head == "classifier" else [])
    assert lite.max_tokens == MAX_TOKENS
    for tokens in (13, 7, 7, 37, 13):
        sample = inputs(tokens, seed=tokens)
        for name, values in keras_model(head=head)(**sample).items():
            assert relative_error(lite(**sample)[name], values) < 1e-5


def test_fixed_length_file_pads(tmp_path):
    lite = LiteModel(packed_file(tmp_path / "x.tflite", "span", length=13))
    assert lite.max_tokens == lite.fixed_length == 13
    expected = keras_model(head="span")(**padded(inputs(7), 13))
    for name, values in lite(**inputs(7)).items():
        assert values.shape == (1, 7)
        assert relative_error(values, expected[name][:, :7]) < 1e-5


def test_lite_model_refuses_bad_files(tmp_path):
    good = packed_file(tmp_path / "good.tflite").read_bytes()
    bad = {
        "text.tflite": b"no model",
        "empty.tflite": b"",
        "cut.tflite": good[: len(good) // 2],
        "foreign.tflite": content(),  # a real model, without our metadata
        "garbled.tflite": bytes(2000) + good[2000:],
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name):
            LiteModel(tmp_path / name)
    with pytest.raises(InputError, match="no file"):
        LiteModel(tmp_path / "missing.tflite")
    with pytest.raises(InputError, match="no file"):
        open_model(tmp_path / "missing")


def test_lite_model_refuses_bad_inputs(tmp_path):
    lite = LiteModel(packed_file(tmp_path / "x.tflite"))
    with pytest.raises(InputError, match="38 tokens: .* takes 1 to 37"):
        lite(**inputs(38))
    with pytest.raises(InputError, match=r"must be \[1,T\]"):
        lite(**(inputs(7) | {"segment_ids": np.zeros([1, 6], np.int32)}))
    with pytest.raises(InputError, match="38 tokens"):
        keras_model()(**inputs(38))


# ---- samples and agreement -----------------------------------------------------------------


def test_samples_are_real_text_of_many_lengths(tmp_path):
    corpus = save_corpus(tmp_path / "corpus.txt")
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


def test_agreement_by_hand():
    expected = np.array([[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])  # [1,3,2]; the last is padding
    values = np.array([[[1.0, 0.0], [2.0, 0.0], [-9.0, 0.0]]])
    sample = {"input_mask": np.array([[1, 1, 0]])}
    (measured,) = verify.agreement(
        lambda **_: {"mlm_logits": values}, lambda **_: {"mlm_logits": expected}, [sample]
    ).values()
    assert measured == {"error": 1.0, "cosine": 0.5, "choice": 0.5, "worst": 0}
    found = verify.complaints({"mlm_logits": measured}, "int8")
    assert [text.split(" of ")[0] for text in found] == ["error", "cosine", "choice"]
    assert verify.complaints({"embedding": {"cosine": float("nan")}}, "int8")
    assert not verify.complaints({"embedding": {"cosine": 1.0, "error": 0.0}}, "none")


# ---- export --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model directory, a text, and its exports in every mode."""
    folder = tmp_path_factory.mktemp("export")
    save_directory(folder / "student")
    save_corpus(folder / "corpus.txt")
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
    per_channel = mode in ("dynamic", "int8")  # with activations that are quantized on the fly
    assert report["min_runtime"] == ("2.17" if per_channel else "2.4")
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


def test_export_over_something_else(place, tmp_path):
    output = tmp_path / "x.tflite"
    output.write_bytes(b"mine")
    with pytest.raises(InputError, match="x.tflite exists.*--overwrite"):
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
    right = quantize.convert
    monkeypatch.setattr(
        quantize, "convert", lambda _, *args, **kw: right(model(seed=1), *args, **kw)
    )
    with pytest.raises(InputError, match="does not agree with the model and is not kept"):
        export(config_in(place, output=str(tmp_path / "x.tflite"), quantize="none"))
    assert files_in(tmp_path) == {}


def test_file_for_an_older_runtime(place, tmp_path):
    config = config_in(place, output=str(tmp_path / "x.tflite"), quantize="dynamic")
    with pytest.raises(InputError, match="is 2.3, but this dynamic file needs 2.8"):
        export(dataclasses.replace(config, min_runtime="2.3"))
    assert files_in(tmp_path) == {}
    export(dataclasses.replace(config, min_runtime="2.8"))
    assert json.loads((tmp_path / "x.json").read_text())["min_runtime"] == "2.8"


def test_fixed_length_encoder_export(place, tmp_path):
    output = tmp_path / "x.tflite"
    export(config_in(place, output=str(output), sequence_length=13, head="encoder"))
    report = json.loads((tmp_path / "x.json").read_text())
    assert report["tensors"]["inputs"]["ids"]["shape"] == [1, 13]
    lite = LiteModel(output)
    assert (lite.kind, lite.labels, lite.max_tokens) == ("encoder", [], 13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no model at runs/demo/student: make one with `python -m mobilebert_tf.distill`"),
        (["--model", "nowhere"], "nowhere is not a model directory"),
        (["--quantize", "int4"], "int4"),
        (["--unknown", "1"], "unknown"),
        (["--model", "{}", "--output", "x.bin"], "must end in .tflite"),
        (["--model", "{}", "--output", "x.tflite", "--sequence-length", "38"], "3 to 37"),
        (["--model", "{}", "--output", "x.tflite", "--num-threads", "0"], "at least 1"),
        (["--model", "{}", "--output", "x.tflite", "--calibration-data", "gone"], "gone"),
        (["--model", "{}", "--min-runtime", "new"], "new: a version such as 2.8"),
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
    monkeypatch.setattr(sys, "argv", ["to_tflite.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(TO_TFLITE), run_name="__main__")
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
