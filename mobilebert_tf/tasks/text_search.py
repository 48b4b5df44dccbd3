"""Search in a folder of text with a sentence encoder: the sentences nearest to a query."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mobilebert_tf.data.documents import text_lines
from mobilebert_tf.data.tokenized import split_sentences
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.model import SHORTEST
from mobilebert_tf.modeling.runner import Runnable, run_all

SUFFIXES = (".txt", ".txt.gz", ".md")
_CHUNK = 256  # sentences between two movements of the progress bar


@dataclass(frozen=True)
class Passage:
    """A sentence of a file, with the number of its line from 1."""

    file: Path
    line: int
    text: str


@dataclass(frozen=True)
class Found:
    """A passage, and the cosine of its embedding with the query's."""

    passage: Passage
    score: float


class Collection:
    """The sentences of a folder, embedded once.

    Args:
        directory: all files below it whose names end in one of SUFFIXES are read.
        model: an encoder.

    Attributes:
        passages: the sentences; of equal ones the first.

    Raises InputError for another head, and for a folder without text.
    """

    def __init__(self, directory: str | Path, model: Runnable):
        if model.kind != "encoder":
            raise InputError(f"the model has a {model.kind} head: a search needs an encoder")
        self.model = model
        self.passages, self._read = _passages(Path(directory))
        texts = [passage.text for passage in self.passages]
        chunks = [texts[i : i + _CHUNK] for i in range(0, len(texts), _CHUNK)]
        self._cut, embedded = 0, []
        for chunk in tqdm(chunks, desc="embedding", unit=f"x {_CHUNK} sentences", delay=2):
            embedded.append(self._embed(chunk))
        self._embeddings = np.concatenate(embedded)  # [passages,H]

    @property
    def summary(self) -> str:
        """What was read, skipped and cut so far, queries too, in a line."""
        cut = f"; {self._cut:,} texts cut to {self.model.max_tokens} tokens" if self._cut else ""
        return f"{len(self.passages):,} sentences of {self._read}{cut}"

    def search(self, query: str, top: int) -> list[Found]:
        """Returns the `top` passages nearest to a query, best first."""
        scores = self._embeddings @ self._embed([query])[0]  # [passages]
        best = np.argsort(-scores, kind="stable")[:top]
        return [Found(self.passages[i], float(scores[i])) for i in best]

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        """Returns embeddings of length 1, [N,H]."""
        longest = self.model.max_tokens
        arrays, lengths = self.model.tokenizer.encode_within(texts, None, longest)
        self._cut += int((lengths > longest).sum())
        rows = run_all(self.model, arrays)["embedding"]
        return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), SHORTEST)


def _passages(directory: Path) -> tuple[list[Passage], str]:
    """Returns the different sentences of a folder, and what was read and skipped."""
    if not directory.is_dir():
        raise InputError(f"{directory} is no folder: `search` reads the text files of one")
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    found: dict[str, Passage] = {}
    repeated, unread = 0, []
    for file in files:
        lines = _lines(file)
        if lines is None:
            unread.append(str(file.relative_to(directory)))
            continue
        for number, sentences in enumerate(split_sentences(lines) if lines else (), start=1):
            for text in filter(None, sentences):
                repeated += text in found
                found.setdefault(text, Passage(file, number, text))
    if not found:
        raise InputError(f"{directory} holds no text in files named {', '.join(SUFFIXES)}")
    parts = [f"{len(files) - len(unread):,} files"]
    parts += [f"{repeated:,} repeated ones left out"] if repeated else []
    parts += [f"{len(unread):,} files skipped, no text: {_few(unread)}"] if unread else []
    return list(found.values()), "; ".join(parts)


def _lines(file: Path) -> list[str] | None:
    """Returns the lines of a text file, None for any other file."""
    if not file.name.endswith(SUFFIXES):
        return None
    try:
        return list(text_lines(file))
    except InputError:
        return None


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
