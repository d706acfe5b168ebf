import pytest
import torch
from scipy import stats

from omniup.restoration.degradation.noise import LUMA, Noise, add_noise

LEVELS = 64
RAMP = (torch.arange(LEVELS) + 96) / 255  # far from black and white, which would cut the noise off


def ramp(batch=1, rows=4096):
    """[batch, 3, rows, LEVELS]: a level a column."""
    return RAMP.expand(batch, 3, rows, LEVELS)


@pytest.mark.parametrize("sigma", [1.0, 12.5, 30.0])
@pytest.mark.parametrize("grey", [False, True])
def test_gaussian_noise_has_its_standard_deviation(sigma, grey):
    noise = add_noise(ramp(), [Noise("gaussian", sigma, grey, seed=1)]) - ramp()
    assert noise[:, :1].std().item() == pytest.approx(sigma / 255, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=5 * sigma / 255 / noise.numel() ** 0.5 * 3**0.5)
    assert stats.kstest(noise[0, 0, :2000].flatten() * 255 / sigma, "norm").pvalue > 1e-3


@pytest.mark.parametrize("strength", [0.05, 1.0, 3.0])
@pytest.mark.parametrize("grey", [False, True])
def test_poisson_noise_has_the_variance_of_counted_photons(strength, grey):
    colour = torch.stack([RAMP, RAMP, RAMP]).view(1, 3, 1, LEVELS).expand(1, 3, 4096, LEVELS)
    noise = add_noise(colour, [Noise("poisson", strength, grey, seed=1)]) - colour
    photons = LEVELS  # as many as there are levels
    expected = strength * (RAMP / photons).sqrt()
    inside = slice(None) if strength < 2 else slice(0, 24)  # the brightest would be cut off at white
    torch.testing.assert_close(noise[0, 0].std(0)[inside], expected[inside], rtol=0.08, atol=0)


def test_photons_are_a_power_of_two():
    three = torch.tensor([100.0, 110.0, 120.0]).div(255).view(1, 1, 1, 3).expand(1, 3, 20000, 3)
    noise = (add_noise(three, [Noise("poisson", 0.2, True, seed=0)]) - three) / 0.2
    steps = (noise + three) * 4  # of one photon each
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    assert noise[0, 0].std(0) == pytest.approx((three[0, 0, 0] / 4).sqrt().tolist(), rel=0.03)


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_grey_noise_is_the_same_in_all_channels(kind):
    image = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    noise = add_noise(image, [Noise(kind, 0.02, True, seed=0)]) - image
    torch.testing.assert_close(noise[:, 0], noise[:, 1], rtol=0, atol=1e-6)
    torch.testing.assert_close(noise[:, 0], noise[:, 2], rtol=0, atol=1e-6)
    noise = add_noise(image, [Noise(kind, 0.02, False, seed=0)]) - image
    assert abs(torch.corrcoef(noise[0].flatten(1))[0, 1]) < 0.05


def test_grey_is_that_of_jpeg():
    colour = torch.tensor([200.0, 50.0, 120.0]).div(255).view(1, 3, 1, 1).expand(1, 3, 200, 200)
    noise = add_noise(colour, [Noise("poisson", 0.05, True, seed=0)]) - colour
    grey = round(sum(luma * level for luma, level in zip(LUMA, (200, 50, 120), strict=True))) / 255
    assert noise.std().item() == pytest.approx(0.05 * grey**0.5, rel=0.03)  # of one level, so one photon where it is 1


def test_a_seed_is_one_noise_in_any_batch():
    images = torch.rand(3, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    noises = [Noise("gaussian", 9, False, 5), Noise("poisson", 1, True, 6), Noise("gaussian", 9, False, 7)]
    together = add_noise(images, noises)
    for index in range(3):
        assert torch.equal(add_noise(images[index : index + 1], noises[index : index + 1])[0], together[index])
    other = add_noise(images[:1], [Noise("gaussian", 9, False, 8)])
    assert not torch.equal(other[0], together[0])


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_results_stay_in_range(kind, level):
    out = add_noise(torch.full((1, 3, 30, 30), level), [Noise(kind, 30.0, False, seed=0)])
    assert out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_no_strength_is_no_noise(kind):
    images = torch.rand(1, 3, 9, 9)
    assert torch.equal(add_noise(images, [Noise(kind, 0.0, False, seed=0)]), images)
