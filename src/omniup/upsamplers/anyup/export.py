"""Export AnyUp for fixed sizes as one graph of plain tensor operations, for ONNX and for `torch.compile`.

The sizes of the image, the features and the result decide which pixels draw from which cells, so with fixed sizes all
of that is constant: what the mixing engine works out tile by tile is here a handful of index tensors.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omniup.errors import optional_import
from omniup.files import atomic_write
from omniup.files.weights import IMAGENET_MEAN, IMAGENET_STD
from omniup.mixing import Groups, Windows
from omniup.mixing.groups import groups
from omniup.upsamplers.anyup.implicit import slopes
from omniup.upsamplers.anyup.network import HEADS
from omniup.upsamplers.anyup.pyramid import pooled
from omniup.upsamplers.anyup.scales import Scales, coefficients
from omniup.upsamplers.anyup.upsampler import AnyUp
from omniup.upsamplers.checks import Size, check_size


class FixedSizes(nn.Module):
    """AnyUp for one size of image, of features and of result, without checks and without a bound on its memory.

    Args:
        anyup: whose weights it shares.
        image_size: (H, W).
        grid: (h, w), of the features.
        size: (H', W') of the result; by default the image's.

    Raises:
        InputError: the result would be smaller than the grid.

    Example:
        >>> import torch
        >>> fixed = FixedSizes(AnyUp().eval(), (32, 48), (4, 6))
        >>> fixed(torch.rand(1, 3, 32, 48), torch.randn(1, 20, 4, 6)).shape
        torch.Size([1, 20, 32, 48])
    """

    mean: Tensor
    std: Tensor
    order: Tensor
    place: Tensor

    def __init__(self, anyup: AnyUp, image_size: Size, grid: Size, size: Size | None = None) -> None:
        size = size or image_size
        check_size(size, grid)
        super().__init__()
        self.anyup, self.size = anyup, size
        weights = anyup.rope.freqs
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, weights.new_tensor(values).view(3, 1, 1), persistent=False)
        for name, (rows, columns) in {"query": size, "key": grid}.items():
            pools = (_pooling(side, places) for side, places in zip(image_size, (rows, columns), strict=True))
            for axis, pool in zip(("rows", "columns"), pools, strict=True):
                self.register_buffer(f"{name}_{axis}", torch.from_numpy(pool).to(weights), persistent=False)
        scales = Scales.of(anyup, size, grid, anyup.window_ratio)
        found = [list(groups(windows, longest=32, most=2**30, like=weights)) for windows in scales.windows]
        self.scales = nn.ModuleList(
            _Scale(*each, grid=grid, like=weights) for each in zip(scales.windows, found, strict=True)
        )
        order = torch.cat([group.pixels.flatten() for group in found[0]]).argsort()
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("place", scales.places(scales.points(weights.device), weights), persistent=False)

    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        """Upsample.

        Args:
            image: [B, 3, H, W], floating point in 0..1.
            features: [B, C, h, w].

        Returns:
            [B, C, H', W'].
        """
        network, decoder = self.anyup, self.anyup.cross_decode
        encoded, image_size = network.encode((image - self.mean) / self.std), (image.shape[2], image.shape[3])
        pooled = self._pool(network.query_encoder(encoded), "query")
        query = decoder.cross_attn.queries(decoder.conv2d(pooled)).flatten(2)  # [B, D, pixels]
        image_part = self._pool(network.key_encoder(encoded), "key")
        key = network.join(image_part, network.describe(features, image_part, image_size))
        each: Sequence[Tensor | None] = [None]
        values = features.unsqueeze(1)  # [B, J, C, h, w]
        if network.implicit is not None:
            values = torch.cat([values, slopes(features)], dim=1)
        if network.implicit is not None or network.pyramid is not None:
            found = coefficients(network, query, self.place, network.implicit is not None)
            each = found.split([values.shape[1], *([1] * (len(self.scales) - 1))], dim=1)  # [B, J, pixels]
        mixed = self.scales[0](query, key, values, each[0])  # [B, C, pixels]
        for number, scale in enumerate(self.scales[1:]):
            assert network.pyramid is not None
            tempered = network.pyramid.tempered(key, number)
            mixed = mixed + scale(query, tempered, features.unsqueeze(1), each[number + 1])
        return mixed[:, :, self.order].unflatten(2, self.size)

    def _pool(self, maps: Tensor, name: str) -> Tensor:
        """Pool adaptively by two matrix products; ONNX has this pooling only where the sides divide."""
        rows, columns = (getattr(self, f"{name}_{axis}") for axis in ("rows", "columns"))
        return maps if maps.shape[2:] == (len(rows), len(columns)) else rows @ maps @ columns.mT


class _Scale(nn.Module):
    """An attention of all pixels to one grid, which cells are averaged over first."""

    rows: Tensor
    columns: Tensor

    def __init__(self, windows: Windows, found: list[Groups], *, grid: Size, like: Tensor) -> None:
        super().__init__()
        for name, cells, of in zip(("rows", "columns"), grid, windows.grid, strict=True):
            pool = pooled(torch.eye(cells).to(like)[None, None], (of, cells))[0, 0]  # [of, cells]
            self.register_buffer(name, pool, persistent=False)
        self.is_pooled = windows.grid != grid
        strides = like.new_tensor([windows.rows.stride, windows.columns.stride])
        self.parts = nn.ModuleList(_Part(group, strides) for group in found)

    def forward(self, query: Tensor, key: Tensor, values: Tensor, coefficients: Tensor | None) -> Tensor:
        """Mix values [B, J, C, h, w] by queries [B, D, pixels] and keys [B, D, h, w]: [B, C, pixels], by groups."""
        if self.is_pooled:
            key, values = (self.rows @ maps @ self.columns.mT for maps in (key, values))
        flat = key.flatten(2), values.flatten(3)
        return torch.cat([part(query, *flat, coefficients) for part in self.parts], dim=2)


class _Part(nn.Module):
    """Groups of pixels of one shape; see `Groups`."""

    pixels: Tensor  # [n, P]
    cells: Tensor  # [n, K]
    window: Tensor  # [E, n, P]
    log_occurrences: Tensor  # [E, n, K]
    pixel_offset: Tensor  # [2, n, P], here in cells
    cell_offset: Tensor  # [2, n, K], likewise

    def __init__(self, group: Groups, strides: Tensor) -> None:
        super().__init__()
        for name in ("pixels", "cells", "window", "log_occurrences"):
            self.register_buffer(name, getattr(group, name), persistent=False)
        for name in ("pixel_offset", "cell_offset"):
            self.register_buffer(name, getattr(group, name) / strides.view(2, 1, 1), persistent=False)

    def forward(self, query: Tensor, key: Tensor, values: Tensor, coefficients: Tensor | None) -> Tensor:
        """Mix flat values [B, J, C, cells] by queries [B, D, pixels] and keys [B, D, cells]: [B, C, n P].

        With coefficients [B, J, pixels] the values are multiplied by them, and slopes, which follow the values, by the
        distances too.
        """
        query, key = query[:, :, self.pixels], key[:, :, self.cells]
        query, key = (vectors.unflatten(1, (HEADS, -1)).transpose(2, 3) for vectors in (query, key))
        allowed = self.window.permute(1, 2, 0) @ self.log_occurrences.transpose(0, 1)  # [n, P, K]
        logits = query.mT @ key + allowed  # [B, heads, n, P, K]
        weights = logits.softmax(-1).mean(1)  # [B, n, P, K]
        mixed = self._mix(values[:, 0], weights if coefficients is None else weights * self._at(coefficients[:, 0]))
        for axis in range(values.shape[1] - 1):
            assert coefficients is not None
            distance = self.pixel_offset[axis].unsqueeze(2) - self.cell_offset[axis].unsqueeze(1)  # [n, P, K]
            mixed = mixed + self._mix(values[:, axis + 1], weights * self._at(coefficients[:, axis + 1]) * distance)
        return mixed

    def _at(self, coefficient: Tensor) -> Tensor:
        """Gather a coefficient [B, pixels] for each pixel of the groups: [B, n, P, 1]."""
        return coefficient[:, self.pixels].unsqueeze(3)

    def _mix(self, value: Tensor, weights: Tensor) -> Tensor:
        """Mix flat values [B, C, cells]: [B, C, n P]."""
        mixed = value[:, :, self.cells].transpose(1, 2) @ weights.mT  # [B, n, C, P]
        return mixed.transpose(1, 2).flatten(2)


def export_onnx(
    anyup: AnyUp, path: str | Path, image_size: Size, channels: int, grid: Size, size: Size | None = None
) -> float:
    """Write AnyUp for fixed sizes to an ONNX file, and check the file against torch in onnxruntime.

    The graph takes `image` [1, 3, H, W] in 0..1 and `features` [1, C, h, w], both float32, and gives `upsampled`
    [1, C, H', W'].

    Args:
        anyup: the network.
        path: the file to write.
        image_size: (H, W).
        channels: C.
        grid: (h, w).
        size: (H', W'); by default the image's.

    Returns:
        The largest difference between what onnxruntime and torch compute, on random inputs.

    Raises:
        InputError: the sizes cannot be, or the file cannot be written.
        MissingPackageError: onnx, onnxscript or onnxruntime is not installed.
    """
    onnxruntime = optional_import("onnxruntime", extra="onnx")
    optional_import("onnxscript", extra="onnx")
    fixed = FixedSizes(anyup, image_size, grid, size).eval()
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "image": torch.rand(1, 3, *image_size, generator=generator),
        "features": torch.randn(1, channels, *grid, generator=generator),
    }
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            fixed,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=["upsampled"],
            dynamo=True,
            verbose=False,
        )
        expected = fixed(**inputs)
    assert program is not None
    model = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    with atomic_write(path) as file:
        file.write(model)
    return float((torch.from_numpy(found) - expected).abs().max())


def _pooling(side: int, places: int) -> NDArray[np.float64]:
    """Return adaptive average pooling along an axis as a matrix: [places, side]."""
    start = np.arange(places)[:, None] * side // places
    stop = -(-(np.arange(places)[:, None] + 1) * side // places)
    pixel = np.arange(side)
    return ((start <= pixel) & (pixel < stop)) / (stop - start)
