"""The house: imports go one way, folder by folder, and nobody imports a door."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mobilebert_tf"
# From the ground up: each room may import from itself and from those before it.
ROOMS = (
    "errors files environment results",
    "text",
    "modeling",
    "data",
    "checkpoints",
    "lite",
    "tasks",
    "training",
    "reports",
    "pipeline cli",
)
FLOOR = {name: number for number, names in enumerate(ROOMS) for name in names.split()}
DOORS = {path.stem for path in PACKAGE.glob("*.py")} - set(FLOOR) - {"__init__"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room(path):
    """The folder of a file, or the file itself if it stands in the package's own folder."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    """The rooms of this package that a file imports from, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("mobilebert_tf."):
                yield name.split(".")[1]


def files_of(path, start=None):
    """The files that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mobilebert_tf"):
            base = PACKAGE.parent / node.module.replace(".", "/")
            for alias in node.names:
                for found in (base / f"{alias.name}.py", base.with_suffix(".py")):
                    if found.is_file():
                        yield found
                        break


def test_every_room_has_its_place():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders <= set(FLOOR)
    assert DOORS == {
        "ablate", "benchmark", "compare", "convert", "distill", "evaluate", "export", "finetune",
        "predict", "prepare", "pretrain", "quantization_report", "serve_demo",
    }  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    mine = room(path)
    for theirs in imported_rooms(path):
        assert theirs in FLOOR, f"{theirs} is a door, or a name of the package itself"
        higher = mine not in DOORS and FLOOR[theirs] > FLOOR[mine]
        assert not higher, f"{mine} is below {theirs}"


def test_no_cycle_of_files():
    imports = {path: set(files_of(path)) for path in FILES}
    while leaves := [path for path, used in imports.items() if not used & imports.keys()]:
        for path in leaves:
            del imports[path]
    assert not imports
