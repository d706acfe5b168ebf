"""Documents of the project: what there is in which language, their examples and their links."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: The documents that have two languages, each English one with its Chinese twin.
TWINS = {
    "README.en.md": "README.md",
    "demo/README.en.md": "demo/README.md",
    "CONTRIBUTING.md": "CONTRIBUTING.zh.md",
    "SECURITY.md": "SECURITY.zh.md",
    **{
        f"docs/{path.name}": f"docs/{path.stem}.zh.md"
        for path in sorted((ROOT / "docs").glob("*.md"))
        if not path.name.endswith(".zh.md")
    },
}

#: What a reader of each language finds.
ENGLISH = [*TWINS]
CHINESE = [*TWINS.values()]
DOCUMENTS = sorted({*ENGLISH, *CHINESE, "CHANGELOG.md"})


def text(document):
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document, *languages):
    """The fenced blocks of some languages; "" is that of blocks without one."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text(document), re.MULTILINE | re.DOTALL)
    return [block for language, block in fenced if language in languages]


def prose(document):
    return re.sub(r"^```.*?^```$", "", text(document), flags=re.MULTILINE | re.DOTALL)


def links(document):
    """The label, the target from the project's folder on, and the anchor of every link within the project."""
    found = re.findall(r"\[([^\]]*)\]\((?!https?:)([^)#]*)#?([^)]*)\)", prose(document))
    folder = Path(document).parent
    return [
        (label, Path(os.path.normpath(folder / target)).as_posix() if target else document, anchor)
        for label, target, anchor in found
    ]


def anchors(document):
    """The anchors of a document's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
