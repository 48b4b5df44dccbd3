"""A student of another width than its teacher: its start, its losses, a run that is interrupted."""

import numpy as np
import pytest
from support.models import STUDENT, TEACHER, random_model, training_batch
from support.texts import TOKENIZER, write_corpus

from mobilebert_tf import InputError, build_model, load_model, save_model
from mobilebert_tf.distill import main
from mobilebert_tf.training import loop, losses
from mobilebert_tf.training.distiller import Distiller
from mobilebert_tf.training.from_teacher import copy_from_teacher, width_axes
from mobilebert_tf.training.projection import make_projection, project
from mobilebert_tf.training.run_config import Phase, TransferConfig
from mobilebert_tf.training.strategies import plan

BATCH = training_batch("pretraining")
TRANSFER = TransferConfig(phase=Phase(steps=20, learning_rate=0.02))
COUNTS = np.random.default_rng(0).uniform(1, 37, TEACHER.vocab_size)


def taught(width, **changes):
    """(teacher, student of another width, projection), the student with the teacher's embeddings"""
    teacher = random_model(TEACHER, "pretraining", seed=1, scale=0.14)
    student = build_model(STUDENT.replace(hidden_size=width, **changes), "pretraining")
    copy_from_teacher(teacher, student, COUNTS)
    return teacher, student, make_projection(teacher, student, COUNTS)


def embeddings(model):
    inputs = {name: BATCH[name] for name in model.input}
    return np.asarray(model(inputs, training=False)["hidden_states"][0])


def test_equal_widths_need_none():
    teacher = random_model(TEACHER, "pretraining", seed=1)
    assert make_projection(teacher, build_model(STUDENT, "pretraining"), COUNTS) is None
    outputs = {"hidden_states": []}
    assert project(outputs, None) is outputs


@pytest.mark.parametrize("width", [17, 24, 37])
def test_axes_are_orthogonal_and_the_widest_first(width):
    teacher = random_model(TEACHER, "pretraining", seed=1, scale=0.14)
    axes = width_axes(teacher, width, COUNTS)
    kept = min(width, TEACHER.hidden_size)
    np.testing.assert_allclose(axes.T @ axes, np.diag(np.arange(width) < kept), atol=1e-12)
    words = {w.path: w.numpy() for w in teacher.weights}
    kernel = np.split(words["embeddings/embedding_transformation/kernel"], 3)[1]
    rows = words["embeddings/word_embeddings"] @ kernel * words["embeddings/norm/gamma"]
    along = np.cov(rows @ axes, rowvar=False, aweights=COUNTS)
    assert np.abs(along - np.diag(np.diag(along))).max() < 1e-6 * along[0, 0]
    assert (np.diff(np.diag(along)) <= 1e-9).all()


def test_a_wider_student_starts_with_all_of_the_embeddings():
    """Projected, they are the teacher's own, but for its layer norm: here it has none."""
    teacher = random_model(
        TEACHER.replace(normalization_type="no_norm"), "pretraining", seed=1, scale=0.14
    )
    student = build_model(STUDENT.replace(hidden_size=37), "pretraining")
    copy_from_teacher(teacher, student, COUNTS)
    projection = make_projection(teacher, student, COUNTS)
    projected = np.asarray(projection(embeddings(student)))
    np.testing.assert_allclose(projected, embeddings(teacher), rtol=1e-4, atol=1e-5)


def test_narrower_embeddings_are_the_nearest(width=17):
    """No other 17 axes leave less of the words' variance out."""
    teacher = random_model(
        TEACHER.replace(normalization_type="no_norm"), "pretraining", seed=1, scale=0.14
    )
    student = build_model(STUDENT.replace(hidden_size=width), "pretraining")
    copy_from_teacher(teacher, student, COUNTS)
    projection = make_projection(teacher, student, COUNTS)
    axes = width_axes(teacher, width, COUNTS)
    np.testing.assert_allclose(projection.kernel.numpy(), axes.T, rtol=1e-5, atol=1e-6)
    expected = embeddings(teacher) @ axes
    np.testing.assert_allclose(embeddings(student), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", ["progressive", "joint", "auxiliary", "none"])
def test_stages_train_the_projection_where_they_compare(strategy):
    teacher, student, projection = taught(17)
    for stage in plan(strategy, STUDENT.num_hidden_layers, TRANSFER, TRANSFER.phase):
        distiller = Distiller(student, stage, TRANSFER, teacher, projection=projection)
        distiller.compile()
        before = projection.kernel.numpy()
        distiller.train_step(BATCH)
        assert np.array_equal(before, projection.kernel.numpy()) == (not stage.layers)


def test_the_loss_is_that_of_projected_maps():
    teacher, student, projection = taught(17)
    (stage,) = plan("auxiliary", STUDENT.num_hidden_layers, TRANSFER, TRANSFER.phase)
    distiller = Distiller(student, stage, TRANSFER, teacher, projection=projection)
    terms, _ = distiller.objectives(BATCH, training=False)
    theirs, ours = (
        model({n: BATCH[n] for n in model.input}, training=False)["hidden_states"]
        for model in (teacher, student)
    )
    kernel = projection.kernel.numpy()
    expected = [
        losses.feature_map_loss(theirs[i], np.asarray(ours[i]) @ kernel, BATCH["input_mask"])
        for i in (1, 2)
    ]
    assert float(terms["feature_map"][1]) == pytest.approx(float(sum(expected)) / 2, rel=1e-5)


def test_a_distiller_without_projection_refuses():
    teacher, student, _ = taught(17)
    (stage,) = plan("auxiliary", STUDENT.num_hidden_layers, TRANSFER, TRANSFER.phase)
    with pytest.raises(InputError, match="hidden_size"):
        Distiller(student, stage, TRANSFER, teacher)


def test_a_resumed_run_has_the_same_bits(tmp_path, monkeypatch):
    """The projection is in the states: the layers after an interruption learn through it."""
    config = TEACHER.replace(vocab_size=len(TOKENIZER))
    save_model(random_model(config, "pretraining", seed=1, scale=0.14), tmp_path / "t", TOKENIZER)
    (tmp_path / "s.json").write_text(STUDENT.replace(hidden_size=17).to_json())
    write_corpus(tmp_path / "corpus.txt")

    def run(name):
        main(
            f"--teacher {tmp_path}/t --student {tmp_path}/s.json --corpus {tmp_path}/corpus.txt "
            f"--output-dir {tmp_path}/{name} --batch-size 8 --sequence-length 12 "
            "--strategy auxiliary --transfer.phase.steps 2 --distillation.steps 2 "
            "--evaluation-steps 0 --checkpoint-steps 2 --log-steps 2 "
            "--held-out-fraction 0.2 --max-predictions-per-sequence 3".split()
        )
        return load_model(tmp_path / name / "student")

    saved = loop._StageLoop._save

    def interrupted(self, position):
        saved(self, position)
        if position.step == 2:
            raise KeyboardInterrupt

    straight = run("straight")
    with monkeypatch.context() as context, pytest.raises(SystemExit):
        context.setattr(loop._StageLoop, "_save", interrupted)
        run("resumed")
    for one, two in zip(straight.weights, run("resumed").weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())
