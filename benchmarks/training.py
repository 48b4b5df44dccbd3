"""A pre-training step of full-size MobileBERT, ours and Model Garden's, in turns.

    python benchmarks/training.py [--rounds 5] [--tokens 128] [--batch-size 8] [--variants ...]

A step reads 20 masked positions of each example and the next sentence. "Gradients" are forward
pass, loss and gradients alone; a "step" has LAMB too. "Matrix products alone" is what no float32
step can be faster than: the products of all weights, forward and backward, and nothing else. A
distillation has the teacher's forward pass, the maps of all layers and the masked LM; its parts are
that pass and the student's gradients alone. "Input" makes a batch of tokenized text.

Each variant is a process of its own. They run one at a time, a step each in turn, so that all see
the same machine; medians over rounds. The processor's milliseconds are those of all cores, without
the time that other programs take. Model Garden's wants tf-models-official: `make test-peers` makes
an environment with it, .venv-peers.
"""

import argparse
import functools
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import tabulate

from mobilebert_tf.environment import circumstances
from mobilebert_tf.modeling.config import SIZES, ModelConfig

PREDICTIONS = 20
THEIRS = "Model Garden, gradients"
PRODUCTS = "matrix products alone"
ALONE, TEACHER, DISTILLATION = "ours, gradients", "ours, teacher", "ours, distillation, gradients"
INPUT = "ours, input"
VARIANTS = {  # name: settings of `ours`
    THEIRS: None,
    PRODUCTS: None,
    ALONE: {"update": False},
    TEACHER: None,
    DISTILLATION: {"update": False, "distilled": True},
    INPUT: None,
    "ours, step": {},
    "ours, step, logits of all tokens": {"all_tokens": True},
    "ours, step, deterministic": {"deterministic": True},
    "ours, step, bfloat16": {"precision": "mixed_bfloat16"},
    "ours, step, XLA": {"jit_compile": True},
}


def main() -> None:
    options = _options()
    children = {name: _child(name, options) for name in options.variants}
    seconds = {name: [] for name in children}
    for _ in range(options.rounds + 1):
        for name, child in children.items():
            print(file=child.stdin, flush=True)
            line = child.stdout.readline()
            if not line:
                sys.exit(f"{name} ended: see its error above")
            seconds[name].append(tuple(map(float, line.split())))
    for child in children.values():
        child.stdin.close()
        child.wait()
    tokens, base = options.batch_size * options.tokens, seconds.get(THEIRS)
    rows = [
        {
            "variant": name,
            "ms": 1000 * _median(times),
            "tokens/s": tokens / _median(times),
            "times Model Garden's": _median(base) / _median(times) if base else None,
            "processor ms": 1000 * _median(times, 1),
            "of Model Garden's": _median(times, 1) / _median(base, 1) if base else None,
            "first step s": times[0][0],
        }
        for name, times in seconds.items()
    ]
    print(tabulate.tabulate(rows, headers="keys", floatfmt=".2f"))
    if seconds.keys() >= {ALONE, TEACHER, DISTILLATION}:
        parts = _median(seconds[ALONE]) + _median(seconds[TEACHER])
        print(f"distillation: {_median(seconds[DISTILLATION]) / parts:.3f} times its parts")
    print(circumstances())


def _median(times: list[tuple[float, float]], column: int = 0) -> float:
    """Returns the median of all steps but the first, which builds the graph."""
    return statistics.median(time[column] for time in times[1:])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def _child(name: str, options: argparse.Namespace) -> subprocess.Popen:
    command = [sys.executable, __file__, "--child", name, "--tokens", str(options.tokens)]
    command += ["--batch-size", str(options.batch_size), "--layers", str(options.layers)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_child(options: argparse.Namespace) -> None:
    """Runs a step for each line of stdin, and prints its seconds."""
    batch = _batch(options)
    config = SIZES["mobilebert"].replace(num_hidden_layers=options.layers)
    others = {
        THEIRS: model_garden,
        PRODUCTS: matrix_products,
        TEACHER: teacher_alone,
        INPUT: input_batches,
    }
    make = others.get(options.child, functools.partial(ours, **VARIANTS[options.child] or {}))
    step = make(config, batch)
    for _ in sys.stdin:
        started, work = time.perf_counter(), time.process_time()
        float(step())  # waits for it
        print(time.perf_counter() - started, time.process_time() - work, flush=True)


def _batch(options: argparse.Namespace) -> dict[str, np.ndarray]:
    random, shape = np.random.default_rng(0), (options.batch_size, options.tokens)
    places = (options.batch_size, PREDICTIONS)
    return {
        "input_ids": random.integers(1000, 30000, shape).astype(np.int32),
        "input_mask": np.ones(shape, np.int32),
        "segment_ids": np.zeros(shape, np.int32),
        "masked_lm_positions": random.integers(0, options.tokens, places).astype(np.int32),
        "masked_lm_ids": random.integers(1000, 30000, places).astype(np.int32),
        "masked_lm_weights": np.ones(places, np.float32),
        "next_sentence_labels": random.integers(0, 2, options.batch_size).astype(np.int32),
    }


def ours(
    config: ModelConfig,
    batch: dict,
    *,
    update: bool = True,
    all_tokens: bool = False,
    deterministic: bool = False,
    precision: str = "float32",
    jit_compile: bool = False,
    distilled: bool = False,
) -> Callable:
    """Returns a function that runs a step of a Distiller: its loss.

    Args:
        config: of the model.
        batch: of every step.
        update: whether the optimizer runs.
        all_tokens: whether the masked LM's logits are computed for all tokens.
        deterministic: whether TensorFlow's operations are deterministic, as in our commands.
        precision: Keras's dtype policy.
        jit_compile: whether XLA compiles the step.
        distilled: whether a teacher of the same depth teaches masked LM and all layers.
    """
    import keras
    import tensorflow as tf

    from mobilebert_tf import build_model
    from mobilebert_tf.training.distiller import Distiller
    from mobilebert_tf.training.run_config import Phase, TransferConfig
    from mobilebert_tf.training.strategies import bare, plan

    keras.config.set_dtype_policy(precision)
    if deterministic:
        keras.utils.set_random_seed(0)
        tf.config.experimental.enable_op_determinism()
    if all_tokens:
        rows, tokens = batch["input_ids"].shape
        places = np.tile(np.arange(tokens, dtype=np.int32), (rows, 1))
        weights = (places < PREDICTIONS).astype(np.float32)
        batch = batch | {"masked_lm_positions": places, "masked_lm_weights": weights}
        batch["masked_lm_ids"] = batch["input_ids"]
    model = build_model(config, "pretraining")
    depth, teacher = model.config.num_hidden_layers, None
    (stage,) = bare(depth, Phase(1000))
    if distilled:
        (stage,) = plan("auxiliary", depth, TransferConfig(), Phase(1000))
        teacher = build_model(_teacher_config(config), "pretraining")
    trainer = Distiller(model, stage, teacher=teacher)
    trainer.compile()
    batch = {name: tf.constant(x) for name, x in batch.items()}

    def gradients():
        found, values = trainer._accumulate(batch)
        return values["loss"] + 0 * tf.linalg.global_norm(found)

    def step():
        values = trainer.train_step(batch)
        return values["loss"]

    return tf.function(step if update else gradients, autograph=False, jit_compile=jit_compile)


def _teacher_config(student: ModelConfig) -> ModelConfig:
    return SIZES["ib-bert-large"].replace(num_hidden_layers=student.num_hidden_layers)


def teacher_alone(config: ModelConfig, batch: dict) -> Callable:
    """Returns a function that runs the forward pass of IB-BERT: a sum over its outputs."""
    import tensorflow as tf

    from mobilebert_tf import build_model

    teacher = build_model(_teacher_config(config), "pretraining")
    inputs = {name: tf.constant(batch[name]) for name in teacher.input}

    @tf.function(autograph=False)
    def forward():
        outputs = teacher(inputs, training=False)
        return tf.add_n([tf.reduce_sum(output) for output in tf.nest.flatten(outputs)])

    return forward


def input_batches(config: ModelConfig, batch: dict) -> Callable:
    """Returns a function that makes the next batch of a text of a million random tokens: 0."""
    from mobilebert_tf.data.pretraining import PretrainingExamples
    from mobilebert_tf.data.tokenized import TokenizedCorpus
    from mobilebert_tf.text.tokenizer import WordPiece

    words = [f"[unused{i}]" for i in range(config.vocab_size - 5)]
    tokenizer = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])
    tokens = np.random.default_rng(0).integers(5, config.vocab_size, 10**6, dtype=np.int32)
    sentences, documents = np.arange(0, 10**6 + 1, 20), np.arange(0, 50_001, 25)
    examples = PretrainingExamples(
        TokenizedCorpus(tokens, sentences, documents),
        tokenizer,
        batch_size=len(batch["input_ids"]),
        sequence_length=batch["input_ids"].shape[1],
        max_predictions_per_sequence=PREDICTIONS,
    )
    steps = itertools.count()

    def make():
        examples.batch(next(steps))
        return 0.0

    return make


def model_garden(config: ModelConfig, batch: dict) -> Callable:
    """Returns a function that runs Model Garden's model, loss and gradients: the loss."""
    import tensorflow as tf
    import tf_keras
    from official.modeling import tf_utils
    from official.nlp.modeling import layers, models

    from mobilebert_tf.checkpoints.reference_run import model_garden_encoder

    encoder = model_garden_encoder(config)
    model = models.BertPretrainerV2(
        encoder_network=encoder,
        classification_heads=[layers.ClassificationHead(None, 2, name="next_sentence")],
        customized_masked_lm=layers.MobileBertMaskedLM(
            embedding_table=encoder.get_embedding_table(),
            activation=tf_utils.get_activation(config.hidden_act),
        ),
    )
    batch = {name: tf.constant(x) for name, x in batch.items()}
    inputs = {
        "input_word_ids": batch["input_ids"],
        "input_mask": batch["input_mask"],
        "input_type_ids": batch["segment_ids"],
        "masked_lm_positions": batch["masked_lm_positions"],
    }
    cross_entropy = tf_keras.losses.sparse_categorical_crossentropy

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            words = cross_entropy(batch["masked_lm_ids"], outputs["mlm_logits"], from_logits=True)
            logits = outputs["next_sentence"][:, 0]  # of [CLS]; without a pooler it has all tokens
            pairs = cross_entropy(batch["next_sentence_labels"], logits, from_logits=True)
            loss = tf.reduce_mean(words) + tf.reduce_mean(pairs)
        found = tape.gradient(loss, model.trainable_variables)
        return loss + 0 * tf.linalg.global_norm([g for g in found if g is not None])

    return gradients


def matrix_products(config: ModelConfig, batch: dict) -> Callable:
    """Returns a function that multiplies as a step does, with each weight: a sum over the results.

    Attention's products of scores and probabilities are left out, which are a few percent.
    """
    import tensorflow as tf

    from mobilebert_tf import build_model

    rows, tokens = batch["input_ids"].shape
    shapes = []  # rows of the input, and [inputs, outputs]
    for weight in build_model(config, "pretraining").trainable_weights:
        if weight.path.endswith("kernel") and len(weight.shape) == 2:
            of_masks = weight.path.startswith("masked_lm")
            shapes.append((rows * (PREDICTIONS if of_masks else tokens), *weight.shape))
    shapes.append((rows * PREDICTIONS, config.hidden_size, config.vocab_size))  # the logits
    kernels = [tf.random.normal(shape[1:]) for shape in shapes]  # each its own: none is left out
    inputs = {shape[:2]: tf.random.normal(shape[:2]) for shape in shapes}

    @tf.function(autograph=False)
    def products():
        total = tf.constant(0.0)
        for shape, kernel in zip(shapes, kernels, strict=True):
            x = inputs[shape[:2]]
            y = tf.matmul(x, kernel)
            to_input = tf.matmul(y, kernel, transpose_b=True)
            to_kernel = tf.matmul(x, y, transpose_a=True)
            total += to_input[0, 0] + to_kernel[0, 0]
        return total

    return products


if __name__ == "__main__":
    options = _options()
    if options.child:
        run_child(options)
    else:
        main()
