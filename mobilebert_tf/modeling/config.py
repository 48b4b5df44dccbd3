"""The architecture of a model, in the keys of Google's bert_config.json, and the named sizes."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from mobilebert_tf.errors import InputError, check_number
from mobilebert_tf.files import read_json

_DEEPEST = 1000  # layers, heads and feed-forward networks: to build more takes minutes
_MOST_PARAMETERS = 10**10


@dataclass(frozen=True)
class ModelConfig:
    """Every size of a MobileBERT, IB-BERT or plain BERT; keys and defaults are Google's.

    Args:
        vocab_size: number of WordPiece tokens.
        hidden_size: width of the feature maps between blocks.
        num_hidden_layers: number of blocks.
        num_attention_heads: attention heads of each block.
        intermediate_size: inner width of a feed-forward network.
        hidden_act: activation of the feed-forward networks and the masked LM transform; gelu is
            Google's tanh approximation, gelu_erf the exact function (Hugging Face's "gelu").
        hidden_dropout_prob: dropout of embeddings and of what a block adds to its input.
        attention_probs_dropout_prob: dropout of attention probabilities.
        max_position_embeddings: longest sequence, in tokens.
        type_vocab_size: number of segment ids.
        initializer_range: standard deviation of the truncated normal initializer.
        embedding_size: width of the word embeddings; hidden_size if null.
        trigram_input: embed each token together with its two neighbours (paper, section 3.1).
        use_bottleneck: linear bottlenecks around each block (paper, section 3.1).
        intra_bottleneck_size: width inside a block with bottlenecks; hidden_size if null.
        use_bottleneck_attention: query, key and value all read the input bottleneck (tiny).
        key_query_shared_bottleneck: query and key read a bottleneck of their own (MobileBERT).
        num_feedforward_networks: stacked feed-forward networks in a block (paper, section 3.2).
        normalization_type: true layer norm, or NoNorm: gamma * x + beta (paper, section 3.3).
        classifier_activation: whether the pooled output is tanh(dense(first token)).
    """

    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: Literal["gelu", "gelu_erf", "relu", "relu6"] = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 16
    initializer_range: float = 0.02
    embedding_size: int | None = None
    trigram_input: bool = False
    use_bottleneck: bool = False
    intra_bottleneck_size: int | None = None
    use_bottleneck_attention: bool = False
    key_query_shared_bottleneck: bool = False
    num_feedforward_networks: int = 1
    normalization_type: Literal["layer_norm", "no_norm"] = "layer_norm"
    classifier_activation: bool = True

    def __post_init__(self):
        for key in ("embedding_size", "intra_bottleneck_size"):
            if getattr(self, key) is None:
                object.__setattr__(self, key, self.hidden_size)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in (int, int | None):
                high = _DEEPEST if field.name.startswith("num_") else None
                check_number(field.name, value, 1, high)
            if field.name.endswith("dropout_prob"):
                check_number(field.name, value, 0, 1, below=True)
        check_number("initializer_range", self.initializer_range, 0, above=True)
        if self.encoder_parameters > _MOST_PARAMETERS:
            raise InputError(
                f"a model of this config has {self.encoder_parameters:,} parameters or more: at "
                f"most {_MOST_PARAMETERS:,} are supported"
            )
        if self.attention_size % self.num_attention_heads:
            key = "intra_bottleneck_size" if self.use_bottleneck else "hidden_size"
            raise InputError(
                f"{key} is {self.attention_size}: not a multiple of num_attention_heads "
                f"({self.num_attention_heads})"
            )
        if self.embedding_size > self.hidden_size:
            raise InputError(
                f"embedding_size is {self.embedding_size}: above hidden_size ({self.hidden_size}), "
                "but the masked LM output ties the word embeddings"
            )

    @property
    def attention_size(self) -> int:
        """Width inside a block, which the attention heads split."""
        return self.intra_bottleneck_size if self.use_bottleneck else self.hidden_size

    @property
    def head_size(self) -> int:
        return self.attention_size // self.num_attention_heads

    @property
    def encoder_parameters(self) -> int:
        """Number of parameters in embeddings and blocks, without the pooler.

        Computed without building a model: a damaged config must not make us allocate its size.
        """
        hidden, inner, wide = self.hidden_size, self.attention_size, self.intermediate_size
        embedding = self.embedding_size * (3 if self.trigram_input else 1)
        total = self.vocab_size * self.embedding_size + 2 * hidden  # a norm: gamma and beta
        total += (self.max_position_embeddings + self.type_vocab_size) * hidden
        if self.trigram_input or self.embedding_size != hidden:
            total += (embedding + 1) * hidden
        shared = self.use_bottleneck and self.key_query_shared_bottleneck
        query_key = inner if self.use_bottleneck_attention or shared else hidden
        value = inner if self.use_bottleneck_attention else hidden
        block = (2 * query_key + value + 3) * inner + (inner + 3) * inner  # attention
        block += self.num_feedforward_networks * ((inner + 1) * wide + (wide + 3) * inner)
        if self.use_bottleneck:
            block += (1 + shared) * (hidden + 3) * inner + (inner + 3) * hidden
        return total + self.num_hidden_layers * block

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def replace(self, **changes) -> "ModelConfig":
        return dataclasses.replace(self, **changes)


_STUDENT = ModelConfig(
    vocab_size=30522,
    hidden_size=512,
    num_hidden_layers=24,
    num_attention_heads=4,
    intermediate_size=512,
    hidden_act="relu",
    hidden_dropout_prob=0.0,
    type_vocab_size=2,
    embedding_size=128,
    trigram_input=True,
    use_bottleneck=True,
    intra_bottleneck_size=128,
    key_query_shared_bottleneck=True,
    num_feedforward_networks=4,
    normalization_type="no_norm",
    classifier_activation=False,
)
_TEACHER = _STUDENT.replace(
    intermediate_size=4096,
    hidden_act="gelu",
    hidden_dropout_prob=0.1,
    intra_bottleneck_size=1024,
    key_query_shared_bottleneck=False,
    num_feedforward_networks=1,
    normalization_type="layer_norm",
    classifier_activation=True,
)
_WITHOUT_OPT = {"hidden_act": "gelu", "normalization_type": "layer_norm"}
# Of the width of small sentence encoders, such as all-MiniLM-L6-v2.
_SENTENCE = _STUDENT.replace(
    hidden_size=384,
    num_hidden_layers=6,
    embedding_size=256,
    trigram_input=False,
    intermediate_size=768,
    num_feedforward_networks=1,
)
_DEMO: dict[str, Any] = {"vocab_size": 6000, "num_hidden_layers": 3}
_DEMO |= {"hidden_size": 128, "embedding_size": 64}
_DEMO |= {"max_position_embeddings": 128, "initializer_range": 0.05}
# The demo trains for a minute or two on a few megabytes of text: too short to need dropout.
_DEMO |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
# As deep and thin as 2 cores can train in an hour: for ablations.
_DEEP: dict[str, Any] = {"num_hidden_layers": 12}
_TEST: dict[str, Any] = {"vocab_size": 300, "num_hidden_layers": 2}
_TEST |= {"hidden_size": 24, "embedding_size": 12}
_TEST |= {"max_position_embeddings": 37, "num_attention_heads": 2, "initializer_range": 0.1}

# The paper's Table 1 (Google's config files), and small models of the same shape for the demo and
# the tests.
SIZES: dict[str, ModelConfig] = {
    "ib-bert-large": _TEACHER,
    "mobilebert": _STUDENT,
    "mobilebert-tiny": _STUDENT.replace(
        key_query_shared_bottleneck=False,
        use_bottleneck_attention=True,
        num_feedforward_networks=2,
    ),
    "mobilebert-without-opt": _STUDENT.replace(**_WITHOUT_OPT),
    "sentence-student": _SENTENCE,
    "bert-base": ModelConfig(vocab_size=30522, type_vocab_size=2),
    "demo-teacher": _TEACHER.replace(**_DEMO, intra_bottleneck_size=128, intermediate_size=256),
    "demo-student": _STUDENT.replace(**_DEMO, intra_bottleneck_size=48, intermediate_size=96),
    "deep-teacher": _TEACHER.replace(
        **_DEMO | _DEEP, intra_bottleneck_size=128, intermediate_size=256
    ),
    "deep-student": _STUDENT.replace(
        **_DEMO | _DEEP, intra_bottleneck_size=32, intermediate_size=128
    ),
    "test-teacher": _TEACHER.replace(**_TEST, intra_bottleneck_size=28, intermediate_size=37),
    "test-student": _STUDENT.replace(
        **_TEST, intra_bottleneck_size=14, intermediate_size=13, num_feedforward_networks=2
    ),
}


def parse_strictly(cls: type, values: Mapping[str, Any], source: str) -> Any:
    """Returns a dataclass `cls` with the given values, which come from JSON; groups may be nested.

    Raises InputError, naming `source`, for an unknown or missing key, or a value of another type or
    out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    built = {}
    for name, value in values.items():
        if name not in fields:
            raise InputError(f"{source}: there is no setting {name:.40}")
        kind = fields[name].type
        if isinstance(value, Mapping) and isinstance(kind, type) and dataclasses.is_dataclass(kind):
            built[name] = parse_strictly(kind, value, f"{source}: {name}")
        elif _has_type(value, kind):
            built[name] = value
        else:
            expected = in_words(kind)
            raise InputError(f"{source}: {name} is {value!r:.40}: it must be {expected}")
    for name, field in fields.items():
        if name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{source}: {name} is missing")
    try:
        return cls(**built)
    except InputError as error:
        keys = str(error).replace("`", "")  # of the file; a command's options may have their names
        raise InputError(f"{source}: {keys}") from None


def _has_type(value: Any, annotation: Any) -> bool:
    """Returns whether a value of JSON is of a field's type. jsonargparse would take the text "24"
    for 24, and minutes for a list of 5,000 labels."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin in (Union, UnionType):
        return any(_has_type(value, argument) for argument in arguments)
    if origin in (Sequence, list):
        return isinstance(value, list) and all(_has_type(item, arguments[0]) for item in value)
    return type(value) is annotation or (annotation is float and type(value) is int)


def in_words(annotation: Any) -> str:
    """Returns what a setting of a type must be, such as "a whole number or null"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"one of {', '.join(arguments)}"
    if origin in (Union, UnionType):
        return " or ".join(map(in_words, arguments))
    if origin in (Sequence, list):
        return f"a list, each of it {in_words(arguments[0])}"
    if dataclasses.is_dataclass(annotation) or origin is dict:
        return "a group of settings"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(
        annotation, "null"
    )


def load_model_config(source: str | Path) -> ModelConfig:
    """Returns a named size, or a config file in the format of Google's bert_config.json.

    Raises InputError for an unknown name, unreadable file, unknown key, wrong type or bad size.
    """
    if str(source) in SIZES:
        return SIZES[str(source)]
    path = Path(source)
    if not path.is_file():
        raise InputError(
            f"no model size or config file named '{source}'; sizes: {', '.join(SIZES)}"
        )
    return parse_strictly(ModelConfig, read_json(path), str(path))
