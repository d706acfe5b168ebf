"""Locate and load what restores: the small network that comes with the package, or HYPIR's networks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from omniup.errors import InputError
from omniup.restoration.base_model import HYPIR
from omniup.restoration.enhancer import Enhancer
from omniup.restoration.model_files import ModelFiles, locate
from omniup.restoration.networks import load_networks
from omniup.restoration.restorer import SMALL, Restorer, weights_path


@dataclass(frozen=True)
class RestorerFile:
    """The file of a small restorer's weights.

    Attributes:
        name: what it was asked for by.
        path: where it is.
    """

    name: str
    path: Path

    have_weights = True

    def fingerprint(self) -> str:
        """Return a text that changes with the file's content."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def locate_model(
    model: str | Path,
    *,
    base: Sequence[str] | None = None,
    weights: str | Path | None = None,
    offline: bool = False,
) -> ModelFiles | RestorerFile:
    """Find the files of a model; fetch them where they are not on this machine.

    Args:
        model: `small`; a .safetensors file that `omniup train restorer` wrote; or as for `locate`.
        base: as for `locate`.
        weights: as for `locate`.
        offline: as for `locate`.

    Raises:
        InputError: files are missing; says which, and how they are to be had.
        MissingPackageError: huggingface_hub is not installed.
    """
    if not is_small(model):
        return locate(model, base=base, weights=weights, offline=offline)
    for name, given in (("base", base), ("weights", weights)):
        if given is not None:
            raise InputError(
                name,
                "is given, and the model is {model}",
                "it with {hypir} or another of that kind",
                model=model,
                hypir=HYPIR,
            )
    path = weights_path(model)
    if not path.is_file():
        raise InputError("model", "is {path}, which is no file", "{small}, or a file", path=path, small=SMALL)
    return RestorerFile(str(model), path)


def load_model(
    files: ModelFiles | RestorerFile, *, device: torch.device | str = "cpu", precision: str = "auto"
) -> Enhancer | Restorer:
    """Load what `locate_model` found.

    Raises:
        InputError: files are damaged or do not fit; says which.
        MissingPackageError: a package of the extra `restore` is not installed, which the small restorer does not need.
    """
    if isinstance(files, RestorerFile):
        return Restorer.from_pretrained(files.name, device=device, precision=precision)
    return Enhancer(load_networks(files), device=device, precision=precision)


def is_small(model: str | Path) -> bool:
    """Return whether a model is a small restorer, by its name."""
    return model == SMALL or Path(model).suffix == ".safetensors"
