"""predict --search: the sentences of a folder that are nearest to a query."""

import gzip
import json

import numpy as np
import pytest
from support.lite_files import packed_file
from support.models import keras_model, save_directory
from support.texts import TOKENIZER

from mobilebert_tf.predict import main
from mobilebert_tf.tasks.text_search import Collection


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    save_directory(folder / "model", head="encoder")
    packed_file(folder / "model.tflite", "encoder")
    notes = folder / "notes"
    (notes / "deep").mkdir(parents=True)
    (notes / "a.txt").write_text("the dog runs. The cat sleeps.\n\nan old boat\n")
    (notes / "deep" / "b.md").write_text("the dog runs.\nnever a river\n")
    with gzip.open(notes / "c.txt.gz", "wt") as file:
        file.write("a big red stone")
    (folder / "empty").mkdir()
    (notes / "picture.png").write_bytes(b"\x89PNG\0")
    (notes / "latin.txt").write_bytes("caf\xe9 and tea".encode("latin-1"))
    return folder


def searched(capsys, place, model, *arguments):
    main([str(place / model), "--search", str(place / "notes"), *arguments])
    return capsys.readouterr()


@pytest.mark.parametrize("model", ["model", "model.tflite"])
def test_ranked_by_cosine(capsys, place, model):
    out = searched(capsys, place, model, "--json", "--top", "3", "an old cat").out
    hits = [json.loads(line) for line in out.splitlines()]
    texts = ["the dog runs.", "The cat sleeps.", "an old boat", "never a river", "a big red stone"]
    encoder = keras_model(head="encoder")

    def embedding(text):
        (row,) = encoder(**TOKENIZER.encode([text]))["embedding"]
        return row / np.linalg.norm(row)

    scores = {text: float(embedding(text) @ embedding("an old cat")) for text in texts}
    expected = sorted(scores, key=scores.get, reverse=True)[:3]
    assert [hit["text"] for hit in hits] == expected
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    for hit in hits:
        assert hit["score"] == pytest.approx(scores[hit["text"]], abs=1e-4)
        assert hit["query"] == "an old cat"


def test_readable_lines_and_what_was_skipped(capsys, place):
    captured = searched(capsys, place, "model", "--top", "1", "the dog runs.", "an old boat")
    first, hit, second, other = captured.out.splitlines()
    assert first == "query: the dog runs." and second == "query: an old boat"
    assert hit.startswith("1.000  ") and hit.endswith("a.txt:1  the dog runs.")
    assert other.startswith("1.000  ") and other.endswith("a.txt:3  an old boat")
    line = captured.err.splitlines()[-1]
    assert line == (
        "searched 5 sentences of 3 files; 1 repeated ones left out; "
        "2 files skipped, no text: latin.txt, picture.png"
    )


def test_long_texts_are_cut_and_counted(place, tmp_path):
    (tmp_path / "long.txt").write_text("dog " * 100 + "\na cat")
    collection = Collection(tmp_path, keras_model(head="encoder"))
    assert len(collection.search("boat " * 99, 9)) == 2
    assert "2 texts cut to 37 tokens" in collection.summary


def test_blank_lines_are_no_repeated_sentences(tmp_path):
    (tmp_path / "blank.txt").write_text("a cat\n\n\n\nthe dog\n")
    assert Collection(tmp_path, keras_model(head="encoder")).summary == "2 sentences of 1 files"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--search", "{}/none", "dog"], "is no folder"),
        (["--search", "{}/empty", "dog"], "holds no text"),
        (["--search", "{}/notes"], "takes its queries as texts"),
        (["--search", "{}/notes", "--context", "cat", "dog"], "takes its queries as texts"),
    ],
)
def test_refusals(capsys, place, options, part):
    with pytest.raises(SystemExit) as stopped:
        main([str(place / "model"), *(option.format(place) for option in options)])
    assert stopped.value.code == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert part in error


def test_other_heads_are_refused(capsys, place):
    save_directory(place / "classifier", head="classifier")
    with pytest.raises(SystemExit):
        searched(capsys, place, "classifier", "dog")
    assert "needs an encoder" in capsys.readouterr().err
