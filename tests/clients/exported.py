"""What the clients open: tiny models with real words, exported through the door in every mode."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import tensorflow as tf
from support.models import random_model

from mobilebert_tf import save_model
from mobilebert_tf.data.corpus import load_documents
from mobilebert_tf.export import main
from mobilebert_tf.lite import metadata
from mobilebert_tf.lite.graph import INPUTS
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.modeling.heads import HEADS as HEAD_KINDS
from mobilebert_tf.text.tokenizer import WordPiece
from mobilebert_tf.text.vocabulary import train_vocabulary

LABELS = {
    "classifier": ("bad", "good", "so so"),
    "multi_label_classifier": ("action", "love", "war"),
    "token_classifier": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
}
THRESHOLDS = (0.75, 0.5, 0.25)  # of the multi_label_classifier
MAX_TOKENS = 384  # what the Task Library's BertQuestionAnswerer wants
# A head, and the fixed length that its files are exported with beside those for any length.
HEADS = (
    *("classifier", "encoder", "multi_label_classifier", "pretraining", "regression", "span"),
    "token_classifier",
)
FIXED = dict.fromkeys(HEADS, 64) | {"span": MAX_TOKENS}
# A mode, as the tables show it -> the door's options. Before TFLite 2.17 a weight matrix has one
# scale; --min-runtime reaches 2.4 for any length (CUMSUM) and 2.3 for a fixed one.
MODES = {
    "none": ("--quantize", "none"),
    "float16": ("--quantize", "float16"),
    "dynamic": ("--quantize", "dynamic"),
    "dynamic 2.4": ("--quantize", "dynamic", "--min-runtime", "2.4"),
    "int8": ("--quantize", "int8"),
    "int8 2.4": ("--quantize", "int8", "--min-runtime", "2.4"),
    "int8-full": ("--quantize", "int8-full"),
    "int16x8": ("--quantize", "int16x8"),
    "int4": ("--quantize", "int4"),
    "int4-mixed": ("--quantize", "int4-mixed"),
}
SENTENCES = (
    "The cat sleeps near the river.",
    "Returns the sum of the array along the given axis.",
    "What a film! I laughed, I cried, and I'd see it again...",
    "It's neither good nor bad: it's boring.",
    "A 3-hour epic (in 2 parts) for $12.50?",
    "e-mail: someone@example.com; see https://example.com/a_b?c=1&d=2#e",
    "UPPER CASE WORDS AND CamelCase wORDS",
    "   leading, trailing   and\tdoubled\n blanks  ",
    "!!! ??? ... --- *** ###",
    "a",
    "Supercalifragilisticexpialidocious antidisestablishmentarianism pneumonoultramicroscopic",
    "the value must be a positive integer or none " * 6,
    "when the file does not exist an error is raised , and nothing is written . " * 12,
    # What no client's tokenizer reads as BERT does.
    "Café, naïve, façade and a piñata.",
    "Ünïcödé: ÉCOLE, ÅNGSTRÖM, STRAẞE, ΣΊΣΥΦΟΣ",
    "Great film 😀👍🏽, loved it ❤️!",
    "“Curly quotes” — and dashes – with an ellipsis…",
    "中文 字符 and 日本語 and 한국어",
    "soft\u00adhyphen, zero\u200bwidth, non\u00a0breaking, and a bell\u0007.",
    "prices: €5, £6, ¥7; 1×2÷3 ≈ ½ ± ∞ ™ ©",
)


@dataclass(frozen=True)
class File:
    """An exported file.

    Args:
        path: where it lies.
        head, mode: what it holds, as in FIXED and MODES.
        length: the tokens it takes, or None for any number.
    """

    path: Path
    head: str
    mode: str
    length: int | None


class Exported:
    """Every file that the clients are tried with, made when first asked for.

    Args:
        folder: an empty one, to fill.

    Attributes:
        paragraphs: of real text, from which vocabulary and calibration come.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self.paragraphs = [p for d in load_documents() for p in d if p.strip()][::7]
        self._corpus = folder / "corpus.txt"
        self._corpus.write_text("\n".join(self.paragraphs[:600]) + "\n", encoding="utf-8")
        self.tokenizer = WordPiece(train_vocabulary([*self.paragraphs, *SENTENCES], 3000))

    @functools.cache  # noqa: B019 (one for the whole session)
    def file(self, head: str, mode: str, length: int | None) -> File:
        """The file that the door makes; SystemExit if it makes none."""
        path = self._folder / f"{head}-{mode.replace(' ', '-')}-{length or 'any'}.tflite"
        options = ["--model", str(self._model(head)), "--output", str(path), *MODES[mode]]
        options += ["--calibration-data", str(self._corpus)]
        options += ["--sequence-length", str(length)] if length else []
        main(options)
        return File(path, head, mode, length)

    def files(self, head: str) -> list[File]:
        """In every mode, for any number of tokens and for a fixed one."""
        return [self.file(head, mode, length) for mode in MODES for length in (None, FIXED[head])]

    @functools.cache  # noqa: B019
    def probe(self, length: int | None) -> File:
        """A file whose embedding is its own inputs, one after the other: what a client feeds."""
        specs = {name: tf.TensorSpec([1, length], tf.int32, name) for name in INPUTS}
        module, function = tf.Module(), tf.function(_echo, autograph=False)
        concrete = [function.get_concrete_function(**specs)]
        content = tf.lite.TFLiteConverter.from_concrete_functions(concrete, module).convert()
        packed = metadata.Packed("encoder", self.tokenizer.vocabulary, [], True, MAX_TOKENS)
        path = self._folder / f"probe-{length or 'any'}.tflite"
        path.write_bytes(metadata.pack(content, packed))
        return File(path, "encoder", "probe", length)

    @functools.cache  # noqa: B019
    def _model(self, head: str) -> Path:
        """A directory with a model in which every weight matters: norms and biases are random."""
        config = SIZES["test-student"].replace(
            vocab_size=len(self.tokenizer), max_position_embeddings=MAX_TOKENS
        )
        model = random_model(config, head, LABELS.get(head, ()), scale=0.15)
        if HEAD_KINDS[head].multi_label:
            model.head = replace(model.head, thresholds=THRESHOLDS)
        save_model(model, self._folder / head, self.tokenizer)
        return self._folder / head


def _echo(ids, mask, segment_ids):
    return {"embedding": tf.cast(tf.concat([ids, mask, segment_ids], axis=1), tf.float32)}
