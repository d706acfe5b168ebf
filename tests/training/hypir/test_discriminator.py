import math

import pytest
import torch

from omniup.errors import InputError
from omniup.training.hypir.configuration import DiscriminatorSettings
from omniup.training.hypir.discriminator import Discriminator, adversarial_loss
from omniup.training.hypir.objective import DiscriminatorObjective

pytest.importorskip("timm")


def make(**fields):
    return Discriminator(
        DiscriminatorSettings(**({"backbone": "test_convnext", "weights": "random", "width": 6} | fields)), seed=0
    )


@pytest.fixture(scope="module")
def discriminator():
    return make()


def test_it_judges_three_stages_and_the_whole(discriminator):
    logits = discriminator(torch.rand(2, 3, 64, 96) * 2 - 1)
    assert [tuple(level.shape) for level in logits] == [(2, 1, 4, 6), (2, 1, 2, 3), (2, 1, 1, 2), (2, 1)]


def test_only_heads_learn_and_the_backbone_stays_in_evaluation_mode(discriminator):
    discriminator.train()
    assert discriminator.heads.training and not discriminator.backbone.training
    assert not any(weight.requires_grad for weight in discriminator.backbone.parameters())
    assert all(weight.requires_grad for weight in discriminator.trained_weights())
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    adversarial_loss(discriminator(image), 0.8).backward()
    assert image.grad.abs().sum() > 0


def test_the_weights_of_heads_have_the_norm_1(discriminator):
    discriminator.train()
    for _ in range(40):  # each pass goes on with the power iteration
        discriminator(torch.rand(1, 3, 32, 32))
    discriminator.eval()
    layers = [layer for layer in discriminator.heads.modules() if hasattr(layer, "parametrizations")]
    assert len(layers) == 8
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_adversarial_loss_is_the_sum_of_the_levels_cross_entropies():
    logits = [torch.tensor([[0.3, -2.0]]), torch.tensor([1.5])]
    expected = 0.0
    for level in logits:
        terms = [
            -0.8 * math.log(p) - 0.2 * math.log(1 - p)
            for p in (1 / (1 + math.exp(-x)) for x in level.flatten().tolist())
        ]
        expected += sum(terms) / len(terms)
    assert adversarial_loss(logits, 0.8).item() == pytest.approx(expected, rel=1e-5)


def test_it_learns_to_tell_noise_from_none():
    objective = DiscriminatorObjective(make(), target=0.8).train()
    optimiser = torch.optim.AdamW(list(objective.discriminator.trained_weights()), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(30):
        smooth = torch.rand(4, 3, 1, 1, generator=generator).expand(-1, -1, 32, 32) * 2 - 1
        noisy = (smooth + torch.randn(4, 3, 32, 32, generator=generator)).clamp(-1, 1)
        found = objective(smooth, noisy)
        found["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(found["loss"].item())
    assert losses[-1] < 0.96 * losses[0]  # weights of norm 1 cannot make logits large
    assert found["real"] > found["restored"]


def test_other_networks_are_refused():
    with pytest.raises(InputError, match=r"discriminator.backbone is 'resnet18'; accepted: a ConvNeXt of timm"):
        make(backbone="resnet18")


def test_a_network_of_clip_gives_its_embedding(monkeypatch):
    """The published one, built small: what timm knows of it, with the layers of another."""
    import timm

    create = timm.create_model

    def small(name, **settings):
        return create(name, depths=(1, 1, 1, 1), dims=(8, 16, 24, 32), **settings)

    monkeypatch.setattr(timm, "create_model", small)
    found = make(backbone="convnext_xxlarge.clip_laion2b_soup")
    assert found.heads[3][0].in_features == 1024
    assert found._mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert found(torch.rand(1, 3, 32, 32))[3].shape == (1, 1)
