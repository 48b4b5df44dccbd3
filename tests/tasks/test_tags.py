"""What labels say about entities: the scheme, its entities, and the scores that follow from it."""

import numpy as np
import pytest

from mobilebert_tf.tasks.registry import open_task
from mobilebert_tf.tasks.tags import tag_scheme
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece

TOKENIZER = WordPiece([*SPECIAL_TOKENS, *"abcdef"])
SENTENCES = {  # the same entities, x: words 0-1, x: word 2, y: word 4, in each scheme
    "BIO": "B-x I-x B-x O B-y",
    "BIOES": "B-x E-x S-x O S-y",
    "BILOU": "B-x L-x U-x O U-y",
    "BMES": "B-x E-x S-x O S-y M-y",
}
TRUTH = ["B-x", "I-x", "B-x", "O", "B-y"]


@pytest.mark.parametrize("name", SENTENCES)
def test_schemes_of_the_same_entities(name):
    labels = SENTENCES[name].split()
    scheme = tag_scheme(sorted(set(labels)))
    assert (scheme.name, scheme.kinds) == (name, ("x", "y"))
    assert scheme.to_bio(labels[:5]) == TRUTH


@pytest.mark.parametrize(
    ("labels", "name", "kinds"),
    [
        ("ORG PERSON O", "IO", ("ORG", "PERSON")),
        ("I-x O", "IO", ("x",)),
        ("B I O", "BIO", ("entity",)),
        ("B-x-z I-x-z O", "BIO", ("x-z",)),
        ("B-x I-x", "BIO", ("x",)),
        ("B-x I-x E-x S-x L-x O", "plain", ()),
        ("NN VB ,", "plain", ()),
        ("-LRB- B-x NN", "plain", ()),
        ("0 1 13", "numbers", ()),
    ],
)
def test_the_scheme_is_read_from_the_labels(labels, name, kinds):
    scheme = tag_scheme(labels.split())
    assert (scheme.name, scheme.kinds) == (name, kinds)


def test_names_alone_stand_together_and_begin_with_any_letter():
    scheme = tag_scheme(["O", "ORG", "OTHER"])
    labels = "O ORG ORG OTHER O OTHER".split()
    assert scheme.to_bio(labels) == ["O", "B-ORG", "I-ORG", "B-OTHER", "O", "B-OTHER"]


def test_broken_sequences_begin_an_entity_where_seqeval_does():
    scheme = tag_scheme("B-x I-x E-x S-x O X".split())
    labels = "I-x I-x O E-x I-x S-x E-x X I-x".split()
    expected = "B-x I-x O B-x B-x B-x B-x O B-x".split()
    assert scheme.to_bio(labels) == expected
    assert "counted as outside: X" in scheme.describe()


def scored(folder, text, right):
    """The scores of a model that labels the words `right` as they are, and the others otherwise."""
    (folder / "dev.conll").write_text(text)
    task = open_task("tokens", folder, ("dev",))
    encoded = task.encode("dev", TOKENIZER, 16)
    count = len(task.labels)
    classes = np.maximum(encoded.arrays["targets"], 0)
    classes[0] = [c if i - 1 in right else (c + 1) % count for i, c in enumerate(classes[0])]
    return task.metrics, task.score(encoded, {"token_probability": np.eye(count)[classes]})


@pytest.mark.parametrize("name", ["BIO", "BIOES", "BILOU"])
def test_entities_are_scored_whole(name, tmp_path, capsys):
    words = "".join(f"{w} {t}\n" for w, t in zip("abcde", SENTENCES[name].split(), strict=True))
    metrics, perfect = scored(tmp_path, words, range(5))
    assert metrics == ("entity_f1", "accuracy") and perfect == {"entity_f1": 1.0, "accuracy": 1.0}
    assert f"tokens: {name} labels of entities: x, y" in capsys.readouterr().out
    assert scored(tmp_path, words, (0, 2, 3, 4))[1]["entity_f1"] < 1


@pytest.mark.parametrize("labels", ["NN VB NN , NN", "0 1 2 0 0"])
def test_plain_labels_are_scored_word_by_word(labels, tmp_path, capsys):
    words = "".join(f"{w} {t}\n" for w, t in zip("abcde", labels.split(), strict=True))
    metrics, found = scored(tmp_path, words, (0, 1, 2, 3))
    assert metrics == ("accuracy", "macro_f1") and found["accuracy"] == 0.8
    said = capsys.readouterr().out
    assert "scored one by one" in said and ("numbers" in said) == (labels[0] == "0")
