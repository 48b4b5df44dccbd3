"""The cells of an ablation: one training each, told apart by a few settings and a seed."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from mobilebert_tf.errors import InputError, require
from mobilebert_tf.files import write_json, write_whole
from mobilebert_tf.modeling.config import ModelConfig, load_model_config, parse_strictly
from mobilebert_tf.tasks.glue import GLUE
from mobilebert_tf.training.run_config import DistillConfig, PretrainConfig

ALONE = "alone"  # a cell's setting: the student trains without a teacher


@dataclass(frozen=True)
class Downstream:
    """Fine-tuning of each student, with one seed.

    Args:
        tasks: of GLUE, such as sst-2; none by default.
        data_dir: the folder of GLUE.
        epochs: passes over each training split.
        learning_rate: peak.
    """

    tasks: list[str] = field(default_factory=list)
    data_dir: str | None = None
    epochs: int = 3
    learning_rate: float = 1e-3

    def __post_init__(self):
        for task in self.tasks:
            require(task in GLUE, "downstream.tasks", self.tasks, f"of {', '.join(GLUE)}")
        if self.tasks and self.data_dir is None:
            raise InputError("`downstream.data_dir` must name the folder of GLUE")


@dataclass(frozen=True)
class AblateConfig(DistillConfig):
    """The settings of distill, and in which of them the cells differ.

    Args:
        cells: {name: settings of distill that differ}. `alone: true` trains the student without a
            teacher for the same number of steps. `student` may be a group: `size`, a named size,
            and the sizes that differ from it.
        seeds: each cell is trained with each of them; `seed` is that of the teacher.
        jobs: cells that are trained at once, each with its share of the cores.
        downstream: tasks on which each student is fine-tuned.
    """

    CHANGEABLE: ClassVar[tuple[str, ...]] = (
        *DistillConfig.CHANGEABLE, "cells", "seeds", "jobs", "downstream",
    )  # fmt: skip
    EXTENDABLE: ClassVar[tuple[str, ...]] = ()  # cells that are finished stay

    output_dir: str = "runs/ablation"
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    jobs: int = 1
    downstream: Downstream = Downstream()

    def __post_init__(self):
        super().__post_init__()
        require(self.jobs >= 1, "jobs", self.jobs, "at least 1")
        distinct = len(self.seeds) == len(set(self.seeds)) > 0
        require(distinct, "seeds", self.seeds, "one number or more, all different")


@dataclass(frozen=True)
class Command:
    """A command of this package and its settings.

    Args:
        door: such as "distill".
        settings: of the command.
        directory: of its run; the settings and the output are written beside it.
        result: the last file that it writes.
    """

    door: str
    settings: dict[str, Any]
    directory: Path
    result: Path

    @property
    def settings_file(self) -> Path:
        return self.directory.with_name(self.directory.name + ".yaml")

    @property
    def log_file(self) -> Path:
        return self.directory.with_name(self.directory.name + ".log")

    def write_settings(self) -> None:
        write_whole(self.settings_file, yaml.safe_dump(self.settings, sort_keys=False))


def teacher_command(config: AblateConfig) -> Command | None:
    """Returns the command that pre-trains the teacher of all cells; None if one is given."""
    if config.teacher is not None:
        return None
    directory = Path(config.output_dir) / "teacher"
    settings = _shared(config, PretrainConfig) | {
        "output_dir": str(directory),
        "model": config.teacher_model,
        "role": "teacher",
        "training": dataclasses.asdict(config.teacher_training),
    }
    return Command("pretrain", settings, directory, directory / "evaluation.json")


def cell_directory(config: AblateConfig, cell: str, seed: int) -> Path:
    """Returns the folder of a cell's run."""
    return Path(config.output_dir) / "cells" / cell / f"seed{seed}"


def cell_commands(config: AblateConfig, cell: str, seed: int) -> list[Command]:
    """Returns the commands of a cell, one after the other: training, then each task.

    Raises InputError for settings that distill does not have or accept.
    """
    differing = dict(config.cells[cell])
    alone = differing.pop(ALONE, False)
    require(isinstance(alone, bool), f"`{ALONE}` of cell '{cell}'", alone, "true or false")
    directory = cell_directory(config, cell, seed)
    differing["student"] = _student(config, cell, differing.get("student", config.student))
    teacher = config.teacher or str(Path(config.output_dir) / "teacher" / "teacher")
    base = _shared(config, DistillConfig)
    settings = _merged(base, differing) | {"output_dir": str(directory), "seed": seed}
    settings["teacher"] = teacher
    distill = parse_strictly(DistillConfig, settings, f"cell '{cell}'")
    door = "distill"
    if alone:
        door, steps = "pretrain", distill.transfer.phase.steps + distill.distillation.steps
        settings = _shared(distill, PretrainConfig) | {
            "model": distill.student,
            "role": "student",
            "init": None,
            "training": dataclasses.asdict(distill.distillation.replace(steps=steps)),
        }
        settings["vocabulary"] = distill.vocabulary or str(Path(teacher) / "vocab.txt")
    train = Command(door, settings, directory, directory / "evaluation.json")
    return [train, *(_task_command(config, task, directory) for task in config.downstream.tasks)]


def _task_command(config: AblateConfig, task: str, student: Path) -> Command:
    directory = student.with_name(f"{student.name}-{task}")
    settings = {
        "task": task,
        "model": str(student / "student"),
        "data_dir": str(config.downstream.data_dir),
        "output_dir": str(directory),
        "epochs": config.downstream.epochs,
        "learning_rate": config.downstream.learning_rate,
        "sequence_length": config.sequence_length,
    }
    return Command("finetune", settings, directory, directory / "scores.json")


def _student(config: AblateConfig, cell: str, student: Any) -> str:
    """Returns the size of a cell's student; a group of sizes is written as a bert_config.json."""
    if not isinstance(student, dict):
        return student
    if not isinstance(student.get("size"), str):
        raise InputError(f"cell '{cell}': student must have a `size` to start from")
    start = dataclasses.asdict(load_model_config(student["size"]))
    differing = {name: value for name, value in student.items() if name != "size"}
    sizes = parse_strictly(ModelConfig, start | differing, f"cell '{cell}'")
    path = Path(config.output_dir) / "cells" / cell / "bert_config.json"
    write_json(path, dataclasses.asdict(sizes))
    return str(path)


def _shared(config: Any, kind: type) -> dict[str, Any]:
    """Returns the settings that a config has in common with another kind of config."""
    names = {item.name for item in dataclasses.fields(kind)} - {"overwrite"}
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    return {name: value for name, value in values.items() if name in names}


def _merged(settings: Mapping[str, Any], differing: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested settings with those that differ in place of the others."""
    merged = dict(settings)
    for name, value in differing.items():
        group = merged.get(name)
        both = isinstance(group, dict) and isinstance(value, dict)
        merged[name] = _merged(group, value) if both else value
    return merged
