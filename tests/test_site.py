"""The site of the documents: every page is in its menu, and it builds where MkDocs is installed (`make docs`)."""

import gzip
import importlib
import re
import subprocess
import sys

import pytest
import yaml

from support.documents import ENGLISH, ROOT, TWINS

SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

#: What a browser may fetch for the start page, compressed.
START_PAGE = 500_000


def entries(menu):
    """The titles and pages of a menu, from top to bottom; a page without a title has None."""
    for entry in menu:
        if isinstance(entry, str):
            yield None, entry
            continue
        for title, content in entry.items():
            if isinstance(content, str):
                yield title, content
            else:
                yield title, None
                yield from entries(content)


PAGES = [page for _, page in entries(SITE["nav"]) if page]


def test_every_document_has_one_page_in_the_menu():
    documents = {f"docs/{path.relative_to(ROOT / 'docs').as_posix()}" for path in (ROOT / "docs").glob("api/*.md")}
    documents |= {*ENGLISH, "CHANGELOG.md"}
    elsewhere = SITE["extra"]["documents"]
    assert sorted(elsewhere.get(page, f"docs/{page}") for page in PAGES) == sorted(documents)


def test_pages_of_documents_elsewhere_have_their_twins():
    elsewhere = SITE["extra"]["documents"]
    for page, document in elsewhere.items():
        if not page.endswith(".zh.md"):
            assert elsewhere.get(page.replace(".md", ".zh.md")) == TWINS.get(document)


def test_every_title_of_the_menu_has_a_translation():
    (plugin,) = [each["i18n"] for each in SITE["plugins"] if isinstance(each, dict) and "i18n" in each]
    (chinese,) = [each for each in plugin["languages"] if each["locale"] == "zh"]
    assert {title for title, _ in entries(SITE["nav"]) if title} == set(chinese["nav_translations"])


def test_the_api_pages_name_what_there_is():
    named = re.findall(
        r"^::: (\S+)", "".join((ROOT / "docs" / page).read_text() for page in PAGES if "api/" in page), re.M
    )
    assert len(named) > 40
    for path in named:
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name).__doc__, path


@pytest.mark.slow
def test_it_builds_without_a_warning_and_its_start_page_is_light(tmp_path):
    for package in ("mkdocs", "material", "mkdocs_static_i18n", "mkdocstrings"):
        pytest.importorskip(package, reason="the site's tools are not installed: make docs installs them")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    for page in PAGES:
        place = "" if page == "index.md" else page.removesuffix(".md")
        assert (tmp_path / place / "index.html").is_file()
        assert (tmp_path / "zh" / place / "index.html").is_file()
    start = (tmp_path / "index.html").read_text(encoding="utf-8")
    fetched = re.findall(r'<(?:link|script|img)[^>]* (?:href|src)="((?!\w+:)[^"#]+\.\w+)"', start)
    fetched += [*re.findall(r'"search": "([^"]+)"', start), "index.html", "search/search_index.json"]
    assert {name.rpartition(".")[2] for name in fetched} >= {"css", "js", "png", "json"}
    assert sum(len(gzip.compress((tmp_path / name).read_bytes())) for name in fetched) < START_PAGE
