"""Encode images: compute low-resolution signals to upsample, where the caller has only an image.

Every encoder is a callable that turns an image into an `Encoding`, which says which weights made it. Class
probabilities that some other network has left in a file are read by `read_probabilities`. timm, torchvision and
transformers are imported by the encoders that need them, when they are built, and by nothing else here.
"""

from omniup.encoders.base import Encoder, Encoding, encode, encoder_settings, encoders
from omniup.encoders.mask2former import Mask2Former
from omniup.encoders.probabilities import read_probabilities
from omniup.encoders.projection import Projection
from omniup.encoders.resnet18 import ResNet18Layer2
from omniup.encoders.timm_backbone import TimmBackbone

__all__ = [
    "Encoder",
    "Encoding",
    "Mask2Former",
    "Projection",
    "ResNet18Layer2",
    "TimmBackbone",
    "encode",
    "encoder_settings",
    "encoders",
    "read_probabilities",
]
