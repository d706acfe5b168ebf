"""The colours of feature maps: one affine map for all of them, the same on every run."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from omniup.errors import InputError
from omniup.visualize import pca_rgb, tensors


def feature_map(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """[1, C, h, w] whose variance falls by half from one direction to the next, away from the origin."""
    generator = torch.Generator().manual_seed(seed)
    coordinates = torch.randn(height * width, channels, generator=generator) * 0.5 ** torch.arange(channels)
    basis = torch.linalg.qr(torch.randn(channels, channels, generator=generator)).Q
    return (coordinates @ basis + 1).T.reshape(1, channels, height, width)


def up_to_inversion(ours: Tensor, theirs: Tensor) -> Tensor:
    """[1, 3, h, w] twice: `ours` with the channels inverted that then resemble `theirs` more."""
    inverted = (1 - ours - theirs).abs().mean(dim=(2, 3), keepdim=True) < (ours - theirs).abs().mean(
        dim=(2, 3), keepdim=True
    )
    return torch.where(inverted, 1 - ours, ours)


@pytest.mark.parametrize(
    ("channels", "dtype"),
    [(1, torch.float32), (2, torch.float64), (3, torch.float16), (5, torch.bfloat16), (40, torch.float32)],
)
def test_pictures_have_the_sizes_of_their_maps_and_lie_in_0_to_1(channels: int, dtype: torch.dtype) -> None:
    maps = [feature_map(channels, 6, 9).to(dtype), feature_map(channels, 1, 31, seed=1).to(dtype)]
    for picture, size in zip(pca_rgb(*maps), [(6, 9), (1, 31)], strict=True):
        assert picture.dtype == torch.float32
        assert picture.shape == (1, 3, *size)
        assert picture.min() >= 0
        assert picture.max() <= 1


def test_the_same_maps_get_the_same_colours_and_the_global_generator_is_left_alone() -> None:
    features = feature_map(20, 30, 40)
    before = torch.get_rng_state()
    first = pca_rgb(features, samples=100)[0]
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1234)
    assert torch.equal(first, pca_rgb(features, samples=100)[0])


def test_the_directions_are_those_of_an_exact_decomposition() -> None:
    features = feature_map(40, 50, 60)
    vectors = features[0].flatten(1).T.double()  # [N, C]
    vectors = vectors - vectors.mean(dim=0)
    _, _, basis = torch.linalg.svd(vectors, full_matrices=False)
    exact = vectors @ basis[:3].T  # [N, 3]
    low, high = exact.quantile(torch.tensor([0.01, 0.99], dtype=torch.float64), dim=0)
    exact = ((exact - low) / (high - low)).clamp(0, 1).T.reshape(1, 3, 50, 60).float()
    picture = pca_rgb(features)[0]
    torch.testing.assert_close(up_to_inversion(exact, picture), picture, atol=1e-4, rtol=0)


def test_permuted_pixels_get_permuted_colours() -> None:
    features = feature_map(20, 30, 40)
    order = torch.randperm(1200, generator=torch.Generator().manual_seed(3))
    permuted = features.flatten(2)[..., order].reshape(features.shape)
    expected = pca_rgb(features)[0].flatten(2)[..., order].reshape(1, 3, 30, 40)
    torch.testing.assert_close(pca_rgb(permuted)[0], expected, atol=1e-4, rtol=0)


def test_the_colours_of_symmetric_vectors_do_not_hang_on_rounding() -> None:
    """One-hot vectors in equal numbers tie every rule that ranks the entries of a direction."""
    labels = torch.tensor([0, 1]).repeat(50)
    one_hot = F.one_hot(labels, 2).T.reshape(1, 2, 10, 10).float()
    expected = pca_rgb(one_hot)[0]
    torch.testing.assert_close(pca_rgb(one_hot.flip(2, 3))[0], expected.flip(2, 3))
    torch.testing.assert_close(pca_rgb(one_hot * 0.1)[0], expected)


def test_turning_the_feature_space_changes_no_more_than_the_signs() -> None:
    features = feature_map(20, 30, 40)
    rotation = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(5))).Q
    turned = torch.einsum("kc,bchw->bkhw", rotation, features)
    expected = pca_rgb(features)[0]
    torch.testing.assert_close(up_to_inversion(pca_rgb(turned)[0], expected), expected, atol=1e-4, rtol=0)


def test_scaling_and_shifting_the_features_changes_nothing() -> None:
    features = feature_map(20, 30, 40)
    torch.testing.assert_close(pca_rgb(features * 8 - 3), pca_rgb(features), atol=1e-4, rtol=0)


def test_equal_vectors_get_equal_colours_in_all_maps() -> None:
    low = feature_map(20, 6, 7)
    high = torch.cat([F.interpolate(low, scale_factor=4), feature_map(20, 24, 28, seed=1) * 3], dim=3)
    low_picture, high_picture = pca_rgb(low, high)
    torch.testing.assert_close(high_picture[..., :28], F.interpolate(low_picture, scale_factor=4))
    assert not torch.allclose(low_picture, pca_rgb(low)[0], atol=0.05)  # alone, it would be coloured otherwise


def test_every_map_has_an_equal_say() -> None:
    small, large = feature_map(8, 10, 10), feature_map(8, 100, 100, seed=1)
    torch.testing.assert_close(pca_rgb(small, large, samples=200)[0], pca_rgb(small, large, samples=201)[0])


def test_a_sample_of_the_pixels_gives_nearly_the_colours_of_all() -> None:
    features = feature_map(20, 100, 100)
    assert (pca_rgb(features, samples=2000)[0] - pca_rgb(features)[0]).abs().mean() < 0.02


def test_pieces_and_memory_layout_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    features = feature_map(20, 31, 40)
    expected = pca_rgb(features)[0]
    crop = F.pad(features, (2, 3, 4, 5))[:, :, 4:-5, 2:-3]
    torch.testing.assert_close(pca_rgb(crop)[0], expected)
    torch.testing.assert_close(pca_rgb(features.contiguous(memory_format=torch.channels_last))[0], expected)
    monkeypatch.setattr(tensors, "PIECE_BYTES", 4 * 20 * 40 * 7)
    torch.testing.assert_close(pca_rgb(features)[0], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_constant_maps_are_grey(dtype: torch.dtype) -> None:
    features = torch.full((1, 5, 4, 6), 0.1, dtype=dtype)
    assert torch.equal(pca_rgb(features)[0], torch.full((1, 3, 4, 6), 0.5))


def test_directions_without_variation_are_grey() -> None:
    ramp = torch.linspace(0, 1, 200).reshape(1, 1, 10, 20)
    for features in (ramp, torch.cat([ramp, 2 * ramp, 1 - ramp, ramp], dim=1)):
        picture = pca_rgb(features)[0]
        assert picture[:, 0].min() == 0
        assert picture[:, 0].max() == 1
        assert torch.equal(picture[:, 1:], torch.full((1, 2, 10, 20), 0.5))


def test_outliers_do_not_grey_out_the_rest() -> None:
    features = feature_map(20, 30, 40)
    features[:, :, 3, 4] = 1e3
    assert pca_rgb(features)[0].std(dim=(2, 3)).min() > 0.1


def test_a_small_object_on_uniform_ground_is_seen() -> None:
    mask = torch.zeros(1, 2, 40, 40)
    mask[:, 1, 20, 20:22] = 1
    picture = pca_rgb(mask)[0]
    assert (picture[0, :, 20, 20] - picture[0, :, 0, 0]).abs().max() == 1


def test_one_pixel_is_grey_and_two_are_opposites() -> None:
    assert torch.equal(pca_rgb(feature_map(5, 1, 1))[0], torch.full((1, 3, 1, 1), 0.5))
    assert sorted(pca_rgb(feature_map(5, 1, 2))[0][0, 0, 0].tolist()) == [0, 1]


def test_maps_that_require_gradients_are_accepted() -> None:
    assert not pca_rgb(feature_map(5, 4, 4).requires_grad_())[0].requires_grad


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([], "maps is empty"),
        ([[torch.rand(1, 3, 4, 4)]], r"maps\[0\] is a list; accepted: a tensor \[1, C, h, w\]"),
        ([torch.rand(1, 3, 4, 4).numpy()], r"maps\[0\] is a ndarray; accepted: a tensor"),
        ([torch.rand(3, 4, 4)], r"maps\[0\] has the shape \[3, 4, 4\]; accepted: a non-empty \[1, C, h, w\]"),
        ([torch.rand(2, 3, 4, 4)], r"maps\[0\] has the shape \[2, 3, 4, 4\]"),
        ([torch.rand(1, 3, 4, 4), torch.rand(1, 3, 0, 4)], r"maps\[1\] has the shape \[1, 3, 0, 4\]"),
        ([torch.rand(1, 3, 4, 4), torch.rand(1, 5, 4, 4)], r"maps has \[3, 5\] channels"),
        ([torch.full((1, 3, 4, 4), torch.nan)], "NaN or infinite"),
    ],
)
def test_refusals(maps: list[Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pca_rgb(*maps)


def test_fewer_samples_than_maps_are_refused() -> None:
    with pytest.raises(InputError, match="samples is 1; accepted: at least one for each of the 2 maps"):
        pca_rgb(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), samples=1)
