"""python -m mobilebert_tf.quantization_report FILE --model DIR: errors of a quantized file.

The output of each operation is compared with that of the same graph in float, on the texts with
which the export was checked. `--search` then keeps the worst operations in float, in an int4 file
with 8-bit weights, as few as needed.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tabulate
from tqdm import tqdm

from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import check_free, read_json, whole_file, write_json, write_whole
from mobilebert_tf.lite import metadata, quantize
from mobilebert_tf.lite.calibration_data import for_graph
from mobilebert_tf.lite.export import packed, texts, verified, with_tokenizer
from mobilebert_tf.lite.export_config import ExportConfig, model_directory, sha256_of_model
from mobilebert_tf.lite.layer_errors import LayerError, layer_errors
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.lite.verify import agreement, lost
from mobilebert_tf.modeling.config import parse_strictly
from mobilebert_tf.modeling.model_directory import load_model, load_tokenizer
from mobilebert_tf.modeling.quantization import Quantization
from mobilebert_tf.modeling.runner import KerasModel
from mobilebert_tf.reports.html_pages import render
from mobilebert_tf.tasks.evaluation import DevScores, check_options
from mobilebert_tf.tasks.user_files import Columns

_SHOWN = 15  # of the worst operations
_COMPARED_TEXTS = 16


@dataclass(frozen=True)
class ReportConfig:
    """Settings of a report on a quantized file.

    Args:
        file: a .tflite file of export/to_tflite.py, with its .json beside it.
        model: the model directory from which it was made.
        search: also write FILE-mixed.tflite, with as many of the worst operations in float as are
            needed for the file to agree with the model; of an int4 file, with 8-bit weights.
        task: a GLUE task, squad, or classification, multi-label, regression, tokens; score the
            model and the file, and search by the score.
        data_dir: folder of the task's files, as for finetune.
        columns: names of the columns of your own files.
        max_drop: how much lower the score may be for --search, where 0.01 is a point. Without a
            task, the share of texts or tokens with another prediction, or the distance from 1 of an
            encoder's cosine or of the concordance of scores.
        overwrite: replace the files of an earlier report.
    """

    file: str
    model: str
    search: bool = False
    task: str | None = None
    data_dir: str | None = None
    columns: Columns = Columns()
    max_drop: float = 0.01
    overwrite: bool = False

    def __post_init__(self):
        check_options(self.task, self.data_dir, self.max_drop)


def quantization_report(config: ReportConfig) -> None:
    """Compares each operation of a quantized file with the same operation in float, and writes
    FILE-layers.html and FILE-layers.json."""
    path, page = Path(config.file), _beside(config.file, "-layers.html")
    outputs = [page, page.with_suffix(".json")]
    if config.search:
        outputs.append(_beside(config.file, "-mixed.tflite"))
    for output in outputs:
        check_free(output, config.overwrite)
    export_config, report = _read_export(path, config.model)
    weights = load_model(config.model)
    model = KerasModel(weights, load_tokenizer(config.model), export_config.head)
    dev = None
    if config.task:
        dev = DevScores(model, config.model, config.task, config.data_dir, config.columns)
    checks, calibration = texts(export_config, model)
    arguments = (export_config.head, export_config.sequence_length)
    twin = quantize.float_twin(weights, report["mode"], calibration, *arguments)
    samples = [for_graph(sample) for sample in checks[:_COMPARED_TEXTS]]
    errors = layer_errors(path.read_bytes(), twin, samples)
    rows = [_row(error) for error in errors]
    worst = sorted(rows, key=lambda row: row["snr_db"])[:_SHOWN]
    print(tabulate.tabulate(worst, headers="keys", floatfmt=".4g"))
    record = {"file": path.name, "sha256": report["sha256"], "operations": rows}
    if dev is not None:
        record["scores"] = {"model": dev.original, "file": dev.score(LiteModel(path))}
        print(tabulate.tabulate([{"": k} | v for k, v in record["scores"].items()], headers="keys"))
    write_json(page.with_suffix(".json"), record)
    write_whole(page, _page(path, report, record))
    print(page)
    if config.search:
        mixed_export = _MixedExport(
            export_config,
            model=model,
            twin=twin,
            checks=checks,
            calibration=calibration,
            trained=weights.quantization,
            dev=dev,
        )
        _search(config, mixed_export, errors)


def _read_export(path: Path, model: str) -> tuple[ExportConfig, dict]:
    """Returns the options with which a file was exported, and its report.

    Raises InputError if there is no report, or it does not belong to the file and the model.
    """
    report_path = path.with_suffix(".json")
    if not path.is_file() or not report_path.is_file():
        raise InputError(f"{path} and {report_path.name} beside it: make both with an export")
    report = read_json(report_path)
    options, mode = report.get("options"), report.get("mode")
    if not isinstance(options, dict) or mode != options.get("quantize"):
        raise InputError(f"{report_path} is not the report of an export")
    config = parse_strictly(ExportConfig, options | {"model": model}, str(report_path))
    if mode in ("none", "float16"):
        raise InputError(f"{path} is not quantized: its mode is {mode}")
    if report.get("sha256") != hashlib.sha256(path.read_bytes()).hexdigest():
        raise InputError(f"{path} is not the file of {report_path.name}: export it again")
    if report.get("model_sha256") != sha256_of_model(model_directory(config)):
        raise InputError(f"{path} was not made from {model} as it is now: export it again")
    return config, report


def _beside(file: str, ending: str) -> Path:
    return Path(file).with_name(Path(file).stem + ending)


def _row(error: LayerError) -> dict:
    low, high = error.representable or (None, None)
    return {
        "operation": error.operation,
        "name": error.name.split(";")[0],
        "type": error.dtype,
        "snr_db": error.snr,
        "low": error.low,
        "high": error.high,
        "tensor_low": low,
        "tensor_high": high,
        "clipped": error.clipped / max(error.count, 1),
    }


def _page(path: Path, report: dict, record: dict) -> str:
    values = {"rows": record["operations"], "scores": record.get("scores", {})}
    return render("quantization_report.html", report=report | {"file": path.name}, **values)


@dataclass(frozen=True)
class _MixedExport:
    """Exports a model again with some operations in float.

    Args:
        config: of the original export.
        model: the model.
        twin: the file in float.
        checks: texts to compare file and model on.
        calibration: texts to calibrate on.
        trained: the result of quantization-aware training, if there was one.
        dev: dev scores to compare; None to compare predictions.
    """

    config: ExportConfig
    model: KerasModel
    twin: bytes
    checks: list[dict]
    calibration: list[dict]
    trained: Quantization | None
    dev: DevScores | None

    def content(self, in_float: list[str]) -> bytes:
        """Returns the file with the named operations in float."""
        content = quantize.quantized(
            self.twin,
            self.config.quantize,
            self.calibration,
            ranges=self.config.calibration_ranges,
            per_channel=self.config.per_channel,
            in_float=in_float,
            trained=self.trained,
        )
        if self.config.with_tokenizer:
            content, _ = with_tokenizer(content, self.config, self.model)
        return metadata.pack(content, packed(self.model))

    def drop(self, content: bytes) -> float:
        """Returns how much lower a file's score, or its agreement with the model, is: 0 to 1."""
        with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
            file.write(content)
            file.flush()
            lite = LiteModel(file.name)
            if self.dev is not None:
                return self.dev.drop(self.dev.score(lite))
            return lost(agreement(lite, self.model, self.checks))


def _search(config: ReportConfig, mixed: _MixedExport, errors: list[LayerError]) -> None:
    """Finds by bisection how many of the worst operations must be in float, or have 8-bit weights;
    writes that file."""
    better = "with 8-bit weights" if mixed.config.quantize in quantize.FOUR_BITS else "in float"
    integers = [error for error in errors if error.dtype in ("int4", "int8", "int16")]
    worst = [error.name for error in sorted(integers, key=lambda error: error.snr)]
    if not worst:
        raise InputError(f"{config.file} has no integer operation to keep in float")
    enough, best = len(worst), mixed.content(worst)
    drop = mixed.drop(best)
    if not drop <= config.max_drop:  # NaN is refused too
        raise InputError(
            f"even with all {len(worst)} operations {better} {100 * drop:.2f} % are lost, more "
            f"than `max_drop` {config.max_drop}"
        )
    too_few = -1
    with tqdm(
        total=int(np.ceil(np.log2(len(worst) + 1))), desc="searching", unit="file"
    ) as progress:
        while enough - too_few > 1:
            count = (enough + too_few) // 2
            content = mixed.content(worst[:count])
            content_drop = mixed.drop(content)
            if content_drop <= config.max_drop:
                enough, best, drop = count, content, content_drop
            else:
                too_few = count
            progress.update()
    target = _beside(config.file, "-mixed.tflite")
    with whole_file(target) as temporary:
        temporary.write_bytes(best)
        verified(temporary, str(target), mixed.config, mixed.model, mixed.checks)
    print(f"{target}: {enough} of {len(worst)} operations {better}, {100 * drop:.2f} % lost")
    for name in worst[:enough]:
        print(f"  {name.split(';')[0]}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(quantization_report, ReportConfig, {"file": None}, arguments=arguments)


if __name__ == "__main__":
    main()
