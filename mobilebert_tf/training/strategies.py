"""The training strategies (paper, section 3.5 and figure 2), each a list of stages."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.training.run_config import Phase, Strategy, TransferConfig

EMBEDDINGS = "embeddings"
CLASSIFIER = ("pooler", "masked_lm", "next_sentence")
STRATEGIES = get_args(Strategy)
PRETRAINING = Head("pretraining")


@dataclass(frozen=True)
class Stage:
    """One part of a run, with its own objective, trainable layers and optimizer.

    Args:
        name: shown in logs and charts.
        phase: number of steps and the optimizer.
        rates: relative learning rate by layer name; all other layers are frozen.
        layers: student layers, from 0, whose feature and attention maps are transferred.
        pretraining: whether the loss includes masked LM (distilled if there is a teacher) and
            next sentence prediction.
        embedding: whether the loss includes that of the texts' embeddings.
    """

    name: str
    phase: Phase
    rates: Mapping[str, float]
    layers: tuple[int, ...] = ()
    pretraining: bool = False
    embedding: bool = False

    @property
    def depth(self) -> int | None:
        """Number of blocks that the stage runs; None for all, and the heads."""
        return None if self.pretraining or self.embedding else max(self.layers) + 1


def block(index: int) -> str:
    """Returns the layer name of a block."""
    return f"block_{index}"


def bare(num_layers: int, phase: Phase) -> list[Stage]:
    """Returns the single stage of pre-training without a teacher."""
    return [Stage("pretraining", phase, _all_layers(num_layers, CLASSIFIER), pretraining=True)]


def plan(
    strategy: str,
    num_layers: int,
    transfer: TransferConfig,
    distillation: Phase,
    head: Head = PRETRAINING,
) -> list[Stage]:
    """Returns the stages of a strategy for a student of `num_layers` blocks.

    The student's head is that of pre-training, or a sentence encoder: then the distillation of
    embeddings stands in the place of pre-training distillation.

    auxiliary: one stage with pre-training distillation and the transfer of all layers, for the
        steps of both together.
    joint: the transfer of all layers, then pre-training distillation.
    progressive: one stage for each layer from the bottom, with an equal share of the steps, the
        layers below frozen or trained at `transfer.lower_layer_rate`; then pre-training
        distillation.
    none: pre-training distillation alone, for the steps of both together.

    Embeddings are frozen in stages that only transfer layers.

    Raises InputError for an unknown strategy.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"no strategy named '{strategy}'; strategies: {', '.join(STRATEGIES)}")
    layers, blocks = tuple(range(num_layers)), {block(i): 1.0 for i in range(num_layers)}
    total = distillation.replace(steps=transfer.phase.steps + distillation.steps)
    everything = _all_layers(num_layers, _trained_heads(head))
    embeds = head.kind == "encoder"
    last = Stage("distillation", distillation, everything, pretraining=not embeds, embedding=embeds)
    if strategy == "auxiliary":
        return [dataclasses.replace(last, name="auxiliary", phase=total, layers=layers)]
    if strategy == "joint":
        return [Stage("joint transfer", transfer.phase, blocks, layers), last]
    if strategy == "progressive":
        return [_transfer_stage(i, num_layers, transfer) for i in layers] + [last]
    return [dataclasses.replace(last, phase=total)]


def _transfer_stage(index: int, num_layers: int, transfer: TransferConfig) -> Stage:
    steps, rest = divmod(transfer.phase.steps, num_layers)
    share = transfer.phase.replace(steps=steps + (index < rest))
    rates = {block(i): transfer.lower_layer_rate for i in range(index)} | {block(index): 1.0}
    trained = {name: rate for name, rate in rates.items() if rate > 0}
    return Stage(f"transfer of layer {index + 1}", share, trained, (index,))


def _trained_heads(head: Head) -> tuple[str, ...]:
    """Returns the layers above the blocks that the head's outputs depend on."""
    if head.kind != "encoder":
        return CLASSIFIER
    return ("pooler",) if head.pooling == "first" else ()


def _all_layers(num_layers: int, heads: Sequence[str]) -> dict[str, float]:
    names = (EMBEDDINGS, *(block(i) for i in range(num_layers)), *heads)
    return dict.fromkeys(names, 1.0)
