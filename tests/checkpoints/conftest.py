"""What the tests of convert share: a model in every format, to read or to spoil a copy of."""

import pytest
from support.checkpoints import copy, write_every_format


@pytest.fixture(scope="session")
def every_format(tmp_path_factory):
    """A folder with a model in every format; nobody may change it."""
    return write_every_format(tmp_path_factory.mktemp("every-format"))


@pytest.fixture
def copy_of(every_format, tmp_path):
    """Gives a copy of a model of `every_format`, which a test may spoil."""
    (tmp_path / "out").mkdir()
    return lambda name: copy(every_format / name, tmp_path / name)


@pytest.fixture
def destination(tmp_path):
    return tmp_path / "out" / "destination"
