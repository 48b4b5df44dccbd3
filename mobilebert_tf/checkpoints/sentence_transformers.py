"""sentence-transformers' modules.json and its relatives: how much of a text is read, and how its
tokens are pooled to an embedding."""

from pathlib import Path
from typing import Any

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_json, write_json
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.heads import Head

MODULES_FILE = "modules.json"
POOLING_FILE = "1_Pooling/config.json"
LENGTH_FILE = "sentence_bert_config.json"
FILES = (MODULES_FILE, POOLING_FILE, LENGTH_FILE)
MODULES = ("Transformer", "Pooling", "Normalize")  # in this order; the last one may be missing
# {key in the config of Pooling: our Head's pooling}
POOLINGS = {"pooling_mode_cls_token": "first", "pooling_mode_mean_tokens": "mean"}


def read_embedding(directory: Path, config: ModelConfig) -> dict[str, Any]:
    """Returns a Head's pooling, normalized and sequence_length; an empty dict if a folder has no
    modules.json.

    Raises InputError for unsupported modules and kinds of pooling, and for a bad length.
    """
    path = directory / MODULES_FILE
    if not path.is_file():
        return {}
    modules = read_json(path, list)
    try:  # "sentence_transformers.models.Pooling"
        kinds = tuple(module["type"].rpartition(".")[2] for module in modules)
        folders = [module["path"] for module in modules]
        pooling = directory / folders[1] / "config.json"
    except (TypeError, KeyError, AttributeError, IndexError):
        raise InputError(f"{path} is no list of sentence-transformers' modules") from None
    if kinds not in (MODULES, MODULES[:2]) or folders[0] != "":
        raise InputError(
            f"{path} has the modules {', '.join(kinds)}: only a Transformer in the folder itself, "
            "Pooling and Normalize are supported"
        )
    values = read_json(pooling)
    modes = [key for key, value in values.items() if key.startswith("pooling_mode") and value]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise InputError(
            f"{pooling} has {' and '.join(modes) or 'no pooling mode'}: only the first token "
            "(pooling_mode_cls_token) or the mean (pooling_mode_mean_tokens) is supported"
        )
    return {
        "pooling": POOLINGS[modes[0]],
        "normalized": kinds == MODULES,
        "sequence_length": _longest(directory, config),
    }


def _longest(directory: Path, config: ModelConfig) -> int | None:
    """Returns the number of tokens to which sentence-transformers cuts a text; None if that is all
    that the model takes.

    Older versions put the name of the model's class in the name of the file.
    """
    files = dict.fromkeys(sorted(directory.glob("sentence_*_config.json")), "max_seq_length")
    files[directory / "tokenizer_config.json"] = "model_max_length"
    for path, key in files.items():
        length = read_json(path).get(key) if path.is_file() else None
        if length is None:
            continue
        if isinstance(length, bool) or not isinstance(length, int | float) or length < 3:
            raise InputError(f"{path}: {key} is {length!r}, expected a number of tokens from 3")
        return int(length) if length < config.max_position_embeddings else None
    return None


def write_embedding(config: ModelConfig, head: Head, directory: Path) -> None:
    """Writes the files of an encoder.

    Writes nothing if the embedding comes from a pooler with weights: sentence-transformers has no
    such module.

    Raises InputError if such an output is normalized.
    """
    if head.pooling == "first" and config.classifier_activation:
        if head.normalized:
            raise InputError("sentence-transformers has no normalized output of a pooler's weights")
        return
    kinds = MODULES if head.normalized else MODULES[:2]
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{kind}" if index else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(kinds)
    ]
    pooling = {"word_embedding_dimension": config.hidden_size}
    pooling |= {theirs: ours == head.pooling for theirs, ours in POOLINGS.items()}
    length = {"max_seq_length": head.sequence_length or config.max_position_embeddings}
    (directory / POOLING_FILE).parent.mkdir()
    files = {MODULES_FILE: modules, POOLING_FILE: pooling, LENGTH_FILE: length}
    for name, values in files.items():
        write_json(directory / name, values)
