import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from omniup.encoders import descriptors
from omniup.errors import InputError
from omniup.mixing import cell_means
from omniup.training.anyup import losses
from omniup.training.anyup.configuration import DataSettings, LossSettings
from omniup.training.anyup.objective import Objective
from omniup.training.anyup.references import DrawnSquares, Draws, moved
from omniup.training.anyup.segments import SegmentedSquares, indicators, segmented
from omniup.training.anyup.views import whole
from omniup.training.photographs import Squares, photographs
from omniup.upsamplers.anyup import AnyUp
from omniup.upsamplers.consistency import add_lacking


@pytest.fixture(scope="module")
def folder(photo_folder, tmp_path_factory):
    """Photographs with segments: the label maps of the others."""
    folder = tmp_path_factory.mktemp("segmented")
    for path in photo_folder.iterdir():
        (folder / path.name.replace("labels", "segments")).write_bytes(path.read_bytes())
    return folder


def test_references_are_drawn_by_their_weights():
    draws = Draws({"enlarged": 0, "moved": 1, "segments": 3}, seed=4)
    drawn = [draws(number) for number in range(400)]
    assert drawn == [Draws({"enlarged": 0, "moved": 1, "segments": 3}, seed=4)(number) for number in range(400)]
    assert 70 < drawn.count("moved") < 130
    assert drawn.count("moved") + drawn.count("segments") == 400


def test_squares_are_those_that_the_batch_s_reference_needs(folder):
    sources, draws = photographs([str(folder)]), Draws({"enlarged": 1, "segments": 1}, seed=0)
    plain, outlined = Squares(sources, 32, 0), SegmentedSquares(segmented([str(folder)]), 32, 0)
    squares = DrawnSquares({"enlarged": plain, "segments": outlined}, draws, together=3)
    for position in range(24):
        expected = (plain if draws(position // 3) == "enlarged" else outlined)[position]
        assert torch.equal(squares[position], expected)
        assert torch.equal(squares[position][:3], plain[position])  # cut and mirrored alike


def test_segments_lie_where_the_photograph_shows_them(folder):
    """They are where it is brighter than grey, but for two rows: after cutting and mirroring too."""
    squares = SegmentedSquares(segmented([str(folder)]), 40, seed=1)
    for position in range(10):
        *image, segments = squares[position]
        bright = torch.stack(image).mean(0)
        clear = ((bright - 0.5).abs() > 0.1) & (segments < 9)
        assert clear.sum() > 500
        assert (((bright > 0.5) == (segments == 1))[clear]).float().mean() > 0.97


def test_a_photograph_without_segments_is_refused(photo_folder, tmp_path):
    with pytest.raises(InputError, match=r"has no segments beside it; accepted: a label map .*0\.segments\.png"):
        segmented([str(photo_folder)])
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "one.png")
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "one.segments.png")
    with pytest.raises(InputError, match=r"segments\.png is \[8, 9\]; accepted: the photograph's size, \[8, 8\]"):
        SegmentedSquares(segmented([str(tmp_path)]), 8, seed=0)[0]


def test_indicators_say_which_pixels_a_segment_has():
    segments = torch.tensor([[[7.0, 7, 300], [2, 7, 300]], [[1, 1, 1], [1, 1, 1]]])
    found = indicators(segments)
    assert found.shape == (2, 3, 2, 3)
    assert torch.equal(found.sum(1), torch.ones(2, 2, 3))
    for value, place in ((2, 0), (7, 1), (300, 2)):
        assert torch.equal(found[0, place].bool(), segments[0] == value)
    assert found[1, 1:].sum() == 0


def test_moved_features_are_those_in_between():
    """Of a descriptor that averages a cell: means over windows of a cell's size around the finer cells' centres."""
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    found = moved(lambda image: cell_means(image, (image.shape[2] // 8, image.shape[3] // 8)), images, patch=8)
    expected = F.avg_pool2d(F.pad(images, [2] * 4, mode="replicate"), 8, stride=4)  # [2, 3, 8, 12]
    torch.testing.assert_close(found, expected)


def test_views_of_whole_photographs():
    images = torch.rand(2, 3, 64, 64)
    settings = DataSettings(images=["sample:coffee"], image_size=64, input_size=32, crop_size=32)
    views = whole(images, 8, settings)
    assert views.guidance.shape == (2, 3, 32, 32)
    assert torch.equal(views.reduced, images)
    assert views.size == (16, 16) == tuple(moved(lambda x: descriptors.colours(x, 8), images, 8).shape[2:])


def test_the_loss_of_segments_is_that_of_their_upsampled_shares():
    torch.manual_seed(0)
    network = AnyUp().train()
    settings = LossSettings(consistency=1.5)
    guidance, features = torch.rand(2, 3, 16, 16), torch.randn(2, 5, 4, 4)
    segments = indicators(torch.randint(3, (2, 32, 32)))
    found = Objective(network, settings)(guidance, features, segments=segments)
    shares = cell_means(segments, (4, 4))
    network.eval()
    results = []
    for image, one, share in zip(guidance.split(1), features.split(1), shares.split(1), strict=True):
        weights = network.attention(image, one, torch.cartesian_prod(torch.arange(16), torch.arange(16)))
        mixed = (weights.flatten(2) @ share.flatten(2).mT).mT.unflatten(2, (16, 16))
        results.append(add_lacking(mixed, share, 1.5, 2**20))
    expected = losses.segment_distance(torch.cat(results), cell_means(segments, (16, 16)))
    assert found["loss"] is found["segments"]
    torch.testing.assert_close(found["loss"], expected, rtol=1e-4, atol=1e-5)
    found["loss"].backward()
    assert all(weight.grad is not None for name, weight in network.named_parameters() if "out_proj" not in name)
