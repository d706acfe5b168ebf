"""Export AnyUp for fixed sizes as one graph of plain tensor operations, for ONNX and for `torch.compile`.

The sizes of the image, the features and the result decide which pixels draw from which cells, so with fixed sizes all
of that is constant, and the attention is `FixedScales`.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omniup.errors import optional_import
from omniup.files import atomic_write
from omniup.files.weights import IMAGENET_MEAN, IMAGENET_STD
from omniup.upsamplers.anyup.fixed_scales import FixedScales
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

    def __init__(self, anyup: AnyUp, image_size: Size, grid: Size, size: Size | None = None) -> None:
        size = size or image_size
        check_size(size, grid)
        super().__init__()
        self.anyup = anyup
        weights = anyup.rope.freqs
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, weights.new_tensor(values).view(3, 1, 1), persistent=False)
        for name, (rows, columns) in {"query": size, "key": grid}.items():
            pools = (_pooling(side, places) for side, places in zip(image_size, (rows, columns), strict=True))
            for axis, pool in zip(("rows", "columns"), pools, strict=True):
                self.register_buffer(f"{name}_{axis}", torch.from_numpy(pool).to(weights), persistent=False)
        self.scales = FixedScales(anyup, size, grid, anyup.window_ratio, weights)

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
        query = decoder.cross_attn.queries(decoder.conv2d(pooled))
        image_part = self._pool(network.key_encoder(encoded), "key")
        key = network.join(image_part, network.describe(features, image_part, image_size))
        return self.scales(network, query, key, features)

    def _pool(self, maps: Tensor, name: str) -> Tensor:
        """Pool adaptively by two matrix products; ONNX has this pooling only where the sides divide."""
        rows, columns = (getattr(self, f"{name}_{axis}") for axis in ("rows", "columns"))
        return maps if maps.shape[2:] == (len(rows), len(columns)) else rows @ maps @ columns.mT


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
