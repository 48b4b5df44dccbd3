"""`load` and `save` for every format of models."""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from mobilebert_tf.checkpoints import google, huggingface, model_garden, sentence_transformers
from mobilebert_tf.checkpoints.huggingface_tokenizer import (
    load_tokenizer_files,
    save_tokenizer_files,
)
from mobilebert_tf.checkpoints.tensorflow_file import find_prefix, is_object_based
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_json
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.heads import HEADS, Head
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.model_directory import (
    MODEL_FILES,
    WEIGHTS_FILE,
    check_size,
    check_vocabulary,
    load_model,
    load_tokenizer,
    load_weights,
    save_model,
)
from mobilebert_tf.text.tokenizer import WordPiece

FORMATS = ("mobilebert", "google", "huggingface", "model-garden")
# Names and patterns of the files that `save` writes.
SAVED_FILES = (
    *MODEL_FILES,
    *("model.safetensors", "tokenizer.json", "special_tokens_map.json"),
    *sentence_transformers.FILES,
    *("bert_config.json", "labels.txt", "checkpoint", "*.ckpt*.index", "*.ckpt*.data-*"),
)
_FOREIGN = {"google": google, "huggingface": huggingface, "model-garden": model_garden}
_HUB_FILES = ["*.json", "*.txt", "*.safetensors"]


@dataclass(frozen=True)
class LoadedModel:
    """A model loaded from any format.

    Args:
        model: the model.
        tokenizer: None if there is no vocabulary beside the weights.
        format: one of FORMATS.
        skipped: numbers of the file's tensors that the model does not have, by reason.
    """

    model: MobileBert
    tokenizer: WordPiece | None
    format: str
    skipped: Mapping[str, int] = field(default_factory=dict)


def detect(path: Path) -> str:
    """Returns the format, one of FORMATS, of a folder or checkpoint prefix.

    Raises InputError if it has none of them.
    """
    if (path / "config.json").is_file():
        ours = (path / WEIGHTS_FILE).is_file() or _is_our_config(path / "config.json")
        return "mobilebert" if ours else "huggingface"
    prefix = find_prefix(path)
    if prefix is not None:
        return "model-garden" if is_object_based(prefix) else "google"
    if not path.exists():
        raise InputError(
            f"{path} does not exist; a model of the hub needs a folder here first: "
            f"python -m mobilebert_tf.convert {path} FOLDER --from huggingface"
        )
    if (path / "saved_model.pb").is_file():
        raise InputError(
            f"{path} is a SavedModel, a graph whose weights have no names that we know: give the "
            "checkpoint that it was made from"
        )
    raise InputError(
        f"{path} is no model: no config.json (ours, Hugging Face's) and no checkpoint (*.index)"
    )


def _is_our_config(path: Path) -> bool:
    """Returns whether a config.json is that of a model directory, which knows no other keys."""
    return read_json(path).keys() <= {field.name for field in dataclasses.fields(ModelConfig)}


def load(
    path: str | Path,
    name: str = "auto",
    config: ModelConfig | None = None,
    encoder_only: bool = False,
) -> LoadedModel:
    """Returns the model of a model directory, checkpoint, Hugging Face folder or hub id.

    Args:
        path: a folder, the prefix of a TensorFlow checkpoint, or with name "huggingface" a hub id.
        name: one of FORMATS, or "auto" to detect it.
        config: of a TensorFlow checkpoint, in place of the bert_config.json beside it.
        encoder_only: leave out the head of a Hugging Face folder, which then may be one that we do
            not have.

    Raises InputError if it has another format, is damaged, or does not fit its config.
    """
    name = detect(Path(path)) if name == "auto" else name
    if name == "huggingface" and not Path(path).exists():
        path = _from_hub(str(path))
    path = Path(path)
    if config is not None and name not in ("google", "model-garden"):
        raise InputError(f"a {name} folder has its own config.json: leave out `model_config`")
    loaded = (
        _load_ours(path)
        if name == "mobilebert"
        else _load_foreign(path, name, config, encoder_only)
    )
    if loaded.tokenizer is not None:
        check_vocabulary(loaded.model, loaded.tokenizer)
    return loaded


def _load_ours(path: Path) -> LoadedModel:
    tokenizer = load_tokenizer(path) if (path / "vocab.txt").is_file() else None
    return LoadedModel(load_model(path), tokenizer, "mobilebert")


def _load_foreign(
    path: Path, name: str, config: ModelConfig | None, encoder_only: bool
) -> LoadedModel:
    if name == "huggingface":
        checkpoint = huggingface.open_checkpoint(path, encoder_only)
    else:
        checkpoint = _FOREIGN[name].open_checkpoint(path, config)
    folder = path if path.is_dir() else path.parent
    numbers = sum(map(math.prod, checkpoint.shapes.values()))
    size = sum(file.stat().st_size for file in folder.iterdir())
    check_size(checkpoint.config, numbers, size, checkpoint.source)
    model = MobileBert(checkpoint.config, checkpoint.head)
    checkpoint.assign(model)
    return LoadedModel(model, load_tokenizer_files(folder), name, checkpoint.skipped())


def load_into(model: MobileBert, directory: Path, name: str) -> None:
    """Loads the weights into `model` that `save` wrote for it."""
    if name == "mobilebert":
        load_weights(model, directory)
    elif name == "huggingface":
        huggingface.open_checkpoint(directory).assign(model)
    else:
        _FOREIGN[name].open_checkpoint(directory, None).assign(model)


def supported_part(config: ModelConfig, head: Head, name: str) -> tuple[ModelConfig, Head]:
    """Returns config and head of the part of a model that a format can hold.

    Args:
        config, head: of the model.
        name: one of FORMATS.
    """
    if name == "model-garden" and head.kind == "pretraining":  # its next sentence head differs
        head = dataclasses.replace(head, kind="masked_lm")
    if name == "huggingface" and HEADS[head.kind].by_token and not head.reads_pooler:
        config = config.replace(classifier_activation=False)
    if name in ("google", "model-garden"):
        head = dataclasses.replace(
            head, sequence_length=None, metric=None, pairs=None, pooling="first", normalized=False
        )
    return config, head


def save(model: MobileBert, tokenizer: WordPiece | None, directory: Path, name: str) -> None:
    """Writes a model into an existing folder.

    Args:
        model: with the config and head of its `supported_part`.
        tokenizer: written too, unless None.
        directory: the folder.
        name: one of FORMATS.

    Raises InputError if the format cannot hold the model.
    """
    if name == "mobilebert":
        save_model(model, directory, tokenizer)
        return
    _FOREIGN[name].save_checkpoint(model, directory)
    if tokenizer is None:
        return
    if name == "huggingface":
        family = huggingface.FAMILIES[huggingface.model_type(model.config, model.head)]
        longest = model.config.max_position_embeddings
        save_tokenizer_files(tokenizer, directory, family, longest)
    else:
        tokenizer.save_files(directory)


def _from_hub(name: str) -> str:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise InputError(f"{name} does not exist")
    try:
        folder = snapshot_download(name, allow_patterns=_HUB_FILES)
        if not list(Path(folder).glob("*.safetensors")):
            folder = snapshot_download(name, allow_patterns=["pytorch_model*"])
        return folder
    except (OSError, HFValidationError) as error:
        raise InputError(
            f"{name} is no folder here, and the hub did not give it ({str(error).splitlines()[0]}):"
            f" where there is a network run `hf download {name} --local-dir FOLDER`, then pass "
            "FOLDER"
        ) from None
