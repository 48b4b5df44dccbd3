"""Warnings of the libraries that these tests compare with are theirs, and no errors."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "peers" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("default"))
