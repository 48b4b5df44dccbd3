"""A file that runs part by part: the same numbers as in one go, also after weights changed."""

import numpy as np
import pytest
from support.lite_files import content, named
from support.models import inputs

from mobilebert_tf.lite import flatbuffer
from mobilebert_tf.lite.layer_errors import AllTensors
from mobilebert_tf.lite.stepwise import Stepwise

SAMPLES = [named(inputs(tokens, tokens, padding)) for tokens, padding in ((7, 0), (13, 4), (2, 0))]


def real_rows(file, tensor):
    """What a file that runs as a whole has in a tensor, at the real tokens of SAMPLES."""
    found, run = [], AllTensors(file)
    for sample in SAMPLES:
        run.run(sample)
        x, real = run.value(tensor), sample["mask"][0] == 1
        found.append(x[real] if len(x) == len(real) else x)
    return np.concatenate(found)


def dense(model):
    """The dense layers: position, and index of what it reads and of its weights."""
    operators = enumerate(flatbuffer.operators(model))
    return [(i, *op.inputs[:2]) for i, (name, op, _) in operators if name == "FULLY_CONNECTED"]


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("variant", ["student", "bert"])
def test_the_parts_give_what_the_whole_gives(variant, every):
    file = content(variant, "classifier")
    model = flatbuffer.read(file)
    run = Stepwise(model, SAMPLES)
    for position, reads, _ in dense(model)[::every]:
        run.run_to(position)
        name = model.subgraphs[0].tensors[reads].name.decode()
        np.testing.assert_array_equal(run.rows(reads), real_rows(file, name))


def test_weights_that_change_in_between():
    file = content("student", "classifier")
    model, changed = flatbuffer.read(file), flatbuffer.read(file)
    (graph,) = changed.subgraphs
    run, layers = Stepwise(model, SAMPLES), dense(model)
    for position, _, weights in layers[::2]:
        run.run_to(position)
        buffer = changed.buffers[graph.tensors[weights].buffer]
        values = np.frombuffer(bytes(buffer.data), np.float32) * np.float32(1.5)
        run.constants[weights] = values.reshape(graph.tensors[weights].shape)
        buffer.data = values.view(np.uint8)
    run.run_to(len(graph.operators))
    (output,) = graph.outputs
    name = graph.tensors[output].name.decode()
    expected = real_rows(flatbuffer.write(changed), name)
    np.testing.assert_array_equal(run.rows(output), expected)
    assert np.abs(expected - real_rows(file, name)).max() > 1e-3
