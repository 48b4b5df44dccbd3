"""Layer norms and GELU out, NoNorm and ReLU in: fitted exactly, nearly the same model, refused if
it lost too much."""

import json

import numpy as np
import pytest
from support.models import MAX_TOKENS, inputs, model, save_directory, with_positions
from support.texts import LABELS, TOKENIZER, write_corpus

from mobilebert_tf import InputError, build_model, load_model
from mobilebert_tf import export as to_tflite
from mobilebert_tf.lite.calibration_data import joined
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.lite.verify import agreement
from mobilebert_tf.modeling.model import copy_weights
from mobilebert_tf.modeling.runner import KerasModel
from mobilebert_tf.training.no_norm_swap import fit, swap
from mobilebert_tf.training.run_config import Phase

NO_STEPS = Phase(steps=0)


def texts(count, first=0):
    return [inputs(tokens, seed) for seed in range(first, first + count) for tokens in (13, 37)]


def last_hidden(built, arrays):
    real = arrays["input_mask"] == 1
    return np.asarray(built(with_positions(built, arrays))["sequence_output"])[real]


@pytest.mark.parametrize("variant", ["without-opt", "bert", "teacher"])
def test_fitted_layers_are_nearer_than_copied_ones(variant):
    original, arrays = model(variant, "pretraining"), joined(texts(40))
    config = original.config.replace(normalization_type="no_norm", hidden_act="relu")
    copied, fitted = (build_model(config, "pretraining") for _ in range(2))
    for built in (copied, fitted):
        copy_weights(original, built)
    fit(original, fitted, arrays)
    wanted = last_hidden(original, arrays)
    errors = [np.square(last_hidden(built, arrays) - wanted).mean() for built in (copied, fitted)]
    # A constant has the variance as its error; a fit is never worse on the texts it was made on.
    assert errors[1] < wanted.var(axis=0).mean() and errors[1] < errors[0] / 5


def test_embedding_norm_is_the_least_squares_solution():
    original, arrays = model("without-opt", "encoder"), joined(texts(10))
    swapped = swap(original, arrays, NO_STEPS)
    real, norm = arrays["input_mask"] == 1, swapped.get_layer("embeddings").norm
    targets = np.asarray(original.get_layer("embeddings")(**arrays))[real]
    outputs = np.asarray(swapped.get_layer("embeddings")(**arrays))[real]
    channel = (outputs[:, 5] - norm.beta[5]) / norm.gamma[5]  # what the norm reads
    design = np.stack([channel, np.ones(len(channel))], axis=1)
    solution = np.linalg.lstsq(design, targets[:, 5], rcond=None)[0]
    np.testing.assert_allclose([norm.gamma[5], norm.beta[5]], solution, rtol=1e-3, atol=1e-4)


def test_padding_is_not_fitted_to():
    original = model("without-opt", "encoder")
    arrays = joined([inputs(13, seed, padding=2) for seed in range(20)])
    more = {name: np.pad(array, ((0, 0), (0, 9))) for name, array in arrays.items()}
    pair = [swap(original, each, NO_STEPS) for each in (arrays, more)]
    for ours, theirs in zip(*(built.weights for built in pair), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("head", ["classifier", "pretraining"])
def test_distillation_recovers(head):
    original, checks = model("without-opt", head), texts(8, first=900)
    cosines = []
    for steps in (0, 60):
        phase = Phase(steps=steps, learning_rate=1e-3, end_factor=0.1)
        swapped = swap(original, joined(texts(40)), phase)
        pair = (KerasModel(each, TOKENIZER) for each in (swapped, original))
        (measured,) = agreement(*pair, checks).values()
        cosines.append(measured["cosine"])
    assert cosines[1] > (cosines[0] if head == "pretraining" else 0.99)


def test_same_seed_same_bits():
    original, arrays = model("without-opt"), joined(texts(20))
    phase = Phase(steps=3)
    pair = [swap(original, arrays, phase, seed=1) for _ in range(2)]
    for ours, theirs in zip(*(built.weights for built in pair), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_nothing_to_swap():
    with pytest.raises(InputError, match="NoNorm and ReLU already"):
        swap(model("student"), joined(texts(2)), NO_STEPS)


# ---- the door --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    save_directory(tmp_path / "model", "without-opt")
    write_corpus(tmp_path / "corpus.txt")
    return tmp_path


def run(folder, *options):
    arguments = ["--model", folder / "model", "--output", folder / "x.tflite", "--quantize", "none"]
    arguments += ["--calibration-data", folder / "corpus.txt", "--operational-optimizations"]
    to_tflite.main([*map(str, arguments), *options])


def test_export_swaps(folder, monkeypatch, capsys):
    run(folder, "--recovery.steps", "5")
    assert "agreement with the original" in capsys.readouterr().out
    config = load_model(folder / "model-no-norm").config
    assert (config.normalization_type, config.hidden_act) == ("no_norm", "relu")
    assert LiteModel(folder / "x.tflite").labels == list(LABELS)
    operations = json.loads((folder / "x.json").read_text())["ops"]
    assert not {"RSQRT", "MEAN", "GELU"} & set(operations)
    with pytest.raises(SystemExit):
        run(folder)
    assert "model-no-norm exists" in capsys.readouterr().err


def test_too_large_a_drop_is_refused(folder, monkeypatch, capsys):
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(SystemExit) as stopped:
        run(folder, "--recovery.steps", "0", "--max-drop", "-1")
    assert stopped.value.code == 2 and "--max-drop is -1" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        run(folder, "--recovery.learning-rate", "10", "--max-drop", "0")
    assert stopped.value.code == 2
    assert "more than --max-drop" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == before


def test_task_score_gates_the_file(folder, monkeypatch, capsys):
    """On a task; a refused file takes nothing with it, neither the old file nor the new model."""
    rows = [f"the dog runs {i}\t{LABELS[i % 3]}" for i in range(12)]
    (folder / "dev.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    task = ("--task", "classification", "--data-dir", str(folder), "--recovery.steps", "2")
    run(folder, *task, "--max-drop", "1")
    printed = capsys.readouterr().out
    assert printed.count("accuracy: ") == 2 and "with NoNorm and ReLU" in printed
    kept = (folder / "x.tflite").read_bytes()
    (folder / "dev.tsv").write_text("text\tlabel\n")
    for options in ((*task, "--overwrite"), ("--task", "rte", "--data-dir", str(folder))):
        with pytest.raises(SystemExit) as stopped:
            run(folder, *options)
        assert stopped.value.code == 2 and capsys.readouterr().err.startswith("error: ")
    assert (folder / "x.tflite").read_bytes() == kept
    (folder / "dev.tsv").unlink()
    with pytest.raises(SystemExit):
        run(folder, *task, "--overwrite")
    assert "has no dev split" in capsys.readouterr().err


def test_longest_text():
    assert joined(texts(1))["input_ids"].shape == (2, MAX_TOKENS)
