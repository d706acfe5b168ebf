"""Show pictures beside what has been restored of them, for `omniup restore --compare`."""

from __future__ import annotations

from torch import Tensor

from omniup.files.refusals import printable
from omniup.restoration.sizes import resize
from omniup.visualize import Panel

PICTURES_SHOWN = 12
"""Most pictures of a sheet."""

_CROP = 256


def restored_panels(name: str, picture: Tensor, restored: Tensor) -> list[Panel]:
    """Cut the middle out of a picture, enlarged bicubically, and of its result, at full size.

    Args:
        name: of the picture.
        picture: [1, 3, H, W] in 0..1.
        restored: [1, 3, H', W'] in 0..1.

    Returns:
        Two panels of at most 256 × 256 pixels.
    """
    height, width = restored.shape[2:]
    enlarged = resize(picture, (height, width)).clamp(0, 1)
    down, across = min(_CROP, height), min(_CROP, width)
    top, left = (height - down) // 2, (width - across) // 2
    before, after = (image[:, :, top : top + down, left : left + across].cpu() for image in (enlarged, restored))
    return [Panel(f"{printable(name)}, bicubic", before.clone()), Panel("restored", after.clone())]
