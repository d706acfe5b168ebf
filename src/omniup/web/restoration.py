"""`POST /api/restore`: restore a small, old or compressed picture."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from torch import Tensor

from omniup.errors import InputError, check_installed
from omniup.files import read_alpha, read_image
from omniup.files.jpeg_quality import jpeg_quality
from omniup.restoration import Enhancer, ModelFiles, Restorer, RestorerFile, is_small, load_model, locate_model
from omniup.restoration.alpha import with_alpha
from omniup.restoration.sizes import rounded
from omniup.upsamplers import Bicubic
from omniup.visualize import to_picture
from omniup.web.fields import FieldError, field, refused_field
from omniup.web.jobs import Job
from omniup.web.language import said, texts
from omniup.web.runs import Kept, Runs, picture_maker
from omniup.web.schemas import (
    FoundDamage,
    RestorationStatus,
    RestoreAnswer,
    RestoreConfig,
    RestoreSetting,
    Texts,
    TileAgreement,
)
from omniup.web.stages import Stages

logger = logging.getLogger(__name__)

_THINNEST = 16
"""Largest ratio of a picture's sides for the large model: its short side is resized to what that was trained on."""


_SMALL_SETTINGS: list[RestoreSetting] = ["scale", "strength", "deblur"]
_LARGE_SETTINGS: list[RestoreSetting] = ["prompt", "scale", "tile", "seed", "colour"]


class RestorationModel:
    """The model that restores, located when first asked about, loaded when needed, and kept.

    What is not on this machine is not fetched: nobody who opens a page is to start a download of gigabytes.

    Args:
        model: as for `locate_model`.
        base: as for `locate_model`; empty for its default.
    """

    def __init__(self, model: str, base: Sequence[str] = ()) -> None:
        self._model, self._base = model, base
        self._loaded: dict[str, Enhancer | Restorer] = {}
        self._loading = threading.Lock()

    @property
    def settings(self) -> list[RestoreSetting]:
        """The settings that the model takes."""
        return _SMALL_SETTINGS if is_small(self._model) else _LARGE_SETTINGS

    @property
    def thinnest(self) -> int | None:
        """The largest ratio of a picture's sides; None if it may be any."""
        return None if is_small(self._model) else _THINNEST

    @property
    def status(self) -> RestorationStatus:
        """State of the model, as far as is known without loading it."""
        state: dict[str, Any] = {
            "model": self._model,
            "settings": self.settings,
            "thinnest": self.thinnest,
            "tiles": [],
        }
        try:
            files = self.files()
        except InputError as error:
            refused = Texts.model_validate(texts(error))
            return RestorationStatus(state="unavailable", message=said(error), texts=refused, trained=False, **state)
        if isinstance(files, ModelFiles):
            patch = files.recipe.patch
            state["tiles"] = [patch // 2, patch, patch * 3 // 2, patch * 2]
        none = Texts(en="", zh="")
        return RestorationStatus(state="ready", message="", texts=none, trained=files.have_weights, **state)

    def load(self, device: str) -> Enhancer | Restorer:
        """Load the model of a device.

        Raises:
            InputError: packages or files are missing, damaged or do not fit; says which.
        """
        with self._loading:
            if device not in self._loaded:
                self._loaded[device] = load_model(self.files(), device=device)
            return self._loaded[device]

    def files(self) -> ModelFiles | RestorerFile:
        """Locate the model's files.

        Raises:
            InputError: packages or files are missing; says which.
        """
        if not is_small(self._model):
            check_installed("diffusers", "transformers", "peft", "psutil", extra="restore")
        return locate_model(self._model, base=self._base or None, offline=True)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture to restore.

    Attributes:
        image: [1, 3, H, W] in 0..1, over white.
        alpha: [1, 1, H, W] in 0..1; None if it is opaque.
        quality: of a JPEG file, by its tables; None of others.
    """

    image: Tensor
    alpha: Tensor | None
    quality: int | None


def read_picture(
    config: RestoreConfig, image: bytes, *, model: RestorationModel, pixels: int, restored_pixels: int
) -> Picture:
    """Read and check the request.

    Args:
        config: how to restore.
        image: the file of the picture.
        model: what restores.
        pixels: the largest picture.
        restored_pixels: the largest result.

    Raises:
        FieldError: something cannot be accepted.
    """
    taken, thinnest = model.settings, model.thinnest
    for name in get_args(RestoreSetting):
        if name not in taken and getattr(config, name) != RestoreConfig.model_fields[name].default:
            raise FieldError(
                f"config.{name}", name, "is given, and the model here takes none", "{names}", names=", ".join(taken)
            )
    with field("image"):
        pixels_read, alpha = read_image(image, max_pixels=pixels), read_alpha(image, max_pixels=pixels)
        picture = Picture(pixels_read, alpha, jpeg_quality(image))
        height, width = picture.image.shape[2:]
        if thinnest is not None and max(height, width) > thinnest * min(height, width):
            problem, accepted = "has {width} × {height} pixels", "sides at most {most} times the other"
            raise InputError("image", problem, accepted, width=width, height=height, most=thinnest)
    made = rounded(height * config.scale) * rounded(width * config.scale)
    if made > restored_pixels:
        most = math.floor(100 * math.sqrt(restored_pixels / (height * width))) / 100
        raise FieldError(
            "config.scale",
            "scale",
            "makes {made} pixels of {width} × {height}, above {pixels}",
            "up to {most} here" if most >= 1 else "a smaller picture",
            made=made,
            width=width,
            height=height,
            pixels=restored_pixels,
            most=most,
        )
    return picture


def restore(
    job: Job, config: RestoreConfig, picture: Picture, *, device: str, model: RestorationModel, runs: Runs
) -> bytes:
    """Restore a picture, and keep the result as files.

    Args:
        job: what it is done for.
        config: how.
        picture: what to restore; its alpha is kept.
        device: where to compute.
        model: what restores.
        runs: where the result is kept.

    Returns:
        A `RestoreAnswer` as JSON.

    Raises:
        InputError: there is no model, or it cannot restore like this.
    """
    stage, began, image = Stages(job), time.perf_counter(), picture.image
    with stage("load"):
        loaded = model.load(device)
    settings: dict[str, Any] = {name: getattr(config, name) for name in model.settings}
    found, tiles = None, None
    with stage("restore"):
        try:
            if isinstance(loaded, Restorer):
                damage = loaded.estimate(image, quality=picture.quality)
                restored = loaded(image, **settings, damage=damage, progress=stage.tiling)
                found = FoundDamage.model_validate(asdict(damage[0]))
            else:
                restored = loaded(image, **settings, batch=1, progress=stage.tiling)  # one tile, then it may end
                (agreement,) = loaded.agreement
                if agreement.tiles > 1:
                    tiles = TileAgreement(
                        tiles=agreement.tiles,
                        median=agreement.median,
                        largest=agreement.largest,
                        anew=len(agreement.anew),
                    )
        except InputError as error:
            named = error.argument
            raise refused_field(f"config.{named}" if named in settings else "config", error) from error
    with stage("draw"):
        height, width = restored.shape[2:]
        enlarged = Bicubic().prepare(image, (image.shape[2], image.shape[3]), (height, width)).render(image, "values")
        pictures = {
            name: to_picture(made if picture.alpha is None else with_alpha(made, picture.alpha))
            for name, made in (("enlarged", enlarged), ("restored", restored.cpu()))
        }
        makers = {f"{name}.png": picture_maker(each) for name, each in pictures.items()}
        kept = Kept(job.id, makers, comparison=None, size=0)
        runs.add(kept, *makers)
    files = model.files()
    answer = RestoreAnswer(
        run_id=job.id,
        H=height,
        W=width,
        model=files.name,
        trained=files.have_weights,
        found=found,
        tiles=tiles,
        precision=loaded.precision,
        device=device,
        images={name: kept.urls[f"{name}.png"] for name in pictures},
        seconds={**stage.seconds, "total": time.perf_counter() - began},
        files=kept.urls,
    )
    seconds = ", ".join(f"{name} {taken:.3f} s" for name, taken in answer.seconds.items())
    logger.info("restoration %s on %s in %s: %d x %d, %s", job.id, device, loaded.precision, height, width, seconds)
    return answer.model_dump_json().encode()
