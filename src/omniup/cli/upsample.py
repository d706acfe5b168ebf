"""`omniup upsample`: upsample a signal to the resolution of its image."""

from __future__ import annotations

from typing import Annotated

import typer

from omniup.cli import options
from omniup.cli.outputs import targets
from omniup.cli.report import Report
from omniup.errors import InputError


def upsample(
    image: options.Image,
    signal: options.Signal,
    output: options.Output,
    confidence: options.Confidence = None,
    method: options.Method = options.DEFAULT_METHOD,
    size: Annotated[
        options.Extent | None,
        typer.Option(
            parser=options.Extent.parse,
            metavar="N|HxW",
            help="Size of the result, or its longer side; by default the image's own.",
        ),
    ] = None,
    preset: options.Preset = None,
    iterations: options.Iterations = None,
    settings: options.Settings = None,
    memory: options.Memory = options.DEFAULT_MEMORY,
    device: options.Device = "auto",
    name: options.ArrayName = None,
    image_name: options.ImageName = None,
    orientation: options.Orientation = "auto",
    signal_type: options.SignalType = "auto",
    layout: options.Layout = "auto",
    grid: options.Cells = None,
    region: options.Region = None,
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
    """Upsample a low-resolution SIGNAL of an IMAGE to the image's resolution, sharp along its edges.

    For example: omniup upsample street.jpg features.npy -o features_full.npy

    Pictures larger than memory are upsampled block by block: where OUT is a .zarr or a .tif (a cloud-optimised
    GeoTIFF), IMAGE or SIGNAL a .zarr, or IMAGE a TIFF or .npy of more than 268 million pixels. A job that was killed
    goes on with the blocks that are missing when the command is given again; --memory is what it may take in all.

    For example: omniup upsample scene.tif features.zarr -o features_full.zarr --memory 1GB
    """
    report = Report(as_json, quiet, verbose)
    options.check_streams(image, signal, output=output, confidence=confidence, as_json=as_json)

    from omniup.cli import inputs, signals
    from omniup.cli.large import is_large, upsample_blocks
    from omniup.upsamplers import parse_memory, upsampler
    from omniup.upsamplers.checks import chosen_size
    from omniup.upsamplers.regions import check_region, cut, inside

    if region is not None:
        if size is not None:
            raise InputError("--size", "is given together with --region", "one of the two")
        orientation = "upright" if orientation == "auto" else orientation  # pixels of the picture as it is seen

    if is_large(image, signal, output):
        refused = {"--confidence": confidence, "--size": size, "--bits": bits, "--name": name}
        refused |= {"--image-name": image_name, "--orientation": None if orientation == "upright" else orientation}
        upsample_blocks(
            image,
            signal,
            output,
            report,
            refused,
            method=method,
            grid=grid,
            layout=layout,
            region=region,
            signal_type=signal_type,
            are_labels=labels,
            invalid=invalid or (),
            holes=holes,
            consistency=options.pick_consistency(consistency),
            memory=memory,
            device=options.pick_device(device),
            overwrite=overwrite,
            **options.pick_settings(settings, preset=preset, iterations=iterations),
        )
        return

    where, scratch, steps = options.pick_device(device), parse_memory(memory), options.pick_consistency(consistency)
    chosen = upsampler(method, **options.pick_settings(settings, preset=preset, iterations=iterations))
    with targets(output, confidence, bits, inputs=(image, signal), overwrite=overwrite) as (target, trust):
        with report.stage("read"):
            photo = inputs.read_guidance(image, report, name=image_name)
            low = signals.read(
                signal,
                report,
                photo.size(orientation),
                grid=grid,
                layout=layout,
                region=region,
                name=name,
                signal_type=signal_type,
                are_labels=labels,
                invalid=invalid or (),
            )
            guidance = inputs.lying_like(photo, low.grid, orientation, image, report)
            whole = guidance.shape[2], guidance.shape[3]
            place = check_region(region, whole)
            guidance, low = cut(guidance, place).to(where), low.gathered().to(where)
        signals.check(low, target, trust, report)

        with report.stage("prepare"), report.progress("prepare") as progress:
            wanted = None if size is None else chosen_size(size.size, whole)
            prepared = chosen.prepare(guidance, low.grid, wanted, progress=progress, memory=scratch)
        part = None if region is None else inside(place, whole)
        facts = signals.render(
            low, prepared, target, report, trust=trust, memory=scratch, holes=holes, consistency=steps, part=part
        )
    report.result({"method": method} | facts)
