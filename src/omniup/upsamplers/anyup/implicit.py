"""Let features vary inside a cell: besides its value, each cell offers the plane through it and its neighbours.

    out(p) = (1 - f(p)) Σ_q w(p, q) v_q + f(p) Σ_q w(p, q) (v_q + g(p) ⊙ J_q (p - q))

J_q are finite differences of the features along rows and columns, p - q is in cells, and f and g, a gate for each axis,
come from a small network that sees the pixel's query and where in its cell it lies: a local implicit function (LIIF,
arXiv 2012.09161) whose output is coefficients, not channels, so features may have any number of these. With f = g = 1
every linear ramp is given back exactly, whatever the weights.

f is between -1 and 1: negative, it makes steps of what the mix has as ramps. The last layer is zero at the start, and
then f is 0 and g is 1.

What is added may leave the range of the cells' values. So it is for features alone: all other types of signals, and the
weight of valid cells, are mixed explicitly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN = 32


class Implicit(nn.Module):
    """Coefficients of the slopes along rows and columns.

    Args:
        width: D, of the queries.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_query = nn.Linear(width, HIDDEN)
        self.of_place = nn.Linear(4, HIDDEN, bias=False)
        self.last = nn.Linear(HIDDEN, 3)  # f, and g of rows and columns less 1
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, query: Tensor, place: Tensor) -> Tensor:
        """Compute what multiplies the slopes along rows and columns, f g.

        Args:
            query: [B, D, P].
            place: [B or 1, 2, P], of the pixels, (y, x) in cells from the centre of the first one.

        Returns:
            [B, 2, P].
        """
        angles = 2 * math.pi * place  # so that the network sees no seam where one cell ends and the next begins
        place = torch.cat([angles.sin(), angles.cos()], dim=1).to(query.dtype)  # [B or 1, 4, P]
        hidden = self.of_query.weight @ query + self.of_query.bias.unsqueeze(1)  # [B, HIDDEN, P]
        hidden = F.silu(hidden + self.of_place.weight @ place)
        fusion, gates = (self.last.weight @ hidden + self.last.bias.unsqueeze(1)).split([1, 2], dim=1)
        return fusion.tanh() * (1 + gates)


def slopes(features: Tensor) -> Tensor:
    """Compute the slopes of features along rows and columns, per cell: [B, C, h, w] to [B, 2, C, h, w].

    Central differences, at the borders one-sided ones; 0 along an axis of one cell.
    """
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    each = [torch.gradient(wide, dim=axis)[0] if wide.shape[axis] > 1 else torch.zeros_like(wide) for axis in (2, 3)]
    return torch.stack(each, dim=1).to(features.dtype)
