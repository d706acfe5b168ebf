import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.mixing import TooLittleMemoryError
from omniup.upsamplers.anyup.feature_agnostic import FeatureAgnosticLayer
from oracles.anyup import feature_agnostic
from support.kernels import random_signal
from support.scratch import peak_bytes

layouts = pytest.mark.parametrize("layout", ["published", "paper"])


def layer(layout, filters=6):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = FeatureAgnosticLayer(filters, layout).double()
        made.basis.data.normal_()
    return made


@given(st.sampled_from(["published", "paper"]), *[st.integers(1, 9)] * 4, st.integers(1, 3))
def test_it_is_the_layer_of_its_description(layout, filters, channels, height, width, batch):
    made = layer(layout, filters)
    features = random_signal((height, width), channels=channels, batch=batch)
    expected = torch.stack([feature_agnostic(one, made.basis.detach(), layout) for one in features])
    one_cell = 2 * channels * (25 + filters) * 8
    for memory in (one_cell, 5 * one_cell, 2**30):
        torch.testing.assert_close(made(features, memory).detach(), expected, rtol=0, atol=1e-12)


def test_the_layouts_are_those_of_the_facts():
    """Where C = M, the published layout is a softmax over the channels, and the paper's one over the filters."""
    features = random_signal((4, 5), channels=6)
    published, paper = layer("published"), layer("paper")
    responses = torch.nn.functional.conv2d(features.transpose(0, 1), paper.basis, padding=2)  # [C, M, h, w]
    ones = torch.ones(1, 1, 4, 5, dtype=torch.float64)
    responses = responses / torch.nn.functional.conv2d(ones, torch.ones_like(paper.basis[:1]), padding=2)
    torch.testing.assert_close(paper(features)[0], responses.softmax(1).mean(0))
    torch.testing.assert_close(published(features)[0], responses.softmax(0).mean(1))


@layouts
def test_the_result_sums_to_one(layout):
    out = layer(layout)(random_signal((5, 7), channels=11, batch=2))
    torch.testing.assert_close(out.sum(1), torch.ones(2, 5, 7, dtype=torch.float64))


def test_the_order_of_the_channels_does_not_matter_to_the_papers_layout():
    features = random_signal((5, 7), channels=11)
    made = layer("paper")
    torch.testing.assert_close(made(features.flip(1)), made(features))


@layouts
@pytest.mark.parametrize("budget", [300_000, 2_000_000])
def test_any_number_of_channels_keeps_to_the_memory(layout, budget):
    made = layer(layout, 16).float().requires_grad_(False)
    features = random_signal((12, 9), channels=700).float()
    padded = 700 * 16 * 13 * 4
    assert peak_bytes(lambda: made(features, budget), features, made.basis) <= budget + padded


@layouts
def test_too_little_memory_for_a_cell_is_refused(layout):
    with pytest.raises(TooLittleMemoryError, match=r"^memory is 100 bytes: the responses .* take 10912$"):
        layer(layout)(random_signal((5, 7), channels=22), 100)


@layouts
def test_gradients_are_those_of_finite_differences(layout):
    made, features = layer(layout, 3), random_signal((3, 2), channels=4).requires_grad_()
    memory = 2 * 2 * 4 * (25 + 3) * 8  # two cells at a time
    assert torch.autograd.gradcheck(lambda features, _: made(features, memory), (features, made.basis))
