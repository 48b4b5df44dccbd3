"""What a teacher says of the texts of a fine-tuning, computed once for all epochs and trials.

Shape letters: N texts, T tokens.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from mobilebert_tf.files import read_arrays, whole_file
from mobilebert_tf.modeling.heads import HEADS
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.runner import collect
from mobilebert_tf.tasks.examples import OF_TOKENS

# Kinds of heads that a teacher can teach, and the outputs that the losses compare.
DISTILLED = {
    "classifier": ("logits",),
    "multi_label_classifier": ("logits",),
    "regression": ("score",),
    "token_classifier": ("logits",),
    "span": ("start_logits", "end_logits"),
}
_BATCH_SIZE = 32


def saved_outputs(
    teacher: MobileBert, arrays: dict[str, np.ndarray], path: Path
) -> dict[str, np.ndarray]:
    """Returns the teacher's outputs from a file, which is written if it is not there.

    Args: as for `outputs_of`; and the file, an .npz.
    """
    if not path.exists():
        outputs: dict[str, Any] = outputs_of(teacher, arrays)
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **outputs)
    return read_arrays(path)


def outputs_of(teacher: MobileBert, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a teacher's outputs by `array_name`, float32 [N,...]; of tokens, 0 at padding.

    Args:
        teacher: with a head of a kind in DISTILLED.
        arrays: MODEL_INPUTS by name, int32 [N,T], and others.
    """
    kind = teacher.head.kind
    names = {array_name(kind, output): output for output in DISTILLED[kind]}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)] * 3, autograph=False)
    def graph(input_ids, input_mask, segment_ids):
        inputs = dict(input_ids=input_ids, input_mask=input_mask, segment_ids=segment_ids)
        outputs = teacher(inputs, training=False)
        return {name: tf.cast(outputs[output], tf.float32) for name, output in names.items()}

    with tqdm(total=len(arrays["input_ids"]), desc="teacher", unit="text") as progress:

        def run(**inputs):
            progress.update(len(inputs["input_ids"]))
            return {name: value.numpy() for name, value in graph(**inputs).items()}

        return collect(run, arrays, _BATCH_SIZE, names if HEADS[kind].by_token else ())


def array_name(kind: str, output: str) -> str:
    """Returns the name that a teacher's output has among the arrays of a batch.

    Args:
        kind: of the teacher's head.
        output: of DISTILLED[kind].
    """
    return f"{OF_TOKENS if HEADS[kind].by_token else ''}teacher_{output}"
