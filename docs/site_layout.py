"""A hook of MkDocs: the site has the repository's layout, so that links between pages work in both.

MkDocs takes pages from one folder, docs/, and refuses the folder above it. Here README.md and the
other pages outside of docs/ join the site, and every page keeps its path.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/**/*.md", "docs/**/*.png", "docs/**/*.svg", "*_demo/**/README.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Returns the site's files: those of the theme, and PAGES under their paths from ROOT."""
    site = Files([file for file in files if not file.src_uri.endswith((".md", ".png", ".svg"))])
    for path in sorted({path for pattern in PAGES for path in ROOT.glob(pattern)}):
        if "node_modules" in path.parts:
            continue
        name = path.relative_to(ROOT).as_posix()
        site.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return site
