"""sentence-transformers' modules.json, which says how to pool tokens to a text's embedding."""

import json
from pathlib import Path
from typing import Any

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_json
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.heads import Head

MODULES_FILE = "modules.json"
POOLING_FILE = "1_Pooling/config.json"
FILES = (MODULES_FILE, POOLING_FILE)
MODULES = ("Transformer", "Pooling", "Normalize")  # in this order; the last one may be missing
# {key in the config of Pooling: our Head's pooling}
POOLINGS = {"pooling_mode_cls_token": "first", "pooling_mode_mean_tokens": "mean"}


def read_embedding(directory: Path) -> dict[str, Any]:
    """Returns a Head's pooling and normalized; an empty dict if a folder has no modules.json.

    Raises InputError for unsupported modules and kinds of pooling.
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
    return {"pooling": POOLINGS[modes[0]], "normalized": kinds == MODULES}


def write_embedding(config: ModelConfig, head: Head, directory: Path) -> None:
    """Writes the files of an encoder, but none for the output of a pooler with weights, which
    sentence-transformers does not have.

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
    (directory / POOLING_FILE).parent.mkdir()
    for name, values in ((MODULES_FILE, modules), (POOLING_FILE, pooling)):
        (directory / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
