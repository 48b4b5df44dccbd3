"""A sentence encoder as teacher: losses, batches, stages, the start, and the whole run."""

import json

import numpy as np
import pytest
import tensorflow as tf
from support.models import STUDENT, batch, randomized
from support.texts import TOKENIZER, VOCABULARY, write_corpus

from mobilebert_tf import load_model, save_model
from mobilebert_tf.data.sentences import SentenceExamples
from mobilebert_tf.data.tokenized import tokenize_documents
from mobilebert_tf.distill import main
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.training import losses
from mobilebert_tf.training.distiller import Distiller
from mobilebert_tf.training.from_teacher import copy_from_teacher
from mobilebert_tf.training.held_out import scored_examples
from mobilebert_tf.training.run_config import Phase, TransferConfig
from mobilebert_tf.training.strategies import plan

HEAD = Head("encoder", pooling="mean", normalized=True)
TEACHER = STUDENT.replace(
    num_attention_heads=4,
    use_bottleneck=False,
    trigram_input=False,
    embedding_size=24,
    intra_bottleneck_size=24,
    intermediate_size=40,
    num_feedforward_networks=1,
    normalization_type="layer_norm",
    hidden_act="gelu_erf",
)
TAUGHT = STUDENT.replace(trigram_input=False)
PHASE = Phase(steps=6, learning_rate=0.02)
DOCUMENTS = [["the dog runs. A cat sleeps near the road", "never"], ["a boat. An old boat"]]


def encoder(config, seed, head=HEAD):
    return randomized(MobileBert(config, head), seed, 0.2)


def numpy_attention(scores, heads):
    """Probabilities [B,N,T,T] with consecutive heads averaged, in float64."""
    scores = scores.astype(np.float64)
    exponents = np.exp(scores - scores.max(-1, keepdims=True))
    probabilities = exponents / exponents.sum(-1, keepdims=True)
    batch, count, tokens, _ = scores.shape
    return probabilities.reshape(batch, heads, count // heads, tokens, tokens).mean(axis=2)


# --- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("theirs", "ours", "common"), [(4, 2, 2), (2, 4, 2), (6, 4, 2), (3, 2, 1)])
def test_heads_are_averaged_to_their_common_number(theirs, ours, common):
    random = np.random.default_rng(0)
    teacher = random.normal(0, 2, (3, theirs, 5, 5)).astype(np.float32)
    student = random.normal(0, 2, (3, ours, 5, 5)).astype(np.float32)
    mask = (np.arange(5) < np.array([[5], [3], [1]])).astype(np.int32)
    padding = (1 - mask)[:, None, None, :] * np.float32(-1e30)
    t, s = (numpy_attention(scores + padding, common) for scores in (teacher, student))
    divergence = np.where(
        t > 0, t * (np.log(np.maximum(t, 1e-300)) - np.log(np.maximum(s, 1e-300))), 0
    )
    expected = divergence.sum(-1).mean(1)[mask == 1].mean()
    value = losses.attention_map_loss(teacher + padding, student + padding, mask)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_embedding_losses_by_hand():
    teacher = np.array([[3, 0], [0, 2]], np.float32)
    student = np.array([[1, 0], [5, 5]], np.float32)
    # cosines 1 and 1/sqrt(2); similarities of the two texts 0 and 1/sqrt(2), twice
    assert float(losses.embedding_loss(teacher, student)) == pytest.approx((1 - 0.5**0.5) / 2)
    assert float(losses.similarity_loss(teacher, student)) == pytest.approx(0.5 * 2 / 4)
    assert float(losses.embedding_loss(teacher, 7 * teacher)) == pytest.approx(0, abs=1e-6)
    assert float(losses.similarity_loss(teacher, 7 * teacher)) == pytest.approx(0, abs=1e-12)


# --- batches -------------------------------------------------------------------------------------


def sentences(batch_size=2, sequence_length=6, seed=0):
    corpus = tokenize_documents(DOCUMENTS, TOKENIZER)
    return SentenceExamples(
        corpus, TOKENIZER, batch_size=batch_size, sequence_length=sequence_length, seed=seed
    )


def test_an_epoch_has_every_token_once():
    examples = sentences()
    found = []
    for step in range(examples.batches_per_epoch):
        arrays = examples.batch(step)
        assert arrays["input_ids"].shape[1] == arrays["input_mask"].sum(axis=1).max() <= 6
        for ids, mask, segments in zip(*arrays.values(), strict=True):
            kept = ids[mask == 1]
            assert kept[0] == TOKENIZER.cls_id and kept[-1] == TOKENIZER.sep_id
            assert (ids[mask == 0] == TOKENIZER.pad_id).all() and not segments.any()
            found += kept[1:-1].tolist()
    expected = tokenize_documents(DOCUMENTS, TOKENIZER).tokens
    assert sorted(found) == sorted(expected.tolist())


def test_batches_depend_on_seed_and_step_alone():
    examples, again = sentences(), sentences()
    for step in (9, 0, 4):
        np.testing.assert_array_equal(
            examples.batch(step)["input_ids"], again.batch(step)["input_ids"]
        )
    steps = [b["input_ids"].numpy() for b in examples.dataset(3, 4)]
    for step, ids in enumerate(steps, start=3):
        np.testing.assert_array_equal(ids, examples.batch(step)["input_ids"])
    orders = [
        [sentences(seed=seed).batch(i)["input_ids"].tolist() for i in range(3)] for seed in (0, 1)
    ]
    assert orders[0] != orders[1]


# --- stages --------------------------------------------------------------------------------------


def stages(strategy, head=HEAD):
    return plan(strategy, 2, TransferConfig(phase=PHASE), PHASE, head)


def test_the_last_stage_learns_embeddings():
    for strategy in ("auxiliary", "joint", "progressive", "none"):
        last = stages(strategy)[-1]
        assert last.embedding and not last.pretraining and last.depth is None
        assert set(last.rates) == {"embeddings", "block_0", "block_1"}  # a mean reads no pooler
    assert "pooler" in stages("none", Head("encoder", normalized=True))[-1].rates


def as_tensors(arrays):
    return {name: tf.constant(array) for name, array in arrays.items()}


def terms(teacher, student, arrays):
    trainer = Distiller(student, stages("auxiliary")[0], TransferConfig(), teacher)
    return {name: float(value) for name, (_, value) in trainer.objectives(arrays, False)[0].items()}


def test_equal_models_have_no_loss():
    student, copy = encoder(TAUGHT, 1), encoder(TAUGHT, 1)
    values = terms(copy, student, as_tensors(batch([7, 4, 6])))
    assert set(values) >= {"embedding", "similarity", "feature_map", "attention_map"}
    assert all(abs(value) <= 1e-5 for value in values.values())


def test_padding_changes_nothing():
    teacher, student = encoder(TEACHER, 1), encoder(TAUGHT, 2)
    wide = batch([5, 3, 4], 11, noise=True)
    values = terms(
        teacher, student, as_tensors({name: array[:, :5] for name, array in wide.items()})
    )
    padded = terms(teacher, student, as_tensors(wide))
    assert values["embedding"] > 0.01
    assert padded == pytest.approx(values, rel=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_a_step_moves_everything_below_the_embedding(pooling):
    head = Head("encoder", pooling=pooling, normalized=True)
    taught = TAUGHT.replace(classifier_activation=True)
    teacher, student = encoder(TEACHER, 1, head), encoder(taught, 2, head)
    trainer = Distiller(student, stages("auxiliary", head)[0], TransferConfig(), teacher)
    trainer.compile()
    before = {weight.path: weight.numpy() for weight in student.weights}
    trainer.train_step(as_tensors(batch([7, 4, 6])))
    for weight in student.weights:
        moved = (weight.numpy() != before[weight.path]).any()
        read = pooling == "first" or not weight.path.startswith("pooler")
        assert moved == read or "attention/key/bias" in weight.path, weight.path


# --- the start -----------------------------------------------------------------------------------


def test_the_teachers_norm_is_in_the_students_embeddings():
    """Exact where all words deviate alike and positions and segments are nothing."""
    teacher, student = encoder(TEACHER, 1), encoder(TAUGHT.replace(embedding_size=24), 2)
    layer = teacher.get_layer("embeddings")
    signs = np.random.default_rng(0).permuted(np.tile([1.0, -1.0], (len(VOCABULARY), 12)), axis=1)
    layer.word_embeddings.assign(0.3 * signs + 0.1)
    layer.position_embeddings.assign(0 * layer.position_embeddings)
    layer.token_type_embeddings.assign(0 * layer.token_type_embeddings)
    copied = copy_from_teacher(teacher, student, np.ones(len(VOCABULARY)))
    assert copied == {weight.path for weight in student.weights if "embeddings" in weight.path}
    arrays = batch([7, 4])
    expected, found = (model(arrays)["hidden_states"][0] for model in (teacher, student))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_frequent_words_are_factorised_best():
    teacher, student = encoder(TEACHER, 1), encoder(TAUGHT, 2)
    counts = np.ones(len(VOCABULARY))
    counts[:8] = 1e6
    copy_from_teacher(teacher, student, counts)
    ids = np.arange(len(VOCABULARY), dtype=np.int32)[:, None]
    arrays = {"input_ids": ids, "input_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
    full = encoder(TAUGHT.replace(embedding_size=24), 3)
    copy_from_teacher(teacher, full, counts)
    exact, found = (np.asarray(model(arrays)["hidden_states"][0]) for model in (full, student))
    errors = np.square(found - exact).mean(axis=(1, 2))
    assert errors[:8].max() < 1e-8 < errors[8:].mean()


def test_what_is_scored_is_counted():
    """Batches are scored whole: 21 of 48 sentences are the most that 1,024 hold."""
    corpus = tokenize_documents([["the dog runs"]] * (23 * 48), TOKENIZER)
    many = SentenceExamples(corpus, TOKENIZER, batch_size=48, sequence_length=6)
    assert many.count == 1104 and scored_examples(many) == 1008
    few = sentences(batch_size=3)
    assert scored_examples(few) == few.count


# --- the whole run -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a teacher, a student's config and a corpus."""
    folder = tmp_path_factory.mktemp("place")
    save_model(encoder(TEACHER, 1), folder / "teacher", TOKENIZER)
    (folder / "student.json").write_text(TAUGHT.to_json())
    write_corpus(folder / "corpus.txt", documents=12)
    return folder


def run(place, name, *options):
    main(
        f"--teacher {place}/teacher --student {place}/student.json --corpus {place}/corpus.txt "
        f"--output-dir {place}/{name} --strategy auxiliary --batch-size 8 --sequence-length 12 "
        "--transfer.phase.steps 4 --distillation.steps 4 --checkpoint-steps 2 --log-steps 2 "
        "--held-out-fraction 0.2 --max-predictions-per-sequence 3".split()
        + list(options)
    )
    return place / name


def test_a_student_ends_with_its_teachers_head(place, monkeypatch):
    straight = run(place, "straight")
    student = load_model(straight / "student")
    head = student.head
    assert (head.kind, head.pooling, head.normalized) == ("encoder", "mean", True)
    assert student.config == TAUGHT
    evaluation = json.loads((straight / "evaluation.json").read_text())
    assert 0 < evaluation["models"]["student"]["embedding_cosine"] <= 1
    assert "cosine" in (straight / "report.html").read_text()

    # A run that ends after its second state, and goes on.
    from mobilebert_tf.training import loop

    saved = loop._StageLoop._save

    def interrupted(self, position):
        saved(self, position)
        if position.step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as context, pytest.raises(SystemExit):
        context.setattr(loop._StageLoop, "_save", interrupted)
        run(place, "resumed")
    again = load_model(run(place, "resumed") / "student")
    for one, two in zip(student.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 1
    return lines[0]


def test_refusals(place, capsys):
    error = refused(capsys, place, "parts", "--accumulation-steps", "2")
    assert "--accumulation-steps" in error
    (place / "vocab.txt").write_text("\n".join([*VOCABULARY, "another"]) + "\n")
    error = refused(capsys, place, "vocabulary", "--vocabulary", f"{place}/vocab.txt")
    assert "vocab.txt" in error and "is not that of the given model" in error


def test_the_distances_at_the_end_are_those_of_the_best_weights(place):
    """A rate so high makes the student worse: it ends with weights from before its last step."""
    options = (
        "--transfer.phase.steps 1 --distillation.steps 3 --distillation.learning-rate 0.2 "
        "--distillation.end-factor 1 --loss-limit 0 --keep-best --evaluation-steps 1 --log-steps 1"
    )
    folder = run(place, "best", *options.split())
    lines = (folder / "history.jsonl").read_text().splitlines()
    losses = {r["total_step"]: r["held_out_loss"] for r in map(json.loads, lines)}
    best = min(losses, key=losses.get)
    assert best < max(losses)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["distances"]["end"]["step"] == best


@pytest.mark.parametrize("width", [16, 32])
def test_a_student_of_another_width(place, capsys, width):
    """Its embeddings are compared with the teacher's by a projection that is then gone."""
    size = place / f"width{width}.json"
    size.write_text(TAUGHT.replace(hidden_size=width).to_json())
    folder = run(place, f"width{width}", "--student", str(size))
    assert "correlation of cosines" in capsys.readouterr().out
    student = load_model(folder / "student")
    assert student.output["embedding"].shape == (None, width)
    assert not [weight.path for weight in student.weights if "projection" in weight.path]
    scores = json.loads((folder / "evaluation.json").read_text())["models"]["student"]
    assert -1 <= scores["similarity_correlation"] <= 1 and "embedding_cosine" not in scores


def test_a_teacher_without_any_head_teaches_layers(place, capsys):
    save_model(encoder(TEACHER, 1, Head()), place / "bare", TOKENIZER)
    folder = run(place, "bare-taught", "--teacher", f"{place}/bare")
    assert "teaches layers" in capsys.readouterr().out
    assert load_model(folder / "student").head.kind == "pretraining"
    names = {
        key
        for line in (folder / "history.jsonl").read_text().splitlines()
        for key in json.loads(line)
    }
    assert "masked_lm" in names and "distillation" not in names
    error = refused(capsys, place, "none", "--teacher", f"{place}/bare", "--strategy", "none")
    assert "--strategy none" in error
