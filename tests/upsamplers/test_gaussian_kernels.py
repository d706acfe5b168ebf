import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup import InputError
from omniup.mixing import Attention, DotProduct
from omniup.mixing.groups import groups
from omniup.upsamplers import Window
from omniup.upsamplers.gaussian_kernels import GaussianEmbedding
from oracles.rendering import paper_render, spec_render
from support.kernels import PAPER, SPEC, cast, parameters, random_kernels, random_signal

SIZES = [
    pytest.param((31, 45), (5, 4), id="sides that do not divide"),
    pytest.param((64, 48), (4, 3), id="stride 16"),
    pytest.param((17, 13), (17, 13), id="one cell a pixel"),
    pytest.param((40, 23), (1, 7), id="one row of cells"),
    pytest.param((20, 37), (9, 1), id="one column of cells"),
    pytest.param((29, 34), (1, 1), id="one cell"),
    pytest.param((27, 40), (20, 13), id="strides below 2 and above 3"),
]


def oracle(kernels, signal):
    render = spec_render if kernels.window.shape == "square" else paper_render
    return render(signal, kernels.guidance, kernels.cell_guidance, *parameters(kernels), kernels.window.radius)


def check_against_the_oracle(kernels, signal):
    reference = oracle(kernels, signal)
    torch.testing.assert_close(kernels.render(signal), reference, rtol=0, atol=1e-10)
    out = cast(kernels, torch.float32).render(signal.float())
    # Logits are squares of distances in sigmas: below the spec's least sigma, 1, they grow to thousands, and a
    # thousand in float32 is known to 1e-4 only, by any formula.
    narrowest = min(float(map_.min()) for map_ in parameters(kernels)[:2])
    torch.testing.assert_close(out, reference.float(), rtol=0, atol=1e-5 if narrowest >= 1 else 1e-4)


@pytest.mark.parametrize(("size", "grid"), SIZES)
@pytest.mark.parametrize("window", [SPEC, PAPER], ids=["spec", "paper"])
@pytest.mark.parametrize("sigma", [(1.0, 20.0), (0.3, 3.4), (4.0, 60.0)], ids=["all widths", "narrow", "wide"])
def test_rendering_is_that_of_the_oracle(size, grid, window, sigma):
    check_against_the_oracle(random_kernels(size, grid, window, sigma=sigma, batch=2), random_signal(grid, batch=2))


sides = st.integers(1, 24)


@st.composite
def kernels_of_any_kind(draw, shapes=("square", "disc")):
    size = draw(sides), draw(sides)
    grid = tuple(draw(st.integers(1, side)) for side in size)
    window = Window("square", draw(st.integers(0, 4))) if draw(st.sampled_from(shapes)) == "square" else PAPER
    counts = {name: draw(st.integers(1, 3)) for name in ("batch", "channels")}
    sigma = draw(st.sampled_from([(0.5, 20.0), (1.0, 3.5), (1.0, 20.0), (3.0, 64.0)]))
    return random_kernels(size, grid, window, sigma=sigma, **counts, seed=draw(st.integers(0, 999)))


@given(kernels_of_any_kind())
def test_rendering_is_that_of_the_oracle_at_any_size(kernels):
    check_against_the_oracle(kernels, random_signal(kernels.grid, batch=len(kernels.guidance), channels=2))


@given(kernels_of_any_kind())
def test_outputs_lie_within_the_signal(kernels):
    signal = random_signal(kernels.grid, batch=len(kernels.guidance), channels=3)
    out = kernels.render(signal)
    assert (out <= signal.amax((2, 3), keepdim=True) + 1e-12).all()
    assert (out >= signal.amin((2, 3), keepdim=True) - 1e-12).all()


@given(kernels_of_any_kind(), st.data())
def test_rendering_at_points_is_rendering_there(kernels, data):
    (H, W), batch = kernels.size, len(kernels.guidance)
    point = st.tuples(st.integers(0, H - 1), st.integers(0, W - 1))
    points = data.draw(st.lists(st.lists(point, min_size=3, max_size=3), min_size=batch, max_size=batch))
    points = torch.tensor(points)
    signal = random_signal(kernels.grid, batch=batch)
    full = kernels.render(signal)
    expected = torch.stack([full[b][:, points[b, :, 0], points[b, :, 1]].mT for b in range(batch)])
    torch.testing.assert_close(kernels.render_at(signal, points), expected, rtol=0, atol=1e-12)
    same = kernels.render_at(signal, points[0])  # [N, 2]: the same points in each image
    torch.testing.assert_close(same, full[:, :, points[0, :, 0], points[0, :, 1]].mT, rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [SPEC, PAPER], ids=["spec", "paper"])
def test_one_image_renders_many_signals(window):
    kernels = random_kernels((23, 31), (5, 4), window)
    signals = random_signal((5, 4), batch=5)
    points = torch.tensor([[0, 0], [22, 30], [7, 11]])
    together = kernels.render(signals)
    assert together.shape == (5, 4, 23, 31)
    torch.testing.assert_close(together, torch.cat([kernels.render(signal[None]) for signal in signals]))
    assert kernels.render_at(signals, points).shape == (5, 3, 4)
    torch.testing.assert_close(
        kernels.render_at(signals, points), together[:, :, points[:, 0], points[:, 1]].mT, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_results_are_of_the_signals_type(dtype):
    kernels = cast(random_kernels((23, 31), (5, 4), PAPER), torch.float32)
    signal = random_signal((5, 4)).to(dtype)
    points = torch.tensor([[3, 4]])
    assert kernels.render(signal).dtype == dtype
    assert kernels.render_at(signal, points).dtype == dtype
    if dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(kernels.render(signal), kernels.render(signal.float()).to(dtype))


@pytest.mark.parametrize("window", [SPEC, PAPER], ids=["spec", "paper"])
def test_rendering_is_differentiable_in_the_signal(window):
    kernels = random_kernels((9, 7), (3, 2), window)
    signal = random_signal((3, 2), channels=2).requires_grad_()
    points = torch.tensor([[0, 0], [8, 6], [4, 4]])
    assert torch.autograd.gradcheck(kernels.render, signal)
    assert torch.autograd.gradcheck(lambda signal: kernels.render_at(signal, points), signal)


def test_the_memory_changes_nothing():
    kernels = random_kernels((23, 31), (5, 7), PAPER)
    signal = random_signal((5, 7), channels=30)
    for result in (kernels.render, lambda signal, **memory: kernels.confidence(**memory)):
        torch.testing.assert_close(result(signal, memory="100KB"), result(signal), rtol=0, atol=1e-12)


@pytest.mark.parametrize("memory", ["lots", "", "-5", 0, "1XB", None])
def test_no_amount_of_memory_is_refused(memory):
    kernels = random_kernels((8, 8), (2, 2), SPEC)
    with pytest.raises(InputError, match=r"^memory is"):
        kernels.render(random_signal((2, 2)), memory=memory)


@pytest.mark.parametrize("window", [SPEC, PAPER], ids=["spec", "paper"])
def test_too_little_memory_is_the_callers_mistake(window):
    kernels = random_kernels((8, 8), (2, 2), window)
    signal, points = random_signal((2, 2)), torch.tensor([[0, 0]])
    for attempt in (
        lambda: kernels.render(signal, memory=100),
        lambda: kernels.render_at(signal, points, memory=100),
        lambda: kernels.confidence(memory=100),
    ):
        with pytest.raises(InputError, match=r"^memory is 100 bytes: .*; accepted: more$"):
            attempt()


@given(kernels_of_any_kind())
def test_confidence_lies_between_0_and_1_and_comes_from_the_entropy(kernels):
    confidence = kernels.confidence()
    assert confidence.shape == (len(kernels.guidance), 1, *kernels.size)
    assert ((confidence >= 0) & (confidence <= 1)).all()


@pytest.mark.parametrize(("window", "places"), [(SPEC, 25), (PAPER, 197)], ids=["spec", "paper"])
@pytest.mark.parametrize("grid", [(5, 4), (1, 1)])
def test_confidence_is_0_where_all_cells_weigh_the_same(window, places, grid):
    kernels = random_kernels((20, 16), grid, window, sigma=(1e6, 1e6), sigma_r=(1e6, 1e6))
    assert kernels.confidence().max() < 1e-9
    narrow = random_kernels((20, 16), (5, 4), window, sigma=(0.5, 9.0))
    signal = torch.eye(20, dtype=torch.float64).view(1, 20, 5, 4)
    weights = narrow.render(signal)  # of each cell, all its occurrences together
    nats = (1 - narrow.confidence()) * math.log(places)
    assert (nats >= -torch.special.xlogy(weights, weights).sum(1, keepdim=True) - 1e-9).all()


def test_confidence_is_1_where_one_cell_has_all_the_weight():
    # In the middle of a cell of a large grid, far from the border, a narrow kernel leaves but one cell.
    kernels = random_kernels((70, 70), (7, 7), SPEC, sigma=(0.3, 0.5), sigma_r=(0.5, 0.9))
    assert kernels.confidence()[0, 0, 35, 35] == pytest.approx(1, abs=1e-12)
    assert random_kernels((9, 9), (3, 3), Window("square", 0)).confidence().eq(1).all()


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (torch.zeros(4, 6, 5), r"^signal has the shape \[4, 6, 5\], which does not fit a grid of 5 × 4; accepted: "),
        (torch.zeros(4), r"^signal has the shape \[4\]; accepted: \[B, C, h, w\]"),
        (torch.zeros(2, 3, 4, 5), r"^signal is 4 × 5, and the image was prepared for 5 × 4; accepted: "),
        (torch.zeros(3, 3, 5, 4), r"^signal is a batch of 3, and 2 images were prepared; accepted: "),
        (torch.zeros(1, 3, 5, 4), r"^signal is a batch of 1, and 2 images were prepared; accepted: "),
        (torch.zeros(2, 0, 5, 4), r"^signal has the shape \[2, 0, 5, 4\], which is empty"),
        (torch.zeros(2, 3, 5, 4, dtype=torch.long), r"^signal_type is 'auto', and the signal is of type int64"),
        (torch.full((2, 1, 5, 4), math.nan), r"^signal has 40 values of 40 that are not finite"),
        (torch.full((2, 1, 5, 4), math.inf).half(), r"^signal has 40 values of 40 that are not finite"),
        ([[1.0]], r"^signal is a list; accepted: a tensor or an array"),
    ],
)
def test_a_signal_that_does_not_fit_is_refused(signal, message):
    kernels = random_kernels((20, 16), (5, 4), SPEC, batch=2)
    for render in (kernels.render, lambda signal: kernels.render_at(signal, torch.tensor([[0, 0]]))):
        with pytest.raises(InputError, match=message):
            render(signal)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.zeros(3, 2), r"^points is no tensor of points; accepted: whole numbers"),
        (torch.zeros(3, dtype=torch.long), r"^points is no tensor of points; accepted: whole numbers"),
        ([[0, 0]], r"^points is no tensor of points; accepted: whole numbers"),
        (torch.zeros(2, 3, 3, dtype=torch.long), r"^points has the shape \[2, 3, 3\]; accepted: \[2, N, 2\]$"),
        (torch.zeros(3, 3, 2, dtype=torch.long), r"^points has the shape \[3, 3, 2\]; accepted: \[2, N, 2\]$"),
        (torch.tensor([[20, 0]]), r"^points has some outside the image; accepted: \(y, x\) within 20 × 16$"),
        (torch.tensor([[0, 16]]), r"^points has some outside the image; accepted: \(y, x\) within 20 × 16$"),
        (torch.tensor([[-1, 0]]), r"^points has some outside the image; accepted: \(y, x\) within 20 × 16$"),
    ],
)
def test_points_that_do_not_fit_are_refused(points, message):
    kernels = random_kernels((20, 16), (5, 4), SPEC, batch=2)
    with pytest.raises(InputError, match=message):
        kernels.render_at(random_signal((5, 4), batch=2), points)


def test_points_may_be_of_any_whole_type():
    kernels, signal = random_kernels((20, 16), (5, 4), SPEC), random_signal((5, 4))
    points = torch.tensor([[3, 7], [19, 15]])
    expected = kernels.render_at(signal, points)
    for dtype in (torch.int16, torch.int32, torch.uint8):
        torch.testing.assert_close(kernels.render_at(signal, points.to(dtype)), expected)


def test_no_points_give_no_vectors():
    kernels = random_kernels((20, 16), (5, 4), SPEC)
    assert kernels.render_at(random_signal((5, 4)), torch.zeros(0, 2, dtype=torch.long)).shape == (1, 0, 4)


@pytest.mark.parametrize(
    ("settings_", "name"),
    [
        ({"shape": "triangle"}, "window"),
        ({"radius": 17}, "radius"),
        ({"radius": -1}, "radius"),
        ({"radius": 2.0}, "radius"),
        ({"sigmas": 2.0}, "window_sigmas"),
        ({"shape": "disc", "sigmas": 0.0}, "window_sigmas"),
        ({"shape": "disc", "sigmas": math.nan}, "window_sigmas"),
    ],
)
def test_a_window_that_is_none_is_refused(settings_, name):
    with pytest.raises(InputError, match=f"^{name} is"):
        Window(**settings_)


@given(kernels_of_any_kind(), st.integers(1, 20))
def test_the_gradient_of_keys_is_the_transpose_of_keys(kernels, longest):
    embed = GaussianEmbedding(kernels.cell_guidance)
    windows = kernels.window.windows(kernels.size, kernels.grid)
    images = slice(0, len(kernels.guidance))
    generator = torch.Generator().manual_seed(1)
    for group in groups(windows, longest=longest, most=7, like=kernels.guidance.new_empty(0)):
        shape = len(kernels.guidance), 4, *group.cells.shape
        cells = torch.rand(shape, generator=generator, dtype=torch.float64)
        constants = embed.constants(group, images)
        keys = cells.new_empty(len(cells), embed.width, *group.cells.shape)
        embed.key(cells, group, constants, keys)
        dkeys = torch.rand(keys.shape, generator=generator, dtype=torch.float64)
        forth = (keys * dkeys).sum()
        back = (cells * embed.key_gradient(dkeys, group, constants)).sum()
        torch.testing.assert_close(forth, back, rtol=1e-10, atol=1e-10)


def test_the_plain_embedding_hands_everything_through():
    kernels = random_kernels((8, 9), (2, 3), SPEC)
    windows = SPEC.windows((8, 9), (2, 3))
    query, key, value = torch.randn(1, 5, 8, 9), torch.randn(1, 5, 2, 3), torch.randn(1, 2, 2, 3)
    assert torch.equal(
        Attention(key, windows).mix(query, value), Attention(key, windows, embed=DotProduct(5)).mix(query, value)
    )
    assert torch.equal(
        Attention(key, windows).entropy(query), Attention(key, windows, embed=DotProduct(5)).entropy(query)
    )
    assert kernels.size == (8, 9)
    assert kernels.grid == (2, 3)
