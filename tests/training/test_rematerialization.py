"""Blocks that run twice: the same outputs and gradients, with the same dropout."""

import numpy as np
import pytest
import tensorflow as tf
from support.models import STUDENT, TEACHER, VARIANTS, random_model, training_batch

from mobilebert_tf.modeling.layers import Block
from mobilebert_tf.training.distiller import Distiller
from mobilebert_tf.training.rematerialization import rematerialized
from mobilebert_tf.training.run_config import Phase
from mobilebert_tf.training.strategies import bare

BATCH = training_batch("pretraining")
DROPOUT = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}
UNDETERMINED = "attention/key/bias"  # cancels out in the softmax: its gradient is rounding


def gradients(model, active):
    """Loss and gradients by path in a graph, with the states of dropout after them."""

    @tf.function(autograph=False)
    def compute():
        sources = [variable.value for variable in model.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            with rematerialized(model, active):
                inputs = {name: BATCH[name] for name in model.input}
                outputs = model(inputs, training=True)
            scores = sum(tf.reduce_mean(x[..., :2, :2] ** 2) for x in outputs["attention_scores"])
            loss = tf.reduce_mean(outputs["mlm_logits"] ** 2) + scores
        return loss, tape.gradient(loss, sources)

    loss, found = compute()
    paths = [variable.path for variable in model.trainable_variables]
    by_path = {
        path: tf.convert_to_tensor(gradient).numpy()
        for path, gradient in zip(paths, found, strict=True)
        if gradient is not None and UNDETERMINED not in path
    }
    seeds = [v.numpy() for v in model.variables if "seed_generator" in v.path]
    return float(loss), by_path, seeds


@pytest.mark.parametrize("config", [STUDENT, VARIANTS["bert"].replace(**DROPOUT)])
def test_same_gradients_and_dropout(config):
    model = random_model(config, "pretraining", seed=1, scale=0.14)
    before = [variable.numpy() for variable in model.variables]
    first = gradients(model, active=False)
    for variable, value in zip(model.variables, before, strict=True):
        variable.assign(value)
    second = gradients(model, active=True)
    assert second[0] == pytest.approx(first[0], rel=1e-6)
    assert second[1].keys() == first[1].keys()
    for path, expected in first[1].items():
        error = np.abs(second[1][path] - expected).max()
        assert error <= 1e-5 * np.abs(expected).max(), path
    for one, two in zip(first[2], second[2], strict=True):
        np.testing.assert_array_equal(one, two)


def test_each_block_runs_a_second_time(monkeypatch):
    calls = []
    run = Block.call

    def counted(self, hidden, padding, training=None):
        calls.append(self.name)
        return run(self, hidden, padding, training=training)

    monkeypatch.setattr(Block, "call", counted)
    model = random_model(TEACHER, "pretraining", seed=1)
    (stage,) = bare(TEACHER.num_hidden_layers, Phase(3))
    trainer = Distiller(model, stage, rematerialize=True)
    trainer.compile()
    calls.clear()
    trainer.train_step(BATCH)
    blocks = [f"block_{i}" for i in range(TEACHER.num_hidden_layers)]
    assert calls == [*blocks, *reversed(blocks)]
    assert "call" not in vars(model.get_layer("block_0"))  # nothing of it stays
