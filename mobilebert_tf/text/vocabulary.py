"""Learns a WordPiece vocabulary from text."""

import collections
from collections.abc import Iterable

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers

from mobilebert_tf.errors import InputError
from mobilebert_tf.text.fast_tokenizer import LONGEST_WORD
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS

# The most frequent characters are pieces; words with others become [UNK]. The limit is at least a
# third of the vocabulary: with 1,000, a Chinese text of 2,000 characters had 5.6 % [UNK].
_ALPHABET_SIZE, _ALPHABET_SHARE = 1000, 1 / 3
# Bytes that the tokenizer takes. In a script without blanks a whole sentence may become a piece.
_LONGEST_PIECE = 256


def train_vocabulary(
    texts: Iterable[str],
    size: int,
    lower_case: bool = True,
    strip_accents: bool | None = None,
) -> list[str]:
    """Returns a WordPiece vocabulary of at most `size` pieces; equal texts give equal vocabularies.

    Args:
        texts: the texts to learn from.
        size: largest number of pieces.
        lower_case, strip_accents: as in WordPiece.

    Raises InputError for empty text, or a size too small for the text's characters.
    """
    texts = list(texts)
    learner = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    strip_accents = lower_case if strip_accents is None else strip_accents
    learner.normalizer = normalizers.BertNormalizer(
        lowercase=lower_case, strip_accents=strip_accents
    )
    if not strip_accents:  # WordPiece composes accents that it keeps
        learner.normalizer = normalizers.Sequence([learner.normalizer, normalizers.NFC()])
    # BERT takes longer words for [UNK]; the library would learn from one of a megabyte for hours.
    cut = pre_tokenizers.Split(Regex(f".{{{LONGEST_WORD}}}"), "isolated")
    learner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), cut])
    alphabet_size = max(_ALPHABET_SIZE, int(_ALPHABET_SHARE * size))
    initial, inner = _alphabet(texts, learner, alphabet_size)
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
    return [piece for piece in sorted(ids, key=ids.get) if len(piece.encode()) <= _LONGEST_PIECE]


def _alphabet(
    texts: list[str], learner: tokenizers.Tokenizer, size: int
) -> tuple[list[str], list[str]]:
    """Returns the `size` most frequent characters, and those that continue a word, both sorted."""
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
    initial = set(by_frequency[:size])
    inner = initial & set().union(*(word[1:] for word in words))
    return sorted(initial), sorted(inner)
