"""Tiny models of every variant, with a vocabulary and text, for the tests of the device side."""

import functools
import itertools
import string

import numpy as np

from mobilebert_tf import build_model, save_model
from mobilebert_tf.lite import flatbuffer, metadata, quantize
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.modeling.runner import KerasModel
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece

LABELS = ("bad", "good", "so so")
MAX_TOKENS = 37
WORDS = (
    "the a this that dog cat house river runs sleeps sees likes an old red small big under over "
    "behind near tree road stone boat and never always"
).split()
VOCABULARY = [
    *SPECIAL_TOKENS,
    *WORDS,
    *(letter for letter in string.ascii_lowercase if letter != "a"),
    *(f"##{letter}" for letter in string.ascii_lowercase),
    *string.digits,
    *".,?!'",
]
TOKENIZER = WordPiece(VOCABULARY)

_STUDENT = SIZES["test-student"].replace(vocab_size=len(VOCABULARY))
_TEACHER = SIZES["test-teacher"].replace(vocab_size=len(VOCABULARY))
VARIANTS = {
    "student": _STUDENT,
    "without-opt": _STUDENT.replace(hidden_act="gelu", normalization_type="layer_norm"),
    "tiny": _STUDENT.replace(key_query_shared_bottleneck=False, use_bottleneck_attention=True),
    "teacher": _TEACHER,
    "bert": _TEACHER.replace(
        use_bottleneck=False,
        trigram_input=False,
        embedding_size=24,
        intra_bottleneck_size=24,
        hidden_act="gelu_erf",
    ),
}
HEADS = ("encoder", "classifier", "span", "pretraining")


@functools.cache
def model(variant="student", head="classifier", seed=0):
    """A model in which every weight matters: norms and biases are random too."""
    labels = LABELS if head == "classifier" else ()
    built = build_model(VARIANTS[variant], head, labels)
    random = np.random.default_rng(seed)
    for variable in built.variables:
        shape = tuple(variable.shape)
        if variable.path.endswith("gamma"):
            variable.assign(random.uniform(0.7, 1.3, shape))
        elif "seed_generator" not in variable.path:
            # A classifier must not be so sure that all its probabilities are 0 or 1.
            scale = 0.01 if variable.path == "classifier/kernel" else 0.3
            variable.assign(random.normal(0, scale, shape))
    return built


@functools.cache
def content(variant="student", head="classifier", mode="none", length=None):
    """A converted file's bytes, without metadata."""
    calibration = [
        {"ids": x["input_ids"], "mask": x["input_mask"], "segment_ids": x["segment_ids"]}
        for x in (inputs(length or tokens, seed) for seed, tokens in enumerate((7, 13, 37) * 8))
    ]
    return quantize.convert(
        model(variant, head), mode, calibration, None if head != "encoder" else head, length
    )


def packed_file(path, head="classifier", mode="none", length=None, changed=lambda content: content):
    """A file as an app gets it: with its vocabulary and labels."""
    path.write_bytes(
        metadata.pack(
            changed(content("student", head, mode, length)),
            metadata.Packed(
                kind=head,
                vocabulary=VOCABULARY,
                labels=LABELS if head == "classifier" else [],
                do_lower_case=True,
                max_tokens=MAX_TOKENS,
            ),
        )
    )
    return path


def refused(content):
    """The same int8 file with scales so far apart that XNNPACK does not prepare it."""
    parsed = flatbuffer.read(content)
    for name, operator, graph in flatbuffer.operators(parsed):
        output = graph.tensors[operator.outputs[0]]
        if name == "FULLY_CONNECTED" and output.type == flatbuffer.INT8:
            output.quantization.scale = [1e-9]
    return flatbuffer.write(parsed)


@functools.cache
def keras_model(variant="student", head="classifier"):
    return KerasModel(model(variant, head), TOKENIZER, head)


def inputs(tokens, seed=0, padding=0):
    """Random ids int32 [1,tokens], the last `padding` of them padding; two segments."""
    random = np.random.default_rng(seed)
    place = np.arange(tokens)[None]
    mask = (place < tokens - padding).astype(np.int32)
    ids = random.integers(5, len(VOCABULARY), (1, tokens), dtype=np.int32) * mask
    segments = (place > (tokens - padding) // 2).astype(np.int32) * mask
    return {"input_ids": ids, "input_mask": mask, "segment_ids": segments}


def relative_error(values, expected):
    return np.abs(values - expected).max() / np.abs(expected).max()


def save_directory(directory, variant="student", head="classifier"):
    save_model(model(variant, head), directory, TOKENIZER)
    return directory


def save_corpus(path):
    """120 paragraphs of one to five sentences, one per line."""
    sentences = [
        " ".join(words) + " ."
        for words in itertools.product(
            ("the dog", "an old cat", "this boat", "that red house"),
            ("runs", "sleeps", "never sees a river", "always likes the 3 stones"),
            ("under the tree", "near a small road", "behind it", "over 9 big rivers, too"),
        )
    ]
    step = len(sentences)
    paragraphs = [
        " ".join(sentences[(i * 7 + j * 5) % step] for j in range(1 + i % 5)) for i in range(120)
    ]
    path.write_text("\n".join(paragraphs) + "\n")
    return path
