"""The methods: one file each, all behind the `Upsampler` protocol."""

from omniup.upsamplers.anyup import AnyUp
from omniup.upsamplers.base import Method, Upsampler, as_guidance, methods, parse_memory, upsample, upsampler
from omniup.upsamplers.gaussian_kernels import GaussianKernels, History, Window
from omniup.upsamplers.guided_filter import GuidedFilter
from omniup.upsamplers.interpolation import Bicubic, Bilinear, Nearest
from omniup.upsamplers.joint_bilateral import JointBilateral
from omniup.upsamplers.kinds import Kind
from omniup.upsamplers.measurements import back_project
from omniup.upsamplers.upsample_anything import PRESETS, Progress, UpsampleAnything

__all__ = [
    "PRESETS",
    "AnyUp",
    "Bicubic",
    "Bilinear",
    "GaussianKernels",
    "GuidedFilter",
    "History",
    "JointBilateral",
    "Kind",
    "Method",
    "Nearest",
    "Progress",
    "UpsampleAnything",
    "Upsampler",
    "Window",
    "as_guidance",
    "back_project",
    "methods",
    "parse_memory",
    "upsample",
    "upsampler",
]
