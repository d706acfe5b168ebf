"""Combine our training-free method P with AnyUp's network A: each knows of edges what the other does not.

    features:       out = P s + d (A s - B D A s)        B bicubic, D means over the cells
    probabilities:  log out = T ((1 - w) log P s + w (A l + k B (l - D A l))) + constant,    l = log s

What A has beyond the cubic spline through its own means is the detail that it owes to the image: it is added to P's. Of
probabilities more detail would be noise, so logarithms are averaged, A's with a part k of a step of consistency (see
`probability_step`), and smoothed as P smooths its own (T, see `average_logarithms`). A was trained on features only:
signals of other types are P's alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from omniup.upsamplers.anyup import AnyUp
from omniup.upsamplers.anyup.upsampler import PRECISIONS, Precision
from omniup.upsamplers.anyup.weights import NAMES
from omniup.upsamplers.base import PreparedImage, Upsampler, check_image
from omniup.upsamplers.checks import DEFAULT_MEMORY, ImageLike, Size, check_number
from omniup.upsamplers.consistency import add_lacking, centred_logarithms, probability_step
from omniup.upsamplers.progress import ProgressLike
from omniup.upsamplers.pyramid_bilateral import PyramidBilateral
from omniup.upsamplers.pyramid_bilateral.method import PreparedPyramid
from omniup.upsamplers.pyramid_bilateral.probabilities import average_logarithms
from omniup.upsamplers.registry import register
from omniup.upsamplers.signal_types import SignalType


@dataclasses.dataclass(frozen=True)
class Ensemble(Upsampler):
    """The default method together with AnyUp: the best that there is for features, at AnyUp's cost.

    Attributes:
        anyup: the network, in evaluation mode.
        training_free: the other method.
        detail: features: how much of the network's detail is added.
        weight: probabilities: the network's in the mean of the logarithms, 0..1.

    Example:
        >>> import omniup, torch
        >>> ensemble = omniup.Ensemble(omniup.AnyUp().eval())
        >>> ensemble(torch.rand(1, 3, 32, 48), torch.randn(1, 20, 4, 6)).shape
        torch.Size([1, 20, 32, 48])
    """

    anyup: AnyUp
    training_free: PyramidBilateral = dataclasses.field(default_factory=PyramidBilateral)
    detail: float = 1.0
    weight: float = 0.4

    def __post_init__(self) -> None:
        check_number("detail", self.detail, 0, 10)
        check_number("weight", self.weight, 0, 1)

    @classmethod
    def from_pretrained(
        cls,
        weights: str = "multi_backbone",
        *,
        detail: float = 1.0,
        weight: float = 0.4,
        precision: Precision = "float32",
    ) -> Ensemble:
        """Load the network's weights; see `AnyUp.from_pretrained`, and the attributes."""
        return cls(AnyUp.from_pretrained(weights, precision=precision), detail=detail, weight=weight)

    def render_cost(self, size: Size, grid: Size, signal_type: str) -> int:
        """Estimate the work of both; see `Upsampler.render_cost`."""
        learned = self.anyup.render_cost(size, grid, signal_type) if _is_learned(signal_type) else 0
        return self.training_free.render_cost(size, grid, signal_type) + learned

    def prepare(
        self,
        image: ImageLike,
        grid: Size,
        size: Size | None = None,
        *,
        progress: ProgressLike = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> PreparedEnsemble:
        """Prepare the image by both; see `Upsampler` and `AnyUp.prepare`."""
        guidance, size = check_image(image, grid, size)
        training_free = self.training_free.prepare(guidance, grid, size, memory=memory)
        return PreparedEnsemble(self, training_free, self.anyup.prepare(guidance, grid, size, memory=memory))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PreparedEnsemble(PreparedImage):
    """Render signals by both methods.

    Attributes:
        method: its numbers.
        training_free: the image, as the training-free method prepared it.
        learned: likewise, the network.
    """

    method: Ensemble
    training_free: PreparedPyramid
    learned: PreparedImage

    @property
    def batch(self) -> int:
        """Number of prepared images."""
        return self.training_free.batch

    @property
    def grid(self) -> Size:
        """Grid (h, w) of the signals, in cells."""
        return self.training_free.grid

    @property
    def size(self) -> Size:
        """Size (H, W), in pixels."""
        return self.training_free.size

    def only(self, image: int) -> PreparedEnsemble:
        """Return one image of the batch."""
        return PreparedEnsemble(self.method, self.training_free.only(image), self.learned.only(image))

    def _render(self, signal: Tensor, types: tuple[SignalType, ...], memory: int, out: Tensor | None = None) -> Tensor:
        return torch.cat([self._one(n, value, types[n], None, memory) for n, value in enumerate(signal.split(1))])

    def _render_valid(self, signal: Tensor, valid: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        pairs = enumerate(zip(signal.split(1), valid.split(1), strict=True))
        return torch.cat([self._one(n, value, types[n], mask, memory) for n, (value, mask) in pairs])

    def _one(self, n: int, signal: Tensor, signal_type: SignalType, valid: Tensor | None, memory: int) -> Tensor:
        """Upsample the n-th signal [1, C, h, w]: [1, C, H, W]."""
        one = self.only(n if self.batch > 1 else 0)
        out = one.training_free._render_cells(signal, (signal_type,), valid, memory)
        if signal_type == "features":
            learned = one.learned._render_cells(signal, (signal_type,), valid, memory)
            detail = add_lacking(learned, torch.zeros_like(signal), 1, memory)  # less the spline through its means
            return out + self.method.detail * detail
        if signal_type == "probabilities":
            return one._average(out, signal, valid, memory).to(signal.dtype)
        return out

    def _average(self, out: Tensor, signal: Tensor, valid: Tensor | None, memory: int) -> Tensor:
        """Average the logarithms of probabilities [1, C, H, W] and those that the network has for [1, C, h, w]."""
        logs = centred_logarithms(signal.to(torch.promote_types(signal.dtype, torch.float32)))  # [1, C, h, w]
        learned = self.learned._render_cells(logs, ("values",), valid, memory)
        learned = add_lacking(learned, logs, probability_step(signal), memory, valid)
        (pyramid,), method = self.training_free.pyramids, self.method
        return average_logarithms(pyramid, out, learned, method.weight, self.grid, method.training_free, memory)


def _is_learned(signal_type: str) -> bool:
    """Tell whether the network has a say in signals of a type."""
    return signal_type in ("features", "probabilities", "logits", "directions")


@register(
    "ensemble",
    "the default method with the detail that AnyUp's network adds to it; best for features, at AnyUp's cost",
    settings={"weights": "multi_backbone", "detail": 1.0, "weight": 0.4, "precision": "float32"},
    paths={"weights": NAMES},
    choices={"precision": PRECISIONS},
    variants={"weights": NAMES},
    summary_zh="默认方法，再加上 AnyUp 网络给出的细节；最适合特征，耗时与 AnyUp 相同",
)
def _pretrained(**settings: Any) -> Ensemble:
    return Ensemble.from_pretrained(**settings)
