"""Rendering asks for no values of tensors, for which a processor waits until a GPU has computed them, but for these."""

import pytest
import torch

from omniup.upsamplers import PyramidBilateral, UpsampleAnything
from omniup.upsamplers.signal_types import SIGNAL_TYPES
from support.kernels import smooth_image
from support.methods import all_methods, random_signal_of
from support.synchronisations import synchronisations

GRID, SIZE = (10, 12), (60, 72)

#: How often a function may ask in one call, and why it has to.
DOOR = {
    "bounds": (2, "values that are not finite are refused, and those near the limits of their dtype scaled"),
    "are_probabilities": (1, "what is declared as probabilities is checked"),
    "render_labels": (1, "there are as many maps as labels, whose number is known from their values"),
}
POINTS = {
    "check_points": (1, "points outside the image are refused"),
    "_check_points": (1, "likewise, by the mixing engine"),
    "_groups": (9, "the windows of points are looked up on the processor"),
}
OF_THE_DEFAULT_METHOD = {
    "bounds": (4, "as above, and for the guidance of each guided filter that takes part"),
    "_weigh": (PyramidBilateral().sigma_r_candidates, "the range sigma is chosen by the error of each"),
    "error": (PyramidBilateral().sigma_r_candidates, "likewise"),
    "blend": (1, "a model without weight is not computed"),
    "render": (1, "octaves that do not fade are not computed"),
    "first_roots": (3, "cells finer than what a network resolves are averaged first"),
    "probability_step": (2, "the part of a step of consistency is a number"),
    "of": (18, "taps of rows and columns are computed on the processor, and wait for nothing"),
}
OF_FITTED_DISCS = {
    "reach": (1, "discs smaller than the largest ask for more work"),
    "tiles": (99, "likewise, tile by tile"),
    "log_occurrences_at": (198, "likewise: there are few different radii in a tile"),
}


def check(seen, allowed):
    for name, count in seen.items():
        assert name in allowed, f"{name} asks for values"
        assert count <= allowed[name][0], f"{name} asks {count} times"


@pytest.mark.parametrize("signal_type", SIGNAL_TYPES)
@pytest.mark.parametrize("name", all_methods())
def test_rendering_waits_only_where_it_must(name, signal_type):
    prepared = all_methods()[name].prepare(smooth_image(SIZE, dtype=torch.float32), GRID)
    allowed = DOOR | (OF_THE_DEFAULT_METHOD if name in ("pyramid_bilateral", "ensemble") else {})
    allowed |= {"reach": OF_FITTED_DISCS["reach"]} if name == "upsample_anything" else {}
    signal = random_signal_of(signal_type, 1 if signal_type == "labels" else 3, grid=GRID)[:1]
    with synchronisations() as seen:
        prepared.render(signal, signal_type)
    check(seen, allowed)
    assert "bounds" in seen or "render_labels" in seen  # so it is known that any are seen


@pytest.mark.parametrize("name", all_methods())
def test_rendering_at_points_waits_only_where_it_must(name):
    prepared = all_methods()[name].prepare(smooth_image(SIZE, dtype=torch.float32), GRID)
    allowed = DOOR | POINTS | ({"reach": OF_FITTED_DISCS["reach"]} if name == "upsample_anything" else {})
    allowed |= OF_THE_DEFAULT_METHOD if name == "ensemble" else {}
    with synchronisations() as seen:
        prepared.render_at(random_signal_of("features", grid=GRID)[:1], torch.tensor([[0, 0], [59, 71]]), "features")
    check(seen, allowed)


def test_small_discs_ask_for_their_radii():
    method = UpsampleAnything.preset("paper", sigma=2.0, iterations=0)
    prepared = method.prepare(smooth_image(SIZE, dtype=torch.float32), GRID)
    with synchronisations() as seen:
        prepared.render(random_signal_of("features", grid=GRID)[:1], "features")
    check(seen, DOOR | OF_FITTED_DISCS)
    assert seen["log_occurrences_at"] > 0


def test_as_many_for_a_large_result():
    """Tiles ask for nothing."""
    counts = []
    for size in ((30, 36), (150, 180)):
        prepared = all_methods()["joint_bilateral"].prepare(smooth_image(size, dtype=torch.float32), GRID)
        with synchronisations() as seen:
            prepared.render(random_signal_of("features", grid=GRID)[:1], "features", memory="1MB")
        counts.append(seen)
    assert counts[0] == counts[1]
