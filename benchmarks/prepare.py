"""Speed and memory of `prepare`, beside Model Garden's create_pretraining_data.py.

    .venv-peers/bin/python benchmarks/prepare.py --text FILE... --vocabulary vocab.txt

All times are of the processor: other programs on the machine do not count. `--gigabytes 5` prepares
so much text instead, made of the files with changed words, and measures the memory.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from tabulate import tabulate

from mobilebert_tf.data.preparation import prepare_corpus
from mobilebert_tf.data.preparation_plan import PrepareConfig
from mobilebert_tf.data.prepared_text import DataConfig, prepare_text

ROW = 40  # bytes: 9 tokens
PAUSE = 10  # seconds between two looks at the memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", nargs="+", type=Path, required=True, help="text files")
    parser.add_argument("--vocabulary", type=Path, required=True, help="an uncased vocab.txt")
    parser.add_argument("--megabytes", type=float, default=6, help="of text that is compared")
    parser.add_argument("--gigabytes", type=float, help="of text whose memory is measured")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="for files"
    )
    arguments = parser.parse_args()
    if arguments.gigabytes:
        measure_memory(arguments, arguments.folder)
    else:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as directory:
            compare(arguments, Path(directory))


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Prints processor seconds of both programs on the same text, on one thread."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    text = folder / "text.txt"
    size = int(arguments.megabytes * 1e6 / len(arguments.text))
    text.write_text("\n\n".join(head(file, size) for file in arguments.text))
    config = PrepareConfig(
        corpus=str(text), output_dir=str(folder / "warm"), vocabulary=str(arguments.vocabulary)
    )
    prepare_corpus(config)  # loads what is loaded once
    begin = time.process_time()
    prepared = prepare_corpus(PrepareConfig(**{**vars(config), "output_dir": str(folder / "ours")}))
    ours = time.process_time() - begin
    tokens = sum(shard.tokens for shard in (*prepared.train, *prepared.held_out))
    rows = [row("prepare", tokens, ours)]
    data = DataConfig(
        corpus=str(prepared.directory), sequence_length=128, max_predictions_per_sequence=20
    )
    begin = time.process_time()
    examples = prepare_text(data, folder / "run").training_examples(0)
    for step in range(examples.batches_per_epoch):
        examples.batch(step)
    masks = time.process_time() - begin
    rows.append(row("prepare, and an epoch of masked batches", tokens, ours + masks))
    rows.append(row("Model Garden", tokens, model_garden(text, arguments.vocabulary, folder)))
    print(tabulate(rows, headers="keys", floatfmt=",.1f"))


def row(name: str, tokens: int, seconds: float) -> dict:
    return {
        "program": name,
        "tokens": f"{tokens:,}",
        "processor seconds": seconds,
        "tokens/s and core": f"{tokens / seconds:,.0f}",
    }


def model_garden(text: Path, vocabulary: Path, folder: Path) -> float:
    """Returns the processor seconds of Model Garden's program, without its imports."""
    from official.nlp.data import create_pretraining_data as program
    from official.nlp.tools import tokenization

    begin = time.process_time()
    tokenizer = tokenization.FullTokenizer(str(vocabulary), do_lower_case=True)
    instances = program.create_training_instances(
        [str(text)],
        tokenizer,
        lambda line: tokenization.convert_to_unicode(line).strip(),
        max_seq_length=128,
        dupe_factor=1,
        short_seq_prob=0.1,
        masked_lm_prob=0.15,
        max_predictions_per_seq=20,
        rng=random.Random(0),
    )
    program.write_instance_to_example_files(
        instances, tokenizer, 128, 20, [str(folder / "garden.tfrecord")], False, False
    )
    return time.process_time() - begin


def measure_memory(arguments: argparse.Namespace, folder: Path) -> None:
    """Prints wall and processor seconds and the memory of 2 processes and their parent.

    The folder stays, so that the same command goes on if it was killed.
    """
    text = folder / "text.txt"
    if not text.exists():
        write_changed(arguments.text, text, int(arguments.gigabytes * 1e9))
    command = [
        sys.executable, "-m", "mobilebert_tf.prepare", "--corpus", str(text), "--output-dir",
        str(folder / "prepared"), "--vocabulary", str(arguments.vocabulary), "--processes", "2",
    ]  # fmt: skip
    begin = time.perf_counter()
    process = subprocess.Popen(command)
    largest = together = 0
    while process.poll() is None:
        peaks, shares = memory(process.pid)
        largest, together = max(largest, *peaks), max(together, sum(shares))
        time.sleep(PAUSE)
    seconds = time.perf_counter() - begin
    times = os.times()
    print(f"{text.stat().st_size / 1e9:.2f} GB of text, exit code {process.returncode}")
    print(f"{seconds:,.0f} s; {times.children_user + times.children_system:,.0f} processor seconds")
    print(f"largest process: {largest / 1e6:,.0f} MB; all together: {together / 1e6:,.0f} MB")


def memory(pid: int) -> tuple[list[int], list[int]]:
    """Returns the highest resident and the present proportional memory of a process and of each of
    its children, in bytes."""
    peaks, shares = [0], [0]
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (str(pid), *children):
            peaks.append(field(Path("/proc", process, "status"), "VmHWM"))
            shares.append(field(Path("/proc", process, "smaps_rollup"), "Pss"))
    except OSError:  # it has just ended
        pass
    return peaks, shares


def field(path: Path, name: str) -> int:
    lines = (line.split() for line in path.read_text().splitlines())
    return next((1024 * int(line[1]) for line in lines if line[0] == f"{name}:"), 0)


def write_changed(files: list[Path], output: Path, size: int) -> None:
    """Writes `size` bytes of text: the files again and again, each time with other words.

    Every second row of ROW bytes comes from elsewhere, so that of two copies of a document a sixth
    of the runs of 5 tokens are the same.
    """
    text = "\n\n".join(file.read_text() for file in files).encode("ascii", "ignore")
    rows = np.frombuffer(text[: len(text) // ROW * ROW], np.uint8).reshape(-1, ROW)
    with open(output, "wb") as file:
        for copy in range(-(-size // rows.size)):
            changed = rows.copy()
            changed[1::2] = np.roll(rows, 100_003 * copy, axis=0)[1::2]
            file.write(changed.tobytes()[: size - file.tell()])


def head(file: Path, size: int) -> str:
    with open(file) as text:
        return text.read(size)


if __name__ == "__main__":
    main()
