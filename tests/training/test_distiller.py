"""The Distiller: what each stage of each strategy computes, trains and leaves alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.models import STUDENT, TEACHER, random_model, training_batch

from mobilebert_tf import InputError, build_model
from mobilebert_tf.training import losses
from mobilebert_tf.training.distiller import Distiller
from mobilebert_tf.training.from_teacher import copy_from_teacher
from mobilebert_tf.training.run_config import Phase, TransferConfig
from mobilebert_tf.training.strategies import bare, plan

PHASE = Phase(steps=20, learning_rate=0.02)
TRANSFER = TransferConfig(phase=PHASE)
BATCH = training_batch("pretraining")
QUICK = {"normalization_type": "no_norm", "hidden_act": "relu"}  # half the operations to trace
# Added to all keys alike, they cancel out in the softmax: their gradient is rounding.
UNDETERMINED = "attention/key/bias"


def pretrained(config, seed):
    return random_model(config, "pretraining", seed=seed, scale=0.14)


def values(model):
    return [variable.numpy() for variable in model.variables]


def restore(model, before):
    for variable, value in zip(model.variables, before, strict=True):
        variable.assign(value)


@pytest.fixture(scope="module")
def built():
    teacher, student = pretrained(TEACHER, 1), pretrained(STUDENT, 2)
    return teacher, student, values(teacher), values(student)


@pytest.fixture
def models(built):
    """(teacher, student), as they were built."""
    teacher, student, teacher_values, student_values = built
    restore(teacher, teacher_values)
    restore(student, student_values)
    return teacher, student


def outputs(model, data):
    return model({name: data[name] for name in model.input}, training=False)


def distiller(models, stage, transfer=TRANSFER):
    teacher, student = models
    made = Distiller(student, stage, transfer, teacher)
    made.compile()
    return made


def stages(strategy, layers=2, **changes):
    return plan(strategy, layers, TransferConfig(**{"phase": PHASE} | changes), PHASE)


EVERY_STAGE = [
    pytest.param(stage, id=f"{strategy}: {stage.name}")
    for strategy in ("auxiliary", "joint", "progressive", "none")
    for stage in stages(strategy)
    if strategy in ("progressive", "none") or stage.layers  # all end with the same distillation
]


# --- what moves ----------------------------------------------------------------------------------


def assert_moved(student, before, stage):
    """Bit for bit: the stage's layers have moved, all of them, and nothing else has."""
    for variable, value in zip(student.variables, before, strict=True):
        layer = variable.path.partition("/")[0]
        if UNDETERMINED in variable.path and layer in stage.rates:
            continue
        moved = (variable.numpy() != value).any()
        assert moved == (layer in stage.rates), variable.path


@pytest.mark.parametrize("stage", EVERY_STAGE)
def test_a_step_moves_the_layers_of_its_stage_only(models, stage):
    teacher, student = models
    teacher_before, student_before = values(teacher), values(student)
    trainer = distiller(models, stage)
    result = trainer.train_step(BATCH)
    assert all(np.isfinite(float(value)) for value in result.values())
    assert_moved(student, student_before, stage)
    for variable, value in zip(teacher.variables, teacher_before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)  # dropout seeds too
    # The optimizer has no slots for what it does not train, nor the Distiller the teacher.
    paths = [variable.path for variable in trainer.trainable_variables]
    assert paths and all(path.partition("/")[0] in stage.rates for path in paths)
    assert len(trainer.optimizer.first_moments) == len(paths)
    ids = {id(variable) for variable in trainer.variables}
    assert not ids & {id(variable) for variable in teacher.variables}
    assert ids >= {id(variable) for variable in student.variables}


def test_bare_pretraining_moves_everything_with_dropout():
    model = pretrained(TEACHER.replace(num_hidden_layers=1), 3)
    (stage,) = bare(1, PHASE)
    before = values(model)
    trainer = Distiller(model, stage)
    trainer.compile()
    weights = {variable.path: variable.numpy() for variable in model.weights}
    assert trainer.train_step(BATCH).keys() == {
        "loss",
        "gradient_norm",
        "masked_lm",
        "next_sentence",
        "mlm_accuracy",
    }
    for variable in model.weights:
        if UNDETERMINED not in variable.path:
            assert (variable.numpy() != weights[variable.path]).any(), variable.path
    seeds = [v for v in model.variables if "seed" in v.path]
    restore(model, before)
    old = [seed.numpy() for seed in seeds]
    trainer.train_step(BATCH)
    assert any((seed.numpy() != x).any() for seed, x in zip(seeds, old, strict=True))


def test_transfer_without_teacher():
    with pytest.raises(InputError, match="needs a teacher"):
        Distiller(build_model(STUDENT.replace(num_hidden_layers=1)), stages("joint", 1)[0])


def test_teacher_has_no_dropout(models):
    teacher, _ = models
    assert teacher.config.hidden_dropout_prob > 0
    trainer = distiller(models, stages("auxiliary")[0])
    data = BATCH
    first, second = trainer.run_teacher(data), trainer.run_teacher(data)
    expected = outputs(teacher, data)
    for name in ("mlm_logits", "sequence_output"):
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_array_equal(first[name], expected[name])


def test_lower_layers_move_at_their_relative_rate(models):
    """The whole update of a lower layer, not its gradient, is multiplied."""
    _, student = models
    before, deltas = values(student), {}
    for rate in (1.0, 0.1):
        restore(student, before)
        transfer = TransferConfig(phase=PHASE, lower_layer_rate=rate)
        stage = plan("progressive", 2, transfer, PHASE)[1]
        distiller(models, stage, transfer).train_step(BATCH)
        deltas[rate] = {
            variable.path: variable.numpy() - value
            for variable, value in zip(student.variables, before, strict=True)
        }
    for path, full in deltas[1.0].items():
        factor = 0.1 if path.startswith("block_0/") else 1.0
        np.testing.assert_allclose(deltas[0.1][path], factor * full, rtol=1e-3, atol=2e-7)
    assert max(np.abs(x).max() for p, x in deltas[1.0].items() if p.startswith("block_0/")) > 1e-3


# --- the objectives ------------------------------------------------------------------------------


def entropy(logits, weights):
    p = tf.nn.softmax(logits)
    return float(tf.reduce_sum(-p * tf.math.log(p) * weights[..., None]) / tf.reduce_sum(weights))


def test_a_student_that_is_the_teacher_has_nothing_to_learn(models):
    teacher, _ = models
    student = build_model(TEACHER, "pretraining")
    copied = copy_from_teacher(teacher, student)
    assert not any(path.startswith("block_") for path in copied)
    for ours, theirs in zip(student.weights, teacher.weights, strict=True):
        ours.assign(theirs)
    data = BATCH
    trainer = distiller((teacher, student), stages("auxiliary")[0])
    terms, _ = trainer.objectives(data, training=False)
    for name in ("feature_map", "feature_mean", "feature_variance", "attention_map"):
        assert abs(float(terms[name][1])) <= 1e-6, name
    expected = entropy(outputs(teacher, data)["mlm_logits"], data["masked_lm_weights"])
    assert float(terms["distillation"][1]) == pytest.approx(expected, rel=1e-5)


def transfer_loss(theirs, ours, pairs, mask, layers):
    """From the outputs of whole models; `pairs` of (teacher, student) layers."""
    total = 0.0
    for teacher, student in pairs:
        t, s = theirs["hidden_states"][teacher + 1], ours["hidden_states"][student + 1]
        total += 100 * losses.feature_map_loss(t, s, mask)
        total += 5000 * losses.feature_mean_loss(t, s, mask)
        total += 5 * losses.feature_variance_loss(t, s, mask)
        scores = theirs["attention_scores"][teacher], ours["attention_scores"][student]
        total += losses.attention_map_loss(*scores, mask)
    return float(total) / layers


@pytest.mark.parametrize(
    ("strategy", "index", "pairs"),
    [
        ("joint", 0, [(0, 0), (1, 1)]),
        ("progressive", 0, [(0, 0)]),
        ("progressive", 1, [(1, 1)]),
    ],
)
def test_transfer_loss_is_of_the_same_layers_scaled_by_their_number(models, strategy, index, pairs):
    data = BATCH
    theirs, ours = (outputs(model, data) for model in models)
    expected = transfer_loss(theirs, ours, pairs, data["input_mask"], layers=2)
    loss = float(distiller(models, stages(strategy)[index]).train_step(data)["loss"])
    assert loss == pytest.approx(expected, rel=1e-5)


def test_weights_of_the_terms(models):
    transfer = TransferConfig(
        feature_map_weight=2,
        feature_mean_weight=3,
        feature_variance_weight=5,
        attention_map_weight=7,
    )
    trainer = distiller(models, stages("joint")[0], transfer)
    terms, _ = trainer.objectives(BATCH, training=False)
    weights = {name: weight for name, (weight, _) in terms.items()}
    assert weights == {
        "feature_map": 2,
        "feature_mean": 3,
        "feature_variance": 5,
        "attention_map": 7,
    }
    expected = sum(weight * float(value) for weight, value in terms.values())
    assert float(trainer.test_step(BATCH)["loss"]) == pytest.approx(expected, rel=1e-6)


def test_raw_feature_maps(models):
    transfer, data = TransferConfig(raw_feature_maps=True), BATCH
    trainer = distiller(models, stages("joint")[0], transfer)
    terms, _ = trainer.objectives(data, training=False)
    assert terms.keys() == {"feature_map", "attention_map"}
    theirs, ours = (outputs(model, data)["hidden_states"] for model in models)
    expected = np.mean(
        [losses.raw_feature_map_loss(theirs[i], ours[i], data["input_mask"]) for i in (1, 2)]
    )
    assert float(terms["feature_map"][1]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_alpha_mixes_hard_and_soft_labels(models, alpha):
    data = BATCH
    theirs, ours = (outputs(model, data) for model in models)
    logits, weights = ours["mlm_logits"], data["masked_lm_weights"]
    hard = losses.masked_lm_loss(logits, data["masked_lm_ids"], weights)
    soft = losses.masked_lm_distillation_loss(theirs["mlm_logits"], logits, weights)
    nsp = losses.next_sentence_loss(ours["nsp_logits"], data["next_sentence_labels"])
    trainer = distiller(models, stages("none")[0], TransferConfig(alpha=alpha))
    result = {name: float(value) for name, value in trainer.test_step(data).items()}
    expected = alpha * hard + (1 - alpha) * soft + nsp
    assert result["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert result["masked_lm"] == pytest.approx(float(hard), rel=1e-5)
    assert result["distillation"] == pytest.approx(float(soft), rel=1e-5)
    assert result["next_sentence"] == pytest.approx(float(nsp), rel=1e-5)


def test_padding_content_changes_no_objective(models):
    data, other = BATCH, training_batch("pretraining", seed=9, noise=True)
    scribbled = dict(data)
    for name in ("input_ids", "segment_ids"):
        scribbled[name] = tf.where(data["input_mask"] == 1, data[name], other[name])
        assert np.any(scribbled[name] != data[name])
    trainer = distiller(models, stages("auxiliary")[0])
    first, second = (trainer.objectives(d, training=False)[0] for d in (data, scribbled))
    for name in first:
        assert float(first[name][1]) == float(second[name][1]), name


def test_layer_map_with_a_deeper_teacher(models):
    _, student = models
    teacher = pretrained(TEACHER.replace(num_hidden_layers=3, **QUICK), 5)
    transfer, data = TransferConfig(phase=PHASE, layer_map=[0, 2]), BATCH
    before = values(student)
    theirs, ours = outputs(teacher, data), outputs(student, data)
    expected = transfer_loss(theirs, ours, [(0, 0), (2, 1)], data["input_mask"], layers=2)
    stage = plan("joint", 2, transfer, PHASE)[0]
    loss = float(distiller((teacher, student), stage, transfer).train_step(data)["loss"])
    assert loss == pytest.approx(expected, rel=1e-5)
    assert_moved(student, before, stage)


# --- copies --------------------------------------------------------------------------------------


def test_copies_of_embeddings_and_classifier_are_exact(models):
    teacher, student = models
    theirs = {variable.path: variable.numpy() for variable in teacher.weights}
    before = {variable.path: variable.numpy() for variable in student.weights}
    copied = copy_from_teacher(teacher, student)
    for variable in student.weights:
        expected = theirs if variable.path in copied else before
        np.testing.assert_array_equal(variable.numpy(), expected[variable.path])
    outside = {path for path in before if not path.startswith("block_")}
    assert set(copied) == outside  # by path: gamma to gamma, beta to beta
    assert {"embeddings/norm/gamma", "masked_lm/extra_output_weights"} <= outside
    assert (theirs["embeddings/norm/gamma"] != theirs["embeddings/norm/beta"]).any()


def test_copies_survive_a_pooler_without_counterpart(models):
    teacher, _ = models
    student = build_model(TEACHER.replace(num_hidden_layers=1, classifier_activation=False))
    assert any("pooler" in variable.path for variable in teacher.weights)
    assert all(path.startswith("embeddings") for path in copy_from_teacher(teacher, student))


# --- training ------------------------------------------------------------------------------------


def test_fit_lowers_the_loss_and_evaluate_agrees(models):
    trainer = distiller(models, stages("progressive")[0])
    data = tf.data.Dataset.from_tensors(BATCH).repeat(10)
    history = trainer.fit(data, epochs=2, shuffle=False, verbose=0).history
    assert history["loss"][1] < 0.9 * history["loss"][0]
    assert history.keys() == {
        "loss",
        "gradient_norm",
        "feature_map",
        "feature_mean",
        "feature_variance",
        "attention_map",
    }
    result = trainer.evaluate(data, verbose=0, return_dict=True)
    assert result["loss"] < history["loss"][1]


def test_equal_seeds_give_equal_bits():
    """A teacher alone, whose dropout is on: its masks are part of what must be equal."""
    ends = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        model = build_model(TEACHER.replace(num_hidden_layers=1), "pretraining")
        trainer = Distiller(model, bare(1, PHASE)[0])
        trainer.compile()
        for step in range(2):
            trainer.train_step(training_batch("pretraining", seed=step))
        ends.append(values(model))
    for first, second in zip(*ends, strict=True):
        np.testing.assert_array_equal(first, second)


def matrix_products(trainer):
    function = tf.function(trainer.train_step, jit_compile=False)
    operations = function.get_concrete_function(BATCH).graph.get_operations()
    return sum(operation.type in ("MatMul", "BatchMatMulV2", "Einsum") for operation in operations)


def test_a_progressive_stage_costs_its_depth_forward_and_one_layer_backward():
    small = {"num_hidden_layers": 3, "num_feedforward_networks": 1}
    teacher = pretrained(TEACHER.replace(**small, **QUICK), 1)
    models = teacher, pretrained(STUDENT.replace(**small), 2)
    plans = stages("progressive", layers=3)
    count = {depth: matrix_products(distiller(models, plans[depth - 1])) for depth in (1, 3)}
    # Forward, a block: bottleneck in and out, query, key, value, output, scores, context and two
    # of the feed-forward network are 10; the student's shared bottleneck one more.
    forward = 10 + 11
    assert count[3] - count[1] == 2 * forward
    # The embedding transformations once each; at most two products backward for one forward.
    assert forward + 2 < count[1] <= forward + 2 + 2 * 11


def output_of_words(model):
    """What each word alone adds to the embeddings: [V,H], before the norm."""
    weights = {weight.path: weight.numpy() for weight in model.weights}
    words = weights["embeddings/word_embeddings"]
    kernel = weights.get("embeddings/embedding_transformation/kernel")
    if kernel is None:
        return words
    middle = (
        kernel[len(kernel) // 3 : 2 * len(kernel) // 3] if model.config.trigram_input else kernel
    )
    return words @ middle + weights["embeddings/embedding_transformation/bias"]


@pytest.mark.parametrize("trigram_input", [True, False])
def test_embeddings_of_a_plain_bert_are_factorised(trigram_input):
    """They were left random, and frozen through all transfer, without a word."""
    plain = TEACHER.replace(
        trigram_input=False, use_bottleneck=False, embedding_size=TEACHER.hidden_size,
        intra_bottleneck_size=TEACHER.hidden_size, max_position_embeddings=50,
    )  # fmt: skip
    teacher = build_model(plain, "pretraining")
    student = build_model(STUDENT.replace(trigram_input=trigram_input), "pretraining")
    rank, hidden = STUDENT.embedding_size, STUDENT.hidden_size
    words = teacher.get_layer("embeddings").word_embeddings
    random = np.random.default_rng(0)
    low_rank = random.normal(size=(words.shape[0], rank)) @ random.normal(size=(rank, hidden))
    words.assign(low_rank)
    copied = copy_from_teacher(teacher, student)
    np.testing.assert_allclose(output_of_words(student), low_rank, rtol=1e-4, atol=1e-4)
    places = "embeddings/position_embeddings"
    ours, theirs = ({w.path: w.numpy() for w in m.weights}[places] for m in (student, teacher))
    np.testing.assert_array_equal(ours, theirs[: len(ours)])
    assert {"embeddings/word_embeddings", "embeddings/norm/gamma", places} <= copied


def test_embeddings_are_the_nearest_of_their_rank():
    """The error is that of the best approximation, and trigrams keep their neighbours."""
    teacher = build_model(TEACHER.replace(embedding_size=TEACHER.hidden_size), "pretraining")
    student = build_model(STUDENT, "pretraining")
    copy_from_teacher(teacher, student)
    theirs, ours = ({w.path: w.numpy() for w in m.weights} for m in (teacher, student))
    words, kernel = "embeddings/word_embeddings", "embeddings/embedding_transformation/kernel"
    width, rank = theirs[words].shape[1], ours[words].shape[1]
    wide = np.concatenate(np.split(theirs[kernel], 3), axis=1)  # [E,3H]
    product = theirs[words] @ wide
    found = ours[words] @ np.concatenate(np.split(ours[kernel], 3), axis=1)
    singular = np.linalg.svd(product, compute_uv=False)
    best = np.sqrt(np.square(singular[rank:]).sum())
    assert width > rank and np.linalg.norm(product - found) == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("stage", [stages("auxiliary")[0], stages("progressive")[1]], ids=str)
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_is_the_whole_batch(models, stage, parts):
    """The four texts differ in length and in their number of predictions: each part counts with
    its share of both."""
    whole, accumulated = [], []
    for results, steps in ((whole, 1), (accumulated, parts)):
        teacher, student = models
        trainer = Distiller(student, stage, TRANSFER, teacher, accumulation_steps=steps)
        trainer.compile()
        gradients, logged = trainer._accumulate(BATCH)
        results += [[g.numpy() for g in gradients], {k: float(v) for k, v in logged.items()}]
    assert whole[1].keys() == accumulated[1].keys()
    for name, value in whole[1].items():
        assert accumulated[1][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    largest = max(abs(gradient).max() for gradient in whole[0])
    for gradient, other in zip(whole[0], accumulated[0], strict=True):
        np.testing.assert_allclose(other, gradient, atol=2e-6 * largest)


def test_accumulation_inside_a_graph_moves_the_weights_alike(models):
    """As the loop runs it; three steps of LAMB, with a part without any prediction."""
    batch = BATCH | {"masked_lm_weights": BATCH["masked_lm_weights"] * [[1.0], [1.0], [0.0], [0.0]]}
    ends = []
    for parts in (1, 2):
        teacher, student = models
        before = values(student)
        made = Distiller(student, stages("none")[0], TRANSFER, teacher, parts)
        made.compile()
        step = tf.function(made.train_step, autograph=False)
        for _ in range(3):
            logged = step(batch)
        ends.append(
            [weight.numpy() for weight in student.weights if UNDETERMINED not in weight.path]
        )
        assert np.isfinite(float(logged["loss"]))
        restore(student, before)
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(other, one, atol=2e-3 * abs(one).max())
