"""The report of a run: report.html, one self-contained page made of the files in its folder.

Written when a run ends and again after an export. What is not there yet is left out, with a line
that says which command makes it.
"""

import datetime
import json
import os
import statistics
import zipfile
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from mobilebert_tf import plots
from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.runtime import LiteModel
from mobilebert_tf.model import MobileBert
from mobilebert_tf.run_folder import RunFolder, write_whole
from mobilebert_tf.tokenizer import WordPiece

SENTENCES, GUESSES = 8, 3  # of the fill-mask examples
CONTEXT = 14  # tokens shown on each side of a mask
SHOWN_TOKENS = 40  # of an attention map: more labels than that cannot be read
INPUT_NAMES = ("input_ids", "input_mask", "segment_ids")


# ---------------------------------------------------------------------------------------------
# What only the models can tell, saved while they are loaded
# ---------------------------------------------------------------------------------------------


def save_maps(
    path: Path,
    teacher: MobileBert,
    student: MobileBert,
    layer_map: list[int],
    tokenizer: WordPiece,
    batch: dict[str, np.ndarray],
) -> None:
    """Saves what both models see in held-out text; one .npz file, whole or not at all.

    Attention maps of the batch's first example, without padding:
        tokens, str [T]; layer_map, int [L]: the teacher layer of each student layer;
        teacher, student, float16 [L,N,T,T]: probabilities after softmax.
    One [MASK] in each of K examples (8 at most):
        input_ids, input_mask, segment_ids, int32 [K,T]; position, int32 [K];
        before, after, true, str [K]: the text around the mask, and the token behind it;
        {teacher,student}_tokens, str [K,3], and _probabilities, float32 [K,3]: best guesses.
    """
    inputs = {name: batch[name][:SENTENCES] for name in student.input}
    length = int(batch["input_mask"][0].sum())
    rows, slots = _asked(batch, tokenizer.mask_id)
    arrays = {name: batch[name][rows] for name in INPUT_NAMES}
    arrays["position"] = batch["masked_lm_positions"][rows, slots]
    around = [
        _around(ids, position, tokenizer)
        for ids, position in zip(arrays["input_ids"], arrays["position"], strict=True)
    ]
    arrays["before"], arrays["after"] = np.array(around, dtype=str).reshape(-1, 2).T
    arrays["true"] = np.array(tokenizer.tokens(batch["masked_lm_ids"][rows, slots]), dtype=str)
    arrays["tokens"] = np.array(tokenizer.tokens(batch["input_ids"][0, :length]))
    arrays["layer_map"] = np.array(layer_map)
    layers = {"teacher": layer_map, "student": range(len(layer_map))}
    for name, model in (("teacher", teacher), ("student", student)):
        outputs = model(inputs, training=False)
        scores = [outputs["attention_scores"][layer][0, :, :length, :length]
                  for layer in layers[name]]  # fmt: skip
        arrays[name] = _softmax(np.array(scores)).astype(np.float16)
        guesses = _best(np.array(outputs["mlm_logits"])[rows, slots], tokenizer)
        arrays[f"{name}_tokens"], arrays[f"{name}_probabilities"] = guesses
    aside = f"{path}.partial"
    with open(aside, "wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(aside, path)


def _asked(batch: dict[str, np.ndarray], mask_id: int) -> tuple[np.ndarray, np.ndarray]:
    """In each example the [MASK] with most context on both sides: its row and its slot, [K]."""
    positions = batch["masked_lm_positions"][:SENTENCES]  # [B,P]; unused ones point to [CLS]
    masked = np.take_along_axis(batch["input_ids"][:SENTENCES], positions, axis=1) == mask_id
    lengths = batch["input_mask"][:SENTENCES].sum(axis=1, keepdims=True)  # [B,1]
    distance = np.where(masked, np.abs(positions - lengths / 2), np.inf)
    rows = np.flatnonzero(masked.any(axis=1))
    return rows, distance.argmin(axis=1)[rows]


def _around(ids: np.ndarray, position: int, tokenizer: WordPiece) -> tuple[str, str]:
    """The text before and after a position."""
    before = tokenizer.decode(ids[max(position - CONTEXT, 0) : position])
    return before, tokenizer.decode(ids[position + 1 : position + 1 + CONTEXT])


def _best(logits: np.ndarray, tokenizer: WordPiece) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest tokens and their probabilities, [K,3] each, of logits [K,V]."""
    probabilities = _softmax(logits)
    ids = np.argsort(-probabilities, axis=1)[:, :GUESSES]
    tokens = np.array(tokenizer.tokens(ids.ravel()), dtype=str).reshape(ids.shape)
    return tokens, np.take_along_axis(probabilities, ids, axis=1)


def _softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


# ---------------------------------------------------------------------------------------------
# The page
# ---------------------------------------------------------------------------------------------


def write_report(run_directory: Path) -> Path:
    """Writes report.html, whole or not at all, from what the run's folder holds; gives its path.

    Raises InputError if the folder holds no run, or a damaged file.
    """
    folder = RunFolder(Path(run_directory))
    run = _read_json(folder / "run.json")
    if run is None:
        raise InputError(f"{folder.path} holds no run: it has no run.json")
    evaluation = _read_json(folder / "evaluation.json")
    maps, files = _read_arrays(folder / "maps.npz"), _files(folder.path)
    stages = _stages(folder.history())
    rows = _rows(evaluation, files, run["settings"]["data"]["sequence_length"])
    page = _template().render(
        folder=folder.path,
        run=run,
        all_settings=json.dumps(run["settings"], indent=2),
        started=datetime.date.fromtimestamp((folder / "run.json").stat().st_mtime),
        headline=_headline(stages, rows),
        checks=_checks(stages, evaluation),
        rows=rows,
        evaluation=evaluation,
        stages=stages,
        curves=plots.curves(stages),
        distances=evaluation and plots.distances(evaluation["distances"]),
        attention=maps and _attention(maps),
        sentences=maps and _sentences(maps, files, folder.path),
        latency=plots.latency(files),
    )
    write_whole(folder / "report.html", page)
    return folder / "report.html"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    environment.filters["digits"] = lambda value: f"{value:.3g}" if value < 100 else f"{value:,.0f}"
    return environment.get_template("report.html")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _read_json(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _files(directory: Path) -> list[dict[str, Any]]:
    """The exported files, each with its exporter's report if that is there."""
    return [
        {"latency": [], "agreement": {}}
        | (_read_json(path.with_suffix(".json")) or {})
        | {"file": path.name, "bytes": path.stat().st_size}
        for path in sorted(directory.glob("*.tflite"))
    ]


def _stages(history: list[dict]) -> list[dict[str, Any]]:
    """The stages in the order of training, each with its records."""
    records = {}
    for record in history:
        records.setdefault((record["model"], record["stage_index"]), []).append(record)
    return [
        {
            "model": model,
            "name": of_stage[0]["stage"],
            "steps": of_stage[-1]["step"],
            "milliseconds": statistics.median(record["ms_per_step"] for record in of_stage),
            "first": of_stage[0]["loss"],
            "last": of_stage[-1]["loss"],
            "records": of_stage,
        }
        for (model, _), of_stage in records.items()
    ]


def _rows(evaluation: dict | None, files: list[dict], tokens: int) -> list[dict[str, Any]]:
    """The table of models and files; latency is that at the length nearest to `tokens`."""
    rows = []
    for name, model in (evaluation["models"] if evaluation else {}).items():
        size = {"parameters": model["parameters"], "bytes": 4 * model["parameters"]}
        rows.append({"name": name, "accuracy": model["mlm_accuracy"]} | size)
    for file in files:
        timings = sorted(file["latency"], key=lambda row: abs(row["tokens"] - tokens))
        choices = [values["choice"] for values in file["agreement"].values() if "choice" in values]
        rows.append(
            {
                "name": file["file"],
                "bytes": file["bytes"],
                "accuracy": file.get("mlm_accuracy"),
                "agreement": min(choices, default=None),
                "timing": timings[0] if timings else None,
            }
        )
    return rows


def _headline(stages: list[dict], rows: list[dict]) -> str:
    """The result in a sentence or two."""
    by_name = {row["name"]: row for row in rows}
    if "student" not in by_name:
        models = {stage["model"]: stage["records"][-1] for stage in stages}
        ends = [
            f"{m}: loss {r['loss']:.3g} after {r['total_step']:,} steps" for m, r in models.items()
        ]
        return "; ".join(ends) or "nothing has been trained yet"
    teacher, student = by_name["teacher"], by_name["student"]
    text = (
        f"The student restores {_percent(student['accuracy'])} of the masked tokens in held-out "
        f"text, its teacher {_percent(teacher['accuracy'])}, with "
        f"{student['parameters'] / teacher['parameters']:.0%} of the teacher's parameters."
    )
    timed = [row for row in rows if row.get("timing")]
    if timed:
        best = min(timed, key=lambda row: row["bytes"])
        text += (
            f" {best['name']}: {best['bytes'] / 1e6:.2f} MB, "
            f"{best['timing']['p50_ms']:.1f} ms for {best['timing']['tokens']} tokens."
        )
    return text


def _checks(stages: list[dict], evaluation: dict | None) -> list[tuple[bool, str]]:
    """What shows at a glance whether the run worked: (good, a sentence)."""
    checks = []
    # A stage that was logged once has no first and last to compare.
    compared = [stage for stage in stages if len(stage["records"]) > 1]
    if compared:
        stuck = [stage["name"] for stage in compared if stage["last"] >= stage["first"]]
        text = (
            f"The loss did not fall in {', '.join(stuck)}"
            if stuck
            else "The loss fell in every stage"
        )
        checks.append((not stuck, text))
    if evaluation and evaluation["strategy"] != "none":
        before, after = evaluation["distances"]["before"], evaluation["distances"]["after"]
        for name, title in (("feature_map", "feature maps"), ("attention_map", "attention maps")):
            old, new = np.mean(before[name]), np.mean(after[name])
            verb = "fell" if new < old else "did not fall"
            text = f"The distance of the {title} {verb}: {old:.3g} before, {new:.3g} after"
            checks.append((bool(new < old), text))
    return checks


def _attention(maps: dict[str, np.ndarray]) -> dict[str, Any]:
    """The first layer's maps with token labels, and small ones of all layers."""
    tokens = maps["tokens"][:SHOWN_TOKENS].tolist()
    shown = len(tokens)
    pairs = [
        [heads[:, :shown, :shown].astype(np.float32).mean(axis=0) for heads in pair]
        for pair in zip(maps["teacher"], maps["student"], strict=True)
    ]  # [L][2], each [T,T]
    layers = zip(maps["layer_map"].tolist(), pairs, strict=True)
    return {
        "shown": shown,
        "length": len(maps["tokens"]),
        "labelled": plots.labelled_maps(pairs[0], tokens),
        "layers": [
            {"student": index + 1, "teacher": teacher + 1, "maps": plots.small_maps(pair)}
            for index, (teacher, pair) in enumerate(layers)
        ],
    }


def _sentences(maps: dict[str, np.ndarray], files: list[dict], directory: Path) -> list[dict]:
    """The fill-mask examples with every model's guesses."""
    guesses = {
        name: (maps[f"{name}_tokens"], maps[f"{name}_probabilities"])
        for name in plots.TEACHER_STUDENT
    }
    for file in files:
        guessed = _guesses_of_file(directory / file["file"], maps)
        if guessed is not None:
            guesses[file["file"]] = guessed
    return [
        {name: str(maps[name][row]) for name in ("before", "after", "true")}
        | {
            "guesses": {
                name: list(zip(tokens[row].tolist(), probabilities[row].tolist(), strict=True))
                for name, (tokens, probabilities) in guesses.items()
            }
        }
        for row in range(len(maps["true"]))
    ]


def _guesses_of_file(path: Path, maps: dict) -> tuple[np.ndarray, np.ndarray] | None:
    """What an exported file fills in; None if it is no masked language model, or takes less."""
    try:
        model = LiteModel(path)
        if model.kind != "pretraining" or not len(maps["true"]):
            return None
        logits = []
        for row, length in enumerate(maps["input_mask"].sum(axis=1)):
            inputs = {name: maps[name][row, None, :length] for name in INPUT_NAMES}
            logits.append(model(**inputs)["mlm_logits"][0, maps["position"][row]])
    except InputError:
        return None
    return _best(np.array(logits), model.tokenizer)
