"""Hugging Face's tokenizer files: vocab.txt, tokenizer_config.json, tokenizer.json."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import tokenizers
from tokenizers import decoders, normalizers, processors

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_json
from mobilebert_tf.modeling.model_directory import load_tokenizer
from mobilebert_tf.text.fast_tokenizer import build_fast_tokenizer
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece

# The only values that we support of settings that change how a text is split. The last four are
# those of Japanese BERTs.
SUPPORTED = {
    "tokenize_chinese_chars": True,
    "do_basic_tokenize": True,
    "never_split": None,
    "word_tokenizer_type": "basic",
    "subword_tokenizer_type": "wordpiece",
    "do_word_tokenize": True,
    "do_subword_tokenize": True,
}
# Classes of transformers that split a text as BertTokenizer does, without their ending "Fast".
_BERT_CLASSES = (
    *("BertTokenizer", "ConvBertTokenizer", "DistilBertTokenizer", "DPRContextEncoderTokenizer"),
    *("DPRQuestionEncoderTokenizer", "ElectraTokenizer", "LayoutLMTokenizer", "LxmertTokenizer"),
    *("MobileBertTokenizer", "RetriBertTokenizer", "SqueezeBertTokenizer"),
)
# Classes of any tokenizer, whose tokenizer.json says what it is.
_ANY_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")


def load_tokenizer_files(directory: Path) -> WordPiece | None:
    """Returns the tokenizer of vocab.txt or else tokenizer.json; None if a folder has neither.

    Raises InputError for files that are damaged, not of a BERT, or with unsupported settings.
    """
    if (directory / "vocab.txt").is_file():
        tokenizer = load_tokenizer(directory)
        _check_settings(directory / "tokenizer_config.json")
        _check_class(directory)
    elif (directory / "tokenizer.json").is_file():
        tokenizer = _from_json(directory / "tokenizer.json")
    else:
        return None
    return _with_added_tokens(tokenizer, directory)


def _check_settings(path: Path) -> None:
    values = read_json(path) if path.is_file() else {}
    for key, value in SUPPORTED.items():
        if values.get(key) not in (None, value):
            raise InputError(f"{path}: {key} is {values[key]}, only {value} is supported")


def _check_class(directory: Path) -> None:
    """Raises InputError if transformers would read a folder's vocab.txt by another tokenizer.

    tokenizer_config.json names its class, in older folders config.json.
    """
    for path in (directory / "tokenizer_config.json", directory / "config.json"):
        name = read_json(path).get("tokenizer_class") if path.is_file() else None
        if name is not None:
            break
    if name is None or str(name).removesuffix("Fast") in _BERT_CLASSES:
        return
    if name not in _ANY_CLASSES:
        raise InputError(
            f"{path}: tokenizer_class is {name}, which is not known to split texts as BertTokenizer"
        )
    if (directory / "tokenizer.json").is_file():
        _from_json(directory / "tokenizer.json")


def _from_json(path: Path) -> WordPiece:
    try:
        values = read_json(path)
        ids, normalizer = values["model"]["vocab"], values["normalizer"]
        if normalizer["type"] == "Sequence":  # we save BertNormalizer with NFC behind it
            normalizer = normalizer["normalizers"][0]
        kinds = (values["model"]["type"], normalizer["type"], values["pre_tokenizer"]["type"])
        lower_case, strip_accents = normalizer["lowercase"], normalizer.get("strip_accents")
        pieces = sorted(ids, key=ids.get)
        contiguous = [ids[piece] for piece in pieces] == list(range(len(pieces)))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{path} is no tokenizer file of a BERT: {error!r}") from None
    if kinds != ("WordPiece", "BertNormalizer", "BertPreTokenizer") or not contiguous:
        raise InputError(f"{path} is no WordPiece tokenizer of a BERT, but {kinds}")
    if not all(isinstance(value, bool | None) for value in (lower_case, strip_accents)):
        raise InputError(f"{path}: lowercase and strip_accents must be true or false")
    for key in ("clean_text", "handle_chinese_chars"):
        if normalizer.get(key) not in (None, True):
            raise InputError(f"{path}: {key} is {normalizer[key]}, only True is supported")
    try:
        return WordPiece(pieces, lower_case, strip_accents)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _with_added_tokens(tokenizer: WordPiece, directory: Path) -> WordPiece:
    """Returns the tokenizer with the tokens that somebody added to it: words join the vocabulary.

    Raises InputError for those that are no word to BERT, such as <joy>: it would split them.
    """
    added, vocabulary = _added_tokens(directory), list(tokenizer.vocabulary)
    fast = build_fast_tokenizer(vocabulary, tokenizer.lower_case, tokenizer.strip_accents)
    joined, refused = [], []
    for i, token in sorted(added.items()):
        # The user has renamed this token in vocab.txt, as the error below advises.
        is_renamed = i < len(vocabulary) and vocabulary[i] != token
        if token in SPECIAL_TOKENS or token.startswith("[unused") or is_renamed:
            continue
        word = fast.normalizer.normalize_str(token)
        is_word = len(fast.pre_tokenizer.pre_tokenize_str(word)) == 1 and word.strip() == word
        if not is_word or (i >= len(vocabulary) and (i > len(vocabulary) or word in vocabulary)):
            refused.append(token)
        elif i == len(vocabulary):
            vocabulary.append(word)
            joined.append(token)
    if refused:
        raise InputError(
            f"{directory} has added tokens that WordPiece cannot read ({_some(refused)}): give "
            "each its line of vocab.txt, by its id, a name of letters that no text holds, such as "
            "addedjoy for <joy>, and write that name in the texts"
        )
    if not joined:
        return tokenizer
    print(f"{directory}: added tokens are read as words: {_some(joined)}", file=sys.stderr)
    return WordPiece(vocabulary, tokenizer.lower_case, tokenizer.strip_accents)


def _some(tokens: list[str]) -> str:
    return ", ".join(tokens[:5]) + (f" and {len(tokens) - 5} more" if len(tokens) > 5 else "")


def _added_tokens(directory: Path) -> dict[int, str]:
    """Returns the added tokens by id, those of BERT among them.

    They stand in different files by the version of transformers that wrote the folder.
    """
    found: dict[int, str] = {}
    for name, read in _ADDED.items():
        path = directory / name
        try:
            found |= read(read_json(path)) if path.is_file() else {}
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError(f"{path} names no added tokens: {error!r}") from None
    return found


def _of_decoder(values: Mapping) -> dict[int, str]:
    added = values.get("added_tokens_decoder") or {}
    return {int(i): str(token["content"]) for i, token in added.items()}


# {file: function that returns its added tokens by id}
_ADDED = {
    "added_tokens.json": lambda values: {int(i): str(token) for token, i in values.items()},
    "tokenizer_config.json": _of_decoder,
    "tokenizer.json": lambda values: {
        int(token["id"]): str(token["content"]) for token in values.get("added_tokens") or ()
    },
}


def save_tokenizer_files(tokenizer: WordPiece, directory: Path, family: str, longest: int) -> None:
    """Writes the tokenizer files of transformers and tokenizers into an existing folder.

    Args:
        tokenizer: to write.
        directory: the folder.
        family: prefix of the class names of transformers, MobileBert or Bert.
        longest: number of tokens that the model takes.
    """
    tokenizer.save(directory / "vocab.txt")
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    special = dict(zip(names, SPECIAL_TOKENS, strict=True))
    accents_follow_case = tokenizer.strip_accents == tokenizer.lower_case
    settings = {
        "tokenizer_class": f"{family}Tokenizer",
        "do_lower_case": tokenizer.lower_case,
        "strip_accents": None if accents_follow_case else tokenizer.strip_accents,
        "tokenize_chinese_chars": True,
        "model_max_length": longest,
    }
    for name, values in (
        ("tokenizer_config.json", settings | special),
        ("special_tokens_map.json", special),
    ):
        text = json.dumps(values, indent=2)
        (directory / name).write_text(text + "\n", encoding="utf-8")
    text = _with_special_tokens(tokenizer).to_str(pretty=True)
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")


def _with_special_tokens(tokenizer: WordPiece) -> tokenizers.Tokenizer:
    """Returns a tokenizer of the tokenizers library, set up as transformers does for a BERT."""
    fast = build_fast_tokenizer(tokenizer.vocabulary, tokenizer.lower_case, tokenizer.strip_accents)
    # BertTokenizer composes accents that it does not strip; BertNormalizer does not.
    if not tokenizer.strip_accents:
        fast.normalizer = normalizers.Sequence([fast.normalizer, normalizers.NFC()])
    fast.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", tokenizer.cls_id), ("[SEP]", tokenizer.sep_id)],
    )
    fast.decoder = decoders.WordPiece()
    fast.add_special_tokens(list(SPECIAL_TOKENS))
    return fast
