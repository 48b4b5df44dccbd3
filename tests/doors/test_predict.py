"""Predictions: the same from a model directory and its exported file, and what they mean."""

import csv
import dataclasses
import io
import json
import sys

import pytest
from support.lite_files import HEADS, packed_file
from support.models import VARIANTS, save_directory
from support.texts import LABELS, TOKENIZER

from mobilebert_tf import InputError, build_model, save_model
from mobilebert_tf.predict import PredictConfig, main, predict

TEXTS = {
    "pretraining": "the [MASK] sleeps near a [MASK] .",
    "classifier": "an old cat likes the river",
    "multi_label_classifier": "an old cat likes the river",
    "span": "that sees what ?",
    "encoder": "the red house",
}
CONTEXT = "the dog never sees the boat behind a tree"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    for head in HEADS:
        save_directory(folder / head, head=head)
        packed_file(folder / f"{head}.tflite", head)
    return folder


def _stdin(content):
    return io.TextIOWrapper(io.BytesIO(content))


def predicted(capsys, path, *texts, **options):
    predict(PredictConfig(model=str(path), texts=list(texts), json=True, **options))
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def assert_near(a, b):
    """The same structure with the same text, and numbers alike."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_near(x, y)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
    else:
        assert a == b


@pytest.mark.parametrize("head", HEADS)
def test_directory_and_file_agree(place, capsys, head):
    context = CONTEXT if head == "span" else None
    first = predicted(capsys, place / head, TEXTS[head], context=context)
    second = predicted(capsys, place / f"{head}.tflite", TEXTS[head], context=context)
    assert first[0]["text"] == TEXTS[head]
    assert_near(first, second)


def test_readable_lines_and_standard_input(place, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", _stdin(b"the [MASK] runs\na [MASK] sleeps\n"))
    predict(PredictConfig(model=str(place / "pretraining.tflite"), top=3))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "the [MASK] runs" and lines[2] == "a [MASK] sleeps"
    assert lines[1].count(",") == lines[3].count(",") == 2
    predict(PredictConfig(str(place / "classifier"), texts=["the dog", "a cat"]))
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("pretraining", "the dog runs", {}, r"no \[MASK\] in the text"),
        ("pretraining", "the [MASK] runs", {"top": 0}, "`top` is 0"),
        ("classifier", "dog " * 36, {}, "38 tokens, the model takes 37"),
        ("span", "what ?", {}, "`context`"),
        ("span", "what ?", {"context": " "}, "no text to answer from"),
        ("span", "what ?", {"context": "@absent.txt"}, "absent.txt"),
        ("classifier", "dog", {"input": "absent.txt"}, "give texts or `input`, not both"),
        ("classifier", None, {"input": "absent.txt"}, "absent.txt"),
        ("classifier", None, {"input": "texts.json"}, "neither a .txt file nor a .tsv"),
        ("classifier", "dog", {"pair_column": "b"}, "`pair_column` goes with `input`"),
        ("classifier", "dog", {"json": True, "format": "csv"}, "give `json` or `format` csv"),
        ("classifier", "dog", {"output": "/dev/null", "overwrite": True}, "/dev/null is no file"),
        ("nowhere", "x", {}, "nowhere"),
    ],
)
def test_bad_input(place, name, text, options, message):
    for path in (place / name, place / f"{name}.tflite"):
        with pytest.raises((InputError, OSError), match=message):
            predict(PredictConfig(model=str(path), texts=[text] if text else [], **options))


def test_standard_input_that_is_no_text(place, monkeypatch):
    config = PredictConfig(str(place / "classifier.tflite"))
    monkeypatch.setattr(sys, "stdin", _stdin(b"the dog\ncaf\xe9\n"))
    with pytest.raises(InputError, match="standard input, line 2: not UTF-8"):
        predict(config)
    monkeypatch.setattr(sys, "stdin", None)  # closed
    with pytest.raises(InputError, match="no standard input"):
        predict(config)


def test_half_a_surrogate_pair(place, tmp_path):
    """JSON may hold one, as where a text was cut inside an emoji; UTF-8 cannot."""
    (tmp_path / "x.JSONL").write_text('{"text": "the dog \\ud83d"}\n')
    output = tmp_path / "new" / "out.jsonl"
    config = PredictConfig(str(place / "classifier"), [], str(tmp_path / "x.JSONL"))
    predict(dataclasses.replace(config, json=True, output=str(output)))
    assert json.loads(output.read_text())["text"] == "the dog \ud83d"


@pytest.mark.parametrize("suffix", [".txt", ".tsv", ".csv", ".jsonl"])
def test_files_and_formats(place, tmp_path, capsys, suffix):
    rows = {
        ".txt": "the dog\nan old cat\n",
        ".tsv": "id\tsentence\n0\tthe dog\n1\tan old cat\n",
        ".csv": 'sentence,id\n"the dog",0\nan old cat,1\n',
        ".jsonl": '{"sentence": "the dog"}\n{"sentence": "an old cat"}\n',
    }
    file = tmp_path / f"texts{suffix}"
    file.write_text(rows[suffix])
    model = str(place / "classifier.tflite")
    given = dict(input=str(file), text_column="sentence")
    expected = predicted(capsys, model, "the dog", "an old cat")
    assert_near(predicted(capsys, model, **given), expected)
    predict(PredictConfig(model, **given, format="csv", output=str(tmp_path / "out.csv")))
    with open(tmp_path / "out.csv", newline="") as found:
        records = list(csv.DictReader(found))
    assert [r["text"] for r in records] == ["the dog", "an old cat"]
    assert [r["label"] for r in records] == [r["label"] for r in expected]
    assert json.loads(records[0]["probabilities"]).keys() == set(LABELS)
    with pytest.raises(InputError, match="exists"):
        predict(PredictConfig(model, **given, output=str(tmp_path / "out.csv")))


GAPS = {
    ".txt": "the dog\n\nan old cat\n",
    ".tsv": "id\ttext\na\tthe dog\nb\t\nc\tan old cat\n",
    ".csv": "id,text\na,the dog\nb,\nc,an old cat\n",
    ".jsonl": '{"id": "a", "text": "the dog"}\n{"id": "b", "text": null}\n'
    '{"id": "c", "text": "an old cat"}\n',
}


@pytest.mark.parametrize("suffix", GAPS)
def test_each_row_has_its_result(place, tmp_path, capsys, suffix):
    """Also a row without text, so that results and input can be joined again."""
    file = tmp_path / f"texts{suffix}"
    file.write_text(GAPS[suffix])
    options = {} if suffix == ".txt" else {"id_column": "id"}
    found = predicted(capsys, place / "classifier", input=str(file), **options)
    assert [row["text"] for row in found] == ["the dog", "", "an old cat"]
    assert [row.get("skipped") for row in found] == [None, "no text", None]
    assert [row.get("id") for row in found] == (["a", "b", "c"] if options else [None] * 3)
    config = PredictConfig(str(place / "classifier"), input=str(file), format="csv", **options)
    predict(config)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["label"] != "" for row in rows] == [True, False, True]
    predict(dataclasses.replace(config, format="text"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and "(skipped: no text)" in lines[1]
    assert not options or [line.partition("\t")[0] for line in lines] == ["a", "b", "c"]


@pytest.mark.parametrize("suffix", GAPS)
def test_ids_that_no_row_has(place, tmp_path, suffix):
    """One row with an id is enough; a mistaken name is no column of empty ids."""
    file = tmp_path / f"texts{suffix}"
    file.write_text(GAPS[suffix])
    message = "no column 'nr'" if suffix == ".txt" else "no row has a value in the column 'nr'"
    with pytest.raises(InputError, match=message):
        predict(PredictConfig(str(place / "classifier"), input=str(file), id_column="nr"))


def test_a_csv_has_the_column_of_ids_though_the_first_row_has_none(place, tmp_path, capsys):
    file = tmp_path / "texts.csv"
    file.write_text("id,text\n,the dog\nb,an old cat\n")
    predict(PredictConfig(str(place / "classifier"), input=str(file), id_column="id", format="csv"))
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [row["id"] for row in rows] == ["", "b"]


def test_a_blank_line_of_one_column_is_a_row(place, tmp_path, capsys):
    file = tmp_path / "texts.tsv"
    file.write_text("text\nthe dog\n\nan old cat\n\n")
    found = predicted(capsys, place / "classifier", input=str(file))
    assert [row["text"] for row in found] == ["the dog", "", "an old cat"]


def test_a_csv_that_begins_with_a_skipped_row(place, tmp_path, capsys):
    (tmp_path / "texts.csv").write_text("text,more\n,x\nthe dog,x\n")
    predict(
        PredictConfig(str(place / "classifier"), input=str(tmp_path / "texts.csv"), format="csv")
    )
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["text"] for row in rows] == ["", "the dog"] and rows[1]["label"] in LABELS


def test_a_csv_of_skipped_rows_alone(place, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", _stdin(b"\n\n"))
    predict(PredictConfig(str(place / "classifier"), format="csv"))
    assert capsys.readouterr().out == "text,skipped\n,no text\n,no text\n"
    monkeypatch.setattr(sys, "stdin", _stdin(b""))
    predict(PredictConfig(str(place / "classifier"), format="csv"))
    assert capsys.readouterr().out == ""


def test_given_words_have_one_label_each(tmp_path, capsys):
    """The words of a file of sentences, as training saw them."""
    model = build_model(VARIANTS["student"], "token_classifier", ("B-x", "I-x", "O"))
    save_model(model, tmp_path / "words", TOKENIZER)
    words = [["the", "d.o.g.", "a-b"], ["cat"]]
    conll = "".join("".join(f"{w} O\n" for w in sentence) + "\n" for sentence in words)
    (tmp_path / "x.conll").write_text(conll)
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"text": w}) + "\n" for w in words))
    for file in ("x.conll", "x.jsonl"):
        found = predicted(capsys, tmp_path / "words", input=str(tmp_path / file))
        assert [[word["text"] for word in row["words"]] for row in found] == words
    for name in ("id_column", "pair_column"):
        config = PredictConfig(str(tmp_path / "words"), input=str(tmp_path / "x.conll"))
        with pytest.raises(InputError, match=f"holds words: `{name}` is for tables"):
            predict(dataclasses.replace(config, **{name: "nr"}))
    (tmp_path / "texts.jsonl").write_text('{"text": "the cat-dog"}\n')
    (found,) = predicted(capsys, tmp_path / "words", input=str(tmp_path / "texts.jsonl"))
    assert [word["text"] for word in found["words"]] == ["the", "cat", "-", "dog"]


def test_contexts_come_from_a_column_or_a_file(place, tmp_path, capsys):
    file = tmp_path / "questions.csv"
    file.write_text(f"text,about\nwhat ?,{CONTEXT}\nwho ?,the dog\n")
    (tmp_path / "context.txt").write_text(CONTEXT)
    model = place / "span"
    first, second = predicted(capsys, model, input=str(file), pair_column="about")
    (again,) = predicted(capsys, model, "what ?", context=f"@{tmp_path / 'context.txt'}")
    assert_near(first, again)
    assert second["answer"] in "the dog"


def test_long_texts_are_cut_if_one_says_so(place, capsys):
    (found,) = predicted(capsys, place / "classifier", "dog " * 99, truncate=True)
    assert found["label"] in LABELS
    predict(PredictConfig(str(place / "classifier"), ["dog " * 99, "dog"], truncate=True))
    said = "1 texts cut to fit into the 37 tokens of the model"
    assert said in capsys.readouterr().err
    question = dict(texts=["dog " * 7], context=CONTEXT)
    predict(PredictConfig(str(place / "span"), **question))
    assert said in capsys.readouterr().err


def test_directory_without_vocabulary(place, tmp_path):
    directory = save_directory(tmp_path / "bare")
    (directory / "vocab.txt").unlink()
    with pytest.raises(InputError, match="no vocabulary"):
        predict(PredictConfig(model=str(directory), texts=["x"]))


@pytest.mark.parametrize("arguments", [[], ["nowhere", "text"], ["nowhere", "x", "--tops", "1"]])
def test_door_reports_bad_input(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_door_predicts(place, capsys):
    file = str(place / "classifier.tflite")
    main([file, "the dog", "a cat", "--json"])
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [result["text"] for result in results] == ["the dog", "a cat"]
    assert all(result["label"] in LABELS for result in results)
