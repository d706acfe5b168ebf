"""What the large restorer costs: parameters, memory and operations by the side of a tile, from the architecture alone.

Networks are built without numbers, on torch's meta device, and their operations counted by torch. Seconds of GPUs are
computed: operations, divided by 40 % of the rate that their makers state for dense matrices in half precision.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import restoration
from measure import show
from omniup.errors import optional_import
from omniup.restoration.enhancer import PRECISIONS, bytes_per_cell

SIDES = (256, 512, 576, 768, 1024)
UTILISATION = 0.4
RATES = {"RTX 3060": 26e12, "RTX 4090": 165e12, "A100": 312e12, "H100": 989e12}
"""Operations a second with half precision and sums in float32, by the makers' data sheets."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    device = torch.device("cpu")
    diffusers = optional_import("diffusers", extra="restore")
    transformers = optional_import("transformers", extra="restore")
    with torch.device("meta"), torch.no_grad():
        unet = diffusers.UNet2DConditionModel(**restoration.UNET)
        vae = diffusers.AutoencoderKL(**restoration.VAE)
        text_encoder = transformers.CLIPTextModel(transformers.CLIPTextConfig(**restoration.TEXT))
        networks = {"U-Net": unet, "VAE": vae, "text encoder": text_encoder}
        parameters = {
            name: sum(tensor.numel() for tensor in network.parameters()) for name, network in networks.items()
        }
        total = sum(parameters.values())
        show(
            "Networks",
            ["network", "parameters", "fp32", "bf16, fp16"],
            [
                [name, f"{count / 1e6:.0f} M", f"{count * 4 / 2**30:.2f} GB", f"{count * 2 / 2**30:.2f} GB"]
                for name, count in [*parameters.items(), ("together", total)]
            ],
            device,
        )
        rows = []
        for side in SIDES:
            cells = side // restoration.CELL
            parts = operations(unet, vae, cells)
            memory = [
                f"{bytes_per_cell(vae, PRECISIONS[precision]) * cells**2 / 2**20:.0f} MB"
                for precision in ("fp32", "bf16")
            ]
            spent = [f"{sum(parts) / rate / UTILISATION:.2f} s" for rate in RATES.values()]
            rows.append([f"{side} × {side}", *memory, *(f"{part / 1e12:.2f}" for part in (*parts, sum(parts))), *spent])
    header = ["tile", "fp32", "bf16, fp16", "encoder", "U-Net", "decoder", "together, TFLOP"]
    show("A tile; seconds of GPUs are computed, not measured", [*header, *RATES], rows, device)


def operations(unet: Any, vae: Any, cells: int) -> list[int]:
    """Count the floating-point operations of a tile: of encoder, U-Net and decoder."""
    image = torch.empty(1, 3, cells * restoration.CELL, cells * restoration.CELL)
    latent = torch.empty(1, restoration.VAE["latent_channels"], cells, cells)
    text = torch.empty(1, 77, restoration.UNET["cross_attention_dim"])
    runs: list[Callable[[], object]] = [
        lambda: vae.encoder(image),
        lambda: unet(latent, torch.empty((), dtype=torch.int64), encoder_hidden_states=text),
        lambda: vae.decoder(latent),
    ]
    counted = []
    for run in runs:
        with FlopCounterMode(display=False) as counter:
            run()
        counted.append(counter.get_total_flops())
    return counted


if __name__ == "__main__":
    main()
