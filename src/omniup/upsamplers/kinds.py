"""What a signal is decides how it is best brought up.

*Predictions* are what a network says of the cells: class probabilities (`shares.py`), features (`features.py`).
*Measurements* are means over the cells of something that has a value at each pixel: depth, masks, an image
(`measurements.py`). *Votes* are what labels come to, some at a time: they are mixed in stages and no more, so that the
votes for one label do not depend on those for others. *Values* are mixed by the kernels and no more.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor

from omniup.mixing import DEFAULT_MEMORY
from omniup.upsamplers.features import render_features
from omniup.upsamplers.shares import are_shares, from_roots, to_sure_roots
from omniup.upsamplers.stages import Render

Kind: TypeAlias = Literal["values", "votes", "prediction", "measurement"]


def render_prediction(render: Render, signal: Tensor, *, memory: int = DEFAULT_MEMORY) -> Tensor:
    """Upsample what a network says of cells, by one mix.

    Args:
        render: mixes.
        signal: [B, C, h, w]. Shares are mixed by their power mean; for other signals see `features.py`.
        memory: bytes of working memory beyond inputs and outputs.

    Returns:
        [B, C, H, W], in the signal's type.
    """
    if are_shares(signal):
        return from_roots(render(to_sure_roots(signal))).to(signal.dtype)
    return render_features(render, signal, memory=memory)
