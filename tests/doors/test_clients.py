"""The interpreters that a client may link give the same outputs: LiteRT's, its compiled models and
TensorFlow's own. Clients with an environment of their own: tests/clients."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter
from support.lite_files import content, named
from support.models import inputs

from mobilebert_tf.lite.quantize import MODES, SIGNATURE

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated"),
    pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors"),
]
LENGTH = 37
# Of an output's largest value: float kernels sum in another order. Measured: 3e-6 in float, 0 in
# the others; but where a sum is rounded the other way, it is another int8.
LIMITS = dict.fromkeys(MODES, 0.02) | {"none": 1e-5, "float16": 1e-5}


def interpreted(interpreter, feed):
    """The signature's outputs, as they come."""
    outputs = interpreter.get_signature_runner()(**feed)
    return {name: np.array(values) for name, values in outputs.items()}


def compiled(file, feed, like):
    """The same by LiteRT's newer interface, in the types of `like`; tensors are resized first."""
    model = CompiledModel.from_buffer(file)
    fed = {}
    for name, values in feed.items():
        model.resize_input_tensor_by_name(SIGNATURE, name, values.shape, strict=False)
        fed[name] = model.create_input_buffer_by_name(SIGNATURE, name)
        fed[name].write(values)
    given = {name: model.create_output_buffer_by_name(SIGNATURE, name) for name in like}
    model.run_by_name(SIGNATURE, fed, given)
    return {
        name: buffer.read(like[name].size, like[name].dtype.type).reshape(like[name].shape)
        for name, buffer in given.items()
    }


@pytest.mark.parametrize("length", [None, LENGTH])
@pytest.mark.parametrize("mode", MODES)
def test_interpreters_agree(mode, length):
    file = content("student", "span", mode, length)
    for tokens in (LENGTH,) if length else (LENGTH, 11):
        feed = named(inputs(tokens, padding=3))
        expected = interpreted(Interpreter(model_content=file), feed)
        of_tensorflow = interpreted(tf.lite.Interpreter(model_content=file), feed)
        for outputs in (of_tensorflow, compiled(file, feed, expected)):
            assert outputs.keys() == expected.keys()
            for name, values in expected.items():
                limit = LIMITS[mode] * np.abs(values.astype(float)).max()
                np.testing.assert_allclose(outputs[name].astype(float), values, rtol=0, atol=limit)
