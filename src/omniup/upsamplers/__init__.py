"""Upsample by any method: a file or a folder each, all behind the `Upsampler` protocol."""

# In the order in which they are listed: plain interpolation first, what is fitted or trained last.
from omniup.upsamplers.interpolation import Bicubic, Bilinear, Nearest  # isort: skip
from omniup.upsamplers.guided_filter import GuidedFilter  # isort: skip
from omniup.upsamplers.joint_bilateral import JointBilateral  # isort: skip
from omniup.upsamplers.pyramid_bilateral import PyramidBilateral  # isort: skip
from omniup.upsamplers.upsample_anything import PRESETS, UpsampleAnything  # isort: skip
from omniup.upsamplers.anyup import AnyUp  # isort: skip
from omniup.upsamplers.ensemble import Ensemble  # isort: skip
from omniup.upsamplers.bands import scale_bands
from omniup.upsamplers.base import DEFAULT_METHOD, Prepared, PreparedImage, Upsampler
from omniup.upsamplers.checks import as_guidance, parse_memory
from omniup.upsamplers.gaussian_kernels import GaussianKernels, History, Window
from omniup.upsamplers.progress import Progress
from omniup.upsamplers.registry import Method, methods, register, upsampler
from omniup.upsamplers.signal_types import SIGNAL_TYPES, SignalType, signal_types
from omniup.upsamplers.upsampling import Upsampled, upsample

__all__ = [
    "DEFAULT_METHOD",
    "PRESETS",
    "SIGNAL_TYPES",
    "AnyUp",
    "Bicubic",
    "Bilinear",
    "Ensemble",
    "GaussianKernels",
    "GuidedFilter",
    "History",
    "JointBilateral",
    "Method",
    "Nearest",
    "Prepared",
    "PreparedImage",
    "Progress",
    "PyramidBilateral",
    "SignalType",
    "UpsampleAnything",
    "Upsampled",
    "Upsampler",
    "Window",
    "as_guidance",
    "methods",
    "parse_memory",
    "register",
    "scale_bands",
    "signal_types",
    "upsample",
    "upsampler",
]
