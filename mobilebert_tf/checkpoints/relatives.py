"""BERT's relatives in Hugging Face's folders: DistilBERT and ELECTRA, read as the BERTs they are.

DistilBERT is a BERT without segments and without a pooler. ELECTRA is one without a pooler, if its
embeddings are as wide as its blocks. Here their config keys and tensor names become BERT's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilebert_tf.checkpoints.torch_files import TensorFiles
from mobilebert_tf.errors import InputError


@dataclass(frozen=True)
class Relative:
    """A kind of model whose encoder is a BERT.

    Args:
        prefix: of Hugging Face's class names.
        heads: suffixes of the classes whose heads are BERT's.
        keys: {key of its config.json: BERT's} where they differ.
        defaults: of BERT's keys that its config.json leaves out, where they differ from BERT's.
        names: (pattern of a tensor's name, what stands there in BERT's name); the first fits.
    """

    prefix: str
    heads: tuple[str, ...]
    keys: Mapping[str, str]
    defaults: Mapping[str, Any]
    names: tuple[tuple[str, str], ...]


_LAYER = r"\.transformer\.layer\.(\d+)\."
_ENCODER = r".encoder.layer.\1."
RELATIVES = {
    "distilbert": Relative(
        "DistilBert",
        # A ReLU stands before the classifiers of whole texts, in BERT's pooler a tanh.
        heads=("Model", "ForMaskedLM", "ForQuestionAnswering", "ForTokenClassification"),
        keys={
            "dim": "hidden_size",
            "n_layers": "num_hidden_layers",
            "n_heads": "num_attention_heads",
            "hidden_dim": "intermediate_size",
            "activation": "hidden_act",
            "dropout": "hidden_dropout_prob",
            "attention_dropout": "attention_probs_dropout_prob",
        },
        defaults={"num_hidden_layers": 6, "type_vocab_size": 1},
        names=(
            (rf"{_LAYER}attention\.q_lin", rf"{_ENCODER}attention.self.query"),
            (rf"{_LAYER}attention\.k_lin", rf"{_ENCODER}attention.self.key"),
            (rf"{_LAYER}attention\.v_lin", rf"{_ENCODER}attention.self.value"),
            (rf"{_LAYER}attention\.out_lin", rf"{_ENCODER}attention.output.dense"),
            (rf"{_LAYER}sa_layer_norm", rf"{_ENCODER}attention.output.LayerNorm"),
            (rf"{_LAYER}ffn\.lin1", rf"{_ENCODER}intermediate.dense"),
            (rf"{_LAYER}ffn\.lin2", rf"{_ENCODER}output.dense"),
            (rf"{_LAYER}output_layer_norm", rf"{_ENCODER}output.LayerNorm"),
            (r"^\.vocab_transform", "cls.predictions.transform.dense"),
            (r"^\.vocab_layer_norm", "cls.predictions.transform.LayerNorm"),
            (r"^\.vocab_projector", "cls.predictions.decoder"),
        ),
    ),
    "electra": Relative(
        "Electra",
        heads=("Model", "ForQuestionAnswering", "ForTokenClassification"),
        keys={},
        defaults={"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
        names=(),
    ),
}
_NOT_WORDPIECE = "its tokenizer is not WordPiece"
_RELATIVE_POSITIONS = "its attention has relative positions"
# {model_type: why it is none of ours}, of those that are often taken for a BERT.
OTHERS = {
    "albert": f"{_NOT_WORDPIECE}, and its blocks share their weights",
    "camembert": _NOT_WORDPIECE,
    "deberta": _RELATIVE_POSITIONS,
    "deberta-v2": _RELATIVE_POSITIONS,
    "modernbert": "it has rotary positions and gated feed-forward networks",
    "mpnet": _RELATIVE_POSITIONS,
    "roberta": _NOT_WORDPIECE,
    "xlm-roberta": _NOT_WORDPIECE,
}


def bert_config(values: Mapping, path: Path, encoder_only: bool) -> dict:
    """Returns the config.json of a relative as that of a BERT.

    Args:
        values: of the relative.
        path: of its file, for messages.
        encoder_only: whether its head does not matter.

    Raises InputError if its encoder or its head is no BERT's.
    """
    family = values["model_type"]
    relative = RELATIVES[family]
    told = {**relative.defaults, **{relative.keys.get(key, key): v for key, v in values.items()}}
    width = values.get("embedding_size", 128) if family == "electra" else told.get("hidden_size")
    if width != told.get("hidden_size"):
        raise InputError(
            f"{path}: an ELECTRA whose embeddings ({width}) are narrower than its blocks "
            f"({told['hidden_size']}) norms them before it widens them, a BERT after: only "
            "ELECTRAs of one width are supported, such as base and large"
        )
    architectures = []
    for architecture in values.get("architectures") or ():
        head = str(architecture).removeprefix(relative.prefix)
        if head not in relative.heads and not encoder_only:
            raise InputError(
                f"{path}: architectures has {architecture}, whose head is not BERT's: convert it "
                "with `head` encoder, which leaves the head out, and fine-tune"
            )
        architectures.append(f"Bert{head}")
    return told | {"model_type": "bert", "architectures": architectures}


class BertTensors:
    """The tensors of a relative by BERT's names: `shapes` and `read` as in TensorFiles.

    Args:
        files: of the relative.
        family: its model_type.
    """

    def __init__(self, files: TensorFiles, family: str):
        self.source, self._files = files.source, files
        self._names = {_bert_name(name, family): name for name in files.shapes}
        self.shapes = {name: files.shapes[theirs] for name, theirs in self._names.items()}
        words = next((n for n in self.shapes if n.endswith("word_embeddings.weight")), "")
        self._segments = words.replace("word_embeddings", "token_type_embeddings")
        if words and self._segments not in self.shapes:  # without segments: one, of zeros
            self.shapes[self._segments] = (1, self.shapes[words][-1])

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor, half precision as float32."""
        if name not in self._names:
            return np.zeros(self.shapes[name], np.float32)
        return self._files.read(self._names[name])


def _bert_name(name: str, family: str) -> str:
    relative = RELATIVES[family]
    dotted = f".{name}"
    for pattern, told in relative.names:
        changed = re.sub(pattern, told, dotted)
        if changed != dotted:
            dotted = changed
            break
    name = dotted.removeprefix(".")
    return re.sub(rf"^{family}\.", "bert.", name)
