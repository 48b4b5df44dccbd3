"""Does the exported file compute what the Keras model computes? Measured on real text."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobilebert_tf.modeling.heads import HEADS, TOKEN_OUTPUTS
from mobilebert_tf.modeling.runner import Runnable, chosen_labels


@dataclass(frozen=True)
class Limit:
    """The worst agreement at which a file may still be kept.

    Args:
        error: largest difference over the largest value of the output; of scores, over the
            difference between the highest and the lowest, unless they are all the same.
        cosine: lowest mean cosine of an output's rows; of scores, lowest concordance.
        choice: lowest share of rows (tokens, or texts) with the same highest entry; of a
            multi_label_classifier, with the same labels.
    """

    error: float
    cosine: float
    choice: float


# Float modes differ by rounding alone. The int8 limits tell a broken export from rounding noise:
# choices flip where the two best are close, often so for a model hardly trained.
LIMITS = {
    "none": Limit(error=1e-3, cosine=0.99999, choice=0.99),
    "float16": Limit(error=0.05, cosine=0.999, choice=0.97),
    "dynamic": Limit(error=0.5, cosine=0.97, choice=0.8),
    "int8": Limit(error=0.5, cosine=0.97, choice=0.8),
    "int8-full": Limit(error=0.7, cosine=0.95, choice=0.75),
    "int16x8": Limit(error=0.4, cosine=0.98, choice=0.85),
    "int4": Limit(error=0.8, cosine=0.9, choice=0.7),
    "int4-mixed": Limit(error=0.7, cosine=0.93, choice=0.75),
}


def agreement(
    lite: Runnable, reference: Runnable, samples: Sequence[dict[str, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    """Compares two models on samples.

    Returns for each output name `error`, `cosine` and, except for embeddings and scores, `choice`,
    as in Limit; and `worst`, the number of the sample with the largest error.

    Args:
        lite, reference: called with each sample.
        samples: input_ids, input_mask, segment_ids, int32 [1,T] each; padding is not compared.
    """
    if HEADS[reference.kind].outputs == ("score",):
        return {"score": _compared_scores(lite, reference, samples)}
    measured = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        outputs, expected = lite(**sample), reference(**sample)
        for name, values in expected.items():
            compared = _compared(reference, name, outputs[name], values, sample["input_mask"])
            for key, value in compared.items():
                measured[name][key].append(value)
    summary: dict[str, Callable] = {"error": max, "cosine": np.mean, "choice": np.mean}
    return {
        name: {key: float(summary[key](values)) for key, values in by_key.items()}
        | {"worst": int(np.argmax(by_key["error"]))}
        for name, by_key in measured.items()
    }


def _compared_scores(
    lite: Runnable, reference: Runnable, samples: Sequence[dict[str, np.ndarray]]
) -> dict[str, Any]:
    """Compares the scores of all texts: a score alone has no scale, and the sign as its cosine."""
    values, expected = (
        np.array([model(**sample)["score"].item() for sample in samples])
        for model in (lite, reference)
    )  # [N] each
    differences = np.abs(values - expected)
    result = {"worst": int(differences.argmax())}
    if not np.ptp(expected):  # of one text, or the same of all
        error = float(differences.max() / max(np.abs(expected).max(), np.finfo(float).tiny))
        return result | {"error": error, "cosine": 1 - error}
    error = float(differences.max() / np.ptp(expected))
    return result | {"error": error, "cosine": _concordance(values, expected)}


def _concordance(values: np.ndarray, expected: np.ndarray) -> float:
    """Returns the concordance correlation coefficient of two series (Lin, 1989): their correlation,
    lowered if one is shifted or stretched. 1 for equal series, 0 if one is constant."""
    (variance, covariance), (_, expected_variance) = np.cov(values, expected, bias=True)
    shift = values.mean() - expected.mean()
    return float(2 * covariance / (variance + expected_variance + shift**2))


def _compared(
    reference: Runnable, name: str, values: np.ndarray, expected: np.ndarray, mask: np.ndarray
) -> dict[str, float]:
    """Compares rows [rows,width]: a row is a token's logits over words, or a text's output."""
    real = mask[0] == 1  # [T]
    if name in TOKEN_OUTPUTS:
        values, expected = values[:, real], expected[:, real]
    values = values.reshape(-1, values.shape[-1])
    expected = expected.reshape(-1, expected.shape[-1])
    norms = np.linalg.norm(values, axis=1) * np.linalg.norm(expected, axis=1)
    result = {
        "error": np.abs(values - expected).max() / np.abs(expected).max(),
        "cosine": np.mean((values * expected).sum(axis=1) / norms),
    }
    if values.shape[-1] > 1 and name != "embedding":
        same = _choices(reference, values) == _choices(reference, expected)
        result["choice"] = np.mean(same.all(axis=1))
    return result


def _choices(model: Runnable, rows: np.ndarray) -> np.ndarray:
    """Returns what a model chooses by each row: the highest entry [rows,1], or labels [rows,C]."""
    if HEADS[model.kind].multi_label:
        return chosen_labels(model, rows)
    return rows.argmax(axis=1, keepdims=True)


def lost(measured: dict[str, dict[str, float]]) -> float:
    """Returns the share of choices that differ in the worst output; for an embedding 1 - cosine,
    for scores 1 - concordance."""
    return 1 - min(values.get("choice", values["cosine"]) for values in measured.values())


def complaints(measured: dict[str, dict[str, float]], mode: str) -> list[str]:
    """Returns what is worse than the mode's limit, in words; nothing if the file is good."""
    found = []
    for name, values in measured.items():
        for key in (field.name for field in dataclasses.fields(Limit) if field.name in values):
            value, limit = values[key], getattr(LIMITS[mode], key)
            good = value <= limit if key == "error" else value >= limit  # False for NaN
            if not good:
                found.append(f"{key} of {name} is {value:.4g} (limit {limit:g})")
    return found


def wrong_after_shorter(
    open_file: Callable[[], Runnable], samples: Sequence[dict[str, np.ndarray]]
) -> int | None:
    """Returns the length of the first sample whose outputs depend on the samples before it; None
    if there is none.

    A runtime that resizes a file may keep too little memory for a tensor (XNNPACK of LiteRT 2.3
    does where lite/quantize.py does not avoid it): a text then gets other outputs after shorter
    texts than after longer ones. Whether a file is hit depends on its memory layout, so each file
    is tried.

    Args:
        open_file: gives a new interpreter of a file of any length.
        samples: as for `agreement`; one of each length is tried.
    """
    by_tokens = {sample["input_ids"].shape[1]: sample for sample in samples}
    by_tokens = dict(sorted(by_tokens.items()))
    shrinking, growing = open_file(), open_file()
    expected = {tokens: shrinking(**by_tokens[tokens]) for tokens in reversed(by_tokens)}
    shortest = next(iter(by_tokens.values()))
    growing(**{name: array[:, :1] for name, array in shortest.items()})
    for tokens, sample in by_tokens.items():
        outputs = growing(**sample)
        for name, values in expected[tokens].items():
            if not np.array_equal(values, outputs[name], equal_nan=True):
                return tokens
    return None
