"""What every test shares: TensorFlow as the Keras backend, and the state of a new process."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

# Devices for the tests of many; all others use the first one.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)

# By what they took last: every command of the docs, runs that are killed and started again.
LONGEST = ("test_docs.py", "test_resume.py", "test_finetune.py")


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def as_in_a_new_process():
    """Equal random numbers each time; what a door sets for its whole process does not last."""
    keras.utils.set_random_seed(0)
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)
    disable_op_determinism()
