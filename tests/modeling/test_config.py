"""Model configs and command lines: strict; errors name the value, the key and the file."""

import errno
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilebert_tf.cli import door, parse
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import SIZES, ModelConfig, load_model_config
from mobilebert_tf.training.run_config import DistillConfig

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


# --- command lines -------------------------------------------------------------------------------


def test_dashes_and_underscores_are_one():
    for option in ["--output-dir=runs/my-run", "--output_dir=runs/my-run"]:
        assert parse(DistillConfig, [option]).output_dir == "runs/my-run"
    assert parse(DistillConfig, ["--output-dir", "my-run"]).output_dir == "my-run"


def test_nested_options():
    config = parse(
        DistillConfig,
        ["--transfer.phase.steps", "13", "--transfer.layer-map", "[0, 2]", "--batch-size=7"],
    )
    assert (config.transfer.phase.steps, config.batch_size) == (13, 7)
    assert config.transfer.layer_map == [0, 2]
    # What is not named keeps its default, beside it and elsewhere.
    defaults = DistillConfig()
    assert config.transfer.phase == defaults.transfer.phase.replace(steps=13)
    assert config.distillation == defaults.distillation


def test_config_file_and_options_the_last_wins(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("seed: 1\ntransfer:\n  alpha: 0.1\n  feature_map_weight: 3\n")
    second.write_text("transfer:\n  alpha: 0.2\n")
    config = parse(DistillConfig, ["--config", str(first), f"--config={second}", "--seed", "7"])
    assert (config.seed, config.transfer.alpha, config.transfer.feature_map_weight) == (7, 0.2, 3.0)
    assert parse(DistillConfig, ["--seed", "7", "--config", str(first)]).seed == 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sead: 1", "sead"),
        ("seed: a", "seed"),
        ("seed: 1.5", "seed"),
        ("strategy: progresive", "progresive"),
        ("transfer:\n  alfa: 1", "alfa"),
        ("transfer:\n  alpha: 2", "alpha is 2.0"),
        ("transfer:\n  phase:\n    steps: -1", "steps is -1"),
        ("transfer:\n  layer_map: [0, a]", "layer_map"),
        ("a: b: c", "line 1"),
        ("- 1", "name: value"),
    ],
)
def test_error_in_a_config_file_names_the_file(tmp_path, text, named):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        parse(DistillConfig, ["--config", str(path)])
    assert named in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_error_of_the_outermost_settings_names_the_file(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("batch_size: 0")
    with pytest.raises(InputError, match="bad.yaml"):
        parse(DistillConfig, ["--config", str(path)])


def test_group_of_settings_is_not_a_number(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("transfer: 7")
    with pytest.raises(InputError, match="transfer"):
        parse(DistillConfig, ["--config", str(path)])


@dataclass(frozen=True)
class Required:
    """A door with a setting that has no default.

    Args:
        model: a model directory.
        count: a number.
    """

    model: str
    count: int = 1


def test_required_option_beside_a_config_file(tmp_path):
    path = tmp_path / "count.yaml"
    path.write_text("count: 3")
    assert parse(Required, ["--model", "m", "--config", str(path)]) == Required("m", 3)


def test_positional(tmp_path):
    path = tmp_path / "count.yaml"
    path.write_text("count: 3")
    arguments = ["m", "--config", str(path)]
    assert parse(Required, arguments, positionals={"model": None}) == Required("m", 3)
    with pytest.raises(InputError, match="model"):
        parse(Required, [], positionals={"model": None})


def test_option_without_its_value_takes_no_positional():
    with pytest.raises(InputError, match="count"):
        parse(Required, ["m", "--count"], positionals={"model": None})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--sead", "1"], "--sead"),
        (["--seed", "a"], "seed"),
        (["--seed"], "--seed"),
        (["stray"], "stray"),
        (["--distillation.steps=-3"], "steps is -3"),
        (["--log-steps", "20", "--checkpoint-steps", "30"], "checkpoint_steps is 30"),
        (["--config", "no-such.yaml"], "no-such.yaml"),
        (["--config"], "--config"),
    ],
)
def test_bad_command_line(arguments, named):
    with pytest.raises(InputError) as error:
        parse(DistillConfig, arguments)
    assert named in str(error.value) and "\n" not in str(error.value)


def run_door(monkeypatch, function, *arguments):
    monkeypatch.setattr("sys.argv", ["door", *arguments])
    door(function, DistillConfig)


def test_door_hands_over_the_config(monkeypatch):
    seen = []
    run_door(monkeypatch, seen.append, "--seed", "7")
    assert seen == [DistillConfig(seed=7)]


@pytest.mark.parametrize(
    "error",
    [
        InputError("labels.txt has 2 names:\n  give 3"),
        OSError(errno.ENOSPC, "No space left on device", "weights.h5"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "vocab.txt"),
    ],
)
def test_door_prints_one_line_and_exits_2(monkeypatch, capsys, error):
    def fail(config):
        raise error

    with pytest.raises(SystemExit) as exit_:
        run_door(monkeypatch, fail)
    output = capsys.readouterr()
    assert exit_.value.code == 2 and output.out == ""
    assert output.err.count("\n") == 1 and output.err.startswith("error: ")
    assert str(error).split()[-1] in output.err


def test_door_exits_2_on_a_bad_option(monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_door(monkeypatch, lambda config: None, "--sead=1")
    assert exit_.value.code == 2
    output = capsys.readouterr().err
    assert "--sead" in output and output.count("\n") == 1


def test_door_lets_a_bug_show_its_traceback(monkeypatch):
    def broken(config):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run_door(monkeypatch, broken)


def test_door_interrupted_exits_130(monkeypatch, capsys):
    def interrupted(config):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_:
        run_door(monkeypatch, interrupted)
    assert exit_.value.code == 130 and "Traceback" not in capsys.readouterr().err


def test_help_shows_every_option_with_its_default(monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_door(monkeypatch, lambda config: None, "--help")
    text = capsys.readouterr().out
    assert exit_.value.code == 0
    for option in ["--transfer.phase.steps", "--batch-size", "--seed", "default: 5000.0"]:
        assert option in text
