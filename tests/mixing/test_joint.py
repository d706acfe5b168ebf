"""Several attentions mixed at once, against the same pixel by pixel, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniup.mixing import Attention, JointAttention, TooLittleMemoryError, Windows
from oracles.joint import joint_mix
from support.kernels import uniform
from support.scratch import peak_bytes

sides = st.integers(1, 6)


def made(size, grids, ratios, terms, *, channels=3, batch=1, heads=2, seed=0, memory=2**29):
    generator = torch.Generator().manual_seed(seed)
    query = 3 * uniform(generator, batch, 4, *size, low=-1)
    windows = [Windows.relative(size, grid, ratio, grouped=grids[0]) for grid, ratio in zip(grids, ratios, strict=True)]
    keys = [uniform(generator, batch, 4, *grid, low=-1) for grid in grids]
    values = [uniform(generator, batch, j, channels, *grid, low=-1) for j, grid in zip(terms, grids, strict=True)]
    coefficients = uniform(generator, batch, sum(terms), *size, low=-1)

    def joint(keys):
        attentions = (Attention(key, each, heads=heads) for key, each in zip(keys, windows, strict=True))
        return JointAttention(tuple(attentions), memory=memory)

    return joint, query, keys, values, coefficients


@settings(max_examples=12)
@given(st.tuples(sides, sides), st.data())
def test_it_is_the_sum_of_its_description(size, data):
    count = data.draw(st.integers(1, 3))
    grids = [tuple(data.draw(st.integers(1, side)) for side in size) for _ in range(count)]
    ratios = [data.draw(st.sampled_from([0.05, 0.1, 0.3, 1])) for _ in range(count)]
    terms = [data.draw(st.sampled_from([1, 3])) for _ in range(count)]
    joint, query, keys, values, coefficients = made(size, grids, ratios, terms, batch=2, seed=data.draw(sides))
    expected = torch.stack(
        [
            joint_mix(query[b], [k[b] for k in keys], [v[b] for v in values], coefficients[b], ratios, heads=2)
            for b in range(2)
        ]
    )
    torch.testing.assert_close(joint(keys).mix(query, values, coefficients), expected, rtol=0, atol=1e-12)
    out = torch.empty_like(expected)
    assert joint(keys).mix(query, values, coefficients, out=out) is out
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    points = torch.tensor([[[0, 0], [size[0] - 1, size[1] // 2]]]).expand(2, -1, -1)
    there = [maps[:, :, points[0, :, 0], points[0, :, 1]] for maps in (query, coefficients, expected)]
    found = joint(keys).mix_at(there[0], values, there[1], points)
    torch.testing.assert_close(found, there[2], rtol=0, atol=1e-12)


def test_gradients_are_those_of_finite_differences():
    joint, *leaves = made((6, 5), [(3, 4), (2, 2)], [0.3, 0.6], [3, 1], channels=2, batch=2)
    query, keys, values, coefficients = leaves
    flat = [each.requires_grad_() for each in (query, coefficients, *keys, *values)]

    def mix(query, coefficients, *maps):
        return joint(maps[:2]).mix(query, maps[2:], coefficients)

    torch.manual_seed(0)
    assert torch.autograd.gradcheck(mix, flat, fast_mode=True)
    points = torch.tensor([[[5, 4], [0, 2], [5, 4]]] * 2)

    def mix_at(query, coefficients, *maps):
        there = (each[:, :, [5, 0, 5], [4, 2, 4]] for each in (query, coefficients))
        query, coefficients = there
        return joint(maps[:2]).mix_at(query, maps[2:], coefficients, points)

    assert torch.autograd.gradcheck(mix_at, flat, fast_mode=True)


@pytest.mark.parametrize("memory", [300_000, 900_000])
def test_it_keeps_to_the_memory_which_changes_nothing(memory):
    arguments = (18, 16), [(10, 9), (5, 4)], [0.2, 0.4], [3, 1]
    joint, query, keys, values, coefficients = made(*arguments, channels=48)
    expected = joint(keys).mix(query, values, coefficients)
    joint = made(*arguments, channels=48, memory=memory)[0](keys)
    inputs = query, coefficients, *keys, *values
    torch.testing.assert_close(joint.mix(query, values, coefficients), expected, rtol=0, atol=1e-12)
    assert peak_bytes(lambda: joint.mix(query, values, coefficients), *inputs) <= memory


def test_too_little_memory_is_refused():
    joint, query, keys, values, coefficients = made((8, 8), [(4, 4), (2, 2)], [0.2, 0.4], [1, 1], memory=1000)
    with pytest.raises(TooLittleMemoryError, match="the window of one pixel takes"):
        joint(keys).mix(query, values, coefficients)


def test_far_from_the_origin_nothing_cancels():
    """Slopes of a ramp over 500 cells: in float32 as near to float64 as a mix of values is."""
    grid, size = (1, 500), (2, 1500)
    joint, query, keys, values, coefficients = made(size, [grid], [0.003], [3], channels=1)
    expected = joint(keys).mix(query, values, coefficients)
    reduced = [query, values[0], coefficients]
    query, value, coefficients = (each.float() for each in reduced)
    found = joint([keys[0].float()]).mix(query, [value], coefficients)
    assert (found - expected).abs().max() < 1e-6


@pytest.mark.parametrize(("which", "match"), [(0, "values has the shape"), (1, "coefficients has the shape")])
def test_shapes_that_disagree_are_refused(which, match):
    joint, query, keys, values, coefficients = made((8, 8), [(4, 4)], [0.2], [1])
    changed = [values[0][..., :3], coefficients[:, :, :7]]
    arguments = [values[0], coefficients]
    arguments[which] = changed[which]
    with pytest.raises(ValueError, match=match):
        joint(keys).mix(query, [arguments[0]], arguments[1])
