import math

import pytest
import torch

from omniup import InputError
from omniup.restoration import adaptive_instance_normalisation, wavelet_decomposition, wavelet_reconstruction


def _literal_low(image):
    """Five blurs with the 3 × 3 kernel, dilated and clamped, pixel by pixel."""
    height, width = image.shape
    for level in range(5):
        blurred = torch.zeros_like(image)
        for y in range(height):
            for x in range(width):
                for i, row in enumerate((1, 2, 1)):
                    for j, column in enumerate((1, 2, 1)):
                        at = y + (i - 1) * 2**level, x + (j - 1) * 2**level
                        blurred[y, x] += (
                            row * column / 16 * image[min(max(at[0], 0), height - 1), min(max(at[1], 0), width - 1)]
                        )
        image = blurred
    return image


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (12, 3)])
def test_low_frequencies_are_the_literal_blurs(size):
    image = torch.rand(1, 1, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, low = wavelet_decomposition(image)
    torch.testing.assert_close(low[0, 0], _literal_low(image[0, 0]))


def test_a_picture_in_its_own_colours_stays_as_it_is(photograph):
    torch.testing.assert_close(wavelet_reconstruction(photograph, photograph), photograph, rtol=0, atol=1e-6)
    made = adaptive_instance_normalisation(photograph, photograph)
    torch.testing.assert_close(made, photograph, rtol=0, atol=1e-6)


def test_a_shift_of_colour_is_undone(photograph):
    shifted = photograph + torch.tensor([0.1, -0.2, 0.05]).view(1, 3, 1, 1)
    torch.testing.assert_close(wavelet_reconstruction(shifted, photograph), photograph, rtol=0, atol=1e-6)
    stretched = 0.3 + 0.5 * photograph
    made = adaptive_instance_normalisation(stretched, photograph)
    torch.testing.assert_close(made, photograph, rtol=0, atol=1e-5)


def test_adain_takes_mean_and_deviation():
    style = 0.2 + 0.1 * torch.randn(2, 3, 40, 30, generator=torch.Generator().manual_seed(0))
    made = adaptive_instance_normalisation(torch.rand(2, 3, 17, 23), style)
    torch.testing.assert_close(made.mean((2, 3)), style.mean((2, 3)))
    torch.testing.assert_close(made.std((2, 3), correction=0), style.std((2, 3), correction=0))
    constant = adaptive_instance_normalisation(torch.full((2, 3, 5, 5), 0.7), style)
    torch.testing.assert_close(constant.mean((2, 3)), style.mean((2, 3)))
    assert constant.std((2, 3)).max() < math.sqrt(torch.finfo(torch.float32).eps)


def test_refusals():
    image = torch.rand(1, 3, 8, 8)
    with pytest.raises(InputError, match=r"^content is torch.float32 of the shape \[3, 8, 8\]; accepted: floating"):
        wavelet_reconstruction(image[0], image)
    with pytest.raises(InputError, match=r"^style is torch\.uint8"):
        wavelet_reconstruction(image, image.byte())
    with pytest.raises(InputError, match="accepted: the same shape"):
        wavelet_reconstruction(image, image[..., :7])
    with pytest.raises(InputError, match="accepted: the same batch and channels"):
        adaptive_instance_normalisation(image, image[:, :1])
