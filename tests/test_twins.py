"""Every guide is there in Chinese and in English, and the two have the same parts."""

import re

import pytest

from support.documents import ROOT, TWINS, blocks, links, prose, text

PAIRS = pytest.mark.parametrize(("english", "chinese"), TWINS.items(), ids=TWINS)

#: Commands in blocks without a language, which may hold folders and drawings too.
COMMAND = re.compile(r"(accelerate|cat|cd|cp|curl|docker|git|hf|make|omniup|pip|python) ")


def tables(document):
    """The rows of each table."""
    return [table.splitlines() for table in re.findall(r"(?:^\|.*\n)+", prose(document), re.MULTILINE)]


def examples(document):
    """The lines of all examples, without comments."""
    code = "".join(blocks(document, "python", "bash", "sh", "yaml", "json", "toml"))
    commands = [line for line in "".join(blocks(document, "")).splitlines() if COMMAND.match(line)]
    return [line.partition("#")[0].split() for line in [*code.splitlines(), *commands]]


def test_every_guide_has_a_twin():
    guides = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    originals = {guide for guide in guides if not guide.endswith(".zh.md")}
    assert originals == {guide for guide in TWINS if guide.startswith("docs/")}
    assert guides - originals == {twin for twin in TWINS.values() if twin.startswith("docs/")}


@PAIRS
def test_twins_name_each_other_at_the_top(english, chinese):
    for document, label, twin in ((english, "中文", chinese), (chinese, "English", english)):
        name = twin.rpartition("/")[2]
        assert f"[{label}]({name})" in "\n".join(text(document).splitlines()[:3])


@PAIRS
def test_twins_have_the_same_headings_and_tables(english, chinese):
    def outline(document):
        levels = re.findall(r"^#+(?= )", prose(document), re.MULTILINE)
        return levels, [len(rows) for rows in tables(document)]

    assert outline(english) == outline(chinese)


@PAIRS
def test_tables_of_twins_have_the_same_numbers(english, chinese):
    """Those with a decimal point: small whole numbers may be words."""

    def numbers(document):
        return [sorted(re.findall(r"\d+\.\d+", row)) for rows in tables(document) for row in rows]

    assert numbers(english) == numbers(chinese)


@PAIRS
def test_twins_have_the_same_examples(english, chinese):
    assert examples(english) == examples(chinese)


def test_a_difference_between_examples_would_be_found():
    assert examples("docs/anyup.md") != examples("docs/training.md") != []


@pytest.mark.parametrize("document", TWINS.values())
def test_chinese_documents_lead_to_chinese_ones_or_say_that_they_do_not(document):
    for label, target, _ in links(document):
        if target.endswith(".md") and target not in TWINS.values():
            assert label == "English" or (target not in TWINS and label.endswith("（英文）")), (label, target)
