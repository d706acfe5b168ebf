"""Hold the state of the server while it runs, and do the work of its routes."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

import scipy.ndimage  # noqa: F401  # before there are threads: two that import it at once can fail
import torch
from fastapi import UploadFile
from torch import Tensor

from omniup import __version__
from omniup.errors import InputError
from omniup.files import SAMPLES, image_tensor, read_image, sample_image
from omniup.files.weights import OFFLINE
from omniup.reconstruction import working_image
from omniup.upsamplers import DEFAULT_METHOD, SIGNAL_TYPES, UpsampleAnything, methods
from omniup.upsamplers.anyup.weights import check_here
from omniup.upsamplers.layouts import LAYOUTS
from omniup.upsamplers.registry import Method
from omniup.upsamplers.upsample_anything import PRESETS
from omniup.web.comparison import compare
from omniup.web.extractors import Extractors
from omniup.web.features import features
from omniup.web.fields import FieldError, field
from omniup.web.jobs import Job, Jobs, KnownError
from omniup.web.language import phrases, texts
from omniup.web.pace import Pace
from omniup.web.restoration import RestorationModel, read_picture, restore
from omniup.web.run import run
from omniup.web.runs import Runs
from omniup.web.schemas import (
    CompareConfig,
    Described,
    Device,
    EncoderConfig,
    FeaturesConfig,
    Health,
    Limits,
    MaskConfig,
    Options,
    PictureConfig,
    Recognition,
    RestoreConfig,
    RunConfig,
    Sample,
    Texts,
    UpsampleConfig,
)
from omniup.web.segmentation import Segmenter, example, segment_mask, segmentation
from omniup.web.settings import Settings
from omniup.web.upsampling import check_cost, order, recognition, requested_method, upsample

Result = TypeVar("Result")

QUICK_THREADS = 2
"""For what must not wait behind a fit: reading uploads, similarities, files. Each computes on one core."""


class Service:
    """The demo without HTTP.

    Args:
        settings: how to serve.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.devices = settings.devices
        cpu_threads = settings.threads or torch.get_num_threads()
        self.jobs = Jobs({name: (settings.queue, cpu_threads if name == "cpu" else None) for name in self.devices})
        self.runs = Runs(settings.kept_seconds, settings.kept_bytes)
        self.pace = Pace()
        self.segmenter = Segmenter(settings.mask2former, settings.offline)
        self.restoration = RestorationModel(settings.restore_model, settings.restore_base)
        self._extractors = Extractors()
        self._quick = ThreadPoolExecutor(QUICK_THREADS, "quick", initializer=partial(torch.set_num_threads, 1))
        self._began = time.monotonic()

    def warm_up(self) -> None:
        """Do a small run on the default device, before any user does."""

        def measure(job: Job) -> None:
            self.pace.measure(self.devices[0])
            config = CompareConfig()
            photo = working_image(image_tensor(sample_image()), config.stride, config.size)
            chosen = [requested_method(each.method, each.settings) for each in config.methods]
            compare(job, config, photo, chosen=chosen, device=self.devices[0])
            encoder = EncoderConfig(extractor=self._extractors.best)
            self._extractors.encode(photo, (8, 8), config=encoder)
            gc.freeze()  # or each full collection visits all of torch, during which no request is answered: 0.4 s

        self.jobs.submit(Job(uuid4(), measure), self.devices[0])

    def close(self) -> None:
        """End everything and remove all files."""
        self.jobs.close()
        self._quick.shutdown(cancel_futures=True)
        self.runs.close()
        gc.unfreeze()  # or libraries complain at the end of the process that nobody has collected their objects

    async def quickly(self, work: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """Do something short in a thread of its own."""
        OFFLINE.set(self.settings.offline)
        call = functools.partial(contextvars.copy_context().run, work, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._quick, call)

    async def submit_run(self, config: RunConfig, image: UploadFile) -> Job:
        """Check a picture and put a run in the queue.

        Raises:
            FieldError: the picture or the device cannot be accepted.
            KnownError: there is a run of this id.
            QueueFullError: the queue is full.
        """
        device = self._device(config.device)
        self._extractors.check(config.extractor)
        with self.jobs.workers[device].place():
            guidance = await self.quickly(self._read, config, await self._content("image", image))
            return self._submit(partial(self._run, config=config, image=guidance, device=device), config.run_id, device)

    async def submit_comparison(self, config: CompareConfig, image: UploadFile) -> Job:
        """Check a picture and methods, and put their comparison in the queue; raises as `submit_run`."""
        device = self._device(config.device)
        chosen = [
            requested_method(each.method, each.settings, f"config.methods.{place}")
            for place, each in enumerate(config.methods)
        ]
        with self.jobs.workers[device].place():
            photo = await self.quickly(self._read, config, await self._content("image", image))
            size = photo.shape[2], photo.shape[3]
            for method in chosen:
                check_cost(method, size, (size[0] // config.stride, size[1] // config.stride))
            work = partial(compare, config=config, image=photo, chosen=chosen, device=device)
            return self._submit(work, config.run_id, device)

    async def submit_features(self, config: FeaturesConfig, images: list[UploadFile]) -> Job:
        """Check photographs, and put the comparison of their features in the queue; raises as `submit_run`."""
        device = self._device(config.device)
        self._extractors.check(config.extractor)
        with self.jobs.workers[device].place():
            photos = []
            for name, image in zip(("image", "other"), images, strict=False):
                photos.append(await self.quickly(self._read, config, await self._content(name, image), name))
            work = partial(
                features, config=config, images=photos, device=device, extractors=self._extractors, runs=self.runs
            )
            return self._submit(work, config.run_id, device)

    async def submit_mask(self, config: MaskConfig, image: UploadFile, mask: UploadFile) -> Job:
        """Check a photograph and a mask, and put the mask's upsampling in the queue; raises as `submit_run`."""
        device = self._device(config.device)
        with self.jobs.workers[device].place():
            photo = await self.quickly(self._read, config, await self._content("image", image))
            with field("mask"):
                file = await self._content("mask", mask)
                drawn = await self.quickly(read_image, file, max_pixels=self.settings.pixels)
            work = partial(segment_mask, config=config, image=photo, mask=drawn.mean(1, keepdim=True), device=device)
            return self._submit(work, config.run_id, device)

    async def submit_restoration(self, config: RestoreConfig, image: UploadFile) -> Job:
        """Check a picture, and put its restoration in the queue; raises as `submit_run`."""
        device, limits = self._device(config.device), self.settings
        with self.jobs.workers[device].place():
            file = await self._content("image", image)
            checked = await self.quickly(
                read_picture,
                config,
                file,
                model=self.restoration,
                pixels=limits.pixels,
                restored_pixels=limits.restored_pixels,
            )
            work = partial(
                restore, config=config, picture=checked, device=device, model=self.restoration, runs=self.runs
            )
            return self._submit(work, config.run_id, device)

    async def submit_upsampling(self, config: UpsampleConfig, image: UploadFile, signal: UploadFile) -> Job:
        """Check an image and a signal, and put their upsampling in the queue; raises as `submit_run`."""
        device, limits = self._device(config.device), self.settings
        with self.jobs.workers[device].place():
            files = [await self._content("image", image), await self._content("signal", signal)]
            most = limits.upsampling_seconds
            pairs = self.pace.most_pairs(most) if device == self.devices[0] else math.inf  # that one is measured
            checked = await self.quickly(order, config, *files, pixels=limits.pixels, values=limits.values, pairs=pairs)
            work = partial(upsample, order=checked, device=device, runs=self.runs, seconds=most)
            return self._submit(work, config.run_id, device)

    async def recognise(self, config: UpsampleConfig, image: UploadFile, signal: UploadFile) -> Recognition:
        """Recognise what a signal is; raises FieldError where a file cannot be accepted."""
        files = [await self._content("image", image), await self._content("signal", signal)]
        limits = self.settings
        return await self.quickly(recognition, config, *files, pixels=limits.pixels, values=limits.values)

    @functools.cached_property
    def example(self) -> bytes:
        """The bundled segmentation, a `Segmentation` as JSON, made once."""
        return segmentation(example()).model_dump_json().encode()

    def options(self) -> Options:
        """Return the choices."""
        settings = self.settings
        threads = settings.threads or torch.get_num_threads()
        words = {"cpu": phrases("CPU, {threads} threads", threads=threads), "mps": phrases("Apple GPU")}
        if "cuda" in self.devices:
            words["cuda"] = phrases("{name}", name=torch.cuda.get_device_name())
        labels = {name: Texts.model_validate(both) for name, both in words.items()}
        return Options(
            version=__version__,
            devices=[Device(name=name, label=labels[name].en, texts=labels[name]) for name in self.devices],
            device=self.devices[0],
            presets={name: _preset(name) for name in PRESETS},
            sizes=[224, 256, 384, 512],
            strides=[8, 14, 16, 32],
            extractors=self._extractors.known,
            extractor=self._extractors.best,
            methods=[
                Described(
                    name=method.name,
                    summary=method.summary,
                    summary_zh=method.summary_zh,
                    settings=dict(method.settings),
                    choices={name: list(values) for name, values in method.choices.items()},
                    variants=list(method.variants),
                    missing=self._missing(method),
                )
                for method in methods().values()
            ],
            method=DEFAULT_METHOD,
            layouts=list(LAYOUTS),
            signal_types=["auto", *SIGNAL_TYPES],
            consistencies=["auto", "none", "0.5", "1", "full"],
            samples=[
                Sample(name=name, url=f"/api/samples/{name}", thumbnail=f"/api/samples/{name}?size=96")
                for name in SAMPLES
            ],
            limits=Limits(
                upload_bytes=settings.upload_bytes,
                pixels=settings.pixels,
                values=settings.values,
                restored_pixels=settings.restored_pixels,
                queue=settings.queue,
                kept_seconds=settings.kept_seconds,
            ),
            config=RunConfig.model_validate(self.pace.gentle()).model_dump(exclude={"run_id"}),
            pairs_per_second=self.pace.pairs_per_second,
            overhead_seconds=self.pace.overhead_seconds,
            loading_seconds={**self._extractors.loading_seconds, **self.segmenter.loading_seconds},
            segmentation=self.segmenter.status,
            restoration=self.restoration.status,
        )

    def _missing(self, method: Method) -> dict[str, Texts]:
        """Return the published weights of a method that are not here and cannot be fetched, with the reason."""
        missing = {}
        for name in method.paths.get("weights", ()) if self.settings.offline else ():
            try:
                check_here(name)
            except InputError as error:
                missing[name] = Texts.model_validate(texts(error))
        return missing

    def health(self) -> Health:
        """Return the state of the server."""
        workers = self.jobs.workers.values()
        count, size = self.runs.count_and_size
        return Health(
            status="ok",
            version=__version__,
            device=self.devices[0],
            running=sum(worker.running is not None for worker in workers),
            waiting=sum(worker.waiting for worker in workers),
            capacity=self.settings.queue,
            kept_runs=count,
            kept_bytes=size,
            seconds_up=time.monotonic() - self._began,
        )

    def _device(self, name: str) -> str:
        if name == "auto":
            return self.devices[0]
        if name not in self.devices:
            raise FieldError(
                "config.device", "device", "is {value!r}", "{names}", value=name, names=", ".join(self.devices)
            )
        return name

    async def _content(self, field: str, file: UploadFile) -> bytes:
        most = self.settings.upload_bytes
        if (file.size or 0) > most:
            raise FieldError(field, field, "has {size} bytes", "up to {most} bytes", size=file.size, most=most)
        return await file.read()

    def _read(self, config: PictureConfig, image: bytes, name: str = "image") -> Tensor:
        with field(name):
            full = read_image(image, max_pixels=self.settings.pixels)
        return working_image(full, config.stride, config.size, square=config.shape == "square")

    def _run(self, job: Job, config: RunConfig, image: Tensor, device: str) -> bytes:
        return run(
            job,
            config,
            image,
            device=device,
            extractors=self._extractors,
            segmenter=self.segmenter,
            runs=self.runs,
            pace=self.pace,
        )

    def _submit(self, work: Callable[[Job], bytes], id: UUID | None, device: str) -> Job:
        OFFLINE.set(self.settings.offline)  # in the context of the request, which the job takes over
        job = Job(id or uuid4(), work)
        if self.runs.find(job.id) is not None:
            raise KnownError(job.id)
        self.jobs.submit(job, device)
        return job


def _preset(name: str) -> dict[str, Any]:
    method = UpsampleAnything.preset(name)
    return {
        "iters": method.iterations,
        "radius": method.radius,
        "lr": method.lr,
        "window": method.window,
        "window_cells": method.cells,
    }
