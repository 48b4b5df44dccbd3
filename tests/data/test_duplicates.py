"""Near duplicates: estimates against exact shares, whatever fits into memory at once."""

import numpy as np
import pytest

from mobilebert_tf.data import duplicates
from mobilebert_tf.data.duplicates import (
    bands,
    near_duplicates,
    near_duplicates_in_band,
    sketches,
)
from mobilebert_tf.data.tokenized import offsets

RNG = np.random.default_rng(0)


def changed(document, share):
    """A copy in which a share of the tokens, one after the other, is another text."""
    copy = document.copy()
    start = RNG.integers(0, len(copy) - int(share * len(copy)) + 1)
    copy[start : start + int(share * len(copy))] = RNG.integers(0, 30_000, int(share * len(copy)))
    return copy


def runs(document):
    last = max(1, len(document) - duplicates.RUN + 1)
    return {tuple(document[i : i + duplicates.RUN]) for i in range(last)}


def common(a, b):
    a, b = runs(a.tolist()), runs(b.tolist())
    return len(a & b) / len(a | b)


def found(documents, directory, **options):
    starts = offsets(np.array([len(document) for document in documents]))
    sketch = sketches(np.concatenate(documents).astype(np.int32), starts)
    (directory / "sketches").write_bytes(sketch.tobytes())
    files = []
    for number, values in enumerate(bands(sketch)):
        files.append(directory / f"bands-{number}")
        files[-1].write_bytes(values.tobytes())
    return near_duplicates(files, directory / "sketches", len(documents), **options)


@pytest.mark.parametrize(("length", "most_wrong"), [(40, 0.12), (1000, 0.06)])
def test_sketches_estimate_the_common_share(length, most_wrong):
    errors = []
    for share in np.linspace(0, 0.9, 40):
        document = RNG.integers(0, 30_000, length)
        copy = changed(document, share)
        sketch = sketches(np.concatenate([document, copy]), np.array([0, length, 2 * length]))
        errors.append((sketch[0] == sketch[1]).mean() - common(document, copy))
    assert np.abs(errors).mean() < most_wrong and abs(np.mean(errors)) < 0.05


def test_what_is_dropped(tmp_path):
    originals = [RNG.integers(0, 30_000, RNG.integers(30, 3000)) for _ in range(300)]
    near = [changed(document, 0.03) for document in originals[:100]]
    far = [changed(document, 0.4) for document in originals[100:200]]
    dropped = found([*originals, *near, *far, *originals[200:]], tmp_path)
    assert not dropped[:300].any()  # the first of each stays
    assert dropped[500:].all()
    assert dropped[300:400].mean() >= 0.97
    assert not dropped[400:500].any()


def test_short_documents_are_dropped_only_if_equal(tmp_path):
    documents = [np.array(d) for d in ([1], [2], [1, 2, 3], [1, 2, 4], [1], [1, 2, 3], [2, 1])]
    assert found(documents, tmp_path).tolist() == [False] * 4 + [True, True, False]


def test_the_same_whatever_is_sorted_at_once(tmp_path):
    words = RNG.integers(0, 40, (200, 30))
    documents = [*words, *words[::-2], *(changed(d, 0.1) for d in words)]
    expected = found(documents, tmp_path)
    assert expected.any() and not expected.all()
    for most in (64, 128, 500):
        np.testing.assert_array_equal(found(documents, tmp_path, most_keys=most), expected)


def test_the_bands_one_by_one_drop_the_same(tmp_path):
    """As they are compared on many machines, in the order of the documents."""
    words = RNG.integers(0, 40, (200, 30))
    documents = [*words, *words[::-2], *(changed(d, 0.1) for d in words)]
    starts = offsets(np.array([len(document) for document in documents]))
    sketch = sketches(np.concatenate(documents).astype(np.int32), starts)
    dropped = np.zeros(len(documents), bool)
    for keys in bands(sketch):
        for rows in (np.flatnonzero(keys % np.uint64(3) == i) for i in range(3)):
            dropped[rows] |= near_duplicates_in_band(keys[rows], sketch[rows])
    np.testing.assert_array_equal(dropped, found(documents, tmp_path))
