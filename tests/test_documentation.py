"""The examples of the READMEs run as they stand, and the two READMEs say the same."""

import re
import shlex
from pathlib import Path

import pytest

from omniup.cli import main
from omniup.mixing import cell_means

ROOT = Path(__file__).parents[1]
READMES = ["README.md", "README.en.md"]


def blocks(readme, language):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / readme).read_text(), re.MULTILINE | re.DOTALL)
    return [text for found, text in fenced if found == language]


def test_both_languages_have_the_same_examples():
    def code(readme):
        examples = "".join(blocks(readme, "python") + blocks(readme, "bash") + blocks(readme, ""))
        return [line.partition("#")[0].split() for line in examples.splitlines()]

    assert code("README.md") == code("README.en.md")


def test_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("README.en.md", "python")
    names = {}
    exec(compile(example, "README.en.md", "exec"), names)
    assert names["hr"].shape == (1, 384, 128, 192)
    assert names["vectors"].shape == (1, 1, 384)
    assert names["trust"].shape == (1, 1, 128, 192)


@pytest.mark.parametrize("document", ["docs/inputs.md", "docs/inputs.zh.md"])
def test_the_guide_to_inputs_runs(document):
    (example,) = blocks(document, "python")
    names = {}
    exec(compile(example, document, "exec"), names)
    assert names["full"].shape == (1, 384, 224, 224)
    assert names["filled"].isfinite().all()
    assert names["kept"].isnan().sum() < names["kept"].numel()
    assert names["confidence"].shape == (1, 1, 224, 224)
    lacking = (names["depth"] - cell_means(names["consistent"], (14, 14)))[names["valid"]]
    assert lacking.abs().max() < 1e-3


@pytest.mark.parametrize("line", blocks("README.en.md", "bash")[0].splitlines())
def test_command_runs(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name, *arguments = shlex.split(line, comments=True)
    assert name == "omniup"
    with pytest.raises(SystemExit) as left:
        main(arguments)
    said = capsys.readouterr()
    assert left.value.code == 0, said.err
    assert said.out or said.err


@pytest.mark.parametrize("document", [*READMES, *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(document):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / document).read_text())
    assert all((ROOT / document).parent.joinpath(target).exists() for target in targets), targets


def test_no_table_of_settings_is_out_of_date():
    from omniup.upsamplers import UpsampleAnything, methods

    readme = (ROOT / "README.en.md").read_text()
    assert all(f"`{name}`" in readme for name in methods())
    paper, spec = UpsampleAnything.preset("paper"), UpsampleAnything.preset("spec")
    assert f"{paper.iterations} `paper`, {spec.iterations} `spec`" in readme
    assert f"{paper.radius} `paper`, {spec.radius} `spec`" in readme


def test_every_test_that_the_demo_s_checklist_names_is_there():
    named = re.findall(r"`([\w/]+\.py)(?:::(test_\w+))?`", (ROOT / "docs/demo.md").read_text())
    named = [(file, test) for file, test in named if "/test_" in file]
    assert len(named) > 60
    for file, test in named:
        found = re.findall(r"^def (test_\w+)", (ROOT / "tests" / file).read_text(), re.MULTILINE)
        assert found
        assert not test or test in found, f"{file}::{test}"


def test_the_guides_to_restoration_have_the_same_commands():
    def code(document):
        examples = "".join(text for language in ("", "bash", "json") for text in blocks(document, language))
        return [line.partition("#")[0].split() for line in examples.splitlines()]

    assert code("docs/restoration.md") == code("docs/restoration.zh.md") != []
