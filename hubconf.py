"""Entry points of `torch.hub`: `torch.hub.load(repository, "anyup" | "anyup_multi_backbone" | "upsample_anything")`.

    upsampler = torch.hub.load("OWNER/omniup", "anyup")
    hr = upsampler.prepare(image, grid=(h, w)).render(features)

All are methods as `omniup.Upsampler` describes them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

dependencies = ["torch", "numpy", "PIL", "safetensors", "tqdm"]

sys.path.insert(0, str(Path(__file__).parent / "src"))  # a copy of the repository is what torch.hub has

from omniup import AnyUp, UpsampleAnything  # noqa: E402


def anyup(pretrained: bool = True, **settings: Any) -> AnyUp:
    """AnyUp, trained on the features of DINOv2 ViT-S; `settings` are those of `AnyUp`."""
    return _anyup("paper", pretrained, settings)


def anyup_multi_backbone(pretrained: bool = True, **settings: Any) -> AnyUp:
    """AnyUp, trained on the features of five encoders; `settings` are those of `AnyUp`."""
    return _anyup("multi_backbone", pretrained, settings)


def upsample_anything(preset: str = "paper", **settings: Any) -> UpsampleAnything:
    """Upsample Anything, which needs no weights; `settings` are those of its preset."""
    return UpsampleAnything.preset(preset, **settings)


def _anyup(weights: str, pretrained: bool, settings: dict[str, Any]) -> AnyUp:
    return AnyUp.from_pretrained(weights, **settings) if pretrained else AnyUp(**settings).eval()
