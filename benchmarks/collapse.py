"""Trains deep teachers from the start of Google's code and from ours, for docs/ablation.md.

    python benchmarks/collapse.py --corpus TEXT --held-out-corpus TEXT --output-dir runs/collapse
    python -m mobilebert_tf.compare runs/collapse/* --images runs/collapse-curves

Google's code starts with a bias of zeros and blocks whose outputs are as large as all other
weights; training/initial_model.py changes both. Options are those of pretrain.
"""

import sys
from pathlib import Path
from unittest import mock

from mobilebert_tf import pretrain
from mobilebert_tf.training import initial_model

RATES = (1e-2, 3e-3)
OPTIONS = "--model deep-teacher --training.steps 200 --checkpoint-steps 20 --evaluation-steps 0"


def main(arguments: list[str]) -> None:
    """Trains a teacher from each start at each rate; those that are finished stay."""
    at = arguments.index("--output-dir")
    directory, rest = Path(arguments[at + 1]), arguments[:at] + arguments[at + 2 :]
    for rate in RATES:
        for start in ("google", "ours"):
            run = ["--output-dir", f"{directory}/{start}, rate {rate:g}"]
            run += ["--training.learning_rate", f"{rate}", *OPTIONS.split(), *rest]
            with mock.patch.object(
                initial_model,
                "_keep_tokens_apart",
                initial_model._keep_tokens_apart if start == "ours" else lambda model, text: None,
            ):
                pretrain.main(run)


if __name__ == "__main__":
    main(sys.argv[1:])
