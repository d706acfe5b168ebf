from io import BytesIO

import numpy as np
import pytest
import torch
from safetensors.torch import save

from omniup.encoders import read_probabilities
from omniup.errors import InputError


def npy(array):
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 3, (5, 4, 6)).astype(np.float32)


@pytest.fixture
def probabilities(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=0)


def test_probabilities_are_read_as_they_are(probabilities, tmp_path):
    path = tmp_path / "classes.npy"
    np.save(path, probabilities)
    encoding = read_probabilities(path)
    assert torch.equal(encoding.features, torch.from_numpy(probabilities)[None])
    assert (encoding.encoder, encoding.weights) == ("probabilities", f"read from {path}")


def test_logits_go_through_a_softmax(logits, probabilities):
    encoding = read_probabilities(npy(logits), logits=True)
    assert torch.allclose(encoding.features, torch.from_numpy(probabilities)[None])
    assert encoding.weights == "read from a stream, softmax applied"


def test_logits_are_not_taken_for_probabilities(logits):
    with pytest.raises(InputError) as refusal:
        read_probabilities(npy(logits))
    assert f"has values from {logits.min():g} to {logits.max():g}" in str(refusal.value)
    assert "`logits=True`, which applies a softmax" in str(refusal.value)


def test_sums_must_be_one(probabilities):
    with pytest.raises(InputError, match=r"sums over the classes from 0\.9 to 0\.9"):
        read_probabilities(npy(0.9 * probabilities))


def test_values_must_be_in_range_even_where_the_sums_are_one(probabilities):
    probabilities[0] += 2
    probabilities[1] -= 2
    with pytest.raises(InputError, match="has values from -"):
        read_probabilities(npy(probabilities))


def test_half_precision_is_close_enough(probabilities):
    assert read_probabilities(npy(probabilities.astype(np.float16))).features.dtype == torch.float16


def test_one_array_of_several_is_named(probabilities):
    archive = save({"image": torch.rand(3, 4), "classes": torch.from_numpy(probabilities)})
    assert read_probabilities(archive, name="classes").features.shape == (1, 5, 4, 6)


def test_a_real_network_s_probabilities(shared):
    features = read_probabilities(shared / "data/photos/voc_2009_003810.class_probabilities_32x32.npy").features
    assert features.shape == (1, 21, 32, 32)
    assert torch.allclose(features.sum(dim=1), torch.ones(1, 32, 32), atol=1e-3)
