"""Our .tflite files against other people's exports of the same weights, on this machine.

    python benchmarks/compare_peers.py --output FOLDER --texts dev.tsv --vocabulary vocab.txt

In an environment that has the peers: `make compare-peers` makes it. What cannot be built is said
and left out; what is built stays, so that the same command goes on where it was stopped. FOLDER
gets results.json, results.md and latency.png.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import tokenizers
from peers import files, measure, models, report
from peers.files import Product

from mobilebert_tf.cli import door
from mobilebert_tf.environment import circumstances
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import write_json, write_whole
from mobilebert_tf.modeling.model_directory import load_model, load_tokenizer
from mobilebert_tf.modeling.runner import KerasModel
from mobilebert_tf.text.tokenizer import WordPiece

THREADS = (1, 2)
PACKAGES = "transformers tf-keras tf-models-official torch onnx onnxruntime tokenizers".split()


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        layers: of made models; None for all.
        runs: timed inferences of each file.
        sentences: texts that are measured one by one.
        compared: how many of them are given to the Keras model too.
        loads: fresh processes for load time and memory.
        calibration: texts that full int8 files of others are calibrated on.
        at_once: builds at the same time; their seconds mean little if it is more than one.
    """

    layers: int | None = None
    runs: int = 100
    sentences: int = 200
    compared: int = 48
    loads: int = 3
    calibration: int = 64
    at_once: int = 1


FULL = Sizes()
SMALL = Sizes(layers=2, runs=5, sentences=20, compared=4, loads=1, calibration=4, at_once=2)


@dataclass(frozen=True)
class CompareConfig:
    """What to compare.

    Args:
        output: the folder for everything.
        texts: a .tsv with the column "sentence" (SST-2's dev.tsv), or a text a line: the first 200
            are measured, the others calibrate.
        vocabulary: vocab.txt of the models that are made.
        model: a model directory with a classifier; by default a MobileBERT with random weights.
        groups: of classifier (128 tokens and sentences), span (384) and paper (its latency table).
        small: models of 2 layers and few runs, to try all of it in minutes.
        build_only: build the files, and measure when the machine is quiet, with the same command.
    """

    output: str
    texts: str
    vocabulary: str | None = None
    model: str | None = None
    groups: list[Literal["classifier", "span", "paper"]] = field(
        default_factory=lambda: ["classifier", "span", "paper"]
    )
    small: bool = False
    build_only: bool = False


def compare(config: CompareConfig) -> None:
    """Builds our files and others' of the same models, and measures them in turns."""
    if "classifier" not in config.groups:
        raise InputError(f"groups are {config.groups}: classifier must be one of them")
    folder, sizes = Path(config.output).resolve(), SMALL if config.small else FULL
    texts = models.read(config.texts, sizes.sentences)
    _claim(folder, config)
    _prepare(folder, config, sizes, texts)
    products, left_out = _built(folder, sizes, config.groups)
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}", flush=True)
    if not config.build_only:
        _report(folder, _measured(folder, sizes, texts, products) | {"left_out": left_out})


def _built(folder: Path, sizes: Sizes, groups: list[str]) -> tuple[list[Product], dict[str, str]]:
    """The files that are there now, and why others are not."""
    products = [product for product in files.products(folder) if product.group in groups]
    left_out = files.convert(folder)
    with ThreadPoolExecutor(sizes.at_once) as pool:
        problems = list(pool.map(lambda product: files.build(product, folder), products))
    for product, problem in zip(products, problems, strict=True):
        if problem:
            left_out[f"{product.group}: {product.name}"] = problem
    done = [p for p, problem in zip(products, problems, strict=True) if problem is None]
    return done, left_out


def _claim(folder: Path, config: CompareConfig) -> None:
    """Keeps two comparisons from being mixed in one folder."""
    settings = dataclasses.asdict(config) | {"texts": _sha256(config.texts)}
    settings["vocabulary"] = config.vocabulary and _sha256(config.vocabulary)
    settings["model"] = config.model and _sha256(Path(config.model) / "model.weights.h5")
    for key in ("output", "build_only", "groups"):  # these may change from call to call
        del settings[key]
    path = folder / "settings.json"
    if path.exists() and json.loads(path.read_text()) != settings:
        raise InputError(f"{folder} holds a comparison with other options: choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)


def _sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _prepare(folder: Path, config: CompareConfig, sizes: Sizes, texts: models.Texts) -> None:
    """The models in our format, and the texts to calibrate on."""
    directory = folder / "models"
    if not config.model and not config.vocabulary:
        raise InputError("give --vocabulary vocab.txt, or a trained --model")
    if not (directory / "span").is_dir():
        if config.model:
            models.take(directory, config.model)
        else:
            models.make(directory, config.vocabulary, texts, sizes.layers)
    tokenizer = load_tokenizer(directory / "classifier")
    models.make_paper(directory, tokenizer, texts, sizes.layers)
    for head in models.LENGTHS:
        write_whole(folder / f"calibration-{head}.txt", "\n".join(texts.lines(head)) + "\n")
        inputs = texts.inputs(head, tokenizer, sizes.calibration, calibration=True)
        np.savez(folder / f"calibration-{head}.npz", **inputs)


def _measured(folder: Path, sizes: Sizes, texts: models.Texts, products: list[Product]) -> dict:
    """What results.json says, but for what was left out."""
    tokenizer = load_tokenizer(folder / "models" / "classifier")
    groups = {head: _of(products, head) for head in models.LENGTHS}
    paper = _of(products, "paper")
    lengths = {head: tokens for head, tokens in models.LENGTHS.items() if groups[head]}
    base = _base(groups["classifier"])
    found = {"base": base} | _circumstances() | {"latency": {}, "footprint": {}, "agreement": {}}
    for head, tokens in lengths.items():
        inputs = _real_tokens(tokens, len(tokenizer))
        for threads in THREADS:
            title = f"{head}, {tokens} tokens, {threads} thread{'s' * (threads > 1)}"
            print(f"measuring {title}", flush=True)
            seconds = measure.latency(groups[head], inputs, threads, sizes.runs)
            found["latency"][title] = measure.compared(seconds, _base(groups[head]))
    print("measuring sentences", flush=True)
    encoders = _encoders(folder, groups["classifier"], tokenizer)
    rows = measure.sentences(groups["classifier"], texts.measured, encoders, base)
    found["sentences"] = rows
    found["texts"] = _described(texts, tokenizer)
    for head, tokens in lengths.items():
        print(f"measuring load, memory and agreement, {head}", flush=True)
        found["footprint"][head] = measure.footprints(groups[head], tokens, sizes.loads)
        reference = KerasModel(load_model(folder / "models" / head), tokenizer)
        inputs = texts.inputs(head, tokenizer, sizes.compared)
        found["agreement"][head] = measure.agreements(groups[head], reference, inputs)
    return found | {"paper": _paper(paper, len(tokenizer), sizes.runs) if paper else {}}


def _of(products: list[Product], group: str) -> list[Product]:
    return [product for product in products if product.group == group]


def _base(products: list[Product]) -> str:
    """What the others are compared with: if it could not be built, the first peer, or file."""
    names = [product.name for product in products]
    peers = [name for name in names if name not in files.OURS]
    return files.BASE if files.BASE in names else (peers or names)[0]


def _real_tokens(tokens: int, vocabulary_size: int) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(0).integers(0, vocabulary_size, [1, tokens])
    return {"ids": ids, "mask": np.ones_like(ids), "segments": np.zeros_like(ids)}


def _encoders(folder: Path, products: list[Product], tokenizer: WordPiece) -> dict[str, Callable]:
    """Of each file: our tokenizer for ours; Hugging Face's for others, padded if they must be."""
    path = str(folder / "huggingface" / "classifier" / "tokenizer.json")
    padded, cut = tokenizers.Tokenizer.from_file(path), tokenizers.Tokenizer.from_file(path)
    for theirs in (padded, cut):
        theirs.enable_truncation(models.LENGTHS["classifier"])
    padded.enable_padding(length=models.LENGTHS["classifier"])

    def encoder(product: Product) -> Callable:
        if product.name in files.OURS:
            return functools.partial(_ours, tokenizer)
        return functools.partial(_theirs, cut if product.any_length else padded)

    return {product.name: encoder(product) for product in products}


def _ours(tokenizer: WordPiece, text: str) -> dict[str, np.ndarray]:
    return dict(zip(("ids", "mask", "segments"), tokenizer.encode([text]).values(), strict=True))


def _theirs(tokenizer: tokenizers.Tokenizer, text: str) -> dict[str, np.ndarray]:
    found = tokenizer.encode(text)
    arrays = {"ids": found.ids, "mask": found.attention_mask, "segments": found.type_ids}
    return {name: np.array([values]) for name, values in arrays.items()}


def _described(texts: models.Texts, tokenizer: WordPiece) -> dict:
    tokens = tokenizer.encode(texts.measured)["input_mask"].sum(axis=1)
    return {"count": len(texts.measured), "mean_tokens": float(tokens.mean())}


def _paper(products: list[Product], vocabulary_size: int, runs: int) -> dict[str, list[dict]]:
    """By precision, the paper's models on one thread, each compared with MobileBERT."""
    print("measuring the paper's table", flush=True)
    tokens = models.LENGTHS["classifier"]
    seconds = measure.latency(products, _real_tokens(tokens, vocabulary_size), 1, runs)
    found = {}
    for mode in files.PAPER_MODES:
        own = {name: values for name, values in seconds.items() if name.endswith(f", {mode}")}
        if own:
            found[f"{mode}, {tokens} tokens, 1 thread"] = measure.compared(own, next(iter(own)))
    return found


def _circumstances() -> dict:
    found = circumstances()
    for name in PACKAGES:
        try:
            found["versions"][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass  # the peer is left out, which is said
    return found


def _report(folder: Path, results: dict) -> None:
    write_json(folder / "results.json", results)
    text = report.markdown(results)
    write_whole(folder / "results.md", text)
    report.plot(results, folder / "latency.png")
    print(text)


if __name__ == "__main__":
    door(compare, CompareConfig)
