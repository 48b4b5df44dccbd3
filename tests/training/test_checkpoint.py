"""Training state on disk: exact, atomic, and forgiving of one damaged file."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from mobilebert_tf import InputError
from mobilebert_tf.training.checkpoint import (
    Position,
    load_numbered,
    load_state,
    newest_position,
    save_state,
)


def tensors(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "model/00000": rng.normal(size=(13, 7)).astype(np.float32),
        "model/00001": rng.integers(0, 2**32, 2, dtype=np.uint32),
        "optimizer/00000": np.array(37, np.int64),
    }


def assert_equal(actual: dict, expected: dict) -> None:
    assert actual.keys() == expected.keys()
    for name in expected:
        assert actual[name].dtype == expected[name].dtype
        assert actual[name].shape == expected[name].shape
        np.testing.assert_array_equal(actual[name], expected[name])


def test_comes_back_exactly(tmp_path):
    save_state(tmp_path, 5, Position(stage=1, step=4), tensors(0))
    position, loaded = load_state(tmp_path)
    assert position == Position(stage=1, step=4)
    assert_equal(loaded, tensors(0))


def test_no_state(tmp_path):
    assert load_state(tmp_path) is None
    assert load_state(tmp_path / "nothing") is None


def test_keeps_the_last_two(tmp_path):
    for number in (2, 4, 10):
        save_state(tmp_path, number, Position(step=number), tensors(number))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["state-000000004.safetensors", "state-000000010.safetensors"]
    assert load_state(tmp_path)[0] == Position(step=10)


def test_keeps_the_best_that_one_of_the_last_names(tmp_path):
    for number, best in ((2, 2), (4, 2), (6, 2), (8, 8), (10, 8)):
        save_state(tmp_path, number, Position(step=number, best=best), tensors(number), kept=1)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["state-000000008.safetensors", "state-000000010.safetensors"]
    assert_equal(load_numbered(tmp_path, 8), tensors(8))
    truncate(tmp_path / "state-000000008.safetensors")
    with pytest.raises(InputError, match="000000008.*, the best state, is damaged"):
        load_numbered(tmp_path, 8)


@pytest.mark.parametrize(
    ("losses", "best", "waited"),
    [([3.0], 1, 0), ([3.0, 3.0], 1, 1), ([3.0, 4.0, 2.0], 3, 0), ([float("nan"), 5.0], 2, 0),
     ([5.0, float("nan"), 6.0], 1, 2)],
)  # fmt: skip
def test_the_best_is_the_first_lowest_loss(losses, best, waited):
    position = Position()
    for number, loss in enumerate(losses, start=1):
        position = position.judged(loss, number)
    assert (position.best, position.waited) == (best, waited)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip_one_bit(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(bytes(data))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip_one_bit, empty])
def test_damaged_newest_gives_the_one_before(tmp_path, damage, capsys):
    save_state(tmp_path, 2, Position(step=2), tensors(2))
    save_state(tmp_path, 4, Position(step=4), tensors(4))
    damage(tmp_path / "state-000000004.safetensors")
    position, loaded = load_state(tmp_path)
    assert position == Position(step=2)
    assert_equal(loaded, tensors(2))
    assert "state-000000004.safetensors is damaged" in capsys.readouterr().err
    assert names(tmp_path) == ["state-000000002.safetensors"]


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def two_states(directory):
    """Returns the paths of two states, the newest last."""
    for number in (2, 4):
        save_state(directory, number, Position(step=number), tensors(number))
    return [directory / f"state-00000000{number}.safetensors" for number in (2, 4)]


def test_all_damaged_is_an_error(tmp_path):
    """And nothing is deleted: somebody may mend them."""
    paths = two_states(tmp_path)
    for path in paths:
        truncate(path)
    with pytest.raises(InputError, match="every state in .* is damaged.*`overwrite`"):
        load_state(tmp_path)
    assert names(tmp_path) == [path.name for path in paths]


def test_a_state_that_cannot_be_read_stays(tmp_path):
    """Such as one on another disk, which is away for a moment."""
    older, newest = two_states(tmp_path)
    newest.rename(tmp_path / "elsewhere")
    newest.symlink_to(tmp_path / "away")
    for read in (load_state, newest_position, lambda directory: load_numbered(directory, 4)):
        with pytest.raises(InputError, match="cannot read .*state-000000004.*: No such file"):
            read(tmp_path)
    assert newest.is_symlink() and older.exists()
    (tmp_path / "elsewhere").rename(tmp_path / "away")
    assert load_state(tmp_path)[0] == newest_position(tmp_path) == Position(step=4)


def test_a_state_of_another_version_stays(tmp_path):
    _, newest = two_states(tmp_path)
    with safe_open(newest, framework="numpy") as file:
        metadata = file.metadata()
    position = json.loads(metadata["position"]) | {"new": 1}
    save_file(tensors(4), newest, metadata | {"position": json.dumps(position)})
    for read in (load_state, newest_position):
        with pytest.raises(InputError, match="state-000000004.* by another version"):
            read(tmp_path)
    assert len(names(tmp_path)) == 2


def test_a_state_without_a_checksum_is_damaged(tmp_path, capsys):
    _, newest = two_states(tmp_path)
    save_file(tensors(4), newest)
    assert newest_position(tmp_path) == load_state(tmp_path)[0] == Position(step=2)
    assert "its checksum is wrong" in capsys.readouterr().err
