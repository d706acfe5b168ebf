"""`omniup bench panels`: draw a network's features, upsampled by several methods, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from omniup.cli import options
from omniup.cli.report import Report
from omniup.errors import InputError
from omniup_bench.options import Data, Methods, Models, Weights, data_folder

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

DEFAULT_METHODS = ("bilinear", "joint_bilateral", "pyramid_bilateral", "anyup:multi_backbone")


def panels(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="The folder for the sheets, a PNG for each image.")
    ],
    data: Data = None,
    models: Models = None,
    encoder: Annotated[
        str, typer.Option(metavar="NAME", help="The network: street_scenes, or timm:NAME with weights in the models.")
    ] = "street_scenes",
    methods: Methods = None,
    factor: Annotated[int, typer.Option(metavar="16|32", help="Pixels to a cell.")] = 16,
    images: Annotated[int, typer.Option(min=1, metavar="N", help="Number of street scenes.")] = 3,
    weights: Weights = None,
    overwrite: options.Overwrite = False,
    memory: options.Memory = options.DEFAULT_MEMORY,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Draw features in the colours of their principal components: low-resolution, by each method, and a reference.

    Colours mean the same in all panels of a sheet. The reference is what the network gives for the image enlarged. By
    default a few methods are drawn.

    For example: omniup bench panels --images 2 -o panels
    """
    report = Report(as_json, quiet, verbose)

    from omniup.files import output_folder, write_image
    from omniup.upsamplers import parse_memory
    from omniup_bench.data import Folders
    from omniup_bench.dense import DenseFeatures
    from omniup_bench.methods import Entry, upsample

    task = DenseFeatures("enlarged", encoder=encoder)
    if factor not in task.factors:
        raise InputError("factor", "is {value}", "{factors}", value=factor, factors=", ".join(map(str, task.factors)))
    where, scratch = options.pick_device(device), parse_memory(memory)
    folders = Folders.of(data_folder(data), models, weights)
    entries = [Entry.parse(name) for name in dict.fromkeys(methods or DEFAULT_METHODS)]
    upsamplers = {entry.name: entry.build(folders.weights) for entry in entries}
    sheets = []
    with output_folder(output, "bench panels", overwrite=overwrite) as place:
        for picture, low, target in task.pairs(folders, factor, images):
            inputs = picture.image.to(where), low.to(where)
            results = {
                name: upsample(method, *inputs, task.signal_type, memory=scratch).cpu()
                for name, method in upsamplers.items()
            }
            maps = {"low-resolution features": low, **results, "reference": target}
            path = place.path / f"{picture.name.replace('/', '-')}.png"
            place.claim(path.name)
            write_image(path, feature_sheet(picture.name, picture.image, maps))
            sheets.append(path.name)
    report.result({"folder": output, "sheets": sheets})
    report.note(f"{output}: {', '.join(sheets)}")


def feature_sheet(name: str, image: Tensor, maps: Mapping[str, Tensor]) -> Image.Image:
    """Lay out an image and features of it.

    Args:
        name: of the image, the sheet's title.
        image: [1, 3, H, W] in 0..1.
        maps: by title; each [1, C, h, w], of any size.
    """
    from omniup.visualize import Panel, pca_rgb, sheet

    drawn = zip(maps, pca_rgb(*maps.values()), strict=True)
    panels = [Panel("image", image), *(Panel(title, picture) for title, picture in drawn)]
    return sheet(panels, title=name, width=360)
