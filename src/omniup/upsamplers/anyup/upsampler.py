"""Upsample features by AnyUp (arXiv 2510.12764): one trained network for any encoder and resolution.

The network makes queries and keys, and the mixing engine does the rest: exact attention within the windows that the
network was trained with, at a cost of pixels × window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.files.weights import IMAGENET_MEAN, IMAGENET_STD
from omniup.mixing import DEFAULT_MEMORY
from omniup.upsamplers.anyup.adaptation import Adaptation, adapt
from omniup.upsamplers.anyup.encoded import EncodedGuidance
from omniup.upsamplers.anyup.feature_agnostic import LAYOUTS, Layout
from omniup.upsamplers.anyup.network import Network, check_channels
from omniup.upsamplers.anyup.pixels import Pixels, Plan
from omniup.upsamplers.anyup.prepared import PreparedAnyUp
from omniup.upsamplers.anyup.pyramid import other_ratios, pooled_grid
from omniup.upsamplers.anyup.refinement import MOST_STEPS, Refined, Refiner
from omniup.upsamplers.anyup.scales import Scales
from omniup.upsamplers.anyup.sharing import push, write_folder
from omniup.upsamplers.anyup.weights import NAMES, load, metadata, read
from omniup.upsamplers.base import check_image
from omniup.upsamplers.checks import (
    ImageLike,
    Size,
    as_guidance,
    as_signal,
    check_choice,
    check_finite,
    check_number,
    enough_memory,
    parse_memory,
)
from omniup.upsamplers.consistency import parse_consistency
from omniup.upsamplers.progress import ProgressLike
from omniup.upsamplers.registry import register

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
        dynamic_basis: whether the filters of the feature-agnostic layer are changed for the features at hand, which
            has to be trained; see `DynamicBasis`.
        pyramid: ratios of windows that a pixel looks through besides, such as `(0.05, 0.2)`, which has to be trained;
            `window_ratio` is always among them and may be named. None for that alone; see `Pyramid`.
        implicit: whether features vary inside cells, which has to be trained; see `Implicit`.

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
        dynamic_basis: bool = False,
        pyramid: Sequence[float] | None = None,
        implicit: bool = False,
    ) -> None:
        check_choice("basis_layout", basis_layout, LAYOUTS)
        check_choice("precision", precision, PRECISIONS)
        check_number("window_ratio", window_ratio, 0.001, 1)
        check_choice("feature_path", feature_path, (True, False))
        check_choice("dynamic_basis", dynamic_basis, (True, False))
        check_choice("implicit", implicit, (True, False))
        ratios = () if pyramid is None else other_ratios(pyramid, window_ratio)
        super().__init__(basis_layout, feature_path, dynamic_basis, ratios, implicit)
        self.adaptation: Adaptation | None = None
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
        dynamic_basis: bool | None = None,
        pyramid: Sequence[float] | None = None,
        implicit: bool | None = None,
    ) -> AnyUp:
        """Load trained weights, ready for use: in evaluation mode, and without gradients of their own.

        Args:
            weights: `"multi_backbone"` (trained on five encoders) or `"paper"` (on DINOv2 ViT-S), which are downloaded
                once, to torch.hub's cache, and checked; `"omniup"`, our own, which come with the package; a .pth or
                .safetensors file, or the URL of one; a folder that `save_pretrained` wrote; or a repository of the
                Hugging Face hub, USER/NAME.
            basis_layout: as in `AnyUp`, of the weights; by default what a .safetensors file says of itself, as those
                that were trained here do, or else `"published"`.
            precision: as in `AnyUp`.
            window_ratio: as in `AnyUp`; by default what the file says, or else 0.1.
            feature_path: as in `AnyUp`; by default what the file says, or else true.
            dynamic_basis: as in `AnyUp`; by default what the file says, or else false. With weights that have none it
                changes nothing until it is trained.
            pyramid: as in `AnyUp`; by default what the file says, or else none. Untrained it changes nothing either.
            implicit: as in `AnyUp`; by default what the file says, or else false. Likewise.

        Raises:
            InputError: the weights cannot be had or read, or do not fit; the message says where to put the file.
        """
        state, stored = read(weights)
        given = {
            "basis_layout": basis_layout,
            "window_ratio": window_ratio,
            "feature_path": feature_path,
            "dynamic_basis": dynamic_basis,
            "pyramid": pyramid,
            "implicit": implicit,
        }
        given = {name: value for name, value in given.items() if value is not None}
        network = cls(precision=precision, **(stored | given))
        load(network, state, weights)
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
        return metadata(**self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that belong to the weights, by the names of the arguments."""
        return {
            "basis_layout": self.basis_layout,
            "window_ratio": self.window_ratio,
            "feature_path": self.feature_path,
            "dynamic_basis": self.dynamic_basis is not None,
            "pyramid": None if self.pyramid is None else self.pyramid.ratios,
            "implicit": self.implicit is not None,
        }

    def cost(self, size: Size, grid: Size) -> int:
        """Estimate the work of fitting; there is none."""
        return 0

    def render_cost(self, size: Size, grid: Size, signal_type: str) -> int:
        """Estimate the work of the attention, without the network's: see `Upsampler.render_cost`."""
        # Along an axis a window holds this part of the cells in the mean, as the border cuts some, and those cut at its
        # two ends.
        pairs = 0
        for ratio in (self.window_ratio, *(() if self.pyramid is None else self.pyramid.ratios)):
            part, sides = 2 * ratio - ratio**2, pooled_grid(grid, ratio, self.window_ratio)
            pairs += math.prod(min(cells, math.ceil(part * cells) + 1) for cells in sides)
        return math.prod(size) * pairs

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
            encoded = [encode(one, (grid[0], grid[1]), size, parse_memory(memory)) for one in self.normalise(guidance)]
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
        if self.training:
            return self.mix(guidance, signal, signal, size, memory=memory, out=out)
        prepared = self.prepare(guidance, (signal.shape[2], signal.shape[3]), size, memory=memory)
        return prepared.render(signal, "features", memory=memory, out=out)

    def mix(
        self,
        image: Tensor,
        features: Tensor,
        values: Tensor,
        size: Size | None = None,
        *,
        memory: int | str = DEFAULT_MEMORY,
        out: Tensor | None = None,
    ) -> Tensor:
        """Mix values by the weights that features lead to, differentiably in everything, the weights included.

        Args:
            image: [B, 3, H, W] in 0..1, which is encoded as a whole.
            features: [B, C, h, w].
            values: [B, V, h, w].
            size: (H', W') of the result; the image's by default.
            memory: as in `forward`, beyond what is kept for the gradient.
            out: likewise.

        Returns:
            [B, V, H', W'] in the values' type.
        """
        grid = features.shape[2], features.shape[3]
        guidance, size = check_image(image, grid, size, differentiable=True)
        encoded = self.encode(torch.cat(list(self.normalise(guidance))))
        query, key = self.queries(encoded, size), self.keys(encoded, features.to(encoded.dtype))
        scales = Scales.of(self, size, grid, self.window_ratio)
        cells = scales.cells(key, values, scales.slopes(values))
        return scales.mix(query, cells, memory=parse_memory(memory), out=out)

    def adapt(
        self,
        image: ImageLike,
        features: Tensor,
        steps: int = 3,
        *,
        consistency: float | str | None = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> AnyUp:
        """Adapt to one image by a few gradient steps, without labels; see `adaptation.py`.

        The features are averaged over 2×2 cells, upsampled again with the image at half its resolution, and compared
        with what was there. Weights that were trained for it (`meta:` in a training's configuration) have learned step
        sizes; others take default ones.

        Args:
            image: as in `forward`, of one image.
            features: [1, C, h, w].
            steps: how many; 0 for this network as it is.
            consistency: steps of consistency that results will be given, and so the upsampled features in the loss: as
                `PreparedAnyUp.render` takes them, `"auto"` being 1.
            memory: as in `forward`; what autograd keeps, of maps of the features' grid, comes on top.

        Returns:
            A network for this image and features of this encoder. It has all weights that do not change in common with
            this one, which stays as it is.

        Raises:
            InputError: as in `prepare`; or it is more than one image, or `steps` or `consistency` is no such number.

        Example:
            >>> import torch
            >>> image, features = torch.rand(1, 3, 32, 48), torch.randn(1, 20, 4, 6)
            >>> AnyUp().eval().adapt(image, features)(image, features).shape
            torch.Size([1, 20, 32, 48])
        """
        check_number("steps", steps, 0, 1000, whole=True)
        if self.training:
            raise InputError("anyup", "is in training mode", "evaluation mode: anyup.eval()")
        with enough_memory():
            return adapt(self, image, features, steps, parse_memory(memory), parse_consistency(consistency, 1))

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

    def normalise(self, guidance: Tensor) -> tuple[Tensor, ...]:
        """Normalise guidance [B, G, H, W]: B images [1, 3, H, W], in the weights' dtype."""
        check_channels(guidance)
        if not self.training:
            self.to(guidance.device)
        mean, std = (guidance.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return ((guidance - mean) / std).to(self.rope.freqs.dtype).split(1)

    def _encode_for_gradient(self, image: Tensor, grid: Size, size: Size, memory: int) -> EncodedGuidance:
        """Encode one image [1, 3, H, W] as a whole, so that queries and keys are differentiable in it."""
        encoded = self.encode(image)  # [1, D, H, W]
        image_part = self.image_part(encoded, grid)  # [1, D, h, w]
        plan = Plan.of(image, size, memory, self.compute_dtype)
        image_size = image.shape[2], image.shape[3]
        return EncodedGuidance(self, None, image_part, image_size, size, plan, self.queries(encoded, size))

    def _encode(self, image: Tensor, grid: Size, size: Size, memory: int) -> EncodedGuidance:
        """Encode one image [1, 3, H, W], and keep its queries if the memory allows."""
        encoded = self.encode_strips(image, grid, size, memory)
        return encoded.with_queries() if encoded.plan.keep else encoded

    @torch.no_grad()
    def encode_strips(self, image: Tensor, grid: Size, size: Size, memory: int) -> EncodedGuidance:
        """Encode one normalised image [1, 3, H, W] within the memory, without its queries yet."""
        plan = Plan.of(image, size, memory, self.compute_dtype)
        pixels = Pixels.of(image, plan).through_encoder(self.image_encoder).rotated(self.rope).kept("encoded image")
        image_part = pixels.through_encoder(self.key_encoder).pooled(grid, 0, grid[0]).to(image.dtype)  # [1, D, h, w]
        pixels = pixels.through_encoder(self.query_encoder)
        plan.places.clear()  # so that queries may take the memory of maps that are not needed any more
        return EncodedGuidance(self, pixels, image_part, pixels.size, size, plan)


@register(
    "anyup",
    "a network trained on the features of several encoders (AnyUp); downloads its weights once",
    settings={
        "weights": "multi_backbone",
        "basis_layout": None,
        "precision": "float32",
        "window_ratio": None,
        "feature_path": None,
        "dynamic_basis": None,
        "pyramid": None,
        "implicit": None,
    },
    paths={"weights": NAMES},
    choices={"basis_layout": LAYOUTS, "precision": PRECISIONS},
    variants={"weights": NAMES},
    summary_zh="在多种编码器的特征上训练的网络（AnyUp）；首次使用时下载权重",
    image_gradient=True,
)
def _pretrained(**settings: Any) -> AnyUp:
    return AnyUp.from_pretrained(**settings)
