"""Makes the small models that the app is tested with: one for each head, exported as users do.

They learn a few sentences of one pattern in seconds, so that what the screens show makes sense.
They know nothing else: `python -m mobilebert_tf.distill` makes models of use.
"""

import itertools
import random
import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mobilebert_tf import build_model, save_model
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.modeling.heads import HEADS
from mobilebert_tf.text.tokenizer import WordPiece
from mobilebert_tf.text.vocabulary import train_vocabulary

TO_TFLITE = Path(__file__).parents[2] / "export" / "to_tflite.py"
# The runtime of this offline build, 2.16.1, does not run what is exported for later ones.
EXPORT = ("--quantize", "int8", "--min-runtime", "2.4")
STEPS, BATCH = 200, 32
IGNORED = -1

THINGS = "film book meal music story song play concert".split()
GOOD = "great wonderful funny beautiful brilliant moving".split()
BAD = "boring awful dull terrible sad slow".split()
FIRST = "Anna Peter Maria Paul Clara Oscar Lena Victor".split()
LAST = "Meyer Novak Rossi Brown Silva Berg Costa Young".split()
PLACES = "Vienna Lisbon Oslo Paris Madrid Rome Dublin Prague".split()
FIRMS = "Acme Globex Initech Umbra Vertex Orion".split()
BUILDINGS = "lighthouse bridge tower church station library".split()
ANIMALS = {"cat": "fire", "dog": "door", "bird": "window", "fish": "stone", "horse": "river"}
TOPICS = {
    "food": "dinner is served at eight|we ate at the new restaurant|a meal in the evening|"
    "lunch and supper are cooked here|the kitchen serves soup",
    "travel": "the train leaves in the morning|our flight was late|a journey by bus|the ship sails "
    "at noon|we drove to the coast",
    "culture": "the museum is closed on mondays|an exhibition of old paintings|the gallery shows "
    "statues|the concert hall is full|a play in the theatre",
}
LABELS = ("O", "B-person", "L-person", "U-place", "U-firm")
COMPLAINTS = {  # of a label: what is said, and what is said where it does not hold
    "delivery": ("the parcel came late", "the soup was cold"),
    "damage": ("the box was broken", "the train was full"),
    "price": ("the soup was cheap", "the sun was warm"),
}
THRESHOLDS = (0.5, 0.4, 0.6)


@dataclass(frozen=True)
class Example:
    """A text, perhaps with a second one, and what is to be said of it.

    Args:
        target: a class; or of a span its text in `pair`; or of words a label each; or for each of
            several labels whether the text has it.
    """

    text: str
    target: object
    pair: str | None = None


def reviews(draw: random.Random) -> Example:
    thing, good = draw.choice(THINGS), draw.random() < 0.5
    last = draw.choice(GOOD if good else BAD)
    if draw.random() < 0.5:
        first = draw.choice(BAD if good else GOOD)
        return Example(f"The {thing} is {first} at first, but the end is {last}.", good)
    return Example(f"The {thing} is {last}.", good)


def complaints(draw: random.Random) -> Example:
    pairs = draw.sample(list(enumerate(COMPLAINTS.values())), draw.randrange(1, 4))
    target, parts = [0] * len(COMPLAINTS), []
    for label, said in pairs:
        target[label] = draw.randrange(2)
        parts.append(said[1 - target[label]])
    return Example(", and ".join(parts).capitalize() + ".", target)


def careers(draw: random.Random) -> Example:
    person = [draw.choice(FIRST), draw.choice(LAST)]
    place, firm, other = draw.choice(PLACES), draw.choice(FIRMS), draw.choice(PLACES)
    words = [*person, *f"came from {place} to work for {firm} in {other} .".split()]
    kinds = {place: 3, other: 3, firm: 4, person[0]: 1, person[1]: 2}
    return Example(" ".join(words), [kinds.get(word, 0) for word in words])


def buildings(draw: random.Random) -> Example:
    name, thing = f"{draw.choice(FIRST)} {draw.choice(LAST)}", draw.choice(BUILDINGS)
    year, place = str(draw.randrange(1800, 2000)), draw.choice(PLACES)
    parts = [
        f"The old {thing} stands on a rock in {draw.choice(['the bay', place])}.",
        f"It was built by {name} in {year}, after three ships were lost in one winter.",
        "Today it is a museum, and its lamp is lit once a year.",
    ]
    question, answer = draw.choice(
        [(f"Who built the {thing}?", name), (f"When was the {thing} built?", year)]
    )
    return Example(question, answer, " ".join(parts))


def animals(draw: random.Random) -> Example:
    animal, place = draw.choice(list(ANIMALS.items()))
    return Example(f"The {animal} sleeps near the [MASK].", place)


def topics(draw: random.Random) -> Example:
    index, texts = draw.choice(list(enumerate(TOPICS.values())))
    return Example(draw.choice(texts.split("|")), index)


Loss = Callable[[dict, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a model is made: its head, where its examples come from, and their targets [B,...]."""

    head: str
    examples: Callable[[random.Random], Example]
    targets: Callable[[WordPiece, list[Example], dict], np.ndarray]
    outputs: tuple[str, ...]
    labels: tuple[str, ...] = ()


def classes(tokenizer, examples, inputs):
    return np.array([[int(example.target)] for example in examples])


def word_labels(tokenizer, examples, inputs):
    targets = np.full(inputs["input_ids"].shape, IGNORED)
    words = [word for example in examples for word in example.text.split()]
    pieces = iter(tokenizer.tokenize(words).row_lengths().numpy())
    for row, example in zip(targets, examples, strict=True):
        *others, _ = itertools.islice(pieces, len(example.target))
        row[np.cumsum([1, *others])] = example.target  # a word's label is that of its first piece
    return targets[:, None]


def spans(tokenizer, examples, inputs):
    """First and last token of the answer in the row [B,2]."""
    targets = []
    answers = tokenizer.tokenize([example.target for example in examples]).to_list()
    for row, answer in zip(inputs["input_ids"], answers, strict=True):
        places = range(len(row) - len(answer) + 1)
        start = next(i for i in places if list(row[i : i + len(answer)]) == answer)
        targets.append([start, start + len(answer) - 1])
    return np.array(targets)


def words(tokenizer, examples, inputs):
    ids = tokenizer.encode([example.target for example in examples])["input_ids"][:, 1]
    return ids[:, None, None]


def several_labels(tokenizer, examples, inputs):
    return np.array([[example.target] for example in examples])


RECIPES = {
    "classifier": Recipe("classifier", reviews, classes, ("logits",), ("negative", "positive")),
    "multi_label_classifier": Recipe(
        *("multi_label_classifier", complaints, several_labels, ("logits",), tuple(COMPLAINTS))
    ),
    "token_classifier": Recipe("token_classifier", careers, word_labels, ("logits",), LABELS),
    "span": Recipe("span", buildings, spans, ("start_logits", "end_logits")),
    "masked_lm": Recipe("masked_lm", animals, words, ("mlm_logits",)),
    "encoder": Recipe("classifier", topics, classes, ("logits",), tuple(TOPICS)),
}


def texts(seed: int) -> Iterator[str]:
    """Sentences of every kind."""
    draw = random.Random(seed)
    for recipe in RECIPES.values():
        for example in (recipe.examples(draw) for _ in range(200)):
            yield example.text.replace("[MASK]", str(example.target))
            if example.pair:
                yield example.pair


def _cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(targets, tf.int32), logits)


def train(recipe: Recipe, tokenizer: WordPiece) -> keras.Model:
    keras.utils.set_random_seed(1)
    config = SIZES["test-student"].replace(
        vocab_size=len(tokenizer),
        hidden_size=64,
        embedding_size=32,
        intra_bottleneck_size=32,
        intermediate_size=64,
        max_position_embeddings=128,
        # Trains by itself in seconds, where NoNorm wants a teacher.
        normalization_type="layer_norm",
    )
    model = build_model(config, recipe.head, recipe.labels)
    several = HEADS[recipe.head].multi_label
    if several:
        model.head = replace(model.head, thresholds=THRESHOLDS)
    loss_of = tf.nn.sigmoid_cross_entropy_with_logits if several else _cross_entropy
    optimizer = keras.optimizers.Adam(3e-3)
    draw = random.Random(0)

    @tf.function(reduce_retracing=True)
    def step(inputs, targets):
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            loss = 0.0
            for index, name in enumerate(recipe.outputs):
                target = targets[:, index]
                real = tf.cast(target != IGNORED, tf.float32)
                losses = loss_of(tf.maximum(target, 0), outputs[name])
                loss += tf.reduce_sum(losses * real) / tf.reduce_sum(real)
        weights = model.trainable_variables
        gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
        optimizer.apply(gradients, weights)
        return loss

    for _ in range(STEPS):
        examples = [recipe.examples(draw) for _ in range(BATCH)]
        pairs = [example.pair for example in examples] if examples[0].pair else None
        special = recipe.head == "masked_lm"
        inputs = tokenizer.encode([e.text for e in examples], pairs, special_tokens=special)
        targets = recipe.targets(tokenizer, examples, inputs)
        if special:
            at_mask = inputs["input_ids"] == tokenizer.mask_id
            inputs["masked_lm_positions"] = at_mask.argmax(axis=1).astype(np.int32)[:, None]
        loss = step(
            {name: tf.constant(value) for name, value in inputs.items()},
            tf.constant(targets, tf.float32),
        )
    print(f"{recipe.head}: loss {float(loss):.4f} after {STEPS} steps")
    return model


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(itertools.islice(texts(1), 0, None, 5)) + "\n", encoding="utf-8")
    tokenizer = WordPiece(train_vocabulary(texts(0), 800))
    for name, recipe in RECIPES.items():
        directory = folder / name
        save_model(train(recipe, tokenizer), directory, tokenizer)
        options = ["--head", "encoder"] if name == "encoder" else []
        options += ["--model", directory, "--output", folder / f"{name}.tflite", *EXPORT]
        sys.argv = list(map(str, [TO_TFLITE, *options, "--calibration-data", corpus]))
        runpy.run_path(str(TO_TFLITE), run_name="__main__")  # here: TensorFlow loads once


if __name__ == "__main__":
    main(Path(sys.argv[1]))
