"""`omniup restore`: restore degraded pictures, whole folders at a time."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniup.cli import options
from omniup.cli.report import Report
from omniup.errors import InputError

if TYPE_CHECKING:
    import torch

    from omniup.restoration import Enhancer, Restorer
    from omniup.restoration.model_files import ModelFiles
    from omniup.restoration.models import RestorerFile
    from omniup.restoration.prompts import Prompts

_PROMPT = "Drawing (hypir)"
_MODEL = "Model"
_TILES = "Computation"

_MOST_LINES = 12
"""Pictures of which a run says what was found in each."""


def restore(
    inputs: options.Pictures,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The folder for results; or, for one picture, a file, .png, .jpg, .tif, .webp or .avif; or, for one "
            "film, a film, .mp4, .mov or .mkv.",
        ),
    ],
    scale: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="N",
            help="Ratio of the results' sides to the pictures'; by default 1, with hypir 4. The small model was "
            "trained up to 4.",
        ),
    ] = None,
    longest_side: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Instead of --scale: of the results, in pixels.")
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=10,
            metavar="N",
            help="Factor of the noise and compression that is found in a picture; by default 1. 0 only resizes, "
            "2 restores as if there were twice as much. Of the small model.",
        ),
    ] = None,
    deblur: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=10,
            metavar="N",
            help="Factor of the blur that is found, by default 0, which leaves it; 1 takes it away as estimated. Of "
            "the small model.",
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Prompt for all pictures; by default an empty one.", rich_help_panel=_PROMPT),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="A folder like that of the pictures, with a .txt for each.", rich_help_panel=_PROMPT
        ),
    ] = None,
    caption: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask a model for a caption of each picture: a chat endpoint in OpenAI's style, such as "
            "http://localhost:8000/v1. Its key is read from the environment variable OMNIUP_CAPTION_KEY.",
            rich_help_panel=_PROMPT,
        ),
    ] = None,
    caption_model: Annotated[
        str, typer.Option(metavar="NAME", help="Model of that endpoint.", rich_help_panel=_PROMPT)
    ] = "gpt-4o-mini",
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="NAME", help="Format of the results in a folder: png, jpg, tif, webp or avif."
        ),
    ] = None,
    bits: Annotated[int, typer.Option(metavar="8|16", help="Bits of the results' channels; 16 in PNG and TIFF.")] = 8,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Draw a sheet, .png, of the pictures restored in this run beside their bicubic enlargements: "
            "the middle of each, and the first twelve.",
        ),
    ] = None,
    sound: Annotated[bool, typer.Option("--sound/--no-sound", help="Copy a film's sound.")] = True,
    overwrite: options.Overwrite = False,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**32 - 1, metavar="N", help="Seed of hypir's noise; by default 0.", rich_help_panel=_PROMPT
        ),
    ] = None,
    colour: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Source of the colours with hypir: wavelet, the default, or adain, the picture; none, the model.",
            rich_help_panel=_PROMPT,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="small|hypir|REPOSITORY|DIR|FILE",
            help="The model: the small network that comes along, which takes noise and blocks away; "
            "hypir, which draws what may have been there, in a large network that is fetched; another of that kind, of "
            "the Hugging Face hub or a folder in diffusers' layout; or a small one's file of weights.",
            rich_help_panel=_MODEL,
        ),
    ] = "small",
    base: options.Base = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The U-Net's LoRA; by default HYPIR_sd2.safetensors or .pth in the folder, or of lxq007/HYPIR, which "
            "is for non-commercial use only.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Never look for networks on the network.", rich_help_panel=_MODEL)
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Longest side of a tile, in pixels, from 512 on, with hypir 256; by default what the memory allows.",
            rich_help_panel=_TILES,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT",
            help="Memory for tiles beyond the networks, such as 4GB; by default 512MB, or, with hypir, half of what is "
            "free.",
            rich_help_panel=_TILES,
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="auto, fp32, bf16 or fp16.", rich_help_panel=_TILES)
    ] = "auto",
    device: options.Device = "auto",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Restore pictures and films that are noisy, compressed or small.

    A small network takes noise and blocks away; with --model hypir, a large one draws what may have been
    there. Folders of results are like those of the pictures. What is done already, with the same settings, is left as
    it is.

    For example: omniup restore old.jpg -o new.png; omniup restore holiday -o restored --scale 2; omniup restore
    old.mp4 -o new.mp4
    """
    report = Report(as_json, quiet, verbose)
    if scale is not None and longest_side is not None:
        raise InputError("--scale", "is given together with --longest-side", "one of the two")

    from omniup.cli import restored_films
    from omniup.cli.inputs import find_pictures
    from omniup.cli.restored_files import RestoredFiles
    from omniup.cli.restored_targets import check_bits, find_targets, of_sheet, owned, owned_sheet
    from omniup.cli.restorers import large_settings, restore_large, restore_small, small_settings
    from omniup.files import image_tensor
    from omniup.files.refusals import printable
    from omniup.restoration import Restorer, is_small, locate_model
    from omniup.restoration.enhancer import choose_precision
    from omniup.restoration.results import write_result
    from omniup.visualize import sheet

    where = options.pick_device(device)
    precision = choose_precision(precision, where)
    said = _prompts(prompt, prompts, caption, caption_model)
    drawing = {"prompt": prompt, "prompts": prompts, "caption": caption, "seed": seed, "colour": colour}
    restoring = {"strength": strength, "deblur": deblur}
    small = is_small(model)
    own = small_settings(model, strength, deblur, drawing) if small else large_settings(model, restoring, seed, colour)
    for_pictures = {
        "prompts": prompts,
        "caption": caption,
        "format": file_format,
        "bits": bits != 8,
        "compare": compare,
    }
    restored_films.check_film(inputs, output, for_pictures)
    film = restored_films.is_film(output)
    pictures = {} if film else find_pictures(inputs, results=output)
    targets = {} if film else find_targets(pictures, output, file_format)
    check_bits(bits, targets)
    files = locate_model(model, base=base or None, weights=weights, offline=offline)
    size: dict[str, Any] = {"longest_side": longest_side}
    if longest_side is None:
        size = {"scale": scale or (1 if small else 4)}
    settings = size | own | {"tile": tile, "memory": memory}
    if film and not small:
        settings |= {"prompt": prompt or ""}
    shown = size | own if small else settings  # the small network's tiles change nothing
    kept = shown | {"precision": precision, "model": model, "files": files.fingerprint()}
    load = partial(_load, files, model, report, device=where, precision=precision, tile=tile, memory=memory)
    if film:
        facts = restored_films.restore_film(
            inputs[0], output, load, settings, kept, report, sound=sound, overwrite=overwrite
        )
        facts |= {"random": not files.have_weights, "device": where.type, "seconds": report.seconds}
        report.result(facts | kept)
        return
    found: dict[str, Any] = {}
    tiled: dict[str, Any] = {}
    results = RestoredFiles(pictures, targets, said, kept, report, bits=bits, compare=compare is not None)
    with (
        owned(output, targets, overwrite),
        owned_sheet(compare, output, targets, overwrite),
        results.summary_at_the_end(),
    ):
        if results.todo:
            loaded = load()
            with report.stage("restore"):
                if isinstance(loaded, Restorer):
                    results.run(partial(restore_small, loaded, settings, found))
                else:
                    results.run(partial(restore_large, loaded, settings, tiled))
        if compare is not None and results.panels:
            drawn = sheet(results.panels, title=f"{printable(output)}: {model}")
            write_result(Path(compare), image_tensor(drawn), of_sheet(output))
        done = f", {results.skipped} done already" if results.skipped else ""
        times = f" ({report.times})" if results.todo else ""
        for source, damage in found.items():
            if len(found) <= _MOST_LINES:
                report.note(f"{printable(source)}: found {damage}")
        for source, agreement in tiled.items():
            if len(tiled) <= _MOST_LINES:
                report.note(f"{printable(source)}: {agreement}")
        report.note(f"{output}: {len(results.restored)} restored{done}{times}")
        facts = {
            "output": output,
            "restored": results.restored,
            "found": {source: dataclasses.asdict(damage) for source, damage in found.items()},
            "tiles": {source: dataclasses.asdict(agreement) for source, agreement in tiled.items()},
            "compare": compare if results.panels else None,
            "skipped": results.skipped,
            "failures": results.failures,
            "random": not files.have_weights,
            "device": where.type,
            "seconds": report.seconds,
        }
        report.result(facts | kept)


def _load(
    files: ModelFiles | RestorerFile, model: str, report: Report, *, device: torch.device, precision: str, **limits: Any
) -> Restorer | Enhancer:
    """Load a model, and say so if nobody has trained it."""
    from omniup.restoration import load_model

    with report.stage("load"):
        loaded = load_model(files, device=device, precision=precision)
        loaded.check(**limits)
    if not files.have_weights:
        report.note(f"{model} has random weights, since nobody has trained it: what it draws means nothing")
    return loaded


def _prompts(prompt: str | None, prompts: str | None, caption: str | None, caption_model: str) -> Prompts:
    """Choose the source of the prompts."""
    from omniup.restoration.captions import Captioner
    from omniup.restoration.prompts import Captions, MirroredPrompts, SamePrompt

    if [prompt, prompts, caption].count(None) < 2:
        raise InputError("--prompt, --prompts and --caption", "are given together", "one of them")
    if prompts is not None:
        return MirroredPrompts(Path(prompts))
    if caption is not None:
        return Captions(Captioner(caption, caption_model))
    return SamePrompt(prompt or "")
