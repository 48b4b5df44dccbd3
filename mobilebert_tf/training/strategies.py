"""The training strategies (paper, section 3.5 and figure 2): a run is a list of stages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from mobilebert_tf.errors import InputError
from mobilebert_tf.training.run_config import Phase, Strategy, TransferConfig

EMBEDDINGS = "embeddings"
CLASSIFIER = ("pooler", "masked_lm", "next_sentence")
STRATEGIES = get_args(Strategy)


@dataclass(frozen=True)
class Stage:
    """One part of a run, with its own objective, trainable layers and optimizer.

    Args:
        name: for people and file names.
        phase: number of steps and the optimizer.
        rates: relative learning rate by layer name; a layer that is not named is frozen.
        layers: student layers, from 0, whose feature and attention maps are transferred.
        pretraining: whether masked LM (distilled if there is a teacher) and next sentence count.
    """

    name: str
    phase: Phase
    rates: Mapping[str, float]
    layers: tuple[int, ...] = ()
    pretraining: bool = False

    @property
    def depth(self) -> int | None:
        """How many blocks the stage has to run; None: all, and the heads."""
        return None if self.pretraining else max(self.layers) + 1


def block(index: int) -> str:
    """The layer name of a block."""
    return f"block_{index}"


def bare(num_layers: int, phase: Phase) -> list[Stage]:
    """Pre-training alone: how a teacher is made, and the paper's baseline for a student."""
    return [Stage("pretraining", phase, _all_layers(num_layers), pretraining=True)]


def plan(
    strategy: str, num_layers: int, transfer: TransferConfig, distillation: Phase
) -> list[Stage]:
    """The stages of a strategy for a student of `num_layers` blocks.

    auxiliary: one stage, pre-training distillation plus all layers' transfer, for as many steps
        as both have together.
    joint: all layers' transfer, then pre-training distillation.
    progressive: one stage per layer from the bottom, an equal share of the steps each, the layers
        below frozen or at `transfer.lower_layer_rate`; then pre-training distillation.
    none: pre-training distillation for as many steps as both have together.

    The embeddings are frozen while layers are transferred without pre-training losses.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"no strategy named '{strategy}'; strategies: {', '.join(STRATEGIES)}")
    every, blocks = tuple(range(num_layers)), {block(i): 1.0 for i in range(num_layers)}
    total = distillation.replace(steps=transfer.phase.steps + distillation.steps)
    last = Stage("distillation", distillation, _all_layers(num_layers), pretraining=True)
    if strategy == "auxiliary":
        return [Stage("auxiliary", total, _all_layers(num_layers), every, pretraining=True)]
    if strategy == "joint":
        return [Stage("joint transfer", transfer.phase, blocks, every), last]
    if strategy == "progressive":
        return [_transfer_stage(i, num_layers, transfer) for i in every] + [last]
    return [Stage("distillation", total, _all_layers(num_layers), pretraining=True)]


def _transfer_stage(index: int, num_layers: int, transfer: TransferConfig) -> Stage:
    steps, rest = divmod(transfer.phase.steps, num_layers)
    share = transfer.phase.replace(steps=steps + (index < rest))
    rates = {block(i): transfer.lower_layer_rate for i in range(index)} | {block(index): 1.0}
    trained = {name: rate for name, rate in rates.items() if rate > 0}
    return Stage(f"transfer of layer {index + 1}", share, trained, (index,))


def _all_layers(num_layers: int) -> dict[str, float]:
    names = (EMBEDDINGS, *(block(i) for i in range(num_layers)), *CLASSIFIER)
    return dict.fromkeys(names, 1.0)
