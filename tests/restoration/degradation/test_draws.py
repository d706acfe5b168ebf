"""What is drawn comes out as configured: counts by chi-square, ranges by Kolmogorov-Smirnov, at fixed seeds."""

import json
import math
from collections import Counter

import pytest
import torch
from scipy import stats

from omniup.restoration.degradation import Degradation, draw

IMAGES, BATCHES = 4000, 2000
SURE = 1e-3  # how unlikely an outcome may be under the configuration


def images_of(settings):
    return draw(settings, IMAGES, torch.Generator().manual_seed(1)).images


def batches_of(settings):
    generator = torch.Generator().manual_seed(2)
    return [draw(settings, 0, generator).batch for _ in range(BATCHES)]


@pytest.fixture(scope="module")
def images():
    return images_of(Degradation())


@pytest.fixture(scope="module")
def batches():
    return batches_of(Degradation())


def assert_shares(values, shares):
    counts, values = Counter(values), list(values)
    assert counts.keys() <= shares.keys()
    expected = [share * len(values) for share in shares.values()]
    assert stats.chisquare([counts[key] for key in shares], expected).pvalue > SURE


def assert_share(values, share):
    values = list(values)
    assert stats.binomtest(sum(values), len(values), share).pvalue > SURE


def assert_even(values, low, high):
    values = list(values)
    assert low <= min(values) and max(values) <= high
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > SURE


KINDS = {
    "isotropic": 0.45,
    "anisotropic": 0.25,
    "generalised_isotropic": 0.12,
    "generalised_anisotropic": 0.03,
    "plateau_isotropic": 0.12,
    "plateau_anisotropic": 0.03,
}


@pytest.mark.parametrize(("stage", "blurred", "sigma"), [("first", 1.0, 3.0), ("second", 0.8, 1.5)])
def test_kernels(images, stage, blurred, sigma):
    kernels = [getattr(image, stage).blur for image in images]
    shares = {kind: blurred * 0.9 * share for kind, share in KINDS.items()} | {"low_pass": blurred * 0.1}
    assert_shares([kernel.kind for kernel in kernels], shares | ({"none": 1 - blurred} if blurred < 1 else {}))
    kernels = [kernel for kernel in kernels if kernel.kind != "none"]
    assert_shares([kernel.size for kernel in kernels], dict.fromkeys(range(7, 22, 2), 1 / 8))

    gaussians = [kernel for kernel in kernels if kernel.kind != "low_pass"]
    assert_even([kernel.sigma_x for kernel in gaussians], 0.2, sigma)
    anisotropic = [kernel for kernel in gaussians if kernel.kind.endswith("anisotropic")]
    assert_even([kernel.sigma_y for kernel in anisotropic], 0.2, sigma)
    assert_even([kernel.rotation for kernel in anisotropic], -math.pi, math.pi)
    assert all(kernel.sigma_y is None is kernel.rotation for kernel in gaussians if kernel not in anisotropic)

    filters = [kernel for kernel in kernels if kernel.kind == "low_pass"]
    assert_even([kernel.cutoff for kernel in filters if kernel.size < 13], math.pi / 3, math.pi)
    assert_even([kernel.cutoff for kernel in filters if kernel.size >= 13], math.pi / 5, math.pi)


def test_shapes(images):
    generalised = [image.first.blur.beta for image in images if image.first.blur.kind.startswith("generalised")]
    assert_share([beta < 1 for beta in generalised], 0.5)
    assert_even([beta for beta in generalised if beta < 1], 0.5, 1)
    assert_even([beta for beta in generalised if beta >= 1], 1, 4)
    plateau = [image.first.blur.beta for image in images if image.first.blur.kind.startswith("plateau")]
    assert_share([beta == 1 for beta in plateau], 0.5)  # nothing of the range lies below
    assert_even([beta for beta in plateau if beta > 1], 1, 2)
    assert images[0].first.blur.kind != "isotropic" or images[0].first.blur.beta is None


@pytest.mark.parametrize(("stage", "sigma", "poisson"), [("first", 30, 3.0), ("second", 25, 2.5)])
def test_noise(images, stage, sigma, poisson):
    noises = [getattr(image, stage).noise for image in images]
    assert_share([noise.kind == "gaussian" for noise in noises], 0.5)
    assert_share([noise.grey for noise in noises], 0.4)
    assert_even([noise.strength for noise in noises if noise.kind == "gaussian"], 1, sigma)
    assert_even([noise.strength for noise in noises if noise.kind == "poisson"], 0.05, poisson)
    assert len({noise.seed for noise in noises}) == IMAGES


@pytest.mark.parametrize("stage", ["first", "second"])
def test_qualities(images, stage):
    assert_shares([getattr(image, stage).quality for image in images], dict.fromkeys(range(30, 96), 1 / 66))


def test_the_last_filter(images):
    kernels = [image.low_pass for image in images]
    assert_shares([kernel.kind for kernel in kernels], {"low_pass": 0.8, "none": 0.2})
    kernels = [kernel for kernel in kernels if kernel.kind != "none"]
    assert_shares([kernel.size for kernel in kernels], dict.fromkeys(range(7, 22, 2), 1 / 8))
    assert_even([kernel.cutoff for kernel in kernels], math.pi / 3, math.pi)


@pytest.mark.parametrize(
    ("stage", "scale", "low", "high", "shares"),
    [
        ("first", 1, 0.15, 1.5, {"up": 0.2, "down": 0.7, "keep": 0.1}),
        ("second", 4, 0.3, 1.2, {"up": 0.3, "down": 0.4, "keep": 0.3}),
    ],
)
def test_sizes(batches, stage, scale, low, high, shares):
    resizes = [getattr(batch, stage) for batch in batches]
    factors = [scale * resize.factor for resize in resizes]
    assert_shares(["up" if factor > 1 else "down" if factor < 1 else "keep" for factor in factors], shares)
    assert_even([factor for factor in factors if factor > 1], 1, high)
    assert_even([factor for factor in factors if factor < 1], low, 1)
    assert_shares([resize.mode for resize in resizes], dict.fromkeys(["area", "bilinear", "bicubic"], 1 / 3))


def test_the_end(batches):
    assert_share([batch.jpeg_after for batch in batches], 0.5)
    assert {batch.last.factor for batch in batches} == {0.25}
    assert_shares([batch.last.mode for batch in batches], dict.fromkeys(["area", "bilinear", "bicubic"], 1 / 3))


def test_other_numbers():
    settings = Degradation.model_validate(
        {
            "first": {
                "blur": {"size": [3, 5], "low_pass": 1.0, "large": 5, "cutoff": [1.0, 1.1], "cutoff_large": [2.0, 2.1]},
                "resize": {"up": 1.0, "down": 0.0, "keep": 0.0, "factor": [0.5, 3.0], "modes": ["area"]},
                "noise": {"gaussian": 1.0, "sigma": [5.0, 6.0], "grey": 1.0},
                "quality": [7, 8],
            },
            "second": {"blur": {"probability": 0.0}, "noise": {"gaussian": 0.0, "grey": 0.0}},
            "stage2_scale": 2.0,
            "last": {"jpeg_after": 1.0, "low_pass": 0.0, "modes": ["bicubic"]},
        }
    )
    images = images_of(settings)
    first = [image.first for image in images]
    assert_shares([stage.blur.size for stage in first], {3: 0.5, 5: 0.5})
    assert_even([stage.blur.cutoff for stage in first if stage.blur.size == 3], 1.0, 1.1)
    assert_even([stage.blur.cutoff for stage in first if stage.blur.size == 5], 2.0, 2.1)
    assert {(stage.noise.kind, stage.noise.grey) for stage in first} == {("gaussian", True)}
    assert_even([stage.noise.strength for stage in first], 5, 6)
    assert_shares([stage.quality for stage in first], {7: 0.5, 8: 0.5})
    assert {(image.second.blur.kind, image.low_pass.kind) for image in images} == {("none", "none")}
    assert {(image.second.noise.kind, image.second.noise.grey) for image in images} == {("poisson", False)}

    batches = batches_of(settings)
    assert_even([batch.first.factor for batch in batches], 1, 3)
    assert {(batch.first.mode, batch.last.mode, batch.last.factor) for batch in batches} == {("area", "bicubic", 0.5)}
    assert all(batch.jpeg_after for batch in batches)


@pytest.mark.parametrize("direction", ["up", "down", "keep"])
def test_a_range_of_nothing_but_one_keeps_the_size(direction):
    resize = {"up": 0.0, "down": 0.0, "keep": 0.0} | {direction: 1.0, "factor": [1.0, 1.0]}
    assert {batch.first.factor for batch in batches_of(Degradation.model_validate({"first": {"resize": resize}}))} == {
        1
    }


def test_a_seed_decides_and_more_images_change_nothing():
    draws = [
        draw(Degradation(), count, torch.Generator().manual_seed(seed)) for count, seed in ((5, 0), (2, 0), (5, 1))
    ]
    assert draws[0] == draw(Degradation(), 5, torch.Generator().manual_seed(0))
    assert draws[0].batch == draws[1].batch and draws[0].images[:2] == draws[1].images
    assert draws[0].batch != draws[2].batch and not set(draws[0].images) & set(draws[2].images)


def test_images_are_drawn_apart(images):
    """Neighbours and stages have nothing to do with each other."""
    qualities = torch.tensor([[image.first.quality, image.second.quality] for image in images]).double()
    pairs = torch.stack([qualities[:-1, 0], qualities[:-1, 1], qualities[1:, 0], qualities[1:, 1]])
    correlations = torch.corrcoef(pairs).triu(1)
    assert correlations.abs().max() < 4 / IMAGES**0.5


def test_a_record_has_what_a_kernel_has():
    records = draw(Degradation(), 200, torch.Generator().manual_seed(0)).record()
    assert all(record["batch"].keys() == {"first", "second", "last", "jpeg_after"} for record in records)
    assert all(record["image"].keys() == {"first", "second", "low_pass"} for record in records)
    blurs = [record["image"]["first"]["blur"] for record in records]
    fields = {blur["kind"]: blur.keys() - {"kind", "size"} for blur in blurs}
    assert fields["low_pass"] == {"cutoff"}
    assert fields["isotropic"] == {"sigma_x"}
    assert fields["anisotropic"] == {"sigma_x", "sigma_y", "rotation"}
    assert fields["plateau_isotropic"] == {"sigma_x", "beta"}
    assert json.loads(json.dumps(records)) == records
