"""The files of a run's folder: what they keep, and damage to them."""

import datetime
import json

import pytest

from mobilebert_tf import InputError
from mobilebert_tf.training.run_config import PretrainConfig
from mobilebert_tf.training.run_folder import RunFolder, data_settings, open_run


@pytest.mark.parametrize("line", [b'{"step": ', b"\xff", b"\0\0\0", b"7"])
def test_a_damaged_history_is_named(tmp_path, line):
    RunFolder(tmp_path).append_history({"step": 2})
    path = tmp_path / "history.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + line)  # without an end it is a line that was not written to its end
    assert len(RunFolder(tmp_path).history()) == 1
    path.write_bytes(whole + line + b"\n")
    with pytest.raises(InputError, match="history.jsonl, line 2 is damaged: "):
        RunFolder(tmp_path).history()


def test_run_json_keeps_the_date(tmp_path):
    config = PretrainConfig(output_dir=str(tmp_path / "run"), sequence_length=13)
    path = tmp_path / "run" / "run.json"
    with open_run(config):
        about = json.loads(path.read_text())
    begun = datetime.datetime.fromisoformat(about["started"])
    assert begun.utcoffset() == datetime.timedelta(0)
    path.write_text(json.dumps(about | {"started": "2020-01-02T12:00:00+00:00"}))
    with open_run(config) as folder:
        folder.check_unchanged({"text": "a digest"})
    assert json.loads(path.read_text())["started"] == "2020-01-02T12:00:00+00:00"
    assert data_settings(path.parent).sequence_length == 13
    for damaged in ("{", "{}"):
        path.write_text(damaged)
        with pytest.raises(InputError, match="run.json is "):
            data_settings(path.parent)
