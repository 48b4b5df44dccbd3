"""python -m mobilebert_tf.convert SOURCE DEST: MobileBERT, IB-BERT and BERT weights in and out.

What is written is read again from the disk and compared, bit for bit, with what it was made from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mobilebert_tf.checkpoints.formats import WRITTEN, Loaded, held, load, load_into, save
from mobilebert_tf.checkpoints.originals import run_original
from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import whole_directory
from mobilebert_tf.modeling.config import ModelConfig, load_model_config
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert, checksum, copy_weights
from mobilebert_tf.modeling.replace_vocabulary import replace_vocabulary
from mobilebert_tf.text.tokenizer import WordPiece

# Of the largest value: a mistaken weight gives about 1. Rounding gives 1e-6 for most models, but a
# NoNorm model with wild weights amplifies it, and Hugging Face's layer norms are 5e-3 off.
DISAGREEMENT = 0.1
_BATCH = (2, 16)  # of the comparison: texts and tokens


@dataclass(frozen=True)
class ConvertConfig:
    """What to convert.

    Args:
        source: a model directory, Google's or Model Garden's checkpoint, a Hugging Face folder.
        dest: the folder to write.
        from_: format of the source; auto tells by its files. huggingface takes a hub id too.
        to: format of the destination.
        head: encoder leaves the head out.
        vocab: a vocab.txt to change to; tokens of both keep their rows, new ones get the mean.
        model_config: a bert_config.json or named size, where none is beside a checkpoint.
        overwrite: replace dest, if it holds a model.
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
    source = load(config.source, config.from_, model_config)
    for reason, count in source.skipped.items():
        print(f"skipped {count} tensors: {reason}")
    model, tokenizer = _changed(source, config)
    came_from = source.format
    del source  # its model, if it is another one, has gigabytes
    with whole_directory(dest) as aside:
        save(model, tokenizer, aside, config.to)
        verified = _verify(model, aside, config, came_from)
    print(f"{came_from} -> {config.to}: {dest}")
    print(f"verified: {verified}")


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
    """Whether all that a folder holds, weights among it, may have been written by `save`."""
    written = {path for pattern in WRITTEN for path in folder.glob(pattern) if path.is_file()}
    weights = [path for path in written if path.suffix in (".h5", ".safetensors", ".index")]
    folders = {path.parent for path in written} - {folder}
    return bool(weights) and set(folder.rglob("*")) == written | folders


def _changed(source: Loaded, config: ConvertConfig) -> tuple[MobileBert, WordPiece | None]:
    """The model that is to be written: without what was not asked for, or has no place there."""
    model, tokenizer = source.model, source.tokenizer
    head = model.head
    if model.quantization and (config.to != "mobilebert" or config.head or config.vocab):
        print("left out: what quantization-aware training found, which is this model's alone")
    if config.head == "encoder" and head.kind != "encoder":
        head = Head()
    model = _reduced(model, *held(model.config, head, config.to))
    if (model.head.pooling, model.head.normalized) != (head.pooling, head.normalized):
        print("left out, without a place in the destination: how embeddings are pooled")
    if config.vocab is None:
        return model, tokenizer
    if tokenizer is None:
        raise InputError(f"{config.source} has no vocabulary to change from (vocab.txt)")
    new = WordPiece.from_file(config.vocab, tokenizer.lower_case)
    kept = len(set(tokenizer.vocabulary) & set(new.vocabulary))
    print(f"vocabulary: {len(tokenizer)} -> {len(new)} tokens, {kept} of both")
    return replace_vocabulary(model, tokenizer.vocabulary, new.vocabulary), new


def _reduced(model: MobileBert, config: ModelConfig, head: Head) -> MobileBert:
    """The same weights in a model with less of them."""
    if (config, head) == (model.config, model.head):
        return model
    reduced = MobileBert(config, head)
    copied = copy_weights(model, reduced)
    left = sorted({w.path.partition("/")[0] for w in model.weights if w.path not in copied})
    if left:
        print(f"left out, without a place in the destination: {', '.join(left)}")
    return reduced


def _verify(model: MobileBert, directory: Path, config: ConvertConfig, source: str) -> str:
    """Reads the destination into the model and compares weights and outputs; what it found.

    Raises InputError if anything differs.
    """
    before, outputs = checksum(model), _run(model)
    load_into(model, directory, config.to)
    if checksum(model) != before or (_run(model) != outputs).any():
        raise InputError(f"the {config.to} files do not give back what was written: not kept")
    found = [f"{len(model.weights)} tensors (sha256 {before[:12]}) and outputs equal bit for bit"]
    folder = Path(config.source)
    originals = [("destination", config.to, directory)]
    if config.vocab is None and folder.is_dir():
        originals.append(("source", source, folder))
    for side, name, path in originals:
        original = run_original(name, path, model.config, _batch(model.config))
        if original is not None:
            library, theirs = original
            error = float(np.abs(theirs - outputs).max() / np.abs(outputs).max())
            if not error <= DISAGREEMENT:  # NaN is none
                raise InputError(f"{library} computes something else from the {side}: {error:.1e}")
            found.append(f"{library} agrees on the {side} to {error:.1e}")
    return "; ".join(found)


def _batch(config: ModelConfig) -> dict[str, np.ndarray]:
    """Two texts of arbitrary tokens, the second one padded; int32 [B,T] each."""
    length = min(_BATCH[1], config.max_position_embeddings)
    ids = np.arange(_BATCH[0] * length).reshape(_BATCH[0], length) * 7919 % config.vocab_size
    mask = np.ones_like(ids)
    mask[1, length - length // 3 :] = 0
    segments = np.zeros_like(ids)
    segments[:, length // 2 :] = config.type_vocab_size > 1
    arrays = {"input_ids": ids * mask, "input_mask": mask, "segment_ids": segments * mask}
    return {name: array.astype(np.int32) for name, array in arrays.items()}


def _run(model: MobileBert) -> np.ndarray:
    """The sequence output [B,T,H] for the batch."""
    batch = _batch(model.config)
    if model.head.predicts_masks:
        batch["masked_lm_positions"] = np.zeros((_BATCH[0], 1), np.int32)
    return model(batch, training=False)["sequence_output"].numpy()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(convert, ConvertConfig, {"source": None, "dest": None}, arguments=arguments)


if __name__ == "__main__":
    main()
