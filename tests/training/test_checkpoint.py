"""Training state on disk: exact, atomic, and forgiving of one damaged file."""

import numpy as np
import pytest

from mobilebert_tf import InputError
from mobilebert_tf.training.checkpoint import Position, load_numbered, load_state, save_state


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


def test_all_damaged_is_an_error(tmp_path):
    save_state(tmp_path, 2, Position(step=2), tensors(2))
    truncate(tmp_path / "state-000000002.safetensors")
    with pytest.raises(InputError, match="every state in .* is damaged.*`overwrite`"):
        load_state(tmp_path)
