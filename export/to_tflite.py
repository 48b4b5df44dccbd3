"""python export/to_tflite.py: a model directory becomes one .tflite file for phones."""

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.calibration_data import joined, samples
from mobilebert_tf.lite.export import ExportConfig, export, model_directory
from mobilebert_tf.lite.runtime import KerasModel, LiteModel, Runnable
from mobilebert_tf.lite.verify import agreement, lost
from mobilebert_tf.modeling.model import (
    MobileBert,
    load_model,
    load_tokenizer,
    put_directory,
    save_model,
)
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
            raise InputError(f"--task needs the model's own head, not --head {self.head}")
        if self.max_drop < 0:
            raise InputError(f"--max-drop is {self.max_drop}: at least 0")


def export_into_run(config: ToTfliteConfig) -> None:
    if config.operational_optimizations:
        path = _export_swapped(config)
    else:
        path = export(config, _Gate(config).check if config.task else None)
    accuracy = score_file(path)
    if accuracy is not None:
        print(f"held-out masked LM accuracy: {100 * accuracy:.1f} %")
    if (path.parent / "evaluation.json").exists():  # of a pre-training run
        print(f"report: {write_report(path.parent)}")


export_into_run.__doc__ = export.__doc__


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
        after = self.scores.of(model)
        for metric, value in self.scores.original.items():
            print(f"{metric}: {value:.4f}, {name} {after[metric]:.4f}")
        return self.scores.lost(after)

    def refuse(self, lost: float, what: str) -> None:
        if not lost <= self.config.max_drop:  # nor what is not a number
            raise InputError(
                f"{what} lost {100 * lost:.2f} points, more than --max-drop "
                f"{self.config.max_drop}, and is not kept"
            )


def _export_swapped(config: ToTfliteConfig) -> Path:
    """Exports the model with NoNorm and ReLU, which then stays beside the original."""
    directory = model_directory(config)
    target = directory.with_name(f"{directory.name}-no-norm")
    if target.exists() and not config.overwrite:
        raise InputError(f"{target} exists: export it with --model, or --overwrite it")
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
    masked = model.task.predicts_masks
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


if __name__ == "__main__":
    door(export_into_run, ToTfliteConfig)
