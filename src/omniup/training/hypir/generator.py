"""Make the generator: a restorer's networks, some of whose weights are trained, and their moving average."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omniup.errors import InputError
from omniup.files import write_tensors
from omniup.files.atomic import hidden_path, replace_folder
from omniup.files.licences import note_licence
from omniup.files.refusals import Subject, printable
from omniup.restoration.lora import add_lora, load_lora, merge_lora
from omniup.restoration.model_files import locate
from omniup.restoration.networks import Networks, read_networks, save_networks
from omniup.restoration.one_step import encode_prompts, one_step
from omniup.training.hypir.configuration import GeneratorSettings
from omniup.training.randomness import seeded

LORA, MODEL = "hypir.safetensors", "model"
"""Results of a training: an adapter, or the folder of a whole model."""

_LOG_VARIANCE = -8.0  # of a posterior that begins at random weights
_REFERENCE = 2.0  # a constant, against features of about 0.5


class Generator(nn.Module):
    """A restorer of batches of pictures, some of whose weights are trained.

    Args:
        settings: which networks, and what learns.
        image_size: of the pictures that it learns on.
        seed: of the adapter's weights.

    Raises:
        InputError: files are missing, damaged or do not fit, or settings are impossible; says which.
        MissingPackageError: diffusers, transformers or peft is not installed.
    """

    def __init__(self, settings: GeneratorSettings, image_size: int, seed: int) -> None:
        super().__init__()
        files = locate(settings.model, base=settings.base, weights=settings.weights, adapted=False)
        chosen = {name: getattr(settings, name) for name in ("lora_rank", "model_t", "coeff_t")}
        changes: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
        recipe = files.recipe.model_copy(update=changes)
        if settings.train == "lora" and recipe.lora_rank is None:
            raise InputError(
                "generator.lora_rank", "is missing, and {model} has no adapter that would say it", model=settings.model
            )
        changed = bool(settings.unet_settings or settings.vae_settings)
        self.is_adapter = settings.train == "lora" and settings.vae == "frozen" and recipe == files.recipe
        self.is_adapter = self.is_adapter and not changed
        if not self.is_adapter:
            recipe = recipe.model_copy(update={"patch": max(image_size, 32)})
        networks = read_networks(
            dataclasses.replace(files, recipe=recipe), unet=settings.unet_settings, vae=settings.vae_settings
        )
        for network in (networks.unet, networks.vae, networks.text_encoder):
            network.eval().requires_grad_(False)
        if not files.have_weights:
            _initialise(networks, settings)
        if settings.train == "all":
            networks.unet.requires_grad_(True)
        else:
            assert recipe.lora_rank is not None  # as just checked
            with seeded(seed, "adapter"):
                add_lora(networks.unet, recipe.lora_rank)
            if settings.weights is not None:
                if files.has_published_lora:
                    note_licence("HYPIR")
                load_lora(networks.unet, settings.weights)
        if settings.vae == "trained":
            networks.vae.requires_grad_(True)
        if settings.gradient_checkpointing:
            networks.unet.enable_gradient_checkpointing()
            networks.vae.enable_gradient_checkpointing()
        self.networks = networks
        self.unet, self.vae, self.text_encoder = networks.unet, networks.vae, networks.text_encoder
        self._empty_prompt: Tensor | None = None

    def forward(self, image: Tensor, noise: Tensor, text: Tensor) -> Tensor:
        """Restore pictures; see `one_step`."""
        return one_step(self.networks, image, noise, text)

    @property
    def trained_weights(self) -> dict[str, nn.Parameter]:
        """Weights that are trained, by name; those of an adapter alone by their published names."""
        found = {name: weight for name, weight in self.named_parameters() if weight.requires_grad}
        return {name.removeprefix("unet."): weight for name, weight in found.items()} if self.is_adapter else found

    @property
    def last_layer(self) -> Tensor:
        """Trained weights of the U-Net's last layer, at which gradients are measured."""
        layer = self.unet.conv_out
        return layer.lora_B["default"].weight if hasattr(layer, "lora_B") else layer.weight

    def text(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts for the U-Net: [B, T, D], or [1, T, D] where all are empty."""
        if any(prompts):
            return encode_prompts(self.networks, prompts)
        if self._empty_prompt is None:
            self._empty_prompt = encode_prompts(self.networks, [""])
        return self._empty_prompt

    def noise(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """Draw noise for sampling the posterior of so many pictures, on the CPU: [count, L, h, w]."""
        cells = side // self.networks.cell
        return torch.randn((count, self.networks.latent_channels, cells, cells), generator=generator)

    def check_side(self, side: int) -> None:
        """Refuse pictures that the networks cannot halve as often as they do.

        Raises:
            InputError: the side is no such multiple.
        """
        unit = self.networks.cell * 2 ** (len(self.unet.config.block_out_channels) - 1)
        if side % unit:
            raise InputError(
                "data.image_size", "is {value}", "multiples of {unit}, for these networks", value=side, unit=unit
            )

    def write(self, folder: Path, metadata: dict[str, str]) -> Path:
        """Write the trained weights, whole or not at all; an adapter beside other changes is merged.

        Returns:
            A LoRA file for the model that was begun with, or the folder of a model of its own.

        Raises:
            InputError: it cannot be written.
        """
        if self.is_adapter:
            write_tensors(folder / LORA, {name: weight.data for name, weight in self.trained_weights.items()}, metadata)
            return folder / LORA
        if hasattr(self.unet, "peft_config"):
            merge_lora(self.unet)
        place, hidden = folder / MODEL, hidden_path(folder)
        try:
            with Subject(printable(place), "a folder that can be made and written to").attempt("written"):
                save_networks(self.networks, hidden)
                replace_folder(hidden, place)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
        return place


@torch.no_grad()
def _initialise(networks: Networks, settings: GeneratorSettings) -> None:
    """Initialise networks that are trained from random weights so that the signal passes through them.

    The U-Net takes nothing of the latents for noise, and the VAE's posterior is narrow: as drawn, it would have as much
    noise as signal, and of the latents that are weaker than others nothing would be learned for long. Half of the
    VAE's channels begin with a constant on top: against it, what the picture adds is small, so that the norms, which
    divide by the deviation of all, leave the picture's contrast as it is.
    """
    if settings.train == "all":
        for weight in networks.unet.conv_out.parameters():
            weight.zero_()
    if settings.vae == "trained":
        # The last convolution gives the means of the latents, then the logarithms of their variances.
        last = networks.vae.quant_conv if networks.vae.quant_conv is not None else networks.vae.encoder.conv_out
        last.weight[networks.latent_channels :] = 0
        last.bias[networks.latent_channels :] = _LOG_VARIANCE
        for part in (networks.vae.encoder, networks.vae.decoder):
            part.conv_in.bias[::2] += _REFERENCE


class TrainedWeights:
    """Trained weights of a generator, as a checkpoint has them."""

    def __init__(self, generator: Generator) -> None:
        self._weights = generator.trained_weights

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights."""
        return {name: weight.data for name, weight in self._weights.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Set the weights."""
        for name, weight in self._weights.items():
            weight.copy_(state[name])
