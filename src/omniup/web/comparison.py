"""`POST /api/compare`: give a photograph back from its low-resolution version by some methods, side by side.

Every method is asked twice: with the means of the photograph's cells, which are a measurement; and with the samples
that a fit mixes, which are values. A fit is shown with its samples, all others with the means; either has its score.
"""

from __future__ import annotations

import math
import time
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.evaluation import reconstruction_metrics
from omniup.mixing.interruption import interruptible
from omniup.upsamplers import GaussianKernels, UpsampleAnything, Upsampler
from omniup.visualize import to_picture
from omniup.web.jobs import Job
from omniup.web.pictures import data_url
from omniup.web.schemas import CompareAnswer, CompareConfig, Compared, MethodChoice
from omniup.web.stages import Stages


def compare(job: Job, config: CompareConfig, image: Tensor, *, chosen: list[Upsampler], device: str) -> bytes:
    """Give a photograph back by each of the methods that were asked for.

    Args:
        job: whose work this is.
        config: what was asked for.
        image: [1, 3, H, W] in 0..1, with sides that the stride divides.
        chosen: the methods of the configuration, built.
        device: where to compute.

    Returns:
        A `CompareAnswer` as JSON.
    """
    stage, image = Stages(job), image.to(device)
    with interruptible(job.check):
        compared = [
            _compared(choice, method, image, config.stride, stage)
            for choice, method in zip(config.methods, chosen, strict=True)
        ]
    height, width = image.shape[2], image.shape[3]
    answer = CompareAnswer(
        run_id=job.id,
        H=height,
        W=width,
        grid=(height // config.stride, width // config.stride),
        original=data_url(to_picture(image)),
        results=compared,
    )
    return answer.model_dump_json().encode()


def _compared(choice: MethodChoice, method: Upsampler, image: Tensor, stride: int, stage: Stages) -> Compared:
    grid = image.shape[2] // stride, image.shape[3] // stride
    began = time.perf_counter()
    prepared = method.prepare(image, grid, progress=stage.fitting)
    sampled = method if isinstance(method, UpsampleAnything) else UpsampleAnything()
    made: dict[Literal["means", "samples"], Tensor] = {
        "means": prepared.render(F.adaptive_avg_pool2d(image, grid), "measurement"),
        "samples": prepared.render(sampled.cell_image(image, grid), "values"),
    }
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    shown: Literal["means", "samples"] = "samples" if isinstance(method, UpsampleAnything) else "means"
    scores = {signal: reconstruction_metrics(result, image)["psnr_recon"] for signal, result in made.items()}
    iterations = len(prepared.history.losses) if isinstance(prepared, GaussianKernels) else 0
    return Compared(
        method=choice.method,
        settings=choice.settings,
        image=data_url(to_picture(made[shown])),
        shown=shown,
        psnr={name: value if math.isfinite(value) else None for name, value in scores.items()},
        iterations=iterations,
        seconds=seconds,
    )
