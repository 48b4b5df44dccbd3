"""The cells of an ablation: one training each, told apart by a few settings and a seed."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from mobilebert_tf.errors import InputError, require
from mobilebert_tf.files import read_json, write_json, write_whole
from mobilebert_tf.modeling.config import ModelConfig, load_model_config, parse_strictly
from mobilebert_tf.tasks.glue import GLUE
from mobilebert_tf.training.finetune_config import FinetuneConfig
from mobilebert_tf.training.run_config import DistillConfig, PretrainConfig
from mobilebert_tf.training.run_folder import CHANGEABLE, flatten_settings

ALONE = "alone"  # a cell's setting: the student trains without a teacher
CONFIGS: dict[str, type] = {
    "pretrain": PretrainConfig,
    "distill": DistillConfig,
    "finetune": FinetuneConfig,
}


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
        title: what it trains, for messages.
        door: such as "distill".
        settings: of the command.
        result: name of the last file that it writes, in the folder of its run.

    Raises InputError for settings that the command does not accept.
    """

    title: str
    door: str
    settings: dict[str, Any]
    result: str

    def __post_init__(self):
        parse_strictly(CONFIGS[self.door], self.settings, self.title)

    @property
    def directory(self) -> Path:
        """The folder of its run; the settings and the output are written beside it."""
        return Path(self.settings["output_dir"])

    @property
    def result_file(self) -> Path:
        return self.directory / self.result

    @property
    def settings_file(self) -> Path:
        return self.directory.with_name(self.directory.name + ".yaml")

    @property
    def log_file(self) -> Path:
        return self.directory.with_name(self.directory.name + ".log")

    def write_settings(self) -> None:
        write_whole(self.settings_file, yaml.safe_dump(self.settings, sort_keys=False))

    def changed_settings(self, ablation: Path) -> list[str]:
        """Returns the settings that differ from those with which the run began.

        None do before it began. Settings that may change when a run is continued are left out, and
        those that older versions did not have count as their defaults.

        Args:
            ablation: its folder, which may have been moved since.
        """
        run = self.directory / "run.json"
        if not run.is_file():
            return []
        kind, written = CONFIGS[self.door], read_json(run).get("settings", {})
        known = {item.name for item in dataclasses.fields(kind)} & written.keys()
        before, now = (
            flatten_settings(dataclasses.asdict(parse_strictly(kind, values, source)))
            for values, source in (
                ({name: written[name] for name in known}, str(run)),
                (self.settings, self.title),
            )
        )
        ignored = (*CHANGEABLE, *getattr(kind, "CHANGEABLE", ()))
        return [
            name
            for name, value in now.items()
            if name not in ignored and not _is_same(before[name], value, ablation)
        ]


def _is_same(before: Any, now: Any, ablation: Path) -> bool:
    """Returns whether two values are equal, or name the same file of an ablation that was moved."""
    if before == now:
        return True
    is_inside = isinstance(now, str) and Path(now).is_relative_to(ablation)
    return is_inside and f"/{before}".endswith(f"/{Path(now).relative_to(ablation)}")


def teacher_command(config: AblateConfig) -> Command | None:
    """Returns the command that pre-trains the teacher of all cells; None if one is given.

    It reads as `init` does, the student to continue from, but starts with random weights.
    """
    if config.teacher is not None:
        return None
    title = "the teacher"
    settings = _shared(config, PretrainConfig) | {
        "output_dir": str(Path(config.output_dir) / "teacher"),
        "model": config.teacher_model,
        "role": "teacher",
        "init": None,
        "training": dataclasses.asdict(config.teacher_training),
    }
    if config.init is not None:
        settings["vocabulary"] = _vocabulary(config, config.init, title)
    return Command(title, "pretrain", settings, "evaluation.json")


def cell_directory(config: AblateConfig, cell: str, seed: int) -> Path:
    """Returns the folder of a cell's run."""
    return _cell_folder(config, cell) / f"seed{seed}"


def _cell_folder(config: AblateConfig, cell: str) -> Path:
    return Path(config.output_dir) / "cells" / cell


def cell_commands(config: AblateConfig, cell: str, seed: int) -> list[Command]:
    """Returns the commands of a cell, one after the other: training, then each task.

    Raises InputError for settings that distill or finetune do not have or accept, or if a student
    that trains alone would have no vocabulary.
    """
    title, differing = f"cell '{cell}'", dict(config.cells[cell])
    alone = differing.pop(ALONE, False)
    require(isinstance(alone, bool), f"{ALONE} of {title}", alone, "true or false")
    if _student_sizes(config, cell) is not None:
        differing["student"] = str(_sizes_file(config, cell))
    directory = cell_directory(config, cell, seed)
    settings = _merged(_shared(config, DistillConfig), differing) | {
        "output_dir": str(directory),
        "seed": seed,
        "teacher": config.teacher or _own_teacher(config),
    }
    distill = parse_strictly(DistillConfig, settings, title)
    if alone:
        train = _alone_command(config, distill, title)
    else:
        train = Command(title, "distill", settings, "evaluation.json")
    return [train, *(_task_command(config, task, directory) for task in config.downstream.tasks)]


def _own_teacher(config: AblateConfig) -> str:
    return str(Path(config.output_dir) / "teacher" / "teacher")


def _alone_command(config: AblateConfig, distill: DistillConfig, title: str) -> Command:
    """Returns the command that trains a student without a teacher, for the same number of steps.

    Args:
        config: of the ablation.
        distill: what the student would do with the teacher, whose vocabulary it takes.
        title: of the cell.
    """
    steps = distill.transfer.phase.steps + distill.distillation.steps
    settings = _shared(distill, PretrainConfig) | {
        "model": distill.student,
        "role": "student",
        "init": None,
        "training": dataclasses.asdict(distill.distillation.replace(steps=steps)),
    }
    if config.teacher is not None:
        settings["vocabulary"] = _vocabulary(distill, config.teacher, title)
    else:  # the teacher is not trained yet
        settings["vocabulary"] = distill.vocabulary or str(Path(_own_teacher(config), "vocab.txt"))
    return Command(title, "pretrain", settings, "evaluation.json")


def _vocabulary(config: DistillConfig, model: str, reader: str) -> str:
    """Returns the vocabulary file with which a model is trained that must read as another does.

    Raises InputError if the settings name none and the other is no folder with a vocab.txt.
    """
    path = Path(model) / "vocab.txt"
    if config.vocabulary is None and not path.is_file():
        raise InputError(
            f"{reader} needs the vocabulary of {model}, which has no vocab.txt: name one with "
            "`vocabulary`"
        )
    return config.vocabulary or str(path)


def _task_command(config: AblateConfig, task: str, student: Path) -> Command:
    settings = {
        "task": task,
        "model": str(student / "student"),
        "data_dir": str(config.downstream.data_dir),
        "output_dir": str(student.with_name(f"{student.name}-{task}")),
        "epochs": config.downstream.epochs,
        "learning_rate": config.downstream.learning_rate,
        "sequence_length": config.sequence_length,
    }
    return Command(f"downstream task {task}", "finetune", settings, "scores.json")


def _sizes_file(config: AblateConfig, cell: str) -> Path:
    return _cell_folder(config, cell) / "bert_config.json"


def _student_sizes(config: AblateConfig, cell: str) -> ModelConfig | None:
    """Returns the sizes of a cell's student that are given as a group; None for a named size."""
    student: Any = config.cells[cell].get("student")
    if not isinstance(student, dict):
        return None
    if not isinstance(student.get("size"), str):
        raise InputError(f"cell '{cell}': student must have a `size` to start from")
    start = dataclasses.asdict(load_model_config(student["size"]))
    differing = {name: value for name, value in student.items() if name != "size"}
    return parse_strictly(ModelConfig, start | differing, f"cell '{cell}'")


def write_student_sizes(config: AblateConfig) -> None:
    """Writes a bert_config.json for each cell whose student is given as a group of sizes."""
    for cell in config.cells:
        sizes = _student_sizes(config, cell)
        if sizes is not None:
            write_json(_sizes_file(config, cell), dataclasses.asdict(sizes))


def check_unchanged(config: AblateConfig, cell: str, commands: Sequence[Command]) -> None:
    """Raises InputError if a cell, or a task of it, began with other settings than it has now.

    Args:
        config: of the ablation.
        cell: its name.
        commands: of the cell, for one seed.
    """
    ablation, (train, *tasks) = Path(config.output_dir), commands
    changed = train.changed_settings(ablation)
    if _has_other_sizes(config, cell):
        changed.append("student")
    if changed:
        raise InputError(
            f"{train.title} was trained with other settings ({', '.join(changed)}): give it "
            "another name"
        )
    for command in tasks:
        if changed := command.changed_settings(ablation):
            raise InputError(
                f"{command.directory} was fine-tuned with other settings ({', '.join(changed)}): "
                "take those again, or delete that folder"
            )


def _has_other_sizes(config: AblateConfig, cell: str) -> bool:
    """Returns whether a run of a cell began with other sizes of its student than it has now."""
    sizes, path = _student_sizes(config, cell), _sizes_file(config, cell)
    if sizes is None or not path.is_file() or not any(path.parent.glob("*/run.json")):
        return False
    return load_model_config(path) != sizes


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
