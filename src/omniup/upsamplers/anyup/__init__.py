"""AnyUp: the network, its published weights, and how it runs in little memory."""

from omniup.upsamplers.anyup.upsampler import AnyUp

__all__ = ["AnyUp"]
