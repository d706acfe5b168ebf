"""Draw figures without pyplot: a figure belongs to one call, so threads do not disturb each other."""

from __future__ import annotations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

DPI = 128  # a power of two: sizes in pixels survive matplotlib's inches without rounding


def blank_figure(width: int, height: int) -> Figure:
    """Make an empty white figure of width × height pixels."""
    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")


def render(figure: Figure) -> Image.Image:
    """Draw a figure as an RGB picture of the size it was made with."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib types its figures and not its back ends
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    return Image.frombuffer("RGBA", canvas.get_width_height(), pixels).convert("RGB")
