"""Sheets hold their panels pixel for pixel."""

from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image

from omniup.errors import InputError
from omniup.visualize import Panel, heat_map, sheet, to_picture
from omniup.visualize.panels import BAR, GAP, MARGIN, PAD


def find(sheet: Image.Image, part: Image.Image, left: int) -> int | None:
    """The row at which a part lies in a sheet, `left` pixels from its edge."""
    pixels, wanted = np.asarray(sheet), np.asarray(part)
    for top in range(sheet.height - part.height + 1):
        if np.array_equal(pixels[top : top + part.height, left : left + part.width], wanted):
            return top
    return None


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 3, 40, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("width", [64, 100, 131, 256])
def test_every_panel_fills_its_box_with_hard_cells(image: torch.Tensor, width: int) -> None:
    low = torch.rand(1, 3, 5, 8, generator=torch.Generator().manual_seed(1))
    scalar = torch.rand(1, 1, 5, 8, generator=torch.Generator().manual_seed(2))
    panels = [Panel("image", image), Panel("cells", low), Panel("map", scalar), Panel("PIL", to_picture(low))]
    picture = sheet(panels, width=width, title="A sheet")
    assert picture.mode == "RGB"
    assert picture.width == 2 * MARGIN + 4 * width + 3 * GAP

    box = (width, round(width * 40 / 64))
    tops = []
    for column, small in enumerate([to_picture(image), to_picture(low), heat_map(scalar), to_picture(low)]):
        tops.append(find(picture, small.resize(box, Image.Resampling.NEAREST), MARGIN + column * (width + GAP)))
    assert tops[0] is not None
    assert len(set(tops)) == 1


def test_large_images_are_averaged_down() -> None:
    checkers = torch.zeros(1, 1, 512, 512)
    checkers[..., ::2, ::2] = checkers[..., 1::2, 1::2] = 1
    picture = sheet([Panel("checkers", to_picture(checkers))], width=128)
    assert find(picture, Image.new("RGB", (128, 128), (128, 128, 128)), MARGIN) is not None


def test_rows_fill_from_the_left(image: torch.Tensor) -> None:
    panels = [Panel(str(number), torch.full_like(image, number / 5)) for number in range(5)]
    picture = sheet(panels, columns=2, width=64)
    assert picture.width == 2 * MARGIN + 2 * 64 + GAP
    for number, panel in enumerate(panels):
        part = to_picture(panel.image[..., :40, :64])
        assert find(picture, part, MARGIN + number % 2 * (64 + GAP)) is not None


def test_a_map_has_a_colour_bar_from_its_lower_to_its_upper_limit(image: torch.Tensor) -> None:
    panel = Panel("map", torch.rand(1, 1, 40, 64), limits=(-1, 2), colours="viridis", unit="px")
    pixels = np.asarray(sheet([panel], width=64)).astype(int)
    with_picture = sheet([Panel("map", image)], width=64)
    top = find(with_picture, to_picture(image), MARGIN)
    assert top is not None
    assert with_picture.height < len(pixels)
    bar = pixels[top + 40 + PAD + BAR // 2, MARGIN : MARGIN + 64]
    viridis = matplotlib.colormaps["viridis"](np.linspace(0, 1, 64), bytes=True)[:, :3].astype(int)
    assert np.abs(bar - viridis).max() < 12


def test_histograms_add_a_strip_to_maps_and_none_to_pictures(image: torch.Tensor) -> None:
    values = torch.rand(1, 1, 40, 64)
    values[0, 0, 0, 0] = torch.nan
    plain, with_histogram = (sheet([Panel("map", values)], histograms=histograms) for histograms in (False, True))
    assert with_histogram.height > plain.height
    assert sheet([Panel("image", image)], histograms=True).size == sheet([Panel("image", image)]).size


def test_a_mark_rings_its_pixel(image: torch.Tensor) -> None:
    black = torch.zeros(1, 3, 8, 8)
    pixels = np.asarray(sheet([Panel("", black, mark=(2, 5))], width=128))[..., 0]
    top = find(sheet([Panel("", black)], width=128), Image.new("RGB", (128, 128)), MARGIN)
    assert top is not None
    rows, columns = np.nonzero(pixels[top : top + 128, MARGIN : MARGIN + 128] > 200)
    assert abs(rows.mean() - 2.5 * 16) < 1
    assert abs(columns.mean() - 5.5 * 16) < 1
    assert np.hypot(rows - 2.5 * 16, columns - 5.5 * 16).max() < 8


def test_long_titles_stay_within_their_panel(image: torch.Tensor) -> None:
    title = "A title that is much longer than its panel is wide, of $5_file^name and/a/path/that/does/not/break.png"
    pixels = np.asarray(sheet([Panel(title, image), Panel("", image)], width=160, title=title * 2))
    margins = [pixels[:, :MARGIN], pixels[:, -MARGIN:], pixels[:, MARGIN + 160 : MARGIN + 160 + GAP]]
    heading = len(pixels) - len(np.asarray(sheet([Panel(title, image)], width=160)))
    assert (margins[0] == 255).all()
    assert (margins[1] == 255).all()
    assert (margins[2][heading:] == 255).all()


def test_threads_do_not_disturb_each_other(image: torch.Tensor) -> None:
    panels = [[Panel(f"sheet {n}", image * n / 4), Panel("map", image[:, :1] * n)] for n in range(1, 5)]
    alone = [sheet(each, width=64) for each in panels]
    with ThreadPoolExecutor(4) as pool:
        for ours, theirs in zip(alone, pool.map(lambda each: sheet(each, width=64), panels), strict=True):
            assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize(
    ("panel", "message"),
    [
        (Panel("", torch.rand(1, 2, 4, 4)), "has the shape"),
        (Panel("", torch.rand(4, 4)), "has the shape"),
        (Panel("", torch.rand(1, 1, 4, 4), limits=(1, 0)), "limits is"),
        (Panel("", torch.rand(1, 1, 4, 4), colours="nonsense"), "colours is"),
        (
            Panel("", torch.rand(1, 3, 4, 5), mark=(4, 0)),
            r"mark is \(y, x\) = \(4, 0\); accepted: .* to \(3, 4\)",
        ),
    ],
)
def test_panels_that_cannot_be_drawn_are_refused(panel: Panel, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sheet([panel])


def test_layouts_that_cannot_be_are_refused(image: torch.Tensor) -> None:
    with pytest.raises(InputError, match="panels is empty"):
        sheet([])
    for argument, value, least in (("columns", 0, 1), ("width", 63, 64)):
        with pytest.raises(InputError, match=f"^{argument} is {value}; accepted: {least} or more$"):
            sheet([Panel("", image)], **{argument: value})
