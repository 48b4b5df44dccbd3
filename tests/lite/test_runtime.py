"""Exported files in use: at any length, from many threads at once, damaged, with wrong shapes."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from support.lite_files import content, packed_file, with_distant_scales
from support.models import MAX_TOKENS, inputs, keras_model, relative_error
from support.texts import LABELS, VOCABULARY

from mobilebert_tf import InputError, Pipeline
from mobilebert_tf.lite.calibration_data import padded
from mobilebert_tf.lite.quantize import MODES
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.pipeline import open_model


def test_a_file_serves_many_threads(tmp_path):
    model = LiteModel(packed_file(tmp_path / "x.tflite"))
    samples = [inputs(tokens, seed) for seed, tokens in enumerate((7, 13, 37, 5) * 25)]
    expected = [model(**sample)["probability"] for sample in samples]
    with ThreadPoolExecutor(8) as pool:
        outputs = pool.map(lambda sample: model(**sample)["probability"], samples)
        for output, probability in zip(outputs, expected, strict=True):
            np.testing.assert_array_equal(output, probability)


def test_a_pipeline_serves_many_threads(tmp_path):
    pipeline = Pipeline(packed_file(tmp_path / "x.tflite", "span"))
    texts = ["The dog sees an old cat.", "A boat!", "Él río über straße", "small red tree " * 3]
    questions = ["what", "who is it?", "où", "dog"] * 10
    expected = [pipeline(q, t) for q, t in zip(questions, texts * 10, strict=True)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(pipeline, questions, texts * 10)) == expected


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_is_refused(mode):
    """Read as one long text, it would get an answer."""
    interpreter = Interpreter(model_content=content("student", "classifier", mode))
    for details in interpreter.get_input_details():
        interpreter.resize_tensor_input(details["index"], [3, 4])
    with pytest.raises(RuntimeError, match="UNPACK"):
        interpreter.allocate_tensors()


def test_a_batch_is_one_line(tmp_path):
    model = LiteModel(packed_file(tmp_path / "x.tflite"))
    with pytest.raises(InputError, match=r"inputs must be \[1,T\]"):
        model(**{name: np.repeat(array, 3, axis=0) for name, array in inputs(4).items()})


@pytest.mark.parametrize("head", ["classifier", "span"])
def test_lite_model_equals_keras_at_changing_lengths(tmp_path, head):
    lite = LiteModel(packed_file(tmp_path / "x.tflite", head))
    assert lite.kind == head
    assert lite.tokenizer.vocabulary == VOCABULARY
    assert lite.labels == (list(LABELS) if head == "classifier" else [])
    assert lite.max_tokens == MAX_TOKENS
    for tokens in (13, 7, 7, 37, 13):
        sample = inputs(tokens, seed=tokens)
        for name, values in keras_model(head=head)(**sample).items():
            assert relative_error(lite(**sample)[name], values) < 1e-5


def test_fixed_length_file_pads(tmp_path):
    lite = LiteModel(packed_file(tmp_path / "x.tflite", "span", length=13))
    assert lite.max_tokens == lite.fixed_length == 13
    expected = keras_model(head="span")(**padded(inputs(7), 13))
    for name, values in lite(**inputs(7)).items():
        assert values.shape == (1, 7)
        assert relative_error(values, expected[name][:, :7]) < 1e-5


def test_lite_model_refuses_bad_files(tmp_path):
    good = packed_file(tmp_path / "good.tflite").read_bytes()
    bad = {
        "text.tflite": b"no model",
        "empty.tflite": b"",
        "cut.tflite": good[: len(good) // 2],
        "foreign.tflite": content(),  # a real model, without our metadata
        "garbled.tflite": bytes(2000) + good[2000:],
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name):
            LiteModel(tmp_path / name)
    with pytest.raises(InputError, match="no file"):
        LiteModel(tmp_path / "missing.tflite")
    with pytest.raises(InputError, match="does not exist"):
        open_model(tmp_path / "missing")


def test_scales_too_far_apart_for_the_runtime(tmp_path):
    """XNNPACK finds out when it prepares for a length, not when the file is opened."""
    lite = LiteModel(packed_file(tmp_path / "x.tflite", mode="int8", changed=with_distant_scales))
    with pytest.raises(InputError, match="this runtime does not run .*x.tflite: "):
        lite(**inputs(13))


def test_lite_model_refuses_bad_inputs(tmp_path):
    lite = LiteModel(packed_file(tmp_path / "x.tflite"))
    with pytest.raises(InputError, match="38 tokens: .* takes 1 to 37"):
        lite(**inputs(38))
    with pytest.raises(InputError, match=r"must be \[1,T\]"):
        lite(**(inputs(7) | {"segment_ids": np.zeros([1, 6], np.int32)}))
    with pytest.raises(InputError, match="38 tokens"):
        keras_model()(**inputs(38))
