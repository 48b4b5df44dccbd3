"""prepare, and training from what it prepared, as a user calls them."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support.texts import write_corpus

from mobilebert_tf import prepare, pretrain

MODEL = ["--model", "test-student", "--training.steps", "2", "--batch-size", "4"]


@pytest.fixture
def corpus(tmp_path):
    return str(write_corpus(tmp_path / "corpus.txt", documents=60))


def test_prepare_and_pretrain(tmp_path, corpus, capsys):
    settings = ["--vocabulary-size", "200", "--held-out-fraction", "0.2", "--shard-tokens", "800"]
    output = ["--output-dir", str(tmp_path / "prepared")]
    prepare.main(["--corpus", corpus, *output, *settings])
    printed = capsys.readouterr().out
    assert "60 documents left out: " in printed and f"prepared: {tmp_path / 'prepared'}" in printed
    run = ["--output-dir", str(tmp_path / "run"), "--corpus", str(tmp_path / "prepared")]
    pretrain.main([*run, *MODEL])
    assert (tmp_path / "run" / "teacher" / "model.weights.h5").exists()
    assert not list((tmp_path / "run" / "data").glob("*.npz"))  # the text stays where it is


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "nowhere"], "no file, folder or match of a pattern: nowhere"),
        (["--processes", "0"], "--processes is 0: it must be at least 1"),
        (["--format", "bert"], "--format bert takes a prepared folder as --corpus"),
        (["--field", "body", "--corpus", "a.jsonl"], "no field 'body'"),
        (["--corpus", "bad.txt"], "bad.txt is not UTF-8 (byte 2)"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\n')
    (tmp_path / "bad.txt").write_bytes(b"W\xc3r\n")
    with pytest.raises(SystemExit) as exit_info:
        prepare.main([*arguments, "--output-dir", "out"])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "out" / "index.json").exists()


@pytest.mark.slow
def test_killed_processes(tmp_path, corpus):
    """SIGKILL at many moments; the parent's death ends its processes too."""
    command = [
        sys.executable, "-m", "mobilebert_tf.prepare", "--corpus", corpus, "--vocabulary-size",
        "200", "--held-out-fraction", "0.2", "--shard-tokens", "100", "--processes", "2",
    ]  # fmt: skip
    subprocess.run([*command, "--output-dir", str(tmp_path / "whole")], check=True)
    killed = [*command, "--output-dir", str(tmp_path / "killed")]
    for seconds in range(4, 40, 2):
        process = subprocess.Popen(killed, start_new_session=True)
        time.sleep(seconds)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(1)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    subprocess.run(killed, check=True)
    for file in (tmp_path / "whole").glob("*.tfrecord"):
        assert file.read_bytes() == (tmp_path / "killed" / file.name).read_bytes()
