"""Where training text comes from: files, folders, or the embedded default corpus "docs".

A document is a list of paragraphs. In files a paragraph is one line and a blank line ends the
document, the format of Google's create_pretraining_data.py (sentences a line work as well).
"""

import glob
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from mobilebert_tf.data.docs_corpus import docs_documents
from mobilebert_tf.errors import InputError

DEFAULT_CORPUS = "docs"


def load_documents(corpus: str | Sequence[str] = DEFAULT_CORPUS, every: int = 1) -> list[list[str]]:
    """The documents of a corpus, each a list of paragraphs, in a fixed order.

    Args:
        corpus: one item or several: "docs" (English prose from the documentation inside the
            installed packages), a text file, a .gz of one, a folder (all .txt and .txt.gz below
            it), or a glob pattern.
        every: 8 reads each eighth module of "docs" alone, in an eighth of the time.

    Raises InputError, naming the path, for what is missing, empty or no UTF-8 text.
    """
    items = [corpus] if isinstance(corpus, str | Path) else list(corpus)
    if not items:
        raise InputError('no corpus is named: give files, folders, or "docs"')
    documents = []
    for item in map(str, items):
        docs = item == DEFAULT_CORPUS
        found = docs_documents(every) if docs else _documents_of_files(_files(item))
        before = len(documents)
        documents.extend(found)
        if len(documents) == before:
            raise InputError(f"{item} holds no text")
    return documents


def _files(item: str) -> list[Path]:
    path = Path(item)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.name.endswith((".txt", ".txt.gz")))
        if not found:
            raise InputError(f"the folder {item} holds no .txt or .txt.gz file")
        return [p for p in found if p.is_file()]
    matches = sorted(glob.glob(item, recursive=True))
    if not matches:
        raise InputError(f"no file, folder or match of a pattern: {item}")
    return [file for match in matches for file in _files(match)]


def _documents_of_files(files: list[Path]) -> Iterator[list[str]]:
    for file in files:
        document = []
        for line in _lines(file):
            if line:
                document.append(line)
            elif document:
                yield document
                document = []
        if document:
            yield document


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file without surrounding blanks, read as they are asked for."""
    offset = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for raw in file:
                if b"\0" in raw:
                    raise InputError(f"{path} is not text: a zero byte near {offset:,}")
                yield raw.decode("utf-8-sig" if offset == 0 else "utf-8").strip()
                offset += len(raw)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 (byte {offset + error.start:,}): convert it, for example with "
            f"iconv -f WINDOWS-1252 -t UTF-8"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is a damaged or cut off gzip file: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def split_held_out(
    documents: Sequence[list[str]], fraction: float
) -> tuple[list[list[str]], list[list[str]]]:
    """Splits into (train, held_out), about `fraction` of the documents held out.

    Each document's own text decides its side, so neither order nor other documents matter. A
    paragraph that both sides hold stays in train only. Raises InputError if a side stays empty.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the held-out fraction must lie between 0 and 1, not {fraction}")
    places = [_place(document) for document in documents]  # uniform in [0, 1)
    if len(set(places)) < 2:
        raise InputError(
            "text can be held out only from two or more different documents; a blank line in a "
            "text file ends a document"
        )
    # In a small corpus chance may leave a side empty: the nearest document then changes sides.
    border = min(max(fraction, min(places)), sorted(set(places))[-2])
    sides = list(zip(places, documents, strict=True))
    train = [document for place, document in sides if place > border]
    known = {paragraph for document in train for paragraph in document}
    rest = ([p for p in d if p not in known] for place, d in sides if place <= border)
    held_out = [document for document in rest if document]
    if not held_out:
        raise InputError("nothing can be held out: every paragraph also occurs in the other text")
    return train, held_out


def _place(document: list[str]) -> float:
    digest = hashlib.blake2b("\n".join(document).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48
