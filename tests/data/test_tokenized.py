"""Sentences and tokens of paragraphs: Python's way for plain text equals TensorFlow's for all."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilebert_tf.data.tokenized import _plain_sentences, _sentences, tokenize_paragraphs
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece

LETTERS = "abceinoprstuxyz"
PIECES = [*SPECIAL_TOKENS, *LETTERS, *(f"##{c}" for c in LETTERS), *"ABX.!?()\"'[]%é。", "##é"]
MARKS = ["a", "Ab", " X", ". ", "! ", "?", ".", '."', "'", "(B", "]", "%", "  ", "No. Yes. "]
OTHERS = ["é", "。", "“", "\t", "\ud800"]
PLAIN = st.lists(st.sampled_from(MARKS), max_size=14).map("".join)
MIXED = st.lists(st.sampled_from([*MARKS, *OTHERS]), max_size=9).map("".join)
TOKENIZERS = {lower_case: WordPiece(PIECES, lower_case) for lower_case in (False, True)}


@settings(max_examples=60, deadline=None)
@given(st.lists(PLAIN, min_size=1, max_size=20))
def test_plain_sentences_are_those_of_all_text(texts):
    expected = [[s.decode() for s in row] for row in _sentences(tf.constant(texts)).to_list()]
    assert [_plain_sentences(text) for text in texts] == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(PLAIN, MIXED), max_size=6), st.booleans())
def test_tokens_of_paragraphs_together_are_those_of_each(paragraphs, lower_case):
    tokenizer = TOKENIZERS[lower_case]
    together = tokenize_paragraphs(paragraphs, tokenizer)
    sentences = [
        [s for s in _sentences(tf.constant([p.encode("utf-8", "ignore")]))[0].numpy()]
        for p in paragraphs
    ]
    ids = [[tokenizer.tokenize(tf.constant([s])).flat_values.numpy() for s in r] for r in sentences]
    kept = [[row for row in of_one if len(row)] for of_one in ids]
    flat = [row for of_one in kept for row in of_one]
    assert together.tokens.tolist() == [token for row in flat for token in row]
    assert together.sentence_tokens.tolist() == [len(row) for row in flat]
    assert together.paragraph_sentences.tolist() == [len(of_one) for of_one in kept]
    assert together.tokens.dtype == np.int32
