"""Exported files give the same on ARM as on x86: every mode and head, on 20 sentences, by LiteRT's
aarch64 wheel under qemu. Run by make arm, which ends with the tables. It checks that kernels are
right, and says nothing of a phone's speed.

Float files agree within 1e-5, int16x8 exactly. int8 cannot: the kernels of a processor round the
sum of an int8 matrix product each in their own way, so that now and then a number is the next one
(the second test shows that this is all), and what reads it goes on from there.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import tabulate
from clients.exported import FIXED, HEADS, MODES, SENTENCES, Exported

from mobilebert_tf.lite import flatbuffer

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / ".arm"
LONGEST = 64  # tokens: a text takes qemu 50 times as long
# Of the largest value of an output. Measured: float 6e-7, int8 0.048 at most (int8-full), and 0.01
# where numbers are made int8 on the way (dynamic).
LIMITS = dict.fromkeys(MODES, 0.06) | {"none": 1e-5, "float16": 1e-5, "int16x8": 0.0}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return Exported(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def run_both(exported, tmp_path):
    """Runs files on the sentences: the arrays of x86 and of ARM, by name."""

    def run(files, tensors=False):
        inputs = tmp_path / "inputs.json"
        asked = {"files": [str(file.path) for file in files], "tensors": tensors}
        inputs.write_text(json.dumps(asked | {"samples": samples(exported.tokenizer)}))
        arm = [HERE / "arm.sh", FOLDER]
        return run_files([sys.executable], inputs), run_files(arm, inputs)

    return run


def samples(tokenizer):
    """The sentences as inputs, cut to LONGEST."""
    names = ("ids", "mask", "segment_ids")
    rows = [tokenizer.encode([text]).values() for text in SENTENCES]
    return [
        dict(zip(names, (array[0, :LONGEST].tolist() for array in row), strict=True))
        for row in rows
    ]


def run_files(command, inputs):
    outputs = inputs.with_name("outputs.npz")
    subprocess.run(
        [*map(str, command), HERE / "run_files.py", inputs, outputs],
        check=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return dict(np.load(outputs))


def test_arm_equals_x86(exported, run_both):
    files = [exported.file(head, mode, None) for head in HEADS for mode in MODES]
    files += [exported.file("classifier", mode, FIXED["classifier"]) for mode in MODES]
    x86, arm = run_both(files)
    assert x86.keys() == arm.keys()
    rows = []
    for number, file in enumerate(files):
        keys = [key for key in x86 if key.startswith(f"{number}/")]
        of_keys = {key: difference(x86[key], arm[key]) for key in keys}
        texts = {key.split("/")[1] for key, value in of_keys.items() if value}
        rows.append((file.head, file.mode, file.length or "any", max(of_keys.values()), len(texts)))
    columns = ("head", "mode", "length", "difference", f"texts of {len(SENTENCES)}")
    print(tabulate.tabulate(rows, columns, floatfmt=".1e"))
    assert not [row for row in rows if row[3] > LIMITS[row[1]]]


def difference(ours, theirs):
    """The largest, of the output's largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def test_int8_kernels_differ_by_one_step_at_most(exported, run_both):
    """Of the integers that an operation makes from equal ones, and only of matrix products."""
    files = [exported.file(head, "int8-full", None) for head in ("classifier", "span")]
    x86, arm = run_both(files, tensors=True)
    steps = defaultdict(int)  # by operation
    for number, file in enumerate(files):
        for name, operator, _ in flatbuffer.operators(flatbuffer.read(file.path.read_bytes())):
            for text in range(len(SENTENCES)):
                keys = [f"{number}/{text}/{tensor}" for tensor in operator.inputs if tensor >= 0]
                if any((x86[key] != arm[key]).any() for key in keys if key in x86):
                    continue
                output = f"{number}/{text}/{operator.outputs[0]}"
                ours, theirs = x86[output].astype(float), arm[output].astype(float)
                steps[name] = max(steps[name], np.abs(ours - theirs).max())
    print(tabulate.tabulate(sorted(steps.items()), ("operation", "steps apart")))
    assert steps.pop("FULLY_CONNECTED") <= 1
    assert not any(steps.values())
