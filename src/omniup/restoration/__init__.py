"""Restore degraded pictures under a prompt (HYPIR, arXiv 2507.20590).

The one room that invents what it shows. A U-Net of Stable Diffusion, adapted by LoRA, is run once, not step by step;
large pictures go through it in tiles, and the result takes its colours from the picture it was made of.
"""

from omniup.restoration.colour import (
    adaptive_instance_normalisation,
    wavelet_decomposition,
    wavelet_reconstruction,
)
from omniup.restoration.enhancer import Enhancer
from omniup.restoration.model_files import ModelFiles, Recipe, locate
from omniup.restoration.networks import Networks, load_networks
from omniup.restoration.tiling import gaussian_weights, tile_windows, tiled

__all__ = [
    "Enhancer",
    "ModelFiles",
    "Networks",
    "Recipe",
    "adaptive_instance_normalisation",
    "gaussian_weights",
    "load_networks",
    "locate",
    "tile_windows",
    "tiled",
    "wavelet_decomposition",
    "wavelet_reconstruction",
]
