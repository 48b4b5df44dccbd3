"""The report on a quantized file: right errors, the worst operation, a mixed file that helps."""

import json
import sys

import numpy as np
import pytest
from support.lite_files import content, samples
from support.models import model
from support.texts import LABELS, TOKENIZER, write_corpus

from mobilebert_tf import InputError, quantization_report, save_model
from mobilebert_tf.evaluate import EvaluateConfig, evaluate
from mobilebert_tf.export import ToTfliteConfig, export
from mobilebert_tf.lite import flatbuffer, quantize
from mobilebert_tf.lite.export_config import ExportConfig
from mobilebert_tf.lite.layer_errors import LayerError, layer_errors
from mobilebert_tf.lite.runtime import LiteModel

SAMPLES = samples((7, 13, 37), 24)


def test_error_by_hand():
    error = LayerError("x", "ADD", "int8", representable=(-1.0, 2.0))
    error.add(np.array([1.0, 2.0, -1.0]), np.array([1.0, 3.0, -1.0]))
    error.add(np.array([0.0]), np.array([1.0]))
    assert error.snr == pytest.approx(10 * np.log10(12 / 2))
    assert (error.low, error.high, error.clipped, error.count) == (-1.0, 3.0, 1, 4)


def test_equal_files_have_no_error():
    file = content("student", "span")
    errors = layer_errors(file, file, SAMPLES[:3])
    assert {error.snr for error in errors} == {200.0}
    assert {error.operation for error in errors} >= {"FULLY_CONNECTED", "ADD", "SOFTMAX"}


@pytest.mark.parametrize("mode", ["dynamic", "int8", "int8-full", "int16x8", "int4"])
def test_errors_of_quantized_files(mode):
    built = model("student", "span")
    twin = quantize.float_twin(built, mode, SAMPLES)
    errors = layer_errors(quantize.quantized(twin, mode, SAMPLES), twin, SAMPLES[:6])
    dense = [error for error in errors if error.operation == "FULLY_CONNECTED"]
    assert len(dense) == 18 + 8 * (mode == "int8-full")
    low, high = {"int16x8": (15, 90)}.get(mode, (5, 60))
    assert all(low < error.snr < high for error in dense)
    integers = {error.dtype for error in dense}
    if mode == "int4":
        assert [error.name for error in dense if error.dtype == "float32"] == [dense[-1].name]
        return
    assert integers <= {"float32", "int8", "int16"} and (integers == {"float32"}) == (
        mode == "dynamic"
    )


def test_operations_of_a_4_bit_file_with_8_bit_weights():
    twin = quantize.float_twin(model("student", "span"), "int4", SAMPLES)
    before = layer_errors(quantize.quantized(twin, "int4", SAMPLES), twin, SAMPLES[:3])
    first, *others = [error for error in before if error.dtype == "int4"]
    names = [first.name, others[3].name]
    mixed = quantize.quantized(twin, "int4", SAMPLES, in_float=names)
    after = {error.name: error for error in layer_errors(mixed, twin, SAMPLES[:3])}
    assert {name for name in names if after[name].dtype == "float32"} == set(names)
    assert after[first.name].snr > first.snr + 1
    assert sum(error.dtype == "int4" for error in after.values()) == len(others) - 1


def test_operations_in_float_are_exact_again():
    built = model("student", "span")
    twin = quantize.float_twin(built, "int8", SAMPLES)
    names = [e.name for e in layer_errors(twin, twin, SAMPLES[:1]) if "block_" in e.name]
    file = quantize.quantized(twin, "int8", SAMPLES, in_float=names)
    operations = {name for name, _, _ in flatbuffer.operators(flatbuffer.read(file))}
    assert "FULLY_CONNECTED" in operations
    types = {e.name: e.dtype for e in layer_errors(file, twin, SAMPLES[:1])}
    assert {types[name] for name in names} == {"float32"}


def test_sizes_are_those_of_the_constants():
    parsed = flatbuffer.read(content("student", "span", "int8"))
    sizes = flatbuffer.sizes(parsed)
    assert set(sizes) >= {"tables", "embeddings", "block_0", "block_1"}
    assert sizes["block_0"] == sizes["block_1"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    save_model(model("student", "classifier"), folder / "model", TOKENIZER)
    corpus = write_corpus(folder / "corpus.txt")
    for mode in ("int8", "none"):
        output = str(folder / f"{mode}.tflite")
        export(ExportConfig(str(folder / "model"), output, mode, calibration_data=str(corpus)))
    return folder


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["quantization_report", *map(str, arguments)])
    quantization_report.door(
        quantization_report.quantization_report, quantization_report.ReportConfig, {"file": None}
    )


def test_report_and_search(exported, monkeypatch, capsys):
    arguments = (exported / "int8.tflite", "--model", exported / "model", "--search")
    run(monkeypatch, *arguments, "--max-drop", "0.2")
    record = json.loads((exported / "int8-layers.json").read_text())
    names = [row["name"] for row in record["operations"]]
    assert "block_0/feed_forward_0/output/residual/add" in names
    page = (exported / "int8-layers.html").read_text()
    assert names[-1] in page and "SNR" in page
    assert "operations in float" in capsys.readouterr().out
    assert LiteModel(exported / "int8-mixed.tflite").labels
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *arguments)
    assert stopped.value.code == 2 and "exists" in capsys.readouterr().err


@pytest.mark.parametrize("drop", [-0.1, float("nan"), float("inf")])
def test_a_drop_that_is_none(drop):
    """Every comparison with NaN is false: no file would do."""
    for config in (quantization_report.ReportConfig, ToTfliteConfig):
        arguments = ("x.tflite",) if config is quantization_report.ReportConfig else ()
        with pytest.raises(InputError, match="`max_drop` is .*: it must be at least 0"):
            config(*arguments, model="x", max_drop=drop)


def test_search_by_the_score_of_a_task(exported, monkeypatch, capsys, tmp_path):
    rows = [f"the dog runs {i}\t{LABELS[i % 3]}" for i in range(12)]
    (tmp_path / "dev.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    arguments = [exported / "int8.tflite", "--model", exported / "model", "--overwrite"]
    task = ("--task", "classification", "--data-dir", tmp_path)
    run(monkeypatch, *arguments, *task, "--search", "--max-drop", "1")
    assert "0 of " in capsys.readouterr().out  # anything is better than losing 100 points
    record = json.loads((exported / "int8-layers.json").read_text())
    config = EvaluateConfig(
        str(exported / "model"),
        "classification",
        str(tmp_path),
        compare=str(exported / "int8.tflite"),
        json=str(tmp_path / "scores.json"),
    )
    evaluate(config)
    expected = json.loads((tmp_path / "scores.json").read_text())["scores"]
    for form, row in zip(("model", "file"), expected, strict=True):
        assert record["scores"][form]["accuracy"] == pytest.approx(row["accuracy"])
    assert "<td>file</td>" in (exported / "int8-layers.html").read_text()
    for options in (task[:2], ("--task", "rte", "--data-dir", tmp_path)):
        with pytest.raises(SystemExit) as stopped:
            run(monkeypatch, *arguments, *options)
        assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("file", "message"), [("none.tflite", "is not quantized"), ("gone.tflite", "beside it")]
)
def test_bad_input(exported, file, message):
    config = quantization_report.ReportConfig(str(exported / file), str(exported / "model"))
    with pytest.raises(InputError, match=message):
        quantization_report.quantization_report(config)


def test_file_that_is_not_the_one_reported(exported):
    (exported / "other.json").write_bytes((exported / "int8.json").read_bytes())
    (exported / "other.tflite").write_bytes((exported / "int8.tflite").read_bytes()[:-1])
    file, directory = exported / "other.tflite", exported / "model"
    with pytest.raises(InputError, match="is not the file of other.json"):
        quantization_report.quantization_report(
            quantization_report.ReportConfig(str(file), str(directory))
        )
