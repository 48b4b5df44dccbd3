"""The page as users meet it: page.test.mjs in Chromium; and the size of the page's own code."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from clients.exported import HEADS

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "web_demo"
LIMIT = 64_000  # bytes
TABLES = "unicode_tables.js"
# Comments on lines of their own.
COMMENT = re.compile(r"^ *(/\*\*.*?\*/|//[^\n]*)\n", re.DOTALL | re.MULTILINE)


def test_page(exported, chromium, address, tmp_path):
    for head in HEADS:
        shutil.copy(exported.file(head, "int8", None).path, tmp_path / f"{head}.tflite")
    given = {"CHROMIUM": chromium, "ADDRESS": address, "MODELS": str(tmp_path)}
    done = subprocess.run(
        ["node", "--test", HERE / "page.test.mjs"],
        env=os.environ | given,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_own_code_is_small():
    """Of what the browser gets: without comments, without LiteRT.js, and without the tokenizer's
    tables, which are data that tests/goldens/make.py writes."""
    files = [PAGE / "index.html", PAGE / "style.css", *sorted((PAGE / "js").glob("*.js"))]
    code = [COMMENT.sub("", path.read_text("utf-8")) for path in files if path.name != TABLES]
    assert sum(len(text.encode()) for text in code) < LIMIT
