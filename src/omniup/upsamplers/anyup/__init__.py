"""Upsample features by AnyUp, a trained network: its layers, its published weights, inference in little memory."""

from omniup.upsamplers.anyup.export import FixedSizes, export_onnx
from omniup.upsamplers.anyup.refinement import Refined, Refiner
from omniup.upsamplers.anyup.upsampler import AnyUp

__all__ = ["AnyUp", "FixedSizes", "Refined", "Refiner", "export_onnx"]
