"""Another project's export of a model, as its own users would make it.

    python benchmarks/peers/build.py LIBRARY MODE MODEL FOREIGN TOKENS CALIBRATION OUTPUT

LIBRARY is huggingface (TFMobileBert... through TensorFlow's converter; MODE float32, dynamic or
int8-full), model-garden (MODE dynamic) or onnx (MODE dynamic or int4; TOKENS 0 gives a file for any
length). MODEL is a model directory, FOREIGN what convert made of it for the library, CALIBRATION an
.npz of input_ids, input_mask and segment_ids, int32 [N,TOKENS]. What only one of them imports is
imported where it is used.
"""

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

INPUTS = {  # theirs: ours
    "input_ids": "input_ids",
    "attention_mask": "input_mask",
    "token_type_ids": "segment_ids",
}
OUTPUTS = {
    "MobileBertForSequenceClassification": ("logits",),
    "MobileBertForQuestionAnswering": ("start_logits", "end_logits"),
}
EXAMPLE_TOKENS = 37  # of the text with which a file for any length is traced


def main(library, mode, model, foreign, tokens, calibration, output) -> None:
    tokens, calibration = int(tokens), dict(np.load(calibration))
    if library == "onnx":
        content = onnx(Path(foreign), mode, tokens)
    elif library == "huggingface":
        content = huggingface(Path(foreign), mode, tokens, calibration)
    else:
        content = model_garden(Path(model), Path(foreign), mode, tokens, calibration)
    aside = Path(output + ".partial")
    aside.write_bytes(content)
    os.replace(aside, output)


def huggingface(source: Path, mode: str, tokens: int, calibration: dict) -> bytes:
    import transformers

    name = _class_name(source)
    model = getattr(transformers, f"TF{name}").from_pretrained(source)

    def run(input_ids, attention_mask, token_type_ids):
        outputs = model(input_ids, attention_mask, token_type_ids, training=False)
        return {key: outputs[key] for key in OUTPUTS[name]}

    return _converted(run, model, mode, tokens, calibration)


def model_garden(ours: Path, source: Path, mode: str, tokens: int, calibration: dict) -> bytes:
    import tensorflow as tf

    from mobilebert_tf.checkpoints.reference_run import model_garden_encoder
    from mobilebert_tf.checkpoints.tensorflow_file import find_prefix
    from mobilebert_tf.modeling.model_directory import load_model

    original = load_model(ours)
    model = tf.Module()
    model.encoder = model_garden_encoder(original.config)
    status = tf.train.Checkpoint(encoder=model.encoder).read(find_prefix(source))
    status.expect_partial().assert_existing_objects_matched()
    model.head = [tf.Variable(weight) for weight in original.get_layer("classifier").get_weights()]

    def run(input_ids, attention_mask, token_type_ids):
        encoded = model.encoder([input_ids, attention_mask, token_type_ids], training=False)
        return {"logits": tf.matmul(encoded["pooled_output"], model.head[0]) + model.head[1]}

    return _converted(run, model, mode, tokens, calibration)


def _converted(run: Callable, model, mode: str, tokens: int, calibration: dict) -> bytes:
    import tensorflow as tf

    specs = [tf.TensorSpec([1, tokens], tf.int32, name) for name in INPUTS]
    function = tf.function(run, autograph=False).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    if mode != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode == "int8-full":
        converter.representative_dataset = lambda: _samples(calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def _samples(calibration: dict):
    for index in range(len(calibration["input_ids"])):
        yield {name: calibration[ours][index : index + 1] for name, ours in INPUTS.items()}


def onnx(source: Path, mode: str, tokens: int) -> bytes:
    import torch
    import transformers

    name = _class_name(source)
    model = getattr(transformers, name).from_pretrained(source).eval()
    example = (torch.ones([1, tokens or EXAMPLE_TOKENS], dtype=torch.long),) * len(INPUTS)
    by_token = [*INPUTS, *(OUTPUTS[name] if "start_logits" in OUTPUTS[name] else ())]
    with tempfile.TemporaryDirectory() as folder:
        plain, quantized = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        torch.onnx.export(
            model,
            example,
            plain,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS[name]),
            dynamic_axes=None if tokens else {key: {1: "tokens"} for key in by_token},
            opset_version=17,
            dynamo=False,
        )
        (_onnx_int4 if mode == "int4" else _onnx_int8)(plain, quantized)
        return quantized.read_bytes()


def _onnx_int8(plain: Path, quantized: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(plain, quantized, per_channel=True, weight_type=QuantType.QInt8)


def _onnx_int4(plain: Path, quantized: Path) -> None:
    """4-bit weights and tables in its default blocks of 128, multiplied in int8, the fastest."""
    from onnxruntime.quantization import matmul_nbits_quantizer as nbits
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

    config = nbits.DefaultWeightOnlyQuantConfig(
        accuracy_level=4,
        op_types_to_quantize=("MatMul", "Gather"),
        quant_axes=(("MatMul", 0), ("Gather", 1)),
    )
    job = nbits.MatMulNBitsQuantizer(load_model_with_shape_infer(plain), algo_config=config)
    job.process()
    job.model.save_model_to_file(str(quantized))


def _class_name(source: Path) -> str:
    """The class that the folder's config names."""
    import transformers

    return transformers.AutoConfig.from_pretrained(source).architectures[0]


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # of any of their libraries: the last line says what failed
        traceback.print_exc()
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
