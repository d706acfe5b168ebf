"""Restore by one denoising step: encoder, U-Net, decoder; in training as in use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from omniup.restoration.networks import Networks


def one_step(networks: Networks, image: Tensor, noise: Tensor, text: Tensor) -> Tensor:
    """Restore a batch of pictures, or of tiles; differentiable.

    Args:
        networks: what to restore with.
        image: [B, 3, f·h, f·w] in -1..1, enlarged to the size of the result, for the VAE's factor f.
        noise: [B, L, h, w] of unit variance, that the posterior is sampled with, for latents of L numbers.
        text: [B, T, D], or [1, T, D] for all.

    Returns:
        [B, 3, f·h, f·w] in -1..1, more or less.
    """
    vae, recipe = networks.vae, networks.recipe
    scaling = vae.config.scaling_factor
    posterior = vae.encode(image).latent_dist
    latent = (posterior.mean + posterior.std * noise) * scaling  # [B, L, h, w]
    context = text.expand(len(image), -1, -1)  # [B, T, D]
    predicted = networks.unet(latent, recipe.model_t, encoder_hidden_states=context).sample  # [B, L, h, w]
    # The step also draws the noise of a sampler's next step, which is of no use here: not from the caller's state.
    step = networks.scheduler.step(
        predicted.float(), recipe.coeff_t, latent.float(), generator=torch.Generator().manual_seed(0)
    )
    clean = step.pred_original_sample.to(latent.dtype) / scaling  # [B, L, h, w]
    return vae.decode(clean).sample


@torch.no_grad()
def encode_prompts(networks: Networks, prompts: Sequence[str]) -> Tensor:
    """Encode prompts for the U-Net: [B, T, D]; tokens beyond the encoder's length are dropped."""
    encoder = networks.text_encoder
    length = encoder.config.max_position_embeddings
    tokens = networks.tokenizer(
        list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    return encoder(tokens.input_ids.to(encoder.device))[0]
