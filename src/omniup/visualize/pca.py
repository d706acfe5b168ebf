"""Colour features by their first three principal components, as red, green and blue.

Pictures are only comparable when they share the basis and the contrast, so all maps of a comparison go in together and
one affine map, vector → colour, is fitted for them all. Fitting looks at a bounded number of pixels and applying goes
band by band, so neither the number of channels nor the number of pixels sets the memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from omniup.upsamplers.representation import ShortRepr
from omniup.visualize.tensors import SAMPLES, check_map, draw_vectors, pieces

CONTRAST = (0.01, 0.99)  # these quantiles become 0 and 1, so that a few outliers do not grey out everything else
FLAT = 1e-5  # a range below this part of the longest vector is rounding, not variation
SUBSPACE, ITERATIONS = 13, 12  # room to spare beside the directions: on real features converged to float32


@dataclass(frozen=True, eq=False, repr=False)
class PcaColours(ShortRepr):
    """The colours of feature vectors: an affine map from vectors to red, green and blue.

    Attributes:
        gain: [C, 3].
        offset: [3].
    """

    gain: Tensor
    offset: Tensor

    @classmethod
    def fit(cls, *maps: Tensor, seed: int = 0, samples: int = SAMPLES) -> PcaColours:
        """Fit the colours to feature maps; see `pca_rgb`, of which this is the first half."""
        generator = torch.Generator().manual_seed(seed)
        return cls(*_fit_colours(draw_vectors(maps, samples, generator), generator))

    def picture(self, features: Tensor) -> Tensor:
        """Colour a feature map.

        Args:
            features: [1, C, h, w], with the channels of those that the colours were fitted to.

        Returns:
            [1, 3, h, w] float32 in 0..1, on the map's device.

        Raises:
            InputError: the features are no such map.
        """
        check_map("features", features, channels=(len(self.gain),))
        gain, offset = self.gain.to(features.device), self.offset.to(features.device)
        colours = [torch.einsum("bchw,ck->bkhw", piece, gain) for piece in pieces(features)]  # [1, 3, r, w] each
        return (torch.cat(colours, dim=2) + offset[:, None, None]).clamp(0, 1)


def pca_rgb(*maps: Tensor, seed: int = 0, samples: int = SAMPLES) -> list[Tensor]:
    """Colour feature maps by their principal components, equal vectors the same in all of them.

    Directions in which the maps do not vary (always the case from the second on for C = 1) are drawn as 0.5.

    Args:
        maps: one or more [1, C, h, w], any sizes and dtypes, the same C.
        seed: of the draw of pixels; equal inputs and seeds give equal colours, to rounding, on every machine.
        samples: the basis and the contrast are fitted to at most this many pixels, an equal share from each map.

    Returns:
        For each map its picture, [1, 3, h, w] float32 in 0..1 on the map's device.

    Raises:
        InputError: no maps, maps of other ranks or differing channels, fewer samples than maps, or values that are
            not finite.

    Example:
        >>> features = torch.rand(1, 32, 14, 14)
        >>> upsampled = F.interpolate(features, scale_factor=16, mode="bilinear")
        >>> low, high = pca_rgb(features, upsampled)
        >>> low.shape, high.shape
        (torch.Size([1, 3, 14, 14]), torch.Size([1, 3, 224, 224]))
    """
    colours = PcaColours.fit(*maps, seed=seed, samples=samples)
    return [colours.picture(features) for features in maps]


def _fit_colours(vectors: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Fit the affine map from vectors [N, C] to colours: its gain [C, 3] and offset [3]."""
    size = vectors.abs().max().clamp_min(torch.finfo(vectors.dtype).tiny)  # squares of large numbers would overflow
    vectors = vectors / size
    mean = vectors.mean(dim=0)  # [C]
    centred = vectors - mean  # [N, C]
    directions = principal_directions(centred, 3, generator)  # [C, K], K ≤ 3
    coordinates = centred @ directions  # [N, K]
    low, high = coordinates.quantile(torch.tensor(CONTRAST), dim=0)  # [K] each
    flat = FLAT * vectors.norm(dim=1).max()
    rare = high - low <= flat  # nearly all pixels agree: it is the few others that there are to see
    low = torch.where(rare, coordinates.amin(dim=0), low)
    high = torch.where(rare, coordinates.amax(dim=0), high)

    varies = high - low > flat
    gain = torch.where(varies, directions / (high - low), 0.0)  # [C, K]
    offset = torch.where(varies, -low / (high - low), 0.5) - mean @ gain  # [K]
    missing = 3 - gain.shape[1]
    return F.pad(gain / size, (0, missing)), F.pad(offset, (0, missing), value=0.5)


def principal_directions(centred: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Find the K = min(count, C, N) leading principal directions of [N, C]: the columns of [C, K].

    Randomised subspace iteration (Halko, Martinsson and Tropp, 2011), exact for C up to `count + SUBSPACE`. Its
    cost is linear in C; that of the covariance and its eigenvectors is quadratic and cubic. `torch.pca_lowrank` does
    the same, but draws from the global generator, which threads share.
    """
    channels = centred.shape[1]
    subspace = torch.randn(channels, min(count + SUBSPACE, channels), generator=generator)  # [C, S]
    for _ in range(ITERATIONS):
        subspace = torch.linalg.qr(centred.T @ (centred @ subspace)).Q  # [C, S]
    _, _, turn = torch.linalg.svd(centred @ subspace, full_matrices=False)  # [min(N, S), S]
    directions = subspace @ turn[:count].T  # [C, K]

    # A principal direction has no sign. Rules that rank its entries tie on structured data (one-hot vectors, say),
    # and rounding then decides; a random reference practically never ties.
    reference = torch.randn(channels, generator=generator)
    return torch.where(reference @ directions < 0, -directions, directions)
