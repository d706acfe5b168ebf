"""`omniup bench`: the benchmark, a package of its own; its commands are imported when they are asked for."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import typer
from typer.core import TyperGroup

from omniup.cli import options
from omniup.errors import MissingPackageError


class Benchmark(TyperGroup):
    """The commands of the package `omniup_bench`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Import the commands, before any help is printed.

        Raises:
            MissingPackageError: the package is not installed; says how to install it.
        """
        self.commands = _commands()
        return super().parse_args(ctx, args)


app = typer.Typer(cls=Benchmark)


@app.callback(invoke_without_command=True)
def bench(context: typer.Context) -> None:
    """Measure methods: how good they are on real data, and what they cost; see docs/benchmarking.md."""
    options.show_help(context)


def _commands() -> Any:
    if importlib.util.find_spec("omniup_bench") is None:
        raise MissingPackageError(
            "omniup_bench", "is needed for this and is not installed: pip install ./benchmarks in a checkout of omniup"
        )
    return typer.main.get_group(importlib.import_module("omniup_bench.command").app).commands
