"""Model configs: strict; errors name the value, the key and the file."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import SIZES, ModelConfig, load_model_config

FIXTURES = Path(__file__).parents[1] / "data" / "fixtures"

# Google's config/uncased_L-24_H-128_B-512_A-4_F-4_OPT.json.
GOOGLE_MOBILEBERT = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.0,
    "hidden_size": 512,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 24,
    "type_vocab_size": 2,
    "vocab_size": 30522,
    "embedding_size": 128,
    "trigram_input": True,
    "use_bottleneck": True,
    "intra_bottleneck_size": 128,
    "key_query_shared_bottleneck": True,
    "num_feedforward_networks": 4,
    "normalization_type": "no_norm",
    "classifier_activation": False,
}


def write(path, values):
    path.write_text(json.dumps(values))
    return path


def test_google_config_is_the_named_size(tmp_path):
    path = write(tmp_path / "bert_config.json", GOOGLE_MOBILEBERT)
    assert load_model_config(path) == SIZES["mobilebert"] == load_model_config("mobilebert")


@pytest.mark.parametrize("name", ["student", "student_without_opt", "tiny", "teacher"])
def test_google_config_file_loads_unchanged(name):
    path = FIXTURES / name / "bert_config.json"
    config = load_model_config(path)
    assert {key: getattr(config, key) for key in json.loads(path.read_text())} == json.loads(
        path.read_text()
    )


def test_defaults_of_absent_keys_are_googles(tmp_path):
    config = load_model_config(write(tmp_path / "c.json", {"vocab_size": 300, "hidden_size": 24}))
    assert (config.embedding_size, config.intra_bottleneck_size) == (24, 24)
    assert config.classifier_activation and not config.trigram_input
    assert (config.hidden_act, config.normalization_type) == ("gelu", "layer_norm")


@pytest.mark.parametrize("name", SIZES)
def test_json_round_trip(tmp_path, name):
    path = tmp_path / "config.json"
    path.write_text(SIZES[name].to_json())
    assert load_model_config(path) == SIZES[name]


def test_replace_changes_only_what_it_names():
    changed = SIZES["test-student"].replace(num_hidden_layers=3)
    assert changed.num_hidden_layers == 3
    assert changed.replace(num_hidden_layers=2) == SIZES["test-student"]


@given(st.integers(1, 40), st.integers(1, 9))
def test_width_must_divide_by_heads(width, heads):
    build = lambda: ModelConfig(vocab_size=7, hidden_size=width, num_attention_heads=heads)  # noqa: E731
    if width % heads == 0:
        assert build().head_size * heads == width
    else:
        with pytest.raises(InputError, match=f"hidden_size is {width}.*num_attention_heads"):
            build()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hiden_size": 24}, ["hiden_size"]),
        ({"__path__": 1}, ["__path__"]),
        ({"hidden_size": 24.5}, ["hidden_size", "24.5"]),
        ({"hidden_size": True}, ["hidden_size", "True"]),
        ({"hidden_size": [24]}, ["hidden_size", "24"]),
        ({"hidden_size": 0}, ["hidden_size is 0"]),
        ({"num_hidden_layers": -1}, ["num_hidden_layers is -1"]),
        ({"embedding_size": 25}, ["embedding_size is 25", "hidden_size (24)"]),
        ({"num_attention_heads": 5}, ["hidden_size is 24", "num_attention_heads (5)"]),
        (
            {"use_bottleneck": True, "intra_bottleneck_size": 13},
            ["intra_bottleneck_size is 13", "num_attention_heads (12)"],
        ),
        ({"hidden_dropout_prob": 1.0}, ["hidden_dropout_prob is 1.0"]),
        ({"attention_probs_dropout_prob": -0.1}, ["attention_probs_dropout_prob is -0.1"]),
        ({"hidden_dropout_prob": float("nan")}, ["hidden_dropout_prob is nan"]),
        ({"hidden_act": "swish"}, ["hidden_act", "swish", "gelu"]),
        ({"normalization_type": "batch_norm"}, ["normalization_type", "batch_norm"]),
        ({"trigram_input": 1}, ["trigram_input"]),
        ({"vocab_size": None}, ["vocab_size"]),
    ],
)
def test_bad_value_names_itself_its_key_and_the_file(tmp_path, changes, named):
    values = {"vocab_size": 300, "hidden_size": 24} | changes
    path = write(tmp_path / "bad_config.json", values)
    with pytest.raises(InputError) as error:
        load_model_config(path)
    for text in [*named, str(path)]:
        assert text in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("changes", [{"hidden_size": "24"}, {"trigram_input": "true"}])
def test_text_is_not_a_number(tmp_path, changes):
    with pytest.raises(InputError):
        load_model_config(write(tmp_path / "c.json", {"vocab_size": 300} | changes))


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_initializer_range_is_positive(value):
    with pytest.raises(InputError, match="initializer_range"):
        ModelConfig(vocab_size=300, initializer_range=value)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b"", b"7"])
def test_file_that_is_no_config_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="broken.json is not"):
        load_model_config(path)


def test_unknown_name_lists_the_sizes(tmp_path):
    with pytest.raises(InputError, match="mobilbert.*sizes: ib-bert-large, mobilebert"):
        load_model_config("mobilbert")
    with pytest.raises(InputError):
        load_model_config(tmp_path)
