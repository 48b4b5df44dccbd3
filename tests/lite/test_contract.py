"""Damaged and foreign files are one line each, before an interpreter sees them."""

import io
import json
import zipfile

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from graphs import (
    input_of_no_tensor,
    no_operations,
    operation_of_no_kind,
    operation_on_no_tensor,
    other_inputs,
    signature_of_no_graph,
)
from support.lite_files import content, packed_file

from mobilebert_tf import InputError
from mobilebert_tf.lite import flatbuffer
from mobilebert_tf.lite.metadata import LABELS_FILE, SETTINGS_FILE, VOCABULARY_FILE
from mobilebert_tf.lite.quantize import MODES
from mobilebert_tf.lite.runtime import LiteModel


def changed_file(path, change, mode):
    """A classifier's file after a change of its parsed model; the files behind it are the same."""
    packed = packed_file(path, mode=mode).read_bytes()
    model = flatbuffer.read(packed)
    change(model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    file = io.BytesIO(bytes(builder.Output()))
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(io.BytesIO(packed)) as old, zipfile.ZipFile(file, "a") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    path.write_bytes(file.getvalue())
    return path


def no_signature(model):
    model.signatureDefs = []


def no_outputs(model):
    model.subgraphs[0].outputs = []


def float_input(model):
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].type = schema.TensorType.FLOAT32


def first(kind, model):
    return next(operation for name, operation, _ in flatbuffer.operators(model) if name == kind)


def more_outputs(kind, field):
    """An operation says that it has one output more than it has."""

    def change(model):
        operation = first(kind, model)
        setattr(operation.builtinOptions, field, len(operation.outputs) + 1)

    change.__name__ = f"more_outputs_{kind}"
    return change


def old_codes(model):
    """The kinds of operation in the field that files had before TFLite 2.4."""
    for code in model.operatorCodes:
        if code.builtinCode < schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES:
            code.deprecatedBuiltinCode, code.builtinCode = code.builtinCode, 0


def more_outputs_in_old_codes(model):
    more_outputs("SPLIT", "numSplits")(model)
    old_codes(model)


def product_of_one(model):
    operation = first("BATCH_MATMUL", model)
    operation.inputs = operation.inputs[:1]


def sum_with_nothing(model):
    operation = first("ADD", model)
    operation.inputs[1] = -1


def split_without_options(model):
    operation = first("SPLIT", model)
    operation.builtinOptions, operation.builtinOptionsType = None, 0


def tensor_without_buffer(model):
    model.subgraphs[0].tensors[3].buffer = 10**6


def scale(value):
    def change(model):
        tensors = [t for t in model.subgraphs[0].tensors if t.quantization is not None]
        quantized = [t for t in tensors if t.quantization.scale is not None]
        quantized[0].quantization.scale = np.full_like(quantized[0].quantization.scale, value)

    change.__name__ = f"scale_{value}"
    return change


@pytest.mark.parametrize(
    "change",
    [
        signature_of_no_graph,
        no_signature,
        other_inputs,
        input_of_no_tensor,
        no_outputs,
        float_input,
        no_operations,
        operation_of_no_kind,
        operation_on_no_tensor,
        more_outputs("SPLIT", "numSplits"),
        more_outputs("UNPACK", "num"),
        more_outputs_in_old_codes,
        split_without_options,
        product_of_one,
        sum_with_nothing,
        tensor_without_buffer,
        scale(np.nan),
        scale(0.0),
        scale(-1.0),
    ],
    ids=lambda change: change.__name__,
)
def test_a_changed_graph_is_one_line(tmp_path, change):
    with pytest.raises(InputError) as error:
        LiteModel(changed_file(tmp_path / "x.tflite", change, "int8"))
    assert "x.tflite" in str(error.value) and "\n" not in str(error.value)


def test_old_codes_pass(tmp_path):
    LiteModel(changed_file(tmp_path / "x.tflite", old_codes, "int8"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("head", ["classifier", "span"])
def test_our_own_files_pass(tmp_path, mode, head):
    LiteModel(packed_file(tmp_path / "x.tflite", head, mode))


def rewritten(path, **files):
    """A classifier's file with other files behind it, by name; None leaves one out."""
    model = content("student", "classifier", "none")
    settings = {"kind": "classifier", "do_lower_case": True, "max_tokens": 37}
    whole = {
        VOCABULARY_FILE: "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n",
        LABELS_FILE: "bad\ngood\nso so\n",
        SETTINGS_FILE: json.dumps(settings | {"sequence_length": None}),
    } | files
    file = io.BytesIO(model)
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in whole.items():
            if text is not None:
                archive.writestr(name, text)
    path.write_bytes(file.getvalue())
    return path


def settings_of(**changes):
    values = {"kind": "classifier", "do_lower_case": True, "max_tokens": 37}
    return {SETTINGS_FILE: json.dumps(values | {"sequence_length": None} | changes)}


@pytest.mark.parametrize(
    "files",
    [
        {VOCABULARY_FILE: None},
        {VOCABULARY_FILE: "[PAD]\n"},
        {SETTINGS_FILE: None},
        {SETTINGS_FILE: "[" * 100_000},
        {SETTINGS_FILE: '"text"'},
        {LABELS_FILE: None},
        {LABELS_FILE: "one\ntwo\n"},
        settings_of(kind="oracle"),
        settings_of(kind="span"),
        settings_of(max_tokens="many"),
        settings_of(max_tokens=-3),
        settings_of(max_tokens=None),
        settings_of(sequence_length=[7]),
        settings_of(do_lower_case="yes"),
        settings_of(colour="red"),
    ],
)
def test_other_files_behind_the_graph_are_one_line(tmp_path, files):
    with pytest.raises(InputError) as error:
        LiteModel(rewritten(tmp_path / "x.tflite", **files))
    assert "x.tflite" in str(error.value) or "vocabulary" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_cut_anywhere_is_one_line(tmp_path):
    whole = packed_file(tmp_path / "x.tflite").read_bytes()
    random = np.random.default_rng(0)
    for place in [0, 3, 7, *random.integers(8, len(whole), 40)]:
        (tmp_path / "x.tflite").write_bytes(whole[:place])
        with pytest.raises(InputError):
            LiteModel(tmp_path / "x.tflite")
