"""Files become examples, examples become batches, outputs become scores."""

import csv
import io
import json

import numpy as np
import pytest
from support.texts import WIDE_TOKENIZER as TOKENIZER

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.runner import by_length
from mobilebert_tf.tasks.examples import NO_LABEL, Batches, add_unlabelled, encode
from mobilebert_tf.tasks.registry import open_task
from mobilebert_tf.tasks.user_files import Columns, read_unlabelled
from mobilebert_tf.training.finetuner import labelled

GLUE_FILES = {  # task: (labelled file, test file), a line of each after its header
    "cola": ("x\t1\t\ta b\nx\t0\t*\tb", "index\tsentence\n0\tc"),
    "sst-2": ("sentence\tlabel\na b \t1\nb\t0", "index\tsentence\n0\tc"),
    "mrpc": (
        '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta\t"b\n0\t7\t8\tb\t c',
        "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t7\t8\tc\td",
    ),
    "sts-b": (
        "index\tgenre\tsentence1\tsentence2\tscore\n0\tx\ta\tb\t5.000\n1\tx\tb\tc\t0.25",
        "index\tgenre\tsentence1\tsentence2\n0\tx\tc\td",
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n9\t1\t2\ta\tb\t1\n8\t1\t2\tb\tc\t0",
        "id\tquestion1\tquestion2\n13\tc\td",
    ),
    "mnli": (
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n"
        "0\ta\tb\tneutral\tentailment\n1\tb\tc\tneutral\tcontradiction",
        "index\tsentence1\tsentence2\n0\tc\td",
    ),
    "qnli": (
        "index\tquestion\tsentence\tlabel\n0\ta\tb\tnot_entailment\n1\tb\tc\tentailment",
        "index\tquestion\tsentence\n0\tc\td",
    ),
    "rte": (
        "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment\n1\tb\tc\tentailment",
        "index\tsentence1\tsentence2\n0\tc\td",
    ),
    "wnli": (
        "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n1\tb\tc\t0",
        "index\tsentence1\tsentence2\n0\tc\td",
    ),
}


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        data = text if isinstance(text, bytes) else text.encode()
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def message(function, *arguments, **options):
    with pytest.raises(InputError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", GLUE_FILES)
def test_glue_files(name, tmp_path):
    labelled, unlabelled = (f"{text}\n" for text in GLUE_FILES[name])
    parts = ("_matched", "_mismatched") if name == "mnli" else ("",)
    files = {"train__tsv": labelled}
    for part in parts:
        files |= {f"dev{part}__tsv": labelled, f"test{part}__tsv": unlabelled}
    task = open_task(name, write(tmp_path, **files), ("train", "dev", "test"))
    assert len(task.splits) == 1 + 2 * len(parts)
    for split, examples in task.splits.items():
        pairs = name not in ("cola", "sst-2")
        if split.startswith("test"):
            assert (examples.texts, examples.targets) == (["c"], None)
            assert examples.ids == (["13"] if name == "qqp" else ["0"])
            continue
        assert examples.texts == (["a", "b"] if pairs else ["a b", "b"])
        assert len(examples.pairs or []) == (2 if pairs else 0)
        assert examples.targets.tolist() == ([5.0, 0.25] if name == "sts-b" else [1, 0])


def test_quotes_are_plain_text_in_tsv_and_quotes_in_csv(tmp_path, capsys):
    rows = 'text\tlabel\n"a\tx\nb" c\ty\n'
    write(tmp_path, train__tsv=rows, dev__csv='text,label\n"a, ""b""\nc",x\n')
    task = open_task("classification", tmp_path, ("train", "dev"))
    assert task.splits["train"].texts == ['"a', 'b" c'] and task.labels == ("x", "y")
    assert "1 fields begin with a quotation mark, read as text" in capsys.readouterr().err
    assert task.splits["dev"].texts == ['a, "b"\nc']


ROWS = [
    ["text", "label"],
    ["plain", "x"],
    ['he said "hi"', "y"],
    ["two\nlines", "x"],
    ["t\tab", "y"],
]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_quoted_tsv_is_known_by_its_form(quoting, tmp_path, capsys):
    for ending in ("\n", "\r\n"):
        text = io.StringIO(newline="")
        csv.writer(text, delimiter="\t", quoting=quoting, lineterminator=ending).writerows(ROWS)
        write(tmp_path, train__tsv=text.getvalue())
        examples = open_task("classification", tmp_path, ("train",)).splits["train"]
        assert examples.texts == [row[0] for row in ROWS[1:]]
        assert "a quoted .tsv" in capsys.readouterr().err
    # The same in a file of GLUE's is text.
    write(tmp_path, train__tsv='sentence\tlabel\n"a ""b"""\t1\n')
    assert open_task("sst-2", tmp_path, ("train",)).splits["train"].texts == ['"a ""b"""']
    assert capsys.readouterr().err == ""


def test_labels_that_are_one_number_are_one_class(tmp_path, capsys):
    rows = [{"text": "a", "label": label} for label in (0, 0.0, "0", 1.0, "1")]
    write(tmp_path, train__jsonl="\n".join(map(json.dumps, rows)), dev__csv="text,label\na,1.0\n")
    task = open_task("classification", tmp_path, ("train", "dev"))
    assert task.labels == ("0", "1") and task.splits["dev"].targets.tolist() == [1]
    assert task.splits["train"].targets.tolist() == [0, 0, 0, 1, 1]
    assert "one class: 0.0, 1.0" in capsys.readouterr().out
    write(tmp_path, train__csv="text,label\na,1.0\nb,01\nc,10\n")
    (tmp_path / "train.jsonl").unlink()
    assert open_task("classification", tmp_path, ("train",)).labels == ("01", "1.0", "10")


def test_pairs_scores_and_json_lines(tmp_path):
    lines = [{"one": "a", "two": "b", "score": 0.5}, {"one": "c", "two": "d", "score": -2}]
    write(tmp_path, train__jsonl="\n".join(map(json.dumps, lines)) + "\n\n")
    columns = Columns("one", "two", "score")
    task = open_task("regression", tmp_path, ("train", "dev"), columns)
    examples = task.splits["train"]
    assert (examples.texts, examples.pairs) == (["a", "c"], ["b", "d"])
    assert examples.targets.tolist() == [0.5, -2.0] and list(task.splits) == ["train"]


def test_rows_that_are_skipped_are_counted(tmp_path, capsys):
    write(tmp_path, train__tsv="text\tlabel\na\tx\n \tx\nb\nc\ty\td\ne\ty\n")
    task = open_task("classification", tmp_path, ("train",))
    assert task.splits["train"].texts == ["a", "e"]
    warning = capsys.readouterr().err
    assert "skipped 3 of 5 rows" in warning and "line 3" in warning


def test_lines_without_a_value_are_rows_that_are_skipped(tmp_path, capsys):
    """Blank ones, but for those at the end; JSON's null, and NaN, which pandas writes for it."""
    write(tmp_path, train__csv="text,label\na,x\n\nb,y\n\n\n")
    task = open_task("classification", tmp_path, ("train",))
    assert task.splits["train"].texts == ["a", "b"]
    assert "skipped 1 of 3 rows" in (said := capsys.readouterr().err) and "line 3" in said
    assert task.splits["train"].skipped == [(1, "1")]
    rows = '{"text": "a", "label": "x"}\n{"text": NaN, "label": "x"}\n{"text": "b", "label": %s}\n'
    for empty in ("NaN", "null"):
        write(tmp_path / empty, train__jsonl=rows % empty)
        task = open_task("classification", tmp_path / empty, ("train",))
        assert task.labels == ("x",) and task.splits["train"].texts == ["a"]
        assert "skipped 2 of 3 rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"train__tsv": "text\tlabel\na\tx\n", "dev__tsv": "text\tlabel\na\tz\n"}, "line 2"),
        ({"train__tsv": "sentence\tlabel\na\tx\n"}, "no column 'text'"),
        ({"train__tsv": "text\tlabel\n"}, "no rows"),
        ({"train__tsv": b"text\tlabel\na\tx\nab\xff\tx\n"}, "line 3, byte 3: not UTF-8"),
        ({"train__csv": b"text,label\n" + b"a,x\n" * 9999 + b"\xe9,x\n"}, "line 10001, byte 1"),
        ({"train__jsonl": b'{"text": "\xe9", "label": 1}\n'}, "line 1, byte 11"),
        ({"train__tsv": "text\tlabel\na\tx\n".encode("utf-16")}, "line 1, byte 1"),
        ({"train__tsv": "text\tlabel\na\tx\n".encode("utf-16")}, "iconv -f UTF-16 -t UTF-8"),
        ({"train__tsv": b"text\tlabel\n\xe9\tx\n"}, "iconv -f WINDOWS-1252 -t UTF-8"),
        ({"train__tsv": "text\tlabel\né\tx\n".encode() + b"\xe9"}, "(unexpected end of data)"),
        ({"train__csv": 'text,label\na,x\n"b,y\nc,y\n'}, "the row from line 3"),
        ({"train__csv": 'text,label\n"a"b,x\n'}, "the row from line 2"),
        ({"train__csv": 'text,label\na,x\n"b\nc,y\n"d",x\n'}, "its quotes balanced"),
        ({"train__jsonl": '{"text": ["a"], "label": 1}\n'}, "line 1: 'text' is no text"),
        ({"train__jsonl": '{"text": "a", "label": 1}\n{"text"\n'}, "line 2"),
        ({"train__jsonl": '{"text": "a"}\n'}, "line 1"),
        ({"train__csv": 'text,label\na,x\nb,"y\nz"\n'}, "line 4: the label 'y\\nz' is no line"),
        ({"train__jsonl": '{"text": "a", "label": "\\ud83d"}\n'}, "is no line of text"),
        ({"train__jsonl": "[" * 100_000}, "line 1: not JSON"),
        ({"train__tsv": "text\tlabel\na\tx\n", "train__csv": ""}, "more than one"),
        ({}, "no train file"),
    ],
)
def test_bad_files_are_named_with_their_line(files, said, tmp_path):
    text = message(open_task, "classification", write(tmp_path, **files), ("train", "dev"))
    assert said in text and str(tmp_path) in text


def test_labels_scores_and_tasks_that_are_none(tmp_path):
    write(tmp_path, dev__tsv="sentence\tlabel\na\t2\n", train__tsv="text\tlabel\na\tnan\n")
    assert "line 2" in message(open_task, "sst-2", tmp_path, ("dev",))
    assert "line 2" in message(open_task, "regression", tmp_path, ("train",))
    write(tmp_path, train__tsv="sentence1\tsentence2\tscore\na\tb\t1e39\n")
    assert "line 2: the score" in message(open_task, "sts-b", tmp_path, ("train",))
    assert "tasks: cola" in message(open_task, "speling", tmp_path, ("train",))
    assert "train.tsv" in message(open_task, "rte", tmp_path / "none", ("train",))


def test_lines_end_where_a_line_ends(tmp_path):
    """Not at what str.splitlines takes for ends: JSON and text may have it inside a line."""
    lines = ['{"text": "a\u2028b", "label": "x\u0085"}', '{"text": "c\\u000bd", "label": "y"}']
    write(tmp_path, train__jsonl="\r\n".join(lines), more__txt="\ufeffa\x0bb\r\n\r\nc\u2028d\n")
    task = open_task("classification", tmp_path, ("train",))
    assert task.splits["train"].texts == ["a\u2028b", "c\x0bd"]
    texts = read_unlabelled(tmp_path / "more.txt", Columns())
    assert (texts.texts, texts.targets) == (["a\x0bb", "c\u2028d"], None)


def test_classes_of_one_split(tmp_path, capsys):
    """Of the training split: said; of the dev split: an error, nothing learns them."""
    write(tmp_path, train__tsv="text\tlabel\na\tx\nb\ty\nc\tz\n", dev__tsv="text\tlabel\na\ty\n")
    task = open_task("classification", tmp_path, ("train", "dev"))
    assert task.labels == ("x", "y", "z") and task.splits["dev"].targets.tolist() == [1]
    said = "classification dev: no example of x, z, which train has\n"
    assert capsys.readouterr().out == said
    open_task("classification", tmp_path, ("dev",), labels=("x", "y", "z"))
    assert capsys.readouterr().out == ""
    write(tmp_path / "tokens", train__conll="a O\nb B-x\n", dev__conll="a O\n")
    open_task("tokens", tmp_path / "tokens", ("train", "dev"))
    assert "no example of B-x" in capsys.readouterr().out
    write(tmp_path / "tokens", dev__conll="a O\nb B-y\n")
    text = message(open_task, "tokens", tmp_path / "tokens", ("train", "dev"))
    assert "dev.conll, line 1: the label 'B-y' is not one of the training data's" in text


def test_ids_that_repeat(tmp_path):
    """The GLUE server counts predictions by them."""
    write(tmp_path, test__tsv="index\tsentence\n0\ta\n7\tb\n0\tc\n")
    text = message(open_task, "sst-2", tmp_path, ("test",))
    assert f"{tmp_path / 'test.tsv'}, line 4: the id '0' is that of line 2 too" == text


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("nr,text,label\n7,a,x\n,b,x\n7,c,x\n", "line 4: the id '7' is that of line 2 too"),
        ('nr,text,label\n"1\n2",a,x\n', "the id '1\\n2' is no single field"),
    ],
)
def test_ids_of_own_files_are_checked(tmp_path, file, said):
    write(tmp_path, dev__csv=file)
    assert said in message(open_task, "classification", tmp_path, ("dev",), Columns(id="nr"))


def test_rows_without_an_id_are_counted(tmp_path, capsys):
    """A number could be that of another row."""
    write(tmp_path, dev__csv="nr,text,label\n1,a,x\n,b,x\n,c,y\n")
    task = open_task("classification", tmp_path, ("dev",), Columns(id="nr"))
    assert task.splits["dev"].ids == ["1", "", ""]
    assert "2 of 3 rows have no id" in capsys.readouterr().out


def test_words_have_neither_pairs_nor_ids(tmp_path):
    write(tmp_path, dev__conll="a O\n")
    for columns in (Columns(id="nr"), Columns(pair="other")):
        assert "for texts, not for words" in message(
            open_task, "tokens", tmp_path, ("dev",), columns
        )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('{"text": "ab", "label": "OO"}', "line 2: 'text' must be a list of words"),
        ('{"text": ["a"], "label": ["O", "O"]}', "line 2: it must have one label"),
        ('{"text": ["a"]}', "line 2: no 'label'"),
        ('{"text": ["a", "b"], "label": ["O", null]}', "line 2: it must have one label"),
        ('{"text": ["a"], "label": [NaN]}', "line 2: it must have one label"),
        ('{"text": ["a"], "label": [["O"]]}', "line 2: it must have one label"),
        ("[", "line 2: not JSON"),
    ],
)
def test_bad_lines_of_words(lines, said, tmp_path):
    good = '{"text": ["a"], "label": ["O"]}\n'
    text = message(open_task, "tokens", write(tmp_path, train__jsonl=good + lines), ("train",))
    assert said in text


@pytest.mark.parametrize(
    ("task", "kind", "file", "first"),
    [
        ("classification", "classifier", {"train__tsv": "text\tlabel\na b\tx\nc\ty\n"}, 0),
        ("regression", "regression", {"train__tsv": "text\tlabel\na b\t0.5\nc\t1\n"}, 0.5),
        (
            "tokens",
            "token_classifier",
            {"train__conll": "a O\nb B\n\nc O\n"},
            [NO_LABEL, 1, 0, NO_LABEL, NO_LABEL, NO_LABEL],
        ),
    ],
)
def test_texts_without_labels_join_those_with(task, kind, file, first, tmp_path):
    write(tmp_path, **file, more__csv='text,other\n"a, b c",1\nd,2\n,3\n')
    known = open_task(task, tmp_path, ("train",)).encode("train", TOKENIZER, 16).arrays
    unknown = encode(read_unlabelled(tmp_path / "more.csv", Columns()), TOKENIZER, 16)
    found = add_unlabelled(known, unknown)
    assert found["input_mask"].sum(axis=1).tolist() == [4, 3, 6, 3]
    assert found["input_ids"].shape == (4, 6)
    assert np.asarray(labelled(kind, found["targets"])).tolist() == [1, 1, 0, 0]
    assert found["targets"][0].tolist() == first
    assert found["targets"].dtype == known["targets"].dtype


CONLL = "-DOCSTART- O\n\nab NN B-x\nc NN I-x\n\n# note\na VB O\n"


def test_token_labels_stand_at_the_first_piece_of_a_word(tmp_path):
    lines = [
        {"text": ["ab", "c"], "label": ["B-x", "I-x"]},
        {"text": ["a"], "label": ["O"]},
    ]
    write(tmp_path, train__conll=CONLL, dev__jsonl="\n".join(map(json.dumps, lines)))
    task = open_task("tokens", tmp_path, ("train", "dev"))
    assert task.labels == ("B-x", "I-x", "O")
    assert task.splits["train"] == task.splits["dev"]
    encoded = task.encode("train", TOKENIZER, 16)
    arrays = encoded.arrays
    pieces = [TOKENIZER.tokens(row) for row in arrays["input_ids"]]
    assert pieces[0] == ["[CLS]", "a", "##b", "c", "[SEP]"]
    assert arrays["targets"][0].tolist() == [NO_LABEL, 0, NO_LABEL, 1, NO_LABEL]
    assert arrays["targets"][1].tolist()[:3] == [NO_LABEL, 2, NO_LABEL]
    assert task.encode("train", TOKENIZER, 4).arrays["input_ids"].shape == (2, 4)
    outputs = {"token_probability": np.eye(3)[np.maximum(arrays["targets"], 0)]}
    assert task.score(encoded, outputs) == {"entity_f1": 1.0, "accuracy": 1.0}
    outputs["token_probability"][0, 3] = [0, 0, 1]  # one of two entities' words is missed
    assert task.score(encoded, outputs) == {
        "entity_f1": 0.0,
        "accuracy": pytest.approx(2 / 3),
    }


def sentences(folder, text, split="train"):
    """(words, labels) of each sentence of a .conll file."""
    write(folder, **{f"{split}__conll": text})
    task = open_task("tokens", folder, (split,))
    examples = task.splits[split]
    return [
        (words, [task.labels[number] for number in numbers])
        for words, numbers in zip(examples.texts, examples.targets, strict=True)
    ]


def test_words_of_a_conll_file_that_begin_with_a_hash(tmp_path, capsys):
    text = "# sent_id = 1\nI O\n#Denver B-x\n# O\n\n#Padres B-x\n\n# O\n# remark\n\n# more\n"
    found = sentences(tmp_path, text)
    assert found == [
        (["I", "#Denver", "#"], ["O", "B-x", "O"]),
        (["#Padres"], ["B-x"]),
        (["#", "#"], ["O", "remark"]),  # inside a sentence nothing is a comment
    ]
    said = "train.conll: 2 comments left out, the first in line 1\n"
    assert capsys.readouterr().err.endswith(said)
    assert sentences(tmp_path, "#\tB-x\nb\tO\n") == [(["#", "b"], ["B-x", "O"])]


def test_only_blanks_and_tabs_separate_the_columns_of_a_conll_file(tmp_path):
    hard = "10\u00a0000"
    assert sentences(tmp_path, f"{hard} B-x\n\u2009a O \n\u00a0\n") == [
        ([hard, "\u2009a"], ["B-x", "O"])
    ]
    text = f"{hard}\tB-x\n\u00a0\tO\nNew York\tNNP\tI-x\n\t\na\tO\n"
    assert sentences(tmp_path, text) == [
        ([hard, "\u00a0", "New York"], ["B-x", "O", "I-x"]),
        (["a"], ["O"]),
    ]


def test_a_test_split_needs_no_labels(tmp_path, capsys):
    write(tmp_path, train__csv="text,label\na,x\nb,y\n", test__csv="name,text\nA,a\nB,\nC,c\n")
    columns = Columns(id="name")
    task = open_task("classification", tmp_path, ("test",), columns, labels=("x", "y"))
    assert "3 of 3" not in (said := capsys.readouterr()).out and "2 of 2 rows have no" in said.out
    encoded = task.encode("test", TOKENIZER, 16)
    outputs = {"probability": np.eye(2)[[1, 0]]}
    assert task.score(encoded, outputs) == {}
    assert task.rows(encoded, outputs) == [
        {"id": "A", "prediction": "y"},
        {"id": "B", "prediction": None},
        {"id": "C", "prediction": "x"},
    ]
    words = tmp_path / "words"
    for file in ({"test__conll": "a\nb\n\n#c\n"}, {"test__jsonl": '{"text": ["a"]}\n'}):
        write(words, **file)
        task = open_task("tokens", words, ("test",), labels=("B-x", "O"))
        assert task.score(task.encode("test", TOKENIZER, 16), {"token_probability": None}) == {}
        (words / next(iter(file)).replace("__", ".")).unlink()


def test_sentences_without_words_are_counted(tmp_path, capsys):
    lines = [{"text": ["a"], "label": ["O"]}, {"text": [], "label": []}]
    write(tmp_path, train__jsonl="\n".join(map(json.dumps, lines)))
    examples = open_task("tokens", tmp_path, ("train",)).splits["train"]
    assert (examples.ids, examples.skipped) == (["0"], [(1, "1")])
    assert "1 of 2 sentences have no words" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["ab NN\nword\n", "ab\n"])
def test_words_without_labels(text, tmp_path):
    assert "line" in message(open_task, "tokens", write(tmp_path, train__conll=text), ("train",))


def arrays_of(count, seed=0):
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(list("abcde"), rng.integers(1, 30))) for _ in range(count)]
    columns = TOKENIZER.encode(texts)
    return columns | {"targets": np.arange(count, dtype=np.int32)}


@pytest.mark.parametrize("bucketed", [True, False])
def test_every_example_comes_once_in_an_epoch(bucketed):
    arrays = arrays_of(137)
    batches = Batches(arrays, 13, seed=7, bucketed=bucketed)
    assert batches.steps_per_epoch == 11
    epochs = []
    for epoch in (0, 1):
        found = [batches.batch(step) for step in range(11 * epoch, 11 * epoch + 11)]
        order = np.concatenate([batch["targets"] for batch in found])
        assert sorted(order) == list(range(137))
        epochs.append(order.tolist())
        for batch in found:  # nothing real is cut
            width = batch["input_ids"].shape[1]
            rows = arrays["input_ids"][batch["targets"]]
            np.testing.assert_array_equal(batch["input_ids"], rows[:, :width])
            assert not arrays["input_mask"][batch["targets"], width:].any()
    assert epochs[0] != epochs[1]


def test_batches_are_a_function_of_the_step():
    arrays = arrays_of(37)
    whole = list(Batches(arrays, 7, seed=1).dataset(0, 13))
    later = list(Batches(arrays, 7, seed=1).dataset(9, 4))
    for a, b in zip(whole[9:], later, strict=True):
        assert all((a[name].numpy() == b[name].numpy()).all() for name in a)
    other = next(iter(Batches(arrays, 7, seed=2).dataset(0, 1)))
    assert (other["targets"].numpy() != whole[0]["targets"].numpy()).any()


def test_buckets_have_less_padding():
    arrays = arrays_of(400)
    sizes = {
        by: sum(Batches(arrays, 8, 0, by).batch(step)["input_ids"].size for step in range(50))
        for by in (True, False)
    }
    assert sizes[True] < 0.7 * sizes[False]


def test_batches_of_one_length_have_no_padding():
    """Long ones come first: to resize a file to fewer tokens takes less than to more."""
    arrays = arrays_of(37)
    rows, widths = [], []
    inputs = {name: arrays[name] for name in ("input_ids", "input_mask")}
    for places, batch in by_length(inputs, 5):
        rows += places.tolist()
        widths.append(batch["input_ids"].shape[1])
        assert batch["input_mask"].all() and len(places) <= 5
    assert sorted(rows) == list(range(37)) and widths == sorted(widths, reverse=True)


def test_texts_longer_than_the_model_are_cut_and_counted(tmp_path, capsys):
    rows = "text\tlabel\na b c d\tx\na b\tx\n"
    task = open_task("classification", write(tmp_path, train__tsv=rows), ("train",))
    assert task.encode("train", TOKENIZER, 4).arrays["input_ids"].shape == (2, 4)
    assert capsys.readouterr().out == "classification train: 1 of 2 texts cut to 4 tokens\n"
    assert encode(task.splits["train"], TOKENIZER, 128)["input_ids"].shape == (2, 6)
    assert capsys.readouterr().out == ""


def test_words_that_are_cut_off_are_missed(tmp_path, capsys):
    """An entity that the model never saw lowers its score, as any that it misses."""
    write(tmp_path, dev__conll="a O\nb O\nab B-x\nc I-x\n\na B-x\n")
    task = open_task("tokens", tmp_path, ("dev",), labels=("B-x", "I-x", "O"))
    scores = {}
    for longest in (16, 5):  # [CLS] a b a [SEP]: the third word is there, cut inside
        capsys.readouterr()
        encoded = task.encode("dev", TOKENIZER, longest)
        targets = np.maximum(encoded.arrays["targets"], 0)
        scores[longest] = task.score(encoded, {"token_probability": np.eye(3)[targets]})
    said = "tokens dev: 1 of 2 texts cut to 5 tokens, 1 words lost\n"
    assert capsys.readouterr().out == said
    assert scores[16] == {"entity_f1": 1.0, "accuracy": 1.0}
    assert scores[5] == {"entity_f1": 0.5, "accuracy": 0.8}
