"""What users see of objects in a terminal and in a notebook."""

from io import BytesIO

import pytest
import torch
from PIL import Image

import omniup
from omniup.encoders import encode, encode_image
from omniup.evaluation.probes import LinearProbe
from omniup.upsamplers import methods
from omniup.upsamplers.kernel_picture import SIDE
from omniup.visualize import Clusters, Panel, PcaColours, sheet

NEEDS_WEIGHTS = ("anyup", "ensemble")


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [name for name in methods() if name not in NEEDS_WEIGHTS])
def test_what_a_method_prepared_is_told_in_a_line(name, image):
    prepared = omniup.upsampler(name).prepare(image, (3, 4))
    assert repr(prepared) == f"{type(prepared).__name__}(batch=1, grid=(3, 4), size=(48, 64))"


def test_tensors_are_told_by_shape_and_type(image):
    encoding = encode(image, "projection", channels=8)
    assert repr(encoding) == (
        f"Encoding(features=[1, 8, 3, 4] float32, encoder={encoding.encoder!r}, weights={encoding.weights!r})"
    )
    encoded = encode_image(image, omniup.encoder("projection"), precision="bfloat16")
    assert repr(encoded).startswith("EncodedImage(guidance=[1, 3, 48, 64] float32, encoding=Encoding(features=[1, 32,")
    assert "bfloat16" in repr(encoded)
    maps = encoding.features
    made = (
        *(Clusters.fit(maps, count=2), PcaColours.fit(maps), LinearProbe(torch.zeros(2, 8), torch.zeros(2))),
        Panel("a map", maps[:, :1]),
    )
    for each in made:
        assert "tensor(" not in repr(each)
        assert len(repr(each)) < 120


def test_kernels_show_as_ellipses_on_their_image(image):
    kernels = omniup.UpsampleAnything(iterations=0).prepare(image.expand(2, -1, -1, -1) * 0, (3, 4))
    picture = Image.open(BytesIO(kernels._repr_png_()))
    assert max(picture.size) == SIDE
    assert picture.size[0] * 48 == picture.size[1] * 64
    colours = {colour for _, colour in picture.getcolors()}
    assert len(colours) == 2  # the black image, and the ellipses
    boxes = picture.convert("L").point(lambda value: 255 * (value > 0)).getbbox()
    assert boxes[2] - boxes[0] > SIDE / 2


def test_kernels_of_any_number_of_channels_show(image):
    kernels = omniup.upsampler("joint_bilateral").prepare(image[:, :1].expand(-1, 5, -1, -1), (30, 40))
    assert kernels._repr_png_().startswith(b"\x89PNG")


def test_sheets_show(image):
    assert sheet([Panel("image", image)])._repr_png_().startswith(b"\x89PNG")
