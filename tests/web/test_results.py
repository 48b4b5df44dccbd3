"""The page's results are Python's: for each head and mode, texts of any length, in Chromium."""

import pytest
import tabulate
from clients.exported import FIXED, HEADS, MODES, SENTENCES

from mobilebert_tf import Pipeline

# Kernels round the sums of int8 matrix products each in their own way (tests/arm): a number that is
# the next one leads to others. Measured: int8-full 0.008, all others 3e-7 (int16x8 0) but int8's
# classes and embeddings of any length, 0.008.
LIMITS = dict.fromkeys(MODES, 0.03) | {"none": 1e-5, "float16": 1e-5, "int16x8": 1e-5}
LIMITS |= {"int8-full": 0.06}
DOCUMENT = " ".join(SENTENCES[:11] + SENTENCES[15:16]) * 4
QUESTIONS = ("What is returned ?", "When is an error raised if the file does not exist ?")
TEXTS = SENTENCES[:4] + SENTENCES[10:16]


def asked(head):
    """What the page is asked of such a file."""
    if head == "span":
        pairs = [(question, DOCUMENT, None) for question in QUESTIONS]
        pairs += [(QUESTIONS[0], SENTENCES[3], None), (QUESTIONS[1], SENTENCES[15], 0.0)]
        return [dict(text=text, pair=pair, nullThreshold=null) for text, pair, null in pairs]
    if head == "pretraining":
        return [dict(text=f"the [MASK] 😀 is [MASK] {text}") for text in TEXTS]
    return [dict(text=text) for text in TEXTS]


@pytest.mark.parametrize("head", HEADS)
def test_results(head, exported, in_browser):
    files = [exported.file(head, mode, None) for mode in MODES]
    files += [exported.file(head, mode, FIXED[head]) for mode in ("none", "int8")]
    calls = [{"call": "run", "asked": each} for each in asked(head)]
    given = {"files": [{"path": str(file.path), "calls": calls} for file in files]}
    found = in_browser("answers.mjs", given)
    rows, wrong = [], []
    for file in files:
        results = found[str(file.path)]
        assert isinstance(results, list), (file.path.name, results)
        pipeline = Pipeline(file.path, truncate=True)
        differences = []
        for each, result in zip(asked(head), results, strict=True):
            pipeline.null_threshold = each.get("nullThreshold")
            expected = pipeline(each["text"], each.get("pair"))
            differences.append(difference(head, expected, result, each, LIMITS[file.mode] < 1e-4))
        rows.append((head, file.mode, file.length or "any", max(differences)))
        if max(differences) > LIMITS[file.mode]:
            wrong.append(rows[-1])
    print(tabulate.tabulate(rows, ("head", "mode", "length", "difference"), floatfmt=".1e"))
    assert not wrong


def difference(head, expected, result, given, exact):
    """The largest of any number. Where it is `exact` all else must be equal too."""
    if head in ("classifier", "multi_label_classifier"):
        if exact and head == "multi_label_classifier":
            assert result["labels"] == expected.labels
        labels, numbers = zip(*result["probabilities"], strict=True)
        assert labels == tuple(expected.probabilities)
        pairs = zip(numbers, expected.probabilities.values(), strict=True)
    elif head == "encoder":
        largest = max(map(abs, expected.embedding))
        pairs = ((a / largest, b / largest) for a, b in both(result, expected.embedding))
    elif head == "regression":
        pairs = [(result["score"], expected.score)]
    elif head == "token_classifier":
        found = counted(given["text"], result["words"])
        names = ("text", "start", "end") + (("label",) if exact else ())
        pairs = equal(found, [vars(word) for word in expected.words], names)
        if exact:
            entities = [vars(entity) for entity in expected.entities]
            equal(counted(given["text"], result["entities"]), entities, (*names, "label"))
    elif head == "span":
        ours = [vars(candidate) for candidate in expected.candidates]
        theirs = counted(given["pair"], result["candidates"])
        if exact:
            assert result["text"] == expected.answer
        pairs = common(theirs, ours, ("start", "end"), exact)
    else:
        assert len(result["masks"]) == len(expected.masks)
        pairs = []
        for theirs, ours in zip(result["masks"], expected.masks, strict=True):
            pairs += common(theirs, [vars(candidate) for candidate in ours], ("token",), exact)
    return max(abs(a - b) for a, b in pairs)


def both(result, embedding):
    return zip(result["embedding"], embedding, strict=True)


def equal(theirs, ours, names):
    """Probabilities of both, in pairs; the rest must be equal."""
    assert [[each[name] for name in names] for each in theirs] == [
        [each[name] for name in names] for each in ours
    ]
    return [(a["probability"], b["probability"]) for a, b in zip(theirs, ours, strict=True)]


def common(theirs, ours, names, exact):
    """As `equal`, but unless it is exact of those that both have: the order may differ."""
    if exact:
        return equal(theirs, ours, names)
    known = {tuple(each[name] for name in names): each["probability"] for each in ours}
    keys = [(tuple(each[name] for name in names), each["probability"]) for each in theirs]
    return [(p, known[key]) for key, p in keys if key in known] or [(1.0, 0.0)]


def counted(text, stretches):
    """With places in characters: JavaScript counts UTF-16 units."""
    units = text.encode("utf-16-le")

    def characters(place):
        return len(units[: 2 * place].decode("utf-16-le"))

    return [
        each | {"start": characters(each["start"]), "end": characters(each["end"])}
        for each in stretches
    ]
