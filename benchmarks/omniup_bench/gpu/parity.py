"""Compare results on a device with those on the CPU: all methods and signal types, AnyUp, restoring, a training step.

Convolutions are computed in full float32 here, as matrix products are by default, so that what differs is the order of
sums. For AnyUp the difference with convolutions in TF32, which torch has by default, is measured as well.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.restoration import Enhancer
from omniup.training.anyup.configuration import LossSettings
from omniup.training.anyup.objective import Objective
from omniup.upsamplers import AnyUp, PreparedImage, upsampler
from omniup.upsamplers.signal_types import SIGNAL_TYPES
from omniup_bench.gpu.inputs import CPU, Sizes, generator, photograph, random_anyup, signal_of, training_free
from omniup_bench.gpu.rows import Check, Row, within

CELL = 14
POINTS = 64

#: Largest differences, as parts of the largest value: of mixes; and after the seventeen convolutions of AnyUp and a
#: softmax of their products, or as many of HYPIR.
CLOSE, NETWORKS_CLOSE = 1e-4, 1e-3

#: Fits follow the signs of differences, where rounding decides: they are compared after a few steps.
FIT = "upsample_anything"
FIT_STEPS, FIT_CLOSE = 5, 1e-2

#: Part of the pixels whose labels may differ: those at which two labels have nearly the same weight.
LABELS_CLOSE, FIT_LABELS_CLOSE = 1e-3, 1e-2


def methods_and_types(device: torch.device, sizes: Sizes) -> Iterator[Check]:
    """Compare every method that needs no download on all signal types, and at chosen pixels."""
    for name in training_free():
        yield name, partial(one_method, name, device, sizes)


def one_method(name: str, device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """Compare one method on all signal types; its result at chosen pixels is compared with the whole on the device."""
    height, width = sizes.compared
    image, grid = photograph(height, width), (height // CELL, width // CELL)
    method = upsampler(name, **({"iterations": FIT_STEPS} if name == FIT else {}))
    here, there = (method.prepare(image.to(each), grid) for each in (CPU, device))
    for signal_type in SIGNAL_TYPES:
        signal = signal_of(signal_type, grid)
        found, expected = there.render(signal.to(device), signal_type), here.render(signal, signal_type)
        if signal_type == "labels":
            most = FIT_LABELS_CLOSE if name == FIT else LABELS_CLOSE
        else:
            most = FIT_CLOSE if name == FIT else CLOSE
        yield within(f"{name}, {signal_type}", difference(found, expected), most)
    assert isinstance(there, PreparedImage)
    signal = signal_of("features", grid).to(device)
    points = random_points((height, width), POINTS).to(device)
    expected = there.render(signal, "features")[:, :, points[:, 0], points[:, 1]].mT
    yield within(f"{name}, at points", difference(there.render_at(signal, points, "features"), expected), CLOSE)


def networks(device: torch.device, sizes: Sizes) -> Iterator[Check]:
    """Compare AnyUp, the tiny model of HYPIR, and a step of AnyUp's training."""
    yield "anyup", partial(anyup, device, sizes)
    yield "hypir", partial(restoring, device)
    yield "training", partial(training_step, device, sizes)


def anyup(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """Compare AnyUp in float32, with convolutions in TF32 if the device has it, and with bfloat16."""
    height, width = sizes.compared
    image, grid = photograph(height, width), (height // CELL, width // CELL)
    signal, network = signal_of("features", grid), random_anyup()
    expected = network(image, signal)
    image, signal = image.to(device), signal.to(device)
    yield within("anyup, float32", difference(network(image, signal), expected), NETWORKS_CLOSE)
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield Row("anyup, convolutions in TF32", f"{difference(network(image, signal), expected):.1e}")
    finally:
        torch.backends.cudnn.allow_tf32 = False
    reduced = random_anyup(precision="bfloat16")
    cosine = F.cosine_similarity(reduced(image, signal).cpu(), expected, dim=1).mean().item()
    yield Row("anyup, bfloat16, mean cosine", f"{cosine:.4f}", "≥ 0.99", cosine >= 0.99)


def restoring(device: torch.device) -> Iterator[Row]:
    """Compare HYPIR with its tiny model."""
    image = photograph(64, 96)
    here, there = (Enhancer.from_pretrained("tiny", device=each, precision="fp32") for each in (CPU, device))
    yield within("hypir, tiny model", difference(there(image, scale=2), here(image, scale=2)), NETWORKS_CLOSE)


def training_step(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """Compare the loss of AnyUp's training, its gradients, and what a step of AdamW adds to the weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        objective = Objective(AnyUp(basis_layout="paper"), LossSettings(self_consistency_size=8)).train()
    batch = training_batch(sizes.trained)
    expected, found = step(copy.deepcopy(objective), batch, CPU), step(objective, batch, device)
    loss = abs(found["loss"] - expected["loss"]) / abs(expected["loss"])
    yield within("training, loss", loss.item(), NETWORKS_CLOSE)
    for name in ("gradients", "added"):
        cosine = F.cosine_similarity(found[name], expected[name], dim=0).item()
        yield Row(f"training, cosine of what is {name}", f"{cosine:.5f}", "≥ 0.999", cosine >= 0.999)


def training_batch(side: int, cells: int = 4, batch: int = 2, crops: int = 2, channels: int = 16) -> dict[str, Any]:
    """Make a batch for `Objective`: random features and targets of a photograph."""
    guidance, drawn = photograph(side, side).expand(batch, -1, -1, -1), generator()
    return {
        "guidance": guidance,
        "changed": 1 - guidance,
        "features": torch.randn(batch, channels, cells, cells, generator=drawn),
        "targets": torch.randn(batch * crops, channels, cells, cells, generator=drawn),
        "corners": torch.randint(cells + 1, (batch, crops, 2), generator=drawn),
        "size": (2 * cells, 2 * cells),
    }


def step(objective: Objective, batch: dict[str, Any], device: torch.device) -> dict[str, Tensor]:
    """Take one step of training on a device: the loss, all gradients, and what is added to all weights, on the CPU."""
    objective.to(device)
    corners = batch["corners"]  # which stay where they are: they choose slices
    moved = {name: each.to(device) if isinstance(each, Tensor) else each for name, each in batch.items()}
    weights = [weight for weight in objective.parameters() if weight.requires_grad]
    before = [weight.detach().clone() for weight in weights]
    optimiser = torch.optim.AdamW(weights)
    loss = objective(**moved | {"corners": corners})["loss"]
    loss.backward()
    optimiser.step()
    used = [(weight, old) for weight, old in zip(weights, before, strict=True) if weight.grad is not None]
    gradients = torch.cat([weight.grad.flatten() for weight, _ in used if weight.grad is not None])
    added = torch.cat([(weight.detach() - old).flatten() for weight, old in used])
    return {"loss": loss.detach().cpu(), "gradients": gradients.cpu(), "added": added.cpu()}


def random_points(size: tuple[int, int], count: int) -> Tensor:
    """Draw points of a result (H, W), the last of them its last pixel: [count, 2]."""
    points = torch.stack([torch.randint(side, (count,), generator=generator()) for side in size], dim=1)
    points[-1] = torch.tensor(size) - 1
    return points


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the part of the labels that differ, or the largest difference as a part of the largest value."""
    found, expected = found.cpu(), expected.cpu()
    if not expected.is_floating_point():
        return (found != expected).float().mean().item()
    return ((found - expected).abs().max() / expected.abs().max()).item()
