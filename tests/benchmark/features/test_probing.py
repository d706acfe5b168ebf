import numpy as np
import pytest
import torch

from omniup.errors import InputError
from omniup.evaluation.probes import ridge_regression
from omniup.upsamplers import upsample
from omniup_bench.catalogue import tasks
from omniup_bench.data import Folders
from omniup_bench.networks import IMAGENET, scaled
from omniup_bench.probe_targets import FITTED, DepthMaps, Labels, Normals
from omniup_bench.probing import EVERY, Probe
from omniup_bench.street_network import load_street_network
from omniup_bench.task import FittedTask


def bilinear(image, signal, size=None):
    return upsample(image, signal, method="bilinear", size=size)


def measure(task, folders, factor, method=bilinear):
    """Scores of all images."""
    read = task.fit(method, folders, factor)
    totals = {}
    for sample in task.samples(folders, factor):
        found = sample.evaluate(read(sample.name, method(sample.image, sample.signal, sample.size)))
        totals = {name: np.asarray(value) + totals.get(name, 0) for name, value in found.items()}
    return task.scores(totals)


@pytest.mark.parametrize("fitted_to", ["results", "features"])
@pytest.mark.parametrize("truth", [Labels(fitted=4), DepthMaps(), Normals()], ids=lambda truth: truth.name)
def test_a_probe_gives_a_value_for_each_metric(folders, truth, fitted_to):
    task = Probe(truth, fitted_to)
    scores = measure(task, folders, 16)
    assert scores.keys() == task.metrics.keys()
    assert all(np.isfinite(value) for value in scores.values())


def test_labels_that_colours_tell_are_found(folders):
    for fitted_to in ("results", "features"):
        scores = measure(Probe(Labels(fitted=6), fitted_to), folders, 8)
        assert scores["miou"] > 70
        assert scores["pixel_accuracy"] > 85


def test_a_probe_of_features_does_without_the_method(folders):
    def never(*_, **__):
        raise AssertionError("the method was asked")

    task = Probe(Labels(fitted=3), "features")
    read = task.fit(never, folders, 16)
    assert task.fit(bilinear, folders, 16) is read  # and is the same for all
    with pytest.raises(AssertionError):
        Probe(Labels(fitted=3), "results").fit(never, folders, 16)


def test_a_probe_has_not_seen_the_image_that_it_reads(folders):
    task = Probe(DepthMaps(), "results")
    read = task.fit(bilinear, folders, 16)
    examples = {example.name: example for example in DepthMaps().fitting(folders)}
    network, first = load_street_network(folders.models).features, EVERY // 2
    for name, example in examples.items():
        vectors, targets = [], []
        for other in examples.values():
            if other is not example:
                result = bilinear(other.image, scaled(network, other.image, 16))
                vectors.append(result[0, :, first::EVERY, first::EVERY].flatten(1).T)
                targets.append(other.target[0, :, first::EVERY, first::EVERY].flatten(1).T)
        vectors, targets = torch.cat(vectors), torch.cat(targets)
        expected = ridge_regression(vectors, targets, torch.ones(len(vectors)))
        result = bilinear(example.image, scaled(network, example.image, 16))
        torch.testing.assert_close(read(name, result), expected.read(result))


def test_a_single_pair_is_too_little(folders, tmp_path):
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth" / "0.npz").symlink_to(folders.data / "depth" / "0.npz")
    read = Probe(DepthMaps(), "features").fit(bilinear, Folders.of(tmp_path, folders.models), 16)
    with pytest.raises(InputError, match=r"^data has no image but depth/0 to fit a probe to; accepted: two or more$"):
        read("depth/0", torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1, 1.5])
def test_results_of_other_sizes_are_judged_at_their_own(folders, ratio):
    task = Probe(Labels(ratio=ratio, fitted=4), "features")
    assert task.name == ("probe-labels-lr" if ratio == 1 else f"probe-labels-lr@{ratio}")
    sample = next(task.samples(folders, 16, 1))
    assert sample.size == (64 * ratio, 96 * ratio)
    counted = sample.evaluate(torch.randn(1, 11, *sample.size))["confusion"].sum()
    assert counted == pytest.approx(64 * 94 * ratio**2, rel=0.05)  # two columns count for nothing
    at_full_size = measure(Probe(Labels(fitted=4), "features"), folders, 16)
    assert measure(task, folders, 16)["pixel_accuracy"] == pytest.approx(at_full_size["pixel_accuracy"], abs=5)


def test_all_images_of_the_train_split_are_fitted_to_unless_fewer_are_asked_for(folders):
    counts = {fitted: len(list(Labels(fitted=fitted).fitting(folders))) for fitted in (3, None)}
    assert counts == {3: 3, None: 8}


def test_the_catalogue_has_them():
    found = tasks()
    fitted = {name for name, task in found.items() if isinstance(task, FittedTask)}
    kinds = {f"probe-{name}{suffix}" for name in ("labels", "depth", "normals") for suffix in ("", "-lr")}
    imagenet = f"probe-labels-lr+{IMAGENET}"
    assert fitted == kinds | {"probe-labels-lr@0.25", "probe-labels-lr@0.5", imagenet}
    assert found[imagenet].target.fitted is None
    assert found["probe-labels-lr"].target.fitted == FITTED
    assert {"dense-moved", "dense-enlarged"} <= found.keys()
