"""Restore a picture of `omniup restore` with either kind of model, and check the options that one of them takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from omniup.errors import InputError
from omniup.files import SAMPLE

if TYPE_CHECKING:
    from omniup.restoration import Agreement, Damage, Enhancer, Restorer
    from omniup.restoration.enhancer import Progress


def small_settings(
    model: str, strength: float | None, deblur: float | None, drawing: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of a small restorer.

    Raises:
        InputError: an option for drawing is given.
    """
    for name, value in drawing.items():
        if value is not None:
            raise InputError(
                f"--{name}", "is given, and the model {model} draws nothing", "it with --model hypir", model=model
            )
    return {"strength": 1.0 if strength is None else strength, "deblur": deblur or 0.0}


def large_settings(
    model: str, restoring: Mapping[str, float | None], seed: int | None, colour: str | None
) -> dict[str, Any]:
    """Return the settings of an `Enhancer`.

    Raises:
        InputError: there are no such colours, or an option of the small restorer is given.
    """
    from omniup.restoration.colour import COLOURS

    for name, value in restoring.items():
        if value is not None:
            raise InputError(f"--{name}", "is given, and the model is {model}", "it with --model small", model=model)
    if colour is not None and colour not in COLOURS:
        raise InputError("--colour", "is {value!r}", "{names}", value=colour, names=", ".join(COLOURS))
    return {"seed": seed or 0, "colour": colour or "wavelet"}


def size_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that say how large results are: `scale` or `longest_side`."""
    return {name: settings[name] for name in ("scale", "longest_side") if name in settings}


def restore_small(
    restorer: Restorer,
    settings: Mapping[str, Any],
    found: dict[str, Damage],
    source: str,
    image: Tensor,
    prompt: str,
    *,
    progress: Progress,
) -> Tensor:
    """Restore a picture [1, 3, H, W] with a small restorer, and note what was found in it; the prompt is empty."""
    from omniup.files.jpeg_quality import jpeg_quality

    quality = None if source.startswith(SAMPLE) else jpeg_quality(source)
    damage = restorer.estimate(image, quality=quality, **size_settings(settings))
    (found[source],) = damage
    return restorer(image, **settings, damage=damage, progress=progress)


def restore_large(
    enhancer: Enhancer,
    settings: Mapping[str, Any],
    tiled: dict[str, Agreement],
    source: str,
    image: Tensor,
    prompt: str,
    *,
    progress: Progress,
) -> Tensor:
    """Restore a picture [1, 3, H, W] under a prompt with an `Enhancer`, and note how well its tiles agree."""
    restored = enhancer(image, **settings, prompt=prompt, progress=progress)
    (agreement,) = enhancer.agreement
    if agreement.tiles > 1:
        tiled[source] = agreement
    return restored
