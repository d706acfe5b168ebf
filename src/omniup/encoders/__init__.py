"""Encode images: compute low-resolution signals to upsample, where the caller has only an image.

Every encoder is a callable that turns an image into an `Encoding`, which says which weights made it. Class
probabilities that some other network has left in a file are read by `read_probabilities`. timm, torchvision and
transformers are imported by the encoders that need them, when they are built, and by nothing else here. `features`
goes all the way from a photograph to features at its resolution.
"""

from omniup.encoders.base import Encoder, Encoding, encode, encoder, encoder_settings, encoders
from omniup.encoders.caller import CallerEncoder, EncoderLike, as_encoder
from omniup.encoders.dense import EncodedImage, encode_image, features
from omniup.encoders.mask2former import Mask2Former
from omniup.encoders.probabilities import read_probabilities
from omniup.encoders.projection import Projection
from omniup.encoders.resnet18 import ResNet18Layer2
from omniup.encoders.timm_backbone import TimmBackbone
from omniup.encoders.transformers_model import TransformersModel

__all__ = [
    "CallerEncoder",
    "EncodedImage",
    "Encoder",
    "EncoderLike",
    "Encoding",
    "Mask2Former",
    "Projection",
    "ResNet18Layer2",
    "TimmBackbone",
    "TransformersModel",
    "as_encoder",
    "encode",
    "encode_image",
    "encoder",
    "encoder_settings",
    "encoders",
    "features",
    "read_probabilities",
]
