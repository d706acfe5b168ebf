"""Reconstruct a photograph from its low-resolution version, for the command line and the web demo."""

from omniup.reconstruction.panels import NAMES, TITLES, alone, panels
from omniup.reconstruction.reconstruct import SSIM_WINDOW, WORTHWHILE, Reconstruction, reconstruct, working_image

__all__ = [
    "NAMES",
    "SSIM_WINDOW",
    "TITLES",
    "WORTHWHILE",
    "Reconstruction",
    "alone",
    "panels",
    "reconstruct",
    "working_image",
]
