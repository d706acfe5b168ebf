"""`omniup fit` and `omniup render`: fit Gaussian kernels to an image once, and render many signals with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from omniup.cli import options
from omniup.cli.outputs import output_file, targets
from omniup.cli.report import Report
from omniup.errors import InputError


def fit(
    image: options.Image,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="KERNELS", help="File for the kernels: .safetensors.")
    ],
    grid: Annotated[
        options.Sides | None,
        typer.Option(parser=options.Sides.parse, metavar="HxW", help="Grid of the signals to be rendered, in cells."),
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, metavar="S", help="Instead of --grid: pixels per cell, such as 14 or 16.")
    ] = None,
    image_name: options.ImageName = None,
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
    """Fit Gaussian kernels to an IMAGE, for signals of one grid; `omniup render` uses them.

    For example: omniup fit street.jpg --stride 16 -o street.safetensors
    """
    report = Report(as_json, quiet, verbose)
    if grid is None and stride is None:
        raise InputError("--stride", "is missing, and so is --grid", "one of the two")
    if grid is not None and stride is not None:
        raise InputError("--grid", "is given together with --stride", "one of the two")
    if Path(output).suffix != ".safetensors":
        raise InputError(output, "is no name for a file of kernels", "names that end in .safetensors")

    from omniup.cli import inputs
    from omniup.encoders.preparation import nearest_cells
    from omniup.upsamplers import UpsampleAnything, parse_memory
    from omniup.upsamplers.upsample_anything import DEFAULT_PRESET

    where, scratch = options.pick_device(device), parse_memory(memory)
    method = UpsampleAnything.preset(preset or DEFAULT_PRESET, **options.pick_settings(settings, iterations=iterations))
    with output_file(output, [image], overwrite):
        with report.stage("read"):
            guidance = inputs.read_guidance(image, report, name=image_name).values.to(where)
        height, width = guidance.shape[2:]
        if grid is None:
            assert stride is not None  # as checked above
            grid = options.Sides(nearest_cells(height, stride), nearest_cells(width, stride))
        with report.stage("fit"), report.progress("fit") as progress:
            kernels = method.prepare(guidance, grid, progress=progress, memory=scratch)
        with report.stage("write"):
            kernels.save(output)

    losses = kernels.history.losses
    facts = {
        "output": output,
        "grid": list(kernels.grid),
        "size": list(kernels.size),
        "iterations": len(losses),
        "losses": losses,
        "device": kernels.history.device,
        "seconds": report.seconds,
    }
    fall = f", loss {losses[0]:.4f} to {losses[-1]:.4f} in {len(losses)} steps" if losses else ""
    cells = " x ".join(map(str, kernels.grid))
    report.note(f"{output}: {cells} kernels for {height} x {width} pixels{fall} ({report.times})")
    report.result(facts)


def render(
    kernels: Annotated[
        str, typer.Argument(metavar="KERNELS", show_default=False, help="A file that `omniup fit` wrote.")
    ],
    signal: options.Signal,
    output: options.Output,
    confidence: options.Confidence = None,
    memory: options.Memory = options.DEFAULT_MEMORY,
    device: options.Device = "auto",
    name: options.ArrayName = None,
    signal_type: options.SignalType = "auto",
    layout: options.Layout = "auto",
    labels: options.AreLabels = None,
    invalid: options.Invalid = None,
    holes: options.Holes = "fill",
    consistency: options.Consistency = "auto",
    bits: options.Bits = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Upsample a SIGNAL with the KERNELS of its image.

    For example: omniup render street.safetensors features.npy -o features_full.npy
    """
    report = Report(as_json, quiet, verbose)
    options.check_streams(signal, output=output, confidence=confidence, as_json=as_json)

    from omniup.cli import signals
    from omniup.upsamplers import GaussianKernels, parse_memory

    where, scratch, steps = options.pick_device(device), parse_memory(memory), options.pick_consistency(consistency)
    with targets(output, confidence, bits, inputs=(kernels, signal), overwrite=overwrite) as (target, trust):
        with report.stage("read"):
            fitted = GaussianKernels.load(kernels).to(where)
            low = signals.read(
                signal,
                report,
                fitted.size,
                grid=fitted.grid,
                layout=layout,
                name=name,
                signal_type=signal_type,
                are_labels=labels,
                invalid=invalid or (),
            ).to(where)
        signals.check(low, target, trust, report)
        facts = signals.render(low, fitted, target, report, trust=trust, memory=scratch, holes=holes, consistency=steps)
    report.result(facts)
