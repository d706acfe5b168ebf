"""Fetch the base model that the published restorer adapts, Stable Diffusion 2.1, from where it still is.

Its makers took the original off its hub in November 2025 (XPixelGroup/HYPIR#49, diffusers#12874). These threads name
mirrors. Nobody states checksums of them, so none is written down here: `files/checksums.py` records what came first.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from omniup.errors import InputError, MissingPackageError
from omniup.files.hub import find

logger = logging.getLogger(__name__)

PUBLISHED = "stabilityai/stable-diffusion-2-1-base"
"""The name of the published model's networks: the repository that was removed, which caches and mirrors may have."""

HYPIR = "hypir"
"""Short name of the published model."""

MIRROR = "Manojb/stable-diffusion-2-1-base"

SOURCES = (PUBLISHED, MIRROR, "https://modelscope.cn/models/stabilityai/stable-diffusion-2-1-base/resolve/master")
"""Sources of the base model, in the order in which they are tried, unless the caller names others."""

_ACCEPTED = (
    "another source of it as `base`, since the original was removed from its hub in November 2025: {mirror}, which "
    "`{fetch}` fetches where there is a network, or ModelScope's {published}; or as `model`, a folder in diffusers' "
    "layout, or tiny"
)


def fetch_base(sources: Sequence[str], files: Sequence[str], more: Sequence[str], *, offline: bool) -> Path:
    """Fetch the base model from the first source that gives all of its files.

    Args:
        sources: repositories of the Hugging Face hub, or URLs that the files lie below.
        files: what must be there.
        more: what is fetched as well where the source has it.
        offline: look in the cache only.

    Returns:
        A folder in the cache.

    Raises:
        InputError: no source gives them; says why, and names others.
    """
    refusals: list[InputError] = []
    for source in sources:
        try:
            folder = find(source, files, argument="model", accepted=_ACCEPTED, more=more, offline=offline)
        except MissingPackageError:
            raise
        except InputError as error:
            refusals.append(error)
        else:
            logger.info("the base model has been fetched from %s", source)
            return folder
    values = {"mirror": MIRROR, "published": PUBLISHED, "fetch": f"hf download {MIRROR} {' '.join(files)}"}
    first = refusals[0]
    if "switch" in first.values:  # nothing was asked, so that one stands for all
        raise InputError("model", first.problem, _ACCEPTED, **first.values | values)
    reasons = "; ".join(error.problem.format(**error.values).removeprefix("is ") for error in refusals)
    raise InputError("model", "is to be had from none of its sources: {reasons}", _ACCEPTED, reasons=reasons, **values)
