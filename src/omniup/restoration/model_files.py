"""Locate the files of a model.

A model is a folder in diffusers' layout, `unet/`, `vae/`, `text_encoder/`, `tokenizer/` and `scheduler/`, with a LoRA
file beside them unless the U-Net has been trained as a whole; `hypir.json` says what is peculiar to a model, and a
folder without it is taken for the published one. `tiny` is such a folder that comes with the package, without weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from omniup.errors import InputError
from omniup.files.checksums import check_unchanged
from omniup.files.hub import find, find_cached, record_path
from omniup.restoration.base_model import HYPIR, PUBLISHED, SOURCES, fetch_base

TINY = "tiny"
"""The name of the model that comes with the package: as good as nothing, until it has been trained."""

RECIPE = "hypir.json"

_LORA_REPOSITORY = "lxq007/HYPIR"
_LORA_FILES = ("HYPIR_sd2.safetensors", "HYPIR_sd2.pth")

_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_WEIGHTS = {
    "unet": ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
    "vae": ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
    "text_encoder": ("model.safetensors", "pytorch_model.bin"),
}
_FILES = (
    *(f"{part}/config.json" for part in _WEIGHTS),
    *(f"{part}/{names[0]}" for part, names in _WEIGHTS.items()),
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "scheduler/scheduler_config.json",
)
_EXTRA = ("tokenizer/special_tokens_map.json", "tokenizer/tokenizer.json", RECIPE, *_LORA_FILES)


class Recipe(BaseModel):
    """Settings of a restorer beyond those of its networks; the defaults are the published ones.

    Attributes:
        model_t: the timestep that the U-Net is given.
        coeff_t: the timestep at which the scheduler takes its one step.
        lora_rank: of the adapter; None for a U-Net that has been trained as a whole.
        patch: the sides of the pictures it was trained on, in pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_t: int = Field(200, ge=0)
    coeff_t: int = Field(200, ge=0)
    lora_rank: int | None = Field(256, ge=1)
    patch: int = Field(512, ge=32)


@dataclass(frozen=True)
class ModelFiles:
    """Files of a model, before any of it is loaded.

    Attributes:
        name: what it was asked for by.
        folder: in diffusers' layout.
        recipe: how its networks are to be used.
        lora: the file with the U-Net's adapter; None if there is none.
        have_weights: False for networks that are still to be trained, which begin at random.
        record: the file with the checksums of downloaded networks; None for a folder of the user's.
        lora_record: likewise of a downloaded adapter.
    """

    name: str
    folder: Path
    recipe: Recipe
    lora: Path | None
    have_weights: bool
    record: Path | None = None
    lora_record: Path | None = None

    @property
    def has_published_lora(self) -> bool:
        """True if the adapter is the authors', by its name."""
        return self.lora is not None and self.lora.name in _LORA_FILES

    def check_unchanged(self) -> None:
        """Refuse downloaded networks and adapters that have changed since they were first loaded, by their SHA-256.

        Raises:
            InputError: they have.
        """
        if self.record is not None:
            check_unchanged(self.folder, self._paths(), self.record)
        if self.lora is not None and self.lora_record is not None:
            check_unchanged(self.lora.parent, [self.lora], self.lora_record)

    def fingerprint(self) -> str:
        """Return a text that changes with the files: small ones by their content, large ones by size and time."""
        digest = hashlib.sha256()
        for path in [*self._paths(), *([] if self.lora is None else [self.lora])]:
            status = path.stat()
            is_small = status.st_size < 2**20
            known = path.read_bytes() if is_small else f"{status.st_size} {status.st_mtime_ns}".encode()
            digest.update(f"{path.parent.name}/{path.name}".encode() + known)
        return digest.hexdigest()

    def _paths(self) -> list[Path]:
        """List the files of the networks."""
        found = [self.folder / RECIPE, *(path for part in _PARTS for path in sorted((self.folder / part).glob("*")))]
        return [path for path in found if path.is_file()]


def locate(
    model: str | Path = PUBLISHED,
    *,
    base: Sequence[str] | None = None,
    weights: str | Path | None = None,
    adapted: bool = True,
    offline: bool = False,
) -> ModelFiles:
    """Find the files of a model; fetch them where they are not on this machine.

    Args:
        model: `hypir`, which is the published model; `tiny`; a folder in diffusers' layout; or a repository of the
            Hugging Face hub.
        base: sources of the published model's networks, tried in order; by default `SOURCES`. Each is a repository of
            the hub, the URL that the files lie below, or a folder. What is on this machine comes first.
        weights: a LoRA file for the U-Net. By default the one in the folder, else the published one; none for `tiny`.
        adapted: False for networks that a new adapter is to be trained for: without `weights`, none is looked for.
        offline: take files that are on this machine only, as the environment variable HF_HUB_OFFLINE does.

    Raises:
        InputError: files are missing; says which, and how they are to be had.
        MissingPackageError: huggingface_hub is not installed.
    """
    is_tiny = model == TINY
    if base is not None:
        check_base(model)
    folder, is_own = (
        (Path(__file__).with_name(TINY), True) if is_tiny else _folder(model, base or SOURCES, offline=offline)
    )
    recipe = _recipe(folder)
    if weights is not None and recipe.lora_rank is None:
        raise InputError("weights", "is {path}, and the U-Net of {model} takes no LoRA", path=weights, model=model)
    if weights is not None and not Path(weights).is_file():
        raise InputError(
            "weights", "is {path}, which is no file", "LoRA tensors, as .safetensors or .pth", path=weights
        )
    lora, lora_record = None if weights is None else Path(weights), None
    if lora is None and adapted and recipe.lora_rank is not None and not is_tiny:
        lora = _published_lora(folder, offline=offline)
        lora_record = None if is_own and lora.parent == folder else record_path(lora.parent)
    record = None if is_own else record_path(folder)
    return ModelFiles(str(model), folder, recipe, lora, not is_tiny, record, lora_record)


def check_base(model: str | Path) -> None:
    """Check that a model's networks have sources to choose from.

    Raises:
        InputError: it is another model than the published one.
    """
    if str(model) not in (PUBLISHED, HYPIR):
        problem, accepted = "is given, and the model is {model}", "sources of the model {published}"
        raise InputError("base", problem, accepted, model=model, published=HYPIR)


def _folder(model: str | Path, base: Sequence[str], *, offline: bool) -> tuple[Path, bool]:
    """Find the folder with a model's files, and whether it is the user's own and not a cache's."""
    if Path(model).is_dir():
        return _whole(Path(model)), True
    if str(model) in (PUBLISHED, HYPIR):
        for source in base:
            if Path(source).is_dir():
                return _whole(Path(source)), True
            if (found := find_cached(source, _FILES)) is not None:
                return found, False
        return fetch_base(base, _FILES, _EXTRA, offline=offline), False
    found = find(
        str(model),
        _FILES,
        argument="model",
        accepted="a repository, once `{fetch}` has fetched it where there is a network, tiny, or a folder in "
        "diffusers' layout",
        more=_EXTRA,
        offline=offline,
    )
    return found, False


def _whole(folder: Path) -> Path:
    """Check that a folder has all files of a model.

    Raises:
        InputError: it has not.
    """
    needed: list[tuple[str, ...]] = [(name,) for name in _FILES if name.endswith("config.json")]
    needed += [tuple(f"{part}/{name}" for name in names) for part, names in _WEIGHTS.items()]
    needed += [("tokenizer/vocab.json", "tokenizer/tokenizer.json")]
    if missing := [names[0] for names in needed if not any((folder / name).is_file() for name in names)]:
        raise InputError(
            "model",
            "is the folder {folder}, which has no {names}",
            "a folder in diffusers' layout",
            folder=folder,
            names=", ".join(missing),
        )
    return folder


def _recipe(folder: Path) -> Recipe:
    path = folder / RECIPE
    if not path.is_file():
        return Recipe()
    try:
        return Recipe.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: {place}" if place else str(path),
            "cannot be accepted ({reason})",
            "{names}",
            reason=first["msg"],
            names=", ".join(Recipe.model_fields),
        ) from error


def _published_lora(folder: Path, *, offline: bool) -> Path:
    """Find the adapter: in the model's folder, where it may be as safetensors, or else on the hub."""
    for name in _LORA_FILES:
        if (folder / name).is_file():
            return folder / name
    found = find(
        _LORA_REPOSITORY,
        _LORA_FILES[-1:],
        argument="weights",
        accepted="a LoRA file; the published one, once `{fetch}` has fetched it where there is a network, or it lies "
        "in {folder}",
        offline=offline,
        folder=folder,
    )
    return found / _LORA_FILES[-1]
