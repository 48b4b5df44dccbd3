"""What stands beside measurements: the machine, the date, the versions."""

import datetime
import json
from importlib.metadata import version
from pathlib import Path

from mobilebert_tf import environment


def test_the_processor_is_the_first_that_the_system_names(monkeypatch, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: A: fast one\nprocessor\t: 1\nmodel name\t: B\n"
    )
    monkeypatch.setattr(environment, "Path", lambda _: cpuinfo)
    assert environment.cpu() == "A: fast one"


def test_a_processor_without_a_name_has_its_architecture(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")  # as on Arm
    for name in ("cpuinfo", "absent"):
        monkeypatch.setattr(environment, "Path", lambda _, name=name: tmp_path / name)
        monkeypatch.setattr(environment.platform, "processor", lambda: "")
        monkeypatch.setattr(environment.platform, "machine", lambda: "aarch64")
        assert environment.cpu() == "aarch64"


def test_circumstances_are_json_with_this_moment_and_the_installed_versions():
    found = json.loads(json.dumps(environment.circumstances()))
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(found["date"])
    assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=1)
    assert found["versions"]["keras"] == version("keras")
    assert found["machine"]["cpu"] == environment.machine()["processor"] != ""
    assert found["machine"]["cores"] == environment.machine()["cores"] > 0


def test_the_lock_file_pins_the_versions_that_are_recorded():
    lock = (Path(__file__).parents[1] / "requirements.lock").read_text()
    packages = set(environment.circumstances()["versions"]) - {"python", "mobilebert_tf"}
    assert all(f"{name}==" in lock for name in packages)
