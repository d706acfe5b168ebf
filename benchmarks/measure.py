"""What the scripts of this folder share: their argument, the sample photograph, tables.

Fair timing and peak memory are the package's own, `omniup.evaluation.measuring`.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from omniup.evaluation.measuring import processor


def device_argument(description: str | None) -> torch.device:
    """Parse the one argument that every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    return torch.device(parser.parse_args().device)


def photograph(height: int, width: int, device: torch.device) -> Tensor:
    """The sample photograph at some size, [1, 3, H, W] in 0..1."""
    from omniup.files import image_tensor, sample_image

    return image_tensor(sample_image("coffee").resize((width, height))).to(device)


def gained(ours: Sequence[float], theirs: Sequence[float], form: str) -> str:
    """Format what ours is above theirs, picture by picture: the mean, its standard error, and how often it is above."""
    gains = [one - other for one, other in zip(ours, theirs, strict=True)]
    error = statistics.stdev(gains) / math.sqrt(len(gains))
    return f"{statistics.mean(gains):+{form}} ± {error:{form}}, better in {sum(gain > 0 for gain in gains)}"


def machine(device: torch.device) -> str:
    """One line about where the numbers come from."""
    return f"{processor(device)}, torch {torch.__version__}, Python {platform.python_version()}"


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], device: torch.device) -> None:
    """Print a table."""
    table = Table(*header, title=title, caption=machine(device), title_justify="left", caption_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)
