"""Lay out the documents as the pages of the site, which mkdocs.yml describes.

The documents are written for readers of the repository: they link to files beside `docs`, to the twin in the other
language, and to Chinese pages by name. On the site some of these files are pages too, others are copied beside them,
and each language has pages of its own, so links are rewritten. A page without a twin is the same in both languages.
MkDocs calls `on_config` by its name.
"""

from __future__ import annotations

import functools
import os
import posixpath
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "out" / "docs"

#: A link, but to another site or within the page.
_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)(#[^)]*)?\)")

#: A link to a part of another page.
_ANCHOR = re.compile(r"(\]\((?!\w+:)[^)#\s]+)#[^)]*\)")

#: The link to the twin at the top of a document; the site has a menu of languages.
_TWIN = re.compile(r"^\[(?:中文|English)\]\([^)]*\)(?: · |[.。]\s*|\s*$)", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take the pages in place of the documents, and give headings the anchors that links in the documents name."""
    lay_out(PAGES, config.extra["documents"])
    config.docs_dir = str(PAGES)
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def lay_out(folder: Path, elsewhere: Mapping[str, str]) -> None:
    """Write all pages to a folder, with what they link to; what was in it before is removed.

    Args:
        folder: where the pages go.
        elsewhere: pages whose documents do not lie in `docs`, with the paths of these in the repository.
    """
    page_of = {document: page for page, document in elsewhere.items()}
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder)
    documents = {path.relative_to(ROOT / "docs").as_posix(): path for path in (ROOT / "docs").rglob("*.md")}
    documents |= {page: ROOT / document for page, document in elsewhere.items()}
    for page, document in documents.items():
        text = _TWIN.sub("", document.read_text(encoding="utf-8"), count=1)
        source = document.relative_to(ROOT).as_posix()
        for target in {_target(source, link) for link, _ in _LINK.findall(text)} - {None, *page_of}:
            if target and not target.startswith("docs/"):
                (folder / target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / target, folder / target)
        rewritten = _LINK.sub(functools.partial(_rewrite, page, source, page_of), text)
        (folder / page).write_text(rewritten, encoding="utf-8")
        twin = page.removesuffix(".md") + ".zh.md"
        if not page.endswith(".zh.md") and twin not in documents:
            without_anchors = _ANCHOR.sub(r"\1)", rewritten)  # as headings of Chinese pages have others
            (folder / twin).write_text(without_anchors, encoding="utf-8")


def _rewrite(page: str, source: str, page_of: Mapping[str, str], link: re.Match[str]) -> str:
    """Rewrite a link of a document, to the page or the copy of what it leads to."""
    target = _target(source, link[1])
    if target is None:
        return link[0]
    leads_to = page_of.get(target, target.removeprefix("docs/")).replace(".zh.", ".")  # each language has its own
    return f"]({posixpath.relpath(leads_to, posixpath.dirname(page) or '.')}{link[2] or ''})"


def _target(source: str, link: str) -> str | None:
    """Return the file that a link of a document leads to, as a path in the repository; None where there is none."""
    target = os.path.normpath(posixpath.join(posixpath.dirname(source), link)).replace(os.sep, "/")
    return target if not target.startswith("..") and (ROOT / target).is_file() else None
