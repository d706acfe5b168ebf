"""Nodes: upsample masks, depth and features by an image, and restore.

ComfyUI has images [B, H, W, C] in 0..1 and masks [B, H, W], on the CPU; OmniUp has channels first. Computed is on
ComfyUI's device. A single image serves a whole batch of signals, and a single signal a whole batch of images.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import torch
from torch import Tensor

import omniup
from omniup.restoration import HYPIR, SMALL
from omniup.visualize import pca_rgb

CATEGORY = "OmniUp"

#: Of features, between this package's nodes: [B, C, H, W].
FEATURES = "OMNIUP_FEATURES"

_IMAGE = ("IMAGE", {"tooltip": "The image at full resolution, which the result is as large as."})


def compute_device() -> torch.device:
    """Return ComfyUI's device; outside ComfyUI, as in tests, the CPU."""
    try:
        from comfy.model_management import get_torch_device
    except ImportError:
        return torch.device("cpu")
    return get_torch_device()


def to_channels_first(image: Tensor) -> Tensor:
    """Return the colours of an image as OmniUp takes them, without alpha.

    Args:
        image: [B, H, W, C].

    Returns:
        [B, 3 or fewer, H, W] on ComfyUI's device.
    """
    return image[..., :3].movedim(-1, 1).to(compute_device(), torch.float32)


def to_channels_last(image: Tensor) -> Tensor:
    """Return an image [B, C, H, W] as ComfyUI takes it, [B, H, W, C] on the CPU."""
    return image.movedim(1, -1).cpu().contiguous()


def upsample(image: Tensor, signal: Tensor, **options: Any) -> Tensor:
    """Upsample a signal by an image of ComfyUI.

    Args:
        image: [B, H, W, C].
        signal: [b, C', h, w] or tokens [b, N, C']; where b is 1, it serves all images.
        **options: of `omniup.upsample`.

    Returns:
        [max(B, b), C', H, W] on ComfyUI's device.
    """
    if len(signal) == 1:
        signal = signal.expand(len(image), *signal.shape[1:])
    return omniup.upsample(to_channels_first(image), signal.to(compute_device(), torch.float32), **options)


def _method() -> tuple[list[str], dict[str, str]]:
    return list(omniup.methods()), {"default": omniup.upsamplers.DEFAULT_METHOD}


class UpsampleMask:
    """Upsample a soft or hard mask to an image's resolution."""

    CATEGORY = CATEGORY
    FUNCTION = "upsample"
    RETURN_TYPES = ("MASK",)
    DESCRIPTION = "Upsample a mask to the image's resolution, sharp along the image's edges."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  # ComfyUI's name
        """List the inputs."""
        mask = ("MASK", {"tooltip": "At low resolution: each value is a mean over a cell of the image."})
        return {"required": {"image": _IMAGE, "mask": mask, "method": _method()}}

    def upsample(self, image: Tensor, mask: Tensor, method: str) -> tuple[Tensor]:
        """Return the mask [B, H, W] in 0..1."""
        full = upsample(image, mask[:, None], method=method, signal_type="measurement")  # [B, 1, H, W]
        return (full[:, 0].clamp(0, 1).cpu(),)


class UpsampleDepth:
    """Upsample a depth map, as nodes of depth give it, to an image's resolution."""

    CATEGORY = CATEGORY
    FUNCTION = "upsample"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Upsample depth to the image's resolution, sharp along the image's edges; zeros may be holes."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """List the inputs."""
        depth = ("IMAGE", {"tooltip": "Depth at low resolution as a grey image: its first channel counts."})
        holes = ("BOOLEAN", {"default": False, "tooltip": "Cells that are 0 have no value and are filled."})
        return {"required": {"image": _IMAGE, "depth": depth, "method": _method(), "zeros_are_holes": holes}}

    def upsample(self, image: Tensor, depth: Tensor, method: str, zeros_are_holes: bool) -> tuple[Tensor]:
        """Return the depth as a grey image [B, H, W, 3], within the interval of the given depth's values."""
        signal = depth[..., 0][:, None]  # [b, 1, h, w]
        valid = (signal != 0).to(compute_device()) if zeros_are_holes else None
        if valid is not None and len(valid) == 1:
            valid = valid.expand(len(image), -1, -1, -1)
        full = upsample(image, signal, method=method, signal_type="measurement", valid=valid)  # [B, 1, H, W]
        known = signal[signal != 0] if zeros_are_holes else signal
        full = full.clamp(known.min().item(), known.max().item())
        return (to_channels_last(full.expand(-1, 3, -1, -1)),)


class DenseFeatures:
    """Compute features of an image by a vision network, and upsample them to its resolution."""

    CATEGORY = CATEGORY
    FUNCTION = "compute"
    RETURN_TYPES = (FEATURES,)
    RETURN_NAMES = ("features",)
    DESCRIPTION = "Features of the image by a network of timm or transformers, at the image's resolution."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """List the inputs."""
        encoder = "timm:NAME or transformers:NAME, whose weights are fetched once; projection needs none."
        resolution = "Longer side of the image as the network sees it, in pixels."
        return {
            "required": {
                "image": _IMAGE,
                "encoder": ("STRING", {"default": "timm:vit_small_patch14_dinov2", "tooltip": encoder}),
                "resolution": ("INT", {"default": 518, "min": 32, "max": 4096, "tooltip": resolution}),
                "method": _method(),
            }
        }

    def compute(self, image: Tensor, encoder: str, resolution: int, method: str) -> tuple[Tensor]:
        """Return the features [B, C, H, W]."""
        size = tuple(image.shape[1:3])
        images = to_channels_first(image)
        return (omniup.features(images, encoder, size=size, resolution=resolution, method=method).cpu(),)


class UpsampleCLIPVision:
    """Upsample the tokens of ComfyUI's own CLIP vision networks to an image's resolution."""

    CATEGORY = CATEGORY
    FUNCTION = "upsample"
    RETURN_TYPES = (FEATURES,)
    RETURN_NAMES = ("features",)
    DESCRIPTION = "Features of CLIP Vision Encode, with crop = none, at the image's resolution."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """List the inputs."""
        output = ("CLIP_VISION_OUTPUT", {"tooltip": "Of CLIP Vision Encode of this image, with crop = none."})
        return {"required": {"image": _IMAGE, "clip_vision_output": output, "method": _method()}}

    def upsample(self, image: Tensor, clip_vision_output: Any, method: str) -> tuple[Tensor]:
        """Return the features [B, C, H, W] of all tokens but that of the class."""
        tokens = clip_vision_output["last_hidden_state"]  # [b, 1 + N or N, C]
        side = int(tokens.shape[1] ** 0.5)  # networks see a square, and (side + 1)² > side² + 1
        tokens = tokens[:, -side * side :]
        return (upsample(image, tokens, grid=(side, side), method=method, signal_type="features").cpu(),)


class FeaturesPicture:
    """Draw features by their principal components."""

    CATEGORY = CATEGORY
    FUNCTION = "draw"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Principal components of features as colours, the same in all images of the batch."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """List the inputs."""
        return {"required": {"features": (FEATURES,)}}

    def draw(self, features: Tensor) -> tuple[Tensor]:
        """Return the pictures [B, H, W, 3]."""
        return (to_channels_last(torch.cat(pca_rgb(*features.split(1)))),)


class Restore:
    """Restore noisy, compressed or small pictures by the small network."""

    CATEGORY = CATEGORY
    FUNCTION = "restore"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Take noise and JPEG blocks away, as far as they are found. It draws next to nothing."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """List the inputs."""
        strength = "Factor of the noise and compression that is found in each picture."
        return {
            "required": {
                "image": ("IMAGE",),
                "scale": ("FLOAT", {"default": 1.0, "min": 1.0, "max": 8.0, "step": 0.5}),
                "strength": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 10.0, "step": 0.1, "tooltip": strength}),
            }
        }

    def restore(self, image: Tensor, scale: float, strength: float) -> tuple[Tensor]:
        """Return the pictures [B, H · scale, W · scale, 3]."""
        restorer = load_model(SMALL, str(compute_device()))
        restored = [
            restorer(picture, scale=scale, strength=strength, progress=stop_if_interrupted)
            for picture in to_channels_first(image).split(1)
        ]
        return (to_channels_last(torch.cat(restored)),)


class Redraw:
    """Redraw small, old or compressed pictures by HYPIR."""

    CATEGORY = CATEGORY
    FUNCTION = "restore"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Draw what a small, old or compressed picture may have shown: it invents detail."

    COLOURS: ClassVar[list[str]] = ["wavelet", "adain", "none"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """List the inputs."""
        model = (
            "With HYPIR's weights, for non-commercial use only; or a folder in diffusers' layout; or tiny, untrained."
        )
        return {
            "required": {
                "image": ("IMAGE",),
                "prompt": ("STRING", {"default": "", "multiline": True, "tooltip": "What the picture shows."}),
                "scale": ("FLOAT", {"default": 2.0, "min": 1.0, "max": 8.0, "step": 0.5}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**32 - 1}),
                "colour": (cls.COLOURS, {"tooltip": "How the result takes its colours from the picture."}),
                "model": ("STRING", {"default": HYPIR, "tooltip": model}),
            }
        }

    def restore(self, image: Tensor, prompt: str, scale: float, seed: int, colour: str, model: str) -> tuple[Tensor]:
        """Return the pictures [B, H · scale, W · scale, 3]."""
        enhancer = load_model(model, str(compute_device()))
        restored = [
            enhancer(picture, scale=scale, prompt=prompt, seed=seed, colour=colour, progress=stop_if_interrupted)
            for picture in to_channels_first(image).split(1)
        ]
        return (to_channels_last(torch.cat(restored)),)


@functools.lru_cache(maxsize=1)
def load_model(model: str, device: str) -> Any:
    """Load the networks that restore, or return those that were loaded last."""
    from omniup import restoration

    return restoration.load_model(restoration.locate_model(model), device=device)


def stop_if_interrupted(done: int, total: int) -> None:
    """End the node between two tiles where its user has pressed Cancel."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted
    except ImportError:
        return
    throw_exception_if_processing_interrupted()


NODE_CLASS_MAPPINGS = {
    "OmniUpUpsampleMask": UpsampleMask,
    "OmniUpUpsampleDepth": UpsampleDepth,
    "OmniUpDenseFeatures": DenseFeatures,
    "OmniUpUpsampleCLIPVision": UpsampleCLIPVision,
    "OmniUpFeaturesPicture": FeaturesPicture,
    "OmniUpRestore": Restore,
    "OmniUpRedraw": Redraw,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "OmniUpUpsampleMask": "Upsample Mask (OmniUp)",
    "OmniUpUpsampleDepth": "Upsample Depth (OmniUp)",
    "OmniUpDenseFeatures": "Dense Features (OmniUp)",
    "OmniUpUpsampleCLIPVision": "Upsample CLIP Vision (OmniUp)",
    "OmniUpFeaturesPicture": "Features as Picture (OmniUp)",
    "OmniUpRestore": "Restore (OmniUp)",
    "OmniUpRedraw": "Redraw by HYPIR (OmniUp)",
}
