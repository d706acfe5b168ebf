import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.restoration.degradation.kernels import NO_BLUR, Kernel, make_kernels
from oracles import degradation as oracle

ODD = st.integers(0, 6).map(lambda half: 2 * half + 1)
WIDTHS = st.floats(0.2, 3)
TURNS = st.floats(-math.pi, math.pi)


@st.composite
def kernels(draw):
    kind = draw(st.sampled_from(["none", "low_pass", "isotropic", "anisotropic", "generalised", "plateau"]))
    if kind == "none":
        return NO_BLUR
    size = draw(ODD)
    if kind == "low_pass":
        return Kernel("low_pass", size, cutoff=draw(st.floats(math.pi / 5, math.pi)))
    is_isotropic = draw(st.booleans()) if kind in ("generalised", "plateau") else kind == "isotropic"
    if kind in ("generalised", "plateau"):
        beta, kind = draw(st.floats(0.5, 4)), f"{kind}_{'isotropic' if is_isotropic else 'anisotropic'}"
    else:
        beta = None
    sigma_y, rotation = (None, None) if is_isotropic else (draw(WIDTHS), draw(TURNS))
    return Kernel(kind, size, draw(WIDTHS), sigma_y, rotation, beta)


@given(st.lists(kernels(), min_size=1, max_size=4))
def test_they_are_the_formulas(described):
    made = make_kernels(described, 13)
    assert made.shape == (len(described), 1, 13, 13)
    for each, values in zip(described, made, strict=True):
        np.testing.assert_allclose(values[0], oracle.kernel(each, 13), rtol=0, atol=1e-6)  # torch's J₁ has six digits


@given(kernels())
def test_they_keep_a_constant_and_the_middle_and_end_at_their_size(described):
    (values,) = make_kernels([described], 21)[:, 0]
    assert values.sum().item() == pytest.approx(1)
    torch.testing.assert_close(values, values.flip(0, 1))
    margin = (21 - described.size) // 2
    inside = values[margin : 21 - margin, margin : 21 - margin]
    assert values.count_nonzero() == inside.count_nonzero()


def test_no_blur_is_an_impulse():
    impulse = torch.zeros(1, 1, 5, 5)
    impulse[0, 0, 2, 2] = 1
    assert torch.equal(make_kernels([NO_BLUR], 5), impulse.double())


def test_a_shape_of_one_is_a_gaussian():
    gaussian = Kernel("anisotropic", 21, 2.0, 0.7, 0.4)
    generalised = Kernel("generalised_anisotropic", 21, 2.0, 0.7, 0.4, beta=1.0)
    assert torch.equal(*make_kernels([gaussian, generalised], 21))


def test_the_widths_and_the_rotation_are_those_of_the_kernel():
    (values,) = make_kernels([Kernel("anisotropic", 41, 3.0, 1.0, math.pi / 6)], 41)[:, 0]
    axis = torch.arange(41).double() - 20
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([x, y]).flatten(1)
    covariance = (points * values.flatten()) @ points.T
    turn = torch.tensor([[math.cos(math.pi / 6), -0.5], [0.5, math.cos(math.pi / 6)]]).double()
    torch.testing.assert_close(
        covariance, turn @ torch.diag(torch.tensor([9.0, 1.0]).double()) @ turn.T, rtol=0.01, atol=0
    )


@pytest.mark.parametrize("cutoff", [math.pi / 5, math.pi / 3, math.pi / 2])
def test_a_low_pass_filter_passes_what_is_below_its_cutoff(cutoff):
    (values,) = make_kernels([Kernel("low_pass", 101, cutoff=cutoff)], 101)[:, 0]
    spectrum = torch.fft.fft2(torch.fft.ifftshift(values)).real
    frequency = 2 * math.pi * torch.fft.fftfreq(101).double()
    radius = torch.hypot(frequency[:, None], frequency)
    assert (spectrum[radius < 0.8 * cutoff] - 1).abs().max() < 0.15  # it rings
    assert spectrum[radius > 1.2 * cutoff].abs().max() < 0.15
