"""Model Garden's own MobileBERTEncoder and MobileBertMaskedLM load what we write and compute the
same, and we load what they write. Run by make test-peers; with -s for the table."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.modeling import tf_utils
from official.nlp.modeling import layers, models

from mobilebert_tf.checkpoints import formats
from mobilebert_tf.checkpoints.reference_run import model_garden_encoder
from mobilebert_tf.convert import ConvertConfig, convert

FIXTURES = Path(__file__).parents[1] / "data" / "fixtures"
NAMES = ("student", "tiny", "teacher", "student_without_opt")


def reference(name):
    return dict(np.load(FIXTURES / name / "reference.npz"))


def pretrainer(config):
    """As Model Garden's create_mobilebert_pretrainer, which does not run (tf_keras is missing)."""
    encoder = model_garden_encoder(config)
    masked_lm = layers.MobileBertMaskedLM(
        embedding_table=encoder.get_embedding_table(),
        activation=tf_utils.get_activation(config.hidden_act),
        name="cls/predictions",
    )
    model = models.BertPretrainerV2(encoder_network=encoder, customized_masked_lm=masked_lm)
    model(model.inputs)  # makes the variables
    return model


def outputs(model, name):
    values = reference(name)
    inputs = {"input_word_ids": values["input_ids"], "input_type_ids": values["segment_ids"]}
    inputs |= {key: values[key] for key in ("input_mask", "masked_lm_positions")}
    encoded = model.encoder_network(
        [inputs[key] for key in ("input_word_ids", "input_mask", "input_type_ids")]
    )
    positions = tf.constant(values["masked_lm_positions"])
    logits = model.masked_lm(encoded["sequence_output"], positions)
    return {
        "sequence_output": encoded["sequence_output"].numpy(),
        "pooled_output": encoded["pooled_output"].numpy(),
        "hidden_states": np.stack([x.numpy() for x in encoded["encoder_outputs"]]),
        "mlm_logits": logits.numpy(),
    }


def randomized(model):
    rng = np.random.default_rng(7)
    for weight in model.weights:
        centre = 1.0 if "gamma" in weight.name else 0.0
        weight.assign(centre + 0.1 * rng.standard_normal(weight.shape))
    return model


def ours(model, name):
    values = reference(name)
    keys = ("input_ids", "input_mask", "segment_ids", "masked_lm_positions")
    outputs = model({key: values[key] for key in keys}, training=False)
    found = {key: np.asarray(outputs[key]) for key in ("sequence_output", "pooled_output")}
    found["hidden_states"] = np.stack([np.asarray(x) for x in outputs["hidden_states"]])
    return found | {"mlm_logits": np.asarray(outputs["mlm_logits"])}


def disagreement(actual, expected, name):
    real = reference(name)["input_mask"].astype(bool)
    errors = {}
    for key, values in expected.items():
        if key not in actual:
            continue
        a, b = actual[key], values
        if key == "hidden_states":
            a, b = a[:, real], b[:, real]
        elif key == "sequence_output":
            a, b = a[real], b[real]
        errors[key] = np.abs(a - b).max() / np.abs(b).max()
        print(f"{name:20} {key:16} {errors[key]:.1e}")
    assert len(errors) >= 4
    return max(errors.values())


@pytest.mark.parametrize("name", NAMES)
def test_their_model_computes_googles_values_from_our_files(name, tmp_path):
    source = FIXTURES / name
    convert(ConvertConfig(str(source), str(tmp_path / "garden"), to="model-garden"))
    model = pretrainer(formats.load(source).model.config)
    status = tf.train.Checkpoint(**model.checkpoint_items).restore(
        tf.train.latest_checkpoint(tmp_path / "garden")
    )
    status.assert_consumed()  # nothing is left over on either side
    assert disagreement(outputs(model, name), reference(name), name) <= 1e-5


@pytest.mark.parametrize("trainer", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_we_load_what_they_write(name, trainer, tmp_path):
    config = formats.load(FIXTURES / name).model.config
    model = randomized(pretrainer(config))
    if trainer:  # with what training adds
        optimizer = tf_keras.optimizers.Adam()
        optimizer.build(model.trainable_variables)
        checkpoint = tf.train.Checkpoint(
            model=model, optimizer=optimizer, global_step=tf.Variable(7)
        )
    else:
        checkpoint = tf.train.Checkpoint(**model.checkpoint_items)
    checkpoint.save(str(tmp_path / "theirs" / "ckpt"))
    (tmp_path / "theirs" / "bert_config.json").write_text(config.to_json())
    loaded = formats.load(tmp_path / "theirs")
    assert loaded.format == "model-garden" and loaded.model.head.kind == "masked_lm"
    assert disagreement(ours(loaded.model, name), outputs(model, name), name) <= 1e-5
    assert ("optimizer state" in loaded.skipped) == trainer


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_gives_the_same_tensors(name, tmp_path):
    config = formats.load(FIXTURES / name).model.config
    model = randomized(pretrainer(config))
    tf.train.Checkpoint(**model.checkpoint_items).save(str(tmp_path / "theirs" / "ckpt"))
    (tmp_path / "theirs" / "bert_config.json").write_text(json.dumps(json.loads(config.to_json())))
    convert(ConvertConfig(str(tmp_path / "theirs"), str(tmp_path / "ours")))
    convert(ConvertConfig(str(tmp_path / "ours"), str(tmp_path / "back"), to="model-garden"))
    before, after = (
        tf.train.load_checkpoint(tf.train.latest_checkpoint(tmp_path / folder))
        for folder in ("theirs", "back")
    )
    names = before.get_variable_to_shape_map()
    assert names == after.get_variable_to_shape_map()
    for key in set(names) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}:
        np.testing.assert_array_equal(before.get_tensor(key), after.get_tensor(key), err_msg=key)


def test_convert_runs_model_garden_where_it_is(tmp_path, capsys):
    source = FIXTURES / "tiny"
    convert(ConvertConfig(str(source), str(tmp_path / "garden"), to="model-garden"))
    assert "tf-models-official agrees on the destination" in capsys.readouterr().out
