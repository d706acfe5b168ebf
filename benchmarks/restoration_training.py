"""One step of HYPIR's training, against a plain loop in the manner of diffusers' training scripts.

Both change the generator's adapter once and then, on other photographs, the discriminator's heads once, with the same
networks, losses, photographs and degradation, in float32. The plain loop is what one writes down first: it encodes
prompts at every step, judges real and restored pictures one after the other, takes diffusers' moving average, and knows
no checkpoints, no pool, and no other process.

The networks are the tiny model's, made wider; VGG16 and the discriminator's ConvNeXt are at random weights.
"""

from __future__ import annotations

import itertools
import math
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from measure import device_argument, show
from omniup.errors import optional_import
from omniup.evaluation.measuring import cost, in_turns, ratio
from omniup.restoration.degradation import degrade
from omniup.training.hypir.configuration import Configuration
from omniup.training.hypir.discriminator import Discriminator
from omniup.training.hypir.generator import Generator
from omniup.training.hypir.perceptual import perceptual_distance
from omniup.training.hypir.trainer import _Training
from omniup.training.restoration import Squares, find_photographs, gather
from omniup.training.stopping import StopRequest

SIDE, BATCH, TURNS = 128, 2, 3


def main() -> None:
    """Print the table."""
    device = device_argument(__doc__)
    configuration = Configuration.model_validate(
        {
            "data": {"images": ["sample:coffee", "sample:chelsea"], "image_size": SIDE},
            "degradation": {"pool_size": 8},
            "generator": {
                "model": "tiny",
                "unet_settings": {"block_out_channels": [64, 128], "attention_head_dim": [8, 16]},
                "vae_settings": {"block_out_channels": [16, 32, 64]},
                "gradient_checkpointing": False,
            },
            "discriminator": {"backbone": "convnext_atto", "weights": "random"},
            "losses": {"lpips": "random"},
            "gradients_every": 1000,
            "precision": "no",
            "batch": BATCH,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        training = _Training(configuration, Path(folder), None)
        data = training._data()
        ways = [lambda: training._take_step(data, StopRequest()), plain_loop(configuration, device)]
        peaks = [peak(run, device) for run in ways]
        times = in_turns(ways, device, turns=TURNS)
        training.events.close()
    rows = [
        [name, f"{statistics.median(took):.2f} s", f"{BATCH / statistics.median(took):.2f}", f"{most:.0f} MB"]
        for name, took, most in zip(("omniup", "plain loop"), times, peaks, strict=True)
    ]
    rows.append(["    of the plain loop's", f"{ratio(*times):.2f} ×", f"{ratio(*times[::-1]):.2f} ×", ""])
    header = ["", "a step", "images/s", "peak of a step, beyond what is kept"]
    show(f"HYPIR's training: {BATCH} + {BATCH} images of {SIDE} × {SIDE}", header, rows, device)


def plain_loop(configuration: Configuration, device: torch.device) -> Callable[[], None]:
    """Set a plain loop up: what takes its next step."""
    losses, seed = configuration.losses, configuration.seed
    squares = Squares(find_photographs(configuration.data), configuration.data, seed)
    generator = Generator(configuration.generator, SIDE, seed).to(device)
    discriminator = Discriminator(configuration.discriminator, seed).to(device)
    lpips = perceptual_distance(losses.lpips, seed).to(device)
    networks, recipe = generator.networks, generator.networks.recipe
    vae, scaling = networks.vae, networks.vae.config.scaling_factor
    weights, heads = list(generator.trained_weights.values()), list(discriminator.trained_weights())
    optimisers = [torch.optim.AdamW(weights, lr=1e-5), torch.optim.AdamW(heads, lr=1e-5)]
    average = optional_import("diffusers.training_utils", extra="restore").EMAModel(weights, decay=0.999)
    positions = itertools.count(step=BATCH)
    draws = torch.Generator().manual_seed(seed)

    def batch() -> tuple[Tensor, Tensor, list[str]]:
        start = next(positions)
        images, prompts = gather([squares[position] for position in range(start, start + BATCH)])
        pair = degrade(images.to(device), configuration.degradation, draws)
        return pair.lq * 2 - 1, pair.target * 2 - 1, prompts

    def restore(lq: Tensor, prompts: list[str]) -> Any:
        tokens = networks.tokenizer(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        with torch.no_grad():
            text = networks.text_encoder(tokens.input_ids.to(device))[0]
        latent = vae.encode(lq).latent_dist.sample() * scaling
        predicted = networks.unet(latent, recipe.model_t, encoder_hidden_states=text).sample
        clean = networks.scheduler.step(predicted, recipe.coeff_t, latent).pred_original_sample
        return vae.decode(clean / scaling).sample

    def judge(image: Tensor, target: float) -> Tensor:
        levels = discriminator(image)
        parts = [F.binary_cross_entropy_with_logits(level, torch.full_like(level, target)) for level in levels]
        return torch.stack(parts).sum()

    def step() -> None:
        lq, target, prompts = batch()
        restored = restore(lq, prompts)
        loss = losses.mse * F.mse_loss(restored, target) + losses.perceptual * lpips(restored, target).mean()
        loss = loss + losses.adversarial * judge(restored, configuration.discriminator.target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimisers[0].step()
        average.step(weights)
        for optimiser in optimisers:  # the generator's loss has left gradients in the heads
            optimiser.zero_grad()

        lq, target, prompts = batch()
        with torch.no_grad():
            restored = restore(lq, prompts)
        loss = judge(target, configuration.discriminator.target) + judge(restored, 0.0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(heads, 1.0)
        optimisers[1].step()
        optimisers[1].zero_grad()

    discriminator.train()
    return step


def peak(run: Callable[[], object], device: torch.device) -> float:
    """The most memory of a step beyond what is held before it, in MB; the step before is not counted."""
    run()
    with cost(device) as taken:
        run()
    return math.nan if taken.peak_bytes is None else taken.peak_bytes / 1e6


if __name__ == "__main__":
    main()
