"""Files and folders appear whole or not at all, whatever ends the writing."""

import os
import signal

import pytest

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import check_free, read_json, whole_directory, whole_file, write_whole


def write_file(path, content="new"):
    with whole_file(path) as aside:
        aside.write_text(content)


def write_folder(path):
    with whole_directory(path) as aside:
        (aside / "weights").write_text("new")


def contents(folder):
    """Every file below a folder, by its relative path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


@pytest.fixture(params=["absent", "present"])
def old(request, tmp_path):
    """What stands before the writing: nothing, or a file and a folder with two files."""
    if request.param == "present":
        (tmp_path / "model").mkdir()
        for name in ("report", "model/weights", "model/notes"):
            (tmp_path / name).write_text("old")
    return contents(tmp_path)


def test_the_new_file_replaces_the_old(tmp_path, old):
    write_file(tmp_path / "report")
    assert contents(tmp_path) == old | {"report": "new"}


def test_the_new_folder_replaces_the_whole_old_one(tmp_path, old):
    write_folder(tmp_path / "model")
    others = {name: text for name, text in old.items() if not name.startswith("model/")}
    assert contents(tmp_path) == others | {"model/weights": "new"}
    assert {path.name for path in tmp_path.iterdir()} - {"report"} == {"model"}


def test_the_folder_above_is_made(tmp_path):
    write_file(tmp_path / "a" / "b" / "report")
    write_folder(tmp_path / "c" / "d" / "model")
    assert contents(tmp_path) == {"a/b/report": "new", "c/d/model/weights": "new"}


@pytest.mark.parametrize("error", [InputError, OSError, KeyboardInterrupt])
def test_after_an_error_the_old_stays_and_nothing_else_is_left(tmp_path, old, error):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error), whole_file(tmp_path / "report") as aside:
        aside.write_text("half")
        raise error
    with pytest.raises(error), whole_directory(tmp_path / "model") as aside:
        (aside / "weights").write_text("half")
        raise error
    assert contents(tmp_path) == old and sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("failing", [1, 2])
def test_an_old_folder_stays_if_the_new_one_cannot_take_its_name(tmp_path, monkeypatch, failing):
    write_folder(tmp_path / "model")
    (tmp_path / "model" / "weights").write_text("old")
    replace, calls = os.replace, []

    def failing_replace(source, target):
        calls.append(target)
        if len(calls) == failing:
            raise PermissionError("no")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing_replace)
    with pytest.raises(PermissionError):
        write_folder(tmp_path / "model")
    assert contents(tmp_path) == {"model/weights": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def killed(function, *arguments):
    """Runs a function in a process of its own, which it must not survive."""
    child = os.fork()
    if child == 0:
        try:
            function(*arguments)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def kill_while_writing(writer, path):
    with writer(path) as aside:
        half = aside / "weights" if aside.is_dir() else aside
        half.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_killed_while_it_writes_the_old_stays_and_the_next_writing_works(tmp_path, old):
    killed(kill_while_writing, whole_file, tmp_path / "report")
    killed(kill_while_writing, whole_directory, tmp_path / "model")
    left = contents(tmp_path)
    assert {name: text for name, text in left.items() if ".partial" not in name} == old
    write_file(tmp_path / "report")
    write_folder(tmp_path / "model")
    assert (tmp_path / "report").read_text() == "new"
    assert contents(tmp_path / "model") == {"weights": "new"}


def kill_between_the_names(path):
    replace = os.replace

    def replace_and_die(source, target):
        replace(source, target)
        os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace_and_die  # of the process that ends here
    write_folder(path)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_killed_between_two_names_both_folders_are_whole(tmp_path):
    write_folder(tmp_path / "model")
    (tmp_path / "model" / "weights").write_text("old")
    killed(kill_between_the_names, tmp_path / "model")
    assert sorted(contents(tmp_path).values()) == ["new", "old"]


def test_half_a_surrogate_pair_is_written_as_its_escape(tmp_path):
    write_whole(tmp_path / "x", "é\ud800")
    assert (tmp_path / "x").read_bytes() == "é\\ud800".encode()
    write_whole(tmp_path / "x", b"\x00\xff")
    assert (tmp_path / "x").read_bytes() == b"\x00\xff"


def test_what_exists_is_free_only_to_overwrite(tmp_path):
    (tmp_path / "file").write_text("old")
    check_free(tmp_path / "absent", overwrite=False)
    check_free(tmp_path / "file", overwrite=True)
    with pytest.raises(InputError, match="file exists: choose another name, or `overwrite`"):
        check_free(tmp_path / "file", overwrite=False)
    for path in (tmp_path, "/dev/null"):
        with pytest.raises(InputError, match="is no file"):
            check_free(path, overwrite=True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read"),
        (b"{", "not a readable JSON file"),
        (b"\xff", "not a readable JSON file"),
        (b"[" * 100_000, "not a readable JSON file"),
        (b"[1]", "not a JSON object"),
        (b'{"a": "\\uD800"}', "surrogates not allowed"),  # could not be written anywhere
    ],
)
def test_json_that_is_none(tmp_path, content, reason):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as error:
        read_json(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_json_lists(tmp_path):
    (tmp_path / "x.json").write_text("[1]")
    assert read_json(tmp_path / "x.json", list) == [1]
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InputError, match="not a JSON list"):
        read_json(tmp_path / "x.json", list)
