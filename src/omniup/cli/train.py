"""`omniup train`: train networks from a configuration, in one process or in those that `accelerate launch` starts."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeAlias

import typer

from omniup.cli import options
from omniup.cli.about import listing
from omniup.cli.report import Report

if TYPE_CHECKING:
    from rich.table import Table

    from omniup.training.loop import Outcome, Progress

logger = logging.getLogger(__name__)

app = typer.Typer()


@app.callback(invoke_without_command=True)
def train(context: typer.Context) -> None:
    """Train a network."""
    options.show_help(context)


ConfigurationFile: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="CONFIG", show_default=False, help="A YAML file: what to train on what, and how."),
]
OutputFolder: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        show_default=False,
        help="The folder for checkpoints, TensorBoard's events and the weights; by default the configuration's.",
    ),
]
Resume: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--resume/--from-scratch",
        show_default=False,
        help="Go on from the last checkpoint in DIR if there is one, or remove what trainings wrote there and "
        "start again. Without either, a DIR with checkpoints is refused.",
    ),
]
Changes: TypeAlias = Annotated[
    list[options.Setting] | None,
    typer.Option(
        "--set",
        parser=options.Setting.parse,
        metavar="PATH=VALUE",
        help="A value instead of the file's, e.g. optimiser.learning_rate=1e-4; may be repeated.",
    ),
]


_SEVERAL = "\n\nOn several GPUs: accelerate launch -m omniup train {name} CONFIG -o DIR"

TRAININGS = {
    "anyup": "Train AnyUp to upsample the features of any backbone; see docs/training.md." + _SEVERAL,
    "hypir": "Train HYPIR, which `omniup restore` draws with, on pictures of yours; see docs/restoration.md."
    + _SEVERAL,
    "refiner": "Train the refiner of AnyUp's results, which samples what is uncertain; see docs/extensions.md.",
    "restorer": "Train the small network of `omniup restore`, on photographs of yours; see docs/restoration.md."
    + _SEVERAL,
}
"""Texts of the commands by their names; the training of each is the package of this name in `omniup.training`."""


def _add_command(name: str, text: str) -> None:
    @app.command(name, help=text.format(name=name))
    def command(
        configuration: ConfigurationFile,
        output: OutputFolder = None,
        resume: Resume = None,
        changes: Changes = None,
        as_json: options.AsJson = False,
        quiet: options.Quiet = False,
        verbose: options.Verbose = False,
    ) -> None:
        report = Report(as_json, quiet, verbose)
        training = importlib.import_module(f"omniup.training.{name}")  # only now, as it is slow
        _run(report, training, configuration, changes, output=output, resume=resume)


for _name, _text in TRAININGS.items():
    _add_command(_name, _text)


def _run(
    report: Report, training: ModuleType, configuration: str, changes: list[options.Setting] | None, **where: Any
) -> None:
    """Run a training, and report in the first process how it goes and what has come of it.

    Args:
        report: of the command.
        training: the package with its `read_configuration` and `train`.
        configuration: the file.
        changes: values instead of the file's.
        **where: `output` and `resume` of `train`.
    """
    from omniup.errors import optional_import

    wanted = training.read_configuration(configuration, dict(changes or []))
    accelerate = optional_import("accelerate", extra="train")
    with _shown(report) as show:
        outcome: Outcome = training.train(wanted, progress=show, **where)
    if accelerate.PartialState().is_main_process:
        facts = dataclasses.asdict(outcome) | {"weights": outcome.weights and str(outcome.weights)}
        report.result(facts, _table(outcome.measured) if outcome.measured else None)
        if outcome.finished:
            report.note(f"{outcome.weights}: the weights after {outcome.step} steps")
        else:
            report.note(f"Stopped after step {outcome.step}, of which there is a checkpoint; --resume goes on from it.")
    if not outcome.finished:
        raise KeyboardInterrupt
    if accelerate.PartialState().num_processes > 1:
        # Everything is written. Threads of torch.distributed abort a process now and then as the interpreter ends.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


@contextmanager
def _shown(report: Report) -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a training on a terminal, and the time it will take."""
    from tqdm import tqdm

    with ExitStack() as stack:
        bars: list[tqdm[NoReturn]] = []

        def show(progress: Progress) -> None:
            if not bars:  # only now is it known where a resumed training goes on
                made = tqdm(
                    desc="train",
                    initial=progress.step - 1,
                    total=progress.steps,
                    leave=False,
                    disable=report.draws_no_bars,
                )
                bars.append(stack.enter_context(made))
            bars[0].set_postfix(loss=f"{progress.losses['loss']:.4f}", refresh=False)
            bars[0].update()
            logger.info("step %d: %s", progress.step, _line(progress.losses))
            if progress.measured and not report.quiet:
                tqdm.write(f"step {progress.step}: {_line(progress.measured)}", file=sys.stderr)

        yield show


def _line(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())


def _table(measured: dict[str, float]) -> Table:
    """Lay out the validation: a column for each method, a row for each measure, of each backbone if any."""
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for name, value in measured.items():
        *about, method = name.split("/")
        rows.setdefault(tuple(reversed(about)), {})[method] = value
    methods = list(next(iter(rows.values())))
    heads = ("backbone", "measure")[-len(next(iter(rows))) :]
    table = listing(*heads, *methods)
    for key, values in sorted(rows.items()):
        table.add_row(*key, *(f"{values[method]:.4f}" for method in methods))
    return table
