"""Render with anisotropic Gaussian kernels, one for each cell: the weights of GS-JBU (arXiv 2511.16301, section 3).

Cell q has the spatial widths sigma_x, sigma_y (pixels), the angle theta (radians) and the width sigma_r of its range
term (guidance units). For a pixel p with colour I_p, where d = centre(p) - centre(q):

    d'   = (cos θ dx + sin θ dy, -sin θ dx + cos θ dy)
    logit = -1/2 [ (dx' / σ_x)² + (dy' / σ_y)² ] - |I_p - I_q|² / (2 σ_r²)

The logit is quadratic in d and in I_p, so it is an inner product of a vector of the pixel and one of the cell, and
the mixing engine needs nothing else. Fixed kernels are joint bilateral upsampling (Kopf et al. 2007), and
`upsample_anything.py` fits them to an image.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omniup.errors import InputError
from omniup.files import read_tensors, write_tensors
from omniup.mixing import Attention, Groups, Windows
from omniup.mixing.groups import gather
from omniup.mixing.kept import KeptWeights
from omniup.mixing.stencils import Stencil
from omniup.mixing.windows import MAX_RADIUS, disc, runs_of, square, union_size
from omniup.upsamplers.base import PreparedImage
from omniup.upsamplers.checks import Size, check_choice, check_number
from omniup.upsamplers.kernel_picture import kernel_picture, png
from omniup.upsamplers.signal_types import SignalType

#: Widths that settings may ask for: outside, float32 has no number for some logit.
SIGMA_RANGE = 0.01, 1e4
SIGMA_R_RANGE = 1e-4, 1e4

FORMAT = "omniup.GaussianKernels"
VERSION = 2


@dataclasses.dataclass(frozen=True)
class Window:
    """The window of cells around a pixel that its kernels come from.

    Attributes:
        shape: `"square"`, centred on cell floor(u) (the spec), or `"disc"`, centred on the pixel's own cell (the
            authors' code).
        radius: 0 to 16, in cells.
        sigmas: of a disc: a pixel's radius is no more than so many sigmas, where the radius counts cells and sigma
            pixels (the authors' code has 2). None for the same radius everywhere.
    """

    shape: Literal["square", "disc"] = "square"
    radius: int = 2
    sigmas: float | None = None

    def __post_init__(self) -> None:
        check_choice("window", self.shape, ("square", "disc"))
        check_number("radius", self.radius, 0, MAX_RADIUS, whole=True)
        if self.sigmas is not None:
            check_number("window_sigmas", self.sigmas, 0.01, 1e4)
            if self.shape != "disc":
                raise InputError("window_sigmas", "is {value!r}, and the window is a square", "null", value=self.sigmas)

    @property
    def cells(self) -> int:
        """Number of cells in the window, away from the border."""
        return int(self._places.sum())

    def pairs(self, size: Size, grid: Size) -> int:
        """Estimate how many pairs of pixel and cell a mix visits: a cell that clamping repeats is one."""
        together = runs_of(size, grid, self._places)
        sides = (min(2 * self.radius + number, cells) for number, cells in zip(together, grid, strict=True))
        return math.prod(size) * min(union_size(self._places, together), math.prod(sides))

    def windows(self, size: Size, grid: Size) -> Windows:
        """Build the windows for an output (H, W) and a grid (h, w)."""
        return _windows(self.shape, size, grid, self.radius)

    @property
    def _places(self) -> NDArray[np.bool_]:
        """Places of the window that belong to it: [2 radius + 1, 2 radius + 1]."""
        return (disc if self.shape == "disc" else square)(self.radius)

    def reach(self, sigma_x: Tensor, sigma_y: Tensor) -> Tensor | None:
        """Compute the radius around each cell, [B, 1, h, w] in cells; None where all have the largest."""
        if self.sigmas is None:
            return None
        reach = (self.sigmas * torch.maximum(sigma_x, sigma_y).detach()).ceil().clamp(1, self.radius)
        return reach if bool((reach < self.radius).any()) else None


@functools.lru_cache(maxsize=8)
def _windows(shape: str, size: Size, grid: Size, radius: int) -> Windows:
    """Build the windows once for all images of a size, since it takes tens of milliseconds."""
    return (Windows.square if shape == "square" else Windows.disc)(size, grid, radius)


@dataclasses.dataclass
class History:
    """Losses and times of a fit.

    Attributes:
        losses: mean absolute error of the reconstruction before each step, averaged over the batch.
        seconds: how long each stage took.
        device: where it ran.
        dtype: what it computed in.
    """

    losses: list[float] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    device: str = ""
    dtype: str = ""

    def __post_init__(self) -> None:
        self.losses = [float(loss) for loss in self.losses]
        self.seconds = {str(stage): float(time) for stage, time in self.seconds.items()}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GaussianKernels(PreparedImage):
    """Kernels of an image's cells, which render any signal on that grid.

    Attributes:
        sigma_x: [B, 1, h, w], width along the kernel's first axis, in pixels, above 0.
        sigma_y: [B, 1, h, w], width along its second axis, likewise.
        theta: [B, 1, h, w], angle of the first axis, in radians.
        sigma_r: [B, 1, h, w], width of the range term, in guidance units, above 0.
        guidance: [B, G, H, W], the image, in the units of sigma_r; 0..1 where it is the image as given.
        cell_guidance: [B, G, h, w], the colour of each cell.
        window: which cells a pixel draws from.
        history: of the fit they come from; empty if there was none.
    """

    sigma_x: Tensor
    sigma_y: Tensor
    theta: Tensor
    sigma_r: Tensor
    guidance: Tensor
    cell_guidance: Tensor
    window: Window
    history: History = dataclasses.field(default_factory=History)

    @property
    def grid(self) -> Size:
        """Grid (h, w), in cells."""
        return self.sigma_x.shape[2], self.sigma_x.shape[3]

    @property
    def size(self) -> Size:
        """Size (H, W), in pixels."""
        return self.guidance.shape[2], self.guidance.shape[3]

    @property
    def batch(self) -> int:
        """Number of images that the kernels are of."""
        return len(self.guidance)

    def _repr_png_(self) -> bytes:
        """Draw the kernels of the first image for a notebook."""
        first = self.only(0)
        return png(kernel_picture(first.sigma_x, first.sigma_y, first.theta, first.guidance))

    def only(self, image: int) -> GaussianKernels:
        """Return the kernels of one image of the batch."""
        if self.batch == 1:
            return self
        maps = {name: getattr(self, name)[image : image + 1] for name in (*_MAPS, "guidance")}
        return dataclasses.replace(self, **maps)

    def mix(self, signal: Tensor, memory: int, out: Tensor | None = None) -> Tensor:
        """Mix a signal [B, C, h, w], unchecked: [B, C, H, W], a convex mix in each pixel, differentiable."""
        return self.attention(memory).mix(self.guidance, signal, out=out)

    def keep(self, signal: Tensor, memory: int, most: int) -> KeptWeights | None:
        """Keep the weights for mixes of signals like [B, C, h, w], if they take `most` bytes: see `Attention.keep`."""
        return self.attention(memory).keep(self.guidance, signal, most)

    def averaged(self, memory: int, kept: KeptWeights | None = None, valid: Tensor | None = None) -> Stencil:
        """Return what maps a signal [1, C, h, w] to the cell means of its mix: see `Attention.averaged`."""
        return self.attention(memory).averaged(self.guidance, kept, valid)

    def mix_at(self, signal: Tensor, points: Tensor, memory: int) -> Tensor:
        """Mix at points [B, P, 2] only: [B, C, h, w] to [B, C, P]."""
        images = torch.arange(len(points), device=points.device)[:, None]
        query = self.guidance[images, :, points[..., 0], points[..., 1]].mT  # [B, G, P]
        return self.attention(memory).mix_at(query, signal, points)

    def _render(self, signal: Tensor, types: tuple[SignalType, ...], memory: int, out: Tensor | None = None) -> Tensor:
        flat = self._flat(signal)
        if out is None or not out.is_contiguous():
            return self.mix(flat, memory).view(*signal.shape[:2], *self.size)
        self.mix(flat, memory, out.view(*flat.shape[:2], *self.size))
        return out

    def _render_at(self, signal: Tensor, points: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        if len(signal) == self.batch:
            return self.mix_at(signal, points, memory)
        same = points[:1]  # one image: its points are those of every signal, and signals are channels
        return self.mix_at(self._flat(signal), same, memory).view(*signal.shape[:2], points.shape[1])

    def _flat(self, signal: Tensor) -> Tensor:
        """Make channels of several signals of one image: [N, C, h, w] to [B, N C / B, h, w]."""
        return signal.reshape(self.batch, -1, *self.grid)

    def _concentration(self, valid: Tensor | None, memory: int) -> Tensor:
        """Compute one minus the entropy of the weights over that of equal weights: 1 where one cell has all."""
        nats = self.attention(memory).entropy(self.guidance)
        most = math.log(self._windows.shape.sum())
        confidence = (1 - nats / most).clamp_(0, 1) if most > 0 else torch.ones_like(nats)
        return confidence if valid is None else confidence * self._render(valid.to(nats), (), memory)

    def to(self, device: torch.device | str) -> GaussianKernels:
        """Copy the kernels to another device."""
        tensors = {name: getattr(self, name).to(device) for name in (*_MAPS, "guidance")}
        return dataclasses.replace(self, **tensors)

    def save(self, path: str | Path) -> None:
        """Write the kernels, with the guidance that they need, to a .safetensors file, whole or not at all.

        Guidance that came from 8-bit pixels is stored as such, in a quarter of the space.

        Raises:
            InputError: the file cannot be written.
        """
        metadata = {
            "format": FORMAT,
            "version": str(VERSION),
            "grid": json.dumps(self.grid),
            "size": json.dumps(self.size),
            "window": json.dumps(dataclasses.asdict(self.window)),
            "history": json.dumps(dataclasses.asdict(self.history)),
        }
        pixels = (self.guidance * 255).round().to(torch.uint8)
        has_8_bits = torch.equal(pixels.to(self.guidance.dtype) / 255, self.guidance)
        tensors = {name: getattr(self, name) for name in _MAPS} | {"guidance": pixels if has_8_bits else self.guidance}
        write_tensors(path, {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)

    @classmethod
    def load(cls, path: str | Path) -> GaussianKernels:
        """Read kernels that `save` wrote.

        Raises:
            InputError: the file is missing or damaged, holds something else, or is of a later version.
        """
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != FORMAT:
            accepted = "files that `omniup fit` or `save` wrote"
            raise InputError(str(path), "holds no Gaussian kernels", accepted)
        if metadata.get("version") not in [str(known) for known in range(1, VERSION + 1)]:
            problem, version = "has version {version!r}", metadata.get("version")
            raise InputError(str(path), problem, "versions up to {known}", version=version, known=VERSION)
        if (space := metadata.get("colour_space", "given")) != "given":  # of a preset that is gone
            raise InputError(str(path), "has the colour space {space!r}", "given", space=space)
        try:
            kernels = cls._from_file(tensors, metadata)
        except (KeyError, TypeError, ValueError, RecursionError) as error:  # JSON may be nested without end
            raise InputError(str(path), "is damaged: {reason}", reason=f"{type(error).__name__}: {error}") from error
        return kernels

    @classmethod
    def _from_file(cls, tensors: dict[str, Tensor], metadata: dict[str, str]) -> GaussianKernels:
        guidance = tensors["guidance"]
        if guidance.dtype == torch.uint8:
            guidance = guidance.to(tensors["cell_guidance"].dtype) / 255
        maps = {name: tensors[name] for name in _MAPS}
        window, history = (json.loads(metadata[name]) for name in ("window", "history"))
        kernels = cls(**maps, guidance=guidance, window=Window(**window), history=History(**history))
        batch, channels = guidance.shape[:2]
        grid, size = tuple(json.loads(metadata["grid"])), tuple(json.loads(metadata["size"]))
        shapes: dict[str, tuple[Any, ...]] = dict.fromkeys(_PARAMETERS, (batch, 1, *grid))
        shapes |= {"guidance": (batch, channels, *size), "cell_guidance": (batch, channels, *grid)}
        for name, shape in shapes.items():
            tensor = getattr(kernels, name)
            if tuple(tensor.shape) != shape or not tensor.is_floating_point() or not torch.isfinite(tensor).all():
                raise ValueError(f"{name} is no finite map of shape {list(shape)}")
        if not (kernels.guidance.min() >= 0 and kernels.guidance.max() <= 1):
            raise ValueError("guidance is outside 0..1")
        for name in ("sigma_x", "sigma_y", "sigma_r"):
            if not (getattr(kernels, name) > 0).all():
                raise ValueError(f"{name} is not positive everywhere")
        return kernels

    @property
    def _is_linear_mix(self) -> bool:
        return True

    @property
    def _radius(self) -> int:
        return self.window.radius

    @property
    def _windows(self) -> Windows:
        return self.window.windows(self.size, self.grid)

    def attention(self, memory: int) -> Attention:
        """Attend to the cells in each pixel's window with the weights of GS-JBU."""
        return Attention(
            precision_matrix(self.sigma_x, self.sigma_y, self.theta, self.sigma_r),
            self._windows,
            embed=GaussianEmbedding(self.cell_guidance),
            reach=self.window.reach(self.sigma_x, self.sigma_y),
            memory=memory,
        )


_PARAMETERS = ("sigma_x", "sigma_y", "theta", "sigma_r")
_MAPS = (*_PARAMETERS, "cell_guidance")


def precision_matrix(sigma_x: Tensor, sigma_y: Tensor, theta: Tensor, sigma_r: Tensor) -> Tensor:
    """Compute precision matrices of maps [B, 1, h, w]: [B, 4, h, w], the entries xx, xy, yy and the range's."""
    cos, sin = theta.cos(), theta.sin()
    x, y = sigma_x**-2, sigma_y**-2
    return torch.cat([cos**2 * x + sin**2 * y, cos * sin * (x - y), sin**2 * x + cos**2 * y, sigma_r**-2], dim=1)


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianEmbedding:
    """Logits of Gaussian kernels as inner products, from colours of pixels and precision matrices of cells.

    Positions and colours are taken relative to the cell in the middle of the window: the terms cancel, and what is
    left of large ones would be noise.

    Attributes:
        cell_guidance: [B, G, h, w], the colour of each cell.
    """

    cell_guidance: Tensor

    @property
    def width(self) -> int:
        """Length D = 7 + G: six for position and constants, one for the brightness, the colour."""
        return 7 + self.cell_guidance.shape[1]

    def query(self, pixels: Tensor, group: Groups, images: slice) -> Tensor:
        """Map colours [B, G, n, P] of pixels to queries [B, D, n, P]: -x²/2, -xy, -y²/2, -|I|²/2, x, y, -1/2, I."""
        colour = pixels - self._colour(group.middle.unsqueeze(1), images)  # [B, G, n, P]
        square = -0.5 * colour.square().sum(1, keepdim=True)  # [B, 1, n, P]
        y, x = group.pixel_offset  # [n, P]
        quadratic, linear = (
            torch.stack(rows).expand(len(colour), -1, -1, -1)  # [B, 3, n, P]
            for rows in ([-0.5 * x * x, -x * y, -0.5 * y * y], [x, y, torch.full_like(x, -0.5)])
        )
        return torch.cat([quadratic, square, linear, colour], dim=1)

    def constants(self, group: Groups, images: slice) -> Tensor:
        """Return colours of candidates relative to the middle cell's, and their squares: [B, G + 1, n, K]."""
        colour = self._colour(group.cells, images) - self._colour(group.middle.unsqueeze(1), images)  # [B, G, n, K]
        return torch.cat([colour, colour.square().sum(1, keepdim=True)], dim=1)

    def key(self, cells: Tensor, group: Groups, constants: Tensor, out: Tensor) -> None:
        """Map precision matrices [B, 4, n, K] of cells to keys, `out` [B, D, n, K]: the coefficients of the query."""
        colour, square = constants[:, :-1], constants[:, -1]  # [B, G, n, K], [B, n, K]
        xx, xy, yy, r = cells.unbind(1)  # [B, n, K]
        y, x = group.cell_offset  # [n, K]
        out[:, :4] = cells
        along_x = torch.addcmul(xx * x, xy, y, out=out[:, 4])
        along_y = torch.addcmul(xy * x, yy, y, out=out[:, 5])
        torch.mul(x, along_x, out=out[:, 6]).addcmul_(y, along_y).addcmul_(r, square)
        torch.mul(r.unsqueeze(1), colour, out=out[:, 7:])

    def key_gradient(self, dkeys: Tensor, group: Groups, constants: Tensor) -> Tensor:
        """Apply the transpose of `key`: [B, D, n, K], which is overwritten, to [B, 4, n, K]."""
        y, x = group.cell_offset  # [n, K]
        dxx, dxy, dyy, dr, along_x, along_y, constant = dkeys[:, :7].unbind(1)  # [B, n, K]
        along_x.addcmul_(x, constant)
        along_y.addcmul_(y, constant)
        dxx.addcmul_(x, along_x)
        dxy.addcmul_(y, along_x).addcmul_(x, along_y)
        dyy.addcmul_(y, along_y)
        dr.addcmul_(constants[:, -1], constant)
        for colour, dcolour in zip(constants[:, :-1].unbind(1), dkeys[:, 7:].unbind(1), strict=True):
            dr.addcmul_(colour, dcolour)
        return dkeys[:, :4]

    def _colour(self, cells: Tensor, images: slice) -> Tensor:
        return gather(self.cell_guidance[images].flatten(2), cells)
