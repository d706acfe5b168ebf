"""The calibrations of confidences on real data that they were not fitted to: two images and a scale of each kind."""

import pytest
import torch

import omniup
from omniup.mixing import cell_means
from omniup_bench.calibration import (
    class_outcomes,
    confidence_scores,
    confidence_sums,
    feature_outcomes,
    measurement_outcomes,
)
from omniup_bench.data import Folders, bsds_folder, grid_of, labelled_images, street_scenes
from omniup_bench.dense import DenseFeatures
from omniup_bench.networks import probabilities
from omniup_bench.quality import total


@pytest.fixture
def real(shared):
    """Folders of real data; see `shared`."""
    return Folders.of(shared / "data")


def scores(cases, method, signal_type):
    """Scores of the confidence on cases: image, signal, size and how a result is compared with the truth."""
    statistics = []
    for image, signal, size, compare in cases:
        prepared = omniup.upsampler(method).prepare(image, (signal.shape[2], signal.shape[3]), size)
        outcomes = compare(prepared.render(signal, signal_type))
        statistics.append(confidence_sums(prepared.confidence(signal, signal_type), outcomes))
    return confidence_scores(total(statistics))


@pytest.mark.parametrize("method", ["pyramid_bilateral", "bilinear"])
def test_class_probabilities(real, method):
    cases = []
    for scene in street_scenes(real, "val", 2):
        low = probabilities(scene.image, 16, real.models)
        cases.append((scene.image, low, None, lambda made, truth=scene.labels: class_outcomes(made, truth)))
    found = scores(cases, method, "probabilities")
    assert found["rank_correlation"] > 0.3
    assert found["calibration_error"] < 0.05


@pytest.mark.parametrize("method", ["pyramid_bilateral", "bilinear"])
def test_measurements(real, method):
    cases = []
    for picture in labelled_images(real, bsds_folder("val"), ".segments.png", 2):
        truth = torch.from_numpy(picture.labels == 1).float()[None, None]
        low = cell_means(truth, grid_of(picture.image, 16))
        compare = lambda made, truth=truth, low=low: measurement_outcomes(made, truth, low)  # noqa: E731
        cases.append((picture.image, low, None, compare))
    found = scores(cases, method, "measurement")
    assert found["rank_correlation"] > 0.4
    assert found["calibration_error"] < 0.1


@pytest.mark.parametrize("method", ["pyramid_bilateral", "bilinear"])
def test_features(real, method):
    cases = [
        (picture.image, low, target.shape[2:], lambda made, t=target: feature_outcomes(made, t))
        for picture, low, target in DenseFeatures("moved").pairs(real, 32, 2)
    ]
    found = scores(cases, method, "features")
    assert found["rank_correlation"] > 0.5
    assert found["largest_deviation"] < 0.1
