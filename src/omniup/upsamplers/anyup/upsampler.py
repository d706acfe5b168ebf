"""Upsample features by AnyUp (arXiv 2510.12764): one trained network for any encoder and resolution.

The network makes queries and keys, and the mixing engine does the rest: exact attention within the windows that the
network was trained with, at a cost of pixels × window.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.files.weights import IMAGENET_MEAN, IMAGENET_STD, summary
from omniup.mixing import DEFAULT_MEMORY, Attention, Windows, pages
from omniup.upsamplers.anyup.feature_agnostic import LAYOUTS, Layout
from omniup.upsamplers.anyup.network import HEADS, Network
from omniup.upsamplers.anyup.pixels import Pixels, Plan
from omniup.upsamplers.anyup.refinement import MOST_STEPS, Refined, Refiner
from omniup.upsamplers.anyup.sharing import push, write_folder
from omniup.upsamplers.anyup.weights import PUBLISHED, metadata, read
from omniup.upsamplers.base import PreparedImage, check_image
from omniup.upsamplers.checks import (
    ImageLike,
    Size,
    as_guidance,
    as_signal,
    check_choice,
    check_finite,
    check_number,
    check_points,
    enough_memory,
    parse_memory,
)
from omniup.upsamplers.consistency import probability_step
from omniup.upsamplers.holes import mix_valid
from omniup.upsamplers.progress import ProgressLike
from omniup.upsamplers.registry import register
from omniup.upsamplers.representation import ShortRepr
from omniup.upsamplers.signal_types import SignalType, one_hot, softmax

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")

#: Reach of a window to either side of a pixel, as a fraction of the image's, as the published weights were trained.
WINDOW_RATIO = 0.1


class AnyUp(Network):
    """The upsampler, a `torch.nn.Module` whose state dict has the names of the published checkpoints.

    In evaluation mode, in which `from_pretrained` returns it, the weights are constants: what is computed from the
    image runs strip by strip within `memory`, and results are differentiable in the signal; where the image requires a
    gradient, in the image too, and autograd keeps what it needs. In training mode everything is differentiable.

    Args:
        basis_layout: of the feature-agnostic layer: `"published"`, the one the published weights were trained with, or
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
        basis_layout: Layout = "published",
        precision: Precision = "float32",
        window_ratio: float = WINDOW_RATIO,
        feature_path: bool = True,
    ) -> None:
        check_choice("basis_layout", basis_layout, LAYOUTS)
        check_choice("precision", precision, PRECISIONS)
        check_number("window_ratio", window_ratio, 0.001, 1)
        check_choice("feature_path", feature_path, (True, False))
        super().__init__(basis_layout, feature_path)
        self.basis_layout = basis_layout
        self.precision = precision
        self.window_ratio = window_ratio

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path = "multi_backbone",
        *,
        basis_layout: Layout | None = None,
        precision: Precision = "float32",
        window_ratio: float | None = None,
        feature_path: bool | None = None,
    ) -> AnyUp:
        """Load trained weights, ready for use: in evaluation mode, and without gradients of their own.

        Args:
            weights: `"multi_backbone"` (trained on five encoders) or `"paper"` (on DINOv2 ViT-S), which are downloaded
                once, to torch.hub's cache, and checked; a .pth or .safetensors file, or the URL of one; a folder that
                `save_pretrained` wrote; or a repository of the Hugging Face hub, USER/NAME.
            basis_layout: as in `AnyUp`, of the weights; by default what a .safetensors file says of itself, as those
                that were trained here do, or else `"published"`.
            precision: as in `AnyUp`.
            window_ratio: as in `AnyUp`; by default what the file says, or else 0.1.
            feature_path: as in `AnyUp`; by default what the file says, or else true.

        Raises:
            InputError: the weights cannot be had or read, or do not fit; the message says where to put the file.
        """
        state, stored = read(weights)
        given = {"basis_layout": basis_layout, "window_ratio": window_ratio, "feature_path": feature_path}
        given = {name: value for name, value in given.items() if value is not None}
        network = cls(precision=precision, **(stored | given))
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            problem, reason = "is {value}, which does not fit AnyUp ({reason})", summary(error)
            raise InputError("weights", problem, value=str(weights), reason=reason) from error
        return network.eval().requires_grad_(False)

    def save_pretrained(self, folder: str | Path, *, licence: str | None = None) -> None:
        """Write weights, settings and a model card to a folder, for `from_pretrained` and `push_to_hub`.

        Args:
            folder: made if there is none. A `README.md` that it has is kept.
            licence: of the weights, as the hub abbreviates it, such as `"cc-by-4.0"`, that of the published ones, which
                those that were trained on from them keep.

        Raises:
            InputError: the folder cannot be written.

        Example:
            >>> import tempfile
            >>> folder = tempfile.mkdtemp()
            >>> AnyUp().save_pretrained(folder, licence="apache-2.0")
            >>> AnyUp.from_pretrained(folder).window_ratio
            0.1
        """
        write_folder(self, Path(folder), licence)

    def push_to_hub(self, repository: str, *, licence: str | None = None, private: bool = False) -> str:
        """Publish weights, settings and a model card on the Hugging Face hub, or the one that HF_ENDPOINT names.

        Args:
            repository: USER/NAME; made if there is none. A card that it has is kept.
            licence: as in `save_pretrained`.
            private: whether a new repository is private.

        Returns:
            The URL of the commit.

        Raises:
            InputError: the hub does not take it; the message says why, and how to log in.
            MissingPackageError: huggingface_hub is not installed.
        """
        return push(self, repository, licence, private=private)

    def metadata(self) -> dict[str, str]:
        """Return what a .safetensors file should say of the weights, in its metadata, for `from_pretrained`."""
        return metadata(basis_layout=self.basis_layout, window_ratio=self.window_ratio, feature_path=self.feature_path)

    def cost(self, size: Size, grid: Size) -> int:
        """Estimate the work of fitting; there is none."""
        return 0

    def render_cost(self, size: Size, grid: Size, signal_type: str) -> int:
        """Estimate the work of the attention, without the network's: see `Upsampler.render_cost`."""
        # Along an axis a window holds this part of the cells in the mean, as the border cuts some, and those cut at its
        # two ends.
        part = 2 * self.window_ratio - self.window_ratio**2
        return math.prod(size) * math.prod(min(cells, math.ceil(part * cells) + 1) for cells in grid)

    def prepare(
        self,
        image: ImageLike,
        grid: Size,
        size: Size | None = None,
        *,
        progress: ProgressLike = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> PreparedAnyUp:
        """Encode an image once, for any number of feature maps of a grid; see `Upsampler`.

        The network moves to where the image is. If the memory allows, the queries of all pixels are kept, and rendering
        costs the keys and the mix alone; otherwise queries are computed anew for each signal, band by band.

        Args:
            image: RGB or grey, of any size.
            grid: (h, w) of the features.
            size: (H', W') of the results; the queries are averaged over their pixels, so it need not be the image's.
            progress: not called.
            memory: bytes of working memory, or a text such as `"1GB"`.

        Raises:
            InputError: as in `Upsampler`; or the image has other than one or three channels, the network is in training
                mode, or `memory` is too little for a row of pixels.
        """
        if self.training:
            raise InputError("anyup", "is in training mode", "evaluation mode: anyup.eval()")
        guidance, size = check_image(image, grid, size, differentiable=True)
        wanted = torch.is_grad_enabled() and guidance.requires_grad
        encode = self._encode_for_gradient if wanted else self._encode
        # The network's precision is a setting: autocast does not change it.
        with enough_memory(), torch.autocast(guidance.device.type, enabled=False):
            encoded = [encode(one, (grid[0], grid[1]), size, parse_memory(memory)) for one in self._normal(guidance)]
        return PreparedAnyUp(self, tuple(encoded), (grid[0], grid[1]), size)

    def forward(
        self,
        image: ImageLike,
        signal: Tensor,
        size: Size | None = None,
        *,
        memory: int | str = DEFAULT_MEMORY,
        out: Tensor | None = None,
    ) -> Tensor:
        """Upsample features: in evaluation mode `prepare` and `render` in one call.

        Args:
            image: as in `prepare`.
            signal: [B, C, h, w], of any number of channels.
            size: as in `prepare`.
            memory: of working space beyond inputs, weights and result, in bytes or as a text such as `"1GB"`.
            out: [B, C, H', W'], where the result goes, on the signal's device and of any floating-point type. It is
                written a few rows at a time, so it may be a file mapped into memory (`torch.from_file`, or
                `torch.from_numpy` of a `numpy.memmap`). Only where no gradient is wanted.

        Returns:
            [B, C, H', W'] in the signal's type; or `out`.

        Raises:
            InputError: as in `prepare` and `Prepared.render`.
        """
        signal = check_finite(as_signal(signal))
        guidance = as_guidance(image, device=signal.device)
        grid = signal.shape[2], signal.shape[3]
        if not self.training:
            prepared = self.prepare(guidance, grid, size, memory=memory)
            return prepared.render(signal, "features", memory=memory, out=out)
        guidance, size = check_image(guidance, grid, size, differentiable=True)
        encoded = self.encode(torch.cat(list(self._normal(guidance))))
        query, key = self.queries(encoded, size), self.keys(encoded, signal.to(encoded.dtype))
        windows = Windows.relative(size, grid, self.window_ratio)
        return Attention(key, windows, heads=HEADS, memory=parse_memory(memory)).mix(query, signal, out=out)

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
        """Return the weights of chosen pixels, the mean over the heads.

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
        signal = check_finite(as_signal(signal))
        guidance = as_guidance(image, device=signal.device)
        prepared = self.prepare(guidance, (signal.shape[2], signal.shape[3]), size, memory=memory)
        return prepared.attention(signal, points, memory=memory)

    @torch.no_grad()
    def refine(
        self,
        image: ImageLike,
        signal: Tensor,
        size: Size | None = None,
        *,
        weights: Refiner | str | Path,
        samples: int = 8,
        steps: int = MOST_STEPS,
        seed: int = 0,
        memory: int | str = DEFAULT_MEMORY,
        progress: ProgressLike = None,
    ) -> Refined:
        """Upsample features and refine the result by diffusion: several samples, their mean and their spread.

        Args:
            image: as in `forward`.
            signal: likewise.
            size: likewise.
            weights: a refiner, or its file; see `Refiner.from_pretrained`.
            samples: how many, from 2 on.
            steps: of each sample, from 1 to 10.
            seed: of the noise.
            memory: as in `Refiner.forward`.
            progress: called after each step.

        Raises:
            InputError: as `forward` and `Refiner.forward`; or the weights cannot be read.
            MissingPackageError: diffusers is not installed.
        """
        refiner = weights if isinstance(weights, Refiner) else Refiner.from_pretrained(weights)
        initial = self(image, signal, size, memory=memory)
        return refiner(
            image, signal, initial, samples=samples, steps=steps, seed=seed, memory=memory, progress=progress
        )

    @property
    def compute_dtype(self) -> torch.dtype:
        """Dtype of what is computed at the image's resolution."""
        return torch.bfloat16 if self.precision == "bfloat16" else self.rope.freqs.dtype

    def _normal(self, guidance: Tensor) -> tuple[Tensor, ...]:
        """Normalise guidance [B, G, H, W]: B images [1, 3, H, W], in the weights' dtype."""
        if guidance.shape[1] not in (1, 3):
            accepted = "three channels (RGB) or one (grey), with AnyUp"
            raise InputError("image", "has {channels} channels", accepted, channels=guidance.shape[1])
        if not self.training:
            self.to(guidance.device)
        mean, std = (guidance.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return ((guidance - mean) / std).to(self.rope.freqs.dtype).split(1)

    def _encode_for_gradient(self, image: Tensor, grid: Size, size: Size, memory: int) -> EncodedImage:
        """Encode one image [1, 3, H, W] as a whole, so that queries and keys are differentiable in it."""
        encoded = self.encode(image)  # [1, D, H, W]
        image_part = F.adaptive_avg_pool2d(self.key_encoder(encoded), grid)  # [1, D, h, w]
        plan = Plan.of(image, size, memory, self.compute_dtype)
        return EncodedImage(self, None, image_part, size, plan, self.queries(encoded, size))

    @torch.no_grad()
    def _encode(self, image: Tensor, grid: Size, size: Size, memory: int) -> EncodedImage:
        """Encode one image [1, 3, H, W] for its queries and the image's part of the keys."""
        plan = Plan.of(image, size, memory, self.compute_dtype)
        pixels = Pixels.of(image, plan).through_encoder(self.image_encoder).rotated(self.rope).kept("encoded image")
        image_part = pixels.through_encoder(self.key_encoder).pooled(grid, 0, grid[0]).to(image.dtype)  # [1, D, h, w]
        pixels = pixels.through_encoder(self.query_encoder)
        plan.places.clear()  # so that queries may take the memory of maps that are not needed any more
        encoded = EncodedImage(self, pixels, image_part, size, plan)
        return encoded.with_queries() if plan.keep else encoded


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class EncodedImage(ShortRepr):
    """An encoded image.

    Attributes:
        anyup: the network.
        pixels: [1, D, H, W] of the query encoder, computed where they are asked for; None once there are queries.
        image_part: [1, D, h, w], the image's part of the keys.
        size: (H', W') of the results.
        plan: how the memory is divided.
        queries: [1, D, H', W'], if they were kept; differentiable in the image where it requires a gradient.
    """

    anyup: AnyUp
    pixels: Pixels | None
    image_part: Tensor
    size: Size
    plan: Plan
    queries: Tensor | None = None

    def with_queries(self) -> EncodedImage:
        """Compute the queries of all pixels, and keep them in place of the maps that they are computed from."""
        queries = pages.new_empty(self.image_part, (1, self.image_part.shape[1], *self.size))
        for top, bottom in self._bands():
            queries[:, :, top:bottom] = self.query_rows(top, bottom)
        return dataclasses.replace(self, pixels=None, queries=queries)

    def keys(self, features: Tensor) -> Tensor:
        """Compute the keys of features [1, C, h, w]: [1, D, h, w]."""
        described = self.anyup.describe(features.to(self.image_part.dtype), self.plan.mixing)
        return self.anyup.join(self.image_part, described)

    def render(self, key: Tensor, value: Tensor, windows: Windows, memory: int, out: Tensor | None) -> Tensor:
        """Mix values [1, C, h, w]: [1, C, H', W'], in `out` where that is given."""
        if self.queries is not None:
            mixing = max(memory - self.queries.nbytes, memory // 4)
            return Attention(key, windows, heads=HEADS, memory=mixing).mix(self.queries, value, out=out)
        bands = []
        for top, bottom in self._bands():
            band = None if out is None else out[:, :, top:bottom]
            attention = Attention(key, windows.band(top, bottom), heads=HEADS, memory=self.plan.mixing)
            bands.append(attention.mix(self.query_rows(top, bottom), value, out=band))
        return torch.cat(bands, dim=2) if out is None else out

    def query_at(self, points: Tensor) -> Tensor:
        """Compute the queries at points [P, 2]: [1, D, P]."""
        if self.queries is not None:
            return self.queries[:, :, points[:, 0], points[:, 1]]
        rows, which = points[:, 0].unique(return_inverse=True)
        each = rows.tolist() or [0]  # one row, where there are no points
        query = torch.cat([self.query_rows(y, y + 1) for y in each], dim=2)  # [1, D, rows, W']
        return query[:, :, which, points[:, 1]]

    def query_rows(self, top: int, bottom: int) -> Tensor:
        """Return rows `top` up to `bottom` of the queries, [1, D, bottom - top, W']."""
        return self._query_rows(top, bottom) if self.queries is None else self.queries[:, :, top:bottom]

    @torch.no_grad()
    def _query_rows(self, top: int, bottom: int) -> Tensor:
        """Compute rows of the queries from the encoder's maps."""
        assert self.pixels is not None
        anyup = self.anyup
        first, last = max(top - 1, 0), min(bottom + 1, self.size[0])
        pooled = self.pixels.pooled(self.size, first, last)  # with what the 3×3 convolution sees above and below
        above, below = first - top + 1, bottom + 1 - last  # rows beyond the border, which are zeros
        if above or below:
            pooled = F.pad(pooled, (0, 0, above, below))
        seen = F.conv2d(pooled, anyup.cross_decode.conv2d.weight.to(pooled.dtype), padding=(0, 1))
        return anyup.cross_decode.cross_attn.queries(seen.to(anyup.rope.freqs.dtype))

    def _bands(self) -> list[tuple[int, int]]:
        """Cut the rows of the result into bands that fit the memory."""
        height, band = self.size[0], self.plan.band
        return [(top, min(top + band, height)) for top in range(0, height, band)]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PreparedAnyUp(PreparedImage):
    """Render feature maps of encoded images.

    Attributes:
        anyup: the network.
        images: encoded, one by one.
        grid: (h, w) of the features, in cells.
        size: (H', W') of the results, in pixels.
    """

    anyup: AnyUp
    images: tuple[EncodedImage, ...]
    grid: Size
    size: Size

    @property
    def batch(self) -> int:
        """Number of prepared images."""
        return len(self.images)

    def only(self, image: int) -> PreparedAnyUp:
        """Return one image of the batch."""
        return dataclasses.replace(self, images=self.images[image : image + 1])

    def attention(self, signal: Tensor, points: Tensor, *, memory: int | str = DEFAULT_MEMORY) -> Tensor:
        """Return the weights of chosen pixels; see `AnyUp.attention`."""
        signal, _ = self._accept(signal)
        points = check_points(points, self.batch, self.size).to(signal.device)
        maps = []
        with enough_memory():
            for n, features in enumerate(signal.split(1)):
                encoded, places = self._image(n), points[n if self.batch > 1 else 0]
                attention = Attention(encoded.keys(features), self._windows, heads=HEADS, memory=parse_memory(memory))
                maps.append(attention.weights_at(encoded.query_at(places), places[None]))
        return torch.cat(maps)

    def _valid_weight(self, signal: Tensor, valid: Tensor, memory: int) -> Tensor:
        mask = valid.to(signal if signal.is_floating_point() else torch.float32)
        return self._mix(0, signal if signal.is_floating_point() else mask, mask, memory)

    def recommended_consistency(self, signal: Tensor, signal_type: SignalType) -> float:
        """Return one step for features, a part of one for probabilities; with other types no gain is measured."""
        if signal_type in ("probabilities", "logits"):
            return probability_step(softmax(signal) if signal_type == "logits" else signal)
        return 1.0 if signal_type == "features" else 0.0

    @property
    def _radius(self) -> int:
        return math.ceil(self.anyup.window_ratio * max(self.grid))

    @functools.cached_property
    def _windows(self) -> Windows:
        return Windows.relative(self.size, self.grid, self.anyup.window_ratio)

    def _image(self, n: int) -> EncodedImage:
        """Return the image of the n-th signal."""
        return self.images[n if self.batch > 1 else 0]

    def _render(self, signal: Tensor, types: tuple[SignalType, ...], memory: int, out: Tensor | None = None) -> Tensor:
        of_image = any(image.image_part.requires_grad for image in self.images)
        wanted = torch.is_grad_enabled() and (signal.requires_grad or of_image)
        with torch.set_grad_enabled(wanted):
            if wanted:
                return torch.cat([self._mix(n, value, value, memory) for n, value in enumerate(signal.split(1))])
            out = pages.new_empty(signal, (*signal.shape[:2], *self.size)) if out is None else out
            for n, value in enumerate(signal.split(1)):
                self._mix(n, value, value, memory, out[n : n + 1])
        return out

    def _render_valid(self, signal: Tensor, valid: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        results = []
        for n, (features, mask) in enumerate(zip(signal.split(1), valid.split(1), strict=True)):
            mix = partial(self._mix, n, features, memory=memory)
            results.append(mix_valid(mix, features, mask))
        return torch.cat(results)

    def _render_one_hot(
        self,
        image: int,
        places: Tensor,
        part: Tensor,
        count: int,
        points: Tensor | None,
        valid: Tensor | None,
        memory: int,
    ) -> Tensor:
        """Upsample the 0/1 maps of some labels, with the keys of all: chunks make no difference."""
        everything = one_hot(places, torch.arange(count, device=part.device))  # [1, K, h, w]
        if points is None:
            return mix_valid(partial(self._mix, image, everything, memory=memory), everything[:, part], valid)
        return self._mix_at(image, everything, everything[:, part], points, memory)

    def _render_at(self, signal: Tensor, points: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        each = enumerate(signal.split(1))
        return torch.cat([self._mix_at(n, value, value, points[n : n + 1], memory) for n, value in each])

    def _mix(self, n: int, features: Tensor, value: Tensor, memory: int, out: Tensor | None = None) -> Tensor:
        """Mix values [1, C, h, w] of the n-th signal, with the keys of features."""
        encoded = self._image(n)
        return encoded.render(encoded.keys(features), value, self._windows, memory, out)

    def _mix_at(self, n: int, features: Tensor, value: Tensor, points: Tensor, memory: int) -> Tensor:
        """Mix values at points [1, P, 2] only: [1, C, P]."""
        encoded = self._image(n)
        attention = Attention(encoded.keys(features), self._windows, heads=HEADS, memory=memory)
        return attention.mix_at(encoded.query_at(points[0]), value, points)


@register(
    "anyup",
    "a network trained on the features of several encoders (AnyUp); downloads its weights once",
    settings={
        "weights": "multi_backbone",
        "basis_layout": None,
        "precision": "float32",
        "window_ratio": None,
        "feature_path": None,
    },
    paths={"weights": tuple(PUBLISHED)},
    choices={"basis_layout": LAYOUTS, "precision": PRECISIONS},
    variants={"weights": tuple(PUBLISHED)},
    summary_zh="在多种编码器的特征上训练的网络（AnyUp）；首次使用时下载权重",
    image_gradient=True,
)
def _pretrained(**settings: Any) -> AnyUp:
    return AnyUp.from_pretrained(**settings)
