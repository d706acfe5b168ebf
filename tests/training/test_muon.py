import pytest
import torch
from torch import nn

from omniup.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(5, 40), (40, 5), (16, 16)])
def test_updates_are_about_orthogonal(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.5 and values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    cosine = torch.cosine_similarity(orthogonal(matrix).flatten(), (u @ v).flatten(), dim=0)
    assert cosine > 0.95


def test_a_zero_gradient_and_a_missing_one_change_nothing():
    one, other = (nn.Parameter(torch.ones(3, 2, 1, 1)) for _ in range(2))
    one.grad = torch.zeros_like(one)
    Muon([one, other], lr=0.1).step()
    assert (one == 1).all() and (other == 1).all()


def test_what_is_left_of_a_mean_without_gradients_changes_nothing():
    """Where units are dead, the mean decays until its square is 0 in float32."""
    left = 1e-22 * torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    assert orthogonal(left).abs().max() < 1e-9
    weight = nn.Parameter(torch.ones(3, 2, 1, 1))
    weight.grad = torch.full_like(weight, 1e-30)
    Muon([weight], lr=0.1).step()
    torch.testing.assert_close(weight, torch.ones_like(weight))


def test_weights_decay_by_the_rate():
    weight = nn.Parameter(torch.ones(3, 2, 1, 1))
    weight.grad = torch.zeros_like(weight)
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weight, torch.full_like(weight, 0.95))


def test_it_goes_down_as_far_as_its_rate_says():
    weight = nn.Parameter(torch.zeros(8, 4, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=0.01).step()
    assert (weight.detach() * weight.grad).sum() < 0
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.2)


def test_its_state_is_all_it_needs_to_go_on():
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(4, 6, 5, generator=generator)

    def run(steps, optimiser, weight):
        for gradient in gradients[steps]:
            weight.grad = gradient.clone()
            optimiser.step()

    whole, half = (nn.Parameter(torch.zeros(6, 5)) for _ in range(2))
    run(slice(0, 4), Muon([whole], lr=0.1), whole)
    first = Muon([half], lr=0.1)
    run(slice(0, 2), first, half)
    second = Muon([half], lr=0.1)
    second.load_state_dict(first.state_dict())
    run(slice(2, 4), second, half)
    torch.testing.assert_close(half, whole)
