"""What a teacher says of a task's texts: the same, whether it runs in each step or once."""

import numpy as np
import pytest
import tensorflow as tf
from support.models import STUDENT, batch, random_model, training_batch

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.heads import HEADS
from mobilebert_tf.modeling.model import MODEL_INPUTS
from mobilebert_tf.tasks.examples import Batches
from mobilebert_tf.training.finetuner import Finetuner
from mobilebert_tf.training.run_config import Phase
from mobilebert_tf.training.teacher_outputs import DISTILLED, array_name, outputs_of, saved_outputs


@pytest.mark.parametrize("kind", DISTILLED)
def test_outputs_are_those_of_each_text_alone(kind):
    teacher, arrays = random_model(STUDENT, kind), batch([7, 4, 7, 1], 13, noise=True)
    found = outputs_of(teacher, arrays)
    for row, length in enumerate((7, 4, 7, 1)):
        alone = {name: arrays[name][row : row + 1, :length] for name in MODEL_INPUTS}
        for name, expected in teacher(alone, training=False).items():
            if name not in DISTILLED[kind]:
                continue
            values = found[array_name(kind, name)][row]
            if HEADS[kind].by_token:
                assert len(values) == 13 and not values[length:].any()
                values = values[:length]
            np.testing.assert_allclose(values, expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", DISTILLED)
def test_a_batch_that_holds_them_gives_the_same_loss(kind):
    """In texts of one length: where there is padding, the trigram of the last token reads it."""
    teacher, student = random_model(STUDENT, kind), random_model(STUDENT, kind, seed=1)
    examples = training_batch(kind) | {
        name: tf.constant(array) for name, array in batch([7, 7, 7, 7]).items()
    }
    trainer = Finetuner(student, Phase(1), teacher=teacher, teacher_weight=0.25)
    expected = float(trainer.loss_of(examples, training=False))
    said = outputs_of(teacher, {name: array.numpy() for name, array in examples.items()})
    trainer.run_teacher = None.__eq__  # there, and of no use
    assert float(trainer.loss_of(examples | said, training=False)) == pytest.approx(expected)
    changed = {
        name: values + np.arange(values.size, dtype=np.float32).reshape(values.shape)
        for name, values in said.items()
    }
    assert float(trainer.loss_of(examples | changed, training=False)) != pytest.approx(expected)


def test_batches_cut_those_of_tokens_alone():
    """Also where a text has as many labels as tokens."""
    arrays = batch([5, 3, 8], 16)
    arrays |= {
        "teacher_logits": np.arange(48, dtype=np.float32).reshape(3, 16),
        "token_teacher_logits": np.ones((3, 16, 2), np.float32),
    }
    found = Batches(arrays, 3, seed=0).batch(0)
    assert found["input_ids"].shape == (3, 8)
    assert found["token_teacher_logits"].shape == (3, 8, 2)
    assert sorted(found["teacher_logits"].ravel()) == list(range(48))


def test_a_file_is_read_again_or_refused(tmp_path):
    arrays, path = batch([7, 4, 1]), tmp_path / "teacher_outputs.npz"
    first = saved_outputs(random_model(STUDENT, "regression"), arrays, path)
    other = saved_outputs(random_model(STUDENT, "regression", seed=1), arrays, path)
    np.testing.assert_array_equal(first["teacher_score"], other["teacher_score"])
    assert first["teacher_score"].shape == (3,)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match="teacher_outputs.npz is damaged"):
        saved_outputs(random_model(STUDENT, "regression"), arrays, path)
