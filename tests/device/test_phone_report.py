"""What the app's benchmark screen saves is read back by `python -m mobilebert_tf.benchmark`."""

import json

import pytest
from test_apk import OFFLINE

from mobilebert_tf import InputError
from mobilebert_tf.benchmark import BenchmarkConfig, benchmark

FILE = str(OFFLINE / "build/models/classifier.tflite")
REPORT = OFFLINE / "build/benchmark.json"  # the last one that the app's own tests saved


def config(beside) -> BenchmarkConfig:
    return BenchmarkConfig(file=FILE, lengths="16", threads="1", runs=2, beside=str(beside))


@pytest.mark.parametrize(("noisy", "said"), [(True, " (noisy)  "), (False, "  ")])
def test_the_phones_rows_stand_above_the_new_ones(noisy, said, tmp_path, capsys):
    phone = json.loads(REPORT.read_text())
    phone["thermal"]["noisy"] = noisy
    (tmp_path / "phone.json").write_text(json.dumps(phone))
    assert phone["machine"]["device"] == "Robolectric, Android 15"
    benchmark(config(tmp_path / "phone.json"))
    files, latency = (part.splitlines() for part in capsys.readouterr().out.split("\n\n"))
    assert files[0].split()[:3] == ["machine", "file", "bytes"]
    assert latency[0].split()[:4] == ["machine", "file", "tokens", "threads"]
    rows = latency[2:]
    assert len(rows) == len(phone["latency"]) + 1
    assert all(row.startswith(f"Robolectric, Android 15{said}") for row in rows[:-1])
    assert rows[-1].startswith("here")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not a readable JSON file"),
        ("[]", "is not a JSON object"),
        ("{}", "is no report of a benchmark"),
        ('{"machine": 1}', "is no report of a benchmark"),
        ('{"machine": {"cpu": "a"}, "files": 1}', "is no report of a benchmark"),
    ],
)
def test_what_is_no_report(tmp_path, content, said):
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(InputError, match=said):
        benchmark(config(path))


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        benchmark(config(tmp_path / "none.json"))
