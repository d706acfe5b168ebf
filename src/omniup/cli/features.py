"""`omniup features`: from photographs to features at their resolution, and to pictures of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniup.cli import options
from omniup.cli.report import Report
from omniup.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from omniup.encoders import EncodedImage, Encoder

_PICTURES = "Pictures of the features"

_ARRAYS = (".npy", ".npz", ".safetensors")


def features(
    inputs: options.Pictures,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A file for the features of one picture, by its suffix: .npy, .npz or .safetensors; or a folder, for "
            "NAME.safetensors of each picture.",
        ),
    ],
    encoder: options.EncoderName,
    encoder_set: options.EncoderSettings = None,
    size: options.ResultSize = None,
    pca: Annotated[
        bool,
        typer.Option(
            "--pca",
            help="Write NAME.pca.png: the first three principal components as colours, the same in all pictures.",
            rich_help_panel=_PICTURES,
        ),
    ] = False,
    segments: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=256,
            metavar="K",
            help="Write NAME.segments.png: K segments by k-means, the same in all pictures, as a palette picture.",
            rich_help_panel=_PICTURES,
        ),
    ] = None,
    similar: Annotated[
        options.Point | None,
        typer.Option(
            parser=options.Point.parse,
            metavar="X,Y",
            help="Write NAME.similarity.png: the cosine with the features of a pixel of the first picture.",
            rich_help_panel=_PICTURES,
        ),
    ] = None,
    arrays: Annotated[
        bool,
        typer.Option(
            "--arrays/--no-arrays", help="Write the features, or the pictures alone.", rich_help_panel=_PICTURES
        ),
    ] = True,
    method: options.Method = options.DEFAULT_METHOD,
    settings: options.Settings = None,
    resolution: options.Resolution = None,
    tile: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Longest side of the tiles in which the network sees the image, in pixels, joined to one grid; with "
            "a larger --resolution for more cells. By default it sees all at once.",
            rich_help_panel="Computation",
        ),
    ] = None,
    sides: options.Padding = "resize",
    precision: options.Precision = "float32",
    overwrite: options.Overwrite = False,
    memory: options.Memory = options.DEFAULT_MEMORY,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Compute features of pictures at their resolution, sharp along their edges.

    For example: omniup features photo.jpg --encoder timm:vit_small_patch14_dinov2 -o features.safetensors --pca
    """
    report = Report(as_json, quiet, verbose)
    wanted = {".pca.png": pca, ".segments.png": segments is not None, ".similarity.png": similar is not None}
    drawn = [suffix for suffix, is_wanted in wanted.items() if is_wanted]
    if not (arrays or drawn):
        raise InputError("--no-arrays", "leaves nothing to write", "it with --pca, --segments or --similar")

    from omniup.cli import encoding
    from omniup.cli.feature_pictures import FeaturePictures
    from omniup.cli.inputs import find_pictures, read_picture
    from omniup.cli.picture_results import PictureResults
    from omniup.files import together, write_image, write_signal

    where = options.pick_device(device)
    pictures = find_pictures(inputs, results=output)
    results = PictureResults(pictures, output, suffixes=_ARRAYS, default=".safetensors")
    endings = [*([results.suffix] if arrays else []), *drawn]
    if similar is not None:
        height, width = read_picture(next(iter(pictures))).shape[2:]
        if similar.x >= width or similar.y >= height:
            problem, accepted = "is {x},{y}", "pixels of the first picture, {width} x {height}"
            raise InputError("--similar", problem, accepted, **similar._asdict(), width=width, height=height)
    how = encoding.view(resolution, sides, precision, tile)
    facts: list[dict[str, Any]] = []
    with results.own("features", endings, [*pictures, *encoding.files(encoder_set)], overwrite):
        with report.stage("load"):
            network = encoding.build(encoder, encoder_set)
        encoded = {}
        with report.stage("encode"):
            for source in pictures:
                guidance = read_picture(source).to(where)
                with encoding.placed(encoder):
                    encoded[source] = _encode(guidance, network, size, how)
        cells = [each.encoding.features for each in encoded.values()]
        with report.stage("upsample and write"):
            drawings = FeaturePictures(cells, pca=pca, segments=segments)
            for source, each in encoded.items():
                dense = each.upsample(method=method, memory=memory, **options.pick_settings(settings))
                if similar is not None and not facts:  # the first
                    place = similar.y * dense.shape[2] // height, similar.x * dense.shape[3] // width
                    drawings.compare_with(dense, place)
                with together():
                    if arrays:
                        write_signal(results.file(source, results.suffix), dense)
                    for ending, picture in drawings.draw(dense).items():
                        write_image(results.file(source, ending), picture)
                files = [results.file(source, ending) for ending in endings]
                grid = list(each.encoding.features.shape[2:])
                facts.append({"image": source, "shape": list(dense.shape), "grid": grid, "files": files})
                shape, rows_columns = (" x ".join(map(str, numbers)) for numbers in (dense.shape, grid))
                report.note(f"{', '.join(files)}: {shape} {precision}, from {rows_columns} cells")
    used = next(iter(encoded.values())).encoding
    report.note(f"{used.encoder}, weights: {used.weights} ({report.times})")
    made = {"output": output, "encoder": used.encoder, "weights": used.weights, "method": method, "dtype": precision}
    report.result({**made, "device": str(where), "pictures": facts, "seconds": report.seconds})


def _encode(picture: Tensor, network: Encoder, size: options.Extent | None, how: Mapping[str, Any]) -> EncodedImage:
    from omniup.encoders import encode_image

    return encode_image(picture, network, size=None if size is None else size.size, **how)
