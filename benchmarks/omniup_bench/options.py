"""Define the options that several commands of the benchmark share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from omniup.errors import InputError

Results: TypeAlias = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="File of results, a JSON line each. Results that it has already are not measured again.",
    ),
]
Methods: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME",
        show_default=False,
        help="A method, e.g. bilinear, upsample_anything:paper, anyup:multi_backbone, or with settings, "
        "joint_bilateral,sigma_x=10,sigma_y=10; may be repeated. By default all methods with all their variants.",
    ),
]
Data: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        show_default=False,
        help="The folder of data sets, camvid, bsds500, depth and canopy, laid out as docs/benchmarking.md says.",
    ),
]
Models: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--models",
        metavar="DIR",
        show_default=False,
        help="The folder of networks' weights: street_scenes.safetensors, and NAME.safetensors for timm:NAME; by "
        "default the folder models beside that of the data.",
    ),
]
Images: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--images", min=1, metavar="N", show_default=False, help="So many images of each task; by default all."
    ),
]
Weights: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="DIR",
        show_default=False,
        help="A folder with the methods' published weights, such as anyup_paper.pth and anyup_multi_backbone.pth; by "
        "default the folder weights beside that of the data. Those that are not there are downloaded once.",
    ),
]


def data_folder(given: str | None) -> Path:
    """Return the folder of data sets.

    Raises:
        InputError: it was not given, or there is no such folder.
    """
    accepted = "a folder of data sets, laid out as docs/benchmarking.md says"
    if not given:
        raise InputError("--data", "is missing", accepted)
    if not Path(given).is_dir():
        raise InputError("--data", "is {folder}, which is no folder", accepted, folder=given)
    return Path(given)
