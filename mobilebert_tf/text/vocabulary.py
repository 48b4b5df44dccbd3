"""Learns a WordPiece vocabulary from text."""

import collections
from collections.abc import Iterable

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from mobilebert_tf.errors import InputError
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS

_ALPHABET_SIZE = 1000  # the most frequent characters; words with others become [UNK]


def train_vocabulary(texts: Iterable[str], size: int, lower_case: bool = True) -> list[str]:
    """Returns a WordPiece vocabulary of at most `size` pieces; equal texts give equal vocabularies.

    Raises InputError for empty text, or a size too small for the text's characters.
    """
    texts = list(texts)
    learner = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    initial, inner = _alphabet(texts, learner)
    # The library orders the "##" characters by a hash map, differently in each run, and all later
    # pieces depend on that order. As special tokens they keep ours. The alphabet is given for the
    # same reason: the library would choose among equally frequent characters by chance.
    fixed = [*SPECIAL_TOKENS, *(f"##{character}" for character in inner)]
    if size < len(fixed) + len(initial):
        raise InputError(
            f"a vocabulary of {size} pieces is too small: this text's characters and the special "
            f"tokens alone take {len(fixed) + len(initial)}"
        )
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=fixed,
        initial_alphabet=initial,
        limit_alphabet=len(initial),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    ids = learner.get_vocab()
    return sorted(ids, key=ids.get)


def _alphabet(texts: list[str], learner: tokenizers.Tokenizer) -> tuple[list[str], list[str]]:
    """Returns the most frequent characters, and those of them that continue a word, both sorted."""
    words = collections.Counter()
    for text in texts:
        normal = learner.normalizer.normalize_str(text)
        words.update(word for word, _ in learner.pre_tokenizer.pre_tokenize_str(normal))
    if not words:
        raise InputError("no vocabulary can be learnt from empty text")
    counts = collections.Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    by_frequency = sorted(counts, key=lambda character: (-counts[character], character))
    initial = set(by_frequency[:_ALPHABET_SIZE])
    inner = initial & set().union(*(word[1:] for word in words))
    return sorted(initial), sorted(inner)
