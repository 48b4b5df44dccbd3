"""Ten minutes of hostile tries from seeds; `make fuzz` makes more of them."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
def test_no_door_falls():
    # Of its own: a child of a process whose TensorFlow has begun to run would wait forever.
    command = [sys.executable, "-m", "hostile.fuzz", "--seconds", "600"]
    ended = subprocess.run(command, cwd=TESTS, capture_output=True, text=True)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
