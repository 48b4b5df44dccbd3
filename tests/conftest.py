"""What every test shares: TensorFlow as the Keras backend, and equal random numbers each time."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest

# By what they took last: the README's commands are 30 processes.
LONGEST = ("test_readme.py", "test_resume.py", "test_finetune.py")


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)
