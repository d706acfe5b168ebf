"""Check tensors for all pictures, and read large ones in bands of rows.

A map may be much larger than the picture it becomes ([1, 1024, 2048, 2048] takes 16 GiB), so nothing here converts or
copies a whole one: `pieces` reads it band by band.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from omniup.errors import InputError

SAMPLES = 16384
"""Vectors that a fit to maps looks at, at most."""

PIECE_BYTES = 32 * 2**20


def check_map(name: str, value: Tensor, channels: tuple[int, ...] = ()) -> None:
    """Accept one non-empty map.

    Args:
        name: what the message calls it.
        value: should be [1, C, h, w].
        channels: the accepted C; empty where any will do.

    Raises:
        InputError: no tensor, another rank, a batch, an empty side, or another number of channels.
    """
    wanted = " or ".join(map(str, channels)) or "C"
    if not isinstance(value, Tensor):
        raise InputError(
            name, "is a {type}", "a tensor [1, {channels}, h, w]", type=type(value).__name__, channels=wanted
        )
    accepted = value.ndim == 4 and value.shape[0] == 1 and value.numel() > 0
    if not accepted or (channels and value.shape[1] not in channels):
        raise InputError(
            name, "has the shape {shape}", "a non-empty [1, {channels}, h, w]", shape=list(value.shape), channels=wanted
        )


def check_point(name: str, point: tuple[int, int], height: int, width: int) -> None:
    """Accept a pixel (y, x) of a map of this size.

    Raises:
        InputError: it lies outside.
    """
    y, x = point
    if not (0 <= y < height and 0 <= x < width):
        raise InputError(
            name,
            "is (y, x) = ({y}, {x})",
            "(0, 0) to ({bottom}, {right})",
            y=y,
            x=x,
            bottom=height - 1,
            right=width - 1,
        )


def draw_vectors(maps: tuple[Tensor, ...], samples: int, generator: torch.Generator) -> Tensor:
    """Sample feature vectors of maps, an equal part from each, on the CPU, which rounds the same for every device.

    Args:
        maps: one or more [1, C, h, w], any sizes and dtypes, the same C.
        samples: of all maps together, at most.
        generator: of the draw.

    Returns:
        [N, C] float32.

    Raises:
        InputError: no maps, maps of other ranks or differing channels, fewer samples than maps, or values that are
            not finite.
    """
    if not maps:
        raise InputError("maps", "is empty", "one or more [1, C, h, w]")
    for index, features in enumerate(maps):
        check_map(f"maps[{index}]", features)
    channels = [features.shape[1] for features in maps]
    if len(set(channels)) > 1:
        raise InputError("maps", "has {channels} channels", "maps with the same number of channels", channels=channels)
    if samples < len(maps):
        raise InputError(
            "samples", "is {value}", "at least one for each of the {count} maps", value=samples, count=len(maps)
        )
    vectors = torch.cat([_draw(features, samples // len(maps), generator) for features in maps])  # [N, C]
    if not vectors.isfinite().all():
        raise InputError("maps", "holds NaN or infinite values", "finite values")
    return vectors


def _draw(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Sample vectors of [1, C, h, w]: [min(count, h·w), C]."""
    _, _, height, width = features.shape
    drawn = torch.randperm(height * width, generator=generator)[:count].to(features.device)  # [N]
    # By row and column: flattening h and w first would copy the whole of a map that is a crop of another.
    return features.detach()[0, :, drawn // width, drawn % width].T.float().cpu()


def pieces(value: Tensor) -> Iterator[Tensor]:
    """Read a map from top to bottom in bands of whole rows.

    Args:
        value: [1, C, h, w], any dtype.

    Yields:
        [1, C, r, w] float32 without gradient, on the map's device; at most `PIECE_BYTES`, but at least one row.
    """
    _, channels, _, width = value.shape
    rows = max(1, PIECE_BYTES // (4 * channels * width))
    for piece in torch.split(value.detach(), rows, dim=2):
        yield piece.float()
