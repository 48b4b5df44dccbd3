"""The benchmark's figures are complete and consistent; how fast this machine is, no test asks."""

import json

import numpy as np
import pytest
from support.lite_files import content, packed_file, with_distant_scales

from mobilebert_tf import InputError
from mobilebert_tf.benchmark import BenchmarkConfig, benchmark, main
from mobilebert_tf.lite import timing


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    packed_file(folder / "any.tflite")
    packed_file(folder / "fixed.tflite", length=13)
    (folder / "foreign.tflite").write_bytes(content())
    packed_file(folder / "refused.tflite", mode="int8", changed=with_distant_scales)
    (folder / "bad.tflite").write_bytes(b"no model")
    return folder


def test_benchmark_of_two_files(place, capsys):
    config = BenchmarkConfig(
        file=str(place / "any.tflite"),
        vs=str(place / "foreign.tflite"),
        lengths="7,13",
        threads="1,2",
        runs=3,
        json=str(place / "out.json"),
    )
    benchmark(config)
    report = json.loads((place / "out.json").read_text())
    assert report["machine"]["cores"] > 0 and report["date"] and report["versions"]["tensorflow"]
    assert [file["bytes"] for file in report["files"]] == [
        (place / name).stat().st_size for name in ("any.tflite", "foreign.tflite")
    ]
    for file in report["files"]:
        assert file["load_ms"] > 0 and file["resize_ms"] > 0
        assert 0 < file["memory_mb"] < file["peak_mb"]
    measured = [(row["file"], row["tokens"], row["threads"]) for row in report["latency"]]
    assert measured == [
        (name, tokens, threads)
        for threads in (1, 2)
        for tokens in (7, 13)
        for name in ("any.tflite", "foreign.tflite")
    ]
    for row in report["latency"]:
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
        if row["file"] == "foreign.tflite":
            assert 0 < row["ratio_p10"] <= row["ratio"] <= row["ratio_p90"]
    printed = capsys.readouterr().out
    assert "ratio_p10" in printed and "memory_mb" in printed


@pytest.mark.parametrize(
    ("name", "left_out", "measured"), [("any", [64, 128], 32), ("fixed", [16, 32, 64, 128], 13)]
)
def test_default_lengths_stop_at_the_limit(place, capsys, name, left_out, measured):
    benchmark(BenchmarkConfig(file=str(place / f"{name}.tflite"), threads="1", runs=1))
    printed = capsys.readouterr().out
    assert f"{left_out} left out" in printed
    assert any(line.split()[1:2] == [str(measured)] for line in printed.splitlines())


def test_files_take_turns():
    order, real = [], timing.TimedFile

    class Recorded:
        def __init__(self, path, threads):
            self.path = path

        def resize(self, tokens):
            return 0.0

        def run(self):
            order.append(self.path)
            return float(len(order))

    timing.TimedFile = Recorded
    try:
        first, second = timing.latency(["a", "b"], tokens=7, threads=1, runs=4)
    finally:
        timing.TimedFile = real
    assert "".join(order) == "ab" + "bbaa" + "aabb" + "bbaa" + "aabb"
    assert first.tolist() == [6, 8, 14, 16] and second.tolist() == [4, 10, 12, 18]


def test_percentiles_by_hand():
    row = timing.latency_row(np.arange(101) / 1e3, tokens=7, threads=2)
    assert row == pytest.approx(
        {"tokens": 7, "threads": 2, "p50_ms": 50, "p90_ms": 90, "p99_ms": 99}
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/none.tflite"], "no file"),
        (["{}/bad.tflite"], "no .tflite file"),
        (["{}/refused.tflite"], "runtime does not run"),
        (["{}/any.tflite", "--vs", "{}/none.tflite"], "no file"),
        (["{}/any.tflite", "--lengths", "7,38"], "38, but"),
        (["{}/any.tflite", "--lengths", "7;8"], "positive numbers"),
        (["{}/any.tflite", "--threads", "0"], "--threads is 0: it must be at least 1"),
        (["{}/any.tflite", "--runs", "0"], "at least 1"),
        (["{}/any.tflite", "--runs", "many"], "many"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(place, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main([argument.format(place) for argument in arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1] and error[-1].startswith("error: ")


def test_lengths_over_another_files_limit(place):
    config = BenchmarkConfig(
        str(place / "any.tflite"), vs=str(place / "fixed.tflite"), lengths="20"
    )
    with pytest.raises(InputError, match="fixed.tflite takes at most 13"):
        benchmark(config)


def test_a_report_that_is_read_is_not_replaced(tmp_path, capsys):
    """`beside` names what is read, `json` what is written."""
    report = tmp_path / "a.json"
    report.write_text("precious")
    with pytest.raises(SystemExit) as stopped:
        main(["x.tflite", "--beside", f"b.json,{report}", "--json", str(report), "--overwrite"])
    assert stopped.value.code == 2
    assert "a.json is read and would be replaced" in capsys.readouterr().err
