"""AnyUp (arXiv 2510.12764): one trained network for the features of any encoder, at any resolution.

The network makes queries and keys, and the mixing engine does the rest: exact attention within the windows that the
network was trained with, at a cost of pixels × window.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.files.weights import IMAGENET_MEAN, IMAGENET_STD, summary
from omniup.mixing import DEFAULT_MEMORY, Attention, Windows
from omniup.upsamplers.anyup.feature_agnostic import LAYOUTS, Layout
from omniup.upsamplers.anyup.network import HEADS, Network
from omniup.upsamplers.anyup.pixels import Pixels, Plan
from omniup.upsamplers.anyup.weights import PUBLISHED, read, told
from omniup.upsamplers.base import (
    ImageLike,
    Size,
    check_inputs,
    check_number,
    check_points,
    enough_memory,
    parse_memory,
    register,
)

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")

#: Of the image's side, to either side of a pixel: what the published weights were trained with.
WINDOW_RATIO = 0.1


class AnyUp(Network):
    """The upsampler, a `torch.nn.Module` whose state dict has the names of the published checkpoints.

    In evaluation mode, in which `from_pretrained` returns it, the weights are constants: what is computed from the
    image runs strip by strip within `memory`, and results are differentiable in the signal. In training mode everything
    is differentiable, and autograd keeps what it needs.

    Args:
        layout: of the feature-agnostic layer: `"published"`, the one the published weights were trained with, or
            `"paper"`, the formula of the paper; see `FeatureAgnosticLayer`.
        precision: of what is computed at the image's resolution in evaluation mode: `"float32"`, or `"bfloat16"`, which
            is faster and takes half the memory. Statistics, keys, logits and the mix are in float32 either way.
        window_ratio: how far a pixel may look to either side, as a part of the image's; 1 for everywhere. The published
            weights were trained with 0.1.
        feature_path: whether the features have a say in where pixels look, or the image alone.

    Raises:
        InputError: a setting is none of these.

    Example:
        >>> import torch
        >>> anyup = AnyUp().eval()
        >>> anyup(torch.rand(1, 3, 32, 48), torch.randn(1, 20, 4, 6)).shape
        torch.Size([1, 20, 32, 48])
    """

    def __init__(
        self,
        *,
        layout: Layout = "published",
        precision: Precision = "float32",
        window_ratio: float = WINDOW_RATIO,
        feature_path: bool = True,
    ) -> None:
        for name, value, accepted in (("layout", layout, LAYOUTS), ("precision", precision, PRECISIONS)):
            if value not in accepted:
                raise InputError(f"{name} is {value!r}: accepted are {' and '.join(accepted)}")
        check_number("window_ratio", window_ratio, 0.001, 1)
        if not isinstance(feature_path, bool):
            raise InputError(f"feature_path is {feature_path!r}: accepted are true and false")
        super().__init__(layout, feature_path)
        self.layout = layout
        self.precision = precision
        self.window_ratio = window_ratio

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path = "multi_backbone",
        *,
        layout: Layout | None = None,
        precision: Precision = "float32",
        window_ratio: float | None = None,
        feature_path: bool | None = None,
    ) -> AnyUp:
        """Load trained weights, ready for use: in evaluation mode, and without gradients of their own.

        Args:
            weights: `"multi_backbone"` (trained on five encoders) or `"paper"` (on DINOv2 ViT-S), which are downloaded
                once, to torch.hub's cache, and checked; or a .pth or .safetensors file; or the URL of one.
            layout: as in `AnyUp`, of the weights; by default what a .safetensors file says of itself, as those that
                were trained here do, or else `"published"`.
            precision: as in `AnyUp`.
            window_ratio: as in `AnyUp`; by default what the file says, or else 0.1.
            feature_path: as in `AnyUp`; by default what the file says, or else true.

        Raises:
            InputError: the weights cannot be had or read, or do not fit; the message says where to put the file.
        """
        state, told = read(weights)
        given = {"layout": layout, "window_ratio": window_ratio, "feature_path": feature_path}
        given = {name: value for name, value in given.items() if value is not None}
        network = cls(precision=precision, **(told | given))
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(f"weights: {weights} does not fit AnyUp ({summary(error)})") from error
        return network.eval().requires_grad_(False)

    def told(self) -> dict[str, str]:
        """What a .safetensors file should say of the weights, in its metadata, for `from_pretrained`."""
        return told(layout=self.layout, window_ratio=self.window_ratio, feature_path=self.feature_path)

    def forward(
        self,
        image: ImageLike,
        signal: Tensor,
        size: Size | None = None,
        *,
        memory: int | str = DEFAULT_MEMORY,
        out: Tensor | None = None,
    ) -> Tensor:
        """Upsample; see `Upsampler`. In evaluation mode the network moves to where the signal is.

        Args:
            image: as in `Upsampler`, of any size, RGB or grey.
            signal: [B, C, h, w], of any number of channels.
            size: (H', W') of the result; the queries are averaged over its pixels, so it need not be the image's.
            memory: of working space beyond inputs, weights and result, in bytes or as a text such as `"1GB"`.
            out: [B, C, H', W'], where the result goes, on the signal's device and of any floating-point type. It is
                written a few rows at a time, so it may be a file mapped into memory (`torch.from_file`, or
                `torch.from_numpy` of a `numpy.memmap`). Only where no gradient is wanted.

        Returns:
            [B, C, H', W'] in the signal's type; or `out`.

        Raises:
            InputError: as in `Upsampler`; or the image has other than one or three channels, `out` is of another shape
                or a gradient is wanted with it, or `memory` is too little for a row of pixels.
        """
        image, size = self._accept(image, signal, size)
        windows = Windows.relative(size, (signal.shape[2], signal.shape[3]), self.window_ratio)
        wanted = torch.is_grad_enabled() and (self.training or signal.requires_grad)
        shape = (*signal.shape[:2], *size)
        if out is not None and (
            wanted or out.shape != shape or not out.is_floating_point() or out.device != signal.device
        ):
            raise InputError(
                f"out is {list(out.shape)} of {out.dtype} on {out.device}: accepted is {list(shape)}, floating point, "
                f"on {signal.device}, where no gradient is wanted"
            )
        with enough_memory(), torch.set_grad_enabled(wanted):
            if self.training:
                encoded = self.encode(image)
                query, key = self.queries(encoded, size), self.keys(encoded, signal.to(image.dtype))
                attention = Attention(key, windows, heads=HEADS, memory=parse_memory(memory))
                return attention.mix(query, signal, out=out)
            if wanted:
                pairs = zip(image.split(1), signal.split(1), strict=True)
                return torch.cat([self._upsample(*pair, windows, parse_memory(memory)) for pair in pairs])
            out = signal.new_empty(shape) if out is None else out
            for triple in zip(image.split(1), signal.split(1), out.split(1), strict=True):
                self._upsample(*triple[:2], windows, parse_memory(memory), triple[2])
        return out

    @torch.no_grad()
    def attention(
        self,
        image: ImageLike,
        signal: Tensor,
        points: Tensor,
        size: Size | None = None,
        *,
        memory: int | str = DEFAULT_MEMORY,
    ) -> Tensor:
        """Where chosen pixels draw from: their weights, the mean over the heads.

        Args:
            image: as in `forward`.
            signal: as in `forward`.
            points: [B, N, 2] or, for the same in each image, [N, 2]; whole numbers, (y, x) of pixels of the result.
            size: as in `forward`.
            memory: as in `forward`.

        Returns:
            [B, N, h, w], float32; each map sums to 1 and is zero outside the pixel's window.

        Raises:
            InputError: as `forward`; or points of another shape, or outside the result.
        """
        image, size = self._accept(image, signal, size)
        points = check_points(points, len(signal), size).to(signal.device)
        windows = Windows.relative(size, (signal.shape[2], signal.shape[3]), self.window_ratio)
        maps = []
        with enough_memory():
            for one, features, places in zip(image.split(1), signal.split(1), points, strict=True):
                plan = Plan.of(one, size, parse_memory(memory), self._compute_type)
                pixels, key = self._look(one, features, plan)
                rows, which = places[:, 0].unique(return_inverse=True)
                each = rows.tolist() or [0]  # one row, where there are no points
                query = torch.cat([self._query_rows(pixels, size, y, y + 1) for y in each], dim=2)
                query = query[:, :, which, places[:, 1]]  # [1, D, N]
                attention = Attention(key, windows, heads=HEADS, memory=plan.mixing)
                maps.append(attention.weights_at(query, places[None]))
        return torch.cat(maps)

    def _accept(self, image: ImageLike, signal: Tensor, size: Size | None) -> tuple[Tensor, Size]:
        """Check the arguments: the image [B, 3, H, W], in the weights' type, and the size of the result."""
        guidance, size = check_inputs(image, signal, size)
        if guidance.shape[1] not in (1, 3):
            raise InputError(f"image has {guidance.shape[1]} channels: AnyUp accepts three (RGB) or one (grey)")
        if not self.training:
            self.to(signal.device)
        mean, std = (guidance.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return ((guidance - mean) / std).to(self.rope.freqs.dtype), size

    @property
    def _compute_type(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bfloat16" else self.rope.freqs.dtype

    def _upsample(
        self, image: Tensor, signal: Tensor, windows: Windows, memory: int, out: Tensor | None = None
    ) -> Tensor:
        """The result of one image, made band by band, in `out` where that is given."""
        plan = Plan.of(image, windows.size, memory, self._compute_type)
        pixels, key = self._look(image, signal, plan)
        bands = []
        for top in range(0, windows.size[0], plan.band):
            bottom = min(top + plan.band, windows.size[0])
            query = self._query_rows(pixels, windows.size, top, bottom)
            band = None if out is None else out[:, :, top:bottom]
            attention = Attention(key, windows.band(top, bottom), heads=HEADS, memory=plan.mixing)
            bands.append(attention.mix(query, signal, out=band))
        return torch.cat(bands, dim=2) if out is None else out

    def _look(self, image: Tensor, signal: Tensor, plan: Plan) -> tuple[Pixels, Tensor]:
        """What the queries are made of, at the image's resolution, and the keys [1, D, h, w], of one image."""
        grid = signal.shape[2], signal.shape[3]
        with torch.no_grad():
            pixels = Pixels.of(image, plan)
            straight = pixels.through_encoder(self.image_encoder)
            straight.give_up()
            pixels = straight.turned(self.rope).kept()
            for_keys = pixels.through_encoder(self.key_encoder)
            image_part = for_keys.pooled(grid, 0, grid[0])
            for_keys.give_up()
            pixels.give_up()
        features = signal.to(image.dtype)
        key = self.join(image_part.to(image.dtype), self.describe(features, plan.mixing))
        with torch.no_grad():
            return pixels.through_encoder(self.query_encoder), key

    @torch.no_grad()
    def _query_rows(self, pixels: Pixels, size: Size, top: int, bottom: int) -> Tensor:
        """Rows `top` up to `bottom` of the queries, [1, D, bottom - top, W']."""
        first, last = max(top - 1, 0), min(bottom + 1, size[0])
        pooled = pixels.pooled(size, first, last)  # with what the 3×3 convolution sees above and below
        above, below = first - top + 1, bottom + 1 - last  # rows beyond the border, which are zeros
        if above or below:
            pooled = F.pad(pooled, (0, 0, above, below))
        seen = F.conv2d(pooled, self.cross_decode.conv2d.weight.to(pooled.dtype), padding=(0, 1))
        return self.cross_decode.cross_attn.queries(seen.to(self.rope.freqs.dtype))


@register(
    "anyup",
    "a network trained on the features of several encoders (AnyUp); downloads its weights once",
    settings={
        "weights": "multi_backbone",
        "layout": None,
        "precision": "float32",
        "window_ratio": None,
        "feature_path": None,
    },
    paths={"weights": tuple(PUBLISHED)},
)
def _pretrained(**settings: Any) -> AnyUp:
    return AnyUp.from_pretrained(**settings)
