"""Restore a picture with the small network that comes with the package: blocks, ringing and noise go.

    picture    as it is, or reduced to the result's size, which takes most of its noise and blocks away
    enlarged   the picture at the result's size, bicubic
    levels     how noisy, compressed and blurred the picture is: estimated, or read from a JPEG file's tables; noise and
               compression times `strength`, blur times `deblur`
    result     enlarged + residual(enlarged, levels, scale)

It is trained to the squared error, so it takes away what is wrong and draws next to nothing; `Enhancer` draws.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.files import read_tensors
from omniup.files.licences import note_licence
from omniup.files.refusals import Subject, printable
from omniup.mixing import DEFAULT_MEMORY
from omniup.restoration.enhancer import PRECISIONS, Progress, choose_precision, too_little_memory
from omniup.restoration.residual_network import (
    BLURRIEST,
    CELL,
    ESTIMATOR_MARGIN,
    LARGEST_SCALE,
    MARGIN,
    NOISIEST,
    ResidualNetwork,
)
from omniup.restoration.sizes import check_image, resize, result_size
from omniup.upsamplers import parse_memory
from omniup.upsamplers.progress import counted

SMALL = "small"
"""The name of the network that comes with the package."""

_ESTIMATED_SIDE = 512
"""Side of the tiles that energies are computed in, in pixels: they take less than the smallest tile of the network."""

_LEAST_SEEN = 4 * CELL
"""Least side of a picture that says something about its damage, in pixels."""

_PLAIN = 2.5 / 255
"""Range of a row or column that shows nothing, such as those of black bars once they have been compressed."""

_SMALLEST = 256
"""Side of the smallest tile without its margin, in pixels."""

_MAPS = 6
"""Maps of the finest level that exist at a time: `benchmarks/restorer.py` measures it."""


@dataclass(frozen=True)
class Damage:
    """Noise, compression and blur of a picture, as far as the restorer knows.

    Attributes:
        noise: deviation of the noise, of 255.
        quality: of JPEG, up to 100 where nothing is seen of it.
        blur: width of the blur as of a Gaussian, in pixels of the picture as it is.
    """

    noise: float
    quality: float
    blur: float

    @classmethod
    def of_levels(cls, levels: Tensor) -> Damage:
        """Convert the levels [3] that the network takes."""
        noise, jpeg, blur = levels.tolist()
        return cls(noise * NOISIEST, 100 - 100 * min(jpeg, 0.99), blur * BLURRIEST)

    @property
    def levels(self) -> tuple[float, float, float]:
        """The levels that the network takes."""
        return self.noise / NOISIEST, (100 - self.quality) / 100, self.blur / BLURRIEST

    def __str__(self) -> str:
        """Describe it in a line."""
        return f"noise {self.noise:.0f}, JPEG quality {self.quality:.0f}, blur {self.blur:.1f} px"


UNDAMAGED = Damage(0, 100, 0)
"""The damage of a picture in which nothing is seen."""


_FAINT = Damage(noise=1, quality=97, blur=0.25)
"""The least damage that is restored as learned; of less, the less is changed, so that a clean picture stays."""


class Restorer:
    """A restorer with one set of weights.

    Args:
        network: taken over, moved and converted.
        name: what it was asked for by.
        device: where to compute.
        precision: `fp32`, `bf16`, `fp16` or `auto`.

    Raises:
        InputError: there is no such precision.

    Example:
        >>> import torch
        >>> from omniup.restoration import Restorer
        >>> restorer = Restorer.from_pretrained()
        >>> restorer(torch.rand(1, 3, 30, 40), scale=2).shape
        torch.Size([1, 3, 60, 80])
    """

    def __init__(
        self, network: ResidualNetwork, name: str, *, device: torch.device | str = "cpu", precision: str = "auto"
    ) -> None:
        self.name, self.device = name, torch.device(device)
        self.precision = choose_precision(precision, self.device)
        self.network = network.eval().requires_grad_(False)
        self.network.to(self.device, self._dtype).to(memory_format=torch.channels_last)

    @classmethod
    def from_pretrained(
        cls, model: str | Path = SMALL, *, device: torch.device | str = "cpu", precision: str = "auto"
    ) -> Restorer:
        """Load the network that comes with the package, or one that `omniup train restorer` has trained.

        Args:
            model: `small`, or a file of weights.
            device: where to compute.
            precision: as of the class.

        Raises:
            InputError: the file is missing, damaged, or of another network.
        """
        path = weights_path(model)
        if model == SMALL:
            note_licence("the small restorer")
        subject = Subject(printable(path), "weights that `omniup train restorer` wrote")
        state, metadata = read_tensors(path)
        with subject.attempt("read"):
            shape = json.loads(metadata["network"])
            network = ResidualNetwork(tuple(shape["widths"]), shape["blocks"])
            network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
        return cls(network, str(model), device=device, precision=precision)

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,
        *,
        scale: float = 1,
        longest_side: int | None = None,
        damage: Sequence[Damage] | None = None,
        strength: float = 1,
        deblur: float = 0,
        tile: int | None = None,
        memory: int | str | None = None,
        progress: Progress | bool | None = None,
    ) -> Tensor:
        """Restore a picture.

        Args:
            image: [B, 3, H, W], floating point in 0..1.
            scale: how much larger the result is.
            longest_side: of the result, in pixels; stands in for `scale`.
            damage: what is wrong with each picture, once it is reduced if the result is smaller; by default as
                `estimate` finds it.
            strength: factor of noise and compression: 0 gives the enlarged picture, 1 restores as estimated, more
                restores more. Below 1 what is changed is multiplied by it, too.
            deblur: factor of the blur: 0 leaves it as it is, since sharpening what only looked blurred makes pictures
                worse; 1 takes it away as estimated.
            tile: the longest side of a tile with its margin, in pixels. Tiles agree wherever they meet.
            memory: what the tiles may take, beyond network, picture and result: bytes, or a text such as `"4GB"`; by
                default 512 MB.
            progress: called with the finished tiles, and with all. True shows a bar.

        Returns:
            [B, 3, H', W'] float32 in 0..1, on the restorer's device.

        Raises:
            InputError: an argument cannot be accepted, or the memory does not suffice for the smallest tile.
        """
        check_image(image)
        if not 0 <= strength <= 10:
            raise InputError("strength", "is {value:g}", "0 to 10", value=strength)
        if not 0 <= deblur <= 10:
            raise InputError("deblur", "is {value:g}", "0 to 10", value=deblur)
        size = result_size(image, scale, longest_side)
        image = _not_larger(image.to(self.device, torch.float32), size)
        enlarged = resize(image, size).clamp(0, 1)  # [B, 3, H', W']
        found = self._estimated(image) if damage is None else _levels(damage, enlarged)
        enlargement = min(max(enlarged.shape[3] / image.shape[3], 1), LARGEST_SCALE)
        levels = found * found.new_tensor([strength, strength, deblur])  # [B, 3]
        weight = min(strength, 1) * (_seen(levels) if enlargement == 1 else 1)
        is_grey = (image == image[:, :1]).flatten(1).all(1).view(-1, 1, 1, 1)  # [B, 1, 1, 1]
        side = self._side(tile, memory, len(image))
        tiles = list(_tiles(enlarged, side, MARGIN))
        result = torch.empty_like(enlarged)
        with counted(progress, "restore") as show:
            for count, (top, left, rows, columns) in enumerate(tiles, 1):
                bottom, right = top + side, left + side
                above, before = rows.start, columns.start
                around = enlarged[:, :, rows, columns]  # [B, 3, h, w] with a margin
                residual = self.network(around.to(self._dtype), levels.to(self._dtype), enlargement).float()
                residual = residual[:, :, top - above : bottom - above, left - before : right - before]
                residual = torch.where(is_grey, residual.mean(1, keepdim=True), residual)
                inner = enlarged[:, :, top:bottom, left:right]
                result[:, :, top:bottom, left:right] = inner + weight * residual
                if show is not None:
                    show(count, len(tiles))
        return result.clamp_(0, 1)

    @torch.no_grad()
    def estimate(
        self, image: Tensor, *, quality: int | None = None, scale: float = 1, longest_side: int | None = None
    ) -> list[Damage]:
        """Estimate what is wrong with pictures; of those that are to be reduced, what will be then.

        Bars of one colour along the sides have no part in it, and of what is smaller than 32 pixels or shows nothing,
        there is no damage.

        Args:
            image: as of a call.
            quality: of the JPEG file that the picture was read from, where it is known; see `jpeg_quality`. Reduced
                pictures have lost its blocks, so there it is estimated.
            scale: as of the call.
            longest_side: likewise.

        Raises:
            InputError: an argument cannot be accepted.
        """
        check_image(image)
        size = result_size(image, scale, longest_side)
        picture = _not_larger(image.to(self.device, torch.float32), size)
        found = [Damage.of_levels(levels) for levels in self._estimated(picture)]
        is_whole = picture.shape == image.shape
        return [replace(damage, quality=quality) for damage in found] if quality is not None and is_whole else found

    def check(self, *, tile: int | None = None, memory: int | str | None = None) -> None:
        """Refuse settings with which no picture can be restored, before the first.

        Raises:
            InputError: the tile is too small, or the memory does not suffice for the smallest one.
        """
        self._side(tile, memory, 1)

    def _estimated(self, image: Tensor) -> Tensor:
        """Estimate the levels [B, 3] of pictures [B, 3, H, W], each within its bars, tile by tile."""
        return torch.cat([self._levels_of(_without_bars(picture)) for picture in image.split(1)])

    def _levels_of(self, picture: Tensor) -> Tensor:
        """Estimate the levels [1, 3] of a picture [1, 3, H, W]."""
        height, width = picture.shape[2:]
        if min(height, width) < _LEAST_SEEN:
            return torch.tensor([UNDAMAGED.levels], device=self.device, dtype=self._dtype)
        found, cells = [], _ESTIMATED_SIDE // CELL
        for top, left, rows, columns in _tiles(picture, _ESTIMATED_SIDE, ESTIMATOR_MARGIN):
            around = picture[:, :, rows, columns].to(self._dtype)  # [1, 3, h, w] with a margin
            energies = self.network.estimator.energies(around)  # [1, C, h/8, w/8]
            first, start = (top - rows.start) // CELL, (left - columns.start) // CELL
            found.append(energies[:, :, first : first + cells, start : start + cells].flatten(2))
        levels: Tensor = self.network.estimator.levels_of(torch.cat(found, dim=2))
        return levels

    @property
    def _dtype(self) -> torch.dtype:
        return PRECISIONS[self.precision]

    def _side(self, tile: int | None, memory: int | str | None, pictures: int) -> int:
        """Choose the side of tiles without their margins, whole cells."""
        available = parse_memory(DEFAULT_MEMORY if memory is None else memory)
        width = max(self.network.widths[0] / 4, 3)  # channels a pixel of the result
        needed = width * _MAPS * self._dtype.itemsize * pictures
        side = int((available / needed) ** 0.5)
        least = _SMALLEST + 2 * MARGIN
        if tile is not None:
            if tile < least:
                raise InputError("tile", "is {value}", "{least} pixels or more", value=tile, least=least)
            side = min(side, tile)
        if side < least:
            raise too_little_memory(available, least**2 * needed, least, self.precision)
        return (side - 2 * MARGIN) // CELL * CELL


def _tiles(images: Tensor, side: int, margin: int) -> Iterator[tuple[int, int, slice, slice]]:
    """Yield the top and left of tiles of images [B, 3, H, W], with their rows and columns and a margin around these."""
    for top, left in itertools.product(range(0, images.shape[2], side), range(0, images.shape[3], side)):
        rows, columns = (slice(max(0, first - margin), first + side + margin) for first in (top, left))
        yield top, left, rows, columns


def _seen(levels: Tensor) -> Tensor:
    """Compare levels [B, 3] with the faintest that are restored as learned: [B, 1, 1, 1] in 0..1."""
    return (levels / levels.new_tensor(_FAINT.levels)).amax(1).clamp(max=1).float().view(-1, 1, 1, 1)


def _not_larger(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Reduce pictures [B, 3, H, W] to a size that is smaller."""
    return resize(image, size).clamp(0, 1) if size[0] < image.shape[2] or size[1] < image.shape[3] else image


def _without_bars(picture: Tensor) -> Tensor:
    """Cut the rows and columns of one colour off the sides of a picture [1, 3, H, W]; nothing may be left."""
    for axis, across in ((2, 3), (3, 2)):
        if picture.numel() == 0:
            break
        ranges = (picture.amax(across) - picture.amin(across)).amax((0, 1))  # [H], then [W]
        shown = (ranges > _PLAIN).nonzero().flatten().tolist()
        first, last = (shown[0], shown[-1]) if shown else (0, -1)
        picture = picture.narrow(axis, first, last + 1 - first)
    return picture


def _levels(damage: Sequence[Damage], images: Tensor) -> Tensor:
    """Convert the damage of each image [B, 3, H, W] to the levels that the network takes: [B, 3]."""
    if len(damage) != len(images):
        raise InputError("damage", "is of {count} pictures", "that of {images}", count=len(damage), images=len(images))
    return images.new_tensor([each.levels for each in damage])


def weights_path(model: str | Path = SMALL) -> Path:
    """Return the file of a model's weights: `small`, or a file as it is."""
    return Path(str(files("omniup.restoration"))) / "small" / "restorer.safetensors" if model == SMALL else Path(model)
