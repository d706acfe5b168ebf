import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniup.upsamplers import Bilinear, Nearest
from omniup.upsamplers.voting import likeliest, votes
from support.kernels import PAPER, SPEC, cast, random_kernels, random_signal

BYTES = 4  # of a float


def chosen(probabilities):
    """Probabilities [1, K, h, w] as `likeliest` asks for them."""
    return lambda part: probabilities[:, part]


def by_argmax(render, probabilities):
    return render(probabilities).argmax(1, keepdim=True)


@settings(max_examples=50)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    classes=st.integers(1, 8),
    at_once=st.floats(0.01, 9),
    window=st.sampled_from([SPEC, PAPER]),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_the_likeliest_class_is_that_of_all_probabilities(size, classes, at_once, window, seed, data):
    grid = tuple(data.draw(st.integers(1, side)) for side in size)
    kernels = cast(random_kernels(size, grid, window, seed=seed), torch.float32)
    probabilities = random_signal(grid, channels=classes, seed=seed, dtype=torch.float32).softmax(1)
    memory = max(1, int(at_once * BYTES * size[0] * size[1]))
    found = likeliest(kernels.render, classes, chosen(probabilities), size, memory=memory)
    assert (found.shape, found.dtype) == ((1, 1, *size), torch.int64)
    mixed = kernels.render(probabilities)
    # chunks may round otherwise: where two classes are as good as equal, either is right
    best, taken = mixed.amax(1, keepdim=True), mixed.gather(1, found)
    torch.testing.assert_close(taken, best, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("memory", [1, 100, 1000, 10**9])
def test_memory_does_not_change_the_result(memory):
    probabilities = random_signal((4, 5), channels=9, dtype=torch.float32).softmax(1)
    render = lambda low: Bilinear()(torch.zeros(1, 3, 12, 10), low)  # noqa: E731
    found = likeliest(render, 9, chosen(probabilities), (12, 10), memory=memory)
    assert found.equal(by_argmax(render, probabilities))


def test_few_classes_are_held_at_a_time():
    asked = []

    def probabilities(part):
        asked.append(part.tolist())
        return torch.rand(1, len(part), 3, 3)

    likeliest(lambda low: low, 7, probabilities, (3, 3), memory=2 * BYTES * 9)
    assert asked == [[0, 1], [2, 3], [4, 5], [6]]


@pytest.mark.parametrize("memory", [1, 2 * BYTES * 4, 10**6])
def test_the_first_of_equals_wins(memory):
    rows = torch.tensor([[0.1, 0.4, 0.4, 0.1], [0.25, 0.25, 0.25, 0.25], [0, 0, 0.5, 0.5], [0, 0, 0, 0]])
    probabilities = rows.T.reshape(1, 4, 2, 2)
    found = likeliest(lambda low: low, 4, chosen(probabilities), (2, 2), memory=memory)
    assert found.flatten().tolist() == [1, 0, 2, 0]


def test_one_class_is_everywhere():
    found = likeliest(lambda low: low, 1, chosen(torch.zeros(1, 1, 2, 3)), (2, 3), memory=1)
    assert found.equal(torch.zeros(1, 1, 2, 3, dtype=torch.int64))


def test_votes_are_0_or_1_and_there_is_one_in_each_cell():
    labels = torch.tensor([[0, 2], [1, 2]]).view(1, 1, 2, 2)
    given_ = votes(labels)(torch.arange(4))
    assert given_.shape == (1, 4, 2, 2)
    assert given_.dtype == torch.float32
    assert given_[0, :, 0, 0].tolist() == [1, 0, 0, 0]
    assert given_[0, :, 0, 1].tolist() == [0, 0, 1, 0]
    assert given_.sum(1).equal(torch.ones(1, 2, 2))
    assert votes(labels)(torch.tensor([2, 0])).equal(given_[:, [2, 0]])


@given(st.integers(1, 9), st.integers(1, 30), st.integers(0, 1000))
def test_labels_that_nothing_mixes_come_back(classes, memory, seed):
    labels = torch.randint(classes, (1, 1, 3, 4), generator=torch.Generator().manual_seed(seed))
    render = lambda low: Nearest()(torch.zeros(1, 3, 6, 8), low)  # noqa: E731
    found = likeliest(render, classes, votes(labels), (6, 8), memory=memory)
    assert found.equal(labels.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_a_label_s_number_has_no_weight():
    labels = torch.tensor([[0, 0, 2, 2]]).view(1, 1, 1, 4)  # by mixing numbers, 1 would come between
    render = lambda low: Bilinear()(torch.zeros(1, 3, 1, 16), low)  # noqa: E731
    found = likeliest(render, 3, votes(labels), (1, 16), memory=10**6)
    assert set(found.flatten().tolist()) == {0, 2}
