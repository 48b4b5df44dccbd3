"""The model that pre-training starts from."""

import dataclasses

import keras
import numpy as np
import pytest
from support.models import STUDENT, TEACHER, VARIANTS
from support.texts import TOKENIZER

from mobilebert_tf.data.prepared_text import DataConfig, PreparedText
from mobilebert_tf.data.tokenized import TokenizedCorpus
from mobilebert_tf.modeling.model import build_model
from mobilebert_tf.training.initial_model import initial_model


@pytest.fixture
def text():
    """Token 7 three times, 5 once."""
    tokens = np.array([7, 7, 5, 7], np.int32)
    corpus = TokenizedCorpus(tokens, np.array([0, 2, 4]), np.array([0, 2]))
    return PreparedText(TOKENIZER, corpus, corpus, DataConfig())


def test_masked_lm_starts_with_the_frequencies(text):
    bias = initial_model(TEACHER, None, text).get_layer("masked_lm").output_bias.numpy()
    total = TEACHER.vocab_size + 4  # one more of each, so that none is impossible
    assert np.exp(bias[[7, 5, 6]]) == pytest.approx([4 / total, 2 / total, 1 / total])
    assert np.exp(bias).sum() == pytest.approx(1)


@pytest.mark.parametrize("variant", ["teacher", "bert"])
def test_outputs_of_blocks_start_small(text, variant):
    """By 1 / sqrt(2 L); all other weights are those of the config."""
    config = dataclasses.replace(VARIANTS[variant], num_hidden_layers=8)
    model = initial_model(config, None, text)
    ends = ("output/dense/kernel",) if variant == "bert" else ("output_bottleneck/dense/kernel",)
    kernels = [w for w in model.weights if w.path.endswith("kernel") and "block_" in w.path]
    plain = np.mean([w.numpy().std() for w in kernels if not w.path.endswith(ends)])
    small = [w.numpy().std() for w in kernels if w.path.endswith(ends)]
    assert len(small) == (16 if variant == "bert" else 8)
    assert np.mean(small) / plain == pytest.approx(1 / 4, rel=0.1)
    assert build_model(config, "pretraining").count_params() == model.count_params()


def test_a_model_without_layer_norms_starts_as_ever(text):
    keras.utils.set_random_seed(3)
    model = initial_model(STUDENT, None, text)
    keras.utils.set_random_seed(3)
    plain = build_model(STUDENT, "pretraining")
    for weight, other in zip(model.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), other.numpy())
