"""Load the networks of a restorer: U-Net, variational autoencoder (VAE), text encoder, and what belongs to them.

A model's folder is data and nothing more: settings are JSON, weights are safetensors, or else pickles of which only
tensors are read; no code of a repository runs.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from omniup.errors import InputError, optional_import
from omniup.files.licences import note_licence
from omniup.restoration.lora import add_lora, load_lora, merge_lora
from omniup.restoration.model_files import RECIPE, ModelFiles, Recipe

SEED = 0
"""Seed of random weights, where there are no others."""


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of a restorer.

    Attributes:
        unet: diffusers' UNet2DConditionModel.
        vae: diffusers' AutoencoderKL.
        text_encoder: transformers' CLIPTextModel.
        tokenizer: transformers' CLIPTokenizer.
        scheduler: diffusers' DDPMScheduler.
        files: what they were loaded from.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    files: ModelFiles

    @property
    def recipe(self) -> Recipe:
        """Settings of their use."""
        return self.files.recipe

    @property
    def cell(self) -> int:
        """Width of a latent's cell, in pixels."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return self.vae.config.latent_channels

    @property
    def dtype(self) -> torch.dtype:
        """Dtype that the networks compute in."""
        return self.unet.dtype

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the networks to a device, and convert them."""
        with _quiet(optional_import("diffusers", extra="restore")):
            for network in (self.unet, self.vae, self.text_encoder):
                network.to(device, dtype)


def load_networks(files: ModelFiles) -> Networks:
    """Build the networks of a model on the CPU, with its adapter merged into the U-Net, to restore with.

    Raises:
        InputError: files are damaged or do not fit; says which.
        MissingPackageError: diffusers, transformers or peft is not installed.
    """
    networks = read_networks(files)
    if files.lora is not None:
        assert files.recipe.lora_rank is not None  # or `locate` would have found none
        if files.has_published_lora:
            note_licence("HYPIR")
        add_lora(networks.unet, files.recipe.lora_rank)
        load_lora(networks.unet, files.lora)
        merge_lora(networks.unet)
    for network in (networks.unet, networks.vae, networks.text_encoder):
        network.eval().requires_grad_(False)
    return networks


def read_networks(
    files: ModelFiles, *, unet: Mapping[str, Any] | None = None, vae: Mapping[str, Any] | None = None
) -> Networks:
    """Build the networks of a model on the CPU, without its adapter.

    Args:
        files: the model.
        unet: settings of the U-Net instead of the model's, which must not have weights.
        vae: likewise of the VAE.

    Raises:
        InputError: files are damaged, have changed or do not fit, or settings are unknown or impossible; says which.
        MissingPackageError: diffusers, transformers or peft is not installed.
    """
    diffusers = optional_import("diffusers", extra="restore")
    transformers = optional_import("transformers", extra="restore")
    folder = files.folder
    files.check_unchanged()
    if files.have_weights and (unet or vae):
        raise InputError(
            "unet and vae",
            "are given for {model}, which has weights",
            "settings of networks that have none",
            model=files.name,
        )
    make = _read if files.have_weights else _new
    changes = {"unet": dict(unet or {}), "vae": dict(vae or {})}
    with _quiet(diffusers, transformers), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)  # torch.manual_seed would reseed the GPUs as well
        networks = Networks(
            unet=make(diffusers.UNet2DConditionModel, folder / "unet", **changes["unet"]),
            vae=make(diffusers.AutoencoderKL, folder / "vae", **changes["vae"]),
            text_encoder=make(transformers.CLIPTextModel, folder / "text_encoder"),
            tokenizer=_without_weights(transformers.CLIPTokenizer, folder / "tokenizer"),
            scheduler=_without_weights(diffusers.DDPMScheduler, folder / "scheduler"),
            files=files,
        )
    _check_fit(networks)
    return networks


def save_networks(networks: Networks, folder: Path) -> None:
    """Write networks as a model's folder, for `locate`; the U-Net as a whole, so that it has no adapter."""
    with _quiet(optional_import("diffusers", extra="restore"), optional_import("transformers", extra="restore")):
        for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
            getattr(networks, part).save_pretrained(folder / part)
    recipe = networks.recipe.model_copy(update={"lora_rank": None})
    (folder / RECIPE).write_text(recipe.model_dump_json() + "\n")


def _new(network_class: Any, folder: Path, **changes: Any) -> Any:
    """Build a network of a folder that has settings and no weights."""
    if hasattr(network_class, "load_config"):  # diffusers'
        known = inspect.signature(network_class.__init__).parameters
        if unknown := [name for name in changes if name not in known]:
            raise InputError(
                network_class.__name__,
                "has no setting {unknown}",
                "{names}",
                unknown=", ".join(unknown),
                names=", ".join(known),
            )
        try:
            return network_class.from_config(network_class.load_config(folder, local_files_only=True) | changes)
        except Exception as error:  # diffusers lets through what torch raises for impossible settings
            if not changes:
                raise
            raise InputError(
                network_class.__name__,
                "cannot be built with {settings} ({reason})",
                settings=changes,
                reason=_summary(error),
            ) from error
    return network_class(network_class.config_class.from_pretrained(folder, local_files_only=True))  # transformers'


def _read(network_class: Any, folder: Path) -> Any:
    """Read a network of a folder, all of it and nothing else."""
    settings: dict[str, Any] = {}
    if not hasattr(network_class, "load_config"):  # transformers'
        settings["ignore_mismatched_sizes"] = True  # so as to report them here; diffusers raises and names them
        settings["attn_implementation"] = "sdpa"  # whatever the folder says, which may name a repository with code
    try:
        network, report = network_class.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **settings
        )
    except Exception as error:  # damaged files raise OSError, ValueError, UnpicklingError, RuntimeError …
        raise _unreadable(folder, network_class, error) from error
    if lacking := sorted(map(str, report["missing_keys"])):
        names = _summary(", ".join(lacking))
        raise InputError(
            "model", "lacks {count} tensors in {path}: {names}", count=len(lacking), path=folder, names=names
        )
    if unfit := sorted(map(str, report["mismatched_keys"])):
        names = _summary(", ".join(unfit))
        raise InputError(
            "model",
            "has {count} tensors of another shape in {path}: {names}",
            count=len(unfit),
            path=folder,
            names=names,
        )
    return network


def _without_weights(network_class: Any, folder: Path) -> Any:
    """Read the parts that are settings only."""
    try:
        return network_class.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # as above
        raise _unreadable(folder, network_class, error) from error


def _unreadable(folder: Path, network_class: Any, error: Exception) -> InputError:
    return InputError(
        "model",
        "has the folder {folder}, which cannot be read as {network} ({reason})",
        folder=folder,
        network=network_class.__name__,
        reason=_summary(error),
    )


def _check_fit(networks: Networks) -> None:
    """Refuse networks that were not made for each other."""
    unet, steps = networks.unet.config, networks.scheduler.config.num_train_timesteps
    folder, width = networks.files.folder, networks.text_encoder.config.hidden_size
    if unet.in_channels != networks.latent_channels:
        raise InputError(
            "model",
            "is {folder}, whose U-Net takes {unet} channels, and whose VAE makes {vae}",
            folder=folder,
            unet=unet.in_channels,
            vae=networks.latent_channels,
        )
    if unet.cross_attention_dim != width:
        raise InputError(
            "model",
            "is {folder}, whose U-Net takes texts of width {unet}, and whose text encoder makes {encoder}",
            folder=folder,
            unet=unet.cross_attention_dim,
            encoder=width,
        )
    if max(networks.recipe.model_t, networks.recipe.coeff_t) >= steps:
        raise InputError(
            "model",
            "has a timestep in {path} beyond the scheduler's {steps}",
            path=networks.files.folder / RECIPE,
            steps=steps,
        )


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


def _summary(cause: object) -> str:
    return textwrap.shorten(str(cause) or type(cause).__name__, 200, placeholder=" …")
