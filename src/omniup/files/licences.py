"""State the licences of published weights, which are not that of the code."""

from __future__ import annotations

import functools
import logging

logger = logging.getLogger(__name__)

LICENCES = {
    "AnyUp": "CC-BY-4.0: credit the authors (arXiv 2510.12764)",
    "our AnyUp": "CC-BY-4.0, as the authors' that they continue (credit arXiv 2510.12764); the photographs that "
    "they saw, ImageNet's and BSDS500's, are for non-commercial research and education",
    "the small restorer": "as the photographs that it was trained on, ImageNet's and BSDS500's: for non-commercial "
    "research and education",
    "HYPIR": "for non-commercial use only; the authors (arXiv 2507.20590) give permission for other uses",
}
"""Licences of weights, by the names of their models."""


@functools.cache
def note_licence(model: str) -> None:
    """Log the licence of weights that are being loaded, once a process.

    Args:
        model: a name in `LICENCES`.
    """
    logger.warning("licence of %s's weights: %s", model, LICENCES[model])
