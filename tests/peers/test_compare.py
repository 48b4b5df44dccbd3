"""benchmarks/compare_peers.py, all of it, with models of 2 layers: make test-compare."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.texts import VOCABULARY, write_corpus

ROOT = Path(__file__).parents[2]
PEERS = {
    "Hugging Face, float32",
    "Hugging Face, dynamic int8",
    "Hugging Face, full int8",
    "Model Garden, dynamic int8",
    "ONNX Runtime, dynamic int8",
    "ONNX Runtime, dynamic int8, any length",
    "ONNX Runtime, int4",
    "ONNX Runtime, int4, any length",
}
OURS = {"ours, float32", "ours, dynamic int8", "ours, int8", "ours, int8-full", "ours, int4"}
EXACT = ("ours, float32", "Hugging Face, float32")


def compare(folder, *options):
    command = [sys.executable, "benchmarks/compare_peers.py", "--small", *options]
    command += ["--output", folder / "out", "--texts", folder / "texts.txt"]
    command += ["--vocabulary", folder / "vocab.txt"]
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_all_of_it(tmp_path):
    write_corpus(tmp_path / "texts.txt")
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    done = compare(tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())
    expected = OURS | PEERS
    if not find_spec("onnxruntime"):  # it is in the environment of make compare-peers
        expected = {name for name in expected if not name.startswith("ONNX")}
        assert all("ONNX Runtime" in name for name in results["left_out"])
    else:
        assert results["left_out"] == {}
    found = results["latency"]["classifier, 128 tokens, 1 thread"]
    assert {row["file"] for row in found} == expected
    assert {row["file"] for row in results["sentences"]} == expected
    assert {row["file"] for row in results["footprint"]["classifier"]} == expected
    for rows in results["agreement"].values():  # the same weights: so says every file
        assert all(row["cosine"] > 0.9 for row in rows)
        assert all(row["error"] < 1e-3 for row in rows if row["file"] in EXACT)
    assert len(results["paper"]) == 2 and all(len(rows) == 6 for rows in results["paper"].values())
    assert (out / "results.md").read_text() in done.stdout
    assert (out / "latency.png").read_bytes().startswith(b"\x89PNG")

    built = {path: os.stat(path).st_mtime_ns for path in (out / "files").iterdir()}
    again = compare(tmp_path, "--build-only")
    assert again.returncode == 0, again.stderr
    assert {path: os.stat(path).st_mtime_ns for path in (out / "files").iterdir()} == built

    (tmp_path / "texts.txt").write_text("another text\n" * 200)
    other = compare(tmp_path)
    assert other.returncode == 2 and "other options" in other.stderr
    assert len(other.stderr.splitlines()) == 1
