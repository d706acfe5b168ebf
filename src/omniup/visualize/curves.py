"""Plot the loss of an optimisation at every iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from PIL import Image

from omniup.errors import InputError
from omniup.visualize.figures import blank_figure, render

SIZE = (720, 400)
DECADE = 10.0  # losses that span more than this factor are drawn on a logarithmic axis


def loss_curve(
    losses: Mapping[str, Sequence[float]] | Sequence[float], *, title: str = "Loss during optimisation"
) -> Image.Image:
    """Plot one loss curve, or several to compare.

    Args:
        losses: the loss at every iteration, from 0 on; for several curves, by the name that the legend shows.
        title: the heading.

    Returns:
        720 × 400 pixels of RGB. The vertical axis is logarithmic where positive losses span more than a factor of ten.

    Raises:
        InputError: there is no curve, or one without values.
    """
    curves = losses if isinstance(losses, Mapping) else {"": losses}
    if not curves or not all(len(curve) for curve in curves.values()):
        raise InputError("losses", "is empty", "at least one value for every curve")

    figure = blank_figure(*SIZE)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        axes.plot(curve, label=name, marker="o" if len(curve) == 1 else "")  # one point alone has no line to be seen by
    every = np.concatenate([np.asarray(curve, dtype=float) for curve in curves.values()])
    if every.min() > 0 and every.max() / every.min() > DECADE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("Iteration")
    axes.set_ylabel("Loss")
    longest = max(map(len, curves.values()))
    axes.set_xlim(-0.5, max(longest, 2) - 0.5)  # with one whole number in sight, matplotlib would turn to fractions
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if isinstance(losses, Mapping):
        axes.legend(frameon=False)
    return render(figure)
