"""Reads training text from files and folders, or from the default corpus "docs".

A document is a list of paragraphs. In a file each line is a paragraph and a blank line ends the
document: the format of Google's create_pretraining_data.py, where each line is a sentence.
"""

import glob
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from mobilebert_tf.data.docs_corpus import docs_documents
from mobilebert_tf.data.tables import LONGEST_TEXT, check_length, encoding_advice
from mobilebert_tf.errors import InputError

DEFAULT_CORPUS = "docs"
# A text becomes 3 to 10 times smaller by gzip; a gigabyte of line ends a thousand times.
_LARGEST_RATIO, _ALWAYS_UNPACKED = 100, 2**20


def load_documents(corpus: str | Sequence[str] = DEFAULT_CORPUS, every: int = 1) -> list[list[str]]:
    """Returns the documents of a corpus, each a list of paragraphs, in a fixed order.

    Args:
        corpus: one item or several: "docs" (English prose from the documentation inside the
            installed packages), a text file, a .gz of one, a folder (all .txt and .txt.gz below
            it), or a glob pattern.
        every: 8 reads only every eighth module of "docs", in an eighth of the time.

    Raises InputError, naming the path, if a file is missing, empty or not UTF-8 text.
    """
    items = [corpus] if isinstance(corpus, str | Path) else list(corpus)
    if not items:
        raise InputError('no corpus is named: give files, folders, or "docs"')
    documents = []
    for item in map(str, items):
        if item == DEFAULT_CORPUS:
            item_documents = list(docs_documents(every))
        else:
            item_documents = list(_documents_of_files(_files(item)))
        if not item_documents:
            raise InputError(f"{item} holds no text")
        documents += item_documents
    return documents


def _files(item: str) -> list[Path]:
    path = Path(item)
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.name.endswith((".txt", ".txt.gz")))
        if not files:
            raise InputError(f"the folder {item} holds no .txt or .txt.gz file")
        return [file for file in files if file.is_file()]
    matches = sorted(glob.glob(item, recursive=True))
    if not matches:
        raise InputError(f"no file, folder or match of a pattern: {item}")
    if matches == [item]:
        raise InputError(f"{item} is neither a file nor a folder")
    return [file for match in matches for file in _files(match)]


def _documents_of_files(files: list[Path]) -> Iterator[list[str]]:
    for file in files:
        document = []
        for line in text_lines(file):
            if line:
                document.append(line)
            elif document:
                yield document
                document = []
        if document:
            yield document


def text_lines(path: Path) -> Iterator[str]:
    """Yields the lines of a text file, or of a .gz of one, without surrounding blanks.

    Raises InputError, naming the path, for a file that cannot be read or is not UTF-8 text.
    """
    offset, plain = 0, True
    try:
        packed = path.stat().st_size
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for raw in iter(lambda: file.readline(LONGEST_TEXT + 1), b""):
                if offset > max(_LARGEST_RATIO * packed, _ALWAYS_UNPACKED):
                    raise InputError(
                        f"{path} unpacks to more than {_LARGEST_RATIO} times its size, as no text "
                        "does: unpack it first if it is one"
                    )
                check_length(raw, f"{path}, byte {offset:,}")
                if b"\0" in raw:
                    advice = "" if offset else encoding_advice(raw)
                    raise InputError(f"{path} is not text: a zero byte near {offset:,}{advice}")
                yield raw.decode("utf-8-sig" if offset == 0 else "utf-8").strip()
                offset, plain = offset + len(raw), plain and raw.isascii()
    except UnicodeDecodeError as error:
        advice = encoding_advice(error.object) if plain else ""
        raise InputError(f"{path} is not UTF-8 (byte {offset + error.start:,}){advice}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is a damaged or cut off gzip file: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


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
    hashes = [_hash(document) for document in documents]
    if len(set(hashes)) < 2:
        raise InputError(
            "text can be held out only from two or more different documents; a blank line in a "
            "text file ends a document"
        )
    # In a small corpus all documents may fall on one side: the nearest one then changes sides.
    border = min(max(fraction, min(hashes)), sorted(set(hashes))[-2])
    hashed = list(zip(hashes, documents, strict=True))
    train = [document for value, document in hashed if value > border]
    rest = [document for value, document in hashed if value <= border]
    return train, without_paragraphs_of(train, rest)


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


def _hash(document: list[str]) -> float:
    """Returns a hash of the text, uniform in [0, 1)."""
    digest = hashlib.blake2b("\n".join(document).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48
