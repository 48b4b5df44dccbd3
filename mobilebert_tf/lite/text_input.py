"""The tokenizer in the file: signatures beside the model's own that turn strings into its inputs.

They are for runtimes that link tensorflow-text's operations; an app runs one signature after the
other. One graph with both would not be faster, would not open without these operations, and its
tensors would have no size before the text is read, which some delegates refuse. The model's own
signature runs as before, except in MediaPipe, which takes files with one graph only.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text
from ai_edge_litert import schema_py_generated as schema
from tensorflow.lite.python.interpreter import InterpreterWithCustomOps

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite import flatbuffer
from mobilebert_tf.lite.graph import INPUTS
from mobilebert_tf.lite.normalizer import normalizer_table
from mobilebert_tf.lite.stderr import without_stderr
from mobilebert_tf.modeling.heads import marks_places
from mobilebert_tf.text.tokenizer import WordPiece, piece_settings

PLACES = ("starts", "ends")
_LEAST_EQUAL = 0.9  # of the texts; only very long words and accents apart may differ


def signatures(kind: str) -> dict[str, tuple[str, ...]]:
    """Returns the signatures for a kind of head, with the names of their string inputs."""
    if kind == "span":
        return {"tokenize": ("question", "context")}
    return {"tokenize": ("text",), "tokenize_pair": ("text", "pair")}


class TokenizerGraph(tf.Module):
    """Strings to what WordPiece.encode makes of them, in operations that TFLite has.

    Args:
        tokenizer: whose vocabulary and normalisation it has.
        length: tokens at most; pairs lose them from the end of the longer text.
        padded: whether short texts are padded to the length.
        placed: also give each token's place in its text.
    """

    def __init__(self, tokenizer: WordPiece, length: int, padded: bool, placed: bool):
        super().__init__()
        self.length, self.padded, self.placed = length, padded, placed
        self._first, self._last, self._pad = tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id
        table = normalizer_table(tokenizer)
        self._normalizer = tensorflow_text.FastBertNormalizer(model_buffer=table)
        settings = piece_settings(tokenizer.vocabulary)
        self._pieces = tensorflow_text.FastWordpieceTokenizer(**settings)

    def concrete_function(self, names: Sequence[str]):
        """Returns the graph for one or two strings [1] of these names."""
        specs = {name: tf.TensorSpec([1], tf.string, name) for name in names}
        run = tf.function(lambda **texts: self(*(texts[name] for name in names)), autograph=False)
        return run.get_concrete_function(**specs)

    def __call__(self, *texts):
        """Strings [1] -> ids, mask, segment_ids, int32 [1,T]; and starts and ends, the bytes of the
        token in its own UTF-8 text (of [CLS], [SEP] and padding 0 and 0)."""
        tokens = [self._tokens(text, segment) for segment, text in enumerate(texts)]
        columns = [tf.constant([[self._first], [0], [0], [0]])]
        for segment, kept in enumerate(self._kept([tf.shape(x)[1] for x in tokens])):
            columns += [tokens[segment][:, :kept], [[self._last], [segment], [0], [0]]]
        ids, segments, starts, ends = tf.unstack(tf.concat(columns, axis=1))  # [T] each
        outputs = dict(zip(INPUTS, (ids, tf.zeros_like(ids) + 1, segments), strict=True))
        if self.placed:
            outputs |= dict(zip(PLACES, (starts, ends), strict=True))
        padding = {"ids": self._pad}
        return {name: self._shaped(row, padding.get(name, 0)) for name, row in outputs.items()}

    def _tokens(self, text, segment):
        """A string [1] -> ids, segments, starts and ends, int32 [4,tokens]."""
        normal, origins = self._normalizer.normalize_with_offsets(text)
        ids, starts, ends = (x.values for x in self._pieces.tokenize_with_offsets(normal))
        places = [tf.cast(tf.gather(origins.values, x), tf.int32) for x in (starts, ends)]
        return tf.stack([ids, tf.zeros_like(ids) + segment, *places])

    def _kept(self, lengths):
        """How many tokens of each text, as tokenizer.truncated_lengths."""
        budget = self.length - 1 - len(lengths)
        if len(lengths) == 1:
            return [tf.minimum(lengths[0], budget)]
        a = tf.minimum(lengths[0], tf.maximum(budget - lengths[1], (budget + 1) // 2))
        return [a, tf.minimum(lengths[1], budget - a)]

    def _shaped(self, row, padding):
        if not self.padded:
            return tf.reshape(row, [1, -1])
        missing = [[0, self.length - tf.size(row)]]
        return tf.reshape(tf.pad(row, missing, constant_values=padding), [1, self.length])


def add_tokenizer(
    content: bytes, tokenizer: WordPiece, kind: str, length: int, padded: bool
) -> bytes:
    """Returns a .tflite file with `signatures(kind)` beside its own.

    Arguments as in TokenizerGraph.
    """
    model = flatbuffer.read(content)
    graph = TokenizerGraph(tokenizer, length, padded, marks_places(kind))
    for name, inputs in signatures(kind).items():
        function = graph.concrete_function(inputs)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], graph)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.allow_custom_ops = True
        with without_stderr():
            added = converter.convert()
        _append(model, flatbuffer.read(added), name)
    return flatbuffer.write(model)


def _append(model: schema.ModelT, added: schema.ModelT, name: str) -> None:
    """Adds the other model's graph to the model, as another signature."""
    (graph,), (signature,) = added.subgraphs, added.signatureDefs
    for tensor in graph.tensors:
        tensor.buffer += len(model.buffers)
    for operator in graph.operators:
        operator.opcodeIndex += len(model.operatorCodes)
    graph.name = signature.signatureKey = name.encode()
    signature.subgraphIndex = len(model.subgraphs)
    model.buffers += added.buffers
    model.operatorCodes += added.operatorCodes
    model.subgraphs.append(graph)
    model.signatureDefs.append(signature)


def open_interpreter(content: bytes) -> InterpreterWithCustomOps:
    """Opens an interpreter that has tensorflow-text's operations."""
    with warnings.catch_warnings():  # LiteRT, which tf.lite advises, cannot load these operations
        warnings.simplefilter("ignore", UserWarning)
        return InterpreterWithCustomOps(
            model_content=content,
            custom_op_registerers=tensorflow_text.tflite_registrar.SELECT_TFTEXT_OPS,
        )


def string_runner(content: bytes, signature: str) -> Callable[..., dict[str, np.ndarray]]:
    """Returns a function that runs one of a file's signatures on strings by name."""
    runner = open_interpreter(content).get_signature_runner(signature)
    return lambda **texts: runner(
        **{name: np.array([text.encode()], object) for name, text in texts.items()}
    )


def equal_texts(
    content: bytes, tokenizer: WordPiece, kind: str, length: int, padded: bool, texts: Sequence[str]
) -> float:
    """Returns the share of texts, and of pairs of neighbours, with the tokenizer's own inputs.

    Raises InputError if it is so small that something must be wrong.
    """
    equal = []
    for name, inputs in signatures(kind).items():
        run = string_runner(content, name)
        for i in range(len(texts)):
            given = [texts[i - j] for j in range(len(inputs))]
            pair = given[1:] or None  # the second text, in a list
            encoded = tokenizer.encode(given[:1], pair, sequence_length=length)
            real = length if padded else encoded["input_mask"].sum()
            outputs = run(**dict(zip(inputs, given, strict=True)))
            expected = dict(zip(INPUTS, encoded.values(), strict=True))
            equal.append(all(np.array_equal(outputs[k], v[:, :real]) for k, v in expected.items()))
    share = float(np.mean(equal))
    if not share >= _LEAST_EQUAL:
        raise InputError(
            f"the tokenizer in the file reads {100 * (1 - share):.1f} % of the texts otherwise "
            "than BERT's, and the file is not kept: export it without `with_tokenizer`"
        )
    return share
