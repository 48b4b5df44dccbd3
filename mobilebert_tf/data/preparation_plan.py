"""What a preparation is to make, and whether the one in a folder is the same and goes on.

plan.json, in the folder, has the settings and the state of each file of text.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mobilebert_tf.data.prepared_text import ExampleConfig, TextConfig
from mobilebert_tf.data.sources import Source
from mobilebert_tf.errors import InputError, check_number
from mobilebert_tf.files import INDEX, read_json, write_json

PLAN, WORK = "plan.json", "work"
_DONE = f"{WORK}/*.json"  # a report of each unit of work that is done


@dataclass(frozen=True)
class PrepareConfig(ExampleConfig, TextConfig):
    """How text becomes a prepared folder, and that BERT's own pre-training records.

    Args:
        output_dir: folder to prepare; the same command goes on with a preparation that was killed.
        format: documents makes a prepared folder of any corpus; bert makes of a prepared folder
            the masked examples that other programs train on (the settings of examples are theirs).
        copies: how often bert writes the text, with other pairs and masks each time.
        seed: of these pairs and masks.
        processes: how many tokenize at once; each takes a core and 0.8 GB of memory.
        keep_duplicates: keep documents that are nearly the same as an earlier one.
        shard_tokens: tokens in a file, about; training has one or two in memory.
        overwrite: delete what an earlier preparation left in output_dir.
        pipeline_options: after --, the options of Apache Beam, which then prepares:
            -- --runner FlinkRunner --flink_master HOST:8081
    """

    output_dir: str = "runs/prepared"
    format: Literal["documents", "bert"] = "documents"
    copies: int = 1
    seed: int = 0
    processes: int = 1
    keep_duplicates: bool = False
    shard_tokens: int = 8_000_000
    overwrite: bool = False
    pipeline_options: list[str] = field(default_factory=list)

    def __post_init__(self):
        TextConfig.__post_init__(self)
        ExampleConfig.__post_init__(self)
        check_number("copies", self.copies, 1)
        check_number("seed", self.seed, 0, 2**32 - 1)
        check_number("processes", self.processes, 1, 1024)
        check_number("shard_tokens", self.shard_tokens, 1)
        options = self.pipeline_options
        if options and not options[0].startswith("--"):
            raise InputError(f"what is {options[0]!r}? Text is named with `corpus`")
        if options and (self.processes > 1 or self.format == "bert"):
            raise InputError(
                "Apache Beam makes a prepared folder, with workers that its own options name: "
                "leave out `processes` and `format`"
            )


# Settings that may change when a preparation goes on.
_CHANGEABLE = ("output_dir", "processes", "skip_bad", "overwrite", "pipeline_options")


def plan_of(config: PrepareConfig, files: Iterable[Source]) -> dict[str, Any]:
    """Returns the settings, and what tells whether a file has changed."""
    settings = dataclasses.asdict(config)
    states = {}
    for source in files:
        if Path(source.path).exists():
            status = os.stat(source.path)
            states[source.path] = [status.st_size, status.st_mtime_ns]
    kept = {name: value for name, value in settings.items() if name not in _CHANGEABLE}
    return json.loads(json.dumps({"settings": kept, "files": states}))


def begin(path: Path, plan: dict[str, Any], overwrite: bool) -> None:
    """Makes a new preparation, or checks that the one in the folder is the same.

    One of which nothing is done yet is replaced, as after a wrong setting. Raises InputError if it
    is not the same.
    """
    if (path / PLAN).exists():
        before, is_done = read_json(path / PLAN), (path / INDEX).exists()
        if before == plan and not (overwrite and is_done):
            return
        if not overwrite and (is_done or any(path.glob("*.tfrecord")) or any(path.glob(_DONE))):
            raise InputError(
                f"{path} holds a preparation {_difference(before, plan)}: choose another "
                "`output_dir`, or `overwrite`"
            )
        for file in plan["files"]:
            if Path(file).resolve().is_relative_to(path.resolve()):
                raise InputError(f"{file} lies in {path}, which `overwrite` would delete")
        _delete(path)
    write_json(path / PLAN, plan)


def _difference(before: dict[str, Any], plan: dict[str, Any]) -> str:
    old, new = before.get("settings", {}), plan["settings"]
    changed = [name for name in old | new if old.get(name) != new.get(name)]
    if changed:
        shown = "; ".join(f"{name}: {old.get(name)} -> {new.get(name)}" for name in changed)
        return f"with other settings ({shown})"
    return "of files that have changed since"


def _delete(path: Path) -> None:
    """Deletes a preparation, the index first and the plan last."""
    (path / INDEX).unlink(missing_ok=True)
    shutil.rmtree(path / WORK, ignore_errors=True)
    for pattern in ("*.tfrecord", "*.npy", "vocab.txt", "tokenizer_config.json", PLAN):
        for file in path.glob(pattern):
            file.unlink()
