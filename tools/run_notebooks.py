"""Run the notebooks from beginning to end, in a folder of their own: what `make notebooks` does before a release.

    python tools/run_notebooks.py [NAME ...]

The notebooks themselves stay as they are, without outputs. What they show is written to out/notebooks/NAME.ipynb.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
FOLDER, OUTPUT = ROOT / "notebooks", ROOT / "out" / "notebooks"

#: Seconds that a cell may take.
LIMIT = 600


def run(path: Path) -> None:
    """Run a notebook and write it with its outputs.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=LIMIT, resources={"metadata": {"path": folder}}).execute()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, OUTPUT / path.name)  # type: ignore[no-untyped-call]
    print(f"{path.name}: {time.perf_counter() - began:.0f} s")


def main(names: list[str]) -> None:
    """Run some notebooks, or all: the English ones, whose twins have the same code."""
    found = [path for path in sorted(FOLDER.glob("*.ipynb")) if not path.name.endswith(".zh.ipynb")]
    for path in found:
        if not names or path.stem in names:
            run(path)


if __name__ == "__main__":
    main(sys.argv[1:])
