"""python export/to_tflite.py: a model directory becomes one .tflite file for phones."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError
from mobilebert_tf.held_out import score_file
from mobilebert_tf.lite.export import ExportConfig, export
from mobilebert_tf.lite.runtime import KerasModel, LiteModel, Runnable
from mobilebert_tf.lite.samples import joined, samples
from mobilebert_tf.lite.verify import agreement
from mobilebert_tf.metrics import ranking
from mobilebert_tf.model import load_model, load_tokenizer, save_model
from mobilebert_tf.operational import swap
from mobilebert_tf.outputs import run_all
from mobilebert_tf.report import write_report
from mobilebert_tf.run_config import Phase
from mobilebert_tf.tasks import SEQUENCE_LENGTH, SPAN_LENGTH, AnyTask, open_task

_TEXTS = (96, 1024)  # at least and at most, that a swap is fitted to and checked on
_TOKENS = 128  # at most, in each of them


@dataclass(frozen=True)
class ToTfliteConfig(ExportConfig):
    """What to export, and how.

    Args:
        operational_optimizations: first replace layer norms by NoNorm and GELU by ReLU (paper,
            section 3.3), fitted on the calibration data; the changed model stays beside the file,
            in the model's name with -no-norm.
        recovery: steps and learning rate of the distillation that follows the fit.
        task: a GLUE task, or classification, regression, tokens: print its dev score, of the model
            and of the file.
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
        if (self.task is None) != (self.data_dir is None):
            raise InputError("--task and --data-dir go together")
        if self.max_drop < 0:
            raise InputError(f"--max-drop is {self.max_drop}: at least 0")


def export_into_run(config: ToTfliteConfig) -> None:
    if config.operational_optimizations:
        config = dataclasses.replace(config, model=str(_swapped(config)))
    path = export(config)
    if config.task:
        _check_score(config, path)
    accuracy = score_file(path)
    if accuracy is not None:
        print(f"held-out masked LM accuracy: {100 * accuracy:.1f} %")
    if (path.parent / "evaluation.json").exists():  # of a pre-training run
        print(f"report: {write_report(path.parent)}")


export_into_run.__doc__ = export.__doc__


def _swapped(config: ToTfliteConfig) -> Path:
    """Writes the model with NoNorm and ReLU; InputError if it lost more than max_drop."""
    directory = Path(config.model)
    target = directory.with_name(f"{directory.name}-no-norm")
    if target.exists() and not config.overwrite:
        raise InputError(f"{target} exists: export it with --model, or --overwrite it")
    model, tokenizer = load_model(directory), load_tokenizer(directory)
    before = KerasModel(model, tokenizer)
    longest = min(_TOKENS, before.max_tokens)
    masked = model.task.predicts_masks
    least, most = _TEXTS
    texts = samples(config.calibration_data, tokenizer, longest, least, masked, most)
    checks, fitted = texts[::4], [text for i, text in enumerate(texts) if i % 4]
    swapped = swap(model, joined(fitted), config.recovery)
    after = KerasModel(swapped, tokenizer)
    if config.task:
        lost = _drop(config, before, after, "with NoNorm and ReLU")
    else:
        measured = agreement(after, before, checks)
        kept = min(values.get("choice", values["cosine"]) for values in measured.values())
        lost = 1 - kept
        print(f"with NoNorm and ReLU: {100 * kept:.2f} % agreement with the original")
    if lost > config.max_drop:
        raise InputError(
            f"NoNorm and ReLU cost {100 * lost:.2f} points, more than --max-drop "
            f"{config.max_drop}: more --recovery.steps or --calibration-data may do"
        )
    save_model(swapped, target, tokenizer)
    return target


def _check_score(config: ToTfliteConfig, path: Path) -> None:
    """Prints the file's score beside the model's; deletes the file if it lost too much."""
    directory = Path(config.model)
    model = KerasModel(load_model(directory), load_tokenizer(directory))
    lost = _drop(config, model, LiteModel(path), f"{path.name}")
    if lost > config.max_drop:
        path.unlink()
        path.with_suffix(".json").unlink()
        raise InputError(
            f"the {config.quantize} file lost {100 * lost:.2f} points, more than --max-drop "
            f"{config.max_drop}, and is not kept"
        )


def _drop(config: ToTfliteConfig, before: Runnable, after: Runnable, name: str) -> float:
    """How much lower the score of `after` is, on the dev splits."""
    task = open_task(config.task, config.data_dir, ("dev",), labels=before.labels)
    if before.kind != task.kind:
        raise InputError(f"the model has a {before.kind} head, {task.name} needs a {task.kind}")
    scores = [_scores(task, model) for model in (before, after)]
    for metric, value in scores[0].items():
        print(f"{metric}: {value:.4f}, {name} {scores[1][metric]:.4f}")
    return ranking(scores[0]) - ranking(scores[1])


def _scores(task: AnyTask, model: Runnable) -> dict[str, float]:
    """The task's metrics on all dev splits, 0 to 1."""
    usual = SPAN_LENGTH if task.kind == "span" else SEQUENCE_LENGTH
    length = min(model.sequence_length or usual, model.max_tokens)
    found = {}
    for split in task.dev_splits:
        arrays = task.encode(split, model.tokenizer, length)
        values = task.score(split, arrays, run_all(model, arrays))
        unit = 100 if task.kind == "span" else 1  # SQuAD's are percentages
        suffix = split.removeprefix("dev")
        found |= {name + suffix: values[name] / unit for name in task.metrics}
    return found


if __name__ == "__main__":
    door(export_into_run, ToTfliteConfig)
