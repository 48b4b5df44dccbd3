"""The inference graph in every mode: what it computes, what it is made of."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from litert_quantizer.qtyping import TFLOperationName
from support.lite_files import HEADS, content, named, samples
from support.models import MAX_TOKENS, VARIANTS, inputs, keras_model, model, relative_error
from support.texts import LABELS, TOKENIZER

from mobilebert_tf import InputError, build_model
from mobilebert_tf.lite import export as export_module
from mobilebert_tf.lite import flatbuffer, metadata, quantize, verify
from mobilebert_tf.lite.arithmetic import quantized_rows
from mobilebert_tf.lite.calibration_data import padded
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert, copy_weights
from mobilebert_tf.modeling.runner import KerasModel

QUANTIZED = quantize.MODES[1:]


def run(file_content, sample):
    """The outputs by name, float32 in integer files too."""
    runner = Interpreter(model_content=file_content).get_signature_runner()
    ids, mask, segment_ids = sample.values()
    outputs = runner(ids=ids, mask=mask, segment_ids=segment_ids)
    for name, details in runner.get_output_details().items():
        scale, zero_point = details["quantization"]
        if scale:
            outputs[name] = (outputs[name].astype(np.float32) - zero_point) * np.float32(scale)
    return outputs


# ---- the graph -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "head"),
    [("student", head) for head in HEADS]
    + [(variant, "span") for variant in VARIANTS if variant != "student"]
    + [("teacher", "classifier"), ("bert", "pretraining")],  # with a pooler; gelu_erf
)
def test_graph_equals_keras(variant, head):
    for tokens, padding in ((1, 0), (7, 0), (13, 4), (37, 1)):
        sample = inputs(tokens, seed=tokens, padding=padding)
        expected = keras_model(variant, head)(**sample)
        outputs = run(content(variant, head), sample)
        assert outputs.keys() == expected.keys()
        for name, values in expected.items():
            assert outputs[name].shape == values.shape
            # One token's logits are single numbers near zero: some processors round them 1.1e-5 off
            assert relative_error(outputs[name], values) < 3e-5


def test_attention_of_no_bottleneck():
    """The setting means nothing without bottlenecks, and is allowed."""
    built = build_model(
        VARIANTS["student"].replace(
            use_bottleneck=False, key_query_shared_bottleneck=False, use_bottleneck_attention=True
        ),
        "span",
    )
    sample = inputs(13)
    outputs = run(quantize.convert(built, "none"), sample)
    expected = built(sample)["start_logits"].numpy()
    assert relative_error(outputs["start_logits"], expected) < 1e-5


def test_encoder_of_a_model_with_another_head():
    sample, classifier = inputs(13), model(head="classifier")
    embedding = run(quantize.convert(classifier, "none", head="encoder"), sample)["embedding"]
    pooled = classifier(sample, training=False)["pooled_output"].numpy()
    assert relative_error(embedding, pooled) < 1e-5
    with pytest.raises(InputError, match="no span head"):
        quantize.convert(classifier, "none", head="span")


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("mode", ["none", "int8-full", "int16x8"])
def test_sentence_embeddings(mode, normalized):
    """The mean of real tokens: a folded stream's scales must be undone, padding counts nothing."""
    task = Head("encoder", pooling="mean", normalized=normalized)
    keras = MobileBert(VARIANTS["student"], task)
    copy_weights(model(head="encoder"), keras)
    calibration = samples((13,), 8)
    file = quantize.convert(keras, mode, calibration)
    for tokens, padding in ((13, 0), (13, 4), (37, 25)):
        sample = inputs(tokens, padding=padding)
        expected = keras(sample, training=False)["embedding"].numpy()
        found = run(file, sample)["embedding"]
        assert not normalized or abs(np.linalg.norm(expected) - 1) < 1e-5
        assert relative_error(found, expected) < (1e-5 if mode == "none" else 0.1)
    operations = {name for name, _, _ in flatbuffer.operators(flatbuffer.read(file))}
    assert mode == "none" or "CAST" not in operations  # no float between integers


def test_embeddings_of_short_texts_in_a_long_file():
    task = Head("encoder", pooling="mean", normalized=True)
    keras = MobileBert(VARIANTS["student"], task)
    copy_weights(model(head="encoder"), keras)
    texts = [inputs(37, i, 37 - tokens) for i, tokens in enumerate((3, 7, 13, 37) * 2)]
    calibration = [named(text) for text in texts]
    file = quantize.convert(keras, "int8-full", calibration, sequence_length=37)
    for sample in texts[:4]:
        expected = keras(sample, training=False)["embedding"].numpy()
        assert (run(file, sample)["embedding"] * expected).sum() > 0.9995  # cosine


def test_layer_norm_of_values_far_from_zero():
    """Its deviations from the mean are too small beside what they are of: the kernel aborts."""
    far = build_model(VARIANTS["without-opt"], "classifier", LABELS)
    copy_weights(model("without-opt"), far)
    bias = far.get_layer("embeddings").embedding_transformation.bias
    bias.assign(bias + 3000)
    calibration = samples((13,), 6)
    with pytest.raises(InputError, match="norm.* has numbers too far apart"):
        quantize.convert(far, "int8-full", calibration)


@pytest.mark.parametrize("split_in_int8", [False, True])
def test_shorter_texts_before_change_nothing(split_in_int8, tmp_path, monkeypatch):
    """A model in whose layout XNNPACK goes wrong if query and key are split in int8."""
    config = VARIANTS["student"].replace(
        hidden_size=128,
        embedding_size=64,
        intra_bottleneck_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=8,
    )
    built = build_model(config, "span")
    random = np.random.default_rng(0)
    for weight in built.weights:
        if "/norm/gamma" not in weight.path:
            weight.assign(random.normal(0, 0.3, weight.shape))
    right = quantize._recipe

    def wrong(*arguments):
        recipe = right(*arguments)
        recipe.add_static_config("block_", TFLOperationName.SPLIT, 8, 8)
        return recipe

    monkeypatch.setattr(quantize, "_recipe", wrong if split_in_int8 else right)
    calibration = samples((7, 13, 37), 6)
    packed = metadata.Packed("span", TOKENIZER.vocabulary, [], True, 37)
    file = tmp_path / "x.tflite"
    file.write_bytes(metadata.pack(quantize.convert(built, "int8", calibration), packed))
    texts = [inputs(tokens) for tokens in (2, 8, 16, 37)]
    found = verify.wrong_after_shorter(lambda: LiteModel(file), texts)
    assert (found is not None) == split_in_int8


@pytest.mark.parametrize("mode", ["none", "dynamic"])
def test_any_length_file_equals_fixed_length_files(mode):
    sample = inputs(13, padding=2)
    fixed = run(content("student", "span", mode, 13), sample)
    for name, values in run(content("student", "span", mode), sample).items():
        np.testing.assert_array_equal(values, fixed[name])


@pytest.mark.parametrize(
    ("variant", "mode"),
    [(variant, "none") for variant in VARIANTS] + [("student", mode) for mode in QUANTIZED],
)
def test_what_stands_at_padding_changes_nothing(variant, mode):
    for tokens, padding in ((7, 1), (13, 6), (37, 24)):
        clean = inputs(tokens, padding=padding)
        other = inputs(tokens, seed=99)
        dirty = {
            name: np.where(clean["input_mask"] == 1, clean[name], other[name]) for name in clean
        } | {"input_mask": clean["input_mask"]}
        assert (dirty["input_ids"] != clean["input_ids"]).any()
        file = content(variant, "span", mode)
        before, after = run(file, clean), run(file, dirty)
        # LiteRT's 16-bit softmax looks e^x up from -10 on: padding keeps a weight of 1/32768.
        limit = 0.02 if mode == "int16x8" else 0.0
        for name in before:
            real = tokens - padding
            assert relative_error(after[name][:, :real], before[name][:, :real]) <= limit


@pytest.mark.parametrize(
    ("mode", "limit"),
    [("none", 1e-5), ("int8", 1e-5), ("int8-full", 0.0), ("int16x8", 0.002), ("int4", 1e-5)],
)
def test_more_padding_changes_nothing(mode, limit):
    """Though the calibration texts have none: in integers its scores must have a place."""
    short, long = inputs(13, padding=1), padded(inputs(13, padding=1), 37)
    file = content("student", "span", mode)
    for name, values in run(file, short).items():
        assert relative_error(run(file, long)[name][:, :12], values[:, :12]) <= limit


@pytest.mark.parametrize("mode", quantize.MODES)
def test_only_builtins_and_no_shape_operation(mode):
    operations = export_module._operations(flatbuffer.read(content("student", "span", mode)))
    assert operations["FULLY_CONNECTED"] > 10
    if mode in ("int8-full", "int16x8"):  # not a single island of float
        assert operations["DEQUANTIZE"] == 2 and "CAST" not in operations  # the two outputs
        assert ("BATCH_MATMUL" in operations) == (mode == "int16x8")
    assert not {"SHAPE", "CUSTOM", "BROADCAST_TO"} & set(operations)


@pytest.mark.parametrize(
    ("mode", "length", "per_channel", "runtime"),
    [
        ("none", None, True, "2.4"),  # CUMSUM numbers the positions
        ("none", 13, True, "2.3"),
        ("dynamic", None, True, "2.17"),
        ("dynamic", None, False, "2.4"),
        ("dynamic", 13, False, "2.3"),
        ("dynamic", MAX_TOKENS, False, "2.3"),  # all positions, not a choice
        ("int8", 13, False, "2.3"),
        ("int8-full", 13, True, "2.3"),
        ("int8-full", 13, False, "2.3"),
        ("int16x8", None, True, "2.4"),
        ("int4", None, True, "2.18"),
        ("int4-mixed", 13, True, "2.18"),
    ],
)
def test_minimum_runtime(mode, length, per_channel, runtime):
    sample, *texts = (inputs(length or 13, i) for i in range(6))
    calibration = [named(text) for text in texts]
    arguments = dict(sequence_length=length, per_channel=per_channel)
    file = quantize.convert(model("student", "span"), mode, calibration, **arguments)
    assert flatbuffer.minimum_runtime(flatbuffer.read(file)) == runtime
    expected = keras_model("student", "span")(**sample)
    for name, values in run(file, sample).items():
        assert relative_error(values, expected[name]) < 0.4


def test_custom_operation_is_refused():
    parsed = flatbuffer.read(content())
    parsed.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
    parsed.operatorCodes[0].customCode = b"FlexErf"
    with pytest.raises(InputError, match="phones lack: FlexErf"):
        export_module._operations(parsed)


# ---- quantization --------------------------------------------------------------------------


def weights_of(file_content, operation):
    """The weights of dense layers (their second input), or the tables of gathers (their first)."""
    parsed = flatbuffer_utils.read_model_from_bytearray(file_content)
    graph = parsed.subgraphs[0]
    for op in graph.operators:
        code = parsed.operatorCodes[op.opcodeIndex].builtinCode
        if code == getattr(schema.BuiltinOperator, operation):
            yield graph.tensors[op.inputs[1 if operation == "FULLY_CONNECTED" else 0]]


@pytest.mark.parametrize("mode", ["dynamic", "int8"])
def test_embedding_tables_are_int8(mode):
    tables = weights_of(content("student", "span", mode), "GATHER")
    by_shape = {tuple(table.shape): table.type for table in tables}
    config = VARIANTS["student"]
    for rows, width in (
        (config.vocab_size, config.embedding_size),
        (config.max_position_embeddings, config.hidden_size),
        (config.type_vocab_size, config.hidden_size),
    ):
        assert by_shape[rows, width] == schema.TensorType.INT8


def test_int8_dense_weights_are_per_channel_and_symmetric():
    weights = list(weights_of(content("student", "span", "int8"), "FULLY_CONNECTED"))
    assert len(weights) == 18  # embedding, 8 in each of 2 blocks, head
    for tensor in weights:
        assert tensor.type == schema.TensorType.INT8
        assert len(tensor.quantization.scale) == tensor.shape[0]
        assert not np.any(tensor.quantization.zeroPoint)


def test_int8_blocks_compute_in_int8():
    parsed = flatbuffer_utils.read_model_from_bytearray(content("student", "span", "int8"))
    graph = parsed.subgraphs[0]
    types = {"block_": set(), "embeddings": set(), "span": set()}
    for op in graph.operators:
        code = parsed.operatorCodes[op.opcodeIndex].builtinCode
        if code == schema.BuiltinOperator.FULLY_CONNECTED:
            name = graph.tensors[op.outputs[0]].name.decode()
            (scope,) = (scope for scope in types if scope in name)
            types[scope].add(graph.tensors[op.inputs[0]].type)
    assert types == {
        "block_": {schema.TensorType.INT8},
        "embeddings": {schema.TensorType.FLOAT32},
        "span": {schema.TensorType.FLOAT32},
    }


def test_int8_outlier_that_a_layer_norm_takes_back():
    """One token's feed-forward network fires once, and hundreds of times as high as all else."""
    built = build_model(VARIANTS["bert"], "span")
    copy_weights(model("bert", "span"), built)
    weights = {weight.path: weight for weight in built.weights}

    def change(path, index, value):
        array = weights[path].numpy()
        array[index] = value
        weights[path].assign(array)

    change("embeddings/position_embeddings", (1, 0), 50)  # of token 1
    change("block_0/feed_forward_0/intermediate/kernel", (slice(None), 0), 0)
    change("block_0/feed_forward_0/intermediate/kernel", (0, 0), 100)
    change("block_0/feed_forward_0/intermediate/bias", 0, -300)
    change("block_0/feed_forward_0/output/dense/kernel", (0, 5), 3)
    calibration = samples((7, 13, 37), 12)
    sample = inputs(37, seed=3)
    expected = KerasModel(built, TOKENIZER)(**sample)
    outputs = run(quantize.convert(built, "int8", calibration), sample)
    for name, values in expected.items():
        assert relative_error(outputs[name], values) < 0.1


@pytest.mark.parametrize("mode", QUANTIZED)
def test_quantized_outputs_are_near(mode):
    expected = [keras_model(head="span")(**inputs(tokens, seed=3)) for tokens in (7, 13, 37)]
    for tokens, values in zip((7, 13, 37), expected, strict=True):
        outputs = run(content("student", "span", mode), inputs(tokens, seed=3))
        limits = {"float16": 0.01, "dynamic": 0.1, "int8": 0.3, "int8-full": 0.4, "int16x8": 0.2}
        limits |= {"int4": 0.6, "int4-mixed": 0.5}
        for name in values:
            assert 0 < relative_error(outputs[name], values[name]) < limits[mode]


@pytest.mark.parametrize("mode", ["dynamic", "int8"])
def test_same_model_same_bytes(mode):
    assert content.__wrapped__("student", "span", mode) == content("student", "span", mode)


def test_quantized_rows():
    table = np.array([[0.5, -1.27, 0.0], [0, 0, 0], [100, 50, -25.2]], np.float32)
    rows, scales = quantized_rows(table)
    assert rows.tolist() == [[50, -127, 0], [0, 0, 0], [127, 64, -32]]
    np.testing.assert_allclose(scales[:, 0], [0.01, 1, 100 / 127])
