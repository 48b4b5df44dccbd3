"""The models that are compared, and the texts that they read."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from mobilebert_tf.data.tables import read_texts
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import SIZES, ModelConfig
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert, build_model, copy_weights
from mobilebert_tf.modeling.model_directory import load_model, load_tokenizer, save_model
from mobilebert_tf.text.tokenizer import WordPiece

LABELS = ("negative", "neutral", "positive")
LENGTHS = {"classifier": 128, "span": 384}  # tokens, the customary ones
LARGEST_LOGIT = 2.0  # of a made classifier: surer, and all its probabilities are 0 or 1
CALIBRATION_TEXTS = 96  # what export/to_tflite.py asks for
_JOINED = 12  # sentences that make a paragraph

# The paper's table 3 and BERT, each what MobileBERT is compared with.
PAPER = {
    "MobileBERT (NoNorm, ReLU)": SIZES["mobilebert"],
    "NoNorm, GELU": SIZES["mobilebert"].replace(hidden_act="gelu"),
    "LayerNorm, ReLU": SIZES["mobilebert"].replace(normalization_type="layer_norm"),
    "LayerNorm, GELU": SIZES["mobilebert-without-opt"],
    "MobileBERT tiny": SIZES["mobilebert-tiny"],
    "BERT base": SIZES["bert-base"],
}


@dataclass(frozen=True)
class Texts:
    """Sentences to measure with, and others to calibrate on."""

    measured: list[str]
    calibration: list[str]

    def lines(self, head: str) -> list[str]:
        """The calibration texts of a head: sentences, or paragraphs of several for spans."""
        return self.calibration if head == "classifier" else _paragraphs(self.calibration)

    def inputs(self, head: str, tokenizer: WordPiece, count: int, calibration: bool = False):
        """The first `count` texts as the models' inputs, int32 [count,LENGTHS] each, padded."""
        texts = (self.calibration if calibration else self.measured)[:count]
        pairs = _paragraphs(texts) if head == "span" else None
        return tokenizer.encode(texts, pairs, sequence_length=LENGTHS[head])


def _paragraphs(texts: list[str]) -> list[str]:
    """One that begins with each text, of up to _JOINED."""
    return [" ".join(np.roll(texts, -index)[:_JOINED]) for index in range(len(texts))]


def read(path: str, measured: int) -> Texts:
    """The column "sentence" of a table, or the lines of another file."""
    texts = [row.text for row in read_texts(Path(path), "sentence") if row.complete]
    if len(texts) < measured + CALIBRATION_TEXTS:
        needed = measured + CALIBRATION_TEXTS
        raise InputError(f"--texts {path} has {len(texts)} texts: at least {needed} are needed")
    return Texts(texts[:measured], texts[measured:])


def make(folder: Path, vocabulary: str, texts: Texts, layers: int | None) -> None:
    """Writes folder/classifier and folder/span: one encoder with random weights, two heads."""
    tokenizer = WordPiece.from_file(vocabulary)
    model = random_model(SIZES["mobilebert"], tokenizer, layers)
    _restrain(model, texts.inputs("classifier", tokenizer, 32))
    save_model(model, folder / "classifier", tokenizer)
    _save_span(model, folder, tokenizer)


def take(folder: Path, source: str) -> None:
    """The same from a model directory with a classifier; the span head is random."""
    model, tokenizer = load_model(source), load_tokenizer(source)
    if model.head.kind != "classifier":
        raise InputError(f"--model {source} has no classifier: it is a {model.head.kind}")
    save_model(model, folder / "classifier", tokenizer)
    _save_span(model, folder, tokenizer)


def make_paper(folder: Path, tokenizer: WordPiece, texts: Texts, layers: int | None) -> None:
    """Writes a classifier of each shape in PAPER that is not there yet."""
    for name, config in PAPER.items():
        if not (folder / directory_name(name)).is_dir():
            model = random_model(config, tokenizer, layers)
            _restrain(model, texts.inputs("classifier", tokenizer, 32))
            save_model(model, folder / directory_name(name), tokenizer)


def directory_name(name: str) -> str:
    """A name as part of a path."""
    return "-".join(name.lower().replace(",", "").replace("(", "").replace(")", "").split())


def random_model(config: ModelConfig, tokenizer: WordPiece, layers: int | None) -> MobileBert:
    """A classifier with random weights, norms' gammas too: at 1 they would fold into nothing."""
    config = config.replace(vocab_size=len(tokenizer))
    if layers:
        config = config.replace(num_hidden_layers=layers)
    keras.utils.set_random_seed(0)
    model = build_model(config, "classifier", LABELS)
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith("gamma"):
            weight.assign(random.uniform(0.7, 1.3, weight.shape))
    return model


def _restrain(model: MobileBert, inputs: dict) -> None:
    """Scales the classifier so that its largest logit is LARGEST_LOGIT."""
    logits = model(inputs, training=False)["logits"].numpy()
    kernel = model.get_layer("classifier").kernel
    kernel.assign(kernel * LARGEST_LOGIT / np.abs(logits).max())


def _save_span(model: MobileBert, folder: Path, tokenizer: WordPiece) -> None:
    keras.utils.set_random_seed(1)
    span = MobileBert(model.config, Head("span"))
    copy_weights(model, span)
    save_model(span, folder / "span", tokenizer)
