"""BERT's normalisation as the table that tensorflow-text's FastBertNormalizer operation reads.

The operation looks up each character, and puts in what a table has for it. tensorflow-text's own
tables are not BERT's: one folds ligatures, fractions and the like, both make blanks of characters
that BERT drops. Ours comes from the tokenizer itself. The table is a double array (the units of
https://github.com/s-yata/darts-clone) over the bytes of UTF-8, in a flatbuffer.
"""

import functools

import flatbuffers
import numpy as np
import tensorflow as tf

from mobilebert_tf.text.tokenizer import WordPiece

# The value of a character: a flag that it changes, where its replacement starts in the pool, and
# the length of the replacement in the lowest bits.
_CHANGES, _LENGTH_BITS = 1 << 30, 6
# A unit of the double array is either a value, or a node: the byte that leads to it, a flag that
# it has a value, and the distance to its children.
_HAS_VALUE, _DISTANCE_BITS, _VALUE = 1 << 8, 10, 1 << 31
_CONTINUATION = 0x80  # of UTF-8's bytes but the first all are 0x80 to 0xBF


@functools.lru_cache(maxsize=2)
def normalizer_table(tokenizer: WordPiece) -> bytes:
    """Returns FastBertNormalizer's model_buffer, which changes characters as the tokenizer does."""
    characters = [chr(i).encode() for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    normal = tokenizer.normalized(tf.constant(characters)).numpy()
    pool, starts, values = bytearray(), {}, {}
    for character, replacement in zip(characters, normal, strict=True):
        if character == replacement:
            continue
        if replacement not in starts:
            starts[replacement] = len(pool)
            pool += replacement
        start = starts[replacement] << _LENGTH_BITS
        values[character] = _CHANGES | start | len(replacement)
    zero = values.pop(b"\0", 0)  # ends strings in a double array, so has a field of its own
    builder = flatbuffers.Builder()
    units = builder.CreateNumpyVector(_double_array(values))
    replacements = builder.CreateNumpyVector(np.frombuffer(bytes(pool), np.uint8))
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(1, units, 0)
    builder.PrependInt32Slot(2, zero, 0)
    builder.PrependUOffsetTRelativeSlot(3, replacements, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def _double_array(values: dict[bytes, int]) -> np.ndarray:
    """Returns a trie of the characters' UTF-8 bytes as uint32 units.

    Equal values and equal subtrees are stored once: the nearly one million unassigned characters,
    which BERT drops, take a few hundred units.
    """
    places = {value: 1 + i for i, value in enumerate(sorted(set(values.values())))}
    units = [0, *(_VALUE | value for value in places)]  # the first is the root
    root = {}
    for character, value in values.items():
        node = root
        for byte in character[:-1]:
            node = node.setdefault(byte, {})
        node[character[-1]] = value
    bases = {}

    def base(node: dict, first: int, width: int) -> int:
        """Places a node's children and returns the node's base: the child that byte b leads to
        stands at base XOR b."""
        children = tuple(
            (byte, places[child], _HAS_VALUE)
            if isinstance(child, int)
            else (byte, base(child, _CONTINUATION, 64), 0)
            for byte, child in node.items()
        )
        if children not in bases:
            start = len(units) + -len(units) % width
            units.extend([0] * (start + width - len(units)))
            bases[children] = start ^ first
            for byte, target, has_value in children:
                place = start ^ first ^ byte
                units[place] = byte | has_value | (place ^ target) << _DISTANCE_BITS
        return bases[children]

    units[0] = base(root, 0, 256) << _DISTANCE_BITS
    units.extend([0] * (-len(units) % 256))  # no byte of a damaged text leads out of the table
    return np.array(units, np.uint32)
