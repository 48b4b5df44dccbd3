"""Documents from files and from the embedded corpus, and what is held out of them."""

import gzip
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilebert_tf.data import corpus, docs_corpus
from mobilebert_tf.data.corpus import load_documents, split_held_out
from mobilebert_tf.errors import InputError

TEXT = "One.\nTwo.\n\n\n  Three.  \n \nFour.\r\nFive."
DOCUMENTS = [["One.", "Two."], ["Three."], ["Four.", "Five."]]


def test_blank_lines_end_documents(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())  # with the mark that Windows editors write
    assert load_documents(str(path)) == DOCUMENTS
    assert load_documents([str(path), str(path)]) == DOCUMENTS * 2


def test_gzip_folders_and_patterns(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "z.txt").write_text("Last.\n")
    (tmp_path / "b" / "note.md").write_text("Not text.\n")
    (tmp_path / "b" / "empty.txt").write_text("")
    with gzip.open(tmp_path / "a.txt.gz", "wt") as file:
        file.write(TEXT)
    assert load_documents(str(tmp_path)) == [*DOCUMENTS, ["Last."]]
    assert load_documents(str(tmp_path / "*" / "z*")) == [["Last."]]
    assert load_documents(str(tmp_path / "**" / "*.txt*")) == [*DOCUMENTS, ["Last."]]
    assert load_documents(str(tmp_path / "?")) == [["Last."]]  # a pattern may name folders


def test_a_file_named_like_a_pattern(tmp_path):
    path = tmp_path / "a[1].txt"
    path.write_text("One.")
    assert load_documents(str(path)) == [["One."]]


GZIP = gzip.compress(b"One line.\n" * 10_000)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "no file, folder or match"),
        ("empty.txt", b"", "holds no text"),
        ("blank.txt", b" \n\n\t\n", "holds no text"),
        ("binary.txt", b"One.\nTw\0o.\n", "a zero byte"),
        ("latin.txt", "One.\nZwölf.\n".encode("latin-1"), r"not UTF-8 \(byte 7\).*iconv"),
        ("half.txt", "Zwölf.\nEins.\n".encode() + b"\xc3", r"not UTF-8 \(byte 14\)$"),
        ("wide.txt", "One.\n".encode("utf-16"), "a zero byte near 0: .*iconv -f UTF-16"),
        ("cut.txt.gz", GZIP[:-20], "cut off gzip"),
        ("damaged.txt.gz", GZIP[:20] + b"\xff" * 20 + GZIP[40:], "damaged"),
        ("plain.txt.gz", b"One.\n", "damaged"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        load_documents(str(path))
    assert str(path) in str(error.value)


def test_bad_folders_and_empty_lists(tmp_path):
    with pytest.raises(InputError, match="no .txt"):
        load_documents(str(tmp_path))
    with pytest.raises(InputError, match="no corpus is named"):
        load_documents([])


# ---------------------------------------------------------------------------------------------
# Held-out text
# ---------------------------------------------------------------------------------------------

MANY = [[f"Document {i}.", f"It says {i * i}."] for i in range(500)]


def test_held_out_share_and_nothing_lost():
    train, held_out = split_held_out(MANY, 0.1)
    assert 30 <= len(held_out) <= 70  # binomial: 50 +- 3 * 6.7
    assert sorted(train + held_out) == sorted(MANY)
    assert train == [d for d in MANY if d in train]  # the order stays


def test_each_document_keeps_its_side():
    train, held_out = split_held_out(MANY, 0.1)
    shuffled = random.Random(0).sample(MANY[:300], 300)
    train_again, held_out_again = split_held_out(shuffled, 0.1)
    assert all(d in train for d in train_again)
    assert all(d in held_out for d in held_out_again)


def test_a_larger_fraction_only_adds():
    fewer, more = split_held_out(MANY, 0.05)[1], split_held_out(MANY, 0.3)[1]
    assert len(fewer) < len(more) and all(d in more for d in fewer)


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), max_size=3), min_size=2, max_size=8),
    st.floats(0.01, 0.99),
)
def test_no_paragraph_on_both_sides(shared, fraction):
    documents = [[f"Only {i}.", *paragraphs] for i, paragraphs in enumerate(shared)]
    train, held_out = split_held_out(documents, fraction)
    assert len(train) + len(held_out) == len(documents) and train and held_out
    assert all(document in documents for document in train)
    assert not {p for d in train for p in d} & {p for d in held_out for p in d}


def test_nothing_is_left_to_hold_out():
    pairs = ([["A."], ["A.", f"{i}."]] for i in range(100))
    short_one_held_out = next(
        p for p in pairs if corpus.document_hash(p[0]) < corpus.document_hash(p[1])
    )
    with pytest.raises(InputError, match="every paragraph also occurs"):
        split_held_out(short_one_held_out, 0.01)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
def test_small_corpora_have_both_sides(count, fraction):
    train, held_out = split_held_out(MANY[:count], fraction)
    assert len(train) + len(held_out) == count and train and held_out


@pytest.mark.parametrize(
    ("documents", "fraction", "message"),
    [
        ([], 0.1, "two or more"),
        ([["a"]], 0.1, "two or more"),
        ([["a"], ["a"]], 0.1, "two or more"),
        (MANY, 0, "between 0 and 1"),
        (MANY, 1.0, "between 0 and 1"),
    ],
)
def test_impossible_splits(documents, fraction, message):
    with pytest.raises(InputError, match=message):
        split_held_out(documents, fraction)


# ---------------------------------------------------------------------------------------------
# "docs"
# ---------------------------------------------------------------------------------------------

MODULE = '''"""The module has one sentence of prose here.

Parameters
----------
x : array_like
    Values that are to be added up by the function.
y: The other values, which are added to the first ones
  after all of them have been rounded.

>>> add(1, 2) is a line of code and no sentence at all.

Use the :func:`numpy.add` function or ``add`` for *adding* these numbers.
"""
topics = {"a": "A long text about the first of all the topics.\\n"}

class Adder:
    def add(self):
        """It is an adder that adds whatever it is given."""
        return "This is a string within the code and not documentation."
'''


def test_prose_of_a_module():
    found = [docs_corpus._without_markup(p) for p in docs_corpus._paragraphs_of_module(MODULE)]
    assert [p for p in found if docs_corpus._is_prose(p)] == [
        "The module has one sentence of prose here.",
        "Values that are to be added up by the function.",
        "The other values, which are added to the first ones after all of them have been rounded.",
        "Use the numpy.add function or add for adding these numbers.",
        "A long text about the first of all the topics.",
        "It is an adder that adds whatever it is given.",
    ]


def test_a_module_that_does_not_parse_is_left_out():
    assert list(docs_corpus._paragraphs_of_module('"""Text."""\ndef (')) == []


def test_embedded_corpus(monkeypatch):
    monkeypatch.setattr(docs_corpus, "_PACKAGES", ("tensorflow_text",))  # the whole takes too long
    documents = load_documents()
    assert documents == load_documents("docs")
    paragraphs = [p for document in documents for p in document]
    assert len(paragraphs) == len(set(paragraphs)) > 2000
    assert all(documents) and sum(map(len, paragraphs)) > 300_000
    assert not [p for p in paragraphs if "\n" in p or ">>>" in p or "`" in p]


def test_embedded_corpus_names_a_missing_package(monkeypatch):
    monkeypatch.setattr(docs_corpus, "_PACKAGES", ("no_such_package",))
    with pytest.raises(InputError, match="no_such_package"):
        load_documents("docs")
