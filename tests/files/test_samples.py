import numpy as np
import pytest
import torch

from omniup.errors import InputError
from omniup.files import SAMPLES, image_tensor, sample_image, sample_probabilities


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_photographs(name):
    image = sample_image(name)
    assert image.mode == "RGB"
    assert min(image.size) >= 300
    assert np.asarray(image).std() > 30


def test_the_first_is_the_default():
    assert sample_image().tobytes() == sample_image(SAMPLES[0]).tobytes()


def test_samples_differ():
    assert len({sample_image(name).tobytes() for name in SAMPLES}) == len(SAMPLES)


@pytest.mark.parametrize("name", ["", "Coffee", "../coffee", "lena", "__class__", "binary_blobs", None])
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="accepted: coffee, chelsea, astronaut, rocket"):
        sample_image(name)


def test_probabilities_sum_to_one():
    sample = sample_probabilities()
    probabilities = sample.probabilities
    assert probabilities.shape == (1, len(sample.classes), 32, 32)
    assert probabilities.dtype == torch.float32
    assert probabilities.min() >= 0
    assert torch.allclose(probabilities.sum(1), torch.ones(1, 32, 32), atol=1e-6)


def test_probabilities_are_a_real_network_s():
    sample = sample_probabilities()
    likeliest = sample.probabilities.argmax(1)
    assert len(likeliest.unique()) >= 5
    assert (sample.probabilities.amax(1) < 0.9).float().mean() > 0.02  # which is not sure everywhere
    assert len(set(sample.classes)) == len(sample.classes)
    assert all(isinstance(name, str) and name for name in sample.classes)
    assert sample.source


def test_probabilities_belong_to_the_astronaut():
    sample = sample_probabilities()
    assert sample.image.equal(image_tensor(sample_image("astronaut")))
    assert [side % 32 for side in sample.image.shape[2:]] == [0, 0]
