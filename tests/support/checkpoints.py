"""Tiny models and folders of every format, and readers that share nothing with the converter."""

import json
import shutil
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from mobilebert_tf import build_model, load_model, save_model
from mobilebert_tf.convert import ConvertConfig, convert
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.text.tokenizer import WordPiece

FIXTURES = Path(__file__).parents[1] / "data" / "fixtures"
GOOGLE = ("student", "student_without_opt", "tiny", "teacher")
FORMATS = ("mobilebert", "google", "huggingface", "model-garden")
PREFIX = "mobilebert_variables.ckpt"

_TINY = {"vocab_size": 37, "num_hidden_layers": 1, "num_attention_heads": 2}
_TINY |= {"intermediate_size": 11, "max_position_embeddings": 17}
STUDENT = SIZES["mobilebert"].replace(
    **_TINY, hidden_size=13, embedding_size=7, intra_bottleneck_size=6, num_feedforward_networks=2
)
BERT = SIZES["bert-base"].replace(
    **_TINY, hidden_size=14, embedding_size=14, intra_bottleneck_size=14
)
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnop", *"ßé日"]
PIECES += [f"##{letter}" for letter in "abcdefghijklm"]
assert len(PIECES) == STUDENT.vocab_size == BERT.vocab_size


def run(source, dest, **options):
    """Converts; gives back the destination."""
    convert(ConvertConfig(str(source), str(dest), **options))
    return dest


def refusal(source, dest, **options):
    """The one line of a refused conversion, which must leave nothing."""
    before = sorted(dest.parent.iterdir()) if dest.parent.is_dir() else []
    with pytest.raises((InputError, OSError)) as error:  # what the door turns into one line
        run(source, dest, **options)
    assert (sorted(dest.parent.iterdir()) if dest.parent.is_dir() else []) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def write_every_format(folder):
    """One model in every format, and a BERT in ours and Hugging Face's."""
    model = write_model(folder / "mobilebert", pieces=PIECES)
    for name in FORMATS[1:]:
        run(model, folder / name, to=name)
    run(write_model(folder / "ours", BERT, pieces=PIECES), folder / "bert", to="huggingface")
    return folder


@cache
def random_model(config, head=None, labels=()):
    """Every weight random: zeros and ones would hide what is exchanged."""
    model = build_model(config, head, labels)
    rng = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape).astype("float32"))
    return model


def write_model(folder, config=STUDENT, head="pretraining", labels=(), pieces=None, lower=True):
    tokenizer = None if pieces is None else WordPiece(pieces, lower)
    save_model(random_model(config, head, labels), folder, tokenizer)
    return folder


def weights(model):
    model = load_model(model) if isinstance(model, Path) else model
    return {weight.path: weight.numpy() for weight in model.weights}


def stored(folder):
    """{place in the file: tensor} of a model directory, read without building the model."""
    found = {}

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(folder / "model.weights.h5") as file:
        file.visititems(add)
    return found


def assert_same_model(actual, expected):
    """Two model directories."""
    for file in ("config.json", "task.json"):
        assert json.loads((actual / file).read_text()) == json.loads((expected / file).read_text())
    assert_same_bits(stored(actual), stored(expected))


def assert_same_bits(actual, expected):
    """Of {name: tensor}."""
    assert sorted(actual) == sorted(expected)
    for name, tensor in expected.items():
        assert (actual[name].dtype, actual[name].shape) == (tensor.dtype, tensor.shape), name
        assert actual[name].tobytes() == tensor.tobytes(), name


def tensors(folder):
    """{name: tensor} of a foreign folder."""
    if (folder / "model.safetensors").is_file():
        return load_file(folder / "model.safetensors")
    (index,) = folder.glob("*.index")
    reader = tf.train.load_checkpoint(str(index.with_suffix("")))
    names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    return {name: np.asarray(reader.get_tensor(name)) for name in names}


def write_google(folder, tensors):
    tf.raw_ops.SaveV2(
        prefix=str(folder / PREFIX),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(tensor) for tensor in tensors.values()],
    )


def rewrite(folder, change):
    """Lets `change` edit the {name: tensor} of a Google or Hugging Face folder in place."""
    held = tensors(folder)
    change(held)
    if (folder / "model.safetensors").is_file():
        save_file(held, folder / "model.safetensors")
    else:
        write_google(folder, held)


def edit(path, **changes):
    """Changes keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def copy(source, dest):
    return Path(shutil.copytree(source, dest))
