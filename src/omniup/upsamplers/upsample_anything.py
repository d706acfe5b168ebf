"""Upsample Anything (arXiv 2511.16301): fit Gaussian kernels to one image, then render any signal with them.

Test-time optimisation (TTO) asks that the kernels, mixing the downsampled image, give the image back. There is no
training: what is learnt is learnt from this image alone and forgotten with it.

Three presets: `spec`, the settings of the demo's specification; `paper`, those of the authors' published code; and
`best`, which measured best on other signals than images. It fits nothing: the kernels' widths follow from the cells.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.mixing import DEFAULT_MEMORY, cell_means
from omniup.mixing.dtypes import widest
from omniup.mixing.objective import L1Objective
from omniup.upsamplers.base import (
    ImageLike,
    Size,
    as_guidance,
    check_inputs,
    check_number,
    check_size,
    enough_memory,
    parse_memory,
    register,
    resize,
)
from omniup.upsamplers.colour_spaces import ColourSpace, to_colour_space
from omniup.upsamplers.gaussian_kernels import (
    SIGMA_R_RANGE,
    SIGMA_RANGE,
    GaussianEmbedding,
    GaussianKernels,
    History,
    Window,
    precision,
)
from omniup.upsamplers.kinds import Kind, render_prediction
from omniup.upsamplers.measurements import render_measurement
from omniup.upsamplers.shares import are_shares, render_shares
from omniup.upsamplers.stages import Render, in_stages

logger = logging.getLogger(__name__)

#: How many widths of the range term a measurement chooses from, each twice the one before.
WIDTHS = 5

#: How wide kernels are at the first of the stages that shares are mixed in, in parts of the later ones' width: what a
#: large cell says is less often true of the cells beside it.
FIRST = 0.65

#: Added to a softplus, so that no width is ever zero.
EPS = 1e-6


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a fit has come, told before each step.

    Attributes:
        iteration: steps taken so far.
        iterations: steps to take.
        loss: mean absolute error of the reconstruction.
        seconds_left: estimated from the steps so far.
    """

    iteration: int
    iterations: int
    loss: float
    seconds_left: float


ProgressCallback = Callable[[Progress], None]


@dataclasses.dataclass(frozen=True)
class UpsampleAnything:
    """Fits Gaussian kernels to an image. The defaults are those of the preset `spec`.

    Attributes:
        window: `"square"` or `"disc"`; see `Window`.
        radius: of the window, in cells, 0 to 16.
        window_sigmas: of a disc: its radius is at most so many sigmas (counting cells and pixels alike, as the
            authors' code does); None for `radius` everywhere.
        positive: how widths are kept positive: `"softplus"` or `"exp"` of what is optimised.
        sigma: the widths in space to start from.
        sigma_unit: what `sigma` counts: `"pixel"`, or `"cell"`, that is strides, which may differ along y and x.
        sigma_r: the width of the range term to start from, in units of the colour space.
        sigma_r_spread: how much of a cell's variance of colour, the mean over the channels, is added to sigma_r².
        colour_space: where colours are compared: as they are `"given"`, or in `"oklab"` (see `colour_spaces.py`).
            Guidance that has not three channels is always taken as given.
        cell_colours: the colour of a cell in the range term: `"bilinear"`, without smoothing, or the `"mean"`.
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
        kind: what signals are, see `kinds.py`: `"values"`, which are mixed and no more; `"votes"` for labels; a
            network's `"prediction"`; or a `"measurement"`, which is back-projected. Where nothing is fitted, votes and
            predictions are mixed in stages, and measurements choose their own width of the range term, `sigma_r` or up
            to 16 times that. It concerns the call only: `fit` makes the kernels that values are mixed with.
    """

    window: Literal["square", "disc"] = "square"
    radius: int = 2
    window_sigmas: float | None = None
    positive: Literal["softplus", "exp"] = "softplus"
    sigma: float = 16.0
    sigma_unit: Literal["pixel", "cell"] = "pixel"
    sigma_r: float = 0.12
    sigma_r_spread: float = 0.0
    colour_space: ColourSpace = "given"
    cell_colours: Literal["bilinear", "mean"] = "bilinear"
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
    kind: Kind = "values"

    def __post_init__(self) -> None:
        _ = self._window  # checks its part
        for name, accepted in (
            ("positive", ("softplus", "exp")),
            ("downsample", ("bilinear", "bicubic")),
            ("theta_penalty", ("absolute", "variation")),
            ("sigma_unit", ("pixel", "cell")),
            ("colour_space", ("given", "oklab")),
            ("cell_colours", ("bilinear", "mean")),
            ("kind", ("values", "votes", "prediction", "measurement")),
        ):
            if getattr(self, name) not in accepted:
                listed = f"{', '.join(accepted[:-1])} and {accepted[-1]}"
                raise InputError(f"{name} is {getattr(self, name)!r}: accepted are {listed}")
        check_number("sigma", self.sigma, *SIGMA_RANGE)
        check_number("sigma_r", self.sigma_r, *SIGMA_R_RANGE)
        check_number("lr", self.lr, 0, 10)
        check_number("lr_decay", self.lr_decay, 0, 1)
        check_number("iterations", self.iterations, 0, 100_000, whole=True)
        for name in ("sigma_weight", "theta_weight", "sigma_r_weight", "sigma_r_spread"):
            check_number(name, getattr(self, name), 0, 1e6)
        if self.tolerance is not None:
            check_number("tolerance", self.tolerance, 0, 1)
        for name, (least, most) in (("sigma_limits", SIGMA_RANGE), ("sigma_r_limits", SIGMA_R_RANGE)):
            limits = getattr(self, name)
            numbers = isinstance(limits, (tuple, list)) and all(isinstance(limit, (int, float)) for limit in limits)
            if limits is not None and not (numbers and len(limits) == 2 and least <= limits[0] <= limits[1] <= most):
                message = f"accepted are two numbers from {least:g} to {most:g}, the lower first"
                raise InputError(f"{name} is {limits!r}: {message}")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> UpsampleAnything:
        """One of the `PRESETS`, with changes.

        Raises:
            InputError: no such preset or setting, or a value out of range.

        Example:
            >>> UpsampleAnything.preset("paper", iterations=20).radius
            8
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise InputError(f"preset is {name!r}: accepted are {', '.join(PRESETS)}")
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := sorted(changes.keys() - set(known)):
            raise InputError(f"settings: there is no {', '.join(unknown)}; accepted are {', '.join(known)}")
        return cls(**{**PRESETS[name], **changes})

    def __call__(
        self, image: ImageLike, signal: Tensor, size: Size | None = None, *, memory: int = DEFAULT_MEMORY
    ) -> Tensor:
        """Fit the image and upsample the signal; see `Upsampler`.

        Where `kind` is `"measurement"`, the result may leave the interval of the signal's values.
        """
        guidance, size = check_inputs(image, signal, size)
        pixels = math.sqrt(guidance[0, 0].numel() / signal[0, 0].numel())  # the sides of a cell, in the image as given
        guidance = resize(guidance, size)
        grid = signal.shape[2], signal.shape[3]
        if self.kind == "values":
            return self.fit(guidance, grid, memory=memory).render(signal, memory=memory)
        with enough_memory():
            if self.kind == "measurement":
                widths = [self.sigma_r * 2**doubling for doubling in range(1 if self.iterations else WIDTHS)]
                methods = [dataclasses.replace(self, sigma_r=min(width, SIGMA_R_RANGE[1])) for width in widths]
                renderers = [method._renderer(memory) for method in methods]
                return render_measurement(renderers, guidance, signal, memory=memory)
            renderer = self._renderer(memory)
            if self.kind == "prediction" and not self.iterations and are_shares(signal):
                narrow = dataclasses.replace(self, sigma=max(FIRST * self.sigma, SIGMA_RANGE[0]))
                return render_shares(narrow._renderer(memory), renderer, guidance, signal, pixels)
            render = renderer(guidance, grid) if self.iterations else in_stages(renderer, guidance, grid)
            return render(signal) if self.kind == "votes" else render_prediction(render, signal, memory=memory)

    def _renderer(self, memory: int) -> Callable[[Tensor, Size], Render]:
        part = max(memory // 4, min(memory, 2**16))  # all of very little: then a complaint names the caller's number

        def renderer(guidance: Tensor, grid: Size) -> Render:
            return partial(self.fit(guidance, grid, memory=memory).render, memory=part)

        return renderer

    def fit(
        self,
        image: ImageLike,
        grid: Size,
        *,
        progress: ProgressCallback | None = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> GaussianKernels:
        """Fit one kernel for each cell of a grid, for every image of a batch on its own.

        Args:
            image: the guidance, with any number of channels: PIL; array [H, W] or [H, W, G]; tensor [B, G, H, W].
            grid: (h, w): of the signals to be rendered, in cells. Any ratio to the image's size.
            progress: called before each step; what it raises ends the fit.
            memory: of working space, in bytes or as a text such as `"512MB"`.

        Returns:
            The kernels, on the image's device, with the losses and times of the fit in `history`.

        Raises:
            InputError: the image or the grid cannot be accepted.
        """
        began = time.perf_counter()
        guidance = as_guidance(image).detach()
        size = guidance.shape[2], guidance.shape[3]
        check_size(grid, (1, 1), name="grid")
        check_size(size, grid)
        with torch.inference_mode(False), torch.enable_grad(), enough_memory():
            guidance = (
                guidance.clone() if guidance.is_inference() else guidance
            )  # such tensors take no part in autograd
            return self._fit(guidance, (grid[0], grid[1]), progress, parse_memory(memory), began)

    def cell_image(self, guidance: Tensor, grid: Size) -> Tensor:
        """The downsampled image that a fit mixes, and the reconstruction renders: [B, G, H, W] to [B, G, h, w]."""
        return F.interpolate(guidance, grid, mode=self.downsample)

    @property
    def cells(self) -> int:
        """How many cells a pixel may draw from, away from the border."""
        return self._window.cells

    @property
    def _window(self) -> Window:
        return Window(self.window, self.radius, self.window_sigmas)

    def _fit(
        self, guidance: Tensor, grid: Size, progress: ProgressCallback | None, memory: int, began: float
    ) -> GaussianKernels:
        space: ColourSpace = self.colour_space if guidance.shape[1] == 3 else "given"
        colours = to_colour_space(guidance, space)  # [B, G, H, W]
        cells = self._cell_colours(colours, grid)  # [B, G, h, w]
        raw = self._start(colours, grid)
        start = self._maps(raw.detach())
        if self.iterations:
            objective = L1Objective(
                colours,
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
            losses = objective(precision(*maps), self._window.reach(maps[0], maps[1]))  # [B]
            adam.step((losses + self._regulariser(maps, start)).sum())
            history.losses.append(float(losses.detach().mean()))
            self._check_converges(history.losses[-1])
            if iteration % 10 == 0 or iteration == self.iterations - 1:
                logger.info("iteration %d: loss %.6f", iteration, history.losses[-1])
            if progress is not None:
                taken = time.perf_counter() - began
                left = taken / (iteration + 1) * (self.iterations - iteration - 1)
                progress(Progress(iteration + 1, self.iterations, history.losses[-1], left))
            if self._settled(history.losses):
                break
        history.seconds["fit"] = time.perf_counter() - began
        logger.info("prepared in %.3f s, fitted in %.3f s", history.seconds["prepare"], history.seconds["fit"])
        maps = self._maps(raw.detach())
        self._check_converges(*(parameter.sum().item() for parameter in maps))
        return GaussianKernels(*maps, guidance, cells, self._window, history, space)

    def _cell_colours(self, colours: Tensor, grid: Size) -> Tensor:
        if self.cell_colours == "mean":
            return cell_means(colours, grid)
        return F.interpolate(colours, grid, mode="bilinear")

    def _start(self, colours: Tensor, grid: Size) -> Tensor:
        """[4, B, 1, h, w], what is optimised, where the kernels have their first widths and no angle."""
        strides = [side / cells for side, cells in zip(colours.shape[2:], grid, strict=True)]
        sigma_y, sigma_x = [self.sigma * stride if self.sigma_unit == "cell" else self.sigma for stride in strides]
        device = colours.device
        values = torch.tensor([sigma_x, sigma_y, 1.0, self.sigma_r], dtype=widest(device), device=device)
        values = values.view(4, 1, 1, 1, 1).repeat(1, len(colours), 1, *grid)
        if self.sigma_r_spread:
            exactly = colours.to(values.dtype)  # variances cancel
            variance = cell_means(exactly.square(), grid) - cell_means(exactly, grid).square()  # [B, G, h, w]
            spread = variance.mean(1, keepdim=True).clamp_(min=0)  # [B, 1, h, w]
            values[3] = (values[3].square() + self.sigma_r_spread * spread).sqrt()
        inverse = values - EPS + torch.log(-torch.expm1(EPS - values))  # of softplus(raw) + EPS
        raw = values.log() if self.positive == "exp" else inverse
        raw[2] = 0
        return raw.to(colours).requires_grad_()

    def _maps(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The kernels' parameters, [B, 1, h, w] each (spec, section 4.2.1)."""
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
        """What is added to each image's loss, [B] (spec, section 5.1), for how far the maps are from the start."""
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
            raise InputError(f"lr is {self.lr!r}: the fit diverged; accepted is a smaller one")

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
        """Go one step downhill."""
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
        "best": {
            "window": "disc",
            "radius": 2,
            "positive": "exp",
            "sigma": 0.7,
            "sigma_unit": "cell",
            "sigma_r": 0.025,
            "sigma_r_spread": 0.3,
            "colour_space": "oklab",
            "cell_colours": "mean",
            "sigma_limits": None,
            "sigma_r_limits": None,
            "iterations": 0,
            "kind": "prediction",
        },
    }
)


#: For signals: what measured best on them (docs/best.md).
DEFAULT_PRESET = "best"

#: For an image that is to be given back by its kernels: the fit is what is asked for.
FITTED_PRESET = "paper"


@register(
    "upsample_anything",
    "Gaussian kernels, as wide as the cells or fitted to the image by test-time optimisation, mix any signal",
    {"preset": DEFAULT_PRESET, **dataclasses.asdict(UpsampleAnything.preset(DEFAULT_PRESET))},
)
def _by_preset(preset: str = DEFAULT_PRESET, **changes: Any) -> UpsampleAnything:
    return UpsampleAnything.preset(preset, **changes)
