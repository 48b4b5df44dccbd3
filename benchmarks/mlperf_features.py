"""Our windows of SQuAD's dev set against those that MLPerf Mobile publishes, field by field.

    python benchmarks/mlperf_features.py dev-v1.1.json FOLDER vocab.txt

FOLDER holds squad_eval.tfrecord and squad_groundtruth.tfrecord of mlcommons/mobile_models,
vocab.txt is that of uncased English BERT. Exits with 1 if anything differs.
"""

import sys
import time
from pathlib import Path

import numpy as np
import tabulate

from mobilebert_tf.environment import circumstances
from mobilebert_tf.tasks.mlperf import read_mlperf
from mobilebert_tf.tasks.squad import read_squad
from mobilebert_tf.tasks.squad_windows import make_features
from mobilebert_tf.text.tokenizer import WordPiece

FIELDS = {  # ours: theirs
    "input_ids": "input_ids",
    "input_mask": "input_mask",
    "segment_ids": "segment_ids",
    "words": "token_to_orig_map",
    "max_context": "token_is_max_context",
}


def main(squad: Path, mlperf: Path, vocabulary: Path) -> int:
    tokenizer = WordPiece.from_file(vocabulary)
    started = time.perf_counter()
    questions = read_squad(squad)
    ours = make_features(questions, tokenizer)
    seconds = time.perf_counter() - started
    data = read_mlperf(mlperf / "squad_eval.tfrecord", mlperf / "squad_groundtruth.tfrecord")
    windows = len(data.features.input_ids)
    equal = {"qas_id": same([ids(questions, ours), ids(data.questions, data.features)])}
    for name, theirs in FIELDS.items():
        equal[theirs] = same([getattr(ours, name), getattr(data.features, name)])
    equal["answers"] = same([[q.answers for q in each] for each in (questions, data.questions)])
    totals = {name: windows for name in equal} | {"answers": len(data.questions)}
    rows = [(name, count, totals[name]) for name, count in equal.items()]
    print(tabulate.tabulate(rows, headers=("field", "equal", "of")))
    print(f"reading and cutting took {seconds:.1f} s: {circumstances()}")
    return int(equal != totals)


def ids(questions, features) -> list[str]:
    return [questions[index].id for index in features.question_index]


def same(pair) -> int:
    """How many rows are equal; none if there are not as many of either."""
    ours, theirs = pair
    if len(ours) != len(theirs):
        return 0
    return sum(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*map(Path, sys.argv[1:])))
