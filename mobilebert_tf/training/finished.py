"""What a training left in its run's folder: whether it came to its end, and with which weights."""

import math
from collections.abc import Sequence

from mobilebert_tf.training.checkpoint import newest_position
from mobilebert_tf.training.run_config import LoopSettings
from mobilebert_tf.training.run_folder import RunFolder


def is_trained(folder: RunFolder, name: str, steps: Sequence[int], settings: LoopSettings) -> bool:
    """Returns whether the folder holds the model that `train` makes with so many steps a stage.

    It does not if it holds one of fewer steps, which `train` continues.
    """
    if not (folder / name).exists():
        return False
    position = newest_position(folder.states(name))
    if position is None:  # deleted by hand, after the training
        return True
    last = position.stage == len(steps) - 1
    return last and (position.step >= steps[-1] or settings.out_of_patience(position.waited))


def chosen_steps(folder: RunFolder, name: str, settings: LoopSettings) -> dict[int, int]:
    """Returns {stage: the step of the run with whose weights the stage ended} of a trained model.

    Args:
        folder: of the run.
        name: of the model within the run.
        settings: with which `train` trained it.
    """
    stages: dict[int, list[dict]] = {}
    for record in folder.history():
        if record["model"] == name:
            stages.setdefault(record["stage_index"], []).append(record)
    chosen = {}
    for stage, records in stages.items():
        judged = [r for r in records if math.isfinite(r.get("held_out_loss", math.nan))]
        is_best = settings.keep_best and judged
        record = min(judged, key=lambda r: r["held_out_loss"]) if is_best else records[-1]
        chosen[stage] = record["total_step"]
    return chosen
