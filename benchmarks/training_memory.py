"""How much memory a training step takes, with and without rematerialisation.

    python benchmarks/training_memory.py mobilebert 128 8 32   # a model, tokens, numbers of rows

Each number of rows is measured in a process of its own: the most memory that it had, after three
steps of pre-training (20 predictions) in float32, less what it had before it built the model. The
difference of two numbers of rows is what a row's activations take.
"""

import resource
import subprocess
import sys

from tabulate import tabulate

from mobilebert_tf.environment import circumstances

PREDICTIONS = 20


def memory() -> int:
    """Returns the most bytes that this process had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(model_name: str, tokens: int, rows: int, rematerialize: bool) -> None:
    """Prints the bytes that steps take."""
    import numpy as np
    import tensorflow as tf

    from mobilebert_tf import build_model
    from mobilebert_tf.training.distiller import Distiller
    from mobilebert_tf.training.run_config import Phase
    from mobilebert_tf.training.strategies import bare

    tf.zeros(1)  # TensorFlow has begun
    before = memory()
    model = build_model(model_name, "pretraining")
    (stage,) = bare(model.config.num_hidden_layers, Phase(3))
    trainer = Distiller(model, stage, rematerialize=rematerialize)
    trainer.compile()
    random = np.random.default_rng(0)
    batch = {
        "input_ids": random.integers(5, model.config.vocab_size, (rows, tokens)),
        "input_mask": np.ones((rows, tokens)),
        "segment_ids": np.zeros((rows, tokens)),
        "masked_lm_positions": random.integers(1, tokens, (rows, PREDICTIONS)),
        "masked_lm_ids": random.integers(5, model.config.vocab_size, (rows, PREDICTIONS)),
        "next_sentence_labels": np.zeros(rows),
    }
    batch = {name: tf.constant(values, "int32") for name, values in batch.items()}
    batch["masked_lm_weights"] = tf.ones((rows, PREDICTIONS))
    step = tf.function(trainer.train_step, autograph=False)
    for _ in range(3):
        step(batch)
    print(memory() - before)


def main(name: str, tokens: str, *rows: str) -> None:
    table = []
    for count in rows:
        row = {"rows": int(count)}
        for remat in (False, True):
            command = [sys.executable, __file__, "--measure", name, tokens, count, str(remat)]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            title = "rematerialized, GB" if remat else "GB"
            row[title] = f"{int(out.split()[-1]) / 1e9:.2f}"
        table.append(row)
        print(row, flush=True)
    print(f"{name}, {tokens} tokens, {circumstances()}\n")
    print(tabulate(table, headers="keys"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "True")
    else:
        main(*sys.argv[1:])
