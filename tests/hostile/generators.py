"""From a random generator to a try: a door, its arguments, and a damaged copy of the good world."""

import dataclasses
import gzip
import io
import json
import os
import random
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
from ai_edge_litert import schema_py_generated as schema

from mobilebert_tf.data.preparation_plan import WORK
from mobilebert_tf.lite import flatbuffer

UNLIMITED = 2**40
FILE_SIZES = (4_000, 20_000, 60_000)  # bytes, of a quota: enough for an error on stderr
NUMBERS = (0, -1, 1, 2, 3, 7, 2**31, 2**63, 10**30, 1e308, float("nan"), float("inf"), -0.5, True)
VALUES = (None, "", "x", "x" * 100_000, [], {}, [[[]]], {"a": {"b": 1}}, [None], ["x", 1], *NUMBERS)
TEXTS = (
    *("", "0", "-1", "1.5", "nan", "inf", "1e309", "2147483648", "1" * 400, "٣", "null", "true"),
    *("[", "[[[[", "{}", "{a: 1}", "*a", "&a [*a]", "!!python/object:os.system x", "x" * 5000),
    *("/dev/null", "/dev/zero", "/", ".", "..", "no such file", "\ud800", "ünï", "@", "1,,2", "~"),
)
STRANGE = ("\0", "\ufeff", "\u2028", "\ud800", "\t", "\r", '"', "a\u0301" * 40, "ﬁ", "日本", "🎉")


@dataclass(frozen=True)
class Command:
    """A door with arguments that work, the files of the world that it reads, a folder that it goes
    on with, and the bytes that a file may have."""

    door: str
    arguments: tuple[str, ...]
    files: tuple[str, ...]
    continued: str = "out"
    file_size: int = UNLIMITED


_TEXT = "the dog runs."
PRETRAIN = ("--config", "settings.yaml", "--output-dir", "out")
PREPARE = ("--vocabulary-size", "200", "--held-out-fraction", "0.3", "--shard-tokens", "400",
           "--corpus")  # fmt: skip
_FOLDERS = ("classifier", "huggingface", "google", "model-garden", "sentences", "pretraining")
COMMANDS = (
    *(
        Command("predict", (folder, "the [MASK] runs."), (f"{folder}/**/*",))
        for folder in ("classifier", "huggingface", "sentences")
    ),
    *(
        Command("predict", (file, _TEXT, "--format", "jsonl"), (file,))
        for file in ("dynamic.tflite", "int8.tflite")
    ),
    Command("predict", ("int8.tflite", "--input", "corpus.txt", "--truncate"), ("corpus.txt",)),
    Command(
        "evaluate",
        ("--model", "int8.tflite", "--task", "classification", "--data-dir", "reviews"),
        ("reviews/*",),
    ),
    *(Command("convert", (name, "out", "--to", "google"), (f"{name}/*",)) for name in _FOLDERS),
    Command(
        "benchmark",
        ("int8.tflite", "--runs", "1", "--threads", "1", "--beside", "benchmark.json"),
        ("int8.tflite", "benchmark.json"),
    ),
    Command("pretrain", PRETRAIN, ("*.yaml", "*.txt")),
    Command(
        "finetune",
        ("--task", "classification", "--model", "encoder", "--data-dir", "reviews", "--epochs", "1",
         "--output-dir", "out"),
        ("reviews/*",),
    ),
    Command("pretrain", (*PRETRAIN, "--corpus", "prepared"), ("prepared/*",)),
    Command("prepare", (*PREPARE, "text", "--output-dir", "out"), ("text/*",)),
    Command("prepare", (*PREPARE, "text", "--output-dir", "out", "--skip-bad"), ("text/*",)),
    Command(
        "prepare",
        (*PREPARE, "corpus.txt", "--output-dir", "unfinished"),
        ("unfinished/*", f"unfinished/{WORK}/*"),
        "unfinished",
    ),
    Command(
        "prepare",
        ("--format", "bert", "--corpus", "prepared", "--output-dir", "out"),
        ("prepared/*",),
    ),
    Command("export", ("--model", "classifier", "--output", "out/x.tflite"), ("classifier/*",)),
)  # fmt: skip
# Options with numbers or texts, by door.
OPTIONS = {
    "predict": "top null-threshold num-threads context input output text-column format",
    "evaluate": "split sequence-length num-threads predictions json columns.text",
    "convert": "from head vocab model-config to",
    "benchmark": "lengths threads runs json vs beside",
    "pretrain": "corpus seed held-out-fraction vocabulary vocabulary-size sequence-length init "
    "batch-size masking-probability max-predictions-per-sequence precision model "
    "training.steps training.learning-rate training.warmup checkpoint-steps",
    "prepare": "corpus held-out-corpus held-out-fraction field format copies seed processes "
    "vocabulary vocabulary-size shard-tokens sequence-length max-predictions-per-sequence "
    "masking-probability short-sequence-probability lower-case overwrite keep-duplicates",
    "finetune": "sequence-length batch-size learning-rate epochs warmup weight-decay patience "
    "seeds teacher teacher-weight temperature augment log-steps grid columns.label",
    "export": "quantize sequence-length head calibration-data min-runtime num-threads max-drop",
}


def hostile_try(seed: int, world: Path, folder: Path) -> Command:
    """Copies the world into `folder`, damages one or two things, and returns the command to run."""
    rng = random.Random(seed)
    shutil.copytree(world, folder)
    command = rng.choice(COMMANDS)
    arguments = list(command.arguments)
    if rng.random() < 0.1:
        return dataclasses.replace(command, file_size=rng.choice(FILE_SIZES))
    for _ in range(rng.choice((1, 1, 2))):
        if rng.random() < 0.25:
            option = rng.choice(OPTIONS[command.door].split())
            arguments.append(f"--{option}={rng.choice(TEXTS)}")
        else:
            files = (path for name in command.files for path in folder.glob(name))
            damage(rng, rng.choice(sorted(path for path in files if path.is_file())))
    return dataclasses.replace(command, arguments=tuple(arguments))


def damage(rng: random.Random, path: Path) -> None:
    """Damages a file, as fits its kind or as any bytes, or puts what is no file in its place."""
    if rng.random() < 0.05:
        path.unlink()
        rng.choice(_NO_FILES)(path)
        return
    content = path.read_bytes()
    change = _BY_KIND.get(path.suffix, _bytes)
    try:
        content = (_bytes if rng.random() < 0.3 else change)(rng, content)
    except Exception:  # damaged before, so that it cannot be read as its kind
        content = _bytes(rng, content)
    path.write_bytes(content)


def _pipe(path: Path) -> None:
    """Makes a pipe with a line for its reader: a door that reads pipes waits for a writer."""
    os.mkfifo(path)
    subprocess.Popen(["timeout", "300", "sh", "-c", 'echo "A text." > "$0"', path])


_NO_FILES: tuple[Callable[[Path], None], ...] = (
    _pipe,
    Path.mkdir,
    lambda path: None,
    lambda path: path.symlink_to(path),
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.symlink_to(path.parent),
)


def _bytes(rng: random.Random, content: bytes) -> bytes:
    """Cuts, repeats or overwrites some bytes."""
    data = bytearray(content or b"x")
    for _ in range(rng.choice((1, 1, 1, 3, 20))):
        place = rng.randrange(len(data))
        stop = place + rng.choice((1, 4, 8, 100))
        how = rng.randrange(6)
        if how == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif how == 1:
            data[place:stop] = rng.choice((b"\xff", b"\0", b"\x7f", b"\x01")) * 4
        elif how == 2:
            data[place:stop] = rng.randbytes(stop - place)
        elif how == 3:
            del data[place:stop]
        elif how == 4:
            data[place:place] = data[place:stop] * rng.choice((1, 100))
        else:
            del data[place:]
        data = data or bytearray(b"x")
    return bytes(data)


def _json(rng: random.Random, content: bytes) -> bytes:
    """Replaces, repeats, renames or drops a value anywhere."""
    value = json.loads(content)
    holders = list(_holders(value))
    holder = rng.choice(holders)
    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    how = rng.randrange(5)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[rng.choice(STRANGE)] = holder.pop(key)
    elif how == 2 and isinstance(holder[key], str):
        holder[key] += rng.choice(STRANGE)
    elif how == 3:
        return b'{"a":' * rng.choice((50, 5000)) + b"1"
    else:
        holder[key] = rng.choice(VALUES)
    return json.dumps(value).encode()


def _holders(value: Any):
    """Yields every object and list that is not empty."""
    if isinstance(value, dict | list) and value:
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _holders(item)


def _text(rng: random.Random, content: bytes) -> bytes:
    """Changes lines: strange characters, long words, other separators, other encodings."""
    lines = content.decode().split("\n")
    place = rng.randrange(len(lines))
    how = rng.randrange(7)
    if how == 0:
        lines[place] += rng.choice(STRANGE)
    elif how == 1:
        lines[place] = "x" * rng.choice((101, 5000, 300_000))
    elif how == 2:
        lines[place] = rng.choice(TEXTS)
    elif how == 3:
        lines *= 3
    elif how == 4:
        rng.shuffle(lines)
    elif how == 5:
        lines[place] = lines[place].replace("\t", ",").replace(": ", ":")
    else:
        return "\n".join(lines).encode("utf-16")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _lines_of_json(rng: random.Random, content: bytes) -> bytes:
    lines = content.splitlines()
    place = rng.randrange(len(lines))
    lines[place] = _json(rng, lines[place])
    return b"\n".join(lines)


def _gzip(rng: random.Random, content: bytes) -> bytes:
    """Packs changed text, or what unpacks to a thousand times its size."""
    return gzip.compress(_content_to_pack(rng, gzip.decompress(content)))


def _zstd(rng: random.Random, content: bytes) -> bytes:
    unpacked = pyarrow.input_stream(content, compression="zstd").read()
    output = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(output, "zstd") as file:
        file.write(_content_to_pack(rng, unpacked))
    return output.getvalue().to_pybytes()


def _content_to_pack(rng: random.Random, content: bytes) -> bytes:
    bomb = rng.choice((b"\n", b"\0", b"a ", b"The end.\n\n"))
    return bomb * 10**7 if rng.random() < 0.3 else _text(rng, content)


def _parquet(rng: random.Random, content: bytes) -> bytes:
    output = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(_table(rng), output)
    return output.getvalue().to_pybytes()


def _arrow(rng: random.Random, content: bytes) -> bytes:
    table, output = _table(rng), pyarrow.BufferOutputStream()
    with rng.choice((pyarrow.ipc.new_file, pyarrow.ipc.new_stream))(output, table.schema) as file:
        file.write_table(table)
    return output.getvalue().to_pybytes()


def _table(rng: random.Random) -> pyarrow.Table:
    """A column of a wrong type, or of wrong texts."""
    values = (None, 7, True, [], ["x"], {"a": 1}, b"\xff", "", "\0", "x" * 200_000, "日本")
    return pyarrow.table({rng.choice(("text", "text", "")): [rng.choice(values)] * 3})


def _records(rng: random.Random, content: bytes) -> bytes:
    """Drops, repeats or reorders whole records."""
    records, at = [], 0
    while at < len(content):
        end = at + 16 + struct.unpack("<Q", content[at : at + 8])[0]
        records.append(content[at:end])
        at = end
    return b"".join(rng.choices(records, k=rng.choice((0, 1, len(records), 3 * len(records)))))


def _tflite(rng: random.Random, content: bytes) -> bytes:
    """Changes a field of the parsed model, or the files behind it."""
    model, archive = flatbuffer.read(content), zipfile.ZipFile(io.BytesIO(content))
    files = {name: archive.read(name) for name in archive.namelist()}
    kind = zipfile.ZIP_STORED
    if rng.random() < 0.3:
        name = rng.choice(sorted(files))
        files[name] = (_json if name.endswith(".json") else _text)(rng, files[name])
        kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    else:
        _change_object(rng, rng.choice(list(_objects(model))))
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")  # fails for a value that the format cannot hold
    file = io.BytesIO(bytes(builder.Output()))
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a", kind) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def _objects(model: schema.ModelT):
    """Yields the parts of a model that a change of one number can spoil."""
    yield from (model, *model.signatureDefs, *model.operatorCodes)
    yield from (entry for s in model.signatureDefs for entry in (*s.inputs, *s.outputs))
    for graph in model.subgraphs:
        yield from (graph, *graph.tensors, *graph.operators)
        yield from (t.quantization for t in graph.tensors if t.quantization is not None)
        yield from (o.builtinOptions for o in graph.operators if o.builtinOptions is not None)


def _change_object(rng: random.Random, thing: Any) -> None:
    name = rng.choice(sorted(vars(thing)) or ["nothing"])
    old = getattr(thing, name, None)
    if isinstance(old, bool | int | np.integer):
        setattr(thing, name, rng.choice((0, 1, -1, 2, 7, 99, 2**31 - 1, old + 1)))
    elif isinstance(old, list | np.ndarray) and len(old):
        items = list(old)
        place = rng.randrange(len(items))
        if rng.random() < 0.4 or not isinstance(items[place], int | float | np.number):
            items.pop(place)
        else:
            items[place] = type(items[place])(rng.choice((0, 1, -1, 2, 99, 2**20)))
        setattr(thing, name, np.array(items, old.dtype) if isinstance(old, np.ndarray) else items)
    else:
        setattr(thing, name, None)


_BY_KIND: dict[str, Callable[[random.Random, bytes], bytes]] = {
    ".json": _json,
    ".txt": _text,
    ".tsv": _text,
    ".yaml": _text,
    ".tflite": _tflite,
    ".jsonl": _lines_of_json,
    ".gz": _gzip,
    ".zst": _zstd,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".tfrecord": _records,
}
