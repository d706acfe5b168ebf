"""`POST /api/similarity`: draw the similarity of all pixels with the one that was clicked."""

from __future__ import annotations

import time
from functools import partial

import torch

from omniup.errors import InputError
from omniup.upsamplers import Bilinear, PreparedImage
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
        problem, accepted = "is {x}, {y}", "pixels of {width} × {height}"
        raise InputError("x, y", problem, accepted, x=request.x, y=request.y, width=width, height=height)
    if request.map == "bilinear":
        chosen: PreparedImage = Bilinear().prepare(kernels.guidance, kernels.grid)
    else:
        chosen = comparison.kernels[request.map]
    vector = chosen.render_at(features, torch.tensor([[request.y, request.x]]), "values")[0, 0]
    render = partial(chosen.render, signal_type="values")
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
