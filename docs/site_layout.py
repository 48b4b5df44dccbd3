"""A hook of MkDocs: the site has the repository's layout, so that links between pages work in both.

MkDocs takes pages from one folder, docs/, and refuses the folder above it. Here the site begins
with README.md and docs/, and every file that a page links to joins it, under its path.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)#:\s]+)")  # to another file, not into the same page or the web


def linked_files(page: Path) -> Iterator[Path]:
    """Yields the files of the repository that a page links to."""
    if page.suffix == ".md":
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            if target.is_file() and target.is_relative_to(ROOT):
                yield target


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Returns the theme's files, README.md, the pages of docs/, and what all of them link to."""
    found = {}  # in the order of their discovery
    unread = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    while unread:
        path = unread.pop(0)
        if path not in found:
            found[path] = File(
                path.relative_to(ROOT).as_posix(),
                str(ROOT),
                config.site_dir,
                config.use_directory_urls,
            )
            unread += linked_files(path)
    theme = [file for file in files if not Path(file.abs_src_path).is_relative_to(ROOT / "docs")]
    return Files([*theme, *found.values()])
