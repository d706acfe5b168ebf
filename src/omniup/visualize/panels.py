"""Draw sheets: pictures and maps side by side, each under its title, at one size.

The panels of a sheet show the same field of view at different resolutions, so each is stretched to the same box, and
enlarged without interpolation: a low-resolution cell appears as the cell it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from PIL import Image
from torch import Tensor

from omniup.errors import InputError
from omniup.upsamplers.representation import ShortRepr
from omniup.visualize.colours import DEFAULT_COLOURS, colour_scale, heat_map, scalars, to_picture
from omniup.visualize.page import POINT, Page, text_height, wrap
from omniup.visualize.tensors import check_point

# Sizes in pixels.
MARGIN, GAP, PAD = 20, 32, 6  # around the page; between panels; between the parts of one
HEADING, TITLE, LABEL = 18, 14, 11  # letters
RING = 10
HISTOGRAM, BAR, TICKS, UNIT = 48, 10, 18, 14

BINS = 48


@dataclass(frozen=True, eq=False, repr=False)  # tensors have no single answer to ==
class Panel(ShortRepr):
    """One picture or scalar map of a sheet.

    Attributes:
        title: what it shows.
        image: a picture ([1, 3, h, w] in 0..1, or PIL) or a scalar map ([1, 1, h, w]), which gets a colour bar.
        limits: of a map: the values at the ends of its colour bar; by default the least and the greatest.
        colours: of a map: the name of one of matplotlib's colour maps; by default "inferno".
        unit: of a map's values, written below its colour bar.
        mark: (y, x) of a pixel of the image to put a ring around.
    """

    title: str
    image: Tensor | Image.Image
    limits: tuple[float, float] | None = None
    colours: str | None = None
    unit: str = ""
    mark: tuple[int, int] | None = None


def sheet(
    panels: Sequence[Panel], *, title: str = "", columns: int = 4, width: int = 256, histograms: bool = False
) -> Image.Image:
    """Lay panels out in rows, to compare them at a glance.

    Every panel is drawn `width` pixels wide, at the aspect ratio of the one with the most pixels. Smaller images are
    enlarged to that with hard cells, larger ones are averaged down.

    Args:
        panels: at least one, in reading order.
        title: the heading of the sheet.
        columns: panels a row, at most.
        width: of a panel, in pixels, from 64 on.
        histograms: draw the distribution of every scalar map above its colour bar.

    Returns:
        The sheet as RGB, as large as it takes.

    Raises:
        InputError: no panels, too small a width, an image of another shape, a mark outside of its image, or limits or
            colours that `heat_map` refuses.
    """
    if not panels:
        raise InputError("panels", "is empty", "at least one panel")
    if columns < 1:
        raise InputError("columns", "is {value}", "{least} or more", value=columns, least=1)
    if width < 64:
        raise InputError("width", "is {value}", "{least} or more", value=width, least=64)
    pictures = [_picture(panel) for panel in panels]
    largest = max(pictures, key=lambda picture: picture.width * picture.height)
    box = (width, max(1, round(width * largest.height / largest.width)))
    across = min(columns, len(panels))
    inner = across * width + (across - 1) * GAP

    heading = wrap(title, inner, HEADING)
    strips = [_heading(heading, inner)] if heading else []
    for first in range(0, len(panels), columns):
        row = slice(first, first + columns)
        strips.append(_row(panels[row], pictures[row], box, inner, histograms))
    return _stack(strips)


def _map_of(panel: Panel) -> Tensor | None:
    """Return the panel's scalar map, if it shows one."""
    image = panel.image
    return image if isinstance(image, Tensor) and image.ndim == 4 and image.shape[1] == 1 else None


def _picture(panel: Panel) -> Image.Image:
    """Give the panel's image in colours, at its own size."""
    scalar_map = _map_of(panel)
    if scalar_map is not None:
        picture = heat_map(scalar_map, panel.limits, panel.colours or DEFAULT_COLOURS)
    elif isinstance(panel.image, Tensor):
        picture = to_picture(panel.image)
    else:
        picture = panel.image.convert("RGB")
    if panel.mark is not None:
        check_point("mark", panel.mark, picture.height, picture.width)
    return picture


def _heading(text: list[str], inner: int) -> Image.Image:
    """Draw the title of a sheet, as a strip."""
    page = Page(inner + 2 * MARGIN, text_height(text, HEADING))
    page.write(text, MARGIN, page.height, HEADING)
    return page.picture()


def _row(
    panels: Sequence[Panel], pictures: Sequence[Image.Image], box: tuple[int, int], inner: int, histograms: bool
) -> Image.Image:
    """Draw a row of panels, as a strip: titles, images, and below the scalar maps their keys."""
    width, height = box
    titles = [wrap(panel.title, width, TITLE) for panel in panels]
    above = max(text_height(text, TITLE) for text in titles) + PAD
    below = max(_key_height(panel, histograms) for panel in panels)
    page = Page(inner + 2 * MARGIN, above + height + below)
    for column, (panel, text, picture) in enumerate(zip(panels, titles, pictures, strict=True)):
        left = MARGIN + column * (width + GAP)
        page.write(text, left, above - PAD, TITLE)
        page.paste(_fit(picture, box), left, above)
        if panel.mark is not None:
            y, x = panel.mark
            page.ring(left + (x + 0.5) * width / picture.width, above + (y + 0.5) * height / picture.height, RING)
        _draw_key(page, panel, left, above + height + PAD, width, histograms)
    return page.picture()


def _fit(picture: Image.Image, box: tuple[int, int]) -> Image.Image:
    """Enlarge a picture with hard cells, or average it down where it is larger than the box."""
    fits = picture.width <= box[0] and picture.height <= box[1]
    return picture.resize(box, Image.Resampling.NEAREST if fits else Image.Resampling.BOX)


def _key_height(panel: Panel, histograms: bool) -> int:
    if _map_of(panel) is None:
        return 0
    return PAD + (HISTOGRAM if histograms else 0) + BAR + TICKS + (UNIT if panel.unit else 0)


def _draw_key(page: Page, panel: Panel, left: int, top: int, width: int, histograms: bool) -> None:
    """Draw the colour bar of a scalar map, and above it, on the same axis, the distribution of its values."""
    scalar_map = _map_of(panel)
    if scalar_map is None:
        return
    colours = colour_scale(scalar_map, panel.limits, panel.colours or DEFAULT_COLOURS)
    if histograms:
        low, high = colours.get_clim()
        axes = page.axes(left, top, width, HISTOGRAM)
        axes.hist(scalars(scalar_map).ravel(), BINS, range=(low, high), color="0.6")
        axes.set_xlim(low, high)
        axes.axis("off")
        top += HISTOGRAM
    axes = page.axes(left, top, width, BAR)
    ticks = MaxNLocator(width // 64, steps=[1, 2, 5, 10], min_n_ticks=1)  # a label such as "1.5e-05" takes 50 pixels
    labels = StrMethodFormatter("{x:g}")
    bar = page.figure.colorbar(colours, cax=axes, orientation="horizontal", ticks=ticks, format=labels)
    bar.outline.set_visible(False)
    axes.tick_params(labelsize=LABEL / POINT, length=3, pad=2)
    axes.set_xlabel(panel.unit, fontsize=LABEL / POINT, labelpad=1)


def _stack(strips: Sequence[Image.Image]) -> Image.Image:
    """Stack strips of one width."""
    height = sum(strip.height for strip in strips) + GAP * (len(strips) - 1) + 2 * MARGIN
    stacked = Image.new("RGB", (strips[0].width, height), "white")
    top = MARGIN
    for strip in strips:
        stacked.paste(strip, (0, top))
        top += strip.height + GAP
    return stacked
