"""Structured pruning: the neurons that count least go, and the others make up for them."""

import numpy as np
import pytest
from support.models import VARIANTS, inputs, model, random_model, save_directory, with_positions
from support.texts import LABELS, write_corpus

from mobilebert_tf import export as to_tflite
from mobilebert_tf import load_model
from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.modeling.quantization import Quantization
from mobilebert_tf.training.pruning import fitted, neuron_squares, prune
from mobilebert_tf.training.run_config import Phase

NO_STEPS = Phase(steps=0)


@pytest.mark.parametrize(
    ("variant", "head"),
    [("student", "span"), ("without-opt", "pretraining"), ("bert", "classifier")],
)
def test_neurons_that_never_fire_cost_nothing(variant, head):
    config = VARIANTS[variant]
    built, size = random_model(config, head), config.intermediate_size
    silent = np.random.default_rng(1).permutation(size)[: size // 4]
    for weight in built.weights:
        if weight.path.endswith("intermediate/bias"):
            bias = np.array(weight)
            bias[silent] = -1e6
            weight.assign(bias)
    text = inputs(13, seed=99)
    pruned = prune(built, [text], 0.25, NO_STEPS)
    assert pruned.config == config.replace(intermediate_size=size - size // 4)
    arrays = with_positions(built, text)
    wanted, found = (each(arrays, training=False)["sequence_output"] for each in (built, pruned))
    # The ridge moves the weights that stay by nothing, as nothing is missing.
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_the_others_make_up_for_the_missing_as_least_squares_does():
    random = np.random.default_rng(0)
    x = random.normal(size=[500, 6]) @ random.normal(size=[6, 6])
    kernel, kept = random.normal(size=[6, 3]), np.array([0, 2, 5])
    found = fitted(kernel, x.T @ x, kept)
    solution = np.linalg.lstsq(x[:, kept], x @ kernel, rcond=None)[0]
    errors = [np.square(x[:, kept] @ k - x @ kernel).sum() for k in (found, solution, kernel[kept])]
    assert errors[1] <= errors[0] < 1.01 * errors[1] < errors[2]


@pytest.mark.parametrize("variant", ["student", "bert"])
def test_every_real_token_of_every_text_is_watched(variant):
    built, text = model(variant, "span"), inputs(13)
    once, twice = (neuron_squares(built, [text] * count) for count in (1, 2))
    size, config = built.config.intermediate_size, built.config
    assert len(once) == config.num_hidden_layers * config.num_feedforward_networks
    for layer, squares in once.items():
        assert squares.shape == (size, size) and np.diag(squares).max() > 0
        np.testing.assert_allclose(twice[layer], 2 * squares)
        assert np.linalg.matrix_rank(squares, tol=1e-4 * squares.trace()) <= 13  # tokens


def test_what_quantization_aware_training_taught_is_not_lost():
    built = random_model(VARIANTS["student"], "classifier")
    built.quantization = Quantization({}, {})
    with pytest.raises(InputError, match="prune the model that it began with"):
        prune(built, [inputs(13)], 0.25, NO_STEPS)


def test_a_share_that_takes_no_neuron():
    with pytest.raises(InputError, match="`prune` is 1e-09: it must be enough to take one of 13"):
        prune(model("student", "span"), [inputs(13)], 1e-9, NO_STEPS)


# ---- the door --------------------------------------------------------------------------------


def test_export_prunes(tmp_path, capsys):
    save_directory(tmp_path / "model")
    write_corpus(tmp_path / "corpus.txt")
    options = [
        "--model",
        str(tmp_path / "model"),
        "--calibration-data",
        str(tmp_path / "corpus.txt"),
    ]
    options += ["--quantize", "none", "--prune", "0.25", "--recovery.steps", "2"]
    to_tflite.main([*options, "--max-drop", "1"])
    assert "with fewer neurons: " in capsys.readouterr().out
    sizes = [
        load_model(tmp_path / name).config.intermediate_size for name in ("model", "model-pruned")
    ]
    assert sizes == [13, 10]
    assert LiteModel(tmp_path / "model-pruned-none.tflite").labels == list(LABELS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prune", "0.5", "--operational-optimizations"], "do not go together"),
        (["--prune", "1"], "--prune is 1"),
        (["--prune", "-0.1"], "--prune is -0.1"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(options, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        to_tflite.main(options)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and said in error and error.count("\n") == 1
