"""Core with a real engine: exported files of every head and mode say on a JVM what they say in
Python, of numbers and of text."""

from pathlib import Path

import ai_edge_litert
import numpy as np
import pytest
from support.models import MAX_TOKENS, VARIANTS, inputs
from support.texts import VOCABULARY

from mobilebert_tf import Pipeline, build_model
from mobilebert_tf.lite import metadata, quantize
from mobilebert_tf.lite.runtime import LiteModel

LIBRARY = Path(ai_edge_litert.__file__).parent / "libLiteRt.so"
LABELS = {
    "classifier": ("bad", "good", "so so"),
    "multi_label_classifier": ("war", "love", "sea", "home"),
    "token_classifier": ("B-animal", "E-animal", "S-thing", "O"),
}
THRESHOLDS = {"multi_label_classifier": (0.25, 0.5, 0.75, 0.0)}
HEADS = (
    *("classifier", "multi_label_classifier", "token_classifier", "span", "masked_lm", "encoder"),
    "regression",
)
MODES = ("none", "float16", "dynamic", "int8", "int8-full", "int16x8", "int4", "int4-mixed")
LENGTHS = (5, 37, 1, 13)  # shorter after longer, and longer after shorter
TEXT, PAIR = "The café's old DOG \U0001f642 never sees.", "a big boat near 17 stones"
DOCUMENT = "The dog sleeps under an old tree. \U0001f642 A cat sees the red house, always! " * 6


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Gives a file of a head and a mode; of fixed length if asked."""
    folder = tmp_path_factory.mktemp("exported")

    def export(head: str, mode: str, length: int | None = None) -> Path:
        path = folder / f"{head}-{mode}-{length}.tflite"
        if not path.exists():
            path.write_bytes(_file(head, mode, length))
        return path

    return export


def _file(head: str, mode: str, length: int | None) -> bytes:
    model = build_model(VARIANTS["student"], head, LABELS.get(head, ()))
    random = np.random.default_rng(0)
    for variable in model.variables:
        shape = tuple(variable.shape)
        if variable.path.endswith("gamma"):
            variable.assign(random.uniform(0.7, 1.3, shape))
        elif "seed_generator" not in variable.path:
            scale = 0.01 if variable.path == "classifier/kernel" else 0.3
            variable.assign(random.normal(0, scale, shape))
    calibration = [
        {"ids": x["input_ids"], "mask": x["input_mask"], "segment_ids": x["segment_ids"]}
        for x in (inputs(length or tokens, seed) for seed, tokens in enumerate((7, 13, 37) * 8))
    ]
    own_head = "encoder" if head == "encoder" else None
    content = quantize.convert(model, mode, calibration, own_head, length)
    packed = metadata.Packed(
        *(head, VOCABULARY, LABELS.get(head, ()), True, MAX_TOKENS),
        thresholds=THRESHOLDS.get(head, ()),
    )
    return metadata.pack(content, packed)


def _request(arrays: dict[str, np.ndarray]) -> dict:
    names = {"input_ids": "ids", "input_mask": "mask", "segment_ids": "segment_ids"}
    return {"call": "run"} | {names[name]: array[0].tolist() for name, array in arrays.items()}


def difference(found, expected: np.ndarray) -> float:
    """The largest, relative to the largest number."""
    found = np.asarray(found, np.float32).reshape(expected.shape)
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-6))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("head", HEADS)
def test_numbers(host, exported, head, mode):
    path = exported(head, mode)
    model = LiteModel(path)
    given = [inputs(tokens, seed, tokens // 4) for seed, tokens in enumerate(LENGTHS)]
    replies = host("run", [_request(arrays) for arrays in given], LIBRARY, path)
    worst = 0.0
    for arrays, reply in zip(given, replies, strict=True):
        expected = model(**arrays)
        assert sorted(reply) == sorted(expected) and all(x.any() for x in expected.values())
        worst = max(worst, *(difference(reply[name], expected[name]) for name in expected))
    print(f"{head} {mode}: {worst:.1e}")
    assert worst <= (0 if mode.startswith("int") else 1e-5)


CALLS = {
    "classifier": [
        {"call": "classify", "text": TEXT},
        {"call": "classify", "text": TEXT, "pair": PAIR},
    ],
    "multi_label_classifier": [
        {"call": "classify labels", "text": TEXT},
        {"call": "classify labels", "text": PAIR},
    ],
    "regression": [{"call": "score", "text": TEXT}],
    "encoder": [{"call": "embed", "text": TEXT}],
    "token_classifier": [{"call": "label", "text": TEXT}],
    "masked_lm": [{"call": "fill", "text": "the [MASK] sees \U0001f642 [MASK]."}],
    "span": [{"call": "answer", "text": "What does the cat see?", "pair": DOCUMENT}],
}


def python_says(pipeline: Pipeline, call: dict):
    """What core is asked for, as Python gives it."""
    found = pipeline(call["text"], call.get("pair"))
    match call["call"]:
        case "classify":
            return found.probabilities
        case "classify labels":
            return {"labels": found.labels, "probabilities": found.probabilities}
        case "score":
            return found.score
        case "embed":
            return found.embedding
        case "label":
            names = ("text", "label", "probability")
            return [
                [{name: getattr(stretch, name) for name in names} for stretch in stretches]
                for stretches in (found.words, found.entities)
            ]
        case "fill":
            return [[[c.token, c.probability] for c in mask] for mask in found.masks]
        case "answer":
            names = ("answer", "start", "end", "probability")
            return dict(zip(("text", *names[1:]), (getattr(found, n) for n in names), strict=True))


def assert_same(found, expected):
    """Texts and places equal, numbers within 1e-5."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_same(*pair)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)
    else:
        assert found == expected


@pytest.mark.parametrize("length", [None, MAX_TOKENS], ids=["any length", "fixed length"])
@pytest.mark.parametrize("mode", ["none", "int8"])
@pytest.mark.parametrize("head", HEADS)
def test_text_in_result_out(host, exported, head, mode, length):
    path = exported(head, mode, length)
    pipeline = Pipeline(path)
    replies = host("run", CALLS[head], LIBRARY, path)
    for call, reply in zip(CALLS[head], replies, strict=True):
        assert_same(reply, python_says(pipeline, call))


def test_a_damaged_file_is_one_line(host, exported, tmp_path):
    content = exported("classifier", "none").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(content[:-5000])
    with pytest.raises(RuntimeError, match="^the file holds no vocabulary: it is damaged"):
        host("run", CALLS["classifier"], LIBRARY, tmp_path / "cut.tflite")
