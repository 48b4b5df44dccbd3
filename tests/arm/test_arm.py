"""Exported files give the same on ARM as on x86: every mode and head, on 20 sentences, by LiteRT's
aarch64 wheel under qemu. Run by make arm, which ends with the table. It is the kernels' correctness
that is checked, not a phone's speed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tabulate
from clients.exported import FIXED, HEADS, MODES, SENTENCES, Exported

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / ".arm"
LONGEST = 64  # tokens: a text takes qemu 50 times as long
# Of the largest value of an output.
FLOAT = 1e-5
LIMITS = dict.fromkeys(MODES, FLOAT) | {"int8": 0.0, "int8-full": 0.0, "int16x8": 0.0}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return Exported(tmp_path_factory.mktemp("exported"))


def run_here(inputs, outputs):
    return [sys.executable, str(HERE / "run_files.py"), str(inputs), str(outputs)]


def run_on_arm(inputs, outputs):
    return [str(HERE / "arm.sh"), str(FOLDER), *run_here(inputs, outputs)[1:]]


def test_arm_equals_x86(exported, tmp_path):
    assert (FOLDER / "site").is_dir(), "no .arm/site: make arm makes it"
    assert len(SENTENCES) == 20
    files = [exported.file(head, mode, None) for head in HEADS for mode in MODES]
    files += [exported.file(head, mode, FIXED[head]) for head in HEADS[:1] for mode in MODES]
    encoded = [exported.tokenizer.encode([text]) for text in SENTENCES]
    names = ("ids", "mask", "segment_ids")
    samples = [
        dict(zip(names, (x[0, :LONGEST].tolist() for x in row.values()), strict=True))
        for row in encoded
    ]
    inputs = tmp_path / "inputs.json"
    inputs.write_text(json.dumps({"files": [str(f.path) for f in files], "samples": samples}))
    found = []
    for name, command in (("x86", run_here), ("arm", run_on_arm)):
        outputs = tmp_path / f"{name}.npz"
        subprocess.run(command(inputs, outputs), check=True, env=environment())
        found.append(dict(np.load(outputs)))
    rows = [
        (f.head, f.mode, f.length or "any", *differences(i, *found)) for i, f in enumerate(files)
    ]
    print(tabulate.tabulate(rows, ("head", "mode", "length", "largest", "differ"), floatfmt=".1e"))
    assert not [row for row in rows if row[3] > LIMITS[row[1]]]


def environment():
    """Without what would make this machine's TensorFlow speak up."""
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}


def differences(number, x86, arm):
    """The largest difference of a file's outputs, of the output's largest value; and the share of
    texts for which any number differs."""
    keys = [key for key in x86 if key.startswith(f"{number}/")]
    assert keys == [key for key in arm if key.startswith(f"{number}/")]
    largest, differing = 0.0, set()
    for key in keys:
        ours, theirs = x86[key].astype(float), arm[key].astype(float)
        difference = np.abs(ours - theirs).max() / np.abs(ours).max()
        largest = max(largest, float(difference))
        differing |= {key.split("/")[1]} if difference else set()
    return largest, f"{len(differing)} of {len(SENTENCES)} texts"
