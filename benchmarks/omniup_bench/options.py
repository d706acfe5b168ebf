"""The options that several commands of the benchmark share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Results: TypeAlias = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where results go, a JSON line each. What is there already is not measured again.",
    ),
]
Methods: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME",
        show_default=False,
        help="A method, e.g. bilinear, upsample_anything:paper, anyup:multi_backbone, or with settings, "
        "joint_bilateral,sigma_x=10,sigma_y=10; may be repeated. By default all methods and presets.",
    ),
]
Weights: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        show_default=False,
        help="A folder with anyup_paper.pth and anyup_multi_backbone.pth; by default weights in $OMNIUP_SHARED or "
        "../shared. What is not there is downloaded once.",
    ),
]


def shared_folder(name: str, given: str | None = None) -> Path:
    """A folder that the user names, or else one of the shared folder."""
    return Path(given) if given else Path(os.environ.get("OMNIUP_SHARED", "../shared")) / name
