"""The command `omniup`.

Showing help must be quick and torch takes seconds to import: what is imported here does without it, and a command
imports what it works with when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer

from omniup import __version__
from omniup.cli import about, bench, kernels, options, probe, train
from omniup.cli.batch import batch
from omniup.cli.degrade import degrade
from omniup.cli.errors import guarded
from omniup.cli.features import features
from omniup.cli.reconstruct import reconstruct
from omniup.cli.restore import restore
from omniup.cli.serve import serve
from omniup.cli.upsample import upsample
from omniup.cli.video import video

app = typer.Typer(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
for command in (
    *(upsample, features, video, batch, kernels.fit, kernels.render, reconstruct, degrade, restore, serve),
    *(about.methods, about.encoders, about.info),
):
    app.command()(command)
app.add_typer(probe.app, name="probe")
app.add_typer(train.app, name="train")
app.add_typer(bench.app, name="bench")


@app.callback(invoke_without_command=True)
def omniup(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Upsample anything computed from an image to the image's resolution, sharp along its edges."""
    if version:
        print(f"omniup {__version__}")
    else:
        options.show_help(context)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process.

    Args:
        arguments: without the program's name; by default those of the process.
    """
    # How often a thread of OpenMP looks for work before it sleeps. By default it is so often that a fit takes ten to a
    # hundred times as long where something else keeps the cores busy; asked for once, when torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    command = typer.main.get_command(app)
    run = partial(command.main, args=arguments, prog_name="omniup", standalone_mode=False)
    given = sys.argv[1:] if arguments is None else arguments
    sys.exit(guarded(run, bounded=lambda: _has_option(command, "--memory", given)))


def _has_option(command: Any, option: str, arguments: Sequence[str]) -> bool:
    """Return whether the command that the arguments name, below the given one, has an option."""
    for argument in arguments:
        command = getattr(command, "commands", {}).get(argument, command)
    return any(option in parameter.opts for parameter in command.params)
