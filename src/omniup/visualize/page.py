"""Address a figure like a picture: in whole pixels, from the top left.

Matplotlib draws the text and the scales; pictures go in unscaled, so that what a sheet shows is what was computed.
"""

from __future__ import annotations

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import IdentityTransform
from PIL import Image

from omniup.visualize.figures import DPI, blank_figure, render

POINT = DPI / 72  # pixels
LETTER = 0.6  # the width of an average letter, as a part of the font's size
LINE = 1.4  # the height of a line, likewise
DESCENT = 0.25  # of which below the baseline


def wrap(text: str, width: int, size: int) -> list[str]:
    """Break a text into lines of about `width` pixels, for a font of `size` pixels."""
    return textwrap.wrap(text, max(1, int(width / (LETTER * size))))


def text_height(lines: list[str], size: int) -> int:
    """Count the pixels that lines of text take from top to bottom."""
    return math.ceil(LINE * size * len(lines))


class Page:
    """A white page; what is put on it stays where it was put."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = blank_figure(width, height)

    def write(self, lines: list[str], left: int, bottom: int, size: int) -> None:
        """Write lines of text that end above `bottom`, in a font of `size` pixels."""
        x, y = left / self.width, 1 - (bottom - DESCENT * size) / self.height
        # By the baseline, since the bottoms of lines with and without a "p" do not align. Titles hold file names, in
        # which a "$" is no mathematics.
        self.figure.text(x, y, "\n".join(lines), fontsize=size / POINT, va="baseline", parse_math=False)

    def paste(self, picture: Image.Image, left: int, top: int) -> None:
        """Put in an RGB picture, pixel for pixel."""
        self.figure.figimage(np.asarray(picture), left, self.height - top - picture.height, origin="upper")

    def ring(self, x: float, y: float, size: int) -> None:
        """Mark a point with a ring of `size` pixels that shows on dark and on light ground."""
        ring = Line2D(
            [x],
            [self.height - y],
            marker="o",
            color="white",
            fillstyle="none",
            markersize=size / POINT,
            markeredgewidth=2 / POINT,
            path_effects=[withStroke(linewidth=4 / POINT, foreground="black")],
            transform=IdentityTransform(),
        )
        self.figure.add_artist(ring)

    def axes(self, left: int, top: int, width: int, height: int) -> Axes:
        """Make room for a plot."""
        bottom = self.height - top - height
        box = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def picture(self) -> Image.Image:
        """Draw the page as RGB."""
        return render(self.figure)
