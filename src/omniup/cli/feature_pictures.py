"""Draw features of several pictures so that what has similar features looks the same in all of them."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from omniup.files.images import label_image
from omniup.visualize import Clusters, PcaColours, class_colours, heat_map, similarity_map, to_picture

MOST_LEAST = 0.99
"""The lower limit of similarities is no higher: 1 is the upper one."""


class FeaturePictures:
    """Colours, segments and similarities that pictures share.

    Args:
        cells: the features of the cells of all pictures, [1, C, h, w] each, which colours and segments are fitted to.
        pca: whether to draw principal components.
        segments: how many there are; None for no such picture.
    """

    def __init__(self, cells: Sequence[Tensor], *, pca: bool, segments: int | None) -> None:
        self._cells = cells
        self._colours = PcaColours.fit(*cells) if pca else None
        self._clusters = None if segments is None else Clusters.fit(*cells, count=segments)
        self._reference: tuple[Tensor, float] | None = None

    def compare_with(self, dense: Tensor, point: tuple[int, int]) -> None:
        """Draw similarities with one pixel from here on.

        Args:
            dense: the features [1, C, H, W] that it is a pixel of.
            point: (y, x).
        """
        y, x = point
        vector = dense[:, :, y : y + 1, x : x + 1].clone()  # [1, C, 1, 1]
        least = min(float(similarity_map(cells, (0, 0), of=vector).min()) for cells in self._cells)
        self._reference = vector, min(least, MOST_LEAST)

    def draw(self, dense: Tensor) -> dict[str, Image.Image]:
        """Draw features [1, C, H, W]: pictures by the endings of their files' names."""
        drawn = {}
        if self._colours is not None:
            drawn[".pca.png"] = to_picture(self._colours.picture(dense))
        if self._clusters is not None:
            labels = self._clusters.labels(dense)
            drawn[".segments.png"] = label_image(labels, class_colours(len(self._clusters.centres)).flatten().tolist())
        if self._reference is not None:
            vector, least = self._reference
            cosine = similarity_map(dense, (0, 0), of=vector)
            drawn[".similarity.png"] = heat_map(cosine, (least, 1.0))
        return drawn
