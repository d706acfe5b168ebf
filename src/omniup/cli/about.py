"""`omniup methods`, `omniup encoders` and `omniup info`: list what is available and describe the machine."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniup import __version__
from omniup.cli import options
from omniup.cli.report import Report

if TYPE_CHECKING:
    from rich.table import Table

#: Optional packages that something here uses, and the extra of ours that installs them.
OPTIONAL = {
    "timm": "features",
    "torchvision": "features",
    "transformers": "features",
    "onnx": "onnx",
    "accelerate": "train",
    "fastapi": "web",
}


LISTING = Path(__file__).with_name("methods.json")
"""The methods of this package, as `registered` describes them: listing them must not take as long as torch does."""


def methods(as_json: options.AsJson = False) -> None:
    """List the methods of `omniup upsample`, and the settings that --set takes, with their defaults."""
    others = importlib.metadata.entry_points(group="omniup.upsamplers")
    found = registered() if others else json.loads(LISTING.read_text("utf-8"))
    table = listing("method", "what it does, and its settings")
    for name, method in found.items():
        settings = ", ".join(f"{setting}={value}" for setting, value in method["settings"].items())
        table.add_row(name, f"{method['summary']}\n{settings}".strip())
    Report(as_json).result(found, table)


def registered() -> dict[str, dict[str, Any]]:
    """Describe every registered method, those of other packages as well, as data for JSON."""
    from omniup.upsamplers import methods as all_methods

    return {each.name: {"summary": each.summary, "settings": dict(each.settings)} for each in all_methods().values()}


def encoders(as_json: options.AsJson = False) -> None:
    """List the encoders of `omniup features` and `omniup reconstruct`, which compute the features to upsample."""
    from omniup.encoders import encoders as registered

    table = listing("encoder", "what it is")
    for name, summary in registered().items():
        table.add_row(name, summary)
    Report(as_json).result(registered(), table)


def info(as_json: options.AsJson = False) -> None:
    """Print versions, devices, threads, optional packages, and the licences of published weights."""
    import torch

    from omniup.files.licences import LICENCES

    devices = {f"cuda:{index}": torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    devices["cpu"] = f"{platform.machine()}, {torch.get_num_threads()} threads"
    packages = {package: _version(package) for package in OPTIONAL}

    table = listing("", "")
    table.show_header = False
    for name, version in versions().items():
        table.add_row(name, version)
    for name, device in devices.items():
        table.add_row(f"device {name}", device)
    for package, found in packages.items():
        table.add_row(package, found or f'not installed: pip install "omniup[{OPTIONAL[package]}]"')
    for model, licence in LICENCES.items():
        table.add_row(f"weights of {model}", licence)
    facts: dict[str, Any] = {"versions": versions(), "devices": devices, "threads": torch.get_num_threads()}
    Report(as_json).result(facts | {"packages": packages, "licences": LICENCES}, table)


def versions() -> dict[str, str]:
    """Return the versions that numbers may depend on."""
    import torch

    return {"omniup": __version__, "python": platform.python_version(), "torch": torch.__version__}


def listing(*columns: str) -> Table:
    """Create a table without lines."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
