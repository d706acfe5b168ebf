"""Give the package its description and the project's addresses, when hatchling builds it.

A package index shows the README without the files beside it, so the README's links must be whole addresses. Where the
repository lies is known only to those who publish from it: they set OMNIUP_REPOSITORY to its address, as the workflow
of releases does. Without it the package has no addresses, and links stay as they are.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: A link or a picture, but to another site or within the page.
_LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!\w+:|#)([^)\s]+)\)")


class PackageMetadata(MetadataHookInterface):
    """Fill in `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the description, and the addresses where there are some."""
        text = Path(self.root, "README.en.md").read_text(encoding="utf-8")
        urls = {}
        if repository := os.environ.get("OMNIUP_REPOSITORY", "").rstrip("/"):
            tag = f"v{metadata['version']}"
            text = with_addresses(text, repository, tag)
            urls = {
                "Source": repository,
                "Documentation": f"{repository}/blob/{tag}/docs/index.md",
                "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
                "Issues": f"{repository}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = urls


def with_addresses(text: str, repository: str, tag: str) -> str:
    """Write the links and pictures of a document at the repository's root as whole addresses, of the files at a tag."""
    return _LINK.sub(
        lambda link: f"{link[1]}{link[2]}({repository}/{'raw' if link[1] else 'blob'}/{tag}/{link[3]})", text
    )
