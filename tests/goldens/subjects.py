"""What each golden file holds: given texts and numbers, and what mobilebert_tf makes of them."""

import base64
import itertools
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from graphs import contract_cases, small_graph
from scipy import special
from texts import DOCUMENT, JOINED, JOINERS, SENTENCES, SPECIAL, TOKENIZED, VOCABULARY

from mobilebert_tf import Pipeline
from mobilebert_tf.lite import flatbuffer, metadata, timing
from mobilebert_tf.modeling.heads import HEADS
from mobilebert_tf.tasks.metrics import scores
from mobilebert_tf.tasks.squad import Question
from mobilebert_tf.tasks.squad_answers import answers as find_answers
from mobilebert_tf.tasks.squad_windows import Features, make_features, proportions
from mobilebert_tf.tasks.tags import tag_scheme
from mobilebert_tf.text.offsets import tokenize_with_offsets
from mobilebert_tf.text.tokenizer import WordPiece

LABELS = ("B-place", "B-name", "I-place", "O")
SUBJECTS_OF_FILMS = ("war", "love", "\U0001f642")
# Labels of each scheme, of mixtures, and what only looks like one.
TAGS = {
    "BIO": "O B-x I-x B-y I-y",
    "BIO, I alone": "O I-x I-y",
    "BIO without O": "B-x I-x",
    "BIO without kinds": "O B I",
    "BIO and another label": "O B-x I-x X",
    "BIOES": "O B-x I-x E-x S-x S-y",
    "BILOU": "O B-x I-x L-x U-x U-y",
    "BILOU without kinds": "O B I L U",
    "BMES": "B-x M-x E-x S-x O",
    "letters of several schemes": "O B-x I-x E-x S-x L-x",
    "IO": "O place \U0001f642name I",
    "a dash in a kind": "O B-x-y I-x-y B-x",
    "a dash behind a letter alone": "O B- I- B",
    "parts of speech": "NN VB , .",
    "parts of speech that look marked": "-LRB- B-x NN",
    "numbers": "0 1 13 -2",
    "numbers of other digits": "O \u0661 \u0662",
    "O alone": "O",
}
UNCASED, CASED = WordPiece(VOCABULARY, lower_case=True), WordPiece(VOCABULARY, lower_case=False)
ACCENTED = WordPiece(VOCABULARY, lower_case=True, strip_accents=False)


def golden(about: str, cases: Iterable[dict], **shared) -> dict:
    """A file's content."""
    return {"about": about, **shared, "cases": list(cases)}


def case(name: str, given: dict, expected) -> dict:
    return {"name": name, "given": given, "expected": expected}


def tokenizer() -> dict:
    return golden(
        "Pieces of a text: id, and start and end in characters (code points) of the text as given. "
        "With special_tokens, ids alone: [MASK] and the like in the text are special tokens.",
        [*_tokenized(), *_with_special_tokens()],
        vocabulary=VOCABULARY,
    )


def _tokenized() -> Iterable[dict]:
    for wordpiece in (UNCASED, CASED, ACCENTED):
        for name, text in TOKENIZED:
            ids, spans = tokenize_with_offsets(wordpiece, [text])[0]
            assert ids == wordpiece.tokenize([text]).to_list()[0], name
            given = _given(text, wordpiece, special_tokens=False)
            expected = {"ids": ids, "starts": [a for a, _ in spans], "ends": [b for _, b in spans]}
            yield case(f"{name}, {_case_of(wordpiece)}", given, expected)


def _with_special_tokens() -> Iterable[dict]:
    for wordpiece in (UNCASED, CASED):
        for name, text in SPECIAL:
            (ids,) = wordpiece.tokenize([text], special_tokens=True).to_list()
            given = _given(text, wordpiece, special_tokens=True)
            yield case(f"{name}, {_case_of(wordpiece)}", given, {"ids": ids})


def _given(text: str, wordpiece: WordPiece, special_tokens: bool) -> dict:
    casing = {"lower_case": wordpiece.lower_case, "strip_accents": wordpiece.strip_accents}
    return {"text": text} | casing | {"special_tokens": special_tokens}


def _case_of(wordpiece: WordPiece) -> str:
    if wordpiece.lower_case and not wordpiece.strip_accents:
        return "uncased with accents"
    return "uncased" if wordpiece.lower_case else "cased"


def features() -> dict:
    """One text or two, packed."""
    return golden(
        "A model's inputs for a text, or a text and its pair (null: none), of max_tokens at most "
        "(null: any), without padding; dropped: tokens that did not fit. Vocabulary and lower case "
        "as in tokenizer.json.",
        (
            _packed(text, pair, length)
            for text, pair in zip(SENTENCES, [None, *SENTENCES[2:], None], strict=True)
            for length in (None, 40, 9, 4)
        ),
    )


def _packed(text: str, pair: str | None, length: int | None) -> dict:
    pairs = None if pair is None else [pair]
    whole = UNCASED.encode([text], pairs)
    arrays = UNCASED.encode([text], pairs, length)
    used = int(arrays["input_mask"].sum())
    expected = {name: array[0, :used].tolist() for name, array in arrays.items()}
    expected["dropped"] = int(whole["input_mask"].sum()) - used
    name = f"{text[:20]!a} and {pair and pair[:20]!a} in {length}"
    return case(name, {"text": text, "pair": pair, "max_tokens": length}, expected)


def windows() -> dict:
    """A document of any length behind a question."""
    questions = (
        "Who said hello?",
        "What did the player of the café want to run in the world? " * 2,
    )
    return golden(
        "Windows of a document behind a question, length tokens each at most, without padding. "
        "starts, ends: the tokens' characters in the document, -1 outside it; max_context: 1 where "
        "the window is the one with the most text around the token. Uncased.",
        (
            _windowed(question, document, length)
            for question in questions
            for document in (DOCUMENT, "The end.", " \u200b ")
            for length in (24, 64)
        ),
    )


def _windowed(question: str, document: str, length: int) -> dict:
    features = _features(question, document, length)
    found = []
    for row, mask in enumerate(features.input_mask):
        used = int(mask.sum())
        fields = ("input_ids", "segment_ids", "starts", "ends", "max_context")
        found.append(
            {name: getattr(features, name)[row, :used].astype(int).tolist() for name in fields}
        )
    given = {"question": question, "document": document, "length": length}
    return case(f"{question[:10]!a} in {document[:10]!a} by {length}", given, {"windows": found})


def _features(question: str, document: str, length: int) -> Features:
    asked = [Question("0", question, document, (), (), False)]
    return make_features(asked, UNCASED, length, *proportions(length))


def softmax() -> dict:
    rows = ([0.0], [1.5, -2.25, 0.5], [1000.0, 999.0, -1000.0], [-3.0] * 4, [88.0, 0.0, -104.0])
    return golden(
        "Probabilities of logits, within 1e-6.",
        (
            case(
                str(row),
                {"logits": row},
                special.softmax(np.array(row, np.float32), axis=-1).tolist(),
            )
            for row in rows
        ),
    )


def answers() -> dict:
    """Spans from logits, with and without the answer that there is none."""
    return golden(
        "Answers from the logits of windows as in windows.json (one list a window, without "
        "padding). null_threshold: how much better 'no answer' must score; null: there is an "
        "answer. Numbers within 1e-6. start, end: characters; 0, 0 for no answer.",
        (
            _answered(seed, document, length, threshold, best)
            for seed, (document, length, threshold, best) in enumerate(
                (document, length, threshold, best)
                for document, length in ((DOCUMENT[:172], 24), ("The end.", 24), (DOCUMENT, 64))
                for threshold in (None, 0.0, 9.0)
                for best in (1, 4)
            )
        ),
    )


def _answered(seed: int, document: str, length: int, threshold: float | None, best: int) -> dict:
    question = "Who said hello?"
    features = _features(question, document, length)
    random = np.random.default_rng(seed)
    # Few different numbers, so that there are ties.
    start, end = (random.integers(-24, 24, features.input_ids.shape) / 4.0 for _ in range(2))
    if seed % 4 == 3:
        start[:, 0] += 20
    found = find_answers(
        [Question("0", question, document, (), (), False)],
        features,
        start.astype(np.float32),
        end.astype(np.float32),
        best=best,
        null_threshold=threshold or 0.0,
        version_2=threshold is not None,
    )["0"]
    used = features.input_mask.sum(axis=1)
    given = {"question": question, "document": document, "length": length, "best": best}
    given |= {"null_threshold": threshold, "start_logits": _rows(start, used)}
    given |= {"end_logits": _rows(end, used)}
    names = ("text", "start", "end", "probability", "null_score_difference")
    expected = {name: getattr(found, name) for name in names}
    names = ("text", "start", "end", "score", "probability")
    expected["best"] = [{name: getattr(span, name) for name in names} for span in found.best]
    return case(f"{document[:10]!a} by {length}, {threshold}, best {best}", given, expected)


def _rows(values: np.ndarray, used: Sequence[int]) -> list[list[float]]:
    return [row[:count].tolist() for row, count in zip(values, used, strict=True)]


@dataclass
class _Scripted:
    """A model that says what it was told, whatever the text."""

    kind: str
    outputs: dict[str, np.ndarray]
    labels: Sequence[str] = LABELS
    thresholds: Sequence[float] = ()
    joiners: Sequence[str] = ()
    tokenizer = UNCASED
    max_tokens, sequence_length, pairs = 512, None, None

    def __call__(self, **inputs) -> dict[str, np.ndarray]:
        return {name: np.asarray(value, np.float32)[None] for name, value in self.outputs.items()}


def tags() -> dict:
    """Schemes of labels, and what they say of words."""
    return golden(
        "What a token classifier's labels say about entities: their scheme and kinds, sorted; and "
        "the labels of a text's words in BIO.",
        (_tagged(seed, name, tags.split()) for seed, (name, tags) in enumerate(TAGS.items())),
    )


def _tagged(seed: int, name: str, labels: list[str]) -> dict:
    words = np.random.default_rng(seed).choice(labels, 40).tolist()
    scheme = tag_scheme(labels)
    expected = {"scheme": scheme.name, "kinds": scheme.kinds, "bio": scheme.to_bio(words)}
    return case(name, {"labels": labels, "words": words}, expected)


def labels() -> dict:
    """Words and entities."""
    texts = [text for text in (*SENTENCES, DOCUMENT[:172], "Ábc, 中\U0001f642 a\u200bb e") if text]
    schemes = [LABELS, *(TAGS[name].split() for name in ("BIOES", "BILOU", "IO", "numbers"))]
    return golden(
        "Words and entities of a text from the probabilities of its pieces' classes (one list a "
        "piece, without [CLS] and [SEP]). start, end: characters. Uncased.",
        (
            _labelled(seed, text, labels)
            for seed, (labels, text) in enumerate(itertools.product(schemes, texts))
        ),
    )


def _labelled(seed: int, text: str, labels: Sequence[str]) -> dict:
    values = _probabilities(seed, text, labels)
    model = _Scripted("token_classifier", {"token_probability": values}, labels)
    found = Pipeline(model)(text)
    expected = {
        name: [vars(stretch) for stretch in getattr(found, name)] for name in ("words", "entities")
    }
    given = {"text": text, "labels": labels, "probabilities": values[1:-1].tolist()}
    return case(f"{text[:20]}, {tag_scheme(labels).name}", given, expected)


def multi_label() -> dict:
    """Which labels a text has."""
    rows = (
        [0.5, 0.25, 0.75],
        [0.49, 0.5, 0.51],
        [0.0, 0.0, 0.0],
        [0.75, 0.75, 0.75],
        [0.7, 0.1, 1],
    )
    return golden(
        "The labels of a text from their probabilities, the likeliest first, of equals the first. "
        "A probability is a float32, a threshold a float64.",
        (
            _chosen(row, thresholds)
            for row in rows
            for thresholds in ((0.5, 0.5, 0.5), (0.7, 0.25, 0.9), (0.1, 0.1, 1))
        ),
        labels=SUBJECTS_OF_FILMS,
    )


def _chosen(row: Sequence[float], thresholds: Sequence[float]) -> dict:
    outputs = {"probability": row}
    model = _Scripted("multi_label_classifier", outputs, SUBJECTS_OF_FILMS, thresholds)
    found = Pipeline(model)("the film")
    given = {"probability": row, "thresholds": thresholds}
    return case(f"{row} from {thresholds}", given, found.labels)


def label_scores() -> dict:
    """Scores of many texts' labels."""
    random = np.random.default_rng(0)
    shapes = ((1, 2), (5, 3), (40, 3))
    hot = [(random.random((2, *shape)) < 0.4).astype(int) for shape in shapes]
    hot += [np.zeros((2, 3, 2), int), np.array([np.eye(3, dtype=int), np.eye(3, dtype=int)[::-1]])]
    return golden(
        "Micro F1 of the numbers of labels that texts have and that a model gives them, within "
        "1e-9. With one label each it is the accuracy.",
        (_scored(*pair) for pair in hot),
    )


def _scored(wanted: np.ndarray, given: np.ndarray) -> dict:
    numbers = {
        name: [np.flatnonzero(row).tolist() for row in rows]
        for name, rows in (("wanted", wanted), ("given", given))
    }
    classes = {"classes": wanted.shape[1]}
    expected = scores(["micro_f1"], wanted, given)
    return case(f"{len(wanted)} texts, {wanted.shape[1]} labels", classes | numbers, expected)


def _probabilities(seed: int, text: str, labels: Sequence[str]) -> np.ndarray:
    """Numbers for the classes of each token."""
    count = len(tokenize_with_offsets(UNCASED, [text])[0].ids)
    return np.random.default_rng(seed).integers(0, 64, (count + 2, len(labels))) / 64.0


def words() -> dict:
    """Words that have marks in them."""
    return golden(
        "Words of a text where the training words had marks in them, as the joiners say, and their "
        "labels, as in labels.json.",
        (_joined(seed, *each) for seed, each in enumerate(JOINED)),
        labels=LABELS,
    )


def _joined(seed: int, name: str, text: str, joiners: Sequence[str]) -> dict:
    values = _probabilities(seed, text, LABELS)
    model = _Scripted("token_classifier", {"token_probability": values}, joiners=joiners)
    given = {"text": text, "joiners": joiners, "probabilities": values[1:-1].tolist()}
    return case(name, given, [vars(word) for word in Pipeline(model)(text).words])


def masks() -> dict:
    """Candidates for [MASK]."""
    texts = ("the [MASK] was low.", "a[MASK]b \U0001f642[MASK]")
    return golden(
        "Candidates for each [MASK], best first; of equals the first in the vocabulary. Given are "
        "the logits of each [MASK]. Uncased.",
        (_filled(seed, text) for seed, text in enumerate(texts)),
    )


def _filled(seed: int, text: str) -> dict:
    ids = UNCASED.encode([text], special_tokens=True)["input_ids"][0]
    places = np.flatnonzero(ids == UNCASED.mask_id)
    logits = np.zeros([len(ids), len(VOCABULARY)])
    random = np.random.default_rng(seed)
    logits[places] = random.integers(-20, 20, (len(places), len(VOCABULARY))) / 4.0
    found = Pipeline(_Scripted("masked_lm", {"mlm_logits": logits}), top=4)(text)
    expected = [[vars(candidate) for candidate in mask] for mask in found.masks]
    given = {"text": text, "top": 4, "logits": logits[places].tolist()}
    return case(text, given, {"masks": expected})


def embeddings() -> dict:
    """Search in a list."""
    random = np.random.default_rng(0)
    vectors = random.integers(-32, 32, (7, 5)) / 16.0
    vectors[3], vectors[6] = 0, 2 * vectors[1]
    cases = []
    for row in (0, 1, 3):
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vectors[row])
        cosines = np.divide(vectors @ vectors[row], norms, out=np.zeros(7), where=norms > 0)
        given = {"query": vectors[row].tolist(), "vectors": vectors.tolist()}
        order = np.argsort(-np.round(cosines, 6), kind="stable").tolist()
        cases.append(case(f"row {row}", given, {"cosines": cosines.tolist(), "order": order}))
    return golden(
        "Cosines of a query with vectors, within 1e-6 (0 for a vector of no length), and the "
        "vectors' order, best first; of equals (within 1e-6) the earlier one.",
        cases,
    )


def model_files() -> dict:
    """Metadata of small files, whole and damaged."""
    packed = {
        "classifier": metadata.Packed("classifier", VOCABULARY[:9], ("bad", "good"), True, 64, 32),
        "classifier of pairs": metadata.Packed(
            "classifier", VOCABULARY[:9], ("bad", "good"), True, 64, pairs=True
        ),
        "span": metadata.Packed("span", VOCABULARY[:9], (), False, 512),
        "token_classifier": metadata.Packed("token_classifier", VOCABULARY[:9], LABELS, True, 64),
        "token_classifier with joiners": metadata.Packed(
            "token_classifier", VOCABULARY[:9], LABELS, True, 64, joiners=JOINERS
        ),
        "encoder": metadata.Packed("encoder", [*VOCABULARY[:9], "##é", "中"], (), True, 64),
        "multi_label_classifier": metadata.Packed(
            *("multi_label_classifier", VOCABULARY[:9], ("war", "love"), True, 64),
            thresholds=[0.25, 1],
        ),
    }
    cases = [
        _file(f"{name}, length {length}", _content(content.kind, length, content), content, length)
        for name, content in packed.items()
        for length in (None, 16)
    ]
    several = _content("multi_label_classifier", None, packed["multi_label_classifier"])
    halves = replace(packed["multi_label_classifier"], thresholds=())
    usual = _content(halves.kind, None, halves)
    cases.append(_file("multi_label_classifier without thresholds", usual, halves, None))
    bare = small_graph("classifier", None, 2)
    whole = _content("classifier", None, packed["classifier"])
    cases += [
        _refused("empty", b""),
        _refused("no .tflite file", b"PK\x03\x04 some other file"),
        _refused("cut in its flatbuffer", whole[:300]),
        _refused("cut in its ZIP", whole[:-100]),
        _refused("its directory is gone", whole[:-22] + bytes(22)),
        _refused("without metadata", bare),
        _refused("a scale that is no number", _with_scale(bare, float("nan"))),
        _refused("no JSON in it", whole.replace(b'{"kind"', b'["kind"')),
        _refused("unknown head", whole.replace(b'"classifier"', b'"clarifier "')),
        *_joiners_refused(),
        _refused("a limit that is none", whole.replace(b'"max_tokens": 64', b'"max_tokens": -4')),
        _refused("too few thresholds", several.replace(b"[0.25, 1]", b"[   0.25]")),
        _refused("a threshold above 1", several.replace(b"[0.25, 1]", b"[0.25, 2]")),
        _refused("thresholds that are no list", several.replace(b"[0.25, 1]", b"true     ")),
    ]
    return golden(
        "What a .tflite file (base64) says of itself; fixed_length null: it takes any length. "
        "expected null: the file is refused with one line.",
        cases,
    )


def _file(name: str, content: bytes, packed: metadata.Packed, length: int | None) -> dict:
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(content)
        file.flush()
        found = metadata.unpack(file.name)
    assert found == replace(packed, labels=list(packed.labels))
    expected = {
        "kind": packed.kind,
        "vocabulary": list(packed.vocabulary),
        "labels": list(packed.labels),
        "thresholds": _thresholds(packed),
        "lower_case": packed.do_lower_case,
        "strip_accents": packed.do_lower_case
        if packed.strip_accents is None
        else packed.strip_accents,
        "max_tokens": length or packed.max_tokens,
        "sequence_length": packed.sequence_length,
        "fixed_length": length,
        "joiners": list(packed.joiners),
        "pairs": packed.pairs,
    }
    return case(name, {"content": base64.b64encode(content).decode()}, expected)


def _thresholds(packed: metadata.Packed) -> list[float]:
    """One for each label, as modeling.runner.chosen_labels has them."""
    several = HEADS[packed.kind].multi_label
    return list(packed.thresholds) or [0.5] * (several * len(packed.labels))


def _joiners_refused() -> Iterable[dict]:
    packed = metadata.Packed("token_classifier", VOCABULARY[:9], LABELS, True, 64, joiners=JOINERS)
    whole, old = _content("token_classifier", None, packed), json.dumps(JOINERS).encode()
    for name, new in (("no list", b'"x-x"'), ("no texts", b"[1]")):
        yield _refused(f"joiners that are {name}", whole.replace(old, new.ljust(len(old))))


def _refused(name: str, content: bytes) -> dict:
    return case(name, {"content": base64.b64encode(content).decode()}, None)


def _content(kind: str, length: int | None, packed: metadata.Packed) -> bytes:
    return metadata.pack(small_graph(kind, length, len(packed.labels)), packed)


def _with_scale(content: bytes, scale: float) -> bytes:
    """The same file, with this scale of its numbers, and its settings."""
    model = flatbuffer.read(content)
    for tensor in model.subgraphs[0].tensors:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = [scale]
    packed = metadata.Packed("classifier", VOCABULARY[:9], ("bad", "good"), True, 64)
    return metadata.pack(flatbuffer.write(model), packed)


def contract() -> dict:
    """Damaged graphs."""
    return golden(
        "What is wrong with the graph of a .tflite file (base64, without the files behind it), "
        "where its head is of this kind and its vocabulary has so many pieces; null: nothing.",
        (case(*fields) for fields in contract_cases()),
    )


def latency() -> dict:
    random = np.random.default_rng(0)
    series = [[3.5], [2.0, 1.0], *(np.round(random.gamma(2, 2, n), 3).tolist() for n in (7, 50))]
    return golden(
        "Figures of run times in milliseconds, within 1e-9: those of "
        "`python -m mobilebert_tf.benchmark`, and least and mean.",
        (_figures(milliseconds) for milliseconds in series),
    )


def _figures(milliseconds: list[float]) -> dict:
    seconds = np.array(milliseconds) / 1e3
    row = timing.latency_row(seconds, tokens=8, threads=1)
    expected = {name: float(row[name]) for name in ("p50_ms", "p90_ms", "p99_ms")}
    expected |= {"min_ms": min(milliseconds), "mean_ms": float(np.mean(milliseconds))}
    return case(f"{len(milliseconds)} runs", {"milliseconds": milliseconds}, expected)


SUBJECTS = {
    "tokenizer": tokenizer,
    "features": features,
    "windows": windows,
    "softmax": softmax,
    "answers": answers,
    "tags": tags,
    "labels": labels,
    "multi_label": multi_label,
    "label_scores": label_scores,
    "words": words,
    "masks": masks,
    "embeddings": embeddings,
    "model_files": model_files,
    "contract": contract,
    "latency": latency,
}
