"""Restoring with the published architecture at random weights: one pass a tile, against the published way of tiling.

The published way cuts the picture three times, for encoder, U-Net and decoder, into tiles of 512 pixels with a stride
of half that, and computes one tile at a time. Ours cuts it once, in tiles that the memory allows. Both are built here
of the same networks, Stable Diffusion 2.1's, and of the same blending, so that what differs is what is computed;
colours are left out of both. Numbers are bf16 on every device, as the authors' are; fp32 takes a CPU thrice as long.

On a CPU each is run once, which takes two cores three minutes. The processor's time is told as well, since it depends
less on what else runs on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from measure import photograph, show
from omniup.errors import optional_import
from omniup.evaluation.measuring import Run, resident, seconds
from omniup.restoration import Enhancer, ModelFiles, Networks, Recipe, load_networks, locate, tiled
from omniup.upsamplers import parse_memory

PATCH, CELL = 512, 8

UNET: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": (5, 10, 20, 20),  # which are numbers of heads: the name is an old mistake of diffusers
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
VAE: dict[str, Any] = {
    "latent_channels": 4,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "scaling_factor": 0.18215,
}
TEXT = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "projection_dim": 512,
    "hidden_act": "gelu",
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--side", type=int, default=1024, help="of the result, in pixels")
    parser.add_argument("--memory", default="1GB", help="what the tiles may take")
    arguments = parser.parse_args()
    device, side, memory = torch.device(arguments.device), arguments.side, arguments.memory

    enhancer = Enhancer(stable_diffusion(), device=device, precision="bf16")
    image = photograph(side, side, device)
    plan = enhancer.plan(side // CELL, side // CELL, memory=memory)
    ours = partial(enhancer, image, scale=1, colour="none", memory=memory)
    theirs = partial(published, enhancer.networks, image)
    with torch.no_grad():
        enhancer(image[:, :, :64, :64], scale=1, memory=memory)  # what is done once, such as the prompt's encoding
        before = begin_peak(device)
        first = took(ours, device)
        peak = read_peak(device) - before
        turns = [(first, took(theirs, device))]
        if device.type != "cpu":
            turns = [(took(ours, device), took(theirs, device)) for _ in range(3)]

    rows, columns = plan.grid
    tiles = f"{rows} × {columns} tiles of {plan.size[0] * CELL} × {plan.size[1] * CELL}, {plan.batch} at a time"
    grid = len(range(0, side - PATCH, PATCH // 2)) + 1
    show(
        f"Restoring to {side} × {side} pixels, bf16, Stable Diffusion 2.1's networks at random weights",
        ["what", "by the clock", "processor", "to reach"],
        [
            [f"the published way: {grid} × {grid} tiles of {PATCH} × {PATCH}", *middle(turns, "{1:.1f} s"), ""],
            [f"one pass a tile: {tiles}", *middle(turns, "{0:.1f} s"), ""],
            ["    of the published way's time", *middle(turns, "{2:.2f} ×"), "≤ 0.70 ×"],
            ["    of its pixels", f"{plan.cells * CELL**2 / (grid * PATCH) ** 2:.2f} ×", "", ""],
            ["    peak beyond the networks", f"{peak:.0f} MB", "", f"≤ {parse_memory(memory) / 2**20:.0f} MB"],
        ],
        device,
    )


def stable_diffusion(narrower: int = 1) -> Networks:
    """Build Stable Diffusion 2.1's networks with random weights; tokenizer and scheduler are the tiny model's.

    Args:
        narrower: what the widths of U-Net and VAE, and their norms' groups, are divided by; their receptive fields stay
            as they are.
    """
    diffusers = optional_import("diffusers", extra="restore")
    transformers = optional_import("transformers", extra="restore")
    tiny = load_networks(locate("tiny"))
    unet, vae = (
        settings
        | {
            "block_out_channels": tuple(width // narrower for width in settings["block_out_channels"]),
            "norm_num_groups": 32 // narrower,
        }
        for settings in (UNET, VAE)
    )
    return Networks(
        unet=diffusers.UNet2DConditionModel(**unet).eval(),
        vae=diffusers.AutoencoderKL(**vae).eval(),
        text_encoder=transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT)).eval(),
        tokenizer=tiny.tokenizer,
        scheduler=tiny.scheduler,
        files=ModelFiles("stable diffusion 2.1", Path(), Recipe(), lora=None, have_weights=False),
    )


def published(networks: Networks, image: Tensor) -> Tensor:
    """Restore a picture, [1, 3, H, W] in 0..1 and of whole cells, as the authors tile it."""
    tokens = networks.tokenizer("", padding="max_length", return_tensors="pt").input_ids.to(image.device)
    text = networks.text_encoder(tokens)[0]  # [1, T, D]
    recipe, scaling = networks.recipe, networks.vae.config.scaling_factor

    def encode(pixels: Tensor) -> Any:
        return networks.vae.encode(pixels).latent_dist.sample()

    def step(latent: Tensor) -> Any:
        predicted = networks.unet(latent * scaling, recipe.model_t, encoder_hidden_states=text).sample
        step = networks.scheduler.step(predicted, recipe.coeff_t, latent * scaling)
        return step.pred_original_sample / scaling

    def decode(latent: Tensor) -> Any:
        return networks.vae.decode(latent).sample

    side, stride = PATCH // CELL, PATCH // CELL // 2
    latent = tiled(encode, size=PATCH, stride=PATCH // 2, scale=1 / CELL, batch=1)((image * 2 - 1).to(networks.dtype))
    clean = tiled(step, size=side, stride=stride, batch=1)(latent)
    return (tiled(decode, size=side, stride=stride, scale=CELL, batch=1)(clean).float() + 1) / 2


def took(run: Run, device: torch.device) -> tuple[float, float]:
    """Time one run, in seconds: by the clock, and of all cores together."""
    began = time.process_time()
    return seconds(run, device), time.process_time() - began


def middle(turns: list[tuple[tuple[float, float], tuple[float, float]]], form: str) -> list[str]:
    """Medians over the turns, for each way of timing: our time {0}, the published way's {1}, and their ratio {2}."""
    ways = [[(ours[way], theirs[way], ours[way] / theirs[way]) for ours, theirs in turns] for way in (0, 1)]
    return [form.format(*(statistics.median(column) for column in zip(*way, strict=True))) for way in ways]


def begin_peak(device: torch.device) -> float:
    """Begin to watch the most memory that is ever held; what is held now, in MB."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # Linux: sets VmHWM back to VmRSS
    return resident("VmRSS")


def read_peak(device: torch.device) -> float:
    """The most memory held since, in MB."""
    return torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else resident("VmHWM")


if __name__ == "__main__":
    main()
