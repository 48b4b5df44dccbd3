"""A WordPiece vocabulary in the tokenizers library."""

from collections.abc import Sequence

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

LONGEST_WORD = 100  # characters; BERT takes a longer word for one [UNK]


def build_fast_tokenizer(vocabulary: Sequence[str], lower_case: bool) -> tokenizers.Tokenizer:
    """Returns the library's BERT tokenizer, without special tokens around a text.

    It splits ASCII text as BERT does, but not all of Unicode (text/tokenizer.py does).

    Args:
        vocabulary: the pieces in id order.
        lower_case: as in WordPiece.
    """
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    model = models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
