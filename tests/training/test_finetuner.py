"""The objectives of fine-tuning, by hand and as properties; it learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.models import STUDENT, training_batch
from support.texts import LABELS

from mobilebert_tf import InputError, build_model
from mobilebert_tf.modeling.heads import HEADS
from mobilebert_tf.tasks.examples import NO_LABEL
from mobilebert_tf.training.finetuner import Finetuner, distillation_loss, task_loss
from mobilebert_tf.training.layer_transfer import transfer_terms
from mobilebert_tf.training.run_config import LayerTransfer, Phase
from mobilebert_tf.training.teacher_outputs import DISTILLED

KINDS = list(DISTILLED)


def model_of(kind, seed=0):
    keras.utils.set_random_seed(seed)
    return build_model(STUDENT, kind, LABELS if HEADS[kind].has_labels else ())


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_losses_by_hand():
    logits = np.array([[2.0, 0, -1], [0, 1, 0]], np.float32)
    losses = -log_softmax(logits)[[0, 1], [0, 2]]
    targets = np.array([0, 2], np.int32)
    assert np.isclose(task_loss("classifier", {"logits": logits}, targets), losses.mean())
    weights = np.array([3.0, 1, 1], np.float32)
    weighted = task_loss("classifier", {"logits": logits}, targets, weights)
    assert np.isclose(weighted, (3 * losses[0] + losses[1]) / 4)
    score = {"score": np.array([1.0, 3], np.float32)}
    assert np.isclose(task_loss("regression", score, np.array([0.0, 1], np.float32)), (1 + 4) / 2)
    tokens = {"logits": np.stack([logits, logits])}  # [2,2,3]
    marks = np.array([[0, NO_LABEL], [NO_LABEL, 2]], np.int32)
    assert np.isclose(task_loss("token_classifier", tokens, marks), losses.mean())
    ends = {"start_logits": logits, "end_logits": 2 * logits}
    places = np.array([[0, 1], [2, 2]], np.int32)
    expected = losses.mean() - log_softmax(2 * logits)[[0, 1], [1, 2]].mean()
    assert np.isclose(task_loss("span", ends, places), expected / 2)


def test_distillation_by_hand():
    teacher, student = (np.array([[2.0, 0.0]], np.float32), np.array([[0.0, 1.0]], np.float32))
    p, q = log_softmax(teacher / 2), log_softmax(student / 2)
    expected = 4 * (np.exp(p) * (p - q)).sum()
    found = distillation_loss("classifier", {"logits": teacher}, {"logits": student}, None, 2.0)
    assert np.isclose(found, expected)


def test_each_label_of_several_is_a_question_of_its_own():
    logits = np.array([[0.0, np.log(3)], [-np.log(3), 0]], np.float32)
    targets = np.array([[1, 0], [np.nan, np.nan]], np.float32)  # the second is the teacher's
    # Of the first text: log 2 for the label that it has, log 4 for the one that it lacks.
    expected = (np.log(2) + np.log(4)) / 2
    found = task_loss("multi_label_classifier", {"logits": logits}, targets)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    teacher = {"logits": np.array([[0.0, np.log(3)]], np.float32)}
    student = {"logits": np.zeros((1, 2), np.float32)}
    expected = (0 + 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)) / 2
    found = distillation_loss("multi_label_classifier", teacher, student, None, 1.0)
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_outputs_are_at_no_distance_and_padding_counts_nothing(kind):
    batch, model = training_batch(kind), model_of(kind)
    inputs = {name: batch[name] for name in ("input_ids", "input_mask", "segment_ids")}
    outputs = model(inputs, training=False)
    mask = batch["input_mask"]
    assert abs(float(distillation_loss(kind, outputs, outputs, mask, 3.0))) < 1e-6
    other = model_of(kind, seed=1)(inputs, training=False)
    distance = float(distillation_loss(kind, outputs, other, mask, 3.0))
    assert distance > 0
    if kind in ("token_classifier", "span"):  # what stands at padding changes nothing
        noise = np.random.default_rng(0).standard_normal(mask.shape) * (1 - mask.numpy())
        noise = noise.astype(np.float32)
        moved = {
            name: np.asarray(x) + (noise[..., None] if x.shape.rank == 3 else noise)
            for name, x in other.items()
            if "logits" in name
        }
        again = float(distillation_loss(kind, outputs, moved, mask, 3.0))
        assert again == pytest.approx(distance, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_a_batch_by_heart(kind):
    batch, model = training_batch(kind), model_of(kind)
    trainer = Finetuner(model, Phase(60, learning_rate=1e-2, end_factor=1.0))
    trainer.compile()
    before = float(trainer.loss_of(batch, training=False))
    step = tf.function(trainer.train_step, autograph=False)
    for _ in range(60):
        step(batch)
    assert float(trainer.loss_of(batch, training=False)) < 0.1 * before


def test_fit_validates():
    """Keras shows the loss of other examples beside that of training."""
    batch, model = training_batch("classifier"), model_of("classifier")
    trainer = Finetuner(model, Phase(2, learning_rate=1e-3))
    trainer.compile()
    data = tf.data.Dataset.from_tensors(batch)
    fitted = trainer.fit(data, epochs=2, validation_data=data, shuffle=False, verbose=0)
    assert fitted.history["val_loss"][-1] == pytest.approx(
        float(trainer.loss_of(batch, training=False))
    )


def test_taught_by_itself_only_the_labels_count():
    batch, model = training_batch("classifier"), model_of("classifier")
    alone = Finetuner(model, Phase(1))
    taught = Finetuner(model, Phase(1), teacher=model, teacher_weight=0.25)
    alone, taught = (float(t.loss_of(batch, training=False)) for t in (alone, taught))
    assert taught == pytest.approx(0.75 * alone, rel=1e-5)


NOTHING = {"classifier": NO_LABEL, "token_classifier": NO_LABEL, "regression": np.nan}
NOTHING |= {"multi_label_classifier": np.nan}


@pytest.mark.parametrize("kind", NOTHING)
def test_without_a_label_the_teacher_alone_counts(kind):
    """The mean over texts of (1 - w) * label + w * teacher, or of the teacher alone."""
    batch, model, teacher = training_batch(kind), model_of(kind), model_of(kind, seed=1)
    targets = batch["targets"].numpy()
    targets[1:3] = NOTHING[kind]
    trainer = Finetuner(model, Phase(1, learning_rate=1e-2), teacher=teacher, teacher_weight=0.25)
    found = float(trainer.loss_of(batch | {"targets": tf.constant(targets)}, training=False))
    weights, expected = batch["input_mask"].numpy().sum(axis=1), []
    for row in range(4):
        alone = {name: values[row : row + 1] for name, values in batch.items()}
        inputs = {name: alone[name] for name in ("input_ids", "input_mask", "segment_ids")}
        theirs, ours = teacher(inputs, training=False), model(inputs, training=False)
        label = float(task_loss(kind, ours, alone["targets"]))
        taught = float(distillation_loss(kind, theirs, ours, alone["input_mask"], 1.0))
        expected.append((0, taught) if row in (1, 2) else (0.75 * label, 0.25 * taught))
    labels, taught = np.array(expected).T
    if kind == "token_classifier":  # tokens count alike, not texts
        mine = weights[[0, 3]]
        labels, taught = 0.5 * (labels[[0, 3]] * mine).sum() / mine.sum(), taught * weights
        assert found == pytest.approx(labels + taught.sum() / weights.sum(), rel=1e-4)
    else:
        assert found == pytest.approx(labels.mean() + taught.mean(), rel=1e-4)
    trainer.compile()
    trainer.train_step(batch | {"targets": tf.constant(targets)})
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("taught", [False, True], ids=["alone", "taught"])
def test_accumulation_is_the_whole_batch(kind, taught):
    """Also in uneven parts, of which one has no label, and with fewer rows than parts."""
    batch, teacher = training_batch(kind), model_of(kind, seed=1)
    steady = STUDENT.replace(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = build_model(steady, kind, LABELS if HEADS[kind].has_labels else ())
    targets = batch["targets"].numpy()
    if kind in NOTHING:
        targets[2:] = NOTHING[kind]
    batch["targets"] = tf.constant(targets)
    options = (
        {"teacher": teacher, "teacher_weight": 0.25, "transfer_weight": 0.01} if taught else {}
    )
    if kind == "classifier":
        options["class_weights"] = np.array([3.0, 1, 0.5], np.float32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    before, results = [weight.numpy() for weight in model.weights], []
    for parts in (1, 3, 9):
        for weight, value in zip(model.weights, before, strict=True):
            weight.assign(value)
        trainer = Finetuner(model, Phase(1), accumulation_steps=parts, **options)
        trainer.compile(optimizer=keras.optimizers.SGD(1.0))
        step = (
            tf.function(trainer.train_step, autograph=False) if parts == 3 else trainer.train_step
        )
        logged = step(batch)
        moved = [w.numpy() - value for w, value in zip(model.weights, before, strict=True)]
        results.append((moved, [float(value) for value in logged.values()]))
    largest = max(np.abs(change).max() for change in results[0][0])
    for moved, logged in results[1:]:
        assert logged == pytest.approx(results[0][1], rel=1e-5)
        for change, expected in zip(moved, results[0][0], strict=True):
            np.testing.assert_allclose(change, expected, rtol=1e-4, atol=1e-5 * largest)


def test_layers_of_a_teacher_that_is_the_student_have_nothing_to_teach():
    batch, model = training_batch("classifier"), model_of("classifier")
    losses = [
        float(
            Finetuner(model, Phase(1), teacher=teacher, transfer_weight=weight).loss_of(
                batch, training=False
            )
        )
        for teacher in (model, model_of("classifier", seed=1))
        for weight in (0.0, 3.0)
    ]
    assert losses[1] - losses[0] == pytest.approx(0, abs=1e-6)
    assert losses[3] - losses[2] > 1


def test_layer_transfer_is_the_distillers():
    batch, model, teacher = training_batch("span"), model_of("span"), model_of("span", seed=1)
    teacher = build_model(teacher.config.replace(num_hidden_layers=3), "span")
    transfer = LayerTransfer(feature_mean_weight=7.0, layer_map=[0, 2])
    plain, layers = (
        float(Finetuner(model, Phase(1), None, teacher, 1.0, 0.5, weight, transfer).loss_of(
            batch, training=False
        ))
        for weight in (0.0, 0.5)
    )  # fmt: skip
    inputs = {name: batch[name] for name in ("input_ids", "input_mask", "segment_ids")}
    outputs = [m(inputs, training=False) for m in (teacher, model)]
    terms = transfer_terms(*outputs, batch["input_mask"], transfer, {0: 0, 1: 2}, 2)
    expected = 0.5 * sum(weight * float(value) for weight, value in terms.values())
    assert layers - plain == pytest.approx(expected, rel=1e-4)
    with pytest.raises(InputError, match="3 layers, the student 2: give `transfer.layer_map`"):
        Finetuner(model, Phase(1), teacher=teacher, transfer_weight=0.5)


def test_teacher_is_not_trained():
    batch, model, teacher = (
        training_batch("classifier"),
        model_of("classifier"),
        model_of("classifier", 1),
    )
    before = [weight.numpy() for weight in teacher.weights]
    trainer = Finetuner(model, Phase(1, learning_rate=1e-2), teacher=teacher, teacher_weight=1.0)
    trainer.compile()
    trainer.train_step(batch)
    assert all((a == b.numpy()).all() for a, b in zip(before, teacher.weights, strict=True))
    assert len(trainer.trainable_variables) == len(model.trainable_variables)


def test_decay_spares_biases_and_norms():
    model = model_of("classifier")
    trainer = Finetuner(model, Phase(1))
    trainer.compile()
    spared = {v.path for v in model.weights if not trainer.optimizer._use_weight_decay(v)}
    assert spared == {v.path for v in model.weights if v.name in ("bias", "beta", "gamma")}


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_has_nearly_the_same_loss(kind):
    batch, losses = training_batch(kind), []
    for policy in ("float32", "mixed_bfloat16", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        student, teacher = model_of(kind), model_of(kind, seed=1)
        phase = Phase(steps=3, learning_rate=1e-3)
        trainer = Finetuner(student, phase, teacher=teacher, transfer_weight=0.1)
        trainer.compile()
        losses.append(float(trainer.train_step(batch)["loss"]))
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=0.1)
