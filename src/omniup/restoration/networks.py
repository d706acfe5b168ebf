"""The networks of a restorer: U-Net, variational autoencoder (VAE), text encoder, and what belongs to them.

A model is a folder in diffusers' layout, `unet/`, `vae/`, `text_encoder/`, `tokenizer/` and `scheduler/`, with a LoRA
file beside them unless the U-Net has been trained as a whole; `hypir.json` says what is peculiar to a model, and a
folder without it is taken for the published one. `tiny` is such a folder that comes with the package, without weights.

A folder is data and nothing more: settings are JSON, weights are safetensors, or else pickles of which only tensors
are read; no code of a repository runs.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from omniup.errors import InputError, optional_import
from omniup.restoration.hub import find
from omniup.restoration.lora import add_lora, load_lora, merge_lora

PUBLISHED = "stabilityai/stable-diffusion-2-1-base"
"""The repository of the published model's networks."""

TINY = "tiny"
"""The name of the model that comes with the package: as good as nothing, until it has been trained."""

SEED = 0
"""Of random weights, where there are no others."""

_LORA_REPOSITORY = "lxq007/HYPIR"
_LORA_FILES = ("HYPIR_sd2.safetensors", "HYPIR_sd2.pth")
_RECIPE = "hypir.json"

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
    "scheduler/scheduler_config.json",
)
_EXTRA = ("tokenizer/*.json", _RECIPE, *_LORA_FILES)


class Recipe(BaseModel):
    """What a restorer must know about its networks beyond their own settings; the defaults are the published ones.

    Attributes:
        model_t: the timestep that the U-Net is told.
        coeff_t: the timestep at which the scheduler takes its one step.
        lora_rank: of the adapter; None for a U-Net that has been trained as a whole.
        patch: the sides of the pictures it was trained on, in pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_t: int = Field(200, ge=0)
    coeff_t: int = Field(200, ge=0)
    lora_rank: int | None = Field(256, ge=1)
    patch: int = Field(512, ge=32)


@dataclass(frozen=True, eq=False)
class Networks:
    """What restores pictures.

    Attributes:
        unet: diffusers' UNet2DConditionModel.
        vae: diffusers' AutoencoderKL.
        text_encoder: transformers' CLIPTextModel.
        tokenizer: transformers' CLIPTokenizer.
        scheduler: diffusers' DDPMScheduler.
        recipe: how they are to be used.
        weights: what was used, in plain words.
        are_random: whether nothing was: they have not learnt anything.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    recipe: Recipe
    weights: str
    are_random: bool = False

    @property
    def cell(self) -> int:
        """How many pixels a latent's cell is wide."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def latent_channels(self) -> int:
        """How many numbers a latent's cell has."""
        return self.vae.config.latent_channels

    @property
    def dtype(self) -> torch.dtype:
        """The numbers that the networks compute with."""
        return self.unet.dtype

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the networks to a device, and convert them."""
        with _quiet(optional_import("diffusers", extra="restore")):
            for network in (self.unet, self.vae, self.text_encoder):
                network.to(device, dtype)


def load_networks(
    model: str | Path = PUBLISHED, *, weights: str | Path | None = None, offline: bool = False
) -> Networks:
    """Build the networks of a model on the CPU, with its adapter merged into the U-Net.

    Args:
        model: `tiny`; a folder in diffusers' layout; or a repository of the Hugging Face hub.
        weights: a LoRA file for the U-Net. By default the one in the folder, else the published one; none for `tiny`.
        offline: take files that are on this machine only, as the environment variable HF_HUB_OFFLINE does.

    Raises:
        InputError: files are missing, damaged or do not fit; says which, and how they are to be had.
        MissingPackageError: diffusers, transformers or peft is not installed.
    """
    diffusers = optional_import("diffusers", extra="restore")
    transformers = optional_import("transformers", extra="restore")
    optional_import("peft", extra="restore")  # before anything is downloaded
    is_tiny = model == TINY
    folder = Path(__file__).with_name(TINY) if is_tiny else _folder(model, offline=offline)
    recipe = _recipe(folder)
    if weights is None and not is_tiny and recipe.lora_rank is not None:
        weights = _published_lora(folder, offline=offline)
    make = _new if is_tiny else _read
    with _quiet(diffusers, transformers), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)  # torch.manual_seed would reseed the GPUs as well
        networks = Networks(
            unet=make(diffusers.UNet2DConditionModel, folder / "unet"),
            vae=make(diffusers.AutoencoderKL, folder / "vae"),
            text_encoder=make(transformers.CLIPTextModel, folder / "text_encoder"),
            tokenizer=_without_weights(transformers.CLIPTokenizer, folder / "tokenizer"),
            scheduler=_without_weights(diffusers.DDPMScheduler, folder / "scheduler"),
            recipe=recipe,
            weights=_in_words(model, weights),
            are_random=is_tiny,
        )
    _check_fit(networks, folder)
    if weights is not None:
        _adapt(networks.unet, recipe, weights)
    for network in (networks.unet, networks.vae, networks.text_encoder):
        network.eval().requires_grad_(False)
    return networks


def _folder(model: str | Path, *, offline: bool) -> Path:
    """Find the folder with a model's files: the caller's own, or the hub's."""
    folder = Path(model)
    if not folder.is_dir():
        return find(str(model), _FILES, extra=_EXTRA, offline=offline)
    needed: list[tuple[str, ...]] = [(name,) for name in _FILES if name.endswith("config.json")]
    needed += [tuple(f"{part}/{name}" for name in names) for part, names in _WEIGHTS.items()]
    needed += [("tokenizer/vocab.json", "tokenizer/tokenizer.json")]
    if missing := [names[0] for names in needed if not any((folder / name).is_file() for name in names)]:
        raise InputError(f"model: the folder {folder} has no {', '.join(missing)}; accepted: diffusers' layout")
    return folder


def _recipe(folder: Path) -> Recipe:
    path = folder / _RECIPE
    if not path.is_file():
        return Recipe()
    try:
        return Recipe.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        raise InputError(f"{path}: {place}: {first['msg']}; accepted: {', '.join(Recipe.model_fields)}") from error


def _published_lora(folder: Path, *, offline: bool) -> Path:
    """Find the adapter: in the model's folder, where it may be as safetensors, or else on the hub."""
    for name in _LORA_FILES:
        if (folder / name).is_file():
            return folder / name
    try:
        return find(_LORA_REPOSITORY, _LORA_FILES[-1:], offline=offline) / _LORA_FILES[-1]
    except InputError as error:
        raise InputError(f"{error}; or lay it into {folder}, or name it as `weights`") from error


def _new(kind: Any, folder: Path) -> Any:
    """Build a network of a folder that has settings and no weights."""
    if hasattr(kind, "load_config"):  # diffusers'
        return kind.from_config(kind.load_config(folder, local_files_only=True))
    return kind(kind.config_class.from_pretrained(folder, local_files_only=True))  # transformers'


def _read(kind: Any, folder: Path) -> Any:
    """Read a network of a folder, all of it and nothing else."""
    # transformers says what does not fit in its report only if it may ignore it; diffusers, which may not, raises
    settings = {} if hasattr(kind, "load_config") else {"ignore_mismatched_sizes": True}
    try:
        network, report = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True, **settings)
    except Exception as error:  # damaged files raise OSError, ValueError, UnpicklingError, RuntimeError …
        raise InputError(f"model: {folder} cannot be read as {kind.__name__} ({_summary(error)})") from error
    for key, problem in {"missing_keys": "lacks", "mismatched_keys": "has in another shape"}.items():
        if names := sorted(map(str, report[key])):
            raise InputError(f"model: {folder} {problem} {len(names)} tensors: {_summary(', '.join(names))}")
    return network


def _without_weights(kind: Any, folder: Path) -> Any:
    """Read what is settings only."""
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # as above
        raise InputError(f"model: {folder} cannot be read as {kind.__name__} ({_summary(error)})") from error


def _check_fit(networks: Networks, folder: Path) -> None:
    """Refuse networks that were not made for each other."""
    unet, steps = networks.unet.config, networks.scheduler.config.num_train_timesteps
    pairs = {
        "the U-Net's channels, and the VAE's": (unet.in_channels, networks.latent_channels),
        "the U-Net's width of texts, and the text encoder's": (
            unet.cross_attention_dim,
            networks.text_encoder.config.hidden_size,
        ),
    }
    for what, (one, other) in pairs.items():
        if one != other:
            raise InputError(f"model: {folder} does not fit together: {what}, are {one} and {other}")
    if max(networks.recipe.model_t, networks.recipe.coeff_t) >= steps:
        raise InputError(f"model: {folder / _RECIPE} has a timestep beyond the scheduler's {steps}")


def _adapt(unet: Any, recipe: Recipe, weights: str | Path) -> None:
    if recipe.lora_rank is None:
        raise InputError(f"weights: is {weights}, and the U-Net of this model takes no LoRA")
    add_lora(unet, recipe.lora_rank)
    load_lora(unet, weights)
    merge_lora(unet)


def _in_words(model: str | Path, weights: str | Path | None) -> str:
    base = f"random (seed {SEED})" if model == TINY else str(model)
    return base if weights is None else f"{base}, LoRA {weights}"


@contextmanager
def _quiet(*libraries: ModuleType) -> Iterator[None]:
    """Keep progress bars, and warnings about what is checked here anyway, off the terminal."""
    logs = [library.utils.logging for library in libraries]
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity(log.CRITICAL)
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, verbosity, bar in before:
            log.set_verbosity(verbosity)
            if bar:
                log.enable_progress_bar()


def _summary(problem: object) -> str:
    return textwrap.shorten(str(problem) or type(problem).__name__, 200, placeholder=" …")
