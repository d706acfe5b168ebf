"""`POST /api/features`: upsample the features of one photograph, or of two, by several methods, side by side.

Colours and segments are fitted to the low-resolution features, of both photographs together: so the same colour, or the
same segment, means similar features in every picture of the answer.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from omniup.encoders import Encoding
from omniup.errors import InputError
from omniup.evaluation.metrics.edges import image_edges, spread_off
from omniup.files.weights import OFFLINE
from omniup.mixing.interruption import interruptible
from omniup.upsamplers import DEFAULT_METHOD, upsampler
from omniup.visualize import (
    Clusters,
    Panel,
    PcaColours,
    class_colours,
    heat_map,
    label_picture,
    outlined,
    similarity_map,
    to_picture,
)
from omniup.web.extractors import Extractors
from omniup.web.jobs import Job
from omniup.web.language import phrases, texts
from omniup.web.pictures import data_url, enlarged, scale
from omniup.web.runs import FeatureMaps, Kept, Runs
from omniup.web.schemas import (
    FeaturePictures,
    FeaturesAnswer,
    FeaturesConfig,
    MissingMethod,
    Place,
    SimilaritiesAnswer,
    SimilaritiesRequest,
    SimilarityPictures,
    Texts,
    UpsampledFeatures,
)
from omniup.web.stages import Stages

logger = logging.getLogger(__name__)

METHODS = (DEFAULT_METHOD, "anyup", "upsample_anything", "bilinear")
"""Methods to compare, ours first."""


@dataclass(frozen=True, eq=False)
class _Photo:
    """A photograph, its features, and what the methods made of them.

    Attributes:
        image: [1, 3, H, W].
        encoding: features [1, C, h, w].
        maps: [1, C, H, W] float16, by method.
    """

    image: Tensor
    encoding: Encoding
    maps: dict[str, Tensor]

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[2], self.image.shape[3]


def features(
    job: Job, config: FeaturesConfig, images: list[Tensor], *, device: str, extractors: Extractors, runs: Runs
) -> bytes:
    """Upsample the features of photographs by each method, and keep them for similarities.

    Args:
        job: whose work this is.
        config: what was asked for.
        images: one or two, [1, 3, H, W] in 0..1, with sides that the stride divides.
        device: where to compute.
        extractors: make the features.
        runs: keeps the upsampled features.

    Returns:
        A `FeaturesAnswer` as JSON.
    """
    OFFLINE.set(True)  # in the job's own context: a comparison takes the weights that are here
    stage, photos = Stages(job), []
    for image in (each.to(device) for each in images):
        with stage("encode"):
            grid = image.shape[2] // config.stride, image.shape[3] // config.stride
            photos.append(_Photo(image, extractors.encode(image, grid, config=config), {}))
    missing, seconds = [], {}
    with interruptible(job.check), stage("render image"):
        for name in METHODS:
            began = time.perf_counter()
            try:
                for photo in photos:
                    photo.maps[name] = _upsampled(photo, name, stage)
            except InputError as error:
                logger.info("features without %s: %s", name, error)
                missing.append(MissingMethod(method=name, texts=Texts.model_validate(texts(error))))
            seconds[name] = time.perf_counter() - began
    with stage("draw"):
        answer = _answer(job, config, photos, seconds, missing)
    kept = FeatureMaps([photo.maps for photo in photos], [photo.encoding.features for photo in photos])
    runs.add(Kept(job.id, {}, comparison=None, size=kept.nbytes, features=kept))
    return answer.model_dump_json().encode()


def _upsampled(photo: _Photo, name: str, stage: Stages) -> Tensor:
    low = photo.encoding.features
    prepared = upsampler(name).prepare(photo.image, (low.shape[2], low.shape[3]), progress=stage.fitting)
    return prepared.render(low, "features").half()


def _answer(
    job: Job, config: FeaturesConfig, photos: list[_Photo], seconds: dict[str, float], missing: list[MissingMethod]
) -> FeaturesAnswer:
    lows = [photo.encoding.features for photo in photos]
    colours = PcaColours.fit(*lows)
    clusters = Clusters.fit(*lows, count=config.segments)
    palette = class_colours(len(clusters.centres))

    def pictures(photo: _Photo, map: Tensor) -> FeaturePictures:
        labels = clusters.labels(map.float())
        full = map.shape[2:] == photo.image.shape[2:]
        drawn = to_picture(colours.picture(map.float())), label_picture(labels, palette)
        pca, segments = (enlarged(each, photo.size) for each in drawn)
        return FeaturePictures(
            pca=data_url(pca),
            segments=data_url(segments),
            boundaries=data_url(outlined(photo.image, labels)) if full else None,
        )

    edges = image_edges(photos[0].image)
    results = [
        UpsampledFeatures(
            method=name,
            pictures=[pictures(photo, photo.maps[name]) for photo in photos],
            edge_spread=spread_off(map.float(), edges),
            seconds=seconds[name],
        )
        for name, map in photos[0].maps.items()
    ]
    encoding = photos[0].encoding
    return FeaturesAnswer(
        run_id=job.id,
        sizes=[photo.size for photo in photos],
        grid=(lows[0].shape[2], lows[0].shape[3]),
        extractor=encoding.encoder,
        extractor_weights=encoding.weights,
        extractor_texts=Texts.model_validate(phrases("{weights}", weights=encoding.weights)),
        channels=lows[0].shape[1],
        photos=[data_url(to_picture(photo.image)) for photo in photos],
        low=[pictures(photo, low) for photo, low in zip(photos, lows, strict=True)],
        results=results,
        missing=missing,
    )


def similarities(kept: FeatureMaps, request: SimilaritiesRequest) -> SimilaritiesAnswer:
    """Draw the cosine similarity of all pixels with one pixel of the first photograph, by every method.

    All pictures share their limits: the least similarity among the cells of the first photograph, and 1.

    Raises:
        InputError: the point lies outside of the photograph.
    """
    began = time.perf_counter()
    first = kept.maps[0]
    height, width = next(iter(first.values())).shape[2:]
    if not (request.y < height and request.x < width):
        problem, accepted = "is {x}, {y}", "pixels of {width} × {height}"
        raise InputError("x, y", problem, accepted, x=request.x, y=request.y, width=width, height=height)
    low = kept.low[0]
    cell = request.y * low.shape[2] // height, request.x * low.shape[3] // width
    limits = min(float(similarity_map(low, cell).min()), 0.99), 1.0
    results = []
    for name, source in first.items():
        cosines = [similarity_map(maps[name], (request.y, request.x), of=source) for maps in kept.maps]
        results.append(
            SimilarityPictures(
                method=name,
                images=[data_url(heat_map(cosine, limits)) for cosine in cosines],
                best=[_place(cosine) for cosine in cosines[1:]],
            )
        )
    return SimilaritiesAnswer(
        x=request.x,
        y=request.y,
        results=results,
        scale=scale(Panel("similarity", low, limits=limits, unit="cosine")),
        milliseconds=1000 * (time.perf_counter() - began),
    )


def _place(cosine: Tensor) -> Place:
    """Return the most similar pixel of a map [1, 1, H, W]."""
    y, x = divmod(int(cosine.argmax()), cosine.shape[3])
    return Place(x=x, y=y, cosine=float(torch.as_tensor(cosine[0, 0, y, x])))
