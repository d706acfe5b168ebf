"""Recognise arrays of zarr, which are folders."""

from __future__ import annotations

from pathlib import Path


def is_zarr(path: Path) -> bool:
    """Return whether a path is that of a zarr array, by its suffix or by what lies in it."""
    return path.suffix.lower() == ".zarr" or (
        path.is_dir() and any((path / name).exists() for name in (".zarray", "zarr.json"))
    )
