"""Estimate how far a result can be trusted, from the result and its signal.

What a confidence c of 0..1 means depends on the signal's type:

| type | meaning of c |
|---|---|
| `probabilities`, `logits` | the chance that the most probable class is right |
| `labels` | the chance that the label is right, where the signal's labels are |
| `measurement`, `values` | the chance of an error of at most `CLOSE` times the local range of the signal |
| `features`, `directions` | the expected cosine similarity to the true feature |

It is the logistic function of a sum over a few cues and their squares (Platt 1999, with squares). The cues are computed
from the result and the 3 × 3 cells around a pixel, so they know nothing of the method or the image. Their weights were
fitted by benchmarks/confidence.py, which also measures what they are worth (docs/confidence.md). Measurements of a mask
have a calibration of their own: the truth is known to have two values.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing import cell_means
from omniup.upsamplers.checks import Size
from omniup.upsamplers.signal_types import SignalType, softmax, unit_of

#: Maximum error of a measurement that turned out well, as a fraction of the local range.
CLOSE = 0.05

#: Least local range, as a fraction of the signal's whole range: where a signal is flat, rounding would decide.
LEAST_RANGE = 0.05

#: Width of the Gaussian that weighs the cells around a pixel, in cells.
SIGMA = 0.7

_LEAST = 1e-3  # of probabilities and of one minus cosines, whose logarithms are cues
_ROUNDING = 3e-3  # of the largest value: a smaller range is that of rounding
_LEAST_PART = 1e-2  # of fractions of the local range, likewise
_PURE = 0.5  # least fraction of the cells of a mask that have one of its two values
_BESIDE = 0.75  # least fraction of the other cells that adjoin one of those


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Logistic function of cues: 1 / (1 + exp(-(bias + Σ slope × cue + square × cue² + product × cue × last cue))).

    Attributes:
        bias: the constant.
        slopes: one for each of K cues.
        squares: likewise.
        products: one for each cue but the last, so that the others may count more or less with it; or none.
    """

    bias: float
    slopes: tuple[float, ...]
    squares: tuple[float, ...]
    products: tuple[float, ...] = ()

    def __call__(self, cues: Tensor) -> Tensor:
        """Map cues [N, K, H, W] to a confidence [N, 1, H, W]."""
        total = torch.full_like(cues[:, :1], self.bias)
        products = (*self.products, 0.0) if self.products else (0.0,) * len(self.slopes)
        weights = zip(self.slopes, self.squares, products, strict=True)
        for cue, (slope, square, product) in zip(cues.split(1, dim=1), weights, strict=True):
            total += cue * (slope + square * cue + product * cues[:, -1:])
        return total.sigmoid()


#: The numbers that `benchmarks/confidence.py fit` prints.
PROBABILITIES = Calibration(bias=-0.07388, slopes=(0.6351, 0.4368), squares=(-0.01275, -0.01437), products=())
LABELS = Calibration(bias=0.8425, slopes=(1.422,), squares=(-0.1069,), products=())
MEASUREMENT = Calibration(
    bias=0.5937,
    slopes=(-0.4831, 1.053, -3.534, 0.171, -0.5978, 0.2533, -0.3766, 0.9556, 1.574),
    squares=(-0.02626, 0.067, -5.479, 0.02424, 0.006427, -0.03969, -0.1601, 0.124, -0.2869),
    products=(-0.1934, 0.3104, -1.779, 0.1608, -0.09339, 0.2541, 0.2479, 0.4001),
)
MASK = Calibration(bias=-6.54, slopes=(18.69, 0.5244), squares=(-8.1, -0.03875), products=())
FEATURES = Calibration(
    bias=-1.345, slopes=(-1.139, 0.5519, -1.189, -1.509), squares=(-0.1002, 0.3204, -0.1602, 0.2908), products=()
)


@torch.no_grad()
def estimate(result: Tensor, signal: Tensor, signal_type: SignalType, memory: int) -> Tensor:
    """Estimate the confidence of a result.

    Args:
        result: [1, C, H, W], as rendered.
        signal: [1, C, h, w], its holes filled.
        signal_type: its type.
        memory: bytes of working memory, beside some maps of one channel.

    Returns:
        [1, 1, H, W] in 0..1: of several measurements or maps of labels in the channels, that of the least certain one.
    """
    if signal_type == "labels":
        channels = zip(result.split(1, dim=1), signal.split(1, dim=1), strict=True)
        return _least(LABELS(label_cues(*pair)) for pair in channels)
    wide = torch.promote_types(signal.dtype, torch.float32) if signal.is_floating_point() else torch.float32
    result, signal = result.to(wide), signal.to(wide)
    if signal_type == "logits":
        result, signal = softmax(result), softmax(signal)
    if signal_type in ("probabilities", "logits"):
        return PROBABILITIES(probability_cues(result, signal))
    unit = unit_of(signal)
    result, signal = result / unit, signal / unit
    if signal_type in ("features", "directions"):
        return FEATURES(feature_cues(result, signal, memory))
    channels = zip(result.split(1, dim=1), signal.split(1, dim=1), strict=True)
    return _least(
        MASK(mask_cues(made, cells)) if is_mask(cells) else MEASUREMENT(measurement_cues(made, cells))
        for made, cells in channels
    )


def is_mask(signal: Tensor) -> bool:
    """Tell whether a measurement [1, 1, h, w] is a mask: area-averages of something that has two values.

    Then most cells have one of them, the least or the largest of the signal, and most of the others, which lie on the
    boundary, adjoin such a cell. Each value is that of more than one cell, and without cells on the boundary nothing
    shows that they are averages.
    """
    low, high = signal.aminmax()
    rounding = _ROUNDING * (high - low)
    at_low, at_high = signal - low <= rounding, high - signal <= rounding  # [1, 1, h, w]
    pure = at_low | at_high
    if min(int(at_low.sum()), int(at_high.sum())) < 2 or bool(pure.all()):
        return False
    beside = F.max_pool2d(pure.float(), 3, stride=1, padding=1)[~pure]
    return float(pure.float().mean()) >= _PURE and float(beside.mean()) >= _BESIDE


def bilinear_weight(grid: Size, size: Size) -> Tensor:
    """Compute the weight of the nearest cell in bilinear interpolation: [1, 1, H, W], 1 at centres, ¼ at corners."""
    rows, columns = (
        1 - (_places(side, cells).clamp(0.5, cells - 0.5).frac() - 0.5).abs()
        for side, cells in zip(size, grid, strict=True)
    )
    return (rows[:, None] * columns)[None, None]


def probability_cues(result: Tensor, signal: Tensor) -> Tensor:
    """Compute the cues of class probabilities: [1, C, H, W] and [1, C, h, w] to [1, 2, H, W].

    They are the logarithm of the ratio of the largest to the second largest probability, and the log-odds of the
    class in the mean of the 3 × 3 cells around.
    """
    first, second = result.topk(2, dim=1).values.clamp_min(_LEAST).log().split(1, dim=1)
    winner = result.argmax(1, keepdim=True)  # [1, 1, H, W]
    flat = signal.flatten(2)[0]  # [C, h w]
    around = _around(winner, signal, lambda cell: flat[winner[0, 0], cell])
    return torch.cat([first - second, torch.logit(around, _LEAST)], dim=1)


def label_cues(result: Tensor, signal: Tensor) -> Tensor:
    """Compute the cue of labels: [1, 1, H, W] and [1, 1, h, w] to [1, 1, H, W].

    It is the log-odds of the fraction of the 3 × 3 cells around that have the label.
    """
    flat = signal.flatten()
    around = _around(result, signal, lambda cell: (flat[cell] == result[0, 0]).float())
    return torch.logit(around, _LEAST)


def measurement_cues(result: Tensor, signal: Tensor) -> Tensor:
    """Compute the cues of a measurement: [1, 1, H, W] and [1, 1, h, w] to [1, 9, H, W].

    They are the local range as a fraction of the whole; and, as fractions of the local range: the distance from the
    cell's value, the standard deviation of the 3 × 3 cells around, the largest difference of a cell there from the mean
    of its neighbours, the range of the result within a quarter of a cell, what the result's means over the cells lack
    of the signal, the distance from the nearest of the values of the 3 × 3 cells, that from the nearer of the least and
    the largest of them, and a cell's distance from the nearest of its neighbours' values, the mean over the image. But
    for the standard deviation they are logarithms.
    """
    size, around = result.shape[2:], _neighbours(signal)  # [9, 1, h, w]
    smallest = (_ROUNDING * signal.abs().amax()).clamp_min(torch.finfo(signal.dtype).tiny)
    whole = (signal.amax() - signal.amin()).maximum(smallest)
    least, largest = around.amin(0, keepdim=True), around.amax(0, keepdim=True)  # [1, 1, h, w]
    local = largest - least
    floor = local.clamp_min(LEAST_RANGE * whole)
    lacking = (cell_means(result, (signal.shape[2], signal.shape[3])) - signal).abs() / floor
    mean = around.mean(0, keepdim=True)
    deviation = around.std(0, correction=0, keepdim=True) / floor
    bend = _neighbours((signal - mean).abs() / floor).amax(0, keepdim=True)
    pixel_range, low, high = (F.interpolate(cells, size, mode="nearest-exact") for cells in (floor, least, largest))
    closest = torch.full_like(result, math.inf)
    for cell in around.split(1):
        closest = torch.minimum(closest, (result - F.interpolate(cell, size, mode="nearest-exact")).abs())
    rest = torch.cat([around[:4], around[5:]])  # the neighbours
    level = ((rest - signal).abs().amin(0, keepdim=True) / floor).mean()
    reach = [max(1, round(side / cells / 4)) for side, cells in zip(size, signal.shape[2:], strict=True)]
    steep = _largest(result, *reach) + _largest(-result, *reach)
    own = F.interpolate(signal, size, mode="nearest-exact")
    cues = [
        _log_part(F.interpolate(local / whole, size, mode="nearest-exact")),
        _log_part((result - own).abs() / pixel_range),
        F.interpolate(deviation, size, mode="bilinear"),
        _log_part(F.interpolate(bend, size, mode="bilinear")),
        _log_part(steep / pixel_range),
        _log_part(F.interpolate(lacking, size, mode="bilinear")),
        _log_part(closest / pixel_range),
        _log_part(torch.minimum((result - low).abs(), (result - high).abs()) / pixel_range),
        _log_part(level).expand_as(result),
    ]
    return torch.cat(cues, dim=1)


def mask_cues(result: Tensor, signal: Tensor) -> Tensor:
    """Compute the cues of a measurement that `is_mask`: [1, 1, H, W] and [1, 1, h, w] to [1, 2, H, W].

    They are whether the result is close to one of the two values, 1 or 0: only then it can be close to the truth, which
    is one of them; and the log-odds of the nearer one in the mean of the 3 × 3 cells around.
    """
    size, around = result.shape[2:], _neighbours(signal)  # [9, 1, h, w]
    low, high = signal.aminmax()
    local = (around.amax(0, keepdim=True) - around.amin(0, keepdim=True)).clamp_min(LEAST_RANGE * (high - low))
    distance = torch.minimum((result - low).abs(), (result - high).abs())
    close = distance <= CLOSE * F.interpolate(local, size, mode="nearest-exact")
    is_high = result > (low + high) / 2
    part = ((signal - low) / (high - low)).flatten()  # of each cell, that has the larger value
    mean = _around(result, signal, lambda cell: torch.where(is_high[0, 0], part[cell], 1 - part[cell]))
    return torch.cat([close.to(mean), torch.logit(mean, _LEAST)], dim=1)


def feature_cues(result: Tensor, signal: Tensor, memory: int) -> Tensor:
    """Compute the cues of features: [1, C, H, W] and [1, C, h, w] to [1, 4, H, W].

    They are logarithms of one minus a cosine similarity: of the result and bilinear interpolation; of a cell and its
    four neighbours; of a cell and what interpolation makes of cells twice as large, the mean over the image. And the
    distance from the cell's centre, as a fraction of the largest.
    """
    grid, size = (signal.shape[2], signal.shape[3]), (result.shape[2], result.shape[3])
    chunk = max(1, memory // (4 * result.itemsize * math.prod(size)))  # channels
    products = result.new_zeros(3, 1, 1, *size)
    for made, cells in zip(result.split(chunk, dim=1), signal.split(chunk, dim=1), strict=True):
        smooth = F.interpolate(cells, size, mode="bilinear")  # [1, c, H, W]
        pairs = ((made, smooth), (made, made), (smooth, smooth))
        products += torch.stack([(a * b).sum(1, keepdim=True) for a, b in pairs])
    cosine = products[0] * (products[1] * products[2]).clamp_min(1e-20).rsqrt()
    unit = F.normalize(signal, dim=1)
    sides = [_neighbours(unit)[n] for n in (1, 3, 5, 7)]  # [C, h, w] each
    similar = torch.stack([(unit[0] * side).sum(0) for side in sides]).mean(0)[None, None]  # [1, 1, h, w]
    coarse = F.avg_pool2d(signal, 2, ceil_mode=True, count_include_pad=False)
    level = F.cosine_similarity(signal, F.interpolate(coarse, grid, mode="bicubic"), dim=1).mean()
    rows, columns = (_places(side, cells).frac().to(result) - 0.5 for side, cells in zip(size, grid, strict=True))
    cues = [
        _log_lack(cosine),
        _log_lack(F.interpolate(similar, size, mode="bilinear")),
        _log_lack(level).expand(1, 1, *size),
        (2 * (rows[:, None].square() + columns.square())).sqrt()[None, None],
    ]
    return torch.cat(cues, dim=1)


def _around(result: Tensor, signal: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
    """Average over the 3 × 3 cells around each pixel, by a Gaussian of the distance.

    Args:
        result: [1, 1, H, W], of the pixels' size.
        signal: [1, C, h, w], of the cells'.
        value: function from a cell of each pixel, its index [H, W], to the value there, [H, W].

    Returns:
        [1, 1, H, W].
    """
    grid = signal.shape[2:]
    rows, columns = (_places(*sides).to(result.device) for sides in zip(result.shape[2:], grid, strict=True))
    y, x = (places.floor().long() for places in (rows, columns))  # the pixels' own cells
    total = weights = torch.zeros((), device=result.device)
    for dy, dx in itertools.product((-1, 0, 1), repeat=2):
        row, column = (y + dy).clamp(0, grid[0] - 1), (x + dx).clamp(0, grid[1] - 1)
        distance = (rows - row - 0.5).square()[:, None] + (columns - column - 0.5).square()  # [H, W], squared
        weight = (-0.5 * distance / SIGMA**2).exp().float()
        total = total + weight * value(row[:, None] * grid[1] + column)
        weights = weights + weight
    return (total / weights)[None, None]


def _neighbours(cells: Tensor) -> Tensor:
    """Return the 3 × 3 cells around each, the border's repeated: [1, C, h, w] to [9, C, h, w]."""
    padded, (h, w) = F.pad(cells, (1, 1, 1, 1), mode="replicate"), cells.shape[2:]
    return torch.cat([padded[..., y : y + h, x : x + w] for y, x in itertools.product(range(3), repeat=2)])


def _largest(maps: Tensor, rows: int, columns: int) -> Tensor:
    """Return the maximum within some rows and columns of each pixel: [1, 1, H, W] to [1, 1, H, W]."""
    down = F.max_pool2d(maps, (2 * rows + 1, 1), stride=1, padding=(rows, 0))
    return F.max_pool2d(down, (1, 2 * columns + 1), stride=1, padding=(0, columns))


def _places(side: int, cells: int) -> Tensor:
    """Return where the pixels of an axis lie, in cells from its start: float64 [side]."""
    return (torch.arange(side, dtype=torch.float64) + 0.5) * (cells / side)


def _log_part(fraction: Tensor) -> Tensor:
    return fraction.clamp(_LEAST_PART, 1).log()


def _log_lack(cosine: Tensor) -> Tensor:
    return (1 - cosine).clamp_min(_LEAST).log()


def _least(confidences: Iterator[Tensor]) -> Tensor:
    least = next(confidences)
    for each in confidences:
        least = torch.minimum(least, each)
    return least
