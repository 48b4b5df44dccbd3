"""The settings of pretrain and distill, as in configs/*.yaml and on their command lines."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from mobilebert_tf.data.prepared_text import DataConfig
from mobilebert_tf.errors import InputError, check_number
from mobilebert_tf.training.distribution import Devices


def check_seed(seed: int) -> None:
    """Raises InputError for a seed that NumPy's random generators do not accept."""
    check_number("seed", seed, 0, 2**32 - 1)


Strategy = Literal["auxiliary", "joint", "progressive", "none"]


@dataclass(frozen=True)
class Phase:
    """Training steps and their optimizer: LAMB, warm-up, linear decay.

    Args:
        steps: number of updates.
        learning_rate: peak.
        warmup: share of the steps in which the rate rises from 0 to the peak.
        end_factor: last rate, as a share of the peak.
        weight_decay: of everything but biases and norms.
        clip_norm: largest global norm of the gradients.
    """

    steps: int = 1000
    learning_rate: float = 1.5e-3
    warmup: float = 0.1
    end_factor: float = 1e-4
    weight_decay: float = 0.01
    clip_norm: float = 1.0

    def __post_init__(self):
        check_number("steps", self.steps, 0)
        check_number("learning_rate", self.learning_rate, 0, above=True)
        check_number("warmup", self.warmup, 0, 1)
        check_number("end_factor", self.end_factor, 0, 1)
        check_number("weight_decay", self.weight_decay, 0)
        check_number("clip_norm", self.clip_norm, 0, above=True)

    def replace(self, **changes) -> "Phase":
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class LayerTransfer:
    """The losses of layer-wise transfer (paper, section 3.4; the weights of Google's code).

    Args:
        feature_map_weight: of the square error of normalised feature maps.
        feature_mean_weight: of the square error of their means.
        feature_variance_weight: of the absolute error of their variances.
        attention_map_weight: of the divergence of attention maps.
        raw_feature_maps: use the plain square error (equation 4) instead of normalised maps,
            means and variances.
        layer_map: the teacher layer (from 0) for each student layer; null if depths are equal.
    """

    feature_map_weight: float = 100.0
    feature_mean_weight: float = 5000.0
    feature_variance_weight: float = 5.0
    attention_map_weight: float = 1.0
    raw_feature_maps: bool = False
    layer_map: list[int] | None = None

    def __post_init__(self):
        for item in dataclasses.fields(LayerTransfer):
            if item.name.endswith("_weight"):
                check_number(item.name, getattr(self, item.name), 0)


@dataclass(frozen=True)
class TransferConfig(LayerTransfer):
    """Knowledge transfer in pre-training (paper, section 3.5).

    Args:
        phase: steps of all layers together, divided among the stages of progressive transfer;
            each stage has its own warm-up and decay.
        lower_layer_rate: relative learning rate of the layers below the one that a progressive
            stage transfers; 0 freezes them, Google's code uses 0.1.
        alpha: share of the true tokens in the masked LM loss; the rest is the teacher's.
        similarity_weight: of the square error of the cosines between the texts of a batch; a
            sentence encoder learns it beside the embeddings, whose weight is 1.
    """

    phase: Phase = Phase(120, learning_rate=1e-2, end_factor=0.1)
    lower_layer_rate: float = 0.0
    alpha: float = 0.5
    similarity_weight: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        check_number("lower_layer_rate", self.lower_layer_rate, 0, 1)
        check_number("alpha", self.alpha, 0, 1)
        check_number("similarity_weight", self.similarity_weight, 0)


@dataclass(frozen=True)
class LoopSettings:
    """When the training loop logs, evaluates, saves and stops.

    Args:
        log_steps: steps between lines of the history.
        checkpoint_steps: steps between checkpoints.
        checkpoints_kept: number of the newest checkpoints that stay, beside the best.
        evaluation_steps: steps between evaluations on held-out text, each with a checkpoint; 0 for
            one at the end of the run only.
        early_stopping: end a stage after so many evaluations without a lower held-out loss; null
            for never.
        keep_best: end each stage with the weights of its lowest held-out loss; else with its last.
        loss_limit: stop when the loss is so many times as high as where the stage began (counted
            as 1 at least); 0 for no limit.
        ema: decay of a moving average of the weights, which is then evaluated and saved, such as
            0.999; 0 for none.
    """

    log_steps: int
    checkpoint_steps: int
    checkpoints_kept: int = 2
    evaluation_steps: int = 0
    early_stopping: int | None = None
    keep_best: bool = False
    loss_limit: float = 10.0
    ema: float = 0.0

    def __post_init__(self):
        for key in ("checkpoint_steps", "checkpoints_kept", "log_steps"):
            check_number(key, getattr(self, key), 1)
        check_number("evaluation_steps", self.evaluation_steps, 0)
        check_number("early_stopping", self.early_stopping, 1)
        check_number("loss_limit", self.loss_limit, 0)
        check_number("ema", self.ema, 0, 1, below=True)
        if self.evaluation_steps == 0 and (self.early_stopping or self.keep_best):
            setting = "early_stopping" if self.early_stopping else "keep_best"
            raise InputError(f"`{setting}` needs evaluations: `evaluation_steps` is 0")

    def evaluates(self, step: int, steps: int) -> bool:
        """Returns whether a stage of so many steps is evaluated after one of them."""
        every = self.evaluation_steps
        return every > 0 and (step % every == 0 or step == steps)

    def out_of_patience(self, waited: int) -> bool:
        """Returns whether a stage ends after so many evaluations without a lower loss."""
        return self.early_stopping is not None and waited >= self.early_stopping


@dataclass(frozen=True)
class RunConfig(LoopSettings, DataConfig):
    """The settings that pretrain and distill share.

    Args:
        output_dir: folder of the run; the same command continues a run that was killed.
        seed: of weights, vocabulary, data order, masks and dropout.
        overwrite: delete what is in output_dir, but for YAML files, when the training begins.
        devices: one device; all accelerators of this machine (without one, its logical
            processors); the workers that TF_CONFIG names; a tpu.
        precision: Keras dtype policy.
        accumulation_steps: parts into which a step cuts its batch. They run one after the other and
            their gradients are added up, so only one part must fit in memory.
        rematerialize: run the blocks a second time for the gradients, so that their activations
            take no memory meanwhile.
    """

    log_steps: int = 20
    checkpoint_steps: int = 200
    evaluation_steps: int = 200
    output_dir: str = "runs/demo"
    seed: int = 0
    overwrite: bool = False
    devices: Devices = "one"
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    accumulation_steps: int = 1
    rematerialize: bool = False

    # Of a run that is continued: what may change, and what may become more.
    CHANGEABLE: ClassVar[tuple[str, ...]] = ("checkpoints_kept", "loss_limit")
    EXTENDABLE: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        DataConfig.__post_init__(self)
        LoopSettings.__post_init__(self)
        check_seed(self.seed)
        check_number("accumulation_steps", self.accumulation_steps, 1)
        if self.batch_size % self.accumulation_steps:
            raise InputError(
                f"`batch_size` is {self.batch_size}: it must be a multiple of "
                f"`accumulation_steps` ({self.accumulation_steps})"
            )


@dataclass(frozen=True)
class PretrainConfig(RunConfig):
    """Pre-training without a teacher.

    Args:
        model: a named size or a bert_config.json.
        init: a model to continue from, in any format that convert reads; null for random weights.
        role: name of the model directory in output_dir.
        training: steps and optimizer.
    """

    model: str = "demo-teacher"
    init: str | None = None
    role: Literal["teacher", "student"] = "teacher"
    training: Phase = Phase(2400, learning_rate=5e-3)

    EXTENDABLE: ClassVar[tuple[str, ...]] = ("training.steps",)


@dataclass(frozen=True)
class DistillConfig(RunConfig):
    """Knowledge transfer from a teacher to a student.

    Args:
        teacher: a model in any format that convert reads; null to pre-train `teacher_model` first.
            A sentence encoder teaches its embeddings, a model without a masked LM layers alone.
        teacher_model: a named size or a bert_config.json of the teacher to pre-train.
        teacher_training: steps and optimizer of its pre-training.
        student: a named size or a bert_config.json.
        init: a student to continue from, in any format that convert reads; null for random weights
            and the teacher's embeddings.
        strategy: how knowledge is transferred (paper, figure 2); none for distillation alone. In
            short runs auxiliary was the best, with four times the steps joint (docs/ablation.md).
        transfer: the layer-wise objectives.
        distillation: steps and optimizer of pre-training distillation, or that of embeddings, and
            of auxiliary's one stage. Auxiliary learnt best at 1e-2. After joint or progressive
            transfer so high a rate undoes it, and 1e-3 was better (docs/ablation.md).
    """

    teacher: str | None = None
    teacher_model: str = "demo-teacher"
    teacher_training: Phase = Phase(2400, learning_rate=5e-3)
    student: str = "demo-student"
    init: str | None = None
    strategy: Strategy = "auxiliary"
    transfer: TransferConfig = TransferConfig()
    distillation: Phase = Phase(280, learning_rate=1e-2)

    EXTENDABLE: ClassVar[tuple[str, ...]] = ("distillation.steps",)
