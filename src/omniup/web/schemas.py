"""Define the models of requests and answers: they validate, they bound, and they document."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from omniup.errors import InputError
from omniup.upsamplers import DEFAULT_METHOD, SignalType, UpsampleAnything
from omniup.upsamplers.consistency import FULL
from omniup.upsamplers.layouts import Layout

MAX_CHANNELS = 128
MAX_WORK = 2**34
"""Pairs of pixel and cell that a fit may visit in all its steps: some minutes on a laptop."""

FeatureMap = Literal["bilinear", "fixed", "gsjbu"]
"""Upsampled features whose similarities can be computed: those that are mixed linearly."""
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]

GridSide = Annotated[int, Field(ge=1, le=10_000)]
NumberOrNaN = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(lambda value: math.nan if value == "nan" else value),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"const": "nan"}]}),
]
"""A number, or the word nan, since JSON has no number for it."""

MethodSettings = dict[Annotated[str, Field(max_length=40)], Any]

DataUrl = Annotated[str, Field(description="A PNG: `data:image/png;base64,...`, or its URL where files are returned.")]
PngUrl = Annotated[str, Field(description="The URL of a PNG, kept as long as the run.")]
Coordinate = Annotated[int, Field(ge=-100_000, le=100_000)]
Pixel = Annotated[int, Field(ge=0, lt=4096)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Texts(_Model):
    """A sentence of the server in both languages, for a page whose language changes."""

    en: str
    zh: str
    details: str = Field("", description="Words of a library, in English, which the Chinese sentence leaves out.")


class PictureConfig(_Model):
    """Size and device of a request about a photograph."""

    run_id: UUID | None = Field(
        None, description="Chosen by the client, so that it can follow the progress; else by the server."
    )
    size: int = Field(256, ge=64, le=1024, description="The side, or the longer side, that is worked on, in pixels.")
    shape: Literal["square", "keep"] = Field(
        "square", description="Resize to a square, or keep the proportions as nearly as the stride allows."
    )
    stride: int = Field(16, ge=4, le=64, description="Pixels per low-resolution cell; the sides are multiples of it.")
    device: DeviceChoice = Field("auto", description="auto is the fastest that there is.")


class EncoderConfig(PictureConfig):
    """Encoder of a request about features of a photograph."""

    extractor: Annotated[str, BeforeValidator(lambda name: "projection" if name == "fake" else name)] = Field(
        "projection",
        pattern=r"^(fake|projection|resnet18_layer2|timm:[A-Za-z0-9_.-]{1,80})$",
        description="Encoder of the features, one of those in /api/options. "
        '"fake", the specification\'s name, is projection.',
    )
    channels: int = Field(32, ge=1, le=MAX_CHANNELS, description="Channels of the projection's features.")


class RunConfig(EncoderConfig):
    """The settings of a run; all have defaults, those of the demo's specification."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{}, {"preset": "paper", "size": 224, "shape": "keep", "stride": 14, "iters": 20}]
        }
    )

    preset: Literal["spec", "paper"] = Field(
        "spec", description="Defaults of iters, radius and lr: the specification's settings, or the authors'."
    )
    iters: int | None = Field(None, ge=0, le=100, description="Steps of test-time optimisation; 0 for none.")
    radius: int | None = Field(
        None, ge=1, le=8, description="Radius of the window, in cells: (2R + 1)² in a square one."
    )
    lr: float | None = Field(None, gt=0, le=1, description="Step size of Adam.")
    sigma: float = Field(16.0, ge=1, le=64, description="Width in space of the fixed and the first kernels, in pixels.")
    sigma_r: float = Field(0.12, ge=0.01, le=1, description="Their width in colour, of 0..1.")
    segmentation: bool = Field(False, description="Run Mask2Former, and upsample its class probabilities.")
    seg_resolution: int = Field(256, ge=64, le=512, description="The longer side that Mask2Former sees, in pixels.")
    return_files: bool = Field(False, description="Answer with URLs in place of data URLs, for large pictures.")

    @property
    def method(self) -> UpsampleAnything:
        """The method to fit with: the preset with the changes."""
        changes = {"iterations": self.iters, "radius": self.radius, "lr": self.lr}
        given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        return UpsampleAnything.preset(self.preset, sigma=self.sigma, sigma_r=self.sigma_r, **given)

    @model_validator(mode="after")
    def _bounded(self) -> RunConfig:
        cells = self.size // self.stride
        work = self.method.cost((self.size, self.size), (cells, cells))
        if work > MAX_WORK:
            raise InputError(
                "size² x window x iters",
                "is {work:.1e}, more than the limit of {most:.1e}",
                "a smaller size, radius or iters",
                work=work,
                most=MAX_WORK,
            )
        return self


class Meta(_Model):
    """Sizes, settings and times of a run."""

    H: int = Field(description="Height that was worked on, in pixels.")
    W: int = Field(description="Width.")
    stride: int
    iters: int = Field(description="Steps taken.")
    radius: int
    device: str
    dtype: str
    preset: str
    lr: float
    sigma: float = Field(description="Width in space that the kernels begin with, in pixels.")
    grid: tuple[int, int] = Field(description="Height and width of the low-resolution grid, in cells.")
    window_cells: int = Field(description="Number of cells that a pixel may draw from, away from the border.")
    extractor: str
    extractor_weights: str = Field(description="Weights of the extractor, in plain words.")
    extractor_texts: Texts = Field(description="These words in both languages.")
    channels: int
    seconds: dict[str, float] = Field(description="Seconds of each stage, and `total`.")


class Scores(_Model):
    """Closeness of a reconstruction to the image; null is infinite."""

    l1_recon: float
    psnr_recon: float | None = Field(description="In dB.")
    ssim_recon: float


class FeatureScores(_Model):
    """Scores of upsampled features without a truth to compare with."""

    edge_spread: float = Field(description="Part of the colours' variation that lies off the image's edges, 0..1.")


class Metrics(Scores):
    """Metrics of the fitted kernels, as the specification has it; and of every method."""

    methods: dict[Literal["bilinear", "bicubic", "fixed", "gsjbu", "pyramid"], Scores]
    features: dict[Literal["bilinear", "fixed", "gsjbu", "pyramid"], FeatureScores]
    gain_db: float = Field(description="PSNR of the fitted kernels less that of the fixed ones.")


class Scale(_Model):
    """Scale of a map's colours."""

    low: float
    high: float
    unit: str
    colours: list[str] = Field(description="From low to high, evenly spaced, as #rrggbb.")


class ParameterMap(Scale):
    """One of the kernels' parameters: the scale of its map's colours, and the distribution of its values."""

    counts: list[int] = Field(
        description="Cells in equal bins from low to high; the outermost include what lies beyond."
    )
    least: float = Field(description="The least value of all cells.")
    most: float = Field(description="The greatest.")
    mean: float
    median: float


class SegmentClass(_Model):
    """A class that appears in a segmentation."""

    name: str
    colour: str = Field(description="#rrggbb")
    share: float = Field(description="Part of the pixels, upsampled by GS-JBU, 0..1.")


class SegmentationStatus(_Model):
    """Status of the segmentation: whether it was asked for, and what happened."""

    state: Literal["off", "done", "unavailable"]
    message: str
    texts: Texts


class Segmentation(_Model):
    """Class probabilities upsampled, and their argmax."""

    images: dict[
        Literal[
            "photo",
            "seg_lr",
            "seg_anyup",
            "seg_bilinear",
            "seg_gsjbu",
            "seg_pyramid",
            "boundaries_lr",
            "boundaries_anyup",
            "boundaries_bilinear",
            "boundaries_gsjbu",
            "boundaries_pyramid",
        ],
        DataUrl,
    ]
    classes: list[SegmentClass]
    source: str = Field(description="Source of the probabilities.")
    grid: tuple[int, int]
    H: int
    W: int


class RunAnswer(_Model):
    """Results of a run."""

    run_id: UUID
    meta: Meta
    images: dict[str, DataUrl]
    metrics: Metrics
    losses: list[float] = Field(description="Mean absolute error before each step of the fit.")
    parameters: dict[Literal["sigma_x", "sigma_y", "theta", "sigma_r"], ParameterMap]
    scales: dict[str, Scale] = Field(description="Scales of the other maps: errors, and the weights' concentration.")
    seg_status: SegmentationStatus
    segmentation: Segmentation | None
    hint: Literal["use_paper"] | None = Field(description="use_paper where the fit gained less than 0.1 dB.")
    files: dict[str, str] = Field(description="Files to download while the run is kept: name and URL.")


class MethodChoice(_Model):
    """A method and its settings."""

    method: str = Field(DEFAULT_METHOD, max_length=40, description="One of the methods in /api/options.")
    settings: MethodSettings = Field(default_factory=dict, max_length=30, description="The method's settings, by name.")


class CompareConfig(PictureConfig):
    """Settings of a comparison of methods on a photograph."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {},
                {
                    "shape": "keep",
                    "methods": [{"method": "upsample_anything", "settings": {"preset": "paper"}}],
                },
            ]
        }
    )

    methods: list[MethodChoice] = Field(
        default_factory=lambda: [MethodChoice(method=name) for name in (DEFAULT_METHOD, "bilinear", "bicubic")],
        min_length=1,
        max_length=8,
        description="The methods to compare, in their order.",
    )


class Compared(MethodChoice):
    """A photograph as one method gives it back."""

    image: DataUrl
    shown: Literal["means", "samples"] = Field(
        description="Low-resolution version that the image is made of: means of the cells; or, of a method that is "
        "fitted to the photograph, the samples that the fit mixes."
    )
    psnr: dict[Literal["means", "samples"], float | None] = Field(
        description="PSNR in dB from either; null is infinite."
    )
    iterations: int = Field(description="Steps of the fit; 0 without one.")
    seconds: float = Field(description="Seconds that preparing and both renderings took.")


class CompareAnswer(_Model):
    """A photograph as several methods give it back."""

    run_id: UUID
    H: int = Field(description="Height that was worked on, in pixels.")
    W: int = Field(description="Width.")
    grid: tuple[int, int] = Field(description="Height and width of the low-resolution grid, in cells.")
    original: DataUrl
    results: list[Compared] = Field(description="In the order of the request.")


class MaskConfig(PictureConfig):
    """Settings of the upsampling of a drawn mask."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"shape": "keep", "stride": 8}]})


class FeaturesConfig(EncoderConfig):
    """Settings of a comparison of upsampled features."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{}, {"shape": "keep", "extractor": "projection", "segments": 4}]}
    )

    segments: int = Field(6, ge=2, le=24, description="Number of segments that k-means divides the features into.")


class FeaturePictures(_Model):
    """Features of a photograph, drawn."""

    pca: DataUrl = Field(description="In colours by PCA, the same in all pictures of the answer.")
    segments: DataUrl = Field(description="In segments by k-means, likewise.")
    boundaries: DataUrl | None = Field(description="Borders of the segments over the photograph; null of cells.")


class UpsampledFeatures(_Model):
    """Features as one method upsamples them."""

    method: str
    pictures: list[FeaturePictures] = Field(description="Pictures of each photograph.")
    edge_spread: float = Field(description="Part of the colours' variation that lies off the image's edges, 0..1.")
    seconds: float = Field(description="Seconds that preparing and rendering took, for all photographs.")


class MissingMethod(_Model):
    """A method that cannot be had on this server."""

    method: str
    texts: Texts = Field(description="Missing parts, and how they are to be had, in both languages.")


class FeaturesAnswer(_Model):
    """Features of one photograph or two, as several methods upsample them."""

    run_id: UUID = Field(description="Id for /api/similarities.")
    sizes: list[tuple[int, int]] = Field(description="Height and width of each photograph, in pixels.")
    grid: tuple[int, int] = Field(description="Height and width of the first photograph's grid, in cells.")
    extractor: str
    extractor_weights: str = Field(description="Weights of the extractor, in plain words.")
    extractor_texts: Texts = Field(description="These words in both languages.")
    channels: int
    photos: list[DataUrl]
    low: list[FeaturePictures] = Field(description="Low-resolution features of each photograph.")
    results: list[UpsampledFeatures] = Field(description="Ours first.")
    missing: list[MissingMethod]


class SimilaritiesRequest(_Model):
    """A click on the first photograph of a comparison of features."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"run_id": "0e5ad5be-6b55-4b56-b1dc-b9e0a64e3181", "x": 100, "y": 90}]}
    )

    run_id: UUID = Field(description="Id of a comparison of features that is kept.")
    x: Pixel = Field(description="From the left, in pixels.")
    y: Pixel = Field(description="From the top, in pixels.")


class Place(_Model):
    """A pixel of the second photograph."""

    x: int
    y: int
    cosine: float


class SimilarityPictures(_Model):
    """Similarities by one method."""

    method: str
    images: list[DataUrl] = Field(description="Pictures of each photograph.")
    best: list[Place] = Field(description="The most similar pixel of the second photograph, if there is one.")


class SimilaritiesAnswer(_Model):
    """Cosine similarity of all pixels with one pixel, by every method."""

    x: int
    y: int
    results: list[SimilarityPictures]
    scale: Scale
    milliseconds: float


class Progress(_Model):
    """An event of a run; its fields depend on the stage."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"stage": "fit", "iteration": 10, "iterations": 50, "loss": 0.0257, "seconds_left": 0.15}]
        }
    )

    stage: Literal[
        "queued",
        "features",
        "prepare",
        "fit",
        "render",
        "confidence",
        "segment",
        "load",
        "restore",
        "draw",
        "done",
        "failed",
        "cancelled",
    ]
    ahead: int | None = Field(None, description="queued: runs to come before this one.")
    iteration: int | None = Field(None, description="fit: steps taken.")
    iterations: int | None = Field(None, description="fit: steps to take.")
    loss: float | None = Field(None, description="fit: mean absolute error of the reconstruction.")
    tile: int | None = Field(None, description="restore: tiles that are done.")
    tiles: int | None = Field(None, description="restore: tiles in all.")
    seconds_left: float | None = Field(None, description="fit, restore: of the stage.")
    elapsed: float | None = Field(None, description="prepare, render, confidence: seconds that the job has taken.")
    message: str | None = Field(None, description="failed: why.")


class SimilarityRequest(_Model):
    """A click on a picture of a run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"run_id": "0e5ad5be-6b55-4b56-b1dc-b9e0a64e3181", "x": 100, "y": 90, "map": "gsjbu"}]
        }
    )

    run_id: UUID = Field(description="Id of a run that is kept.")
    x: Pixel = Field(description="From the left, in pixels of W.")
    y: Pixel = Field(description="From the top, in pixels of H.")
    map: FeatureMap = Field("gsjbu", description="Map whose features are compared.")


class SimilarityAnswer(_Model):
    """Cosine similarity of every pixel's features with those of one pixel."""

    image: DataUrl
    x: int
    y: int
    map: FeatureMap
    scale: Scale
    milliseconds: float


class RegionConfig(_Model):
    """A part of an image, in pixels; it may reach beyond the image."""

    left: Coordinate
    top: Coordinate
    width: int = Field(ge=1, le=100_000)
    height: int = Field(ge=1, le=100_000)

    @property
    def as_tuple(self) -> tuple[int, int, int, int]:
        """Its numbers in the order of `omniup.upsample`."""
        return self.top, self.left, self.height, self.width


class UpsampleConfig(_Model):
    """Settings of the upsampling of one's own signal."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"method": "joint_bilateral", "settings": {"radius": 2, "sigma_r": 0.25}}]}
    )

    method: str = Field(DEFAULT_METHOD, max_length=40, description="One of the methods in /api/options.")
    settings: MethodSettings = Field(default_factory=dict, max_length=30, description="The method's settings, by name.")
    signal_type: Literal["auto", SignalType] = Field(
        "auto",
        description="Type of the signal, which decides how it is upsampled. auto takes palette PNGs for labels, "
        "channels that are probabilities for these, one channel for a measurement, and all else for features.",
    )
    labels: bool | None = Field(
        None,
        description="true is the signal type labels; false says that a palette PNG or whole numbers are measured.",
    )
    layout: Layout = Field(
        "auto", description="Order of an array's sides; auto takes what fits the image, tokens included."
    )
    grid: tuple[GridSide, GridSide] | None = Field(
        None, description="Grid (h, w) of the signal, where its shape does not show it: of tokens."
    )
    consistency: Annotated[float, Field(ge=0, le=FULL)] | Literal["auto", "none", "full"] = Field(
        "auto",
        description="Steps of consistency: how often what the result's means over the cells lack of the signal is "
        "added; full until nothing is lacking. auto is what the method recommends: with AnyUp one step for features "
        "and a part of one for probabilities, else none.",
    )
    invalid: list[NumberOrNaN] = Field(
        default_factory=list,
        max_length=8,
        description="Numbers that stand for holes, such as 0 or nan for depth without a reading, or 255 for void "
        "labels: cells that do not count. Pixels far from all others are filled from the nearest.",
    )
    region: RegionConfig | None = Field(
        None,
        description="Part of the image that the signal covers: a crop; or more than the image, as of one that was "
        "padded to a square. The result is what lies in the image.",
    )
    orientation: Literal["auto", "upright", "stored"] = Field(
        "auto",
        description="Way that the signal of a picture with an EXIF orientation lies; auto goes by its aspect, and is "
        "upright with a region.",
    )
    name: str | None = Field(None, max_length=200, description="Name of the signal's array in its file.")
    image_name: str | None = Field(None, max_length=200, description="Name of the guidance's array in its file.")
    run_id: UUID | None = Field(None, description="Id of the request, as for a run.")
    device: DeviceChoice = Field("auto", description="Device, as for a run.")

    @model_validator(mode="after")
    def _agree(self) -> UpsampleConfig:
        if self.signal_type != "auto" and self.labels not in (None, self.signal_type == "labels"):
            problem = "is {labels}, and signal_type {signal_type!r}"
            raise InputError("labels", problem, "either alone", labels=self.labels, signal_type=self.signal_type)
        return self


class Recognition(_Model):
    """A signal as it was recognised, for the user to confirm."""

    signal_type: SignalType = Field(description="Type that is proposed.")
    layout: Literal["channels_first", "channels_last", "tokens", "map"]
    extra_tokens: int = Field(description="Tokens before those of the cells, such as a class token.")
    channels: int
    grid: list[int] = Field(min_length=2, max_length=2, description="Height and width, in cells.")
    size: list[int] = Field(min_length=2, max_length=2, description="Height and width of the image, in pixels.")
    low: float
    high: float
    labels: int | None = Field(description="Number of labels; null of other types.")
    holes: int = Field(description="Cells that are holes, by the numbers that were given or are proposed.")
    invalid: list[float | Literal["nan"]] = Field(description="Numbers that are proposed to stand for holes.")


class UpsampleAnswer(_Model):
    """A signal at full resolution."""

    run_id: UUID
    signal_type: SignalType = Field(description="Type of the signal as resolved, which decides how it is upsampled.")
    kind: Literal["labels", "probabilities", "colours", "map", "features"] = Field(
        description="Way in which it is drawn."
    )
    shape: list[int] = Field(description="Shape of the result, [1, C, H, W].")
    grid: tuple[int, int]
    holes: int = Field(description="Cells that are holes.")
    gathered: tuple[int, int] | None = Field(
        description="Grid of scattered measurements, such as a lidar's, before they were averaged down to `grid`."
    )
    bands: tuple[float, float] | None = Field(
        description="Smallest and largest value of guidance in another unit than 0..1, each band of which was scaled "
        "from its 1st to its 99th percentile."
    )
    stored: bool = Field(
        description="True of a picture that its EXIF orientation turns by 90°, and that was taken as it is stored, "
        "since the signal has that aspect."
    )
    method: str
    device: str
    georeferenced: bool = Field(description="True where result.tif has the place that a GeoTIFF came with.")
    images: dict[Literal["image", "low", "bilinear", "result", "difference", "confidence"], DataUrl]
    scale: Scale | None = Field(description="Scale of a map's colours.")
    difference: Scale | None = Field(
        description="Scale of the difference to bilinear interpolation: in the signal's unit, 1 - cosine of features; "
        "null of classes, which differ or not."
    )
    sixteen_bits: tuple[float, float] | None = Field(
        description="Values that stand for 0 and 65535 in result_16bit.png; null where that has the numbers themselves."
    )
    confidence: Scale = Field(
        description="Scale of the confidence's colours, 0 to 1. With a confidence of 0.8, in 8 of 10 pixels the most "
        "probable class is right (probabilities, logits), the label is right, or the error is at most 5 % of the local "
        "range (measurement, values); of features and directions, 0.8 is the expected cosine similarity."
    )
    seconds: dict[str, float]
    files: dict[str, str] = Field(
        description="result.npy and result.png; result_16bit.png of one channel and of classes; result.tif of up to 64 "
        "channels, with the georeference if a GeoTIFF came with one; confidence.npy, [1, 1, H, W] in 0..1, and "
        "confidence.png, in 0..255; of methods with Gaussian kernels, kernels.safetensors."
    )


class RestoreConfig(_Model):
    """Settings of a restoration; `/api/options` lists those that the model here takes."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{}, {"scale": 4, "prompt": "a photograph of a street", "colour": "adain"}]}
    )

    prompt: str = Field(
        "",
        max_length=2000,
        description="Prompt: a description of the picture; what the model cannot take in, some 75 words, is lost.",
    )
    scale: float = Field(2, ge=1, le=8, description="Ratio of the result's sides to the picture's.")
    tile: int | None = Field(
        None, ge=32, le=4096, description="The longest side of a tile, in pixels; null for what the memory allows."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the noise in the latents.")
    colour: Literal["wavelet", "adain", "none"] = Field(
        "wavelet", description="Source of the colours: wavelet and adain, the picture; none, the model."
    )
    strength: float = Field(
        1, ge=0, le=10, description="Factor of the noise and compression that is found in the picture."
    )
    deblur: float = Field(
        0, ge=0, le=10, description="Factor of the blur that is found: 0 leaves it, 1 takes it away as estimated."
    )
    run_id: UUID | None = Field(None, description="Id of the request, as for a run.")
    device: DeviceChoice = Field("auto", description="Device, as for a run.")


class FoundDamage(_Model):
    """Damage that the small network found in a picture."""

    noise: float = Field(description="Deviation of the noise, of 255.")
    quality: float = Field(description="Quality of JPEG, up to 100; of a JPEG file as its tables say.")
    blur: float = Field(description="Width of the blur as of a Gaussian, in pixels of the picture as it is.")


class TileAgreement(_Model):
    """Differences between the tiles of a picture where they overlap."""

    tiles: int = Field(description="Number of tiles.")
    median: float = Field(
        description="Median difference of neighbouring tiles, relative to the deviation of the texture."
    )
    largest: float = Field(description="The largest such difference.")
    anew: int = Field(description="Number of tiles that disagreed and were computed anew.")


class RestoreAnswer(_Model):
    """A restored picture."""

    run_id: UUID
    H: int = Field(description="Height of the result, in pixels.")
    W: int = Field(description="Width.")
    model: str = Field(description="Model that restored it.")
    trained: bool = Field(description="False of random weights: what they draw means nothing.")
    found: FoundDamage | None = Field(description="Null of models that look for nothing.")
    tiles: TileAgreement | None = Field(description="Null of one tile, and of models whose tiles agree exactly.")
    precision: str
    device: str
    images: dict[Literal["enlarged", "restored"], PngUrl] = Field(
        description="The model's input, which is the picture enlarged bicubically; and its result."
    )
    seconds: dict[str, float] = Field(description="Seconds of each stage, and `total`.")
    files: dict[str, str] = Field(description="restored.png and enlarged.png.")


RestoreSetting: TypeAlias = Literal["prompt", "scale", "strength", "deblur", "tile", "seed", "colour"]


class RestorationStatus(_Model):
    """Status of restoration: the model here, or the reason why there is none."""

    state: Literal["ready", "unavailable"]
    message: str = Field(description="Missing parts, and how they are to be had; empty if nothing is missing.")
    texts: Texts
    model: str
    trained: bool = Field(description="True of trained weights, as in the answer.")
    settings: list[RestoreSetting] = Field(description="Settings that the model takes.")
    thinnest: int | None = Field(description="Largest ratio of a picture's sides; none if it may be any.")
    tiles: list[int] = Field(description="Tiles to choose from, by their longest sides, in pixels.")


class Device(_Model):
    """A device to compute on."""

    name: Literal["cpu", "cuda", "mps"]
    label: str
    texts: Texts = Field(description="Its label in both languages.")


class Described(_Model):
    """A choice, with one line on what it is."""

    name: str
    summary: str
    summary_zh: str = Field("", description="Summary in Chinese; empty where there is none.")
    settings: dict[str, Any] = Field({}, description="Their names and defaults.")
    choices: dict[str, list[Any]] = Field({}, description="The settings that are one of a few values, with these.")
    variants: list[str] = Field([], description="The choices, if any, that the defaults of other settings depend on.")
    missing: dict[str, Texts] = Field({}, description="Weights that cannot be had here, with the reason.")


class Sample(_Model):
    """A bundled photograph."""

    name: str
    url: str
    thumbnail: str


class Limits(_Model):
    """Limits of requests."""

    upload_bytes: int
    pixels: int = Field(description="Pixels of an uploaded image.")
    values: int = Field(description="Values of an upsampled signal: channels x height x width.")
    restored_pixels: int = Field(description="Pixels of a restored picture.")
    queue: int = Field(description="Requests that may wait for a device.")
    kept_seconds: float = Field(description="Seconds that a run is kept at most.")


class Options(_Model):
    """Choices of requests; `RunConfig` in the OpenAPI document has the bounds of the numbers."""

    version: str
    devices: list[Device]
    device: str = Field(description="Device that auto stands for here.")
    presets: dict[str, dict[str, Any]] = Field(description="iters, radius, lr and window_cells of each preset.")
    sizes: list[int]
    strides: list[int]
    extractors: list[Described]
    extractor: str = Field(description="The extractor to begin with.")
    methods: list[Described]
    method: str = Field(description="The method to begin with.")
    layouts: list[str] = Field(description="Orders of an array's sides.")
    signal_types: list[str] = Field(description="auto, and the types that a signal may be declared to have.")
    consistencies: list[str] = Field(description="Steps of consistency to choose from; any number up to full is one.")
    samples: list[Sample]
    limits: Limits
    config: dict[str, Any] = Field(description="The run settings to begin with on this machine.")
    pairs_per_second: float = Field(description="Pixels x window cells x steps that a fit here does in a second.")
    overhead_seconds: float = Field(description="Seconds of a run beside the fit, at 256 x 256.")
    loading_seconds: dict[str, float] = Field(
        description="Seconds that a first run takes to load a network, about: of extractors by name, and segmentation."
    )
    segmentation: SegmentationStatus
    restoration: RestorationStatus


class Health(_Model):
    """State of the server."""

    status: Literal["ok"]
    version: str
    device: str
    running: int
    waiting: int
    capacity: int
    kept_runs: int
    kept_bytes: int
    seconds_up: float


class Problem(_Model):
    """Reason why a request was not served."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "detail": "the queue is full; there may be room in 3 s",
                    "argument": "the queue",
                    "problem": "is full; there may be room in 3 s",
                    "accepted": "",
                }
            ]
        }
    )

    detail: str = Field(description="In English, or in Chinese where Accept-Language prefers it; likewise its parts.")
    argument: str | None = Field(None, description="Part of the request that cannot be accepted.")
    problem: str | None = Field(None, description="Problem with it.")
    accepted: str | None = Field(None, description="Accepted values in its place; may be empty.")
    texts: Texts | None = Field(None, description="The detail in both languages.")
