"""Fuse the results of successive frames, of any method, so that they do not flicker.

The fused result of the frame before is fetched along the optical flow and mixed with the current one:

    out = (S + m W) / (1 + m),    m = c · n

S is the result of the current frame, W the fetched one, n the number of frames that it stands for there (at most
`frames`), and c the confidence in 0..1 that it shows the same: the product of three terms

    exp(-(e / (tolerance + slope · |flow|))²)    e: forward and backward flow disagree by so many pixels
    exp(-(p / light)²)                           p: the two frames differ by so much along the flow
    exp(-(d / (disagreement · contrast))⁴)       d: the two results differ by so much in the mean over a cell

and 0 where the pixel lay outside. With m = n this is the mean of n + 1 frames, which a static film converges to. What
is fetched never leaves the range of what was there, channel by channel. The state is one frame. The fourth power lets
flicker pass and stops where the low-resolution signals have changed: there the result follows them at once.

Probabilities are mixed as such and still sum to 1, logits as the probabilities that they stand for, labels as their
0/1 maps, directions are normalised, everything else is mixed as it is. Channels are treated in the same way each, so
their order makes no difference; nor does the scale of features and measurements.

`tests/oracles/fusion.py` is the same, literally.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.sequences.cuts import histogram, histogram_distance
from omniup.sequences.flow import Flow, Warp, flow_between, grey_levels, transpose
from omniup.upsamplers.checks import Size
from omniup.upsamplers.signal_types import SignalType, softmax

MOST_LABELS = 256
"""Labels whose 0/1 maps are kept for a frame."""

SAMPLES = 2
"""Samples along each side of a cell that the results of two frames are compared at."""

GROUP = 64
"""Channels that are fetched together: what is near a row of pixels then stays in a processor's cache."""

_FAINT = 1e-3
"""A label that is nowhere more probable than this is forgotten."""


@dataclass(frozen=True)
class FusionSettings:
    """Numbers of temporal fusion.

    Attributes:
        frames: a result stands for at most so many; more flickers less and follows more slowly.
        tolerance: forward and backward flow may disagree by so many pixels,
        slope: and by this part of the motion besides.
        light: scale of differences between the frames along the flow, in units of 0..1.
        disagreement: scale of differences between the low-resolution signals, in units of their contrast.
        cut_histogram: beyond this part of the pixels with another level, there is a cut;
        cut_trust: and below this mean confidence of the flow.
    """

    frames: float = 10.0
    tolerance: float = 1.0
    slope: float = 0.1
    light: float = 0.12
    disagreement: float = 1.2
    cut_histogram: float = 0.5
    cut_trust: float = 0.2


@dataclass(frozen=True, eq=False)
class FusionState:
    """The state after a frame.

    Attributes:
        image: [1, G, H, W], the guidance at the size of the results.
        fused: the fused result, in the form that is mixed: C channels in groups of [H · W, up to 64], last, as they
            are fetched.
        limits: [2, C], the least and the largest value of each channel.
        count: [H, W] float32, the number of frames that it stands for.
        labels: [K], the labels whose 0/1 maps `fused` has; None for other types.
    """

    image: Tensor
    fused: list[Tensor]
    limits: Tensor
    count: Tensor
    labels: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Return the state by names, for a file."""
        found = {"image": self.image, "limits": self.limits, "count": self.count}
        found |= {f"fused{number}": maps for number, maps in enumerate(self.fused)}
        return found if self.labels is None else found | {"labels": self.labels}

    @classmethod
    def of_tensors(cls, tensors: dict[str, Tensor]) -> FusionState:
        """Make the state that `tensors` returned."""
        fused = [tensors[f"fused{number}"] for number in range(-(-tensors["limits"].shape[1] // GROUP))]
        return cls(tensors["image"], fused, tensors["limits"], tensors["count"], tensors.get("labels"))


class TemporalFusion:
    """Fuses results frame by frame; keeps the state between calls.

    Args:
        settings: the numbers.

    Attributes:
        state: of the last frame; None before the first.
        confidence: [H, W] of the last frame in 0..1; None where nothing was fused: at the first frame and at a cut.
    """

    def __init__(self, settings: FusionSettings | None = None) -> None:
        self.settings = settings or FusionSettings()
        self.state: FusionState | None = None
        self.confidence: Tensor | None = None
        self._spare: Tensor | None = None  # as large as a group of channels: fresh memory takes longer than its use

    @torch.no_grad()
    def fuse(self, image: Tensor, result: Tensor, signal_type: SignalType, grid: Size) -> Tensor:
        """Fuse the result of the next frame with those before.

        Args:
            image: [1, G, H', W'] in 0..1, the frame.
            result: [1, C, H, W] of a method; it may be overwritten.
            signal_type: what it is.
            grid: (h, w) of its low-resolution signal.

        Returns:
            [1, C, H, W], in the result's dtype.

        Raises:
            InputError: there are more labels than are kept; or the shape of the frame or of the result differs from
                that of the frame before.
        """
        image = _at_size(image, (result.shape[2], result.shape[3]))
        current, labels = _to_mixed(result, signal_type, self.state)
        absent = current[0, 0].isnan().cpu()  # [H, W], holes that are kept
        current = current.nan_to_num() if bool(absent.any()) else current
        current = current.contiguous()
        count, fused = torch.ones(result.shape[2:]), None
        self.confidence = None
        if self.state is not None:
            before = _with_labels(self.state, labels)
            _check_same(image, current, before)
            followed = self._follow(image, before.image)
            if followed is not None:
                flow, trust = followed
                known = _warped(before.count[None], flow)[0].masked_fill(absent, 0)
                self.confidence = trust * self._agreement(current, before, flow, trust * (known > 0), grid)
                weight = self.confidence * known  # [H, W], m in the formula
                part = (weight / (1 + weight)).to(current)
                sums_to_one = signal_type in ("probabilities", "logits", "labels")
                fused, self._spare = _mix(current, before, flow, part, sums_to_one, self._spare)
                count = (1 + weight).clamp_max(self.settings.frames)
                result = _from_mixed(current, result, part, signal_type, labels)
                result = result.masked_fill(absent.to(result.device), math.nan) if bool(absent.any()) else result
        self.state = _remember(image, current, fused, count.masked_fill(_beside(absent), 0), labels)
        return result

    def _follow(self, image: Tensor, before: Tensor) -> tuple[Flow, Tensor] | None:
        """Compute the flow between two frames [1, G, H, W] and its confidence [H, W]; None at a cut."""
        numbers = self.settings
        if histogram_distance(histogram(image), histogram(before)) > numbers.cut_histogram:
            return None
        flow = flow_between(grey_levels(image), grey_levels(before))
        tolerance = numbers.tolerance + numbers.slope * torch.from_numpy(flow.length)  # [H, W]
        change = (image[0].float().cpu() - _warped(before[0].float().cpu(), flow)).abs().mean(0)  # [H, W]
        change = F.avg_pool2d(change[None], 3, 1, 1, count_include_pad=False)[0]  # against noise
        trust = torch.exp(-((torch.from_numpy(flow.inconsistency) / tolerance) ** 2) - (change / numbers.light) ** 2)
        trust = trust * torch.from_numpy(flow.is_inside)
        return None if float(trust.mean()) < numbers.cut_trust else (flow, trust)

    def _agreement(self, current: Tensor, before: FusionState, flow: Flow, trust: Tensor, grid: Size) -> Tensor:
        """Compute the confidence that the low-resolution signals agree.

        The means over cells are taken of a few samples in each, and of those that can be compared.

        Args:
            current: [1, C, H, W], the result of this frame, in the form that is mixed.
            before: the state after the frame before.
            flow: between the frames.
            trust: [H, W], which pixels can be compared.
            grid: (h, w), of the cells.

        Returns:
            [H, W] in 0..1.
        """
        size = current.shape[2], current.shape[3]
        steps = [max(1, round(side / (SAMPLES * cells))) for side, cells in zip(size, grid, strict=True)]
        rows, columns = (slice(step // 2, None, step) for step in steps)
        here, weight = current[:, :, rows, columns], trust[rows, columns].to(current)  # [1, C, r, c], [r, c]
        cells = min(grid[0], here.shape[2]), min(grid[1], here.shape[3])
        warp = Warp(flow.places[rows, columns], size, current.device, linear=True)
        there = torch.cat([warp(maps) for maps in before.fused], 1).t().reshape(here.shape)  # [1, C, r, c]
        total = F.adaptive_avg_pool2d(weight[None], cells).clamp_min(torch.finfo(weight.dtype).tiny)  # [1, h, w]
        change = F.adaptive_avg_pool2d((here - there) * weight, cells) / total  # [1, C, h, w]
        means = F.adaptive_avg_pool2d(here, cells)
        contrast = (means - means.mean((2, 3), keepdim=True)).square().sum(1).mean()
        scale = (self.settings.disagreement**2 * contrast).clamp_min(torch.finfo(weight.dtype).tiny)
        agreement = torch.exp(-((change.square().sum(1, keepdim=True) / scale) ** 2))  # [1, 1, h, w]
        return F.interpolate(agreement, size, mode="bilinear")[0, 0].float().cpu()


def _mix(
    current: Tensor, before: FusionState, flow: Flow, part: Tensor, sums_to_one: bool, spare: Tensor | None
) -> tuple[list[Tensor], Tensor]:
    """Mix a part of what is fetched from before with the current result, some channels and pixels at a time.

    Args:
        current: [1, C, H, W]; overwritten with the mix.
        before: the state after the frame before; overwritten as well.
        flow: between the frames.
        part: [H, W] in 0..1.
        sums_to_one: what is fetched has to sum to 1 over the channels.
        spare: memory of the last call, which it may use.

    Returns:
        The mix, as the state has it; and memory for the next call.
    """
    fused, limits = before.fused, before.limits.split(GROUP, 1)
    size = part.shape[0], part.shape[1]
    warp = Warp(flow.places, size, current.device, keep=len(fused) > 1)
    total = None  # [H · W], of all groups
    if sums_to_one and len(fused) > 1:
        total = torch.zeros_like(part).flatten()
        for maps, (low, high) in zip(fused, limits, strict=True):
            for pixels, there in warp.strips(maps):
                total[pixels] += there.clamp_(low, high).sum(1)
    now, part = current[0].flatten(1).split(GROUP), part.flatten()  # [up to 64, H · W], [H · W]
    mixed = []
    for maps, (low, high), place in zip(fused, limits, now, strict=True):
        target = torch.empty_like(maps) if spare is None or spare.shape != maps.shape else spare
        for pixels, there in warp.strips(maps):  # [n, up to 64]
            there.clamp_(low, high)  # which bicubic interpolation overshoots
            if sums_to_one:
                sums = there.sum(1) if total is None else total[pixels]
                there.div_(sums.clamp_min(torch.finfo(there.dtype).tiny)[:, None])
            then = transpose(there, there.new_empty(there.shape[::-1]))
            torch.lerp(place[:, pixels], then, part[pixels], out=place[:, pixels])
            transpose(place[:, pixels], target[pixels])
        mixed.append(target)
        spare = maps
    return mixed, maps


def _warped(channels: Tensor, flow: Flow) -> Tensor:
    """Fetch a few channels [G, H, W] of the frame before bilinearly: [G, H, W]."""
    held = channels.flatten(1).t().contiguous()  # [H · W, G]
    warp = Warp(flow.places, (channels.shape[1], channels.shape[2]), channels.device, linear=True)
    return warp(held).t().reshape(channels.shape)


def _to_mixed(result: Tensor, signal_type: SignalType, state: FusionState | None) -> tuple[Tensor, Tensor | None]:
    """Convert a result to the form that is mixed, [1, C, H, W], with the labels [K] that it is the 0/1 maps of."""
    if signal_type == "labels":
        labels = result.long().unique()
        if state is not None and state.labels is not None:
            labels = torch.cat([labels, state.labels.to(labels)]).unique()
        if len(labels) > MOST_LABELS:
            problem, accepted = "has {count} labels at a time", "at most {most}, or fusion turned off"
            raise InputError("signal", problem, accepted, count=len(labels), most=MOST_LABELS)
        return (result == labels[:, None, None]).float(), labels
    wide = result.to(torch.promote_types(result.dtype, torch.float32))
    if signal_type == "logits":
        return softmax(wide), None
    return wide.clone() if signal_type == "directions" else wide, None


def _from_mixed(mixed: Tensor, result: Tensor, part: Tensor, signal_type: SignalType, labels: Tensor | None) -> Tensor:
    """Convert what was mixed back to the form of a result, which it is where the part [H, W] of before is 0."""
    if labels is not None:
        return labels[mixed.argmax(1, keepdim=True)].to(result.dtype)
    if signal_type == "logits":
        logs = mixed.clamp_min(torch.finfo(mixed.dtype).tiny).log()
        logs = logs[:, 1:] - logs[:, :1] if result.shape[1] == 1 else logs
        return torch.where(part == 0, result, logs.to(result.dtype))
    if signal_type == "directions":
        return torch.where(part == 0, result, F.normalize(mixed, dim=1).to(result.dtype))
    return (mixed if result.is_floating_point() else mixed.round()).to(result.dtype)


def _with_labels(state: FusionState, labels: Tensor | None) -> FusionState:
    """Return a state with empty maps of the labels [K] that it had none of."""
    if labels is None or state.labels is None:
        return state
    present = torch.isin(labels, state.labels.to(labels))
    maps, limits = torch.cat(state.fused, 1), state.limits  # [H · W, K'], [2, K']
    all_maps, all_limits = (each.new_zeros(len(each), len(labels)) for each in (maps, limits))
    all_maps[:, present], all_limits[:, present] = maps, limits
    groups = [group.contiguous() for group in all_maps.split(GROUP, 1)]
    return dataclasses.replace(state, fused=groups, limits=all_limits)


def _remember(
    image: Tensor, current: Tensor, fused: list[Tensor] | None, count: Tensor, labels: Tensor | None
) -> FusionState:
    """Make the state of a frame; labels that are hardly anywhere are forgotten.

    Args:
        image: [1, G, H, W].
        current: [1, C, H, W], the result in the form that is mixed.
        fused: the same as the state has it; None to make it.
        count: [H, W].
        labels: [C]; None for other types.
    """
    maps = current[0].flatten(1)  # [C, H · W]
    limits = torch.stack([torch.stack(channel.aminmax()) for channel in maps], 1)  # [2, C]
    if labels is not None:
        present = limits[1] > _FAINT
        maps, limits, labels, fused = maps[present], limits[:, present], labels[present], None
    if fused is None:
        fused = [transpose(group, group.new_empty(group.shape[::-1])) for group in maps.split(GROUP)]
    return FusionState(image, fused, limits, count, labels)


def _at_size(image: Tensor, size: Size) -> Tensor:
    return image if (image.shape[2], image.shape[3]) == size else F.interpolate(image, size, mode="area")


def _beside(absent: Tensor) -> Tensor:
    """Mark pixels [H, W] whose bicubic neighbours are marked."""
    return F.max_pool2d(absent[None].float(), 5, 1, 2)[0] > 0


def _check_same(image: Tensor, current: Tensor, before: FusionState) -> None:
    shapes = before.image.shape, (1, before.limits.shape[1], *before.image.shape[2:])
    for name, now, then in zip(("frame", "signal"), (image.shape, current.shape), shapes, strict=True):
        if now != then:
            problem, accepted = "becomes {shape}", "the shape of the frame before, {before}"
            raise InputError(name, problem, accepted, shape=list(now[1:]), before=list(then[1:]))
