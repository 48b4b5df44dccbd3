"""Reads the documents of a corpus, and holds some of them out."""

import hashlib
import sys
from collections.abc import Iterable, Sequence

from mobilebert_tf.data.documents import Bad, documents, refuse
from mobilebert_tf.data.sources import DEFAULT_CORPUS, sources_by_item
from mobilebert_tf.errors import InputError


class SkippedDocuments:
    """Counts documents that are left out, and keeps what was wrong with the first one."""

    def __init__(self):
        self.count, self.first = 0, ""

    def __call__(self, message: str) -> None:
        self.first = self.first or message
        self.count += 1

    def report(self) -> None:
        """Says on stderr, in one line, how many were left out, if any were."""
        if self.count:
            print(f"warning: skipped {self.count:,} bad documents: {self.first}", file=sys.stderr)


def load_documents(
    corpus: str | Sequence[str] = DEFAULT_CORPUS,
    every: int = 1,
    *,
    field: str = "text",
    bad: Bad = refuse,
) -> list[list[str]]:
    """Returns the documents of a corpus, each a list of paragraphs, in a fixed order.

    Args:
        corpus, field: as in data.sources.sources_by_item.
        every, bad: as in data.documents.documents.

    Raises InputError, naming the path, if a file is missing, empty or not UTF-8 text.
    """
    loaded: list[list[str]] = []
    # All are looked up first: a missing one is named before the others are read.
    for item, files in sources_by_item(corpus, field):
        of_item = [document for file in files for document in documents(file, bad, every)]
        if not of_item:
            raise InputError(f"{item} holds no text")
        loaded += of_item
    return loaded


def split_held_out(
    documents: Sequence[list[str]], fraction: float
) -> tuple[list[list[str]], list[list[str]]]:
    """Returns (training documents, held-out documents), about `fraction` of them held out.

    A hash of its text decides to which side a document goes, so order and other documents do not
    matter. A paragraph that occurs on both sides is removed from the held-out side.

    Raises InputError for a fraction outside (0, 1), or if a side would be empty.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the held-out fraction must lie between 0 and 1, not {fraction}")
    hashes = [document_hash(document) for document in documents]
    border = held_out_border(hashes, fraction)
    hashed = list(zip(hashes, documents, strict=True))
    train = [document for value, document in hashed if value > border]
    rest = [document for value, document in hashed if value <= border]
    return train, without_paragraphs_of(train, rest)


def held_out_border(hashes: Iterable[float], fraction: float) -> float:
    """Returns up to which hash documents are held out, so that both sides have one at least.

    Args:
        hashes: of the documents; the least and the two greatest of them are enough.
        fraction: the share to hold out.

    Raises InputError if there are fewer than two different documents.
    """
    different = sorted(set(hashes))
    if len(different) < 2:
        raise InputError(
            "text can be held out only from two or more different documents; a blank line in a "
            "text file ends a document"
        )
    # In a small corpus all documents may fall on one side: the nearest one then changes sides.
    return min(max(fraction, different[0]), different[-2])


def without_paragraphs_of(train: Sequence[list[str]], rest: Sequence[list[str]]) -> list[list[str]]:
    """Returns the documents of `rest` without the paragraphs that are also in `train`.

    Raises InputError if none is left.
    """
    trained = {paragraph for document in train for paragraph in document}
    kept = ([paragraph for paragraph in d if paragraph not in trained] for d in rest)
    held_out = [document for document in kept if document]
    if not held_out:
        raise InputError("nothing can be held out: every paragraph also occurs in the other text")
    return held_out


def document_hash(document: list[str]) -> float:
    """Returns a hash of the text, uniform in [0, 1)."""
    digest = hashlib.blake2b("\n".join(document).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48
