"""The default corpus "docs": English prose from the docstrings of installed packages."""

import ast
import gc
import importlib.util
import inspect
import itertools
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobilebert_tf.errors import InputError

_PACKAGES = ("keras", "matplotlib", "numpy", "scipy", "tensorflow", "tensorflow_text")
# Tests, generated code, copies of other modules, and modules that some systems' Python lacks.
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


def docs_documents(every: int = 1) -> Iterator[list[str]]:
    """Yields one document for each module: its paragraphs of prose.

    The source text is parsed; nothing is imported.

    Args:
        every: 8 reads only every eighth module, in an eighth of the time.

    Raises InputError if one of the packages is not installed.
    """
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
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise InputError(f'the corpus "docs" needs the package {name}: install it')
        roots.append(Path(spec.origin).parent)
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
    gc.disable()  # parsing makes no garbage, and is 3 times faster without the search for it
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
    """Yields docstrings, and other strings at the top of a module (pydoc's topics, add_newdoc)."""
    todo: list[Any] = [tree]
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
    """Yields the paragraphs of a text: lines of equal indentation, joined.

    The indented lines below a list item or an argument belong to it.
    """
    block: list[str] = []
    first = last = 0
    for line in [*text.split("\n"), ""]:
        stripped = line.strip()
        if block and _UNDERLINE.match(stripped):  # the line above it is a heading
            block.pop()
            continue
        indent = len(line) - len(stripped)
        continues_item = len(block) == 1 and indent > first and _ITEM.match(block[0])
        new_indent = indent != last and not continues_item
        if block and (not stripped or new_indent or _ITEM.match(stripped)):
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
    """Returns whether a paragraph is English sentences, not code, a table or a signature."""
    words = paragraph.split(" ")
    if len(words) < 8 or not re.match(r'["(]?[A-Z]', paragraph):
        return False
    if _CODE.search(paragraph):
        return False
    letters = sum(map(str.isalpha, paragraph)) + len(words) - 1
    plain = sum(1 for word in words if _PLAIN_WORD.match(word))
    return letters >= 0.92 * len(paragraph) and plain >= 0.8 * len(words)
