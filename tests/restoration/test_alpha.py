"""Alpha is kept: over white, the result is what was restored."""

import pytest
import torch

from omniup.restoration.alpha import with_alpha
from omniup.restoration.sizes import resize


def test_over_white_the_result_is_what_was_restored():
    draws = torch.Generator().manual_seed(0)
    alpha, colours = torch.rand((1, 1, 20, 30), generator=draws), torch.rand((1, 3, 20, 30), generator=draws)
    restored = colours * alpha + 1 - alpha
    result = with_alpha(restored, alpha)
    torch.testing.assert_close(result[:, :3] * result[:, 3:] + 1 - result[:, 3:], restored)
    is_visible = (alpha > 0.01).expand_as(colours)
    torch.testing.assert_close(result[:, :3][is_visible], colours[is_visible], atol=1e-4, rtol=0)
    torch.testing.assert_close(result[:, 3:], alpha)


@pytest.mark.parametrize("size", [(40, 60), (8, 12)])
def test_what_is_drawn_has_no_halo(size):
    """A black square over white, and its alpha, both resized as the restorer does it."""
    alpha = torch.zeros(1, 1, 20, 30)
    alpha[..., 5:12, 8:21] = 1
    restored = resize((1 - alpha).expand(-1, 3, -1, -1), size).clamp(0, 1)
    result = with_alpha(restored, alpha)
    assert result[:, :3][result[:, 3:].expand(-1, 3, -1, -1) > 0.01].max() < 1e-4


def test_alpha_is_resized_with_the_picture():
    alpha = torch.zeros(1, 1, 10, 10)
    alpha[..., 5:] = 1
    restored = torch.full((1, 3, 40, 40), 0.25)
    result = with_alpha(restored, alpha)
    assert result.shape == (1, 4, 40, 40)
    assert result.min() >= 0 and result.max() <= 1
    assert torch.equal(result[0, 3, :, :8], torch.zeros(40, 8))
    torch.testing.assert_close(
        result[0, :, :, 32:], torch.tensor([0.25, 0.25, 0.25, 1])[:, None, None].expand(4, 40, 8)
    )
