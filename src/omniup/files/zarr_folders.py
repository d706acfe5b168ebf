"""Recognise arrays of zarr, which are folders, and tidy up those that a killed process wrote to."""

from __future__ import annotations

from pathlib import Path


def is_zarr(path: Path) -> bool:
    """Return whether a path is that of a zarr array, by its suffix or by what lies in it."""
    return path.suffix.lower() == ".zarr" or (
        path.is_dir() and any((path / name).exists() for name in (".zarray", "zarr.json"))
    )


def sweep_zarr(folder: Path) -> None:
    """Remove the unfinished chunks that a killed process has left in an array; zarr renames chunks that are whole."""
    for unfinished in folder.rglob("*.partial"):
        unfinished.unlink(missing_ok=True)
