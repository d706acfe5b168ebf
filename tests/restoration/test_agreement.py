import pytest
import torch
from torch.nn import functional as F

from omniup.restoration import tiled
from omniup.restoration.agreement import Agreement, tiled_in_agreement

SETTINGS = {"size": (40, 48), "stride": (30, 36), "scale": 1, "batch": 3}


@pytest.fixture
def image():
    """A texture, [1, 2, 100, 120], of 3 × 3 tiles; in -1..1."""
    return torch.rand(1, 2, 100, 120, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _blurred(tiles):
    return F.avg_pool2d(tiles, 3, stride=1, padding=1, count_include_pad=False)


class Spoiling:
    """A function that returns one of its tiles, by the order in which they come, brighter than it is."""

    def __init__(self, spoiled):
        self.spoiled, self.seen = spoiled, 0

    def __call__(self, tiles):
        made = _blurred(tiles)
        if self.seen <= self.spoiled < self.seen + len(tiles):
            made[self.spoiled - self.seen] += 1
        self.seen += len(tiles)
        return made


def test_tiles_that_agree_are_blended_as_ever(image):
    made, agreement = tiled_in_agreement(_blurred, **SETTINGS)(image)
    assert torch.equal(made, tiled(_blurred, **SETTINGS)(image))
    assert agreement.tiles == 9
    assert len(agreement.differences) == 12
    assert agreement.largest < 0.05
    assert agreement.anew == ()
    assert str(agreement) == f"9 tiles differ by {agreement.median:.3f} of the texture, at most {agreement.largest:.3f}"


@pytest.mark.parametrize("spoiled", [0, 1, 4, 8])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_tile_that_disagrees_is_computed_anew(image, spoiled, batch):
    told = []
    settings = SETTINGS | {"batch": batch, "progress": lambda *now: told.append(now)}
    made, agreement = tiled_in_agreement(Spoiling(spoiled), **settings)(image)
    assert agreement.anew == (divmod(spoiled, 3),)
    assert agreement.largest < 0.05
    assert str(agreement).endswith(", 1 computed anew")
    torch.testing.assert_close(made, _blurred(image), rtol=0, atol=0.05)
    moved = {0: 4, 1: 4, 4: 4, 8: 4}[spoiled]
    assert told[-1] == (9 + moved, 9 + moved)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_is_no_better_anew_is_left_as_it_was(image):
    """Of a tile that differs since the picture does: the others are given noise of their own, and so is it again."""
    noise = torch.Generator().manual_seed(1)

    def function(tiles):
        flat = tiles[:, :1].amax((1, 2, 3), keepdim=True) > 5
        return tiles + flat * torch.randn(tiles.shape, generator=noise)

    marked = image.clone()
    marked[:, :, 10, 10] = 6  # in the first tile alone
    made, agreement = tiled_in_agreement(function, **SETTINGS)(marked)
    assert agreement.anew == ((0, 0),)
    assert agreement.largest > 0.1
    assert made.isfinite().all()


def test_differences_are_relative_to_the_texture_and_weighted_as_blended():
    """Two tiles that differ by a number everywhere, over a texture of a known deviation."""
    offsets = iter([0.0, 0.3])
    texture = 0.5 * torch.randn(1, 1, 64, 112, generator=torch.Generator().manual_seed(0))
    settings = {"size": (64, 64), "stride": (64, 48), "scale": 1, "batch": 1}
    _, agreement = tiled_in_agreement(lambda tile: tile + next(offsets), **settings)(texture)
    assert agreement.differences == pytest.approx([0.6], rel=0.1)
    assert agreement.anew == ()  # one pair says nothing about which of the two is wrong


def test_flat_tiles_agree():
    _, agreement = tiled_in_agreement(torch.clone, **SETTINGS)(torch.full((1, 2, 100, 120), 0.5))
    assert agreement.largest < 1e-5


def test_a_single_tile():
    image = torch.rand(1, 2, 30, 30)
    made, agreement = tiled_in_agreement(_blurred, **SETTINGS)(image)
    assert torch.equal(made, _blurred(image))
    assert agreement == Agreement(1, (), ())
    assert (agreement.median, agreement.largest) == (0, 0)


def test_the_work_may_be_stopped_while_a_tile_is_computed_anew(image):
    def stop(done, total):
        if done > 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiled_in_agreement(Spoiling(4), **SETTINGS, progress=stop)(image)
