"""AnyUp: the network, its published weights, and how it runs in little memory."""

from omniup.upsamplers.anyup.export import FixedSizes, export_onnx
from omniup.upsamplers.anyup.upsampler import AnyUp

__all__ = ["AnyUp", "FixedSizes", "export_onnx"]
