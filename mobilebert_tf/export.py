"""python -m mobilebert_tf.export, or python export/to_tflite.py: exports a model to a .tflite file.

It writes FILE.tflite and its report, FILE.json and FILE.html: all three or none.
"""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tabulate

from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError, check_number
from mobilebert_tf.files import (
    check_free,
    put_directory,
    read_json,
    whole_file,
    write_json,
    write_whole,
)
from mobilebert_tf.lite.calibration_data import joined, samples
from mobilebert_tf.lite.export import max_tokens, write_checked
from mobilebert_tf.lite.export_config import (
    ExportConfig,
    model_directory,
    sha256,
    sha256_of_model,
)
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.lite.verify import agreement, lost
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.model_directory import (
    holds_more_than_a_model,
    load_model,
    load_tokenizer,
    save_model,
)
from mobilebert_tf.modeling.runner import KerasModel, Runnable
from mobilebert_tf.reports.html_pages import render
from mobilebert_tf.reports.run_report import write_report
from mobilebert_tf.tasks.evaluation import DevScores, check_options
from mobilebert_tf.tasks.user_files import Columns
from mobilebert_tf.training.held_out import score_file
from mobilebert_tf.training.no_norm_swap import swap
from mobilebert_tf.training.pruning import prune
from mobilebert_tf.training.recovery import BATCH_SIZE
from mobilebert_tf.training.run_config import Phase

# Texts for changing a model.
_MIN_TEXTS = 96
_CHECKS = 256  # of them for the check of the changed model, or a quarter if there are few
_MAX_TOKENS = 128


@dataclass(frozen=True)
class ToTfliteConfig(ExportConfig):
    """Settings of an export.

    Args:
        operational_optimizations: first replace layer norms by NoNorm and GELU by ReLU (paper,
            section 3.3), fitted on the calibration data. The changed model is written beside the
            original, with -no-norm in its name.
        prune: first take this share of the neurons out of the feed-forward networks, those that
            count least on the calibration data; the changed model has -pruned in its name.
        recovery: steps and optimizer of the distillation after either of them.
        task: a GLUE task, squad, or classification, multi-label, regression, tokens; print its dev
            scores of the model and of the file.
        data_dir: folder of the task's files, as for finetune.
        columns: names of the columns of your own files.
        max_drop: a file whose score is lower by more than this is not kept; 0.02 are 2 points.
            Without a task, the same for the agreement of the changed model with the original.
    """

    operational_optimizations: bool = False
    prune: float = 0.0
    recovery: Phase = Phase(steps=200, learning_rate=1e-3, end_factor=0.1)
    task: str | None = None
    data_dir: str | None = None
    columns: Columns = Columns()
    max_drop: float = 0.05

    def __post_init__(self):
        super().__post_init__()
        check_options(self.task, self.data_dir, self.max_drop)
        check_number("prune", self.prune, 0, 1, below=True)
        if len(changes := self.changes()) > 1:
            raise InputError(
                f"`{changes[0]}` and `{changes[1]}` do not go together: change the model by the "
                "first, and export the changed one with the second"
            )
        if self.task and self.head:
            raise InputError(f"`task` needs the model's own head, not `head` {self.head}")

    def changes(self) -> list[str]:
        """Returns the settings that change the model before its export."""
        return [name for name in _CHANGES if getattr(self, name)]


@dataclass(frozen=True)
class _Change:
    """A change of the model before its export.

    Args:
        suffix: of the changed model's name.
        words: what the changed model is.
        make: returns the changed model, of the model, texts and the settings.
    """

    suffix: str
    words: str
    make: Callable[[MobileBert, list[dict[str, np.ndarray]], ToTfliteConfig], MobileBert]


_CHANGES = {
    "operational_optimizations": _Change(
        "no-norm",
        "with NoNorm and ReLU",
        lambda model, texts, config: swap(model, joined(texts), config.recovery),
    ),
    "prune": _Change(
        "pruned",
        "with fewer neurons",
        lambda model, texts, config: prune(model, texts, config.prune, config.recovery),
    ),
}


# Returns why a file must not be kept, in words; None for a good one.
Check = Callable[[Path], str | None]


def export(config: ExportConfig, check: Check | None = None) -> Path:
    """Exports a model directory to a .tflite file for phones, with a report in FILE.json and
    FILE.html.

    The file takes any number of tokens and carries its vocabulary and labels. It is compared with
    the model on text, and not kept if the two do not agree.
    """
    directory = model_directory(config)
    files = _files(config, directory)
    output, model_sha256 = files[0], sha256_of_model(directory)
    if _is_done(config, files, model_sha256):
        print(f"{output} was made from this model with these options: nothing to do")
        if check is not None and (reason := check(output)):
            raise InputError(f"{output} {reason}")
        return output
    with contextlib.ExitStack() as stack:
        temporary = [stack.enter_context(whole_file(path)) for path in files]
        report = {"file": output.name} | write_checked(config, directory, temporary[0])
        if check is not None and (reason := check(temporary[0])):
            raise InputError(f"the {config.quantize} file {reason}, and is not kept")
        report |= {"model_sha256": model_sha256, "options": config.content_options()}
        write_json(temporary[1], report)
        write_whole(temporary[2], render("export.html", report=report))
    _print_summary(output, report)
    return output


def to_tflite(config: ToTfliteConfig) -> None:
    if changes := config.changes():
        path = _export_changed(config, _CHANGES[changes[0]])
    else:
        _files(config, model_directory(config))  # raises InputError before the model is scored
        path = export(config, _ScoreCheck(config).check_file if config.task else None)
    accuracy = score_file(path)
    if accuracy is not None:
        print(f"held-out masked LM accuracy: {100 * accuracy:.1f} %")
    if (path.parent / "evaluation.json").exists():  # of a pre-training run
        print(f"report: {write_report(path.parent)}")


to_tflite.__doc__ = export.__doc__


def _files(config: ExportConfig, directory: Path) -> list[Path]:
    """Returns the paths of the .tflite file of a model directory, and of its report.

    Raises InputError if `output` has another suffix, or one of them is a folder.
    """
    output = Path(config.output or directory.parent / f"{directory.name}-{config.quantize}.tflite")
    if output.suffix != ".tflite":
        raise InputError(f"`output` is {output}: the name must end in .tflite")
    files = [output, output.with_suffix(".json"), output.with_suffix(".html")]
    for path in files:
        check_free(path, overwrite=True)
    return files


def _is_done(config: ExportConfig, files: list[Path], model_sha256: str) -> bool:
    """Returns whether the files of this export exist already.

    Raises InputError if they are those of another export.
    """
    existing = [path for path in files if path.exists()]
    if not existing or config.overwrite:
        return False
    try:
        report = read_json(files[1])
        recorded = (report["model_sha256"], report["options"], report["sha256"])
        expected = (model_sha256, config.content_options(), sha256(files[0].read_bytes()))
        is_same = recorded == expected
    except (OSError, InputError, KeyError):
        is_same = False
    if is_same:
        return len(existing) == len(files)
    raise InputError(
        f"{existing[0]} exists, made from another model or with other options: "
        "`overwrite` replaces it, `output` names another file"
    )


def _print_summary(output: Path, report: dict) -> None:
    megabytes = report["bytes"] / 1e6
    print(f"{output}: {megabytes:.2f} MB, opens in TFLite {report['min_runtime']} and newer")
    rows = [{"output": name} | values for name, values in report["agreement"].items()]
    print(tabulate.tabulate(rows, headers="keys", floatfmt=".5f"))
    print(tabulate.tabulate(report["latency"], headers="keys", floatfmt=".3f"))


class _ScoreCheck:
    """Finds files and models that score too far below the original model.

    Raises InputError if the task's files are missing or wrong, or the model has another head.
    """

    def __init__(self, config: ToTfliteConfig):
        directory = model_directory(config)
        self.config, self.model = config, load_model(directory)
        self.original = KerasModel(self.model, load_tokenizer(directory))
        max_tokens(config, self.original)  # raises InputError now, not after minutes of training
        if config.task:
            self.scores = DevScores(
                self.original, config.model, config.task, config.data_dir, config.columns
            )

    def check_file(self, path: Path) -> str | None:
        """Returns why the file is not good enough; None if it is."""
        return self.excess(self.drop(LiteModel(path), "the file"))

    def drop(self, model: Runnable, name: str) -> float:
        """Prints the dev scores of the original and another model, and returns the difference."""
        scores = self.scores.score(model)
        for metric, value in self.scores.original.items():
            print(f"{metric}: {value:.4f}, {name} {scores[metric]:.4f}")
        return self.scores.drop(scores)

    def excess(self, drop: float) -> str | None:
        """Returns in words how far a drop is above max_drop; None if it is not."""
        if drop <= self.config.max_drop:  # NaN is not
            return None
        return f"loses {100 * drop:.2f} points, more than `max_drop` {self.config.max_drop}"


def _export_changed(config: ToTfliteConfig, change: _Change) -> Path:
    """Exports the changed model, and writes that model beside the original."""
    directory = model_directory(config)
    target = directory.with_name(f"{directory.name}-{change.suffix}")
    output = _free_output(config, target)
    score_check = _ScoreCheck(config)
    with tempfile.TemporaryDirectory(dir=directory.parent) as folder:
        changed = Path(folder) / target.name
        save_model(_changed(config, change, score_check), changed, score_check.original.tokenizer)
        config = dataclasses.replace(config, model=str(changed), output=str(output))
        path = export(config, score_check.check_file if config.task else None)
        put_directory(changed, target)
    return path


def _free_output(config: ToTfliteConfig, target: Path) -> Path:
    """Returns the path of the .tflite file of a changed model.

    Args:
        config: the settings.
        target: where the changed model is written.

    Raises InputError if target or a file of the export exists and must not be replaced.
    """
    if target.exists() and not config.overwrite:
        raise InputError(f"{target} exists: export it with `model`, or `overwrite` it")
    if target.exists() and (not target.is_dir() or holds_more_than_a_model(target)):
        raise InputError(f"{target} holds more than a model: `overwrite` will not delete it")
    files = _files(config, target)
    for path in files:
        check_free(path, config.overwrite)
    return files[0]


def _changed(config: ToTfliteConfig, change: _Change, score_check: _ScoreCheck) -> MobileBert:
    """Returns the changed model.

    Raises InputError if its score is lower by more than max_drop.
    """
    model, original = score_check.model, score_check.original
    texts = samples(
        config.calibration_data,
        original.tokenizer,
        min(_MAX_TOKENS, original.max_tokens),
        count=_MIN_TEXTS,
        masked=model.head.predicts_masks,
        most=_CHECKS + config.recovery.steps * BATCH_SIZE,  # no step needs to repeat a text
    )
    every = max(4, len(texts) // _CHECKS)
    checks = texts[::every]
    del texts[::every]
    changed = change.make(model, texts, config)
    runnable = KerasModel(changed, original.tokenizer)
    if config.task:
        drop = score_check.drop(runnable, change.words)
    else:
        drop = lost(agreement(runnable, original, checks))
        print(f"{change.words}: {100 * (1 - drop):.2f} % agreement with the original")
    if reason := score_check.excess(drop):
        raise InputError(f"the model {change.words} {reason}, and is not kept")
    return changed


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(to_tflite, ToTfliteConfig, arguments=arguments)


if __name__ == "__main__":
    main()
