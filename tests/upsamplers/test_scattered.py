"""Scattered measurements, such as a lidar's, are averaged down before they are upsampled."""

import logging

import numpy as np
import pytest
import torch

import omniup
from omniup.mixing import cell_means
from omniup.upsamplers.holes import fill_nearest
from omniup.upsamplers.scattered import gather

HEIGHT, WIDTH = 96, 128


def scene():
    """An image and its depth: planes at an angle, with an edge between them."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    near = (x + y / 3) < 70
    depth = torch.where(near, 5 + y / 50, 20 + x / 40)[None, None].float()
    shade = torch.where(near, 0.7, 0.3) + 0.05 * torch.rand(HEIGHT, WIDTH)
    return shade[None, None].expand(1, 3, -1, -1), depth


def independent(part):
    return torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) < part


def lines():
    """What a lidar sees: lines of points below the horizon."""
    valid = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    valid[..., HEIGHT // 3 :: 5, ::2] = True
    return valid


def rmse(a, b):
    return float((a - b).square().mean().sqrt())


@pytest.mark.parametrize("valid", [independent(0.01), independent(0.05), independent(0.15), lines()])
@pytest.mark.parametrize("method", ["pyramid_bilateral", "joint_bilateral"])  # which follow the image
def test_errors_are_smaller_than_those_of_the_nearest_measurement(valid, method):
    image, depth = scene()
    sparse = depth.masked_fill(~valid, torch.nan)
    made = omniup.upsample(image, sparse, valid=valid, method=method)
    assert made.shape == depth.shape
    below = slice(HEIGHT // 3, None)  # above, nothing was measured by the lidar
    nearest = fill_nearest(sparse, valid)
    assert rmse(made[:, :, below], depth[:, :, below]) < rmse(nearest[:, :, below], depth[:, :, below])


def test_the_mean_of_a_cell_is_that_of_its_measurements(caplog):
    valid = independent(0.04)
    depth = torch.rand(1, 2, HEIGHT, WIDTH)
    with caplog.at_level(logging.WARNING):
        means, covered = gather(depth.masked_fill(~valid, torch.nan), valid, "features")
    assert f"signal: {valid.sum()} of {HEIGHT} × {WIDTH} cells hold a measurement" in caplog.text
    grid = means.shape[2:]
    assert HEIGHT * WIDTH * 0.03 < means[0, 0].numel() < HEIGHT * WIDTH * 0.05  # one for each
    counts = cell_means(valid.double(), grid)
    expected = cell_means(depth.double() * valid, grid) / counts
    assert torch.equal(covered, counts > 0)
    torch.testing.assert_close(means[covered.expand_as(means)], expected[covered.expand_as(means)].float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.uint16, torch.int32])
def test_types_are_kept(dtype):
    valid = independent(0.05)
    depth = (1000 + 100 * torch.rand(1, 1, HEIGHT, WIDTH)).to(dtype)
    means, _ = gather(depth, valid, "measurement")
    assert means.dtype == dtype and means.shape[2] < HEIGHT
    image, _ = scene()
    made = omniup.upsample(image, depth, valid=valid, signal_type="measurement", method="bilinear")
    assert made.dtype == dtype and made.shape == depth.shape
    assert 995 < made.double().min() < made.double().max() < 1105


def unchanged(valid, signal_type, signal=None):
    signal = torch.rand(len(valid), 1, *valid.shape[2:]) if signal is None else signal
    made, mask = gather(signal, valid, signal_type)
    return made is signal and mask is valid


def test_what_lies_close_together_stays_as_it_is():
    assert unchanged(independent(0.4), "measurement")
    assert unchanged(independent(1.1), "measurement")
    block = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    block[..., 10:20, 30:60] = True  # few cells, but all of an object
    assert unchanged(block, "measurement")
    holes = ~independent(0.3)
    assert unchanged(holes, "measurement")


def test_a_mean_of_labels_is_none():
    labels = torch.randint(0, 5, (1, 1, HEIGHT, WIDTH))
    assert unchanged(independent(0.05), "labels", labels)
    assert unchanged(independent(0.05), "logits", torch.rand(1, 3, HEIGHT, WIDTH))
    assert not unchanged(independent(0.05), "auto", torch.rand(1, 3, HEIGHT, WIDTH).softmax(1))


def test_a_single_measurement_and_batches():
    one = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    one[0, 0, 3, 4] = True
    assert unchanged(one, "measurement")
    both = torch.cat([independent(0.05), lines()])
    means, covered = gather(torch.rand(2, 1, HEIGHT, WIDTH), both, "measurement")
    assert means.shape[2:] == covered.shape[2:] and means.shape[2] < HEIGHT and len(means) == 2
    image, _ = scene()
    assert omniup.upsample(image, torch.rand(2, 1, HEIGHT, WIDTH), valid=both).shape == (2, 1, HEIGHT, WIDTH)


def test_far_from_all_measurements_holes_may_be_kept():
    image, depth = scene()
    made = omniup.upsample(image, depth, valid=lines(), holes="keep")
    assert made[..., 0, 0].isnan().all()
    assert made[:, :, HEIGHT // 2 :].isfinite().all()


def test_arrays_and_their_masks():
    image, depth = scene()
    valid = independent(0.05)
    from_arrays = omniup.upsample(image, depth[0, 0].numpy(), valid=valid[0, 0].numpy())
    assert np.array_equal(from_arrays, omniup.upsample(image, depth, valid=valid).numpy())
    assert np.isfinite(from_arrays).all()
