"""Made-up text, folders that are prepared of it, and what a run makes of them."""

import random

import numpy as np

from mobilebert_tf.data.preparation import prepare_corpus
from mobilebert_tf.data.preparation_plan import PrepareConfig
from mobilebert_tf.data.prepared_text import DataConfig, prepare_text

WORDS = [a + b for a in "bcdfghklmnprst" for b in ("al", "em", "ins", "oy", "ug")]


def made_up(count, seed=0):
    """Documents of paragraphs of sentences; a paragraph in ten is also in the first document."""
    rng = random.Random(seed)

    def sentence():
        return " ".join(rng.choices(WORDS, k=rng.randint(3, 12))).capitalize() + "."

    shared = " ".join(sentence() for _ in range(3))
    documents = [
        [" ".join(sentence() for _ in range(rng.randint(1, 5))) for _ in range(rng.randint(1, 6))]
        for _ in range(count)
    ]
    for document in documents[::10]:
        document.append(shared)
    return documents


def write(path, documents):
    path.write_text("\n\n".join("\n".join(document) for document in documents))
    return str(path)


def prepared(tmp_path, name="prepared", **changes):
    settings = {"held_out_fraction": 0.2, "vocabulary_size": 300, "shard_tokens": 10**6}
    return prepare_corpus(PrepareConfig(output_dir=str(tmp_path / name), **{**settings, **changes}))


def text_of(tmp_path, corpus, **changes):
    settings = {"held_out_fraction": 0.2, "vocabulary_size": 300, "batch_size": 7}
    config = DataConfig(corpus=corpus, sequence_length=32, **{**settings, **changes})
    return prepare_text(config, tmp_path / f"run-{abs(hash(str(config)))}")


def content(folder):
    files = [file for file in folder.directory.iterdir() if file.name != ".lock"]
    return {file.name: file.read_bytes() for file in files if file.name != "plan.json"}


def assert_same_batches(first, second, steps):
    for step in steps:
        one, other = first.batch(step), second.batch(step)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
