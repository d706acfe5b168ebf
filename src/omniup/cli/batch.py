"""`omniup batch`: compute, upsample and keep results of all pictures of a data set."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, cast

import typer

from omniup.cli import options
from omniup.cli.report import Report
from omniup.errors import InputError

LISTED = 20
"""Broken pictures that are printed, at most; the manifest has all."""


def batch(
    job: Annotated[
        str,
        typer.Argument(
            metavar="JOB.yaml",
            show_default=False,
            help="A YAML file: which pictures, which signals of them, what is kept, and where; see docs/datasets.md.",
        ),
    ],
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="In this process, or by workers of Ray.", rich_help_panel="Engine")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Workers of Ray; by default one for each GPU, or for as many cores as the job has threads.",
            rich_help_panel="Engine",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A cluster of Ray that runs, e.g. auto or host:6379; by default one is started on this machine.",
            rich_help_panel="Engine",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="The I-th of N parts of the data set, from 1 on, for N processes that a scheduler starts.",
            rich_help_panel="Engine",
        ),
    ] = None,
    ahead: Annotated[
        int,
        typer.Option(
            min=1,
            max=1024,
            metavar="N",
            help="Pictures that are read ahead, and that a worker of Ray gets at a time.",
            rich_help_panel="Engine",
        ),
    ] = 8,
    retry: Annotated[bool, typer.Option("--retry", help="Compute again what was broken.")] = False,
    changes: Annotated[
        list[options.Setting] | None,
        typer.Option(
            "--set",
            parser=options.Setting.parse,
            metavar="PATH=VALUE",
            help="A value instead of the file's, e.g. output.path=out; may be repeated.",
        ),
    ] = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Compute signals of a data set, upsample them, and keep what JOB.yaml says of the results.

    A job that was interrupted or killed goes on with the same command. For example: omniup batch job.yaml
    """
    report = Report(as_json, quiet, verbose)

    from omniup.jobs.batch import batch as run
    from omniup.upsamplers.checks import check_choice

    check_choice("--engine", engine, ("local", "ray"))
    where = str(options.pick_device(device))
    with report.stage("batch"), _progress(report) as show:
        try:
            summary = run(
                job,
                engine=cast("Literal['local', 'ray']", engine),
                workers=workers,
                address=address,
                device=where,
                shard=shard,
                ahead=ahead,
                retry=retry,
                changes=dict(changes or []),
                progress=show,
            )
        except KeyboardInterrupt:
            report.note("interrupted: the same command goes on from there")
            raise
    count = len(summary.broken)
    done, skipped, folder = summary.done, summary.skipped, str(summary.output)
    report.note(f"{folder}: {done} done, {skipped} skipped, {count} broken ({report.times})")
    facts: dict[str, Any] = {"output": folder, "done": done, "skipped": skipped, "broken": summary.broken}
    report.result({**facts, "engine": engine, "device": where, "seconds": report.seconds})
    if count:
        for key, reason in list(summary.broken.items())[:LISTED]:
            print(f"{key}: {reason}", file=sys.stderr)
        rest = count - min(count, LISTED)
        more = f", and {rest} more, which _job/manifest.jsonl lists" if rest else ""
        raise InputError(f"{count} of {count + done + skipped} pictures", "are broken: those above{more}", more=more)


@contextmanager
def _progress(report: Report) -> Iterator[Callable[[int, int], None]]:
    """Show how many pictures are done, how many a second, and the time left."""
    from tqdm import tqdm

    bar_format = "{desc} {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} [{elapsed}, {remaining} left, {rate_fmt}]"
    with tqdm(desc="batch", leave=False, disable=report.draws_no_bars, bar_format=bar_format, unit=" pictures") as bar:

        def show(seen: int, total: int) -> None:
            bar.total = total
            bar.update(seen - bar.n)

        yield show
