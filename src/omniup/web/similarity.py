"""`POST /api/similarity`: which pixels resemble the one that was clicked."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.upsamplers import Bilinear
from omniup.visualize import Panel, mixed_similarity, similarity_map
from omniup.web.pictures import data_url, drawn, scale
from omniup.web.runs import Comparison
from omniup.web.schemas import SimilarityAnswer, SimilarityRequest


def similarity(comparison: Comparison, request: SimilarityRequest) -> SimilarityAnswer:
    """Draw the cosine similarity of every pixel's features with those of one pixel.

    All maps of a point share their limits: the least similarity among the cells, and 1.

    Raises:
        InputError: the point lies outside of the image.
    """
    began = time.perf_counter()
    features, kernels = comparison.features, comparison.kernels["gsjbu"]
    height, width = kernels.size
    if not (request.y < height and request.x < width):
        raise InputError(
            "x, y",
            "is {x}, {y}",
            "pixels of {width} × {height}",
            x=request.x,
            y=request.y,
            width=width,
            height=height,
        )
    render: Callable[[Tensor], Tensor]
    if request.map == "bilinear":
        render, vector = partial(Bilinear(), kernels.guidance), _bilinear_at(features, request, height, width)
    else:
        chosen = comparison.kernels[request.map]
        point = torch.tensor([[request.y, request.x]])
        render, vector = chosen.render, chosen.render_at(features, point)[0, 0]
    cosine = mixed_similarity(render, features, vector, comparison.lengths[request.map])

    rows, columns = kernels.grid
    cell = request.y * rows // height, request.x * columns // width
    low = min(float(similarity_map(features, cell).min()), 0.99)
    panel = Panel("similarity", cosine, limits=(low, 1.0), unit="cosine")
    return SimilarityAnswer(
        image=data_url(drawn({"map": panel}, kernels.size)["map"]),
        x=request.x,
        y=request.y,
        map=request.map,
        scale=scale(panel),
        milliseconds=1000 * (time.perf_counter() - began),
    )


def _bilinear_at(features: Tensor, request: SimilarityRequest, height: int, width: int) -> Tensor:
    """[C], what bilinear interpolation of features [1, C, h, w] gives at one pixel."""
    place = torch.tensor([(2 * request.x + 1) / width - 1, (2 * request.y + 1) / height - 1])
    grid = place.view(1, 1, 1, 2).to(features)
    return F.grid_sample(features, grid, padding_mode="border", align_corners=False)[0, :, 0, 0]
