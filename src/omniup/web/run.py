"""`POST /api/run`: fit an image, upsample it and its features in every way, and measure the results."""

from __future__ import annotations

import logging
import math
import time
from functools import partial

from torch import Tensor

from omniup.evaluation.metrics.edges import image_edges, spread_off
from omniup.reconstruction import WORTHWHILE, Reconstruction, panels, reconstruct
from omniup.upsamplers import Bilinear, JointBilateral, PyramidBilateral
from omniup.visualize import lengths
from omniup.web.extractors import Extractors
from omniup.web.jobs import Job
from omniup.web.language import phrases
from omniup.web.pace import Pace
from omniup.web.pictures import data_url, drawn, parameter_map, scale
from omniup.web.runs import Comparison, Kept, Maker, Runs, picture_maker, tensor_maker
from omniup.web.schemas import FeatureScores, Meta, Metrics, RunAnswer, RunConfig, Scores, Texts
from omniup.web.segmentation import Segmenter, segmentation, segmentation_status
from omniup.web.stages import Stages

logger = logging.getLogger(__name__)

#: The specification's names of what the main job makes.
PICTURES = {
    "I_hr": "original",
    "I_lr": "low_resolution",
    "I_lr_up_bilinear": "bilinear",
    "I_lr_up_bicubic": "bicubic",
    "I_hat_fixed": "fixed",
    "I_hat_tto": "fitted",
    "I_hat_pyramid": "pyramid",
    "err_abs": "error_fitted",
    "err_abs_fixed": "error_fixed",
    "err_abs_bilinear": "error_bilinear",
    "err_abs_pyramid": "error_pyramid",
    "concentration": "concentration",
    "feat_lr_pca": "features_low_resolution",
    "feat_hr_bilinear_pca": "features_bilinear",
    "feat_hr_fixed_pca": "features_fixed",
    "feat_hr_gsjbu_pca": "features_fitted",
    "feat_hr_pyramid_pca": "features_pyramid",
    **{name: name for name in ("sigma_x", "sigma_y", "theta", "sigma_r")},
}
WAYS = {"bilinear": "bilinear", "bicubic": "bicubic", "fixed": "fixed", "fitted": "gsjbu", "pyramid": "pyramid"}
PARAMETERS = ("sigma_x", "sigma_y", "theta", "sigma_r")


def run(
    job: Job,
    config: RunConfig,
    image: Tensor,
    *,
    device: str,
    extractors: Extractors,
    segmenter: Segmenter,
    runs: Runs,
    pace: Pace,
) -> bytes:
    """Do a run.

    Args:
        job: what it is done for.
        config: its settings.
        image: [1, 3, H, W] in 0..1, with sides that the stride divides.
        device: where to compute.
        extractors: make the features.
        segmenter: makes class probabilities.
        runs: where the run is kept.
        pace: learns from how long it takes.

    Returns:
        A `RunAnswer` as JSON.
    """
    stage, began = Stages(job), time.perf_counter()
    method = config.method
    made = reconstruct(
        image.to(device),
        method,
        stride=config.stride,
        encode=partial(extractors.encode, config=config),
        baseline=JointBilateral(config.sigma, config.sigma, 0.0, config.sigma_r, _baseline_radius(config)),
        stage=stage,
        progress=stage.fitting,
    )
    size = made.kernels.size
    status, segments = segmentation_status("off", phrases("was not asked for")), None
    if config.segmentation:
        with stage("segment"):
            status, segments = segmenter.segment(made.image, made.kernels, config.seg_resolution)
    with stage("draw"):
        found = panels(made)
        pictures = drawn({name: found[ours] for name, ours in PICTURES.items()}, size)
        metrics = _metrics(made)
        kept = _keep(job, made)
        if config.return_files:
            files = {f"{name}.png": picture_maker(each) for name, each in pictures.items()}
            kept.makers = {**kept.makers, **files}
            images = {name: kept.urls[f"{name}.png"] for name in pictures}
        else:
            files, images = {}, {name: data_url(each) for name, each in pictures.items()}
        answer = RunAnswer(
            run_id=job.id,
            meta=_meta(made, config, stage.seconds),
            images=images,
            metrics=metrics,
            losses=made.kernels.history.losses,
            parameters={name: parameter_map(found[name]) for name in PARAMETERS},
            scales={name: scale(found[PICTURES[name]]) for name in ("err_abs", "concentration")},
            seg_status=status,
            segmentation=segments and segmentation(segments),
            hint="use_paper" if config.preset == "spec" and method.iterations and made.gain < WORTHWHILE else None,
            files=kept.urls,
        )
    answer.meta.seconds["draw"] = stage.seconds["draw"]
    answer.meta.seconds["total"] = time.perf_counter() - began
    runs.add(kept, *files)
    fit = stage.seconds["fit"]
    rest = answer.meta.seconds["total"] - fit - stage.seconds.get("segment", 0.0)
    pace.learn(size[0] * size[1], method.cost(size, made.kernels.grid), answer.meta.iters, fit, rest)
    _log(answer)
    return answer.model_dump_json().encode()


def _baseline_radius(config: RunConfig) -> int:
    """Choose the fixed kernels' radius: the run's own, but for the paper's disc, which is no square."""
    return config.method.radius if config.preset == "spec" else JointBilateral().radius


def _meta(made: Reconstruction, config: RunConfig, seconds: dict[str, float]) -> Meta:
    method, history = config.method, made.kernels.history
    return Meta(
        H=made.kernels.size[0],
        W=made.kernels.size[1],
        stride=config.stride,
        iters=len(history.losses),
        radius=method.radius,
        device=history.device,
        dtype=history.dtype,
        preset=config.preset,
        lr=method.lr,
        sigma=config.sigma,
        grid=made.kernels.grid,
        window_cells=method.cells,
        extractor=made.encoding.encoder,
        extractor_weights=made.encoding.weights,
        extractor_texts=Texts.model_validate(phrases("{weights}", weights=made.encoding.weights)),
        channels=made.encoding.features.shape[1],
        seconds=dict(seconds),
    )


def _metrics(made: Reconstruction) -> Metrics:
    scores = {way: _scores(values) for way, values in made.metrics.items()}
    edges = image_edges(made.image)
    spread = {WAYS[way]: spread_off(features, edges) for way, features in made.features.items()}
    return Metrics(
        **scores["fitted"].model_dump(),
        methods={WAYS[way]: each for way, each in scores.items()},
        features={way: FeatureScores(edge_spread=value) for way, value in spread.items()},
        gain_db=made.gain if math.isfinite(made.gain) else 0.0,
    )


def _scores(values: dict[str, float]) -> Scores:
    return Scores(**{name: value if math.isfinite(value) else None for name, value in values.items()})


def _keep(job: Job, made: Reconstruction) -> Kept:
    """Keep little of a run: full-resolution features are computed again when they are asked for."""
    features, cells, fitted = made.encoding.features, made.cells, made.kernels
    kernels = {"fixed": made.fixed, "gsjbu": fitted}
    linear = {"bilinear": Bilinear().prepare(fitted.guidance, fitted.grid), **kernels}
    comparison = Comparison(
        features,
        kernels,
        {WAYS[way]: lengths(each) for way, each in made.features.items() if WAYS[way] in linear},
    )
    makers: dict[str, Maker] = {
        "kernels.safetensors": fitted.save,
        "image_lr.npy": tensor_maker(lambda: cells),
        "features_lr.npy": tensor_maker(lambda: features),
    }
    for name, prepared in linear.items():
        render = partial(prepared.render, signal_type="values")
        makers[f"image_{name}.npy"] = tensor_maker(partial(render, cells))
        makers[f"features_{name}.npy"] = tensor_maker(partial(render, features))

    def pyramid(signal: Tensor, signal_type: str) -> Tensor:
        return PyramidBilateral().prepare(fitted.guidance, fitted.grid).render(signal, signal_type)

    makers["image_pyramid.npy"] = tensor_maker(partial(pyramid, cells, "values"))
    makers["features_pyramid.npy"] = tensor_maker(partial(pyramid, features, "features"))
    for name in PARAMETERS:
        makers[f"{name}.npy"] = tensor_maker(partial(getattr, fitted, name))
    tensors = [features, cells, made.image, *comparison.lengths.values()]
    return Kept(job.id, makers, comparison, sum(tensor.nbytes for tensor in tensors))


def _log(answer: RunAnswer) -> None:
    meta = answer.meta
    seconds = ", ".join(f"{stage} {time:.3f} s" for stage, time in meta.seconds.items())
    logger.info("run %s on %s in %s: %d x %d, %s", answer.run_id, meta.device, meta.dtype, meta.H, meta.W, seconds)
