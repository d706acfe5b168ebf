"""Compute LPIPS, a distance between pictures as people see it (arXiv 1801.03924), with torchmetrics' VGG16."""

from __future__ import annotations

import re

from torch import Tensor, nn

from omniup.errors import InputError, optional_import
from omniup.files.weights import WeightsUnavailableError, cached_path, fetch, read_state_dict
from omniup.training.randomness import seeded

VGG = "https://download.pytorch.org/models/vgg16-397923af.pth"
"""VGG16 as torchvision publishes it."""


def is_cached() -> bool:
    """Return whether the published weights are on this machine."""
    return cached_path(VGG).is_file()


def perceptual_distance(weights: str, seed: int = 0) -> nn.Module:
    """Make LPIPS: two batches [B, 3, H, W] in -1..1 to [B, 1, 1, 1]; frozen, differentiable in the pictures.

    Args:
        weights: of VGG16: `published`, a file of torchvision's, or `random`, which still compares local structure.
        seed: of random weights.

    Raises:
        InputError: the weights cannot be had or do not fit.
        MissingPackageError: torchmetrics or torchvision is not installed.
    """
    # The public class would have torchvision look for VGG16 by itself, with six lines of traceback where it fails.
    lpips = optional_import("torchmetrics.functional.image.lpips", extra="restore")._LPIPS
    optional_import("torchvision", extra="train")
    with seeded(seed, "perceptual"):
        network: nn.Module = lpips(net="vgg", pnet_rand=True)
    if weights != "random":
        _load(network, weights)
    return network.eval().requires_grad_(False)


def _load(network: nn.Module, weights: str) -> None:
    try:
        path = str(fetch(VGG)) if weights == "published" else weights
    except WeightsUnavailableError as error:
        raise InputError(
            "losses.lpips",
            "is published, and the weights of VGG16 cannot be had ({reason})",
            "a file with them, such as that of {url}, which may also lie at {path}; random; "
            "losses.perceptual=0 does without",
            reason=error,
            url=VGG,
            path=cached_path(VGG),
        ) from error
    held = read_state_dict(path)
    state = {match[1]: tensor for name, tensor in held.items() if (match := re.fullmatch(r"features\.(.*)", name))}
    vgg = network.get_submodule("net")
    known = vgg.state_dict()  # slice1.0.weight for features.0.weight
    places = {name: name.partition(".")[2] for name in known}
    unfit = [place for name, place in places.items() if place not in state or state[place].shape != known[name].shape]
    if unfit:
        raise InputError(
            "losses.lpips",
            "is {path}, which has no fitting features.{place}",
            "torchvision's VGG16",
            path=weights,
            place=unfit[0],
        )
    vgg.load_state_dict({name: state[place] for name, place in places.items()})


def distance(network: nn.Module, restored: Tensor, target: Tensor) -> Tensor:
    """Compute the mean distance of a batch, a scalar."""
    return network(restored, target).mean()
