"""`omniup serve`: serve the demo to a browser."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from omniup.cli import options
from omniup.errors import InputError, optional_import


def serve(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 for any that is free.")] = 8000,
    device: options.Device = "auto",
    queue: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Requests that may wait.")] = 16,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Cores that a fit on the CPU may use; by default all.")
    ] = None,
    mask2former: Annotated[
        str, typer.Option(metavar="REPOSITORY|DIR", help="The segmentation network: of the hub, or a local folder.")
    ] = "facebook/mask2former-swin-tiny-ade-semantic",
    offline: Annotated[bool, typer.Option("--offline", help="Never fetch the weights of a network.")] = False,
    restore_model: Annotated[
        str,
        typer.Option(
            metavar="small|hypir|REPOSITORY|DIR|FILE",
            help="Model that restores pictures, as for `omniup restore`; networks of the hub must be on this machine.",
        ),
    ] = "small",
    base: options.Base = None,
    restore_pixels: Annotated[int, typer.Option(min=1, metavar="N", help="The largest restored picture.")] = 2**22,
    frame_ancestor: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Site that may show the page in a frame, as https://example.org; several."),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
) -> None:
    """Serve the demo as a web page: see test-time optimisation at work, upload your own picture and signal.

    For example: omniup serve --open
    """
    optional_import("fastapi", extra="web")

    from omniup.restoration.model_files import check_base
    from omniup.web import Settings
    from omniup.web import serve as start

    if base:
        check_base(restore_model)
    for origin in frame_ancestor or ():
        if not re.fullmatch(r"https?://[\w.-]+(:\d+)?", origin):
            raise InputError("frame_ancestor", "is {value!r}", "a site, such as https://example.org", value=origin)
    settings = Settings(
        device=options.pick_device(device).type,  # type: ignore[arg-type]  # one of cpu, cuda and mps
        queue=queue,
        threads=threads,
        mask2former=mask2former,
        offline=offline,
        restore_model=restore_model,
        restore_base=tuple(base or ()),
        restored_pixels=restore_pixels,
        frame_ancestors=tuple(frame_ancestor or ()),
    )
    start(settings, host=host, port=port, open_browser=open_browser)
