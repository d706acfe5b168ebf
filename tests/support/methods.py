"""Every method, quick and without downloads, and the two phases in one call."""

from torch.nn import functional as F

from omniup.upsamplers import (
    Bicubic,
    Bilinear,
    Ensemble,
    GuidedFilter,
    JointBilateral,
    Nearest,
    PyramidBilateral,
    UpsampleAnything,
)
from support.anyup import random_anyup
from support.kernels import random_signal


def all_methods():
    """A method of each name: AnyUp with random weights, fits and back-projections of a few steps."""
    default = PyramidBilateral(back_projections=2, sigma_r_candidates=2)
    return {
        "nearest": Nearest(),
        "bilinear": Bilinear(),
        "bicubic": Bicubic(),
        "guided_filter": GuidedFilter(),
        "joint_bilateral": JointBilateral(),
        "pyramid_bilateral": default,
        "upsample_anything": UpsampleAnything.preset("paper", iterations=2),
        "anyup": random_anyup(),
        "ensemble": Ensemble(random_anyup(), default),
    }


def upsample(method, image, signal, size=None, *, signal_type="auto", memory="512MB"):
    """Prepare the image and render the signal."""
    prepared = method.prepare(image, tuple(signal.shape[2:]), size, memory=memory)
    return prepared.render(signal, signal_type, memory=memory)


def random_signal_of(signal_type, channels=3, *, grid):
    """Two signals of a type."""
    signal = random_signal(grid, channels=channels, batch=2).float()
    if signal_type == "probabilities":
        return (3 * signal).softmax(1)
    if signal_type == "directions":
        return F.normalize(signal, dim=1)
    return (5 * signal).long() if signal_type == "labels" else signal
