"""Restore degraded pictures: with a small network that comes with the package, or with HYPIR (arXiv 2507.20590).

`Restorer` takes noise and blocks away and draws next to nothing. `Enhancer` draws under a prompt: a U-Net of
Stable Diffusion, adapted by LoRA, is run once, not step by step; large pictures go through it in tiles, and the result
takes its colours from the picture it was made of.
"""

from omniup.restoration.agreement import Agreement
from omniup.restoration.base_model import HYPIR
from omniup.restoration.colour import (
    adaptive_instance_normalisation,
    wavelet_decomposition,
    wavelet_reconstruction,
)
from omniup.restoration.enhancer import Enhancer
from omniup.restoration.model_files import ModelFiles, Recipe, locate
from omniup.restoration.models import RestorerFile, is_small, load_model, locate_model
from omniup.restoration.networks import Networks, load_networks
from omniup.restoration.restorer import SMALL, Damage, Restorer
from omniup.restoration.tiling import gaussian_weights, tile_windows, tiled

__all__ = [
    "HYPIR",
    "SMALL",
    "Agreement",
    "Damage",
    "Enhancer",
    "ModelFiles",
    "Networks",
    "Recipe",
    "Restorer",
    "RestorerFile",
    "adaptive_instance_normalisation",
    "gaussian_weights",
    "is_small",
    "load_model",
    "load_networks",
    "locate",
    "locate_model",
    "tile_windows",
    "tiled",
    "wavelet_decomposition",
    "wavelet_reconstruction",
]
