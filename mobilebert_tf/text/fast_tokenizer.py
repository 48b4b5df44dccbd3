"""BERT's tokenizer from Hugging Face's tokenizers library, for a given vocabulary."""

from collections.abc import Sequence

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

LONGEST_WORD = 100  # characters; BERT takes a longer word for one [UNK]


def build_fast_tokenizer(vocabulary: Sequence[str], lower_case: bool) -> tokenizers.Tokenizer:
    """Returns the library's BERT tokenizer. It adds no special tokens around a text.

    It splits ASCII text as BERT does, but not all Unicode text; text/tokenizer.py does.

    Args:
        vocabulary: the pieces in id order.
        lower_case: lower-case the text and strip its accents.
    """
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    model = models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
