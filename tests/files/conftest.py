from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """The bytes of a PIL image's file: `encode(image, "PNG", **options)`."""

    def to_bytes(image: Image.Image, file_format: str, **options: Any) -> bytes:
        file = BytesIO()
        image.save(file, file_format, **options)
        return file.getvalue()

    return to_bytes
