"""Labels: each one's 0/1 map is mixed, and the largest wins, some labels at a time."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.upsamplers import Bilinear, Nearest
from omniup.upsamplers.signal_types import one_hot, render_labels
from support.kernels import PAPER, SPEC, cast, random_kernels
from support.methods import upsample


def random_labels(grid, count, seed=0):
    return torch.randint(count, (1, 1, *grid), generator=torch.Generator().manual_seed(seed))


def no_check(done, of):
    """Let the work go on."""


def by_argmax(render, labels):
    """From the 0/1 maps of all labels at once."""
    known, places = labels.unique(return_inverse=True)
    mixed = render(one_hot(places, torch.arange(len(known))))
    return known, mixed


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    count=st.integers(1, 8),
    chunk=st.integers(1, 9),
    window=st.sampled_from([SPEC, PAPER]),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_the_label_is_that_of_the_largest_map(size, count, chunk, window, seed, data):
    grid = tuple(data.draw(st.integers(1, side)) for side in size)
    kernels = cast(random_kernels(size, grid, window, seed=seed), torch.float32)
    labels = random_labels(grid, count, seed)

    def render(places, part, _):
        return kernels.render(one_hot(places, part), "values")

    found = render_labels(labels, render, chunk, no_check)
    assert (found.shape, found.dtype) == ((1, 1, *size), torch.int64)
    known, mixed = by_argmax(partial(kernels.render, signal_type="values"), labels)
    # chunks may round otherwise: where two labels are as good as equal, either is right
    taken = mixed.gather(1, torch.searchsorted(known, found))
    torch.testing.assert_close(taken, mixed.amax(1, keepdim=True), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("memory", [1, 1000, 50_000, 10**9])
def test_memory_does_not_change_the_result(memory):
    labels = random_labels((4, 5), 9)
    render = partial(upsample, Bilinear(), torch.zeros(1, 3, 12, 10))
    known, mixed = by_argmax(render, labels)
    found = render(labels, signal_type="labels", memory=memory)
    assert found.equal(known[mixed.argmax(1, keepdim=True)])


def test_few_maps_are_held_at_a_time_and_each_chunk_is_reported():
    asked, checked = [], []

    def render(places, part, count):
        asked.append(part.tolist())
        return one_hot(places, part)

    labels = torch.arange(7).view(1, 1, 1, 7)
    assert render_labels(labels, render, 2, lambda done, of: checked.append((done, of))).equal(labels)
    assert asked == [[0, 1], [2, 3], [4, 5], [6]]
    assert checked == [(2, 7), (4, 7), (6, 7), (7, 7)]


@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_the_smallest_of_equals_wins(chunk):
    maps = torch.tensor([[0.1, 0.4, 0.4, 0.1], [0.25, 0.25, 0.25, 0.25], [0, 0, 0.5, 0.5], [0, 0, 0, 0]])
    maps, labels = maps.T.reshape(1, 4, 2, 2), torch.tensor([40, 10, 30, 20]).view(1, 1, 2, 2)
    found = render_labels(labels, lambda places, part, count: maps[:, part], chunk, no_check)
    assert found.flatten().tolist() == [20, 10, 30, 10]


def test_one_label_is_everywhere():
    labels = torch.full((1, 1, 2, 2), -7)
    found = upsample(Bilinear(), torch.zeros(1, 3, 4, 5), labels, signal_type="labels", memory=1)
    assert found.equal(torch.full((1, 1, 4, 5), -7))


def test_maps_are_0_or_1_and_there_is_one_in_each_cell():
    places = torch.tensor([[0, 2], [1, 2]]).view(1, 1, 2, 2)
    maps = one_hot(places, torch.arange(4))
    assert maps.shape == (1, 4, 2, 2)
    assert maps.dtype == torch.float32
    assert maps[0, :, 0, 0].tolist() == [1, 0, 0, 0]
    assert maps[0, :, 0, 1].tolist() == [0, 0, 1, 0]
    assert maps.sum(1).equal(torch.ones(1, 2, 2))
    assert one_hot(places, torch.tensor([2, 0])).equal(maps[:, [2, 0]])


@given(st.integers(1, 9), st.integers(1, 10_000), st.integers(0, 1000))
def test_labels_that_nothing_mixes_come_back(count, memory, seed):
    labels = random_labels((3, 4), count, seed)
    found = upsample(Nearest(), torch.zeros(1, 3, 6, 8), labels, signal_type="labels", memory=memory)
    assert found.equal(labels.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_a_label_s_number_has_no_weight():
    labels = torch.tensor([[0, 0, 2, 2]]).view(1, 1, 1, 4)  # by mixing numbers, 1 would come between
    found = upsample(Bilinear(), torch.zeros(1, 3, 1, 16), labels, signal_type="labels")
    assert set(found.flatten().tolist()) == {0, 2}


@pytest.mark.parametrize(
    "dtype",
    ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int64", "float16", "float32", "float64"],
)
def test_labels_may_be_numbers_of_any_type(dtype):
    dtype = getattr(torch, dtype)
    labels = torch.tensor([[0, 0, 1, 1]]).view(1, 1, 1, 4).to(dtype)
    found = upsample(Bilinear(), torch.zeros(1, 3, 1, 16), labels, signal_type="labels")
    assert found.dtype == dtype
    assert found.flatten().tolist() == [0] * 8 + [1] * 8


def test_large_numbers_stay_apart():
    labels = torch.tensor([2**53, 2**53 + 1, -(2**62), 5]).view(1, 1, 2, 2)
    found = upsample(Nearest(), torch.zeros(1, 3, 4, 4), labels, signal_type="labels")
    assert found.equal(labels.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_channels_and_images_are_labelled_each_by_itself():
    labels = torch.cat(
        [torch.cat([random_labels((3, 4), 5, seed) + 10 * seed for seed in pair], 1) for pair in ((0, 1), (2, 3))]
    )
    image = torch.zeros(2, 3, 12, 16)
    found = upsample(Bilinear(), image, labels, signal_type="labels")
    assert found.shape == (2, 2, 12, 16)
    for n in range(2):
        for c in range(2):
            alone = upsample(Bilinear(), image[:1], labels[n : n + 1, c : c + 1], signal_type="labels")
            assert found[n : n + 1, c : c + 1].equal(alone)


def test_the_rendering_of_labels_can_be_cancelled():
    class CancelledError(Exception):
        pass

    reported = []

    def cancel(step):
        reported.append((step.iteration, step.iterations))
        assert step.seconds_left >= 0
        if len(reported) == 3:
            raise CancelledError

    prepared = Bilinear().prepare(torch.zeros(1, 3, 12, 16), (3, 4))
    labels = torch.arange(12).view(1, 1, 3, 4)
    with pytest.raises(CancelledError):
        prepared.render(labels, "labels", memory=1, progress=cancel)
    assert reported == [(1, 12), (2, 12), (3, 12)]
