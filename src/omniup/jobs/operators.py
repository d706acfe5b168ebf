"""Compute what a job keeps of a picture: read it, get its signals, upsample them, and make arrays of the results.

Pictures are computed one by one, also where several are handed to a worker at once: networks round differently in
batches of different sizes, and the results of a job must not depend on how it is spread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omniup.encoders import EncodedImage, Encoder, Encoding, encode_image, encoder
from omniup.encoders.dense import resized
from omniup.errors import InputError
from omniup.evaluation.label_probe import LabelProbe, at_size
from omniup.files import read_stored
from omniup.files.refusals import Subject
from omniup.jobs.addresses import OWN_FOLDER, Member, fetch
from omniup.jobs.components import Components
from omniup.jobs.configuration import (
    EncoderSignal,
    Job,
    Kept,
    KeptComponents,
    KeptLabels,
    KeptMap,
    KeptPoints,
    KeptRegions,
    StoredSignal,
)
from omniup.jobs.sources import Item
from omniup.upsamplers import PreparedImage, Upsampler, upsampler
from omniup.upsamplers.checks import Size, as_guidance
from omniup.upsamplers.guidance_files import read_guidance_file
from omniup.upsamplers.regions import cut
from omniup.upsamplers.signal_files import read_signal_file
from omniup.upsamplers.signal_types import signal_types

Arrays: TypeAlias = dict[str, NDArray[Any]]
"""The results of a picture, by their names in the output."""


@dataclass(frozen=True, eq=False)
class Cells:
    """A signal of a picture, on its grid.

    Attributes:
        image: the picture at the size of the results, with the signal.
        signal_type: as for `omniup.upsample`.
        valid: boolean [1, 1, h, w]; None where all cells are valid.
        options: of the upsampling.
        whole: (H, W) of the picture, in pixels.
    """

    image: EncodedImage
    signal_type: str
    valid: Tensor | None
    options: Mapping[str, Any]
    whole: Size

    @cached_property
    def dense(self) -> Tensor:
        """The upsampled signal, [1, C, H, W]."""
        return self.image.upsample(signal_type=self.signal_type, valid=self.valid, **self.options)

    @property
    def features(self) -> Tensor:
        """The signal, [1, C, h, w]."""
        return self.image.encoding.features

    def at(self, points: Tensor) -> Tensor:
        """Return the vectors of the dense signal at points [N, 2], (x, y) in pixels of the picture: [N, C].

        The whole map is made only where holes or steps of consistency ask for it.
        """
        guidance, features, memory = self.image.guidance, self.features, self.options["memory"]
        size = guidance.shape[2], guidance.shape[3]
        x, y = (points[:, axis].to(features.device) * size[1 - axis] // self.whole[1 - axis] for axis in (0, 1))
        grid = features.shape[2], features.shape[3]
        method: Upsampler = self.options["method"]
        prepared = method.prepare(cut(guidance, self.image.region), grid, memory=memory)
        (found,) = signal_types(features, self.signal_type)
        if self.valid is not None or not isinstance(prepared, PreparedImage):
            return self.dense[0, :, y, x].T
        if prepared.recommended_consistency(features, found):
            return self.dense[0, :, y, x].T
        return prepared.render_at(features, torch.stack([y, x], 1), found, memory=memory)[0]

    def of(self, features: Tensor) -> Cells:
        """Return another signal of the same grid, [1, K, h, w]."""
        encoding = replace(self.image.encoding, features=features)
        return replace(self, image=replace(self.image, encoding=encoding))


class Operators:
    """The operators of a worker on pictures; networks are loaded once.

    Args:
        job: what to compute.
        device: where.

    Raises:
        InputError: an encoder, the method or a probe cannot be built.
    """

    def __init__(self, job: Job, device: torch.device | str = "cpu") -> None:
        self._job, self._device = job, torch.device(device)
        self._method: Upsampler = upsampler(job.method, **job.settings)
        self._networks: dict[str, Encoder] = {}
        for name, signal in job.signals.items():
            if isinstance(signal, EncoderSignal):
                try:
                    self._networks[name] = encoder(signal.name, **signal.settings)
                except InputError as error:
                    raise error.within(f"signals.{name}") from error
        self._probes = {
            name: LabelProbe.load(kept.probe)[0] for name, kept in job.keep.items() if isinstance(kept, KeptLabels)
        }
        self._components: dict[str, Components] = {}

    def read(self, item: Item) -> Tensor:
        """Read a picture, [1, G, H, W], in 0..1 or uint8.

        Raises:
            InputError: it cannot be read.
        """
        return read_guidance_file(fetch(item.image, self._job.source.storage)).values

    def results(self, item: Item, picture: Tensor) -> Arrays:
        """Compute what is kept of a picture.

        Raises:
            InputError: the picture, or a file that belongs to it, cannot be accepted.
        """
        cells = {name: self._cells(name, item, picture) for name in {kept.of: None for kept in self._job.keep.values()}}
        found: Arrays = {}
        for name, kept in self._job.keep.items():
            made = self._keep(name, kept, cells[kept.of], item)
            found |= {f"{name}.{part}".removesuffix("."): array for part, array in made.items()}
        return found

    def fit_components(self, items: Sequence[Item]) -> None:
        """Fit the principal components that the job keeps, or read those that it has fitted before.

        Pictures of the sample that cannot be read are left out; their turn to be listed comes later.

        Raises:
            InputError: none can be read, or a file cannot be read or written.
        """
        for name, path in components_files(self._job).items():
            if not path.exists():
                kept = cast("KeptComponents", self._job.keep[name])
                draw = torch.randperm(len(items), generator=torch.Generator().manual_seed(self._job.seed))
                sample = [items[number] for number in sorted(draw[: kept.sample].tolist())]
                maps = self._readable(kept.of, sample)
                Components.fit(maps, kept.count, len(sample), self._job.seed).save(path)
            self._components[name] = Components.load(path)

    def _readable(self, signal: str, items: Sequence[Item]) -> Iterator[Tensor]:
        for item in items:
            with suppress(InputError):
                yield self._cells(signal, item, self.read(item)).features

    def _cells(self, name: str, item: Item, picture: Tensor) -> Cells:
        """Compute or read a signal of a picture."""
        signal, size = self._job.signals[name], self._job.size
        whole = picture.shape[2], picture.shape[3]
        options = {"method": self._method, "memory": self._job.memory}
        if isinstance(signal, EncoderSignal):
            how = signal.model_dump(include={"resolution", "sides", "precision"})
            image = encode_image(picture, self._networks[name], size=size, device=self._device, **how)
            return Cells(image, "features", None, options, whole)
        assert isinstance(signal, StoredSignal)
        source = fetch(item.fill(signal.file), self._job.source.storage)
        found = read_signal_file(source, whole, signal_type=signal.signal_type).gathered().to(self._device)
        guidance = resized(as_guidance(picture, device=self._device).float(), size)
        image = EncodedImage(guidance, Encoding(found.values, "stored", signal.file), (0, 0, *guidance.shape[2:]))
        return Cells(image, found.signal_type, found.valid, options, whole)

    def _keep(self, name: str, kept: Kept, cells: Cells, item: Item) -> Arrays:
        """Compute one result: arrays by what their names have behind that of the result."""
        match kept:
            case KeptMap():
                return _typed(cells.dense[0], kept.dtype)
            case KeptComponents():
                return _typed(cells.of(self._components[name].of(cells.features)).dense[0], kept.dtype)
            case KeptPoints():
                return _typed(cells.at(self._points(kept, item, cells.whole)), kept.dtype)
            case KeptLabels():
                return self._labels(self._probes[name], cells)
            case KeptRegions():
                return self._regions(kept, item, cells.dense[0])

    def _points(self, kept: KeptPoints, item: Item, whole: Size) -> Tensor:
        """Return the points of a picture, [N, 2] of (x, y) in its pixels."""
        given: Any = kept.points
        if isinstance(given, str):
            given = item.fill(given, is_text=True)
            if isinstance(given, str) and given.startswith("["):
                given = _json(given)
            elif isinstance(given, (str, Member)):
                given = read_stored(fetch(given, self._job.source.storage), noun="points").numbers.tolist()
        accepted = "pairs [x, y] of whole numbers within the picture, {width} × {height} pixels"
        size = {"width": whole[1], "height": whole[0]}
        points = np.asarray(given if isinstance(given, list) else [], dtype=object)
        is_pairs = points.ndim == 2 and points.shape[1] == 2 and all(isinstance(n, int) for n in points.flat)
        if not is_pairs:
            raise InputError("points", "has the shape {shape}", accepted, shape=list(points.shape), **size)
        if bool((points < 0).any() or (points >= (whole[1], whole[0])).any()):
            raise InputError("points", "leaves the picture", accepted, **size)
        return torch.from_numpy(points.astype(np.int64))

    def _labels(self, probe: LabelProbe, cells: Cells) -> Arrays:
        """Return the most probable labels [H, W], in the smallest type that holds all of the probe's."""
        most = max(probe.labels)
        dtype = np.uint8 if most < 2**8 else np.uint16 if most < 2**16 else np.int64
        return {"": probe.predict(cells.image, **cells.options)[0, 0].cpu().numpy().astype(dtype)}

    def _regions(self, kept: KeptRegions, item: Item, dense: Tensor) -> Arrays:
        """Compute means over the regions of a picture of the upsampled signal [C, H, W]."""
        stored = read_stored(fetch(item.fill(kept.masks), self._job.source.storage), noun="masks")
        size = dense.shape[1], dense.shape[2]
        if stored.numbers.ndim == 3 and stored.form != "image":
            masks = at_size(stored.numbers[:, None].long(), size)[:, 0].flatten(1) > 0  # [R, H·W]
            labels, places = torch.arange(len(masks)), [mask.nonzero()[:, 0] for mask in masks]
        else:
            numbers = at_size(stored.by_colour().labels()[None], size).flatten()  # [H·W]
            labels, counts = numbers.unique(return_counts=True)
            places = list(numbers.argsort(stable=True).split(counts.tolist()))
        flat = dense.flatten(1)
        means = torch.stack([flat[:, place.to(flat.device)].mean(1) for place in places])  # [R, C]
        counts = torch.tensor([len(place) for place in places])
        return {**_typed(means, kept.dtype), "labels": labels.numpy(), "pixels": counts.numpy()}


def components_files(job: Job) -> dict[str, Path]:
    """Return the files of a job's principal components, by the names of the results."""
    folder = job.output.path / OWN_FOLDER
    return {name: folder / f"{name}.safetensors" for name, kept in job.keep.items() if isinstance(kept, KeptComponents)}


def _typed(values: Tensor, dtype: str) -> Arrays:
    """Convert values to a type, with a scale for each channel [C, …] of int8.

    Raises:
        InputError: the type cannot hold them.
    """
    numbers = values.detach().cpu()
    if dtype == "int8":
        scales = numbers.float().abs().flatten(1).amax(1) / 127  # [C]
        steps = torch.where(scales > 0, scales, 1.0).view(-1, *[1] * (numbers.ndim - 1))
        return {"": (numbers.float() / steps).round().to(torch.int8).numpy(), "scales": scales.numpy()}
    target: torch.dtype = getattr(torch, dtype)
    converted = numbers.to(target)
    low, high = (bound.item() for bound in numbers.aminmax())
    if numbers.is_floating_point() and target.is_floating_point:  # NaN stays: it stands for nothing
        largest = torch.finfo(target).max
        is_held = (-largest <= low and high <= largest) or bool((converted.isfinite() == numbers.isfinite()).all())
    else:  # a label may not become another
        is_held = bool((converted.double() == numbers.double()).all())
    if not is_held:
        problem, accepted = "is {dtype}, and the values go from {low:g} to {high:g}", "a type that holds them"
        raise InputError("dtype", problem, accepted, dtype=dtype, low=low, high=high)
    return {"": converted.numpy()}


def _json(text: str) -> Any:
    with Subject("points", "pairs [x, y] as JSON").attempt("read"):
        return json.loads(text)
