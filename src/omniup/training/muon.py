"""Update convolutions by Muon: momentum, made orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

`torch.optim.Muon` takes matrices only. Here a convolution's weights [D, C, h, w] are the matrix [D, C·h·w].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic whose iteration takes singular values between 0 and 1 to about 1."""

_ITERATIONS = 5

_SMALLEST = 1e-7
"""Norm of a matrix that counts as none: what is far below it, as where units are dead, becomes no update."""

_RMS = 0.2
"""Root mean square of an update in units of the learning rate: that of AdamW's (arXiv 2502.16982), whose rates fit."""


class Muon(torch.optim.Optimizer):
    """Muon for convolutions.

    Args:
        weights: tensors of two or more dimensions.
        lr: the learning rate.
        momentum: decay of the running mean of the gradients, in Nesterov's form.
        weight_decay: of the weights, in units of the learning rate, as AdamW's. Updates are of one length, however
            small gradients are, so without it weights grow.
    """

    def __init__(
        self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0
    ) -> None:
        super().__init__(list(weights), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]  # closures are not used
        """Update all weights that have a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                mean.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonal(weight.grad.lerp(mean, group["momentum"]).flatten(1))
                scale = _RMS * max(update.shape) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update.view(weight.shape), alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return about U Vᵀ of a matrix [m, n] = U S Vᵀ, by Newton-Schulz iterations; singular values are 0.7 to 1.2.

    Of a matrix whose norm is far below 1e-7 it is about zero.
    """
    a, b, c = _COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + _SMALLEST)
    for _ in range(_ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
