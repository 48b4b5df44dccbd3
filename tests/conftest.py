"""What every test shares: TensorFlow as the Keras backend, and equal random numbers each time."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest
from support.tiny_convert import copy, write_every_format

# By what they took last: the README's commands are 30 processes.
LONGEST = ("test_readme.py", "test_resume.py", "test_finetune.py")


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A model in every format, for tests of convert; nobody may change it."""
    return write_every_format(tmp_path_factory.mktemp("made"))


@pytest.fixture
def given(made, tmp_path):
    """Gives a copy of a made folder that a test may spoil."""
    (tmp_path / "out").mkdir()
    return lambda name: copy(made / name, tmp_path / name)


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "out" / "dest"
