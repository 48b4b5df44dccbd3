"""python -m mobilebert_tf.predict MODEL TEXT...: what a model directory or a .tflite file says.

A pre-training model fills each [MASK], a classifier names the class, a span model answers the
question TEXT from --context, a bare encoder gives its embedding.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.runtime import Runnable, open_model, softmax

LONGEST_ANSWER = 30  # tokens, as in Google's run_squad.py


@dataclass(frozen=True)
class PredictConfig:
    """What to predict with, and on.

    Args:
        model: a model directory or an exported .tflite file.
        texts: one prediction each; lines of standard input if none is given.
        context: the passage that a span model answers from; a classifier's second sentence.
        top: candidates for each [MASK].
        json: one JSON object a text instead of readable lines.
    """

    model: str
    texts: Sequence[str] = field(default_factory=list)
    context: str | None = None
    top: int = 5
    json: bool = False


def predict(config: PredictConfig) -> None:
    """Fills masks, classifies, answers or embeds, as the model's head can."""
    if config.top < 1:
        raise InputError(f"--top is {config.top}: at least 1")
    model = open_model(config.model)
    for text in config.texts or (line.rstrip("\n") for line in sys.stdin):
        result = _predict_one(model, text, config)
        if config.json or model.kind == "encoder":
            print(json.dumps({"text": text} | result))
        else:
            print("\n".join(_readable(text, result)))


def _predict_one(model: Runnable, text: str, config: PredictConfig) -> dict[str, Any]:
    if model.kind in ("pretraining", "masked_lm"):
        return {"masks": fill_mask(model, text, config.top)}
    if model.kind in ("classifier", "next_sentence"):
        return classify(model, text, config.context)
    if model.kind in ("regression", "multiple_choice"):
        return {"score": score(model, text, config.context)}
    if model.kind == "token_classifier":
        return {"tokens": label_tokens(model, text)}
    if model.kind == "span":
        if config.context is None:
            raise InputError(f"{config.model} answers from a text: give it with --context")
        return answer(model, text, config.context)
    return {"embedding": embed(model, text)}


def fill_mask(model: Runnable, text: str, top: int = 5) -> list[list[dict[str, Any]]]:
    """For each [MASK] in the text its `top` tokens, best first: token and probability.

    Raises InputError for a text without [MASK], or too long.
    """
    inputs = _encode(model, text, special_tokens=True)
    masks = np.flatnonzero(inputs["input_ids"][0] == model.tokenizer.mask_id)
    if not len(masks):
        raise InputError(f"no [MASK] in the text to fill: {text!r}")
    probabilities = softmax(model(**inputs)["mlm_logits"][0, masks])  # [masks,V]
    return [
        [
            {"token": model.tokenizer.vocabulary[i], "probability": float(row[i])}
            for i in np.argsort(-row, kind="stable")[:top]
        ]
        for row in probabilities
    ]


def classify(model: Runnable, text: str, second: str | None = None) -> dict[str, Any]:
    """The likeliest label and its probability. Raises InputError for a text too long."""
    probabilities = model(**_encode(model, text, second))["probability"][0]  # [C]
    best = int(probabilities.argmax())
    return {"label": model.labels[best], "probability": float(probabilities[best])}


def score(model: Runnable, text: str, second: str | None = None) -> float:
    """The regression's value for the text, or how good a choice it is. Raises InputError for a
    text too long."""
    return float(model(**_encode(model, text, second))["score"][0, 0])


def label_tokens(model: Runnable, text: str) -> list[dict[str, Any]]:
    """Token, likeliest label and its probability, for each token of the text. Raises InputError
    for a text too long."""
    inputs = _encode(model, text)
    rows = model(**inputs)["token_probability"][0]  # [T,C]
    tokens = model.tokenizer.tokens(inputs["input_ids"][0])
    return [
        {"token": token, "label": model.labels[row.argmax()], "probability": float(row.max())}
        for token, row in list(zip(tokens, rows, strict=True))[1:-1]  # without [CLS], [SEP]
    ]


def answer(model: Runnable, question: str, context: str) -> dict[str, Any]:
    """The likeliest stretch of the context, as normalised text, and its probability.

    Raises InputError for question and context too long together.
    """
    inputs = _encode(model, question, context)
    inside = inputs["segment_ids"][0] == 1
    inside[-1] = False  # the closing [SEP]
    if not inside.any():
        raise InputError("--context holds no text to answer from")
    outputs = model(**inputs)
    start, end = (
        softmax(np.where(inside, outputs[name][0], -np.inf))  # [T]
        for name in ("start_logits", "end_logits")
    )
    spans = np.triu(start[:, None] * end[None, :])  # [T,T]: end not before start
    spans = np.tril(spans, LONGEST_ANSWER - 1)
    first, last = np.unravel_index(spans.argmax(), spans.shape)
    ids = inputs["input_ids"][0, first : last + 1]
    return {"answer": model.tokenizer.decode(ids), "probability": float(spans[first, last])}


def embed(model: Runnable, text: str) -> list[float]:
    """The embedding [H] of the text. Raises InputError for a text too long."""
    return model(**_encode(model, text))["embedding"][0].tolist()


def _encode(model: Runnable, text: str, second: str | None = None, special_tokens: bool = False):
    pairs = None if second is None else [second]
    inputs = model.tokenizer.encode([text], pairs, special_tokens=special_tokens)
    tokens = inputs["input_ids"].shape[1]
    if tokens > model.max_tokens:
        raise InputError(
            f"the text is too long: {tokens} tokens, the model takes {model.max_tokens}: "
            f"{text[:40]!r}..."
        )
    return inputs


def _readable(text: str, result: dict[str, Any]) -> list[str]:
    if "score" in result:
        return [f"{result['score']:.3f}  {text}"]
    if "tokens" in result:
        return [f"{t['token']} {t['label']} {t['probability']:.3f}" for t in result["tokens"]]
    if "label" in result:
        return [f"{result['label']} {result['probability']:.3f}  {text}"]
    if "answer" in result:
        return [f"{result['answer']} {result['probability']:.3f}  {text}"]
    lines = [text]
    for candidates in result["masks"]:
        found = (f"{c['token']} {c['probability']:.3f}" for c in candidates)
        lines.append("  " + ", ".join(found))
    return lines


if __name__ == "__main__":
    door(predict, PredictConfig, positionals={"model": None, "texts": "*"})
