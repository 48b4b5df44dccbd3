"""LiteRT.js in Chromium answers as we do. Run by make test-clients, which ends with the table."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from exported import MODES, SENTENCES
from verdicts import add_row, as_expected

from mobilebert_tf.lite.graph import INPUTS
from mobilebert_tf.lite.runtime import LiteModel

CLIENT = "LiteRT.js 2.5.3"
MODULES = Path(__file__).parents[2] / "web_demo" / "node_modules"
DRIVER = Path(__file__).parent / "litert_js" / "drive.mjs"
# It has no call that resizes a tensor, and knows float32 and int32 outputs alone.
ANY_LENGTH = "does not match expected ranked tensor type Int32[1, -1]"
# Of the largest output. Integers alone, a sum that its kernels round the other way stays another
# integer to the end: 0.043 over 384 tokens, 0.009 over 64.
LIMITS = dict.fromkeys(MODES, 0.03) | {"none": 1e-5, "float16": 1e-5, "int8-full": 0.06}


@pytest.fixture
def chromium():
    """The browser's program; skips the test where something is missing."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if not shutil.which("node"):
        pytest.skip("no node on this machine")
    if not MODULES.is_dir():
        pytest.skip("no web_demo/node_modules: make test-clients installs it where there is npm")
    if not found:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    return found


def test_litert_js(chromium, exported, row):
    files = [file for head in ("classifier", "encoder", "span") for file in exported.files(head)]
    samples = {str(file.path): encoded(file) for file in files}
    found = driven(chromium, samples)
    wrong = []
    for file in files:
        answer = found[str(file.path)]
        difference = None
        if "outputs" in answer:
            model = LiteModel(file.path)
            difference = max(
                largest_difference(model, sample, outputs)
                for sample, outputs in zip(samples[str(file.path)], answer["outputs"], strict=True)
            )
        add_row(row, CLIENT, file, answer, difference)
        reason = None if file.length else ANY_LENGTH
        if not as_expected(answer, difference, reason, LIMITS[file.mode]):
            wrong.append((file.path.name, answer.get("refused"), difference))
    assert not wrong


def encoded(file):
    """The sentences as the file's inputs, each [T]."""
    tokenizer = LiteModel(file.path).tokenizer
    rows = [tokenizer.encode([text], sequence_length=file.length) for text in SENTENCES]
    return [
        {name: x[0].tolist() for name, x in zip(INPUTS, row.values(), strict=True)} for row in rows
    ]


def driven(chromium, samples):
    asked = {"files": [{"path": path, "samples": rows} for path, rows in samples.items()]}
    done = subprocess.run(
        ["node", DRIVER],
        input=json.dumps(asked),
        env=os.environ | {"CHROMIUM": chromium},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def largest_difference(model, sample, outputs):
    """Of any output of a sample, of that output's largest value."""
    ours = model(*(np.array([sample[name]], np.int32) for name in INPUTS))
    differences = []
    for name, values in ours.items():
        theirs = np.array(outputs[name], np.float32)
        differences.append(np.abs(theirs - values.reshape(-1)).max() / np.abs(values).max())
    return float(max(differences))
