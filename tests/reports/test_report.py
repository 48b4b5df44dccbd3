"""The report of a run: its sections, hostile text, partial folders, and the saved maps."""

import datetime
import json
import os
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from mobilebert_tf.errors import InputError
from mobilebert_tf.lite.metadata import Packed, pack
from mobilebert_tf.lite.quantize import convert
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.modeling.model import build_model
from mobilebert_tf.reports.attention_examples import predict_masks, save_examples
from mobilebert_tf.reports.plots import CURVE_POINTS, _stage_curves
from mobilebert_tf.reports.run_report import write_report
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece

HOSTILE = "<script>alert(1)</script>"
WORDS = [HOSTILE, "$a$", "&amp;", "'\"><img", *(f"word{i}" for i in range(27)), "##ing"]
LAYER_MAP = [1, 1]
SECTIONS = {  # a part of the folder: the heading of its section
    "history.jsonl": "Training",
    "evaluation.json": "Distance to the teacher, layer by layer",
    "measures": "Layers through the run",
    "maps.npz": "Attention maps of a held-out example",
    "student-int8.tflite": "Latency of the exported files",
}


@pytest.fixture(scope="module")
def tokenizer():
    return WordPiece([*SPECIAL_TOKENS, *WORDS])


@pytest.fixture(scope="module")
def models(tokenizer):
    sizes = ("test-teacher", "test-student")
    return [build_model(SIZES[n].replace(vocab_size=len(tokenizer)), "pretraining") for n in sizes]


@pytest.fixture(scope="module")
def batch(tokenizer):
    """Three examples of 13 places: 11 tokens, 13, and one of 7 without a [MASK]."""
    ids = np.random.default_rng(7).integers(5, len(tokenizer), [3, 13]).astype(np.int32)
    mask = (np.arange(13) < np.array([[11], [13], [7]])).astype(np.int32)
    ids[:, 0], ids[0, 2] = tokenizer.cls_id, tokenizer.vocabulary.index(HOSTILE)
    positions = np.array([[1, 5, 9], [3, 6, 0], [4, 0, 0]], np.int32)
    truth = np.where(positions > 0, np.take_along_axis(ids, positions, axis=1), 0)
    truth[0, 1] = tokenizer.vocabulary.index(HOSTILE)
    ids[0, [1, 5]] = ids[1, [3, 6]] = tokenizer.mask_id  # [0,9] and [2,4] keep their token
    return {
        "input_ids": ids * mask,
        "input_mask": mask,
        "segment_ids": np.zeros_like(ids),
        "masked_lm_positions": positions,
        "masked_lm_ids": truth.astype(np.int32),
        "masked_lm_weights": (positions > 0).astype(np.float32),
    }


@pytest.fixture(scope="module")
def maps(tmp_path_factory, models, tokenizer, batch):
    path = tmp_path_factory.mktemp("maps") / "maps.npz"
    save_examples(path, *models, layer_map=LAYER_MAP, tokenizer=tokenizer, batch=batch)
    return path


def records():
    """Two transfer stages and distillation, of a student; one stage of a teacher."""
    plan = [("teacher", 0, "pretraining"), ("student", 0, "transfer of layer 1"),
            ("student", 1, "transfer of layer 2"), ("student", 2, HOSTILE)]  # fmt: skip
    for model, index, stage in plan:
        for step in (10, 20, 30):
            terms = {"feature_map": 1 / step, "attention_map": 0.1 / step}
            if stage in ("pretraining", HOSTILE):
                terms = {"masked_lm": 90 / step, "next_sentence": 0.7, "mlm_accuracy": step / 100}
            yield {
                "model": model, "stage": stage, "stage_index": index, "step": step,
                "total_step": 30 * index + step, "learning_rate": 1e-3, "loss": 900 / step,
                **terms, "ms_per_step": 5000 / step, "tokens_per_second": 1e3,
            }  # fmt: skip


@pytest.fixture
def run(tmp_path, maps):
    """A finished run; no interpreter opens its exported file, so there are no guesses of it."""
    settings = {
        "kind": "DistillConfig", "seed": 13, "corpus": [HOSTILE], "sequence_length": 37,
        "batch_size": 7, "strategy": "progressive", "teacher": None,
        "teacher_model": "test-teacher", "student": HOSTILE,
    }  # fmt: skip
    machine = {"processor": "a processor", "cores": 2, "system": "Linux", "python": "3.12.0"}
    distances = {"feature_map": [2.0, 4.0], "attention_map": [0.5, 0.7]}
    halved = {name: [value / 2 for value in values] for name, values in distances.items()}
    models = {"teacher": {"mlm_accuracy": 0.4, "parameters": 4_000_000},
              "student": {"mlm_accuracy": 0.31, "parameters": 1_000_000}}  # fmt: skip
    evaluation = {"models": models, "examples": 1024, "strategy": "progressive",
                  "distances": {"before": distances, "after": halved, "end": halved}}  # fmt: skip
    latency = [{"tokens": t, "threads": 1, "p50_ms": t / 10, "p90_ms": t / 8, "p99_ms": t / 5}
               for t in (16, 32, 64)]  # fmt: skip
    export = {"file": "student-int8.tflite", "mode": "int8", "bytes": 1, "latency": latency,
              "agreement": {"mlm_logits": {"error": 0.1, "choice": 0.954}}}  # fmt: skip
    about = {"settings": settings, "versions": {"keras": "3.15.1"}, "machine": machine}
    contents = {"run.json": about, "evaluation.json": evaluation, "student-int8.json": export}
    for name, values in contents.items():
        (tmp_path / name).write_text(json.dumps(values))
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records()))
    (tmp_path / "maps.npz").write_bytes(maps.read_bytes())
    (tmp_path / "measures").mkdir()
    for step in (0, 30):
        measured = distances | {"attention_entropy": [3.0, 2.0], "largest_score": [1.0, 9.0]}
        path = tmp_path / "measures" / f"student-{step:08d}.json"
        path.write_text(json.dumps({"step": step} | measured))
    (tmp_path / "data").mkdir()
    tokens = np.array([7] * 3 + [*range(17)])  # 4 of 20 are 7s
    np.savez(tmp_path / "data" / "held_out.npz", tokens=tokens)
    (tmp_path / "student-int8.tflite").write_bytes(b"\0" * 1_500_000)
    return tmp_path


class Page(HTMLParser):
    """What a browser would see: tags, addresses and text by section."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.addresses, self.sections = [], [], {"": ""}
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href", "srcset", "data")]
        if tag == "h2":
            self.sections["h2"] = ""

    def handle_endtag(self, tag):
        if tag == "h2":
            self.sections[self.sections.pop("h2")] = ""

    def handle_data(self, data):
        self.sections[list(self.sections)[-1]] += data

    def text(self, section: str = "") -> str:
        return " ".join(self.sections[section].split())


def page_of(run) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def softmax(x):
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def test_attention_maps_are_the_softmax_of_the_scores(models, maps, batch, tokenizer):
    saved = np.load(maps)
    assert saved["tokens"].tolist() == tokenizer.tokens(batch["input_ids"][0, :11])
    for name, model, layers in zip(
        ("teacher", "student"), models, (LAYER_MAP, (0, 1)), strict=True
    ):
        scores = model({key: batch[key] for key in model.input})["attention_scores"]
        expected = [softmax(np.array(scores[layer])[0])[:, :11, :11] for layer in layers]
        assert saved[name].shape == (2, 2, 11, 11) and saved[name].dtype == np.float16
        np.testing.assert_allclose(saved[name], expected, atol=5e-4)
        np.testing.assert_allclose(saved[name].astype(float).sum(axis=-1), 1, atol=5e-3)


def test_guesses_are_the_best_of_one_mask_in_each_example(models, maps, batch, tokenizer):
    saved = np.load(maps)
    assert saved["position"].tolist() == [5, 6]  # of [1,5] in 11 tokens, of [3,6] in 13
    assert saved["true"].tolist() == tokenizer.tokens(batch["masked_lm_ids"][[0, 1], 1])
    assert HOSTILE in saved["before"][0] and "[MASK]" in saved["before"][1]
    for name, model in zip(("teacher", "student"), models, strict=True):
        logits = np.array(model({key: batch[key] for key in model.input})["mlm_logits"])
        for row in (0, 1):
            probabilities = softmax(logits[row, 1])
            best = sorted(range(len(tokenizer)), key=lambda i: -probabilities[i])[:3]
            assert saved[f"{name}_tokens"][row].tolist() == tokenizer.tokens(best)
            np.testing.assert_allclose(
                saved[f"{name}_probabilities"][row], probabilities[best], rtol=1e-5
            )


def test_exported_file_guesses_as_its_model(run, models, tokenizer):
    path = run / "student-int8.tflite"
    packed = Packed("pretraining", tokenizer.vocabulary, [], True, max_tokens=13)
    path.write_bytes(pack(convert(models[1], "none"), packed))
    saved = np.load(run / "maps.npz")
    tokens, probabilities = predict_masks(path, saved)
    assert tokens.tolist() == saved["student_tokens"].tolist()
    np.testing.assert_allclose(probabilities, saved["student_probabilities"], rtol=1e-4)
    assert page_of(run).text("Fill in the mask").count("student-int8.tflite") == 2


def test_a_batch_without_masks_gives_maps_alone(run, models, batch, tokenizer):
    unmasked = batch | {"masked_lm_positions": np.zeros([3, 3], np.int32)}
    save_examples(
        run / "maps.npz", *models, layer_map=LAYER_MAP, tokenizer=tokenizer, batch=unmasked
    )
    page = page_of(run)
    assert "All layers" in page.text(SECTIONS["maps.npz"])
    assert "goes on" in page.text("Fill in the mask")


def test_finished_run_shows_everything(run):
    page = page_of(run)
    top = page.text()
    assert "restores 31.0 % of the masked tokens in held-out text, its teacher 40.0 %" in top
    assert "it has 25% of the teacher's parameters" in top
    assert "student-int8.tflite: 1.50 MB, 3.2 ms for 32 tokens" in top  # 32 is nearest to 37
    assert "The loss fell in every stage" in top
    assert (
        "The student learned: always guessing the most frequent token would restore 20.0 %" in top
    )
    assert "feature maps fell: 3 before, 1.5 after" in top
    assert "student 31.0 % 4.00 – – 1,000,000" in top
    assert "student-int8.tflite – 1.50 3.2 ms at 32 tokens, 1 thread 95.4 % –" in top
    assert "teacher 30, student 90" in top
    stages = page.text("Training")
    assert "teacher: pretraining 30 250 90 30" in stages
    assert "student: transfer of layer 2 30 250 90 30" in stages
    assert "teacher: transfer terms" not in stages and "student: transfer terms" in stages
    assert "layer 1 (teacher's 2)" in page.text(SECTIONS["maps.npz"])
    assert "true:" in page.text("Fill in the mask")
    assert not any("Not there yet" in text for text in page.sections.values())
    assert page.tags.count("img") == 4 + 5 + 2 + 4 + 2 + 4 + 1


def test_failed_run_says_so(run):
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    lines[-1]["loss"] = 1e4
    (run / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["distances"]["after"]["attention_map"] = [0.5, 0.9]
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    np.savez(run / "data" / "held_out.npz", tokens=np.array([7, 7, 8, 9]))
    top = page_of(run).text()
    assert (
        "student hardly learned: always guessing the most frequent token would restore 50.0" in top
    )
    assert f"The loss did not fall in: {HOSTILE}" in top
    assert "attention maps did not fall: 0.6 before, 0.7 after" in top


def test_hostile_text_stays_text_and_nothing_is_loaded(run):
    html = write_report(run).read_text()
    page = Page(html)
    assert "<script" not in html and "script" not in page.tags
    assert HOSTILE in page.text() and HOSTILE in page.text("Training")
    assert HOSTILE in page.text("Fill in the mask")
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(", html)


@pytest.mark.parametrize("kept", [[], *([name] for name in SECTIONS)])
def test_partial_folder_says_what_is_missing(run, kept):
    for name in SECTIONS:
        if name not in kept:
            shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    page = page_of(run)
    for name, heading in SECTIONS.items():
        assert ("Not there yet" in page.text(heading)) == (name not in kept)
    assert f"export/to_tflite.py --model {run}/student" in page.text(
        SECTIONS["student-int8.tflite"]
    ) or kept == ["student-int8.tflite"]


def test_pretraining_run(run):
    (run / "evaluation.json").unlink()
    (run / "maps.npz").unlink()
    (run / "student-int8.tflite").unlink()
    about = json.loads((run / "run.json").read_text())
    kind = {"kind": "PretrainConfig", "model": "bert-base", "role": "teacher"}
    about["settings"] |= kind
    (run / "run.json").write_text(json.dumps(about))
    page = page_of(run)
    assert "Pre-training of bert-base teacher: loss 30 after 30 steps" in page.text()
    assert f"distill --teacher {run}/teacher" in page.text(SECTIONS["evaluation.json"])


def test_the_date_is_that_on_which_the_run_began(run):
    """Older runs do not tell it: run.json was last changed then, or later."""
    path = run / "run.json"
    changed = datetime.datetime(2001, 2, 3, 12).timestamp()
    os.utime(path, (changed, changed))
    assert "2001-02-03" in page_of(run).text()
    about = json.loads(path.read_text()) | {"started": "2020-01-02T12:00:00+00:00"}
    path.write_text(json.dumps(about))
    assert "2020-01-02" in page_of(run).text()


def test_long_curves_are_thinned_and_keep_their_mean():
    history = [{"total_step": step, "loss": float(step)} for step in range(1, 10_001)]
    stages = [{"records": history[:13]}, {"records": history[13:]}]
    pieces = _stage_curves(stages, "loss")
    assert len(pieces) == 2 and sum(len(steps) for steps, _ in pieces) <= CURVE_POINTS
    for steps, values in pieces:
        np.testing.assert_allclose(steps, values)
    np.testing.assert_allclose(pieces[0][1].mean(), 7)


def test_writing_again_gives_the_same_page(run):
    assert write_report(run).read_bytes() == write_report(run).read_bytes()
    assert not list(run.glob("*.partial"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("run.json", "is not a readable JSON file"),
        ("history.jsonl", "line 1 is damaged"),
        ("evaluation.json", "is not a readable JSON file"),
        ("maps.npz", "is damaged"),
    ],
)
def test_damaged_file_is_named(run, name, said):
    (run / name).write_bytes(b"{\x00\n")
    with pytest.raises(InputError, match=f"{name},? {said}"):
        write_report(run)
    assert not (run / "report.html").exists()


def test_folder_without_a_run(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        write_report(tmp_path)
