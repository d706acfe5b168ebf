"""Arguments and options that several commands share, and the parsing of their texts.

A command's signature is its description, so each option is a type here, with its help text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from omniup.errors import InputError

if TYPE_CHECKING:
    import torch


class Sides(NamedTuple):
    """A height and a width, of an image in pixels or of a grid in cells."""

    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> Sides:
        """Read `HxW`, e.g. `1080x1920`."""
        match = re.fullmatch(r"0*([1-9]\d{0,8})[x×]0*([1-9]\d{0,8})", text.strip().lower())
        if match is None:
            raise typer.BadParameter(f"{text!r} is not height x width, such as 1080x1920")
        return cls(int(match[1]), int(match[2]))


class Extent(NamedTuple):
    """A size in pixels: both sides, or the longer one alone, whose proportions are then the image's."""

    size: Sides | int

    @classmethod
    def parse(cls, text: str) -> Extent:
        """Read `N`, or `HxW` as `Sides` does."""
        match = re.fullmatch(r"0*([1-9]\d{0,8})", text.strip())
        return cls(int(match[1]) if match else Sides.parse(text))


class Point(NamedTuple):
    """A pixel of an image."""

    x: int
    y: int

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read `X,Y`, e.g. `240,130`."""
        match = re.fullmatch(r"(\d{1,9}),(\d{1,9})", re.sub(r"\s", "", text))
        if match is None:
            raise typer.BadParameter(f"{text!r} is not x,y, such as 240,130")
        return cls(int(match[1]), int(match[2]))


class Part(NamedTuple):
    """A region of an image, in pixels, in the order of `omniup.upsample`."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read `LEFT,TOP,WIDTH,HEIGHT`, e.g. `0,-80,640,640`."""
        match = re.fullmatch(r"(-?\d{1,9}),(-?\d{1,9}),(\d{1,9}),(\d{1,9})", re.sub(r"\s", "", text))
        if match is None:
            raise typer.BadParameter(f"{text!r} is not left,top,width,height, such as 0,-80,640,640")
        left, top, width, height = map(int, match.groups())
        return cls(top, left, height, width)


class Setting(NamedTuple):
    """A setting of a method or an encoder, by its name."""

    name: str
    value: Any

    @classmethod
    def parse(cls, text: str) -> Setting:
        """Read `name=value`; the value is JSON (`0.5`, `true`, `null`, `[1, 64]`), Python's `None`, or else a word."""
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{text!r} is not name=value, such as radius=3")
        try:
            return cls(name.strip(), json.loads(value))
        except ValueError:
            return cls(name.strip(), _PYTHON.get(value.strip(), value.strip()))


#: Constants as `omniup methods` and refusals spell them, which JSON spells otherwise.
_PYTHON = {"None": None, "True": True, "False": False}


def pick_settings(others: list[Setting] | None, **named: Any) -> dict[str, Any]:
    """Gather the settings that a command was given: those with an option of their own, where given, and the others."""
    return {name: value for name, value in named.items() if value is not None} | dict(others or [])


def show_help(context: typer.Context) -> None:
    """Print the help of a group of commands that was called without a command."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def check_streams(*inputs: str, output: str = "", confidence: str | None = None, as_json: bool = False) -> None:
    """Refuse to read standard input twice, or to write two things to one file or to standard output.

    Raises:
        InputError: the arguments ask for it.
    """
    if inputs.count("-") > 1:
        raise InputError("-", "is named for two inputs", "standard input for one of them")
    if confidence is not None and Path(confidence).resolve() == Path(output).resolve():
        raise InputError("--confidence", "is the file of --output", "another name")
    for option, file in (("-o -", output), ("--confidence -", confidence)):
        if file == "-" and as_json:
            raise InputError(
                option, "is given together with --json, and both write to standard output", "one of the two"
            )


def pick_consistency(text: str) -> float | str | None:
    """Read a number of steps of consistency, or a word that stands for one.

    Raises:
        InputError: it is neither.
    """
    from omniup.upsamplers.consistency import parse_consistency

    word = text.strip().lower()
    try:
        steps = None if word == "none" else float(word)
    except ValueError:
        parse_consistency(word)
        return word
    parse_consistency(steps)
    return steps


def pick_device(name: str) -> torch.device:
    """Choose where to compute.

    Raises:
        BadParameter: there is no such device, or it is not to be had here.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if name not in available:
        raise typer.BadParameter(f"{name!r} is none of auto, {', '.join(available)}", param_hint="'--device'")
    if not available[name]:
        here = ", ".join(name for name, there in available.items() if there)
        raise typer.BadParameter(f"{name} is not to be had here, only {here}", param_hint="'--device'")
    return torch.device(name)


DEFAULT_MEMORY = "512MB"
DEFAULT_METHOD = "pyramid_bilateral"

# The headings in a command's help.
_COMPUTE = "Computation"
_SIGNAL = "Signal"
_REPORT = "Report"

Image: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        show_default=False,
        help="A picture: PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM; the bands of a sensor as TIFF, .npy, .npz or "
        ".safetensors, scaled to 0..1 one by one; - for standard input; or one of the photographs that "
        "come along, sample:coffee, sample:chelsea, sample:astronaut, sample:rocket.",
    ),
]
Signal: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="SIGNAL",
        show_default=False,
        help="The signal of the image: an array C x h x w or h x w as .npy, .npz or .safetensors, or a "
        "picture (depth, a mask); - for standard input.",
    ),
]
Output: TypeAlias = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="File for the result, by its suffix: .npy, .npz, .safetensors or .png; - for .npy on standard output. "
        "`omniup upsample` writes .zarr and .tif, a cloud-optimised GeoTIFF, too: block by block.",
    ),
]

Method: TypeAlias = Annotated[str, typer.Option(metavar="NAME", help="Upsampling method; `omniup methods` lists them.")]
EncoderName: TypeAlias = Annotated[
    str,
    typer.Option(
        "--encoder",
        metavar="NAME",
        help="Encoder, such as timm:vit_small_patch14_dinov2; `omniup encoders` lists them.",
    ),
]
EncoderSettings: TypeAlias = Annotated[
    list[Setting] | None,
    typer.Option(
        "--encoder-set",
        parser=Setting.parse,
        metavar="NAME=VALUE",
        help="A setting of the encoder; may be repeated. Of timm:NAME: pretrained=FILE for weights of yours, "
        "pretrained=false for random ones; of timm and transformers layer=N, or layer=[M,N] for several.",
    ),
]

ResultSize: TypeAlias = Annotated[
    Extent | None,
    typer.Option(
        "--size",
        parser=Extent.parse,
        metavar="N|HxW",
        help="Size of the results, or their longer side; by default the image's own, but at most 1024.",
    ),
]
Resolution: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Longer side of the image as the network sees it, in pixels; by default its own, but at most 1024.",
        rich_help_panel=_COMPUTE,
    ),
]
Padding: TypeAlias = Annotated[
    str,
    typer.Option(
        "--sides",
        metavar="resize|pad",
        help="Sides that are no multiples of the network's stride: resize them to the nearest, or pad them.",
        rich_help_panel=_COMPUTE,
    ),
]
Precision: TypeAlias = Annotated[
    str, typer.Option(metavar="NAME", help="float32, float16 or bfloat16.", rich_help_panel=_COMPUTE)
]

Preset: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Settings of Upsample Anything: paper (of the authors' code; the default) or spec (smaller windows and "
        "steps: faster, hardly more than fixed kernels).",
        rich_help_panel=_COMPUTE,
    ),
]
Iterations: TypeAlias = Annotated[
    int | None,
    typer.Option("--iters", min=0, metavar="N", help="Steps of test-time optimisation.", rich_help_panel=_COMPUTE),
]
Settings: TypeAlias = Annotated[
    list[Setting] | None,
    typer.Option(
        "--set",
        parser=Setting.parse,
        metavar="NAME=VALUE",
        help="Another setting; may be repeated. `omniup methods` lists them.",
        rich_help_panel=_COMPUTE,
    ),
]
Memory: TypeAlias = Annotated[
    str, typer.Option(metavar="AMOUNT", help="Working memory, beyond inputs and outputs.", rich_help_panel=_COMPUTE)
]
Device: TypeAlias = Annotated[
    str, typer.Option(metavar="NAME", help="auto, cpu, cuda or mps.", rich_help_panel=_COMPUTE)
]

ArrayName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="NAME", help="Name of the array in an .npz or .safetensors file.", rich_help_panel=_SIGNAL
    ),
]
ImageName: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name of the guidance in an .npz or .safetensors file.", rich_help_panel=_SIGNAL),
]
Orientation: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The way that the signal of a picture with an EXIF orientation lies: upright, stored (as in the file), or "
        "auto, by its aspect.",
        rich_help_panel=_SIGNAL,
    ),
]
SignalType: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The type of the signal: features, probabilities, labels, measurement (area-averages: depth, an image), "
        "values (anything else), logits or directions. By default auto: labels for palette pictures, probabilities for "
        "channels that sum to 1, measurement for one channel, features for several.",
        rich_help_panel=_SIGNAL,
    ),
]


Layout: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Order of the array's sides: channels_first or channels_last. By default auto: as fits the image; tokens "
        "of a transformer are arranged as well.",
        rich_help_panel=_SIGNAL,
    ),
]
Cells: TypeAlias = Annotated[
    Sides | None,
    typer.Option(
        "--grid",
        parser=Sides.parse,
        metavar="HxW",
        help="Grid of the signal, in cells, where its shape does not show it: of tokens.",
        rich_help_panel=_SIGNAL,
    ),
]


Region: TypeAlias = Annotated[
    Part | None,
    typer.Option(
        parser=Part.parse,
        metavar="LEFT,TOP,WIDTH,HEIGHT",
        help="Part of the picture that the signal covers, in pixels: a crop; or more than the picture, as of one that "
        "was padded to a square. The result is what lies in the picture.",
        rich_help_panel=_SIGNAL,
    ),
]


def _number(text: str) -> float:
    """Parse a number that stands for holes; nan is one."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number, nor nan") from None


Invalid: TypeAlias = Annotated[
    list[float] | None,
    typer.Option(
        "--invalid",
        "--ignore",
        parser=_number,
        metavar="NUMBER",
        help="A number that stands for holes: 0 or nan for depth without a reading, 255 for void labels. Such cells do "
        "not count. May be repeated; the no-data number of a GeoTIFF needs none.",
        rich_help_panel=_SIGNAL,
    ),
]
Holes: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="fill|keep",
        help="Pixels far from all valid cells: fill them from the nearest one, or keep them as nan.",
        rich_help_panel=_SIGNAL,
    ),
]
Consistency: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="N|full|none|auto",
        help="Steps of consistency: how often what the result's means over the cells lack of the signal is added; half "
        "of it with 0.5, until nothing is lacking with full. By default auto: with AnyUp one for features and a part "
        "of one for probabilities, else none.",
        rich_help_panel=_SIGNAL,
    ),
]
AreLabels: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--labels/--values",
        show_default=False,
        help="--labels is short for --signal-type labels: the 0/1 map of each label is upsampled, and each pixel gets "
        "the argmax. --values: the numbers of a palette picture are not labels.",
        rich_help_panel=_SIGNAL,
    ),
]
Confidence: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="OUT",
        help="File for the confidence as well, by its suffix as for --output: 0 to 1 for each pixel, in a .png 0 to "
        "255, or to 65535 with --bits 16. It is calibrated: of pixels with 0.8, 8 of 10 have the right class or label, "
        "or an error of at most 5 % of the local range; of features, it is the expected cosine similarity.",
    ),
]
Bits: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="8|16",
        help="Depth of .png results; by default 8 if the values fit.",
        rich_help_panel=_SIGNAL,
    ),
]

Base: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--base",
        metavar="SOURCE",
        help="Source of the published networks that restore, whose original repository was removed in November 2025: a "
        "repository of the hub, the URL that the files lie below, or a folder. Several are tried in order; by default "
        "the original, Manojb/stable-diffusion-2-1-base and ModelScope.",
        rich_help_panel="Model",
    ),
]

Overwrite: TypeAlias = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace files that are there already, whoever wrote them; never an input."),
]
Pictures: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="IN...",
        show_default=False,
        help="Pictures; folders of pictures with what is below them, but for label maps and the like that lie beside "
        "a picture, NAME.labels.png beside NAME.jpg; or one of the photographs that come along, such as sample:coffee.",
    ),
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output.", rich_help_panel=_REPORT)
]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no summary.", rich_help_panel=_REPORT)
]
Verbose: TypeAlias = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Log the device, the losses and the times.", rich_help_panel=_REPORT),
]
