"""Stencils: what maps the cells of a grid to the cell means of something upsampled."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.mixing import Attention, cell_means
from omniup.mixing.stencils import Stencil
from omniup.upsamplers.holes import mix_valid
from support.cases import Layout, layouts, problem

discs = layouts(kinds=("disc",), largest=3)
large = [
    Layout("disc", size, grid, (2,)) for size, grid in (((96, 64), (24, 16)), ((70, 90), (9, 31)), ((8, 9), (8, 9)))
]


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@given(discs | st.sampled_from(large), st.integers(0, 2**16), st.booleans(), st.booleans())
def test_means_of_a_mix_need_no_mix(layout, seed, keeps, holes):
    p = problem(layout, seed=seed)
    # Logits of hundreds: some pixels draw from single cells, which may be holes.
    attention = Attention((100 if holes else 1) * p.key, layout.windows)
    valid = p.value[:, :1] > 0.3 if holes else None
    kept = attention.keep(p.query, p.value, 2**30) if keeps else None
    found = attention.averaged(p.query, kept, valid)(p.value)
    mixed = mix_valid(lambda value: attention.mix(p.query, value), p.value, valid)
    close(found, cell_means(mixed, layout.grid))


@pytest.mark.parametrize("memory", [20_000, 2**29])
def test_the_memory_changes_nothing(memory):
    p = problem(large[1])
    attention = Attention(p.key, p.layout.windows)
    found = dataclasses.replace(attention, memory=memory).averaged(p.query)
    close(found.weights, attention.averaged(p.query).weights)


@given(
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    counts=st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 5])),
)
def test_weights_are_read_off_the_responses_to_combs(grid, counts):
    generator = torch.Generator().manual_seed(0)
    near = [range(-(count // 2), count // 2 + 1) for count in counts]
    offsets = [(dy, dx) for dy in near[0] for dx in near[1]]
    made = Stencil(offsets, torch.rand(len(offsets), *grid, generator=generator, dtype=torch.float64))
    places = (
        torch.arange(side) % count == torch.arange(count)[:, None] for side, count in zip(grid, counts, strict=True)
    )
    rows, columns = (place.double() for place in places)  # [n, h], [m, w]
    combs = rows[:, None, :, None] * columns[None, :, None]  # [n, m, h, w]
    maps = torch.rand(2, 3, *grid, generator=generator, dtype=torch.float64)
    close(Stencil.of_responses(made(combs))(maps), made(maps))
