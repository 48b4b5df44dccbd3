"""python -m mobilebert_tf.convert SOURCE DEST: converts MobileBERT, IB-BERT and BERT weights.

The result is read back from the disk and compared with the source bit for bit.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mobilebert_tf.checkpoints.formats import (
    SAVED_FILES,
    LoadedModel,
    load,
    load_into,
    save,
    supported_part,
)
from mobilebert_tf.checkpoints.reference_run import run_reference
from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import whole_directory
from mobilebert_tf.modeling.config import ModelConfig, load_model_config
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert, checksum, copy_weights
from mobilebert_tf.modeling.replace_vocabulary import replace_vocabulary
from mobilebert_tf.text.tokenizer import WordPiece, has_capitals

# Largest error of outputs, relative to the largest output. A wrong weight gives about 1, rounding
# 1e-6; but a NoNorm model with extreme weights amplifies rounding, and the epsilon of Hugging
# Face's layer norms differs, which gives up to 5e-3.
MAX_ERROR = 0.1
_BATCH = (2, 16)  # texts and tokens of the comparison


@dataclass(frozen=True)
class ConvertConfig:
    """Settings of a conversion.

    Args:
        source: a model directory, Google's or Model Garden's checkpoint, a Hugging Face folder (of
            a MobileBERT, BERT, DistilBERT or ELECTRA).
        dest: the folder to write.
        from_: format of the source; auto detects it. huggingface takes a hub id too.
        to: format of the destination.
        head: encoder converts the encoder without its head.
        vocab: a vocab.txt to change to; tokens of both vocabularies keep their embeddings, new
            ones get the mean.
        model_config: a bert_config.json or named size for a checkpoint that has none beside it.
        overwrite: replace dest if it holds a model.
    """

    source: str
    dest: str
    from_: Literal["auto", "mobilebert", "google", "huggingface", "model-garden"] = "auto"
    to: Literal["mobilebert", "google", "huggingface", "model-garden"] = "mobilebert"
    head: Literal["encoder"] | None = None
    vocab: str | None = None
    model_config: str | None = None
    overwrite: bool = False


def convert(config: ConvertConfig) -> None:
    """Converts a model between our directories, Google's TF1 checkpoints, Hugging Face's folders
    and Model Garden's TF2 checkpoints, and checks the result."""
    dest = Path(config.dest).resolve()
    _check_free(dest, config)
    model_config = load_model_config(config.model_config) if config.model_config else None
    source = load(config.source, config.from_, model_config, encoder_only=config.head == "encoder")
    for reason, count in source.skipped.items():
        print(f"skipped {count} tensors: {reason}")
    model, tokenizer = _model_to_write(source, config)
    source_format = source.format
    del source  # its model may be another one, of gigabytes
    with whole_directory(dest) as temporary:
        save(model, tokenizer, temporary, config.to)
        result = _verify(model, temporary, config, source_format)
    print(f"{source_format} -> {config.to}: {dest}")
    print(f"verified: {result}")


def _check_free(dest: Path, config: ConvertConfig) -> None:
    if not dest.exists() or (dest.is_dir() and not any(dest.iterdir())):
        return
    if not config.overwrite:
        raise InputError(f"{config.dest} exists: choose another folder, or `overwrite`")
    if not dest.is_dir() or not _is_only_a_model(dest):
        raise InputError(
            f"{config.dest} holds no model, or more than one: `overwrite` will not delete it"
        )
    if dest in (Path(config.source).resolve(), *Path(config.source).resolve().parents):
        raise InputError(f"{config.dest} is the source itself")


def _is_only_a_model(folder: Path) -> bool:
    """Returns whether a folder has weights, and no file that `save` does not write."""
    saved = {path for pattern in SAVED_FILES for path in folder.glob(pattern) if path.is_file()}
    weights = [path for path in saved if path.suffix in (".h5", ".safetensors", ".index")]
    folders = {path.parent for path in saved} - {folder}
    return bool(weights) and set(folder.rglob("*")) == saved | folders


def _model_to_write(
    source: LoadedModel, config: ConvertConfig
) -> tuple[MobileBert, WordPiece | None]:
    """Returns the part of the source that the user wants and the destination's format supports."""
    model, tokenizer = source.model, source.tokenizer
    if model.quantization and (config.to != "mobilebert" or config.head or config.vocab):
        print("left out: the ranges of quantization-aware training, which fit the source alone")
    if config.head == "encoder" and model.head.kind != "encoder":
        model = _reduced(model, model.config, Head(), "you want the encoder alone")
    supported = supported_part(model.config, model.head, config.to)
    model = _reduced(model, *supported, "the destination cannot hold it")
    if config.vocab is None:
        return model, tokenizer
    if tokenizer is None:
        raise InputError(f"{config.source} has no vocabulary to change from (vocab.txt)")
    new = WordPiece.from_file(config.vocab, tokenizer.lower_case, tokenizer.strip_accents)
    if new.lower_case and has_capitals(new.vocabulary) > has_capitals(tokenizer.vocabulary):
        raise InputError(
            f"{config.vocab} has pieces with capitals, the model reads text lower-cased"
        )
    common = len(set(tokenizer.vocabulary) & set(new.vocabulary))
    print(f"vocabulary: {len(tokenizer)} -> {len(new)} tokens, {common} in both")
    return replace_vocabulary(model, tokenizer.vocabulary, new.vocabulary), new


def _reduced(model: MobileBert, config: ModelConfig, head: Head, reason: str) -> MobileBert:
    """Returns a model of another config and head with those weights that both models have.

    Prints the layers and the head's settings that it leaves out, and the reason.
    """
    if (config, head) == (model.config, model.head):
        return model
    reduced = MobileBert(config, head)
    copied = copy_weights(model, reduced)
    layers = sorted({w.path.partition("/")[0] for w in model.weights if w.path not in copied})
    old, new = asdict(model.head), asdict(head)
    settings = [name for name in old if name != "kind" and old[name] and old[name] != new[name]]
    if layers or settings:
        print(f"left out, because {reason}: {', '.join(layers + settings)}")
    return reduced


def _verify(model: MobileBert, directory: Path, config: ConvertConfig, source_format: str) -> str:
    """Loads the written files into the model, compares weights and outputs, and returns a summary.

    Raises InputError if anything differs.
    """
    before, outputs = checksum(model), _run(model)
    load_into(model, directory, config.to)
    if checksum(model) != before or (_run(model) != outputs).any():
        raise InputError(f"the {config.to} files differ from the model: they are not kept")
    results = [f"{len(model.weights)} tensors (sha256 {before[:12]}) and outputs equal bit for bit"]
    folder = Path(config.source)
    checkpoints: list[tuple[str, str, Path]] = [("destination", config.to, directory)]
    if config.vocab is None and folder.is_dir():
        checkpoints.append(("source", source_format, folder))
    for side, name, path in checkpoints:
        reference = run_reference(name, path, model.config, _batch(model.config))
        if reference is not None:
            library, expected = reference
            error = float(np.abs(expected - outputs).max() / np.abs(outputs).max())
            if not error <= MAX_ERROR:  # NaN is refused too
                raise InputError(f"{library} computes something else from the {side}: {error:.1e}")
            results.append(f"{library} agrees on the {side} to {error:.1e}")
    return "; ".join(results)


def _batch(config: ModelConfig) -> dict[str, np.ndarray]:
    """Returns two texts of arbitrary tokens, the second one padded; int32 [B,T] each."""
    length = min(_BATCH[1], config.max_position_embeddings)
    ids = np.arange(_BATCH[0] * length).reshape(_BATCH[0], length) * 7919 % config.vocab_size
    mask = np.ones_like(ids)
    mask[1, length - length // 3 :] = 0
    segments = np.zeros_like(ids)
    segments[:, length // 2 :] = config.type_vocab_size > 1
    arrays = {"input_ids": ids * mask, "input_mask": mask, "segment_ids": segments * mask}
    return {name: array.astype(np.int32) for name, array in arrays.items()}


def _run(model: MobileBert) -> np.ndarray:
    """Returns the model's sequence output [B,T,H] for the batch."""
    batch = _batch(model.config)
    if model.head.predicts_masks:
        batch["masked_lm_positions"] = np.zeros((_BATCH[0], 1), np.int32)
    return model(batch, training=False)["sequence_output"].numpy()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(convert, ConvertConfig, {"source": None, "dest": None}, arguments=arguments)


if __name__ == "__main__":
    main()
