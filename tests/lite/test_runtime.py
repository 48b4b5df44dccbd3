"""Exported files in use: from many threads at once, and with shapes that they do not mean."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from support.lite_files import content, packed_file
from support.models import inputs

from mobilebert_tf import InputError, Pipeline
from mobilebert_tf.lite.quantize import MODES
from mobilebert_tf.lite.runtime import LiteModel


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
