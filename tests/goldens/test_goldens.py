"""The golden files are what mobilebert_tf makes today."""

import json

import make
import pytest

_FILES = make.files()


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_a_file_is_what_make_makes(path):
    assert path.read_text(encoding="utf-8") == _FILES[path], (
        "mobilebert_tf makes something else now: if that is right, run tests/goldens/make.py"
    )


@pytest.mark.parametrize("path", sorted(make.HERE.glob("*.json")), ids=lambda path: path.name)
def test_a_file_has_cases_with_different_names(path):
    names = [case["name"] for case in json.loads(path.read_text()).get("cases", ())]
    assert path in _FILES and len(names) == len(set(names))
    assert names or path.name == "unicode.json"
