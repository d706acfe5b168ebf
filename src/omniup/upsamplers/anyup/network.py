"""Compute AnyUp's queries and keys from an image and features (arXiv 2510.12764), short of the mixing.

Queries come from the image alone. Keys come from the image, averaged over each cell, and from what the feature-agnostic
layer says of the features. The values are the features as they are: the network only learns where to look.

The submodules bear the names of the published checkpoints, which load strictly. Everything that is computed at the
image's resolution sees one pixel at a time, apart from the statistics of the group norms and one 3×3 convolution;
`pixels.py` makes use of that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.mixing import DEFAULT_MEMORY
from omniup.upsamplers.anyup.dynamic_basis import DynamicBasis
from omniup.upsamplers.anyup.feature_agnostic import FILTER_SIZE, FeatureAgnosticLayer, Layout
from omniup.upsamplers.anyup.implicit import Implicit
from omniup.upsamplers.anyup.pyramid import Pyramid
from omniup.upsamplers.checks import Size

WIDTH = 128
HEADS = 4
NORM_GROUPS = 8

#: Submodules that change nothing before they are trained, so that weights may be without them.
EXTENSIONS = ("dynamic_basis", "pyramid", "implicit")


class ResidualBlock(nn.Module):
    """Residual block of two norms, SiLUs and 1×1 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(NORM_GROUPS, WIDTH),
            nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 1, bias=False),
            nn.GroupNorm(NORM_GROUPS, WIDTH),
            nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 1, bias=False),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Add the block's output to maps [B, D, H, W]."""
        return maps + self.block(maps)


def encoder(first: nn.Module) -> nn.Sequential:
    """Make an encoder: a layer that maps its input to the network's width, and two residual blocks."""
    return nn.Sequential(first, ResidualBlock(), ResidualBlock())


class ReflectingConv2d(nn.Conv2d):
    """A 3×3 convolution with reflection padding; replication where there is one row or column only."""

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve [B, C, h, w] to [B, D, h, w]."""
        rows, columns = ("reflect" if side > 1 else "replicate" for side in maps.shape[2:])
        return super().forward(F.pad(F.pad(maps, (0, 0, 1, 1), rows), (1, 1, 0, 0), columns))


class RotaryEmbedding(nn.Module):
    """Rotation of pixels' vectors by angles that grow with their place, so that products know of distances.

    The place (y, x) runs from 0 to 1 along either side, ends included; coordinates i and i + D/2 make a pair, each
    with an angle of its own: y · freqs[0] + x · freqs[1].
    """

    def __init__(self) -> None:
        super().__init__()
        self.freqs = nn.Parameter(torch.randn(2, WIDTH))

    def forward(self, maps: Tensor) -> Tensor:
        """Rotate maps [B, D, H, W]."""
        rotation = self.rotation((maps.shape[2], maps.shape[3]))
        # One by one: the sum over a batch that is the factors' gradient takes torch a fifth of a training step
        # (channels last, bfloat16, torch 2.15 on a CPU), additions take it nothing.
        return torch.stack([rotation.rotate(one.movedim(0, -1)).movedim(-1, 0) for one in maps])

    def rotation(self, size: Size) -> Rotation:
        """Compute the cosines and sines of the angles along either side of an image (H, W)."""
        y, x = (
            torch.linspace(0, 1, side, device=freqs.device, dtype=freqs.dtype).unsqueeze(1) * freqs
            for side, freqs in zip(size, self.freqs, strict=True)
        )  # [H, D], [W, D]
        return Rotation(y.cos(), y.sin(), x.cos(), x.sin())


@dataclasses.dataclass(frozen=True)
class Rotation:
    """Rotation of vectors by an angle for each row, column and coordinate.

    Attributes:
        cos_y, sin_y: [H, D], of the rows' parts of the angles.
        cos_x, sin_x: [W, D], of the columns' parts.
    """

    cos_y: Tensor
    sin_y: Tensor
    cos_x: Tensor
    sin_x: Tensor

    def rotate(self, vectors: Tensor, top: int = 0) -> Tensor:
        """Rotate vectors [n, W, D] of pixels, which are the rows from `top` on."""
        rows = slice(top, top + len(vectors))
        cos_y, sin_y = self.cos_y[rows].unsqueeze(1), self.sin_y[rows].unsqueeze(1)  # [n, 1, D]
        # The addition theorems: sines of sides are few, sines of pixels many.
        cos = cos_y * self.cos_x - sin_y * self.sin_x  # [n, W, D]
        sin = sin_y * self.cos_x + cos_y * self.sin_x
        one, other = vectors.chunk(2, dim=-1)
        return vectors * cos.to(vectors) + torch.cat([-other, one], dim=-1) * sin.to(vectors)


class HeadProjections(nn.Module):
    """Weights of `torch.nn.MultiheadAttention`, by its names; only the query's and the key's are used.

    The published checkpoints hold those of the value and of the output too, though nothing was ever made with them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * WIDTH, WIDTH))  # of query, key and value
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * WIDTH))
        self.out_proj = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        nn.init.xavier_uniform_(self.in_proj_weight)


class CrossAttention(nn.Module):
    """Projections of pixels and cells to the queries and keys of all heads, one head after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_q = nn.RMSNorm(WIDTH)
        self.norm_k = nn.RMSNorm(WIDTH)
        self.attention = HeadProjections()

    def queries(self, maps: Tensor) -> Tensor:
        """Project maps [B, D, H', W'] to queries, scaled so that a head's inner product is its logit."""
        return self._project(self.norm_q, maps, 0, scale=(WIDTH // HEADS) ** -0.5)

    def keys(self, maps: Tensor) -> Tensor:
        """Project maps [B, D, h, w] to keys."""
        return self._project(self.norm_k, maps, 1, scale=1)

    def _project(self, norm: nn.RMSNorm, maps: Tensor, part: int, scale: float) -> Tensor:
        """Normalise maps [B, D, H, W] and project them, to the same shape."""
        vectors = maps.movedim(1, -1).flatten(1, 2).to(norm.weight.dtype)  # [B, H W, D]
        weight, bias = (
            scale * values.chunk(3)[part] for values in (self.attention.in_proj_weight, self.attention.in_proj_bias)
        )
        # The norm divides a vector by its length, which it may as well after the product, in one pass with the bias.
        epsilon = torch.finfo(vectors.dtype).eps
        factor = (vectors.square().mean(2) + epsilon).rsqrt().unsqueeze(1)  # [B, 1, H W]
        product = (weight * norm.weight) @ vectors.mT  # [B, D, H W]
        return torch.addcmul(bias.unsqueeze(1), product, factor).unflatten(2, maps.shape[2:])


class CrossDecoder(nn.Module):
    """Convolution of the queries over their neighbours, and the heads' projections."""

    def __init__(self) -> None:
        super().__init__()
        self.cross_attn = CrossAttention()
        self.conv2d = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)


class Network(nn.Module):
    """The whole network.

    Args:
        layout: of the feature-agnostic layer; `"published"` for the published weights.
        feature_path: whether keys know of the features; otherwise they are those of features that are zero everywhere,
            and the image alone decides what is mixed.
        dynamic_basis: whether the filters of that layer are changed for the features at hand; see `DynamicBasis`.
        pyramid: ratios of more windows; see `Pyramid`.
        implicit: whether cells offer slopes besides their values; see `Implicit`.
    """

    def __init__(
        self,
        layout: Layout,
        feature_path: bool = True,
        dynamic_basis: bool = False,
        pyramid: tuple[float, ...] = (),
        implicit: bool = False,
    ) -> None:
        super().__init__()
        self.feature_path = feature_path
        self.image_encoder = encoder(nn.Conv2d(3, WIDTH, 1, bias=False))
        self.key_encoder = encoder(nn.Conv2d(WIDTH, WIDTH, 1, bias=False))
        self.query_encoder = encoder(nn.Conv2d(WIDTH, WIDTH, 1, bias=False))
        self.aggregation = encoder(ReflectingConv2d(2 * WIDTH, WIDTH, 3, bias=False))
        self.key_features_encoder = encoder(FeatureAgnosticLayer(WIDTH, layout))
        self.cross_decode = CrossDecoder()
        self.rope = RotaryEmbedding()
        # Extensions come last, so that the same seed makes the same of all that is before them.
        self.dynamic_basis = DynamicBasis(WIDTH, FILTER_SIZE**2, WIDTH) if dynamic_basis else None
        self.pyramid = Pyramid(pyramid, WIDTH, HEADS) if pyramid else None
        self.implicit = Implicit(WIDTH) if implicit else None

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load weights by name; an extension that they are wholly without stays as it is.

        Raises:
            RuntimeError: anything else is missing, of another shape, or too much.
        """
        known = {name.partition(".")[0] for name in state}
        absent = [name for name in EXTENSIONS if name not in known]
        own = {name: value for name, value in self.state_dict().items() if name.partition(".")[0] in absent}
        self.load_state_dict({**own, **state})

    def encode(self, image: Tensor) -> Tensor:
        """Encode a normalised image [B, 3, H, W] for queries and keys: [B, D, H, W]."""
        # With channels last, convolutions are several times faster on a CPU.
        return self.rope(self.image_encoder(image.contiguous(memory_format=torch.channels_last)))

    def queries(self, encoded: Tensor, size: Size) -> Tensor:
        """Compute the queries of all heads at a size from an encoded image [B, D, H, W]: [B, D, H', W']."""
        return self.cross_decode.cross_attn.queries(self.query_maps(encoded, size))

    def query_maps(self, encoded: Tensor, size: Size) -> Tensor:
        """Compute the maps that queries are projected from, from an encoded image [B, D, H, W]: [B, D, H', W']."""
        return self.cross_decode.conv2d(F.adaptive_avg_pool2d(self.query_encoder(encoded), size))

    def keys(self, encoded: Tensor, features: Tensor) -> Tensor:
        """Compute the keys of all heads from an encoded image [B, D, H, W] and features [B, C, h, w]: [B, D, h, w]."""
        image_part = self.image_part(encoded, (features.shape[2], features.shape[3]))
        return self.join(image_part, self.describe(features, image_part, (encoded.shape[2], encoded.shape[3])))

    def image_part(self, encoded: Tensor, grid: Size) -> Tensor:
        """Compute the image's part of the keys from an encoded image [B, D, H, W]: [B, D, h, w]."""
        return F.adaptive_avg_pool2d(self.key_encoder(encoded), grid)

    def describe(self, features: Tensor, image_part: Tensor, image_size: Size, memory: int = DEFAULT_MEMORY) -> Tensor:
        """Compute the features' part of the keys from features [B, C, h, w]: [B, D, h, w].

        Args:
            features: [B, C, h, w].
            image_part: [B, D, h, w], of the keys; it has a say in a dynamic basis, as has the image's size.
            image_size: (H, W).
            memory: bytes of scratch space.
        """
        if not self.feature_path:
            features = features.new_zeros(len(features), 1, *features.shape[2:])
        agnostic, *blocks = self.key_features_encoder
        features = F.normalize(features, dim=1)
        basis = None
        if self.dynamic_basis is not None and self.feature_path:
            basis = self.dynamic_basis(agnostic.basis, features, image_part, image_size)
        described = agnostic(features, memory, basis)
        for block in blocks:
            described = block(described)
        return described

    def join(self, image_part: Tensor, features_part: Tensor) -> Tensor:
        """Combine the two parts of the keys, each [B, D, h, w], to the keys of all heads, likewise."""
        return self.cross_decode.cross_attn.keys(self.aggregation(torch.cat([image_part, features_part], dim=1)))


def check_channels(guidance: Tensor) -> None:
    """Refuse guidance [B, G, H, W] that the image encoder does not know.

    Raises:
        InputError: it has other than one or three channels.
    """
    if guidance.shape[1] not in (1, 3):
        accepted = "three channels (RGB) or one (grey), with AnyUp"
        raise InputError("image", "has {channels} channels", accepted, channels=guidance.shape[1])
