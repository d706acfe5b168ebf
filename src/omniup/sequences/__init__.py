"""Video: frames in, frames out, consistent over time."""

from omniup.sequences.fusion import FusionSettings
from omniup.sequences.video import VideoUpsampler, video

__all__ = ["FusionSettings", "VideoUpsampler", "video"]
