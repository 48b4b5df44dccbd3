"""The settings of fine-tuning, and the trials that follow from them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from mobilebert_tf.errors import InputError, check_number, require
from mobilebert_tf.tasks.registry import SQUAD
from mobilebert_tf.tasks.user_files import Columns
from mobilebert_tf.training.distribution import Devices
from mobilebert_tf.training.run_config import LayerTransfer, Phase, check_seed

# The paper's search (section 4.4.1).
GRID: dict[str, Sequence[float]] = {
    "batch_size": (16, 32, 48),
    "learning_rate": tuple(i * 1e-5 for i in range(1, 11)),
    "epochs": tuple(range(2, 11)),
}


@dataclass(frozen=True)
class Trial:
    """One training of a fine-tuning run: settings and seed."""

    batch_size: int
    learning_rate: float
    epochs: int
    seed: int

    @property
    def name(self) -> str:
        settings = f"batch{self.batch_size}-rate{self.learning_rate:g}-epochs{self.epochs}"
        return f"{settings}-seed{self.seed}"


@dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tuning on a task.

    Args:
        task: cola, sst-2, mrpc, sts-b, qqp, mnli, qnli, rte, wnli (GLUE), squad, squad-v2; or for
            files of your own classification, multi-label, regression, tokens.
        model: what to start from: a model directory, a Hugging Face folder or a checkpoint.
        data_dir: the task's folder of GLUE or SQuAD, or "tfds" (both from TensorFlow Datasets); or
            a folder with train and dev as .tsv, .csv, .jsonl or .conll.
        output_dir: folder of the run; the same command continues a run that was killed.
        columns: names of the columns of your own files.
        sequence_length: largest number of tokens; longer texts are cut (SQuAD's into windows).
            null for 128, for SQuAD 384, or the model's limit if that is lower.
        batch_size: examples in a step.
        learning_rate: peak.
        epochs: passes over the training split.
        warmup: share of the steps in which the rate rises from 0 to the peak.
        weight_decay: of everything but biases and norms.
        patience: stop after so many epochs without a better dev score; null for never.
        class_weights: weight each class by the inverse of its frequency in the training split.
        seeds: seeds of the head's weights, data order and dropout; one trial for each.
        search: try the paper's grid of batch sizes, learning rates and epochs: all 270
            combinations, or those that `grid` leaves.
        grid: values in place of the paper's, by setting.
        teacher: a model fine-tuned on the same task, whose outputs are learnt too.
        teacher_weight: share of the teacher's outputs in the loss.
        temperature: divides the logits before the teacher's and the model's distributions are
            compared.
        transfer_weight: weight of the losses between the layers of teacher and model (feature and
            attention maps); 0 leaves them out.
        transfer: the losses of the layers.
        augment: unlabelled texts, added to the training split and labelled by the teacher: a .txt
            file with one text a line, or a .tsv, .csv or .jsonl with `columns`.
        bucketed: make batches of texts of similar length; false pads all to sequence_length.
        quantization_aware: train with weights and activations rounded to int8, so that int8-full
            files keep the score; or with weights rounded as in files of int4 or int4-mixed. Best
            begun from a model that is fine-tuned already.
        overwrite: delete what is in output_dir, but for YAML files, when the training begins.
        devices: one device; all accelerators of this machine (without one, its logical
            processors); the workers that TF_CONFIG names; a tpu.
        precision: Keras dtype policy.
        accumulation_steps: parts into which a step cuts its batch. They run one after the other and
            their gradients are added up, so only one part must fit in memory.
        rematerialize: run the blocks a second time for the gradients, so that their activations
            take no memory meanwhile.
        ema: decay of a moving average of the weights, which is then evaluated and saved, such as
            0.999; 0 for none.
        log_steps: steps between lines of the history.

    Raises InputError for settings out of range, or that do not go together.
    """

    task: str
    model: str
    data_dir: str
    output_dir: str = "runs/finetuned"
    columns: Columns = Columns()
    sequence_length: int | None = None
    batch_size: int = 32
    learning_rate: float = 5e-5
    epochs: int = 3
    warmup: float = 0.1
    weight_decay: float = 0.01
    patience: int | None = None
    class_weights: bool = False
    seeds: list[int] = field(default_factory=lambda: [0])
    search: bool = False
    grid: dict[str, list[float]] | None = None
    teacher: str | None = None
    teacher_weight: float = 0.5
    temperature: float = 1.0
    transfer_weight: float = 0.0
    transfer: LayerTransfer = LayerTransfer()
    augment: str | None = None
    bucketed: bool = True
    quantization_aware: bool | Literal["int4", "int4-mixed"] = False
    overwrite: bool = False
    devices: Devices = "one"
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    accumulation_steps: int = 1
    rematerialize: bool = False
    ema: float = 0.0
    log_steps: int = 20

    EXTENDABLE: ClassVar[tuple[str, ...]] = ("epochs",)  # unless it searches

    def __post_init__(self):
        check_number("log_steps", self.log_steps, 1)
        check_number("accumulation_steps", self.accumulation_steps, 1)
        check_number("ema", self.ema, 0, 1, below=True)
        check_number("sequence_length", self.sequence_length, 3)
        check_number("patience", self.patience, 1)
        check_number("teacher_weight", self.teacher_weight, 0, 1)
        check_number("temperature", self.temperature, 0, above=True)
        check_number("transfer_weight", self.transfer_weight, 0)
        for key in ("augment", "transfer_weight"):
            if getattr(self, key) and not self.teacher:
                raise InputError(f"`{key}` is of use with a teacher only (`teacher`)")
        if self.augment and self.task in SQUAD:
            raise InputError(f"`augment` is for texts: {self.task} needs questions with a context")
        if self.quantization_aware and (self.transfer_weight or self.precision != "float32"):
            raise InputError(
                "`quantization_aware` goes with `precision` float32 and without `transfer_weight`"
            )
        for key in ("rematerialize", "ema"):
            if self.quantization_aware and getattr(self, key):
                raise InputError(f"`quantization_aware` goes without `{key}`")
        if self.grid and not self.search:
            raise InputError("`grid` is of use with `search` only")
        unknown = set(self.grid or {}) - set(GRID)
        require(not unknown, "grid", sorted(unknown), f"of {', '.join(GRID)}")
        for name, values in (self._grid() | {"seeds": self.seeds}).items():
            distinct = len(values) == len(set(values)) > 0
            require(distinct, name, list(values), "one number or more, all different")
            for value in values:
                check_number(name, value, 0, 2**32 - 1 if name == "seeds" else None)
            whole = name == "learning_rate" or all(float(value).is_integer() for value in values)
            require(whole, name, list(values), "whole numbers")
        for trial in self.trials():
            check_seed(trial.seed)
            check_number("batch_size", trial.batch_size, 1)
            check_number("epochs", trial.epochs, 1)
            Phase(  # checks these settings
                trial.epochs,
                learning_rate=trial.learning_rate,
                warmup=self.warmup,
                weight_decay=self.weight_decay,
            )

    def _grid(self) -> dict[str, Sequence[float]]:
        """Returns the values to try of each setting in GRID."""
        if self.search:
            return {**GRID, **(self.grid or {})}
        return {name: (getattr(self, name),) for name in GRID}

    def trials(self) -> list[Trial]:
        """Returns every combination of settings and seeds."""
        grid = self._grid()
        combinations = itertools.product(*(grid[name] for name in GRID), self.seeds)
        return [
            Trial(int(batch), rate, int(epochs), int(seed))
            for batch, rate, epochs, seed in combinations
        ]
