"""Command lines: strict; errors name the option, the value and the config file."""

import errno
from dataclasses import dataclass

import pytest

from mobilebert_tf.cli import door, parse
from mobilebert_tf.errors import InputError
from mobilebert_tf.training.run_config import DistillConfig


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
        ("seed: a", "bad.yaml: seed is a: it must be a whole number"),
        ("seed: 1.5", "bad.yaml: seed is 1.5: it must be a whole number"),
        ("strategy: [1]", "strategy is [1]: it must be one of auxiliary, joint"),
        ("transfer:\n  alfa: 1", "alfa"),
        ("transfer:\n  alpha: 2", "bad.yaml: transfer.alpha is 2.0"),
        ("transfer:\n  phase:\n    steps: -1", "bad.yaml: transfer.phase.steps is -1"),
        ("transfer:\n  layer_map: [0, a]", "it must be a list, each of it a whole number or null"),
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


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--batch-size=x", "`batch_size` is x: it must be a whole number"),
        ("--ema=x", "`ema` is x: it must be a number"),
        ("--whole-word-masking=maybe", "`whole_word_masking` is maybe: it must be true or false"),
        ("--lower-case=maybe", "`lower_case` is maybe: it must be true or false or null"),
        ("--transfer.layer-map=x", "`transfer.layer_map` is x: it must be a list, each of it a"),
        ("--devices=two", "`devices` is two: it must be one of one, all, workers, tpu"),
        ("--batch-size=" + "9" * 90 + "x", "`batch_size` is " + "9" * 60 + ": it must be a whole"),
    ],
)
def test_value_of_a_wrong_type(option, said):
    with pytest.raises(InputError) as error:
        parse(DistillConfig, [option])
    assert str(error.value).startswith(said)


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
        (["--distillation.steps=-3"], "`distillation.steps` is -3"),
        (["--transfer.phase.steps=-3"], "`transfer.phase.steps` is -3"),
        (["--transfer.alpha=3"], "`transfer.alpha` is 3"),
        (["--early-stopping=2", "--evaluation-steps=0"], "`early_stopping` needs evaluations"),
        (["--keep-best", "--evaluation-steps=0"], "`keep_best` needs evaluations"),
        (["--checkpoints-kept=0"], "`checkpoints_kept` is 0"),
        (["--ema=1"], "`ema` is 1"),
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


def test_settings_in_errors_are_shown_as_options(monkeypatch, capsys):
    def fail(config):
        raise InputError("`output_dir` or `transfer.layer_map`, not `max_drop` of `python -m x`")

    with pytest.raises(SystemExit):
        run_door(monkeypatch, fail)
    expected = "error: --output-dir or --transfer.layer-map, not `max_drop` of `python -m x`\n"
    assert capsys.readouterr().err == expected
