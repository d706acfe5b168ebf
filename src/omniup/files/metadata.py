"""Read what a picture's file says beyond its pixels and still holds for a picture made of it: ICC profile and EXIF."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from PIL import Image
from PIL.ExifTags import IFD, Base

from omniup.errors import InputError
from omniup.files.decoding import MAX_PIXELS, open_image
from omniup.files.sources import Source, open_source

logger = logging.getLogger(__name__)

_KEPT = {
    *(Base.ImageDescription, Base.Make, Base.Model, Base.Software, Base.DateTime, Base.Artist, Base.Copyright),
    Base.HostComputer,
}
"""Tags that describe a picture; the others describe how its file stores it."""

_DROPPED = {Base.MakerNote, Base.ExifImageWidth, Base.ExifImageHeight, Base.ExifInteroperabilityOffset}
"""Tags of the camera that hold in its own file only: offsets and sizes."""

_COLOUR_SPACE = slice(16, 20)
"""Bytes of an ICC profile that name the colour space of the pixels."""


@dataclass(frozen=True, eq=False)
class Metadata:
    """ICC profile and EXIF of a picture.

    Attributes:
        profile: the ICC profile of its RGB; None without one, and where pixels were grey or CMYK.
        exif: descriptions, the camera's settings, and the place. The orientation is left out: pixels are read upright.
    """

    profile: bytes | None = None
    exif: Image.Exif = field(default_factory=Image.Exif)


def read_metadata(source: Source) -> Metadata:
    """Read the metadata of a picture.

    A file that Pillow does not know has none here, and damaged ones are left out with a note in the log.

    Raises:
        InputError: the source is missing, not readable or empty.
    """
    with open_source(source, noun="image", accepted="a picture") as (stream, subject):
        try:
            image = open_image(stream, subject, max_pixels=MAX_PIXELS)
        except InputError:  # of the kinds of TIFF that Pillow does not know
            return Metadata()
        try:
            with subject.attempt("read"):
                exif = _kept(image.getexif())
        except InputError as error:
            logger.warning("%s: EXIF is not kept: %s", subject.name, error)
            exif = Image.Exif()
        profile = image.info.get("icc_profile")
    return Metadata(profile if profile and profile[_COLOUR_SPACE] == b"RGB " else None, exif)


def _kept(found: Image.Exif) -> Image.Exif:
    """Choose the tags that still hold for a picture made of this one, and check that they can be written."""
    exif = Image.Exif()
    for tag in _KEPT & found.keys():
        exif[tag] = found[tag]
    camera = {tag: value for tag, value in found.get_ifd(IFD.Exif).items() if tag not in _DROPPED}
    for ifd, tags in ((IFD.Exif, camera), (IFD.GPSInfo, found.get_ifd(IFD.GPSInfo))):
        if tags:
            exif[ifd] = dict(tags)
    exif.tobytes()
    return exif
