"""TFLite metadata: what lets MediaPipe Tasks and the Task Library open a file as it is.

A ModelMetadata flatbuffer (metadata_schema.fbs of MediaPipe, the M001 format) inside the model
names the tensors and the tokenizer; an uncompressed ZIP behind the model holds the files it names.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite import flatbuffer
from mobilebert_tf.modeling.heads import HEADS, check_joiners, check_labels, check_thresholds

VOCABULARY_FILE, LABELS_FILE, SETTINGS_FILE = "vocab.txt", "labels.txt", "mobilebert.json"

_LARGEST_FILE = 2**24  # bytes; a vocabulary of 250,000 pieces has 3 MB
_IS_ENCRYPTED = 1  # a bit of a ZIP entry's flags
# What reading files raises that are no text, no JSON, encrypted, or compressed in unknown ways.
_WRONG_CONTENT = (
    *(KeyError, ValueError, TypeError, AttributeError),
    *(RecursionError, RuntimeError, NotImplementedError, EOFError, InputError),
)
_BUFFER_NAME = "TFLITE_METADATA"
_FORMAT = b"M001"
_PARSER_VERSION = "1.1.0"  # the first with BertTokenizerOptions
# Numbers of enum and union members in metadata_schema.fbs.
_AXIS_LABELS, _VOCABULARY, _BERT_TOKENIZER = 2, 5, 4


@dataclass(frozen=True)
class Packed:
    """What travels in the file beside the graph.

    Args:
        kind: of its head, as in mobilebert_tf.modeling.model.Task.
        vocabulary: the tokenizer's pieces, in the order of their ids.
        labels: a classifier's class names.
        thresholds: of the labels of a multi_label_classifier; none for 0.5 each.
        joiners: of the words of a token_classifier; none if each mark is a word.
        do_lower_case: whether the tokenizer lower-cases.
        strip_accents: whether it strips accents; None if it does where it lower-cases.
        pairs: whether the head was trained on pairs of texts; None if unknown.
        max_tokens: longest sequence that the model takes.
        sequence_length: tokens that the head was trained on; None if any.
    """

    kind: str
    vocabulary: Sequence[str]
    labels: Sequence[str]
    do_lower_case: bool
    max_tokens: int
    sequence_length: int | None = None
    strip_accents: bool | None = None
    pairs: bool | None = None
    thresholds: Sequence[float] = ()
    joiners: Sequence[str] = ()


def pack(content: bytes, packed: Packed) -> bytes:
    """Returns the model with metadata and files; equal arguments give equal bytes."""
    model = flatbuffer.read(content)
    inputs, outputs = tensor_names(model)
    metadata = _model_metadata(packed, inputs, outputs)
    buffer = schema.BufferT()
    buffer.data = metadata
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _BUFFER_NAME, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    file = io.BytesIO(flatbuffer.write(model))
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        for name, text in _files(packed).items():
            archive.writestr(zipfile.ZipInfo(name), text)  # ZipInfo's date is fixed: 1980
    return file.getvalue()


def unpack(path: str | Path) -> Packed:
    """Reads what `pack` added. Raises InputError if the file is not one of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            settings = json.loads(_read(archive, SETTINGS_FILE))
            vocabulary = _read(archive, VOCABULARY_FILE).split("\n")[:-1]
            labels = _read(archive, LABELS_FILE) if LABELS_FILE in archive.namelist() else ""
        packed = Packed(vocabulary=vocabulary, labels=labels.split("\n")[:-1], **settings)
        _check(packed)
        return packed
    except (zipfile.BadZipFile, zlib.error, *_WRONG_CONTENT):
        raise InputError(
            f"{path} is not a whole .tflite file made by export/to_tflite.py: it holds no "
            "vocabulary or settings"
        ) from None


def _read(archive: zipfile.ZipFile, name: str) -> str:
    """Reads a file of the zip. Raises ValueError for one that `pack` would not have written."""
    entry = archive.getinfo(name)
    is_stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & _IS_ENCRYPTED
    if not is_stored or entry.file_size > _LARGEST_FILE:
        raise ValueError(f"{name} is too large, compressed or encrypted")
    return archive.read(entry).decode()


def _check(packed: Packed) -> None:
    """Raises ValueError for settings of the wrong types, or out of range."""
    lengths = [packed.max_tokens, packed.sequence_length]
    numbers = all(type(n) is int and 0 < n < 2**20 for n in lengths if n is not None)
    booleans = isinstance(packed.do_lower_case, bool) and all(
        isinstance(value, bool | None) for value in (packed.strip_accents, packed.pairs)
    )
    if packed.kind not in HEADS or packed.max_tokens is None or not (numbers and booleans):
        raise ValueError("settings out of range")
    check_labels(packed.kind, packed.labels)
    check_thresholds(packed.kind, packed.labels, packed.thresholds)
    check_joiners(packed.kind, packed.joiners)


def tensor_names(model: schema.ModelT) -> tuple[list[str], list[str]]:
    """Returns the signature's names of the graph's inputs and outputs, in the graph's order."""
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    inputs = {tensor.tensorIndex: tensor.name.decode() for tensor in signature.inputs}
    outputs = {tensor.tensorIndex: tensor.name.decode() for tensor in signature.outputs}
    return [inputs[i] for i in graph.inputs], [outputs[i] for i in graph.outputs]


def _files(packed: Packed) -> dict[str, str]:
    settings = asdict(packed)
    files = {VOCABULARY_FILE: "".join(f"{token}\n" for token in settings.pop("vocabulary"))}
    labels = settings.pop("labels")
    if labels:
        files[LABELS_FILE] = "".join(f"{label}\n" for label in labels)
    if settings["strip_accents"] in (None, packed.do_lower_case):
        del settings["strip_accents"]
    if packed.pairs is None:
        del settings["pairs"]
    for name in ("thresholds", "joiners"):
        if not settings[name]:
            del settings[name]
    return files | {SETTINGS_FILE: json.dumps(settings) + "\n"}


def _model_metadata(packed: Packed, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Returns a ModelMetadata with one SubGraphMetadata; metadata_schema.fbs numbers the fields."""
    builder = flatbuffers.Builder()
    vocabulary = _associated_file(builder, VOCABULARY_FILE, _VOCABULARY)
    options = _table(builder, {0: _vector(builder, [vocabulary])})  # BertTokenizerOptions
    tokenizer = _process_unit(builder, options)
    input_metadata = [_tensor(builder, name) for name in inputs]
    output_metadata = [_tensor(builder, name, bool(packed.labels)) for name in outputs]
    subgraph = _table(
        builder,
        {
            2: _vector(builder, input_metadata),
            3: _vector(builder, output_metadata),
            5: _vector(builder, [tokenizer]),
        },
    )
    subgraphs = _vector(builder, [subgraph])
    name = builder.CreateString(f"mobilebert_tf {packed.kind}")
    version = builder.CreateString(_PARSER_VERSION)
    builder.Finish(_table(builder, {0: name, 3: subgraphs, 7: version}), _FORMAT)
    return bytes(builder.Output())


def _tensor(builder: flatbuffers.Builder, name: str, labelled: bool = False) -> int:
    fields = {0: builder.CreateString(name)}
    if labelled:
        fields[6] = _vector(builder, [_associated_file(builder, LABELS_FILE, _AXIS_LABELS)])
    return _table(builder, fields)


def _associated_file(builder: flatbuffers.Builder, name: str, kind: int) -> int:
    name = builder.CreateString(name)
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(0, name, 0)
    builder.PrependInt8Slot(2, kind, 0)
    return builder.EndObject()


def _process_unit(builder: flatbuffers.Builder, options: int) -> int:
    builder.StartObject(2)
    builder.PrependUint8Slot(0, _BERT_TOKENIZER, 0)
    builder.PrependUOffsetTRelativeSlot(1, options, 0)
    return builder.EndObject()


def _table(builder: flatbuffers.Builder, fields: dict[int, int]) -> int:
    """Writes a table of offsets: field number -> what it points to."""
    builder.StartObject(max(fields) + 1)
    for number, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    return builder.EndObject()


def _vector(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
