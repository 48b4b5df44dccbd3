"""What 4-bit weights cost and save: files of a model in several modes, side by side.

    python benchmarks/four_bits.py MODEL_DIR OUTPUT_DIR [--modes int8 int4 ...] [--texts FILE]

Writes the files that are not there yet, and prints a table in markdown: size, memory of one
inference in a fresh process, milliseconds at 128 and at 25 tokens, and how near the outputs on real
text are to the model's. Milliseconds are processor time of the only thread, so that they mean
something beside other programs; the files take turns, and a ratio is of two runs side by side.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
import tabulate

from mobilebert_tf.environment import circumstances
from mobilebert_tf.errors import InputError
from mobilebert_tf.export import export
from mobilebert_tf.lite import timing
from mobilebert_tf.lite.calibration_data import samples
from mobilebert_tf.lite.export_config import ExportConfig
from mobilebert_tf.lite.quantize import MODES
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.lite.verify import agreement
from mobilebert_tf.modeling.model_directory import load_model, load_tokenizer
from mobilebert_tf.modeling.runner import KerasModel

LENGTHS = (128, 25)


def main() -> None:
    options = _options()
    files = {mode: _file(options, mode) for mode in options.modes}
    files = {mode: path for mode, path in files.items() if path}
    base, rows = next(iter(files)), {mode: {"mode": mode} for mode in files}
    for mode, path in files.items():
        rows[mode]["MB"] = f"{path.stat().st_size / 1e6:.2f}"
        rows[mode]["memory MB"] = f"{timing.footprint(path, LENGTHS[0])['memory_mb']:.1f}"
    for tokens in LENGTHS:
        times = dict(zip(files, _times(list(files.values()), tokens, options.runs), strict=True))
        for mode, seconds in times.items():
            ratios = seconds / times[base]
            rows[mode][f"ms, {tokens} tokens"] = _spread(1e3 * seconds)
            rows[mode][f"of {base}, {tokens}"] = _spread(ratios)
    _add_agreement(rows, files, options)
    print(tabulate.tabulate(rows.values(), headers="keys", tablefmt="pipe"))
    found = circumstances()
    print(f"{found['machine']['cpu']}, {found['date']}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("output")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["int8", "int4-mixed", "int4"])
    parser.add_argument("--texts", default="docs", help="to calibrate on")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--head", choices=["encoder"])
    return parser.parse_args()


def _file(options: argparse.Namespace, mode: str) -> Path | None:
    """The file of a mode; None if the export refuses it."""
    path = Path(options.output) / f"{mode}.tflite"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = options.texts
    try:
        config = ExportConfig(options.model, str(path), mode, head=options.head)
        return export(dataclasses.replace(config, calibration_data=texts))
    except InputError as error:
        print(f"left out: {path}: {error}")
        return None


def _times(paths: list[Path], tokens: int, runs: int) -> list[np.ndarray]:
    """Seconds of processor time of `runs` inferences of each file, [runs] each, taking turns."""
    files = [timing.TimedFile(path) for path in paths]
    for file in files:
        file.resize(tokens)
        file.run()
    seconds = np.zeros([len(files), runs])
    for index in range(runs):
        for number, file in enumerate(files):
            file.run()
            start = time.thread_time()
            file.run()
            seconds[number, index] = time.thread_time() - start
    return list(seconds)


def _add_agreement(rows: dict[str, dict], files: dict[str, Path], options) -> None:
    reference = KerasModel(load_model(options.model), load_tokenizer(options.model), options.head)
    texts = samples("docs", reference.tokenizer, LENGTHS[0], 24, masked=False)
    for mode, path in files.items():
        for name, values in agreement(LiteModel(path), reference, texts).items():
            rows[mode][f"cosine of {name}"] = f"{values['cosine']:.4f}"


def _spread(values: np.ndarray) -> str:
    low, middle, high = np.percentile(values, [10, 50, 90])
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    main()
