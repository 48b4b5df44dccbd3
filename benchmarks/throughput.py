"""Fine-tuning, with padding and with teachers, and evaluating a .tflite file: how fast.

    python benchmarks/throughput.py MODEL_DIRECTORY SST_2_FOLDER [FILE.tflite]

Each round trains some steps on SST-2 with batches cut to their longest text, as many on batches
padded to 128 tokens and with a teacher of the same size, which runs in each step or has run before,
and runs the file on the 872 sentences of the dev split; medians over rounds.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import tabulate
import tensorflow as tf

from mobilebert_tf.checkpoints.formats import load
from mobilebert_tf.environment import circumstances
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.modeling.model import MobileBert, copy_weights
from mobilebert_tf.modeling.runner import run_all
from mobilebert_tf.tasks.examples import Batches, pad_tokens
from mobilebert_tf.tasks.registry import SEQUENCE_LENGTH, open_task
from mobilebert_tf.tasks.text_task import TextTask
from mobilebert_tf.training.finetuner import Finetuner
from mobilebert_tf.training.loop import prepare_process
from mobilebert_tf.training.run_config import Phase
from mobilebert_tf.training.teacher_outputs import array_name

ROUNDS, STEPS, BATCH_SIZE = 5, 20, 32
BUCKETED, PADDED = "examples/s, bucketed", f"examples/s, padded to {SEQUENCE_LENGTH}"
TAUGHT, TAUGHT_BEFORE = "examples/s, teacher in each step", "examples/s, teacher's outputs saved"


def main(directory: str, data: str, file: str | None = None) -> None:
    prepare_process(seed=0, precision="float32")  # as finetune does
    task, start = open_task("sst-2", data, ("train", "dev")), load(directory)
    arrays = task.encode("train", start.tokenizer, SEQUENCE_LENGTH).arrays
    padded = pad_tokens(arrays, SEQUENCE_LENGTH)
    saved = arrays | {
        array_name("classifier", "logits"): np.zeros((len(arrays["targets"]), 2), np.float32)
    }
    measures = {
        BUCKETED: training(start.model, task, Batches(arrays, BATCH_SIZE, seed=0)),
        PADDED: training(start.model, task, Batches(padded, BATCH_SIZE, seed=0, bucketed=False)),
        TAUGHT: training(start.model, task, Batches(arrays, BATCH_SIZE, seed=0), taught=True),
        TAUGHT_BEFORE: training(start.model, task, Batches(saved, BATCH_SIZE, seed=0), taught=True),
    }
    if file is not None:
        measures["seconds, dev split, .tflite"] = evaluation(task, LiteModel(file))
    found = {name: [] for name in measures}
    for turn in range(ROUNDS):
        for name, measure in measures.items():
            found[name].append(measure(turn))
    medians = {name: statistics.median(values) for name, values in found.items()}
    rows = [(name, medians[name], min(values), max(values)) for name, values in found.items()]
    print(tabulate.tabulate(rows, headers=("", "median", "least", "most"), floatfmt=".2f"))
    print(f"bucketed / padded: {medians[BUCKETED] / medians[PADDED]:.2f}")
    print(f"saved / in each step: {medians[TAUGHT_BEFORE] / medians[TAUGHT]:.2f}")
    print(f"{ROUNDS} rounds of {STEPS} steps of {BATCH_SIZE}: {circumstances()}")


def training(
    start: MobileBert, task: TextTask, batches: Batches, taught: bool = False
) -> Callable[[int], float]:
    """A function that trains for a round's steps; gives examples a second."""
    model = MobileBert(start.config, task.head(SEQUENCE_LENGTH))
    copy_weights(start, model)
    phase = Phase((ROUNDS + 1) * STEPS, learning_rate=5e-5)
    teacher = MobileBert(model.config, model.head) if taught else None
    trainer = Finetuner(model, phase, teacher=teacher)
    trainer.compile()
    signature = [batches.dataset(0, 1).element_spec]
    step = tf.function(trainer.train_step, input_signature=signature, autograph=False)

    def measure(turn: int) -> float:
        examples, started = 0, time.perf_counter()
        for batch in batches.dataset(turn * STEPS, STEPS):
            float(step(batch)["loss"])  # waits for the step
            examples += len(batch["targets"])
        return examples / (time.perf_counter() - started)

    measure(ROUNDS)  # traces the graph
    return measure


def evaluation(task: TextTask, model: LiteModel) -> Callable[[int], float]:
    """A function that runs the dev split, tokenization included; gives seconds."""
    length = min(SEQUENCE_LENGTH, model.max_tokens)

    def measure(turn: int) -> float:
        started = time.perf_counter()
        encoded = task.encode("dev", model.tokenizer, length)
        task.score(encoded, run_all(model, encoded.arrays))
        return time.perf_counter() - started

    return measure


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
