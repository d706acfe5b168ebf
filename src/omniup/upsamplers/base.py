"""Define what all methods share: an upsampler prepares an image for a grid, and what it prepared renders signals.

    prepared = omniup.upsampler("upsample_anything").prepare(image, grid=(h, w))
    full = prepared.render(features)

`omniup.upsample` is the two in one call. `PreparedImage` does for every method what does not depend on it: checks,
signal types, labels, integers. A method adds how floating-point values are mixed.
"""

from __future__ import annotations

import abc
import functools
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.mixing.dtypes import exact_products
from omniup.mixing.windows import Rectangle
from omniup.upsamplers import confidence as confidences
from omniup.upsamplers.checks import (
    DEFAULT_MEMORY,
    ImageLike,
    Size,
    as_guidance,
    as_signal,
    as_tensor,
    check_choice,
    check_finite,
    check_points,
    check_size,
    enough_memory,
    parse_memory,
)
from omniup.upsamplers.consistency import add_lacking, apply_by_rows, centred_logarithms, parse_consistency
from omniup.upsamplers.holes import HOLES, check_valid, fill_nearest, mix_valid, reach_of
from omniup.upsamplers.layouts import arrange
from omniup.upsamplers.local import Statistics
from omniup.upsamplers.progress import Progress, ProgressCallback, ProgressLike, shown
from omniup.upsamplers.signal_types import SignalType, one_hot, render_labels, render_type, signal_types, unit_of

#: The method of `omniup.upsample` by default.
DEFAULT_METHOD = "pyramid_bilateral"


class Prepared(Protocol):
    """An image that a method has prepared for signals of one grid."""

    @property
    def grid(self) -> Size:
        """Grid (h, w) of the signals, in cells."""

    @property
    def size(self) -> Size:
        """Size (H, W) of the results, in pixels."""

    def render(
        self,
        signal: Tensor | NDArray[Any],
        signal_type: str = "auto",
        *,
        layout: str = "auto",
        valid: Tensor | NDArray[Any] | None = None,
        holes: str = "fill",
        consistency: float | str | None = None,
        memory: int | str = DEFAULT_MEMORY,
        out: Tensor | None = None,
        progress: ProgressLike = None,
    ) -> Tensor:
        """Upsample a signal; see `PreparedImage.render`."""

    def confidence(
        self,
        signal: Tensor | NDArray[Any] | None = None,
        signal_type: str = "auto",
        *,
        valid: Tensor | NDArray[Any] | None = None,
        result: Tensor | None = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> Tensor:
        """Estimate how far a result can be trusted; see `PreparedImage.confidence`."""


class Upsampler(Protocol):
    """A method with its settings."""

    def prepare(
        self,
        image: ImageLike,
        grid: Size,
        size: Size | None = None,
        *,
        progress: ProgressLike = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> Prepared:
        """Prepare an image for signals of one grid: whatever does not depend on the signal.

        Args:
            image: the guidance: a PIL image; an array [H, W] or [H, W, G]; a tensor [B, G, H, W]. Floating point in
                0..1, or 8-bit integers.
            grid: (h, w) of the signals, in cells; any ratio to the size.
            size: (H', W') of the results, in pixels; the image's own by default.
            progress: called after each step of a method that takes several; what it raises ends the preparation. True
                shows a bar.
            memory: bytes of working memory beyond inputs and outputs, or a text such as `"512MB"`.

        Returns:
            What renders signals, on the image's device.

        Raises:
            InputError: an argument cannot be accepted.
        """

    def __call__(
        self, image: ImageLike, signal: Tensor, size: Size | None = None, *, memory: int | str = DEFAULT_MEMORY
    ) -> Tensor:
        """Upsample a signal of the type `"auto"`: `prepare` and `render` in one call."""
        signal = as_signal(signal)
        guidance = as_guidance(image, device=signal.device)
        prepared = self.prepare(guidance, (signal.shape[2], signal.shape[3]), size, memory=memory)
        return prepared.render(signal, memory=memory)

    def cost(self, size: Size, grid: Size) -> int:
        """Estimate the work of `prepare`: pairs of pixel and cell that it visits in all steps.

        Only fits visit them. Of other methods it is 0, as averages and networks do not compare pixels with cells.
        """
        return 0

    def render_cost(self, size: Size, grid: Size, signal_type: str) -> int:
        """Estimate the work of rendering one signal: pairs of pixel and cell that it visits, in all mixes.

        A pair takes about as long as one of a fit, and longer the more channels there are, so this bounds the time from
        below. It is 0 of methods that do not compare pixels with cells.
        """
        return 0


_Method = TypeVar("_Method", bound=Callable[..., Any])


def uncompiled(function: _Method) -> _Method:
    """Keep torch.compile out of a function, which writes to memory that it uses again for every tile."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        dynamo = sys.modules.get("torch._dynamo")  # slow to import, and not there unless somebody compiles
        return function(*args, **kwargs) if dynamo is None else dynamo.disable(function)(*args, **kwargs)

    return cast(_Method, call)


class PreparedImage(abc.ABC):
    """Base of what methods prepare: renders signals of every type, given how floating-point values are mixed.

    A method implements `batch`, `grid`, `size` and `_render`; `_render_at` where single pixels cost less than all,
    `_render_one_hot` where channels are not mixed independently, `_render_valid` where it can leave cells out of its
    mix, and `recommended_consistency` where steps of consistency are measured to help.
    """

    if TYPE_CHECKING:  # at run time these are fields of dataclasses, which a property here would shadow

        @property
        def batch(self) -> int:
            """Number of prepared images."""

        @property
        def grid(self) -> Size:
            """Grid (h, w) of the signals, in cells."""

        @property
        def size(self) -> Size:
            """Size (H, W) of the results, in pixels."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch={self.batch}, grid={self.grid}, size={self.size})"

    @property
    def _radius(self) -> int:
        """Radius of the window around a pixel, in cells."""
        return 1

    @property
    def _is_linear_mix(self) -> bool:
        """True where `_render` is a linear mix of weights that are not negative and depend on the image alone."""
        return False

    def recommended_consistency(self, signal: Tensor, signal_type: SignalType) -> float:
        """Return how many steps of consistency help a signal [1, C, h, w]: what `"auto"` takes, 0 for none."""
        return 0.0

    @abc.abstractmethod
    def _render(self, signal: Tensor, types: tuple[SignalType, ...], memory: int, out: Tensor | None = None) -> Tensor:
        """Upsample floating-point values.

        Args:
            signal: [N, C, h, w], checked; N is the batch, or any number for one image.
            types: of each signal: features, probabilities, measurement or values; labels for their 0/1 maps, which are
                mixed linearly. A method for which they make no difference ignores them.
            memory: bytes of working memory.
            out: [N, C, H, W], where the result may be written, if that saves memory.

        Returns:
            [N, C, H, W] in the signal's dtype; `out` if it was used.
        """

    def _render_valid(self, signal: Tensor, valid: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        """Upsample valid cells.

        Args:
            signal: as in `_render`; each invalid cell holds the value of the nearest valid one.
            valid: boolean [N, 1, h, w].
            types: as in `_render`.
            memory: likewise.

        Returns:
            [N, C, H, W] in the signal's dtype.
        """
        mix = partial(self._render, types=types, memory=memory)
        return mix_valid(mix, signal, valid) if self._is_linear_mix else mix(signal)

    def _render_cells(self, signal: Tensor, types: tuple[SignalType, ...], valid: Tensor | None, memory: int) -> Tensor:
        """Upsample floating-point values of all cells, or of the valid ones where a mask is given."""
        if valid is None:
            return self._render(signal, types, memory)
        return self._render_valid(signal, valid, types, memory)

    def _render_inside(
        self, signal: Tensor, types: tuple[SignalType, ...], valid: Tensor | None, inside: Rectangle, memory: int
    ) -> Tensor:
        """Upsample at a rectangle of pixels, whose results depend on those around it: [1, C, rows, columns]."""
        return self._render_cells(signal, types, valid, memory)[:, :, inside[0], inside[1]]

    def _render_logarithms(self, signal: Tensor, valid: Tensor | None, memory: int) -> Tensor:
        """Upsample probabilities [N, C, h, w], of which logarithms are wanted: up to a constant, [N, C, H, W].

        Where probabilities are mixed as any other values, their logarithms are mixed, in which a step of consistency is
        linear.
        """
        types = cast("tuple[SignalType, ...]", ("values",) * len(signal))
        return self._render_cells(centred_logarithms(signal), types, valid, memory)

    def _render_consistently(
        self,
        signal: Tensor,
        types: tuple[SignalType, ...],
        valid: Tensor | None,
        memory: int,
        steps: tuple[float, ...],
    ) -> Tensor:
        """Upsample floating-point values with each image's steps of consistency: [N, C, h, w] to [N, C, H, W]."""
        if len(set(types)) > 1:
            each = []
            for n in range(len(signal)):
                here, mask = slice(n, n + 1), None if valid is None else valid[n : n + 1]
                one = self.only(n if self.batch > 1 else 0)
                each.append(one._render_consistently(signal[here], types[here], mask, memory, steps[here]))
            return torch.cat(each)
        if steps[0] == 0:
            return self._render_cells(signal, types, valid, memory)
        if types[0] == "probabilities":
            wide = signal.to(torch.promote_types(signal.dtype, torch.float32))
            logs = self._render_logarithms(wide, valid, memory)
            logs = add_lacking(logs, centred_logarithms(wide), steps[0], memory, valid)
            return apply_by_rows(partial(torch.softmax, dim=1), logs, memory).to(signal.dtype)
        return add_lacking(self._render_cells(signal, types, valid, memory), signal, steps[0], memory, valid)

    def _valid_weight(self, signal: Tensor, valid: Tensor, memory: int) -> Tensor:
        """Compute the weight that valid cells have in a mix of the signal [N, C, h, w]: [N, 1, H, W]."""
        types = cast("tuple[SignalType, ...]", ("values",) * len(valid))
        wide = torch.promote_types(signal.dtype, torch.float32) if signal.is_floating_point() else torch.float32
        return self._render(valid.to(wide), types, memory).clamp(0, 1)

    def _concentration(self, valid: Tensor | None, memory: int) -> Tensor:
        """Compute how much of the weights one cell has [B, 1, H, W], with a mask [N, 1, h, w]: here of bilinear ones.

        It is the confidence without a signal.
        """
        weight = confidences.bilinear_weight(self.grid, self.size).float().expand(self.batch, 1, *self.size)
        if valid is None:
            return weight
        return weight.to(valid.device) * F.interpolate(valid.to(weight), self.size, mode="bilinear")

    def _render_at(self, signal: Tensor, points: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        """Upsample at points [N, P, 2]: [N, C, h, w] to [N, C, P]; here by way of the whole map, channel by channel."""
        width = self.size[1]
        places = (points[..., 0] * width + points[..., 1]).unsqueeze(1)  # [N, 1, P]
        full = self._render(signal, types, memory).flatten(2)  # [N, C, H W]
        return full.gather(2, places.expand(-1, full.shape[1], -1))

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
        """Upsample the 0/1 maps of some labels of one image.

        Args:
            image: its number in the batch.
            places: [1, 1, h, w], each cell's place among all labels.
            part: [k], the places of some labels.
            count: how many labels there are.
            points: [1, P, 2], or None for all pixels.
            valid: boolean [1, 1, h, w], of all pixels only; None where all cells are valid.
            memory: bytes of working memory.

        Returns:
            [1, k, H, W], or [1, k, P] at points.
        """
        one, maps = self.only(image), one_hot(places, part)
        if valid is not None:
            return one._render_valid(maps, valid, ("labels",), memory)
        if points is None:
            return one._render(maps, ("labels",), memory)
        return one._render_at(maps, points, ("labels",), memory)

    @abc.abstractmethod
    def only(self, image: int) -> PreparedImage:
        """Return one image of the batch."""

    @uncompiled
    def render(
        self,
        signal: Tensor | NDArray[Any],
        signal_type: str = "auto",
        *,
        layout: str = "auto",
        valid: Tensor | NDArray[Any] | None = None,
        holes: str = "fill",
        consistency: float | str | None = None,
        memory: int | str = DEFAULT_MEMORY,
        out: Tensor | None = None,
        progress: ProgressLike = None,
    ) -> Tensor:
        """Upsample a signal.

        Args:
            signal: [B, C, h, w], any floating-point type; integers and booleans where the type allows it.
                [N, C, h, w] with any N if one image was prepared. Other shapes as in `layouts.py`: channels last,
                tokens [B, N, C], a single map [h, w].
            signal_type: one of `signal_types.SIGNAL_TYPES`, or `"auto"`, which decides for each image by itself.
            layout: `"channels_first"` or `"channels_last"`; `"auto"` goes by the grid.
            valid: boolean [B, 1, h, w], or [1, 1, h, w] or [h, w] for the same in all images: True where a cell
                counts. What stands in the others, NaN too, changes nothing. All are valid by default.
            holes: pixels whose window holds no valid cell: `"fill"` gives them the nearest one's value, `"keep"` NaN,
                in floating-point signals.
            consistency: steps of consistency (`consistency.py`): how often what the result's means over the cells lack
                of the signal is added, 0.5 for half of it, `"full"` until nothing is lacking; `"auto"` for as many
                as `recommended_consistency` says; or None. Class probabilities stay such and labels labels; others may
                leave the interval of the signal's values.
            memory: bytes of working memory beyond inputs and outputs, or a text such as `"512MB"`.
            out: [B, C, H, W], where the result goes, of any floating-point type and on the signal's device. Only
                where no gradient is wanted.
            progress: called after each chunk of labels, which may be many; what it raises ends the work. True shows a
                bar.

        Returns:
            [B, C, H, W] in the signal's dtype, or `out`. Differentiable in the signal, but for labels.

        Raises:
            InputError: an argument cannot be accepted.
        """
        check_choice("holes", holes, HOLES)
        signal, mask = self._accept(signal, valid, layout)
        types, scratch = signal_types(signal, signal_type), parse_memory(memory)
        pairs = zip(signal.split(1), types, strict=True) if consistency == "auto" else ()
        recommended = [self.recommended_consistency(*pair) for pair in pairs] or [0.0] * len(types)
        steps = tuple(parse_consistency(consistency, each) for each in recommended)
        if holes == "keep" and not signal.is_floating_point():
            raise InputError("holes", "is 'keep', and the signal is of type {dtype}", "fill", dtype=signal.dtype)
        if out is not None:
            self._check_out(out, signal)
        with enough_memory(), exact_products(signal.device):
            if types[0] == "labels":
                with shown(progress, "labels") as show:
                    result = self._labels(signal, None, mask, scratch, show, steps[0])
            elif any(steps):
                consistently = partial(self._render_consistently, valid=mask, memory=scratch, steps=steps)
                result = render_type(signal, types, consistently)
            elif mask is None and out is not None and self._writes(signal, types):
                with torch.no_grad():
                    result = self._render(signal, types, scratch, out)
            else:
                result = render_type(signal, types, partial(self._render_cells, valid=mask, memory=scratch))
        if holes == "keep" and mask is not None:
            result = result.masked_fill(~self.reaches(mask), math.nan)
        if out is None or result is out:
            return result
        return out.copy_(result)

    @uncompiled
    def render_at(
        self,
        signal: Tensor | NDArray[Any],
        points: Tensor,
        signal_type: str = "auto",
        *,
        memory: int | str = DEFAULT_MEMORY,
    ) -> Tensor:
        """Upsample a signal at some pixels only.

        Args:
            signal: as in `render`.
            points: [B, N, 2] or, for the same in each image, [N, 2]; whole numbers, (y, x) of pixels of the result.
            signal_type: as in `render`.
            memory: as in `render`.

        Returns:
            [B, N, C] in the signal's dtype, equal to what `render` gives there.

        Raises:
            InputError: as `render`; or points of another shape, or outside the result.
        """
        signal, _ = self._accept(signal)
        types, scratch = signal_types(signal, signal_type), parse_memory(memory)
        points = check_points(points, self.batch, self.size).to(signal.device)
        points = points.expand(len(signal), -1, -1)
        with enough_memory(), exact_products(signal.device):
            if types[0] == "labels":
                return self._labels(signal, points, None, scratch, None).mT

            def render(values: Tensor, types: tuple[SignalType, ...]) -> Tensor:
                return self._render_at(values, points, types, scratch)

            return render_type(signal, types, render).mT

    @uncompiled
    @torch.no_grad()
    def confidence(
        self,
        signal: Tensor | NDArray[Any] | None = None,
        signal_type: str = "auto",
        *,
        valid: Tensor | NDArray[Any] | None = None,
        result: Tensor | None = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> Tensor:
        """Estimate how far the result of `render` can be trusted.

        With a signal the confidence is calibrated, and its meaning follows from the signal's type: see
        `confidence.py`. Without one it is the concentration of the weights: of Gaussian kernels, one minus their
        normalised entropy; of other methods, the weight that the nearest cell has in bilinear interpolation.

        Args:
            signal: as in `render`; None for what does not depend on it.
            signal_type: as in `render`.
            valid: as in `render`; the confidence is multiplied by the weight of valid cells, so that it is 0 where
                nothing valid is near.
            result: what `render` gave for the signal, with any steps of consistency; without one it is rendered here,
                with none. Where it is NaN, as holes may be kept, the confidence is 0.
            memory: as in `render`. The result of each image is held beside it, and a few maps of one channel.

        Returns:
            [B, 1, H, W] in 0..1, floating point.

        Raises:
            InputError: an argument cannot be accepted.
        """
        scratch = parse_memory(memory)
        if signal is None:
            if result is not None:
                raise InputError("result", "is given without its signal", "both, or none")
            with enough_memory():
                return self._concentration(self._mask_alone(valid), scratch)
        signal, mask = self._accept(signal, valid)
        types, shape = signal_types(signal, signal_type), [*signal.shape[:2], *self.size]
        if result is not None and (list(result.shape) != shape or result.device != signal.device):
            problem, accepted = "is {given} on {there}", "the signal's, {shape} on {device}"
            where = {"there": result.device, "device": signal.device}
            raise InputError("result", problem, accepted, given=list(result.shape), shape=shape, **where)
        parts = []
        for n, value in enumerate(signal.split(1)):
            one = self.only(n if self.batch > 1 else 0)
            there = None if mask is None else mask[n : n + 1]
            made = one.render(value, types[n], valid=there, memory=memory) if result is None else result[n : n + 1]
            with enough_memory():
                parts.append(one._confidence_of(made, value, types[n], there, scratch))
        return torch.cat(parts)

    def _confidence_of(
        self, result: Tensor, signal: Tensor, signal_type: SignalType, valid: Tensor | None, memory: int
    ) -> Tensor:
        """Estimate the confidence of one image's result [1, C, H, W] of a signal [1, C, h, w]: [1, 1, H, W]."""
        if valid is None:
            return confidences.estimate(result, signal, signal_type, memory)
        absent = result.isnan().any(1, keepdim=True)  # [1, 1, H, W], holes that were kept
        if bool(absent.any()):
            result = torch.where(absent, F.interpolate(signal, self.size, mode="nearest-exact"), result)
        found = confidences.estimate(result, signal, signal_type, memory)
        weight = self._valid_weight(signal, valid, memory).to(found)
        return (found * weight).masked_fill_(absent, 0)

    def _mask_alone(self, valid: Tensor | NDArray[Any] | None) -> Tensor | None:
        """Check a mask without its signal: [N, 1, h, w], where N is the batch, or the mask's own for one image."""
        if valid is None:
            return None
        batch = max(self.batch, len(valid) if isinstance(valid, Tensor) and valid.ndim == 4 else 1)
        return check_valid(valid, torch.empty(batch, 1, *self.grid, device=getattr(valid, "device", None)))

    def reaches(self, valid: Tensor | NDArray[Any]) -> Tensor:
        """Tell which pixels have a valid cell in their window: where `holes="keep"` has a value.

        Args:
            valid: as in `render`.

        Returns:
            Boolean [B, 1, H, W].

        Raises:
            InputError: another type or shape.
        """
        mask = self._mask_alone(valid)
        assert mask is not None  # as there is a mask
        return reach_of(mask, self._radius, self.size)

    def _labels(
        self,
        signal: Tensor,
        points: Tensor | None,
        valid: Tensor | None,
        memory: int,
        progress: ProgressCallback | None,
        steps: float = 0.0,
    ) -> Tensor:
        """Upsample each channel of labels [N, C, h, w] by itself: [N, C, H, W], or [N, C, P] at points [N, P, 2]."""
        pixels = math.prod(self.size) if points is None else max(1, points.shape[1])
        chunk = max(1, memory // (8 * 4 * pixels))  # an eighth of the memory holds the 0/1 maps of a chunk, in float32
        maps: list[Tensor] = []
        began = time.perf_counter()
        for n, channels in enumerate(signal.detach()):
            image = n if self.batch > 1 else 0
            for labels in channels:

                def check(done: int, of: int) -> None:
                    if progress is not None:
                        finished, parts = len(maps) + done / of, signal.shape[0] * signal.shape[1]
                        left = (time.perf_counter() - began) / finished * (parts - finished)
                        progress(Progress(round(finished * of), parts * of, left))

                there = None if points is None else points[n : n + 1]
                mask = None if valid is None else valid[n : n + 1]
                render = partial(self._render_one_hot, image, points=there, valid=mask, memory=memory // 2)
                if steps > 0:
                    render = partial(_make_consistent, render, steps=steps, valid=mask, memory=memory // 2)
                maps.append(render_labels(labels[None, None], render, chunk, check))
        return torch.cat(maps).view(*signal.shape[:2], *maps[0].shape[2:])

    def _accept(
        self, signal: Tensor | NDArray[Any], valid: Tensor | NDArray[Any] | None = None, layout: str = "auto"
    ) -> tuple[Tensor, Tensor | None]:
        """Check a signal and its mask, and fill its holes; the mask is None where all cells are valid."""
        signal = as_signal(arrange(as_tensor(signal), self.size, grid=self.grid, layout=layout))
        if tuple(signal.shape[2:]) != self.grid:
            problem = "is {h} × {w}, and the image was prepared for {rows} × {columns}"
            (h, w), (rows, columns) = signal.shape[2:], self.grid
            raise InputError("signal", problem, "signals of that grid", h=h, w=w, rows=rows, columns=columns)
        if len(signal) != self.batch and self.batch != 1:
            problem = "is a batch of {signals}, and {images} images were prepared"
            raise InputError("signal", problem, "equal batches, or one image", signals=len(signal), images=self.batch)
        mask = None if valid is None else check_valid(valid, signal)
        if mask is not None and bool(mask.all()):
            mask = None
        return check_finite(signal if mask is None else fill_nearest(signal, mask)), mask

    @staticmethod
    def _writes(signal: Tensor, types: tuple[SignalType, ...]) -> bool:
        """Tell whether `_render` gives the result itself, with nothing to be done before or after it."""
        return signal.is_floating_point() and types[0] not in ("logits", "directions") and unit_of(signal) == 1

    @uncompiled
    @torch.no_grad()
    def render_part(
        self,
        signal: Tensor,
        signal_type: SignalType,
        valid: Tensor | None,
        *,
        statistics: Statistics | None,
        inside: Rectangle,
        holes: str,
        steps: float,
        unit: float,
        memory: int,
    ) -> Tensor:
        """Upsample a part of a checked signal, which is all that this image's pixels cover; see `parts.py`.

        Args:
            signal: [1, C, h, w]; holes are filled.
            signal_type: of the whole signal.
            valid: boolean [1, 1, h, w]; None for all.
            statistics: of the whole signal, cut to the part; None where the method has none.
            inside: rows and columns of pixels that are wanted.
            holes: as in `render`.
            steps: of consistency.
            unit: of the whole signal, see `unit_of`.
            memory: bytes of working memory.

        Returns:
            [1, C, rows, columns] in the signal's dtype.
        """
        one, types, (rows, columns) = self._given(statistics), (signal_type,), inside
        with enough_memory(), exact_products(signal.device):
            if signal_type == "labels":
                result = one._labels(signal, None, valid, memory, None, steps)[:, :, rows, columns]
            elif steps:
                consistently = partial(one._render_consistently, valid=valid, memory=memory, steps=(steps,))
                result = render_type(signal, types, consistently, unit)[:, :, rows, columns]
            else:
                render = partial(one._render_inside, valid=valid, inside=inside, memory=memory)
                result = render_type(signal, types, render, unit)
        if holes == "keep" and valid is not None:
            reached = reach_of(valid, self._radius, self.size)[:, :, rows, columns]
            result = result.masked_fill(~reached, math.nan)
        return result

    def _given(self, statistics: Statistics | None) -> PreparedImage:
        """Return the same with statistics of a whole signal, instead of those of the signals that it renders."""
        assert statistics is None  # a method with statistics overrides this
        return self

    def _check_out(self, out: Tensor, signal: Tensor) -> None:
        shape = [*signal.shape[:2], *self.size]
        wanted = torch.is_grad_enabled() and signal.requires_grad
        fits = list(out.shape) == shape and out.device == signal.device
        if wanted or not fits or not (out.is_floating_point() or out.dtype == signal.dtype):
            raise InputError(
                "out",
                "is {given} of {dtype} on {device}",
                "{shape}, floating point, on {wanted}, where no gradient is wanted",
                given=list(out.shape),
                dtype=out.dtype,
                device=out.device,
                shape=shape,
                wanted=signal.device,
            )


def check_image(
    image: ImageLike, grid: Size, size: Size | None, *, differentiable: bool = False
) -> tuple[Tensor, Size]:
    """Check the arguments of `prepare`.

    Args:
        image: as in `Upsampler.prepare`.
        grid: likewise.
        size: likewise.
        differentiable: whether the method's results are differentiable in the image; otherwise the guidance is a
            constant.

    Returns:
        The guidance [B, G, H, W] at the image's own size, and the size of the results.

    Raises:
        InputError: as `Upsampler.prepare`.
    """
    guidance = as_guidance(image) if differentiable else as_guidance(image).detach()
    check_size(grid, (1, 1), name="grid")
    return guidance, check_size((guidance.shape[2], guidance.shape[3]) if size is None else size, grid)


def _make_consistent(
    render: Callable[[Tensor, Tensor, int], Tensor],
    places: Tensor,
    part: Tensor,
    count: int,
    *,
    steps: float,
    valid: Tensor | None,
    memory: int,
) -> Tensor:
    """Upsample the 0/1 maps of some labels with steps of consistency: see `render_labels`."""
    return add_lacking(render(places, part, count), one_hot(places, part), steps, memory, valid)
