"""Tell the quality that a JPEG file was compressed with, from its quantisation tables."""

from __future__ import annotations

from omniup.errors import InputError
from omniup.files.decoding import MAX_PIXELS, open_image
from omniup.files.sources import Source, open_source

_MEAN_STEP, _MEAN_SMALL_STEP = 57.625, 15.375
"""Means of the standard's table for luminance, of the quality 50 (ITU-T T.81, table K.1): of all steps, and of the 16
smallest."""

_LARGEST_STEP = 255


def jpeg_quality(source: Source) -> int | None:
    """Tell the quality of a JPEG file, 1 to 100 on libjpeg's scale.

    libjpeg scales the standard's table by 50 / quality below the quality 50, and by 2 - quality / 50 above. Tables of
    other encoders get the quality whose table has the same mean.

    Returns:
        The quality; None of other formats, and of JPEG without tables that Pillow knows.

    Raises:
        InputError: the source is missing, not readable or empty.
    """
    with open_source(source, noun="image", accepted="a picture") as (stream, subject):
        try:
            image = open_image(stream, subject, max_pixels=MAX_PIXELS)
        except InputError:  # of formats that Pillow does not know
            return None
        tables = getattr(image, "quantization", None)  # of JPEG only, by number: 64 steps each
    if not tables or len(table := tables[min(tables)]) != 64:
        return None
    scale = sum(table) / len(table) / _MEAN_STEP
    if max(table) >= _LARGEST_STEP:  # larger steps are cut off, which makes the mean too small
        scale = sum(sorted(table)[:16]) / 16 / _MEAN_SMALL_STEP
    quality = 100 - 50 * scale if scale <= 1 else 50 / scale
    return min(100, max(1, round(quality)))
