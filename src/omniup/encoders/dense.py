"""Compute dense features: from a photograph to features at its resolution, in one call.

Sides that are no multiple of the network's stride are resized to the nearest multiples, or padded: then the network
sees the image at its own proportions, with a border whose cells are left out of the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast, overload

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.encoders.base import Encoder, Encoding
from omniup.encoders.caller import EncoderLike, as_encoder
from omniup.encoders.preparation import resize
from omniup.encoders.tiles import TiledEncoder
from omniup.upsamplers import DEFAULT_METHOD, Upsampler, upsample
from omniup.upsamplers.checks import (
    DEFAULT_MEMORY,
    Size,
    as_guidance,
    check_choice,
    check_number,
    check_size,
    chosen_size,
)
from omniup.upsamplers.guidance_files import Picture, opened
from omniup.upsamplers.regions import Region
from omniup.upsamplers.representation import ShortRepr

LONGEST = 1024
"""The longest side, in pixels, at which a network sees an image and which results have, unless the caller says so."""

MOST_RESOLUTION = 2**16
"""The longest side at which a network can be asked to see an image, in pixels."""

SIDES = ("resize", "pad")
"""Ways to treat sides that are no multiples of the stride."""

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class EncodedImage(ShortRepr):
    """An image with the features of its cells, which may reach beyond it.

    Attributes:
        guidance: [B, 3, H', W'] in 0..1, the image at the size of the results.
        encoding: features [B, C, h, w].
        region: the part of the guidance that the cells cover, as for `omniup.upsample`.
    """

    guidance: Tensor
    encoding: Encoding
    region: Region

    def upsample(
        self,
        *,
        method: str | Upsampler = DEFAULT_METHOD,
        signal_type: str = "features",
        memory: int | str = DEFAULT_MEMORY,
        **settings: Any,
    ) -> Tensor:
        """Upsample the features, or what was computed from them cell by cell.

        Args:
            method: as for `omniup.upsample`.
            signal_type: likewise.
            memory: likewise.
            **settings: likewise.

        Returns:
            [B, C, H', W'].

        Raises:
            InputError: an argument cannot be accepted.
        """
        return upsample(
            self.guidance,
            self.encoding.features,
            method=method,
            signal_type=signal_type,
            layout="channels_first",
            region=self.region,
            memory=memory,
            **settings,
        )


def encode_image(
    image: Picture,
    encoder: Encoder,
    *,
    size: Size | int | None = None,
    resolution: int | None = None,
    tile: int | None = None,
    sides: str = "resize",
    precision: str = "float32",
    device: torch.device | str | None = None,
) -> EncodedImage:
    """Compute the features of an image's cells.

    Args:
        image: as for `features`.
        encoder: what computes them.
        size: as for `features`.
        resolution: likewise.
        tile: likewise.
        sides: likewise.
        precision: likewise.
        device: likewise.

    Raises:
        InputError: an argument cannot be accepted.
    """
    check_choice("sides", sides, SIDES)
    check_choice("precision", precision, tuple(PRECISIONS))
    if resolution is not None:
        check_number("resolution", resolution, 1, MOST_RESOLUTION, whole=True)
    if tile is not None:
        check_number("tile", tile, 1, MOST_RESOLUTION, whole=True)
        encoder = TiledEncoder(encoder, tile)
    whole = as_guidance(opened(image), device=None if device is None else torch.device(device)).float()
    if whole.shape[1] == 1:
        whole = whole.expand(-1, 3, -1, -1)  # grey
    guidance, pixels = (resized(whole, wanted) for wanted in (size, resolution))
    seen = pixels.shape[2:]
    height, width = (-(-side // encoder.stride) * encoder.stride if sides == "pad" else side for side in seen)
    pixels = F.pad(pixels, (0, width - seen[1], 0, height - seen[0]), mode="replicate")
    dtype = PRECISIONS[precision]
    with torch.autocast(pixels.device.type, dtype, enabled=dtype != torch.float32):
        encoding = encoder(pixels)
    encoding = dataclasses.replace(encoding, features=encoding.features.to(dtype))
    covered = round(guidance.shape[2] * height / seen[0]), round(guidance.shape[3] * width / seen[1])
    return EncodedImage(guidance, encoding, (0, 0, *covered))


def resized(image: Tensor, size: Size | int | None) -> Tensor:
    """Resize an image to a size, or to a longer side; by default to at most `LONGEST`."""
    whole = image.shape[2], image.shape[3]
    wanted = check_size(chosen_size(min(max(whole), LONGEST) if size is None else size, whole), (1, 1))
    return resize(image, wanted).clamp(0, 1)  # against rounding


@overload
def features(image: Picture, encoder: EncoderLike, **options: Any) -> Tensor: ...


@overload
def features(image: Sequence[Picture], encoder: EncoderLike, **options: Any) -> list[Tensor]: ...


def features(
    image: Picture | Sequence[Picture],
    encoder: EncoderLike,
    *,
    size: Size | int | None = None,
    method: str = DEFAULT_METHOD,
    resolution: int | None = None,
    tile: int | None = None,
    sides: str = "resize",
    stride: int | None = None,
    precision: str = "float32",
    device: torch.device | str | None = None,
    memory: int | str = DEFAULT_MEMORY,
    **settings: Any,
) -> Tensor | list[Tensor]:
    """Compute features of an image at its resolution, sharp along its edges.

    Args:
        image: a path, a PIL image, an array [H, W, 3], a tensor [B, 3, H, W]; or a list of them, of any sizes.
        encoder: a name, as `omniup encoders` lists them, e.g. `"timm:vit_small_patch14_dinov2"` or
            `"transformers:facebook/dinov2-small"`; what `omniup.encoder(name, …)` built, which takes settings such as
            `layer` and files with weights; a model of timm; or any function or network, see `CallerEncoder`.
        size: (H', W') of the result, or its longer side; by default the image's own, but at most 1024.
        method: of upsampling; one of `omniup.methods()`.
        resolution: the longer side of the image as the network sees it, in pixels; by default the image's own, but at
            most 1024. More means more cells, and networks trained on small images may do worse.
        tile: the longest side of the tiles in which the network sees the image, in pixels; by default it sees all at
            once. With a larger `resolution`, a grid as fine as that, of pictures as small as the network knows.
        sides: `"resize"` sides that are no multiples of the network's stride, or `"pad"` them with their last pixels.
        stride: of a function or network that is no encoder: it gets images whose sides are multiples.
        precision: `"float32"`, `"float16"` or `"bfloat16"`, which the network computes in and the result has.
        device: where to compute; by default where the image is.
        memory: as for `omniup.upsample`.
        **settings: of the method.

    Returns:
        [B, C, H', W'] on the device; of a list a list.

    Raises:
        InputError: an argument cannot be accepted; it is named.

    Example:
        >>> import omniup, torch
        >>> image = torch.rand(1, 3, 64, 96)
        >>> omniup.features(image, "projection").shape
        torch.Size([1, 32, 64, 96])
        >>> omniup.features(image, lambda x: torch.nn.functional.avg_pool2d(x, 8), size=48).shape
        torch.Size([1, 3, 32, 48])
    """
    made = as_encoder(encoder, stride)

    def one(picture: Picture) -> Tensor:
        encoded = encode_image(
            picture, made, size=size, resolution=resolution, tile=tile, sides=sides, precision=precision, device=device
        )
        return encoded.upsample(method=method, memory=memory, **settings)

    if isinstance(image, (list, tuple)):
        return [one(picture) for picture in image]
    return one(cast("Picture", image))
