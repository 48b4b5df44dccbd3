"""Where training text comes from: files, folders, or the embedded default corpus "docs".

A document is a list of paragraphs. In files a paragraph is one line and a blank line ends the
document, the format of Google's create_pretraining_data.py (sentences a line work as well).
"""

import ast
import gc
import glob
import gzip
import hashlib
import importlib.util
import inspect
import itertools
import re
import sysconfig
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from mobilebert_tf.errors import InputError

DEFAULT_CORPUS = "docs"

# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------


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
        found = _docs(every) if item == DEFAULT_CORPUS else _documents_of_files(_files(item))
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


# ---------------------------------------------------------------------------------------------
# Held-out text
# ---------------------------------------------------------------------------------------------


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


# ---------------------------------------------------------------------------------------------
# "docs": prose from the documentation strings of installed packages
# ---------------------------------------------------------------------------------------------

_PACKAGES = ("keras", "matplotlib", "numpy", "scipy", "tensorflow", "tensorflow_text")
# Tests, generated code, copies of other modules, and what some systems leave out of Python.
_SKIPPED = re.compile(
    r"(^|/)(tests?|testing|_api|site-packages|dist-packages|lib2to3|idlelib|distutils|ensurepip"
    r"|encodings|turtledemo|config-[^/]*|_sysconfigdata[^/]*|protobuf|legacy|tensorflow/python/keras)/"
    r"|/(gen_[^/]*|test_[^/]*|_sysconfigdata[^/]*|[^/]*_(test|pb2))\.py$"
)
_UNDERLINE = re.compile(r"([-=~^*#\"'])\1{2,}$")
_ITEM = re.compile(r"^(?:[-*+•]|\d+[.)]|\*{0,2}`*[\w.]+`*(?: \([^)]*\))?:)\s+")
_MARKUP = tuple(
    (re.compile(pattern), r"\1")
    for pattern in (
        r":[\w:]+:`~?\.?([^`<]+?)\s*(?:<[^`>]*>)?`",  # :func:`name`, :ref:`text <target>`
        r"`([^`<]+?)\s*<[^`>]*>`_+",  # `text <address>`_
        r"\[([^\]]*)\]\([^)]*\)",  # [text](address)
        r"`+([^`]+)`+_*",
        r"\*\*?([^\s*](?:[^*]*[^\s*])?)\*\*?",
    )
)
_CODE = re.compile(r">>>|[=\\|{}<>@#$^~`*]|::|\.\. |://")
_PLAIN_WORD = re.compile(r"[(\"']*[A-Z]?[a-z'’-]*[a-z][.,;:!?)\"']*$|[AI]$")


def _docs(every: int) -> Iterator[list[str]]:
    """One document per module: its paragraphs of prose. Source text only, nothing is imported."""
    seen: set[str] = set()
    for source in itertools.islice(_sources(), None, None, every):
        document = []
        candidates = (p for p in _paragraphs_of_module(source) if p.endswith((".", "!", "?")))
        for paragraph in map(_without_markup, candidates):
            if paragraph not in seen and _is_prose(paragraph):
                seen.add(paragraph)
                document.append(paragraph)
        if document:
            yield document


def _sources() -> Iterator[str]:
    roots = [Path(sysconfig.get_path("stdlib"))]
    for name in _PACKAGES:
        found = importlib.util.find_spec(name)
        if found is None:
            raise InputError(f'the corpus "docs" needs the package {name}: install it')
        roots.append(Path(found.origin).parent)
    for root in roots:
        prefix = len(root.parent.as_posix())
        for path in sorted(root.rglob("*.py")):
            if _SKIPPED.search(path.as_posix()[prefix:]):
                continue
            source = path.read_text(encoding="utf-8", errors="ignore")
            documentation = sum(map(len, source.split('"""')[1::2]))
            # Parsing takes most of the time, and a module that is nearly all code yields nothing.
            if documentation > 0.2 * len(source) or path.match("pydoc_data/topics.py"):
                yield source


def _paragraphs_of_module(source: str) -> Iterator[str]:
    collecting = gc.isenabled()
    gc.disable()  # nothing to collect in a growing syntax tree: 3 times faster without the search
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    finally:
        if collecting:
            gc.enable()
    for text in _strings(tree):
        yield from _paragraphs(text)


def _strings(tree: ast.Module) -> Iterator[str]:
    """Documentation strings, and other long strings at the top of a module (topics, add_newdoc)."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                todo.append(child)
            elif isinstance(node, ast.Module) or isinstance(child, ast.Expr):
                values = ast.walk(child) if node is tree else [child.value]
                texts = (value.value for value in values if isinstance(value, ast.Constant))
                yield from (inspect.cleandoc(text) for text in texts if isinstance(text, str))


def _paragraphs(text: str) -> Iterator[str]:
    """Joins lines of one indentation; list items and arguments keep their indented lines."""
    block: list[str] = []
    first = last = 0
    for line in [*text.split("\n"), ""]:
        stripped = line.strip()
        if block and _UNDERLINE.match(stripped):  # what it underlines is a heading
            block.pop()
            continue
        indent = len(line) - len(stripped)
        hangs = len(block) == 1 and indent > first and _ITEM.match(block[0])
        if block and (not stripped or (indent != last and not hangs) or _ITEM.match(stripped)):
            yield _ITEM.sub("", " ".join(block), count=1)
            block = []
        if stripped:
            first = first if block else indent
            block.append(stripped)
            last = indent


def _without_markup(paragraph: str) -> str:
    for pattern, text in _MARKUP:
        paragraph = pattern.sub(text, paragraph)
    return " ".join(paragraph.split())


def _is_prose(paragraph: str) -> bool:
    """Whole English sentences: no code, table, signature or reference."""
    words = paragraph.split(" ")
    if len(words) < 8 or not re.match(r'["(]?[A-Z]', paragraph):
        return False
    if _CODE.search(paragraph):
        return False
    letters = sum(map(str.isalpha, paragraph)) + len(words) - 1
    plain = sum(1 for word in words if _PLAIN_WORD.match(word))
    return letters >= 0.92 * len(paragraph) and plain >= 0.8 * len(words)
