"""Draw what the small restorer does to a face, line art, text and an enlarged photograph: docs/pictures/restored.webp.

Run `python tools/restored_pictures.py` after the weights have changed.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

from PIL import Image, ImageDraw
from skimage import data

from omniup.cli.restored_panels import restored_panels
from omniup.files import read_image
from omniup.files.jpeg_quality import jpeg_quality
from omniup.restoration import Restorer
from omniup.visualize import Panel, sheet

SIDE = 256
QUALITY = 30


def main() -> None:
    """Draw the sheet."""
    face = Image.fromarray(data.astronaut()).crop((96, 0, 96 + SIDE, SIDE))
    text = Image.fromarray(data.page()[:, :SIDE]).convert("RGB")
    cat = Image.fromarray(data.chelsea()).resize((225, 150), Image.Resampling.LANCZOS)
    restorer = Restorer.from_pretrained()
    panels = [
        *_pair(restorer, "face", face, 1),
        *_pair(restorer, "line art", _lines(), 1),
        *_pair(restorer, "text", text, 1),
        *_pair(restorer, "cat, enlarged twice", cat, 2),
    ]
    drawn = sheet(panels, width=SIDE)
    drawn.save(Path(__file__).parents[1] / "docs/pictures/restored.webp", quality=82)


def _pair(restorer: Restorer, name: str, picture: Image.Image, scale: float) -> list[Panel]:
    """Compress a picture and restore it: both, the middle of each."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    image = read_image(file.getvalue())
    damage = restorer.estimate(image, quality=jpeg_quality(file.getvalue()))
    return restored_panels(name, image, restorer(image, scale=scale, damage=damage))


def _lines() -> Image.Image:
    """Draw a fan of thin lines, a circle and a flat area."""
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw, middle = ImageDraw.Draw(picture), SIDE // 2
    for number in range(-9, 10):
        across = SIDE * math.tan(number * math.pi / 45)
        draw.line((middle - across, 0, middle + across, SIDE), "black")
    draw.ellipse((60, 60, 196, 196), outline=(200, 20, 30), width=2)
    draw.rectangle((20, 20, 80, 60), fill=(30, 90, 200))
    return picture


if __name__ == "__main__":
    main()
