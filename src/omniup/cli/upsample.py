"""`omniup upsample`: an image and a signal in, the signal at full resolution out."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from omniup.cli import options
from omniup.cli.outputs import Target
from omniup.cli.report import Report


def upsample(
    image: options.Image,
    signal: options.Signal,
    output: options.Output,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="How to upsample; `omniup methods` lists all ways.")
    ] = "upsample_anything",
    size: Annotated[
        options.Sides | None,
        typer.Option(parser=options.Sides.parse, metavar="HxW", help="Size of the result; by default the image's own."),
    ] = None,
    preset: options.Preset = None,
    kind: options.Kind = None,
    iterations: options.Iterations = None,
    settings: options.Settings = None,
    memory: options.Memory = options.DEFAULT_MEMORY,
    device: options.Device = "auto",
    name: options.ArrayName = None,
    labels: options.AreLabels = None,
    bits: options.Bits = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Bring a low-resolution SIGNAL of an IMAGE to the image's resolution, sharp along its edges.

    For example: omniup upsample street.jpg features.npy -o features_full.npy
    """
    report = Report(as_json, quiet, verbose)
    options.check_streams(image, signal, output=output, as_json=as_json)

    from omniup.cli import inputs, signals
    from omniup.upsamplers import UpsampleAnything, parse_memory, upsampler
    from omniup.upsamplers.base import check_inputs, resize
    from omniup.upsamplers.voting import for_labels

    where, scratch = options.pick_device(device), parse_memory(memory)
    target = Target(output, bits)
    chosen = upsampler(method, **options.pick_settings(settings, preset=preset, kind=kind, iterations=iterations))
    with report.stage("read"):
        low = signals.read(signal, report, name=name, are_labels=labels, device=where)
        guidance, full = check_inputs(inputs.read_guidance(image), low.map, size)
    low.check(target, report)

    if isinstance(low, signals.Labels):
        chosen = for_labels(chosen)
    if (
        isinstance(chosen, UpsampleAnything) and chosen.kind == "values"
    ):  # fitted here, where there is progress to be seen
        grid = low.map.shape[2], low.map.shape[3]
        with report.stage("fit"), report.fitting(chosen.iterations) as progress:
            kernels = chosen.fit(resize(guidance, full), grid, progress=progress, memory=scratch)
        render: signals.Render = partial(kernels.render, memory=scratch)
    else:
        render = partial(chosen, guidance, size=full, memory=scratch)
    facts = signals.bring_up(low, render, full, target, report, memory=scratch)
    report.result({"method": method} | facts)
