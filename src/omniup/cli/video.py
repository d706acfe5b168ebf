"""`omniup video`: upsample the signals of a film to its resolution, frame by frame and consistent over time."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniup.cli import options
from omniup.cli.report import Report
from omniup.errors import InputError

if TYPE_CHECKING:
    from omniup.sequences.frames import FrameSource
    from omniup.sequences.signals import Signals

_RESULTS = "Results"

COLOUR_FRAMES = 8
"""The first frames, which colours and their limits are fitted to, by default."""


def video(
    film: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            show_default=False,
            help="A film (MP4, MKV, MOV, WEBM, AVI), or a folder of pictures, one a frame, by the numbers in their "
            "names.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A film for pictures of the results, .mp4, .mov or .mkv; .zarr for the results, [T, C, H, W]; or a "
            "folder: with --show of pictures, else of arrays, one file a frame.",
        ),
    ],
    signal: Annotated[
        str | None,
        typer.Option(
            metavar="SIGNALS",
            help="The signals of the frames: an array T x C x h x w as .npy or .zarr, or a folder with one file a "
            "frame.",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Encoder that makes the signals, such as timm:vit_small_patch14_dinov2; `omniup encoders` lists them.",
        ),
    ] = None,
    encoder_set: options.EncoderSettings = None,
    show: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The picture over the frames: labels (or the most probable class), depth (any single channel), pca "
            "or similarity. By default what the signal is.",
            rich_help_panel=_RESULTS,
        ),
    ] = None,
    similar: Annotated[
        options.Point | None,
        typer.Option(
            parser=options.Point.parse,
            metavar="X,Y",
            help="Pixel of the first frame that similarities are with; implies --show similarity.",
            rich_help_panel=_RESULTS,
        ),
    ] = None,
    opacity: Annotated[
        float, typer.Option(min=0, max=1, help="Opacity of the colours over the frames.", rich_help_panel=_RESULTS)
    ] = 0.7,
    colour_frames: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Colours and their limits are fitted to the first N frames and stay the same over the film.",
            rich_help_panel=_RESULTS,
        ),
    ] = COLOUR_FRAMES,
    sound: Annotated[
        bool, typer.Option("--sound/--no-sound", help="Copy the film's sound.", rich_help_panel=_RESULTS)
    ] = True,
    frames: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after N frames.", rich_help_panel=_RESULTS)
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0.01, max=1000, help="Frames a second of a folder.", rich_help_panel=_RESULTS)
    ] = 25,
    independent: Annotated[
        bool, typer.Option("--independent", help="Upsample each frame by itself, without temporal fusion.")
    ] = False,
    method: options.Method = options.DEFAULT_METHOD,
    size: Annotated[
        options.Extent | None,
        typer.Option(
            parser=options.Extent.parse,
            metavar="N|HxW",
            help="Size of the results, or their longer side; by default the frames' own.",
        ),
    ] = None,
    preset: options.Preset = None,
    iterations: options.Iterations = None,
    settings: options.Settings = None,
    resolution: options.Resolution = None,
    sides: options.Padding = "resize",
    precision: options.Precision = "float32",
    memory: options.Memory = options.DEFAULT_MEMORY,
    device: options.Device = "auto",
    name: options.ArrayName = None,
    signal_type: options.SignalType = "auto",
    layout: options.Layout = "auto",
    grid: options.Cells = None,
    labels: options.AreLabels = None,
    invalid: options.Invalid = None,
    holes: options.Holes = "fill",
    consistency: options.Consistency = "auto",
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Upsample the signals of a film's frames to its resolution, consistent over time.

    A run that was stopped or killed goes on when the same command is given again.

    For example: omniup video street.mp4 --encoder timm:vit_small_patch14_dinov2 -o features.mp4
    """
    report = Report(as_json, quiet, verbose)
    if (signal is None) == (encoder is None):
        raise InputError("--signal", "and --encoder are given together, or neither is", "one of the two")
    show = "similarity" if similar is not None and show is None else show
    if (show == "similarity") != (similar is not None):
        raise InputError("--similar", "and --show {show} do not go together", "--show similarity with it", show=show)

    from omniup.cli import encoding, video_results
    from omniup.cli.signals import check_agreement
    from omniup.sequences.frames import open_frames
    from omniup.sequences.job import UpsampledSignals, first_cells, run_video
    from omniup.sequences.painting import SHOWN, Painter, natural
    from omniup.sequences.signals import EncodedSignals, open_signals
    from omniup.sequences.unfinished import Unfinished
    from omniup.sequences.video import VideoUpsampler
    from omniup.upsamplers.checks import check_choice
    from omniup.upsamplers.signal_types import signal_types

    if show is not None:
        check_choice("--show", show, SHOWN)
    form = video_results.form_of(output, show)
    check_agreement(signal_type, labels)
    where, steps = options.pick_device(device), options.pick_consistency(consistency)
    chosen = options.pick_settings(settings, preset=preset, iterations=iterations)
    how = encoding.view(resolution, sides, precision)
    source = open_frames(film, Fraction(rate).limit_denominator(1001))
    given: Signals
    if encoder is not None:
        with report.stage("load"):
            network = encoding.build(encoder, encoder_set)
        given = EncodedSignals(network, signal_type=signal_type, **how)
    else:
        assert signal is not None  # as there is no encoder
        stored = {"signal_type": signal_type, "grid": grid, "layout": layout, "invalid": invalid or ()}
        given = open_signals(signal, are_labels=labels, name=name, **stored)
    _check_counts(source, given, frames, film)
    upsampling: dict[str, Any] = {
        "method": method,
        "size": None if size is None else size.size,
        "independent": independent,
    }
    upsampling |= {"holes": holes, "consistency": steps} | chosen
    made = VideoUpsampler(memory=memory, signal_type=signal_type, **upsampling)
    record = {
        **{"input": source.fingerprint(), "frames": frames, "rate": rate, "device": str(where)},
        **{"signal": given.fingerprint(), "encoder": encoder, "encoder settings": options.pick_settings(encoder_set)},
        **{"resolution": resolution, "sides": sides, "precision": precision, "signal type": signal_type},
        **{"layout": layout, "grid": grid, "labels": labels, "invalid": invalid, "name": name, "memory": memory},
        **{"show": show, "similar": similar, "opacity": opacity, "colour frames": colour_frames, "sound": sound},
    }
    unfinished = Unfinished(output, record | {"upsampling": upsampling})
    inputs = [film, *([] if signal is None else [signal]), *encoding.files(encoder_set)]
    copied = video_results.sound_of(source, output, form, sound)
    with video_results.owned(output, form, inputs, overwrite=overwrite):
        first = first_cells(source, given, colour_frames, where)
        found = signal_types(first[0].values, first[0].signal_type)[0]
        painter = None
        if form in ("film", "pictures"):
            show = show or natural(found, first[0].values.shape[1])
            painter = Painter.fit(show, opacity, source, first, point=similar, **upsampling)
        with video_results.kept(unfinished, overwrite=overwrite):
            done = len(unfinished.times)
            if done:
                report.note(f"{unfinished.path}: goes on after frame {done}")
            sink = video_results.sink_of(output, form, unfinished, painter, source, sound=copied)
            total = source.expected if frames is None else min(frames, source.expected or frames)
            with report.stage("video"), video_results.progress_bar(report, total, done) as progress:
                step = UpsampledSignals(given, made, where)
                count = run_video(source, step, sink, unfinished, most=frames, progress=progress)
    height, width = made.size or source.size
    speed = (count - done) / report.seconds["video"]
    drawn = "" if painter is None else f" as {show}"
    report.note(f"{output}: {count} frames of {height} x {width}, {found}{drawn} ({speed:.2f} frames/s)")
    facts = {"output": output, "frames": count, "size": [height, width], "signal_type": found, "show": show}
    facts |= {"method": method, "independent": independent, "frames_per_second": speed, "device": str(where)}
    report.result(facts | {"seconds": report.seconds})


def _check_counts(source: FrameSource, signals: Signals, most: int | None, film: str) -> None:
    """Refuse fewer or more signals than frames, as far as both are known.

    Raises:
        InputError: they differ.
    """
    if signals.count is None or source.count is None:
        return
    wanted = source.count if most is None else min(most, source.count)
    if signals.count < wanted or (most is None and signals.count > wanted):
        problem, accepted = "has signals of {count} frames, and {film} has {frames}", "one for each frame"
        raise InputError("--signal", problem, accepted, count=signals.count, film=film, frames=source.count)
