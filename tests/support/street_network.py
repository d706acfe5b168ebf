"""Weights of the benchmark's street-scene network, set by hand so that what it computes is known."""

import torch

from omniup.files import write_tensors
from omniup_bench.street_network import FILE, StreetNetwork

CHANNELS = 192
SHARPNESS = 100.0


def known_features(image):
    """What the network computes of [B, 3, H, W] with these weights: the mean colours of its cells, and zeros."""
    means = torch.nn.functional.avg_pool2d(image, 16)
    return torch.cat([means, means.new_zeros(len(means), CHANNELS - 3, *means.shape[2:])], dim=1)


def known_probabilities(image):
    """Likewise: eleven classes, by how near a cell's brightness is to one of 0, 0.1 … 1."""
    brightness = torch.nn.functional.avg_pool2d(image.mean(1, keepdim=True), 16)
    classes = torch.arange(11).view(1, 11, 1, 1) / 10
    return (-SHARPNESS * (brightness - classes).square()).softmax(1)


def write_street_network(models):
    """Write the weights to a folder."""
    network = StreetNetwork().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.zero_()
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(1 - module.eps)
    # Convolutions of stride 2 average 2 × 2 pixels of three channels; all others pass them on. The network's input,
    # (image - 0.45) / 0.25, is made positive, so that it passes ReLU, and becomes colours again near the end.
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    for convolution in convolutions[:-1]:
        _pass_on(convolution)
    network.stem[1].bias[:3] = 2.0  # image 0 becomes 0.2
    for block in (*network.l1, *network.l2, *network.l3):
        one_branch = block.f[4] if _passes_by(block) else block.s[1]
        one_branch.weight.zero_()
    last = network.l3[0].f[4]
    last.weight[:3], last.bias[:3] = 0.25, -0.05  # 4 x + 0.2 becomes x
    places = torch.arange(11) / 10
    network.head.weight[:, :3] = (2 * SHARPNESS / 3 * places).view(11, 1, 1, 1)
    network.head.bias[:] = -SHARPNESS * places.square()
    models.mkdir()
    write_tensors(models / FILE, network.state_dict(), {})


def _pass_on(convolution):
    for channel in range(3):
        kernel = convolution.weight[channel, channel]
        if kernel.shape == (3, 3) and convolution.stride == (2, 2):
            kernel[1:, 1:] = 0.25
        else:
            kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = 1.0


def _passes_by(block):
    """Whether a block passes its input on by its shortcut: all but those of stride 2, whose shortcut skips pixels."""
    return block.f[0].stride == (1, 1)
