"""`omniup bench`: the benchmark, a package of its own; its commands are imported when they are asked for."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import typer
from typer.core import TyperGroup

from omniup.errors import MissingPackageError


class Benchmark(TyperGroup):
    """The commands of the package `omniup_bench`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of its commands.

        Raises:
            MissingPackageError: the package is not installed; says how to install it.
        """
        return _benchmark().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return one of its commands, None where there is none of the name; raises as `list_commands` does."""
        return _benchmark().get_command(ctx, cmd_name)


app = typer.Typer(cls=Benchmark, no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure methods: how good they are on real data, and what they cost; see docs/benchmarking.md."""


def _benchmark() -> TyperGroup:
    if importlib.util.find_spec("omniup_bench") is None:
        raise MissingPackageError(
            "omniup_bench",
            "is needed for this and is not installed: pip install omniup-bench, or, in a checkout of omniup, "
            "pip install ./benchmarks",
        )
    return typer.main.get_group(importlib.import_module("omniup_bench.command").app)
