"""Warnings of Beam's are its own, and no errors."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "beam" in item.path.parent.name:
            item.add_marker(pytest.mark.filterwarnings("default"))
