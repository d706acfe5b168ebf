"""`omniup restore`: restore degraded pictures, whole folders at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniup.cli import options
from omniup.cli.outputs import output_file
from omniup.cli.report import Report
from omniup.errors import InputError

if TYPE_CHECKING:
    import torch

    from omniup.restoration import Enhancer, Restorer
    from omniup.restoration.model_files import ModelFiles
    from omniup.restoration.models import RestorerFile
    from omniup.restoration.prompts import Prompts

_OTHER_FORMATS = {
    *(
        ".bmp",
        ".gif",
        ".pbm",
        ".pgm",
        ".ppm",
        ".pfm",
        ".heic",
        ".heif",
        ".jxl",
        ".exr",
        ".hdr",
        ".apng",
        ".npy",
        ".npz",
        ".pt",
        ".safetensors",
    ),
}
"""Suffixes of files that results are not written to, and of which no folder is made by mistake."""

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
            min=0.1, metavar="N", help="Ratio of the results' sides to the pictures'; by default 1, with hypir 4."
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
            help="Factor of the noise and compression that is found in a picture; by default 1. 0 restores "
            "nothing, 2 as much as if there were twice as much of it. Of the small model.",
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
    bits: Annotated[int, typer.Option(metavar="8|16", help="Bits of the results' channels; 16 in PNG only.")] = 8,
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
            help="Longest side of a tile, in pixels; by default what the memory allows.",
            rich_help_panel=_TILES,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT",
            help="Memory for tiles beyond the networks, such as 4GB; by default half of what is free.",
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
    targets = {} if film else _targets(pictures, output, file_format)
    _check_bits(bits, targets)
    files = locate_model(model, base=base or None, weights=weights, offline=offline)
    size: dict[str, Any] = {"longest_side": longest_side}
    if longest_side is None:
        size = {"scale": scale or (1 if small else 4)}
    settings = size | own | {"tile": tile, "memory": memory}
    kept = settings | {"precision": precision, "model": model, "files": files.fingerprint()}
    load = partial(_load, files, model, report, device=where, precision=precision, tile=tile, memory=memory)
    if film:
        if not small:
            settings |= {"prompt": prompt or ""}
        facts = restored_films.restore_film(
            inputs[0], output, load, settings, kept | settings, report, sound=sound, overwrite=overwrite
        )
        report.result(facts | kept | {"device": where.type, "seconds": report.seconds})
        return
    found: dict[str, Any] = {}
    tiled: dict[str, Any] = {}
    results = RestoredFiles(pictures, targets, said, kept, report, bits=bits, compare=compare is not None)
    with (
        _own(output, targets, overwrite),
        _own_sheet(compare, output, targets, overwrite),
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
            write_result(Path(compare), image_tensor(drawn), _of_sheet(output))
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


def _targets(pictures: Mapping[str, PurePath], output: str, file_format: str | None) -> dict[str, Path]:
    """Determine the files for the results.

    Raises:
        InputError: there is no such format, several pictures would go into one file, or it has the suffix of another
            format.
    """
    from omniup.restoration.results import RESULT_FORMATS

    path = Path(output)
    known = ", ".join(suffix.removeprefix(".") for suffix in RESULT_FORMATS)
    if path.suffix.lower() in _OTHER_FORMATS and not path.is_dir():
        raise InputError(
            output,
            "has the suffix {suffix!r}",
            "a folder, or a file name that ends in {formats}",
            suffix=path.suffix,
            formats=known,
        )
    if not _is_file(output):
        suffix = f".{file_format or 'png'}"
        if suffix not in RESULT_FORMATS:
            raise InputError("--format", "is {value!r}", "{formats}", value=file_format, formats=known)
        return {source: path / place.with_suffix(suffix) for source, place in pictures.items()}
    if file_format is not None:
        raise InputError("--format", "is given, and {output} is a file", "its suffix alone", output=output)
    if len(pictures) == 1:
        return dict.fromkeys(pictures, path)
    raise InputError(output, "is one file for {count} pictures", "a folder", count=len(pictures))


def _check_bits(bits: int, targets: Mapping[str, Path]) -> None:
    """Refuse bits that the results' format does not hold."""
    from omniup.restoration.results import DEEP_SUFFIXES

    if bits not in (8, 16):
        raise InputError("--bits", "is {value}", "8 and 16", value=bits)
    other = {target.suffix.lower() for target in targets.values()} - {*DEEP_SUFFIXES}
    if bits == 16 and other:
        accepted, formats = "16 for {formats}", ", ".join(DEEP_SUFFIXES)
        raise InputError("--bits", "is 16, and results are {suffix}", accepted, suffix=min(other), formats=formats)


def _is_file(output: str) -> bool:
    from omniup.restoration.results import RESULT_FORMATS

    return Path(output).suffix.lower() in RESULT_FORMATS and not Path(output).is_dir()


@contextmanager
def _own(output: str, targets: Mapping[str, Path], overwrite: bool) -> Iterator[None]:
    """Have the folder or file of the results for this process alone; they replace their like and nothing else.

    Raises:
        InputError: it cannot be written to, another process writes there, or a result would replace something else.
    """
    from omniup.files import Inputs, check_output, output_folder, sweep
    from omniup.restoration.results import is_result

    with ExitStack() as stack:
        if _is_file(output):
            stack.enter_context(output_file(output, targets, overwrite or is_result(Path(output))))
        else:
            stack.enter_context(output_folder(output, "restore"))
        for folder in {target.parent for target in targets.values()}:
            sweep(folder)
        originals = Inputs(targets)
        for target in targets.values():
            check_output(target, originals, overwrite=overwrite or is_result(target))
        yield


@contextmanager
def _own_sheet(compare: str | None, output: str, targets: Mapping[str, Path], overwrite: bool) -> Iterator[None]:
    """Have the file of the sheet, if one is wanted, for this process alone; it replaces that of the same results.

    Raises:
        InputError: it is no .png file or one of the results, cannot be written, or would replace something else.
    """
    from omniup.restoration.results import is_done

    if compare is None:
        yield
        return
    path = Path(compare)
    if path.suffix.lower() != ".png" or path.resolve() in {target.resolve() for target in targets.values()}:
        raise InputError("--compare", "is {value}", "a .png file that is no result", value=compare)
    with output_file(compare, targets, overwrite or is_done(path, _of_sheet(output))):
        yield


def _of_sheet(output: str) -> dict[str, str]:
    """Return the settings that are kept in a sheet."""
    return {"compare": output}
