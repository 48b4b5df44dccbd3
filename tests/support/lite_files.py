"""Tiny .tflite files of every head and mode."""

import functools

import numpy as np

from mobilebert_tf.lite import flatbuffer, metadata, quantize
from mobilebert_tf.lite.graph import INPUTS
from mobilebert_tf.modeling import heads
from support.models import MAX_TOKENS, inputs, model
from support.texts import LABELS, VOCABULARY

HEADS = ("encoder", "classifier", "multi_label_classifier", "span", "pretraining")


def named(sample):
    """A model's inputs under the names that the file's graph has for them."""
    return dict(zip(INPUTS, sample.values(), strict=True))


def samples(lengths, count):
    """Calibration samples of these lengths, `count` in all."""
    return [named(inputs(lengths[i % len(lengths)], i)) for i in range(count)]


@functools.cache
def content(variant="student", head="classifier", mode="none", length=None):
    """A converted file's bytes, without metadata."""
    calibration = samples((length,) if length else (7, 13, MAX_TOKENS), 24)
    output = head if head == "encoder" else None
    return quantize.convert(model(variant, head), mode, calibration, output, length)


def packed_file(path, head="classifier", mode="none", length=None, changed=lambda content: content):
    """A file as an app gets it: with its vocabulary and labels."""
    path.write_bytes(
        metadata.pack(
            changed(content("student", head, mode, length)),
            metadata.Packed(
                kind=head,
                vocabulary=VOCABULARY,
                labels=LABELS if heads.HEADS[head].has_labels else [],
                do_lower_case=True,
                max_tokens=MAX_TOKENS,
            ),
        )
    )
    return path


def steps_of(file, tensor):
    """The whole numbers of a quantized constant of a parsed file, unpacked if they have 4 bits."""
    data = np.frombuffer(bytes(file.buffers[tensor.buffer].data), np.uint8)
    if tensor.type == flatbuffer.INT4:
        halves = np.stack([data % 16, data // 16], axis=1).ravel()[: np.prod(tensor.shape)]
        data = np.where(halves < 8, halves, halves + 240).astype(np.uint8)
    return data.view(np.int8).reshape(tensor.shape)


def with_distant_scales(content):
    """The same int8 file with scales so far apart that XNNPACK does not prepare it."""
    parsed = flatbuffer.read(content)
    for name, operator, graph in flatbuffer.operators(parsed):
        output = graph.tensors[operator.outputs[0]]
        if name == "FULLY_CONNECTED" and output.type == flatbuffer.INT8:
            output.quantization.scale = [1e-9]
    return flatbuffer.write(parsed)
