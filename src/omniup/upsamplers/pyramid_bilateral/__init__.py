"""Upsample coarse-to-fine by joint bilateral mixing, each signal type in its own way: OmniUp's own method."""

from omniup.upsamplers.pyramid_bilateral.method import PyramidBilateral

__all__ = ["PyramidBilateral"]
