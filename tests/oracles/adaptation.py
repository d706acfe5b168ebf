"""Adaptation of AnyUp to one image, written out: gradient descent on numbers that are zero at the start."""

import torch
from torch.nn import functional as F

from oracles import consistency as oracle
from oracles.anyup import anyup

QUERY_ROWS, KEY_ROWS = slice(0, 128), slice(128, 256)
DECODER = "cross_decode.cross_attn"
NORMS = [f"aggregation.{block}.block.{place}" for block in (1, 2) for place in (0, 3)]


def adapt(state, image, features, steps, *, step_sizes, directions, consistency=0, **settings):
    """The state after some steps, for image [3, H, W] and features [C, h, w] with even sides, in float64."""
    half_image, half_features = (F.avg_pool2d(maps[None], 2)[0] for maps in (image, features))
    changes = {name: torch.zeros_like(size) for name, size in step_sizes.items()}
    for _ in range(steps):
        changes = {name: change.requires_grad_() for name, change in changes.items()}
        changed = change_state(state, changes, directions)
        result = anyup(changed, half_image, half_features, tuple(features.shape[1:]), **settings)
        result = oracle.steps(result[None], half_features[None], consistency)[0]
        loss(result, features).backward()
        changes = {name: (c - step_sizes[name] * c.grad).detach() for name, c in changes.items()}
    return change_state(state, changes, directions)


def change_state(state, changes, directions):
    state = dict(state)
    for number, name in enumerate(("norm_q", "norm_k")):
        state[f"{DECODER}.{name}.weight"] = state[f"{DECODER}.{name}.weight"] + changes["norms"][number]
    weight, bias = (state[f"{DECODER}.attention.in_proj_{name}"].clone() for name in ("weight", "bias"))
    weight[QUERY_ROWS] += changes["low_rank"][0] @ directions[0]
    weight[KEY_ROWS] += changes["low_rank"][1] @ directions[1]
    for head in range(4):
        rows = slice(32 * head, 32 * head + 32)
        weight[rows] *= changes["temperature"][head].exp()
        bias[rows] *= changes["temperature"][head].exp()
    state[f"{DECODER}.attention.in_proj_weight"], state[f"{DECODER}.attention.in_proj_bias"] = weight, bias
    for name, (scale, shift) in zip(NORMS, changes["joining"], strict=True):
        state[f"{name}.weight"] = state[f"{name}.weight"] + scale
        state[f"{name}.bias"] = state[f"{name}.bias"] + shift
    return state


def loss(result, target):
    """1 - cosine and the squared error in units of the range of each pixel's target, at least a tenth of the mean."""
    span = target.max(0).values - target.min(0).values
    span = span.clamp(min=0.1 * span.mean()) + 1e-6
    cosine = (result * target).sum(0) / (result.square().sum(0).sqrt() * target.square().sum(0).sqrt())
    return (1 - cosine).mean() + ((result - target) / span).square().mean()
