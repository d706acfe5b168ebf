"""`omniup reconstruct`: reconstruct one photograph, upsample its features and write pictures and numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniup.cli import options
from omniup.cli.about import listing, versions
from omniup.cli.report import Report, to_json

if TYPE_CHECKING:
    from rich.console import Group
    from torch import Tensor

    from omniup.reconstruction import Reconstruction


def reconstruct(
    image: options.Image,
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="The folder for pictures and numbers.")],
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Longest side to work at, in pixels; by default the image's own, but at most 512. Both sides become "
            "multiples of the stride.",
        ),
    ] = None,
    stride: Annotated[int, typer.Option(min=1, metavar="S", help="Pixels per low-resolution cell.")] = 16,
    encoder: Annotated[
        str, typer.Option(metavar="NAME", help="Encoder of the features; `omniup encoders` lists them.")
    ] = "projection",
    encoder_set: options.EncoderSettings = None,
    features: Annotated[
        bool, typer.Option("--features", help="Write features.npy too, fitted, C x H x W; it may be large.")
    ] = False,
    preset: options.Preset = None,
    iterations: options.Iterations = None,
    settings: options.Settings = None,
    overwrite: options.Overwrite = False,
    memory: options.Memory = options.DEFAULT_MEMORY,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Reconstruct an IMAGE from its low-resolution version, upsample its features likewise, and compare methods.

    Writes sheet.png with everything on it, every picture by itself, kernels.safetensors and metrics.json.

    For example: omniup reconstruct sample:coffee -o out
    """
    report = Report(as_json, quiet, verbose)

    from omniup.cli import encoding, inputs
    from omniup.cli.pictures import names, pictures
    from omniup.encoders import Encoding, encode
    from omniup.files import atomic_write, output_folder, together, write_image, write_signal
    from omniup.reconstruction import WORTHWHILE, working_image
    from omniup.reconstruction import reconstruct as compute
    from omniup.upsamplers import UpsampleAnything, parse_memory
    from omniup.upsamplers.upsample_anything import DEFAULT_PRESET

    preset = preset or DEFAULT_PRESET
    where, scratch = options.pick_device(device), parse_memory(memory)
    method = UpsampleAnything.preset(preset, **options.pick_settings(settings, iterations=iterations))
    chosen = options.pick_settings(encoder_set)

    def encoded(image: Tensor, grid: tuple[int, int]) -> Encoding:
        with encoding.placed(encoder):
            return encode(image, encoder, grid=grid, **chosen)

    inputs_used = [image, *encoding.files(encoder_set)]
    with output_folder(output, "reconstruct", inputs=inputs_used, overwrite=overwrite) as place:
        folder = place.path
        arrays = ("features.npy",) if features else ()
        drawings = (f"{name}.png" for name in names(fitted=method.iterations > 0))
        place.claim(*drawings, "kernels.safetensors", *arrays, "metrics.json")
        with report.stage("read"):
            guidance = working_image(inputs.read_picture(image), stride, size).to(where)
        with report.progress("fit") as progress:
            made = compute(
                guidance,
                method,
                stride=stride,
                encode=encoded,
                stage=report.stage,
                progress=progress,
                memory=scratch,
            )
        with report.stage("pictures"):
            drawn = pictures(made, title=_title(image, made))
        with together():
            with report.stage("write"):
                for name, picture in drawn.items():
                    write_image(folder / f"{name}.png", picture)
                made.kernels.save(folder / "kernels.safetensors")
                if features:
                    write_signal(folder / "features.npy", made.features["fitted"])
            facts = {
                "image": image,
                "stride": stride,
                "preset": preset,
                "settings": dataclasses.asdict(method),
                **_facts(made),
                "seconds": report.seconds,
                "versions": versions(),
            }
            with atomic_write(folder / "metrics.json") as file:  # the last, so that where it is everything is
                file.write(to_json(facts).encode())

    report.result(facts, _summary(image, made, folder, report.times))
    if made.gain < WORTHWHILE:
        advice = "" if preset == DEFAULT_PRESET else f"; --preset {DEFAULT_PRESET} takes larger steps"
        report.note(f"The fitted kernels gain only {made.gain:.2f} dB over fixed ones{advice}.")


def _title(image: str, made: Reconstruction) -> str:
    from omniup.files.refusals import printable

    (height, width), (rows, columns) = made.kernels.size, made.kernels.grid
    return f"{printable(image)}: {height} x {width} pixels from {rows} x {columns} cells"


def _facts(made: Reconstruction) -> dict[str, Any]:
    history = made.kernels.history
    return {
        "size": list(made.kernels.size),
        "grid": list(made.kernels.grid),
        "encoder": made.encoding.encoder,
        "weights": made.encoding.weights,
        "channels": made.encoding.features.shape[1],
        "metrics": made.metrics,
        "gain_db": made.gain,
        "iterations": len(history.losses),
        "device": history.device,
        "dtype": history.dtype,
    }


def _summary(image: str, made: Reconstruction, folder: Path, seconds: str) -> Group:
    """Summarise the results in a few lines: the numbers, the times, the files."""
    from rich.console import Group

    from omniup.files.refusals import printable
    from omniup.reconstruction import TITLES

    numbers = listing("reconstruction", "L1", "PSNR", "SSIM")
    for way, values in made.metrics.items():
        psnr = f"{values['psnr_recon']:.2f} dB"
        numbers.add_row(TITLES[way], f"{values['l1_recon']:.4f}", psnr, f"{values['ssim_recon']:.4f}")
    files = listing("", "")
    files.show_header = False
    for name, content in {
        "sheet.png": "all on one page; the other .png files hold one picture each",
        "metrics.json": "these numbers and the settings",
        "kernels.safetensors": "the fitted kernels, for `omniup render`",
    }.items():
        files.add_row(printable(folder / name), content)
    return Group(_title(image, made), "", numbers, "", seconds, "", files)
