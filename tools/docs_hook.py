"""Hook of mkdocs: pages from the root of the repository, and files that pages link to outside docs/.

README.md is the home page; CHANGELOG.md, CONTRIBUTING.md and SECURITY.md are pages too. Any other file
that a page links to outside docs/ (an example, a schema, the card of a network) is copied to `files/` of
the site. So one set of links holds in the checkout and on the site.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Files at the root that are pages: name here -> name on the site."""
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")


def _source(site_name: str) -> str:
    """Path in the repository of a page of the site."""
    return next((name for name, page in PAGES.items() if page == site_name), f"docs/{site_name}")


def _target(path: str) -> str:
    """Path on the site of a file of the repository."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"files/{path}" + (".txt" if path.endswith((".py", ".md")) else "")


def _links(text: str, source: str) -> set[str]:
    """Files of the repository that a page links to, by path."""
    folder = posixpath.dirname(source)
    found = {posixpath.normpath(posixpath.join(folder, match[2])) for match in LINK.finditer(text)}
    return {path for path in found if (ROOT / path).is_file()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and the files outside docs/ that pages link to."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    linked: set[str] = set()
    for page in files.documentation_pages():
        source = _source(page.src_uri)
        linked |= _links((ROOT / source).read_text("utf-8"), source)
    for path in sorted(linked):
        target = _target(path)
        if target.startswith("files/"):
            files.append(File.generated(config, target, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    source = _source(page.file.src_uri)
    folder, here = posixpath.dirname(source), posixpath.dirname(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[2]))
        if not (ROOT / path).is_file():
            return match[0]
        return match[1] + os.path.relpath(_target(path), here or ".").replace(os.sep, "/") + match[3]

    return LINK.sub(moved, markdown)
