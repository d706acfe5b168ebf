"""What documents say of the benchmark: commands that exist, tables that are printed, the same in both languages."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from omniup.cli.errors import UsageError
from omniup_bench.command import app
from omniup_bench.document_tables import TABLES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "README.en.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDES = ["docs/benchmarking.md", "docs/benchmarking.zh.md"]


def commands(path):
    """The arguments of every `omniup bench …` in a document, on a line of its own or in backticks."""
    text = path.read_text("utf-8").replace("\\\n", " ").replace(" D`", " --data DIR`").replace(" D ", " --data DIR ")
    found = re.findall(r"^omniup bench (.*)$", text, re.MULTILINE) + re.findall(r"`omniup bench ([^`\n]+)`", text)
    return [shlex.split(each, comments=True) for each in found]


def named(path):
    return [arguments for arguments in commands(path) if len(arguments) > 1 and "…" not in arguments]


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if named(path)], ids=lambda path: path.name)
def test_commands_in_documents_are_accepted(path):
    group = typer.main.get_command(app)
    for name, *arguments in named(path):
        if "--help" not in arguments:
            group.commands[name].make_context(name, list(arguments))


def test_a_command_that_does_not_exist_would_be_found():
    group = typer.main.get_command(app)
    with pytest.raises(UsageError, match="No such option"):
        group.commands["quality"].make_context("quality", ["--nonsense", "1"])


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_names_every_command_and_every_table(guide):
    found = commands(ROOT / guide)
    assert {arguments[0] for arguments in found} == set(typer.main.get_command(app).commands)
    assert {arguments[1] for arguments in found if arguments[0] == "table"} == set(TABLES)


def test_both_guides_have_the_same_commands():
    assert commands(ROOT / GUIDES[0]) == commands(ROOT / GUIDES[1])
