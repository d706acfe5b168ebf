"""Notebooks compile, have twins with the same code, and carry no outputs; `make notebooks` runs them."""

import io
import json
import re
import tokenize

import pytest

from support.documents import ROOT

ENGLISH = sorted(path for path in (ROOT / "notebooks").glob("*.ipynb") if not path.name.endswith(".zh.ipynb"))
NOTEBOOKS = pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)


def cells(path, kind):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def twin(path):
    return path.with_name(f"{path.stem}.zh.ipynb")


def without_comments(code):
    return [
        token.string for token in tokenize.generate_tokens(io.StringIO(code).readline) if token.type != tokenize.COMMENT
    ]


def test_there_are_notebooks_and_each_has_a_twin():
    assert len(ENGLISH) >= 5
    assert {path.name for path in (ROOT / "notebooks").glob("*.zh.ipynb")} == {twin(path).name for path in ENGLISH}


@NOTEBOOKS
def test_code_compiles_and_carries_no_outputs(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), path.name, "exec")
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize("path", ENGLISH, ids=lambda path: path.stem)
def test_twins_have_the_same_code_and_as_many_texts(path):
    ours, theirs = cells(path, "code"), cells(twin(path), "code")
    assert [without_comments(code) for code in ours] == [without_comments(code) for code in theirs]
    assert len(cells(path, "markdown")) == len(cells(twin(path), "markdown"))


@NOTEBOOKS
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#:]+)\)", "\n".join(cells(path, "markdown")))
    assert targets
    for target in targets:
        assert (path.parent / target).is_file(), target
