import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from omniup import InputError
from omniup.upsamplers import upsampler
from omniup_bench.catalogue import find_task, tasks
from omniup_bench.data import Folders
from omniup_bench.networks import probabilities
from omniup_bench.quality import evaluate, total
from omniup_bench.street_network import load_street_network
from support.benchmark import small_data

NAMES = [name for name in tasks() if not name.startswith(("probe-", "dense-"))]  # of those, see ../features
OWN = [name for name in NAMES if name in ("probabilities", "depth", "masks", "images", "canopy")]


def truth_of(task, sample):
    """What would be a perfect result."""
    if task.name == "images":
        return sample.image
    (truth,) = sample.evaluate.args
    if task.name == "canopy":
        return truth
    if task.name == "depth":
        return torch.from_numpy(truth)[None, None]
    labels = torch.from_numpy(np.where(truth >= 0, truth, 0))
    return F.one_hot(labels, sample.signal.shape[1]).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_the_metrics_that_are_promised_and_finite(name, folders):
    task = find_task(name)
    for factor in (task.factors[0], 14 if 14 in task.factors else 16):
        found = list(evaluate(task, upsampler("bilinear"), folders, factor, 2))
        assert len({image for image, _ in found}) == len(found) >= 1
        scores = task.scores(total(statistics for _, statistics in found))
        assert scores.keys() == task.metrics.keys()
        assert np.isfinite(list(scores.values())).all()


@pytest.mark.parametrize("name", OWN)
def test_the_truth_itself_has_perfect_scores(name, folders):
    task = find_task(name)
    sample = next(task.samples(folders, 16))
    scores = task.scores(sample.evaluate(truth_of(task, sample)))
    for metric, score in scores.items():
        more_is_better = task.metrics[metric]
        assert score == pytest.approx((1 if metric == "ssim" else 100) if more_is_better else 0, abs=1e-6), metric


@pytest.mark.parametrize("name", OWN)
def test_a_coarser_signal_gives_worse_results(name, folders):
    task = find_task(name)
    metric, more_is_better = next(iter(task.metrics.items()))
    fine, coarse = (
        task.scores(total(found for _, found in evaluate(task, upsampler("bilinear"), folders, factor)))[metric]
        for factor in (4, 32)
    )
    assert (fine > coarse) == more_is_better


@pytest.mark.parametrize("name", NAMES)
def test_the_order_is_always_the_same_and_few_images_are_the_first_of_many(name, folders):
    task = find_task(name)
    few, many = ([sample.name for sample in task.samples(folders, 16, count)] for count in (3, None))
    assert many[: len(few)] == few
    assert many == [sample.name for sample in task.samples(folders, 16)]


def test_images_for_tuning_are_others(shared):
    for name in ("probabilities", "masks", "images"):
        ours, theirs = (
            {sample.name for sample in find_task(name, split).samples(Folders.of(shared / "data"), 16, 3)}
            for split in ("val", "tune")
        )
        assert not ours & theirs


def test_bicubic_on_real_heights_is_what_is_known_of_it(shared):
    task, expected = find_task("canopy"), {4: (3.42, 3.88), 8: (4.47, 5.78), 16: (5.41, 7.74)}
    for factor, scenes in expected.items():
        found = [
            task.scores(statistics)["rmse"]
            for _, statistics in evaluate(task, upsampler("bicubic"), Folders.of(shared / "data"), factor)
        ]
        assert found == pytest.approx(scenes, abs=0.01)


def test_bands_of_the_canopy_are_guidance(folders):
    (sample,) = find_task("canopy").samples(folders, 8)
    assert sample.image.shape == (1, 4, 64, 64)
    assert sample.signal.shape == (1, 1, 8, 8)
    assert 0 <= sample.image.min() < 0.1 < 0.9 < sample.image.max() <= 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"height": np.zeros((64, 63))}, r"holds guide \[4, 64, 64\] and height \[1, 64, 63\]"),
        ({"height": np.full((64, 64), -1.0)}, "has values outside the ranges"),
    ],
)
def test_heights_that_are_none_are_refused(tmp_path, change, said):
    (tmp_path / "canopy").mkdir()
    arrays = {"guide": np.zeros((4, 64, 64)), "height": np.zeros((64, 64))} | change
    np.savez(tmp_path / "canopy" / "scene.npz", **arrays)
    with pytest.raises(InputError, match=rf"scene\.npz {said}; accepted: the arrays guide, \[G, H, W\]"):
        next(find_task("canopy").samples(Folders.of(tmp_path), 8))


def test_finer_cells_are_what_the_network_says_of_the_pixels_around_them(folders):
    network, image = load_street_network(folders.models), torch.rand(1, 3, 64, 96)
    fine = probabilities(image, 4, folders.models)
    assert fine.shape == (1, 11, 16, 24)
    # the network of these tests looks at the 16 pixels of a cell; the cell (5, 9) has its middle at (22, 38)
    torch.testing.assert_close(fine[..., 5:6, 9:10], network(image[..., 14:30, 30:46]))
    torch.testing.assert_close(probabilities(image, 16, folders.models), network(image))
    torch.testing.assert_close(probabilities(image, 14, folders.models).sum(1), torch.ones(1, 5, 7))


def test_consistency_finds_what_is_not_consistent(folders):
    task = find_task("consistency-masks")
    sample = next(task.samples(folders, 16))
    plain, mirrored, noisy, compressed = sample.image.split(1)
    assert torch.equal(mirrored, plain.flip(3))
    assert 0 < (noisy - plain).abs().mean() < 0.05
    assert 0 < (compressed - plain).abs().mean() < 0.05

    good = F.interpolate(sample.signal, sample.image.shape[2:], mode="nearest-exact")
    scores = task.scores(sample.evaluate(good))
    assert (scores["mirror"], scores["noise"], scores["jpeg"]) == (0, 0, 0)
    for view, name in ((1, "mirror"), (2, "noise"), (3, "jpeg")):
        bad = good.clone()
        bad[view] += 0.1
        found = task.scores(sample.evaluate(bad))
        assert [metric for metric, score in found.items() if score > scores[metric] + 1] == [name]
    assert task.scores(sample.evaluate(good + 0.1))["down"] > scores["down"]


def test_real_probabilities_come_with_an_example_of_another_network(shared):
    names = [
        sample.name for sample in find_task("consistency-probabilities").samples(Folders.of(shared / "data"), 16, 1)
    ]
    assert names[1:] == ["photos/voc_2009_003810"]


def test_bilinear_on_real_probabilities_is_what_is_known_of_it(shared):
    found = dict(evaluate(find_task("probabilities"), upsampler("bilinear"), Folders.of(shared / "data"), 16, 6))
    scores = find_task("probabilities").scores(total(found.values()))
    assert 50 < scores["miou"] < 65  # 59.8 on all 51, as the network's authors say


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_is_laid_out_otherwise_is_refused(name, tmp_path):
    with pytest.raises(InputError, match=r"^data is .*; accepted: a folder "):
        next(find_task(name).samples(Folders.of(tmp_path / "data"), 16))


def test_a_label_map_of_another_size_is_refused(tmp_path):
    data = small_data(tmp_path, images=1)
    labels = data / "bsds500/val/photo_0.segments.png"
    Image.open(labels).resize((10, 10)).save(labels)
    with pytest.raises(
        InputError, match=r"segments\.png has the size \[10, 10\]; accepted: that of the image, \[70, 96\]$"
    ):
        next(find_task("masks").samples(Folders.of(data), 16))


def test_unknown_tasks_are_refused():
    with pytest.raises(InputError, match=r"^task is 'nonsense'; accepted: probabilities, depth"):
        find_task("nonsense")
