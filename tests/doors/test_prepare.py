"""prepare, and training from what it prepared, as a user calls them."""

import os
import subprocess
import sys
import time

import pytest
from support.texts import write_corpus

from mobilebert_tf import prepare, pretrain

MODEL = [
    "--model",
    "test-student",
    "--training.steps",
    "2",
    "--batch-size",
    "4",
    "--sequence-length",
    "24",
]


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

    sizes = ["--sequence-length", "24", "--max-predictions-per-sequence", "5"]
    source, bert = ["--corpus", str(tmp_path / "prepared")], tmp_path / "bert"
    prepare.main(["--format", "bert", *source, "--output-dir", str(bert), *sizes])
    assert f"examples in {bert}/held_out-*.tfrecord" in capsys.readouterr().out
    run = ["--output-dir", str(tmp_path / "again"), "--corpus", str(bert / "train-*")]
    run += ["--held-out-corpus", str(bert / "held_out-*")]
    run += ["--vocabulary", str(tmp_path / "prepared" / "vocab.txt")]
    pretrain.main([*run, *MODEL, *sizes])
    assert (tmp_path / "again" / "teacher" / "model.weights.h5").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "nowhere"], "no file, folder or match of a pattern: nowhere"),
        (["--processes", "0"], "--processes is 0: it must be at least 1"),
        (["--format", "bert"], "--format bert takes a prepared folder as --corpus"),
        (["--field", "body", "--corpus", "a.jsonl"], "no field 'body'"),
        (["--corpus", "bad.txt"], "bad.txt is not UTF-8 (byte 1)"),
        (["--corpus", ""], "no corpus is named"),
        (["--corpus", "."], "--output-dir out lies in ., which is read as text"),
        (["bad.txt"], "what is 'bad.txt'? Text is named with --corpus"),
        (["--processes", "2", "--", "--runner", "DirectRunner"], "leave out --processes"),
        (["--corpus", "bad.txt", "--", "--runner", "DirectRunner"], "Beam, which is not installed"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "apache_beam", None)  # as if it were not installed
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\n')
    (tmp_path / "bad.txt").write_bytes(b"W\xc3r\n")
    with pytest.raises(SystemExit) as exit_info:
        prepare.main([*arguments, "--output-dir", "out"])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "out").exists()


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_killed_processes(tmp_path, corpus):
    """SIGKILL of the parent ends its processes too, and the same command goes on."""
    command = [
        sys.executable, "-m", "mobilebert_tf.prepare", "--corpus", corpus, "--vocabulary-size",
        "200", "--held-out-fraction", "0.2", "--shard-tokens", "100", "--processes", "2",
        "--output-dir",
    ]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, str(whole)], check=True)
    for done in (0, 1, 4):  # units of work
        process = subprocess.Popen([*command, str(killed)], start_new_session=True)
        wait_for(lambda: len(list(killed.glob("work/*.json"))) >= done)  # noqa: B023
        process.kill()
        process.wait()
        wait_for(lambda: not is_alive(process.pid))  # noqa: B023
        assert not (killed / "index.json").exists()
    subprocess.run([*command, str(killed)], check=True)
    assert len(list(whole.glob("*.tfrecord"))) > 4
    for file in whole.glob("*.tfrecord"):
        assert file.read_bytes() == (killed / file.name).read_bytes()
