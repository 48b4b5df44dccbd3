"""From text to results: what is made of a model's outputs, and where in the text it is."""

import numpy as np
import pytest
from support.models import save_directory
from support.texts import LABELS, VOCABULARY

from mobilebert_tf import InputError, Pipeline, build_model, save_model
from mobilebert_tf.results import Candidate
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece


class Scripted:
    """A model with given outputs for one text, to see what is made of them."""

    tokenizer, labels, joiners = WordPiece(VOCABULARY), list(LABELS), []
    max_tokens, sequence_length, pairs = 37, None, None

    def __init__(self, kind, **outputs):
        self.kind = kind
        self._outputs = {name: np.array([values], np.float32) for name, values in outputs.items()}

    def __call__(self, **inputs):
        self.seen = inputs
        return self._outputs


def test_masks_are_filled_where_they_are():
    logits = np.zeros([5, len(VOCABULARY)])  # [CLS] the [MASK] runs [SEP]
    dog, cat, boat = (VOCABULARY.index(word) for word in ("dog", "cat", "boat"))
    logits[2, [dog, cat]] = np.log([6, 3])
    logits[3, boat] = 9  # no mask there
    found = Pipeline(Scripted("pretraining", mlm_logits=logits), top=2)("the [MASK] runs")
    total = 9 + len(VOCABULARY) - 2
    expected = [Candidate("dog", 6 / total), Candidate("cat", 3 / total)]
    assert [c.token for c in found.masks[0]] == [c.token for c in expected]
    probabilities = [c.probability for c in found.masks[0]]
    assert probabilities == pytest.approx([c.probability for c in expected])


def test_classes_are_named():
    model = Scripted("classifier", probability=[0.2, 0.3, 0.5])
    found = Pipeline(model)("the dog", "a cat")
    assert (found.label, found.probability) == ("so so", 0.5)
    assert tuple(found.probabilities) == LABELS
    assert model.seen["segment_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1]]


def test_scores_and_embeddings_are_numbers():
    assert Pipeline(Scripted("regression", score=[2.5]))("the dog").score == 2.5
    found = Pipeline(Scripted("encoder", embedding=[1.0, 2.5]))("the dog")
    assert found.embedding == [1.0, 2.5]


def test_answer_is_cut_from_the_context_as_it_was_written():
    # [CLS] that [SEP] the dog never sees the boat [SEP]
    start, end = np.full(10, -5.0), np.full(10, -5.0)
    start[1] = start[9] = end[2] = end[9] = 20  # the question and the end mark cannot be answers
    start[7] = end[8] = 5
    end[4] = 6  # ends before the start: impossible
    context = "THE  dog never sées\tthe \u200b B\u00f3at"
    found = Pipeline(Scripted("span", start_logits=start, end_logits=end), top=3)("that", context)
    assert found.answer == "the \u200b B\u00f3at" == context[found.start : found.end]
    assert 0 < found.probability < 1 and found.candidates[0].text == found.answer
    none = np.where(np.arange(10) == 0, 30, start), np.where(np.arange(10) == 0, 30, end)
    model = Scripted("span", start_logits=none[0], end_logits=none[1])
    assert Pipeline(model)("that", context).answer == found.answer
    assert Pipeline(model, null_threshold=0.0)("that", context).answer == ""


TOKENIZER = WordPiece([*SPECIAL_TOKENS, *"abcdeio", "##b", "##c", "\u4e2d", ",", "\U0001f600"])
BIO = ["B-x", "B-y", "I-x", "O"]


class Labeller(Scripted):
    tokenizer, labels = TOKENIZER, BIO

    def __init__(self, *classes):
        super().__init__("token_classifier", token_probability=0.7 * np.eye(4)[list(classes)])


def test_words_and_entities_have_their_places_in_the_text():
    text = "\u00c1b\u0301c, \u4e2d\U0001f600 a\u200bb e"
    # a ##b ##c | , | 中 | emoji | a ##b | e
    model = Labeller(3, 0, 3, 3, 2, 2, 1, 3, 3, 2, 3)
    found = Pipeline(model)(text)
    assert [word.text for word in found.words] == [
        "\u00c1b\u0301c",
        ",",
        "\u4e2d",
        "\U0001f600",
        "a\u200bb",
        "e",
    ]
    assert [word.label for word in found.words] == ["B-x", "I-x", "I-x", "B-y", "O", "I-x"]
    for stretch in (*found.words, *found.entities):
        assert stretch.text == text[stretch.start : stretch.end]
    entities = [(entity.label, entity.text) for entity in found.entities]
    assert entities == [("x", "\u00c1b\u0301c, \u4e2d"), ("y", "\U0001f600"), ("x", "e")]


def test_a_cut_text_ends_with_its_last_word():
    """Not with one that has the label of [SEP]."""
    model = Labeller(3, 0, 1, 2, 3)  # [CLS] a , e [SEP]
    model.max_tokens = 5
    found = Pipeline(model, truncate=True)("a,e, d b")
    assert [word.text for word in found.words] == ["a", ",", "e"]


def test_one_text_or_many(tmp_path):
    pipeline = Pipeline(save_directory(tmp_path / "model", head="classifier"))
    texts = ["the dog", "an old cat likes the river", "a"]
    many = pipeline(texts)
    for text, found in zip(texts, many, strict=True):
        alone = pipeline(text)
        assert (alone.text, alone.label) == (found.text, found.label) == (text, alone.label)
        assert alone.probability == pytest.approx(found.probability, rel=1e-5)
    assert pipeline([]) == []
    with pytest.raises(InputError, match="3 texts but 1 pairs"):
        pipeline(texts, ["x"])


def test_context_of_any_length(tmp_path):
    model = build_model("test-student", "span")
    config = model.config.replace(vocab_size=len(VOCABULARY))
    save_model(build_model(config, "span"), tmp_path / "span", WordPiece(VOCABULARY))
    pipeline = Pipeline(tmp_path / "span")
    context = "the dog sees a cat . " * 50  # 300 tokens, the model takes 37
    (first, second) = pipeline(["what ?", "who ?"], context)
    for found in (first, second):
        assert found.answer == context[found.start : found.end] != ""


def test_a_pipeline_takes_what_can_be_read_only_once(tmp_path):
    pipeline = Pipeline(save_directory(tmp_path / "m"))
    texts, pairs = ["the dog", "a cat"], ["a cat", "an old house"]
    for given in (pairs, "a boat"):
        lists = pipeline(texts, given)
        again = given if isinstance(given, str) else (pair for pair in given)
        assert pipeline((text for text in texts), again) == lists
    with pytest.raises(InputError, match="2 texts but 1 pairs"):
        pipeline((text for text in texts), (pair for pair in pairs[:1]))


def test_a_model_of_pairs_refuses_single_texts():
    model = Scripted("classifier", probability=[0.2, 0.3, 0.5])
    model.pairs = True
    with pytest.raises(InputError, match="pairs of texts: give the second text"):
        Pipeline(model)("the dog")
    assert Pipeline(model)("the dog", "a cat").label == "so so"


def test_refusals():
    with pytest.raises(InputError, match="`context`"):
        Pipeline(Scripted("span"))("that")
    with pytest.raises(InputError, match="single texts"):
        Pipeline(Labeller())("a", "b")
    with pytest.raises(InputError, match="too long"):
        Pipeline(Scripted("classifier"))("dog " * 36)
    with pytest.raises(InputError, match="`top` is 0"):
        Pipeline(Scripted("classifier"), top=0)
    for arguments in ((["dog", None],), (["dog", float("nan")],), ("dog", 5), ("dog", ["cat"])):
        with pytest.raises(InputError, match="is no text"):
            Pipeline(Scripted("classifier"))(*arguments)
    for arguments in ((None,), (5,), (["dog"], 5)):
        with pytest.raises(InputError, match="neither a text nor a list of texts"):
            Pipeline(Scripted("classifier"))(*arguments)


def test_columns_of_a_table():
    """numpy's arrays, which have no truth value."""
    texts = np.array(["the dog", "the cat"])
    found = Pipeline(Scripted("classifier", probability=[0.2, 0.3, 0.5]))(texts, texts)
    assert [result.text for result in found] == texts.tolist()


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (["B-x", "E-x", "O", "S-x"], (2, 0, 1, 3, 3), [("x", "a b"), ("x", "c"), ("x", "d")]),
        (["O", "ORG", "PER"], (0, 1, 1, 2, 0), [("ORG", "a b"), ("PER", "c")]),
        (["NN", "O-", "VB"], (0, 1, 1, 2, 0), []),
    ],
)
def test_entities_of_other_schemes(labels, classes, expected):
    model = Labeller()
    model.labels = labels
    rows = 0.7 * np.eye(len(labels))[[*classes, 0]]
    model._outputs = {"token_probability": rows[None].astype(np.float32)}
    found = Pipeline(model)("a b c d")
    assert [(entity.label, entity.text) for entity in found.entities] == expected


def test_given_words_are_labelled_at_their_first_piece():
    model = Labeller(3, 0, 3, 2, 3, 1, 3)  # [CLS] a ##b | c , d | e [SEP]
    (found,) = Pipeline(model)([["ab", "c,d", "e"]])
    assert found.text == "ab c,d e"
    assert [(w.text, w.label) for w in found.words] == [("ab", "B-x"), ("c,d", "I-x"), ("e", "O")]
    assert [(e.text, e.label) for e in found.entities] == [("ab c,d", "x")]
    for part in (*found.words, *found.entities):
        assert part.text == found.text[part.start : part.end]


def test_given_words_that_are_cut_off_keep_their_place():
    model = Labeller(3, 0, 0, 3)
    model.max_tokens = 4
    pipeline = Pipeline(model, truncate=True)
    (found,) = pipeline([["a", "b", "c"]])
    assert [(w.text, w.label) for w in found.words] == [("a", "B-x"), ("b", "B-x"), ("c", "")]
    assert len(found.entities) == 2 and pipeline.cut == 1
    with pytest.raises(InputError, match="5 tokens, the model takes 4"):
        Pipeline(model)([["a", "b", "c"]])
    with pytest.raises(InputError, match="for a token classifier"):
        Pipeline(Scripted("classifier"))([["a", "b"]])
