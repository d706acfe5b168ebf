"""OmniUp: upsample anything computed from an image at low resolution to the image's resolution.

    hr = omniup.upsample(image, features)
    dense = omniup.features("photo.jpg", "timm:vit_small_patch14_dinov2")

The public names; each is imported when it is first used, so that `import omniup` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from omniup._version import __version__
from omniup.errors import InputError, MissingPackageError

if TYPE_CHECKING:
    from omniup import nn
    from omniup.encoders import encoder, features
    from omniup.jobs.batch import batch
    from omniup.jobs.large_pictures import upsample_large
    from omniup.sequences import VideoUpsampler, video
    from omniup.upsamplers import (
        AnyUp,
        Ensemble,
        GaussianKernels,
        Prepared,
        PreparedImage,
        Progress,
        PyramidBilateral,
        UpsampleAnything,
        Upsampler,
        methods,
        register,
        scale_bands,
        upsample,
        upsampler,
    )

__all__ = [
    "AnyUp",
    "Ensemble",
    "GaussianKernels",
    "InputError",
    "MissingPackageError",
    "Prepared",
    "PreparedImage",
    "Progress",
    "PyramidBilateral",
    "UpsampleAnything",
    "Upsampler",
    "VideoUpsampler",
    "__version__",
    "batch",
    "encoder",
    "features",
    "methods",
    "nn",
    "register",
    "scale_bands",
    "upsample",
    "upsample_large",
    "upsampler",
    "video",
]

_ROOMS = {
    "batch": "omniup.jobs.batch",
    "upsample_large": "omniup.jobs.large_pictures",
    **dict.fromkeys(("encoder", "features"), "omniup.encoders"),
    **dict.fromkeys(("VideoUpsampler", "video"), "omniup.sequences"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "nn":
        return importlib.import_module("omniup.nn")
    return getattr(importlib.import_module(_ROOMS.get(name, "omniup.upsamplers")), name)


def __dir__() -> list[str]:
    return __all__
