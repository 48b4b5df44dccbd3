"""python -m mobilebert_tf.export, python export/to_tflite.py: a model directory becomes one .tflite
file for phones, with a report on it: FILE.tflite, FILE.json and FILE.html, all or none.
"""

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tabulate

from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import put_directory, read_json, whole_file
from mobilebert_tf.lite.calibration_data import joined, samples
from mobilebert_tf.lite.export import write_checked
from mobilebert_tf.lite.export_config import (
    ExportConfig,
    model_directory,
    sha256,
    sha256_of_model,
)
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.lite.verify import agreement, lost
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.model_directory import load_model, load_tokenizer, save_model
from mobilebert_tf.modeling.runner import KerasModel, Runnable
from mobilebert_tf.reports.html_pages import render
from mobilebert_tf.reports.run_report import write_report
from mobilebert_tf.tasks.evaluation import DevScores, check_options
from mobilebert_tf.training.held_out import score_file
from mobilebert_tf.training.no_norm_swap import BATCH_SIZE, swap
from mobilebert_tf.training.run_config import Phase

_TEXTS = 96  # at least, that a swap is fitted to and checked on
_CHECKS = 256  # of those texts, that the changed model is checked on; of few texts a quarter
_TOKENS = 128  # at most, in each of them


@dataclass(frozen=True)
class ToTfliteConfig(ExportConfig):
    """What to export, and how.

    Args:
        operational_optimizations: first replace layer norms by NoNorm and GELU by ReLU (paper,
            section 3.3), fitted on the calibration data; the changed model stays beside the file,
            in the model's name with -no-norm.
        recovery: steps and learning rate of the distillation that follows the fit.
        task: a GLUE task, squad, or classification, regression, tokens: print its dev score, of
            the model and of the file.
        data_dir: where the task's files are, as for finetune.
        max_drop: the largest fall of the score (without a task: of the agreement after a swap)
            with which a file is kept; 0.02 are 2 points.
    """

    operational_optimizations: bool = False
    recovery: Phase = Phase(steps=200, learning_rate=1e-3, end_factor=0.1)
    task: str | None = None
    data_dir: str | None = None
    max_drop: float = 0.05

    def __post_init__(self):
        super().__post_init__()
        check_options(self.task, self.data_dir)
        if self.task and self.head:
            raise InputError(f"`task` needs the model's own head, not `head` {self.head}")
        if self.max_drop < 0:
            raise InputError(f"`max_drop` is {self.max_drop}: at least 0")


def export(config: ExportConfig, check: Callable[[Path], None] | None = None) -> Path:
    """Exports a model directory to a .tflite file for phones, with a report in FILE.json, which
    FILE.html shows.

    The file takes any number of tokens, carries its vocabulary and labels, and is checked against
    the model on text: one that does not agree is not left behind. Nor is one for which `check`,
    which is given the file, raises an InputError.
    """
    directory = model_directory(config)
    output = Path(config.output or directory.parent / f"{directory.name}-{config.quantize}.tflite")
    if output.suffix != ".tflite":
        raise InputError(f"`output` is {output}: the name must end in .tflite")
    files = [output, output.with_suffix(".json"), output.with_suffix(".html")]
    model_sha256 = sha256_of_model(directory)
    if _is_done(config, files, model_sha256):
        print(f"{output} was made from this model with these options: nothing to do")
        if check is not None:
            check(output)
        return output
    with contextlib.ExitStack() as stack:
        aside = [stack.enter_context(whole_file(path)) for path in files]
        report = {"file": output.name} | write_checked(config, directory, aside[0])
        if check is not None:
            check(aside[0])
        report |= {"model_sha256": model_sha256, "options": config.content_options()}
        aside[1].write_text(json.dumps(report, indent=2) + "\n")
        aside[2].write_text(render("export.html", report=report), encoding="utf-8")
    _print_summary(output, report)
    return output


def to_tflite(config: ToTfliteConfig) -> None:
    if config.operational_optimizations:
        path = _export_swapped(config)
    else:
        path = export(config, _Gate(config).check if config.task else None)
    accuracy = score_file(path)
    if accuracy is not None:
        print(f"held-out masked LM accuracy: {100 * accuracy:.1f} %")
    if (path.parent / "evaluation.json").exists():  # of a pre-training run
        print(f"report: {write_report(path.parent)}")


to_tflite.__doc__ = export.__doc__


def _is_done(config: ExportConfig, files: list[Path], model_sha256: str) -> bool:
    """Whether the same export is there already; InputError if another one is in the way."""
    existing = [path for path in files if path.exists()]
    if not existing or config.overwrite:
        return False
    try:
        report = read_json(files[1])
        made_from = (report["model_sha256"], report["options"], report["sha256"])
        wanted = (model_sha256, config.content_options(), sha256(files[0].read_bytes()))
    except (OSError, InputError, KeyError):
        made_from, wanted = None, model_sha256
    if made_from == wanted:
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


class _Gate:
    """Refuses what scores too far below the original model.

    Raises InputError if the task's files are missing or wrong, or the model has another head.
    """

    def __init__(self, config: ToTfliteConfig):
        directory = model_directory(config)
        self.config, self.model = config, load_model(directory)
        self.original = KerasModel(self.model, load_tokenizer(directory))
        if config.task:
            arguments = (self.original, config.model, config.task, config.data_dir)
            self.scores = DevScores(*arguments)

    def check(self, path: Path) -> None:
        """InputError if the file lost more than max_drop."""
        self.refuse(self.lost(LiteModel(path), "the file"), f"the {self.config.quantize} file")

    def lost(self, model: Runnable, name: str) -> float:
        """How much lower the model's dev score is, which is printed beside the original's."""
        after = self.scores.score(model)
        for metric, value in self.scores.original.items():
            print(f"{metric}: {value:.4f}, {name} {after[metric]:.4f}")
        return self.scores.drop(after)

    def refuse(self, lost: float, what: str) -> None:
        if not lost <= self.config.max_drop:  # nor what is not a number
            raise InputError(
                f"{what} lost {100 * lost:.2f} points, more than `max_drop` "
                f"{self.config.max_drop}, and is not kept"
            )


def _export_swapped(config: ToTfliteConfig) -> Path:
    """Exports the model with NoNorm and ReLU, which then stays beside the original."""
    directory = model_directory(config)
    target = directory.with_name(f"{directory.name}-no-norm")
    if target.exists() and not config.overwrite:
        raise InputError(f"{target} exists: export it with `model`, or `overwrite` it")
    gate = _Gate(config)
    with tempfile.TemporaryDirectory(dir=directory.parent) as folder:
        swapped = Path(folder) / target.name
        save_model(_swapped(config, gate), swapped, gate.original.tokenizer)
        output = config.output or target.with_name(f"{target.name}-{config.quantize}.tflite")
        changed = dataclasses.replace(config, model=str(swapped), output=str(output))
        path = export(changed, gate.check if config.task else None)
        put_directory(swapped, target)
    return path


def _swapped(config: ToTfliteConfig, gate: _Gate) -> MobileBert:
    """The model with NoNorm and ReLU; InputError if it lost more than max_drop."""
    model, tokenizer = gate.model, gate.original.tokenizer
    tokens = min(_TOKENS, gate.original.max_tokens)
    masked = model.head.predicts_masks
    most = _CHECKS + config.recovery.steps * BATCH_SIZE  # no step needs to see old text
    texts = samples(config.calibration_data, tokenizer, tokens, _TEXTS, masked, most)
    every = max(4, len(texts) // _CHECKS)
    checks = texts[::every]
    del texts[::every]
    swapped = swap(model, joined(texts), config.recovery)
    after, name = KerasModel(swapped, tokenizer), "with NoNorm and ReLU"
    if config.task:
        drop = gate.lost(after, name)
    else:
        drop = lost(agreement(after, gate.original, checks))
        print(f"{name}: {100 * (1 - drop):.2f} % agreement with the original")
    gate.refuse(drop, f"the model {name}")
    return swapped


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(to_tflite, ToTfliteConfig, arguments=arguments)


if __name__ == "__main__":
    main()
