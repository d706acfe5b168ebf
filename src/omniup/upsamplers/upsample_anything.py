"""Fit anisotropic Gaussian kernels to one image by test-time optimisation: Upsample Anything (arXiv 2511.16301).

Test-time optimisation (TTO) asks that the kernels, mixing the downsampled image, reconstruct the image. There is no
training: what is learnt is learnt from this image alone and forgotten with it. `gaussian_kernels.py` has the kernels
and their weights.

Two presets: `spec`, the settings of the demo's specification, and `paper`, those of the authors' published code.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.mixing.objective import L1Objective
from omniup.upsamplers.base import Upsampler, check_image, uncompiled
from omniup.upsamplers.checks import (
    DEFAULT_MEMORY,
    ImageLike,
    Size,
    check_choice,
    check_number,
    enough_memory,
    parse_memory,
    resize,
)
from omniup.upsamplers.gaussian_kernels import (
    SIGMA_R_RANGE,
    SIGMA_RANGE,
    GaussianEmbedding,
    GaussianKernels,
    History,
    Window,
    precision_matrix,
)
from omniup.upsamplers.progress import Progress, ProgressCallback, ProgressLike, shown
from omniup.upsamplers.registry import literals, register

logger = logging.getLogger(__name__)

#: Added to a softplus, so that no width is ever zero.
EPS = 1e-6


@dataclasses.dataclass(frozen=True)
class UpsampleAnything(Upsampler):
    """Fits Gaussian kernels to an image. The defaults are those of the preset `spec`.

    Attributes:
        window: `"square"` or `"disc"`; see `Window`.
        radius: of the window, in cells, 0 to 16.
        window_sigmas: of a disc: its radius is at most so many sigmas (counting cells and pixels the same, as the
            authors' code does); None for `radius` everywhere.
        positive: how widths are kept positive: `"softplus"` or `"exp"` of what is optimised.
        sigma: the widths in space to start from.
        sigma_r: the width of the range term to start from, in guidance units.
        sigma_limits: the widths in space are clamped to this interval; None for no clamp.
        sigma_r_limits: the width of the range term likewise.
        downsample: how the image that is mixed is made: `"bilinear"` or `"bicubic"`, without smoothing.
        lr: Adam's step size.
        lr_decay: factor on the step size after each step.
        iterations: steps; 0 leaves the kernels as they start.
        sigma_weight: regulariser, times mean |sigma - its start|, in pixels.
        theta_weight: regulariser, times mean |theta| or theta's total variation, in radians.
        theta_penalty: which of the two: `"absolute"` or `"variation"`.
        sigma_r_weight: regulariser, times mean |sigma_r - its start|.
        tolerance: stop early once the loss has fallen by less than this fraction over ten steps; None to never stop.
    """

    window: Literal["square", "disc"] = "square"
    radius: int = 2
    window_sigmas: float | None = None
    positive: Literal["softplus", "exp"] = "softplus"
    sigma: float = 16.0
    sigma_r: float = 0.12
    sigma_limits: tuple[float, float] | None = (1.0, 64.0)
    sigma_r_limits: tuple[float, float] | None = (0.01, 1.0)
    downsample: Literal["bilinear", "bicubic"] = "bilinear"
    lr: float = 1e-3
    lr_decay: float = 1.0
    iterations: int = 50
    sigma_weight: float = 0.0
    theta_weight: float = 0.0
    theta_penalty: Literal["absolute", "variation"] = "absolute"
    sigma_r_weight: float = 0.0
    tolerance: float | None = None

    def __post_init__(self) -> None:
        _ = self._window  # checks its part
        check_choice("positive", self.positive, ("softplus", "exp"))
        check_choice("downsample", self.downsample, ("bilinear", "bicubic"))
        check_choice("theta_penalty", self.theta_penalty, ("absolute", "variation"))
        check_number("sigma", self.sigma, *SIGMA_RANGE)
        check_number("sigma_r", self.sigma_r, *SIGMA_R_RANGE)
        check_number("lr", self.lr, 0, 10)
        check_number("lr_decay", self.lr_decay, 0, 1)
        check_number("iterations", self.iterations, 0, 100_000, whole=True)
        for name in ("sigma_weight", "theta_weight", "sigma_r_weight"):
            check_number(name, getattr(self, name), 0, 1e6)
        if self.tolerance is not None:
            check_number("tolerance", self.tolerance, 0, 1)
        for name, (least, most) in (("sigma_limits", SIGMA_RANGE), ("sigma_r_limits", SIGMA_R_RANGE)):
            limits = getattr(self, name)
            numbers = isinstance(limits, (tuple, list)) and all(isinstance(limit, (int, float)) for limit in limits)
            if limits is not None and not (numbers and len(limits) == 2 and least <= limits[0] <= limits[1] <= most):
                accepted = "two numbers from {least:g} to {most:g}, the lower first"
                raise InputError(name, "is {value!r}", accepted, value=limits, least=least, most=most)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> UpsampleAnything:
        """Return one of the `PRESETS`, with changes.

        Raises:
            InputError: no such preset or setting, or a value out of range.

        Example:
            >>> UpsampleAnything.preset("paper", iterations=20).radius
            8
        """
        check_choice("preset", name, tuple(PRESETS))
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := sorted(changes.keys() - set(known)):
            raise InputError(unknown[0], "is no setting of upsample_anything", "{names}", names=", ".join(known))
        return cls(**{**PRESETS[name], **changes})

    @uncompiled
    def prepare(
        self,
        image: ImageLike,
        grid: Size,
        size: Size | None = None,
        *,
        progress: ProgressLike = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> GaussianKernels:
        """Fit one kernel for each cell of a grid, for every image of a batch on its own; see `Upsampler`.

        Args:
            image: the guidance, with any number of channels: PIL; array [H, W] or [H, W, G]; tensor [B, G, H, W].
            grid: (h, w): of the signals to be rendered, in cells. Any ratio to the image's size.
            size: (H', W') of the results, in pixels; the image's own by default, else the image is resized first.
            progress: called after each step; what it raises ends the fit. True shows a bar.
            memory: of working space, in bytes or as a text such as `"512MB"`.

        Returns:
            The kernels, on the image's device, with the losses and times of the fit in `history`.

        Raises:
            InputError: the image or the grid cannot be accepted.
        """
        began = time.perf_counter()
        guidance, size = check_image(image, grid, size)
        guidance = resize(guidance, size)
        with torch.inference_mode(False), torch.enable_grad(), enough_memory():
            if guidance.is_inference():  # such tensors take no part in autograd
                guidance = guidance.clone()
            with shown(progress, "fit") as show:
                return self._fit(guidance, (grid[0], grid[1]), show, parse_memory(memory), began)

    #: The paper's word for it.
    fit = prepare

    def cost(self, size: Size, grid: Size) -> int:
        """Estimate the work of a fit: pixels × cells of a window × steps."""
        return math.prod(size) * self.cells * self.iterations

    def render_cost(self, size: Size, grid: Size, signal_type: str) -> int:
        """Estimate the work of a mix: see `Upsampler.render_cost`."""
        return self._window.pairs(size, grid)

    def cell_image(self, guidance: Tensor, grid: Size) -> Tensor:
        """Downsample guidance to the image that a fit mixes: [B, G, H, W] to [B, G, h, w]."""
        return F.interpolate(guidance, grid, mode=self.downsample)

    @property
    def cells(self) -> int:
        """Number of cells in a pixel's window, away from the border."""
        return self._window.cells

    @property
    def _window(self) -> Window:
        return Window(self.window, self.radius, self.window_sigmas)

    def _fit(
        self, guidance: Tensor, grid: Size, progress: ProgressCallback | None, memory: int, began: float
    ) -> GaussianKernels:
        cells = F.interpolate(guidance, grid, mode="bilinear")  # [B, G, h, w]
        raw = self._start(guidance, grid)
        start = self._maps(raw.detach())
        if self.iterations:
            objective = L1Objective(
                guidance,
                self.cell_image(guidance, grid),
                guidance,
                self._window.windows((guidance.shape[2], guidance.shape[3]), grid),
                GaussianEmbedding(cells),
                memory,
            )
        adam = _Adam(raw, self.lr, self.lr_decay)
        history = History(device=str(guidance.device), dtype=str(guidance.dtype).removeprefix("torch."))
        history.seconds["prepare"] = time.perf_counter() - began
        logger.info("fit on %s in %s: %d iterations", history.device, history.dtype, self.iterations)

        began = time.perf_counter()
        for iteration in range(self.iterations):
            maps = self._maps(raw)
            losses = objective(precision_matrix(*maps), self._window.reach(maps[0], maps[1]))  # [B]
            adam.step((losses + self._regulariser(maps, start)).sum())
            history.losses.append(float(losses.detach().mean()))
            self._check_converges(history.losses[-1])
            if iteration % 10 == 0 or iteration == self.iterations - 1:
                logger.info("iteration %d: loss %.6f", iteration, history.losses[-1])
            if progress is not None:
                taken = time.perf_counter() - began
                left = taken / (iteration + 1) * (self.iterations - iteration - 1)
                progress(Progress(iteration + 1, self.iterations, left, history.losses[-1]))
            if self._settled(history.losses):
                break
        history.seconds["fit"] = time.perf_counter() - began
        logger.info("prepared in %.3f s, fitted in %.3f s", history.seconds["prepare"], history.seconds["fit"])
        maps = self._maps(raw.detach())
        self._check_converges(*(parameter.sum().item() for parameter in maps))
        return GaussianKernels(*maps, guidance, cells, self._window, history)

    def _start(self, guidance: Tensor, grid: Size) -> Tensor:
        """Return the initial parameters [4, B, 1, h, w]: the first widths and no angle."""
        values = torch.tensor([self.sigma, self.sigma, 1.0, self.sigma_r], dtype=torch.float64)
        inverse = values - EPS + torch.log(-torch.expm1(EPS - values))  # of softplus(raw) + EPS
        raw = values.log() if self.positive == "exp" else inverse
        raw[2] = 0
        return raw.to(guidance).view(4, 1, 1, 1, 1).repeat(1, len(guidance), 1, *grid).requires_grad_()

    def _maps(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the kernels' parameters, [B, 1, h, w] each (spec, section 4.2.1)."""
        sigma_x, sigma_y, sigma_r = (
            x.exp() if self.positive == "exp" else F.softplus(x) + EPS for x in (raw[0], raw[1], raw[3])
        )
        if self.sigma_limits is not None:
            sigma_x, sigma_y = sigma_x.clamp(*self.sigma_limits), sigma_y.clamp(*self.sigma_limits)
        if self.sigma_r_limits is not None:
            sigma_r = sigma_r.clamp(*self.sigma_r_limits)
        return sigma_x, sigma_y, math.pi * raw[2].tanh(), sigma_r

    def _regulariser(
        self, maps: tuple[Tensor, Tensor, Tensor, Tensor], start: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Compute the regulariser of each image's loss, [B] (spec, section 5.1): distances from the start."""
        sigma_x, sigma_y, theta, sigma_r = (parameter[:, 0] for parameter in maps)  # [B, h, w]
        sigma_x0, sigma_y0, _, sigma_r0 = (parameter[:, 0] for parameter in start)  # [B, h, w]
        total = sigma_x.new_zeros(len(sigma_x))
        if self.sigma_weight:
            away = (sigma_x - sigma_x0).abs() + (sigma_y - sigma_y0).abs()
            total = total + self.sigma_weight * away.mean((1, 2))
        if self.theta_weight and self.theta_penalty == "absolute":
            total = total + self.theta_weight * theta.abs().mean((1, 2))
        elif self.theta_weight:
            variation = theta.diff(dim=1).abs().sum((1, 2)) + theta.diff(dim=2).abs().sum((1, 2))
            total = total + self.theta_weight * variation / theta[0].numel()
        if self.sigma_r_weight:
            total = total + self.sigma_r_weight * (sigma_r - sigma_r0).abs().mean((1, 2))
        return total

    def _check_converges(self, *numbers: float) -> None:
        if not all(map(math.isfinite, numbers)):
            raise InputError("lr", "is {value!r}, with which the fit diverged", "a smaller one", value=self.lr)

    def _settled(self, losses: list[float]) -> bool:
        return self.tolerance is not None and len(losses) > 10 and losses[-1] > (1 - self.tolerance) * losses[-11]


class _Adam:
    """Adam (arXiv 1412.6980, algorithm 1) on one tensor.

    Not torch's: that imports the compiler when first used, which takes seconds and 150 MB where a fit takes one second.
    """

    def __init__(self, parameter: Tensor, lr: float, lr_decay: float) -> None:
        self.parameter, self.lr, self.lr_decay, self.steps = parameter, lr, lr_decay, 0
        self.mean, self.square = torch.zeros_like(parameter), torch.zeros_like(parameter)

    def step(self, loss: Tensor) -> None:
        """Take one step of gradient descent."""
        (gradient,) = torch.autograd.grad(loss, self.parameter)
        self.steps += 1
        with torch.no_grad():
            self.mean.lerp_(gradient, 1 - 0.9)
            self.square.lerp_(gradient.square(), 1 - 0.999)
            scale = (self.square / (1 - 0.999**self.steps)).sqrt_().add_(1e-8)
            self.parameter.addcdiv_(self.mean, scale, value=-self.lr / (1 - 0.9**self.steps))
        self.lr *= self.lr_decay


#: Settings by name. What a preset does not name is as `UpsampleAnything` has it.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "spec": {},
        "paper": {
            "window": "disc",
            "radius": 8,
            "window_sigmas": 2.0,
            "positive": "exp",
            "sigma_limits": None,
            "sigma_r_limits": None,
            "downsample": "bicubic",
            "lr": 0.1,
            "lr_decay": 1e-8 ** (1 / 5100),
            "iterations": 51,
        },
    }
)


DEFAULT_PRESET = "paper"


@register(
    "upsample_anything",
    "Upsample Anything: Gaussian kernels, fitted to the image by test-time optimisation",
    summary_zh="Upsample Anything：用测试时优化把高斯核拟合到图像",
    settings={"preset": DEFAULT_PRESET, **dataclasses.asdict(UpsampleAnything.preset(DEFAULT_PRESET))},
    choices=literals(UpsampleAnything),
    variants={"preset": tuple(PRESETS)},
)
def _by_preset(preset: str = DEFAULT_PRESET, **changes: Any) -> UpsampleAnything:
    return UpsampleAnything.preset(preset, **changes)
