"""Sample photographs that come with scikit-image: free to use (public domain or CC0), on every user's machine."""

from __future__ import annotations

from PIL import Image

from omniup.errors import InputError

#: What there is: a cup on a table, a cat, a portrait, a launch.
SAMPLES = ("coffee", "chelsea", "astronaut", "rocket")


def sample_image(name: str = "coffee") -> Image.Image:
    """One of the `SAMPLES`, RGB.

    Raises:
        InputError: there is none of this name.
    """
    if name not in SAMPLES:
        raise InputError(f"sample is {name!r}: accepted are {', '.join(SAMPLES)}")
    from skimage import data  # here, since few calls need it and it is slow to import

    return Image.fromarray(getattr(data, name)())
