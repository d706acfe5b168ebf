"""Steps of consistency: what the means of a result lack of its signal is interpolated and added."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import omniup
from omniup import InputError
from omniup.mixing import cell_means
from omniup.upsamplers import SIGNAL_TYPES
from omniup.upsamplers.consistency import FULL, add_lacking, centred_logarithms, probability_step
from oracles.consistency import steps as oracle
from support.cases import sides
from support.kernels import smooth_image
from support.methods import all_methods, random_signal_of

SIZE, GRID = (26, 31), (5, 7)  # that do not divide each other
IMAGES = smooth_image(SIZE, batch=2, dtype=torch.float32)
METHODS = all_methods()
signal_of = partial(random_signal_of, grid=GRID)
VALID = torch.rand(2, 1, *GRID, generator=torch.Generator().manual_seed(1)) > 0.3
#: Types that are consistent themselves: of labels the 0/1 maps are, of probabilities the logarithms, and directions are
#: normalised afterwards.
DIRECT = ("features", "measurement", "values")

every_method = pytest.mark.parametrize("name", METHODS)
every_type = pytest.mark.parametrize("signal_type", SIGNAL_TYPES)


@st.composite
def problems(draw):
    size = draw(sides)
    grid = tuple(draw(st.integers(1, side)) for side in size)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    batch, channels = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    return (
        torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64),
        torch.randn(batch, channels, *grid, generator=generator, dtype=torch.float64),
    )


# ---- the steps


@given(problems(), st.sampled_from([0.5, 1, 1.5, 3]), st.sampled_from([1, 2000, 2**30]))
def test_steps_on_the_grid_are_those_at_the_size_of_the_result(problem, count, memory):
    result, signal = problem
    expected = oracle(result, signal, count)
    found = add_lacking(result.clone(), signal, count, memory)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@given(problems(), st.sampled_from([0.5, 2.5]))
def test_cells_that_are_not_valid_lack_nothing(problem, count):
    result, signal = problem
    valid = signal[:, :1] > -0.5
    expected = result
    for step in (min(count, 1), 1, 0.5)[: 1 if count < 1 else 3]:
        lacking = (signal - cell_means(expected, signal.shape[2:])) * valid
        expected = expected + step * F.interpolate(lacking, result.shape[2:], mode="bicubic")
    found = add_lacking(result.clone(), signal.where(valid, 1e9), count, 2**30, valid)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_result_is_overwritten_unless_a_gradient_is_wanted():
    result, signal = torch.rand(1, 2, 12, 16), torch.rand(1, 2, 3, 4)
    kept = result.clone()
    wanted = add_lacking(result, signal.clone().requires_grad_(), 1, 2**30)
    assert torch.equal(result, kept)
    assert add_lacking(result, signal, 1, 2**30) is result
    torch.testing.assert_close(wanted, result)


@pytest.mark.parametrize("factor", [1, 2, 3, 8, 16, 5.37])
def test_full_consistency_leaves_less_than_a_thousandth_whatever_the_factor(factor):
    for grid in ((1, 1), (1, 9), (12, 12), (40, 3)):
        size = tuple(round(factor * side) for side in grid)
        signal = torch.randn(1, 4, *grid, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        found = add_lacking(torch.zeros(1, 4, *size, dtype=torch.float64), signal, FULL, 2**30)
        assert (cell_means(found, grid) - signal).abs().max() < 1e-3 * signal.abs().max()


# ---- in every method


@pytest.mark.parametrize("signal_type", DIRECT)
@every_method
def test_a_method_s_result_gets_the_steps(name, signal_type):
    signal, prepared = signal_of(signal_type), METHODS[name].prepare(IMAGES, GRID)
    plain = prepared.render(signal, signal_type)
    for count in (0.5, 1, 1.5):
        found = prepared.render(signal, signal_type, consistency=count)
        assert torch.equal(found, add_lacking(plain.clone(), signal, count, 2**29))


@pytest.mark.parametrize("signal_type", DIRECT)
@every_method
def test_full_consistency_makes_the_means_the_signal(name, signal_type):
    signal, prepared = signal_of(signal_type), METHODS[name].prepare(IMAGES, GRID)
    lacking, left = (
        (cell_means(prepared.render(signal, signal_type, consistency=steps), GRID) - signal).abs().max()
        for steps in (None, "full")
    )
    assert lacking > 0.01
    assert left < 1e-3 * lacking + 1e-5


@every_method
def test_probabilities_take_their_steps_on_logarithms(name):
    signal, prepared = signal_of("probabilities"), METHODS[name].prepare(IMAGES, GRID)
    for steps in (0.5, 1, "full"):
        found = prepared.render(signal, consistency=steps)
        torch.testing.assert_close(found.sum(1), torch.ones(2, *SIZE))
        assert found.min() >= 0
    logs, means = centred_logarithms(signal), cell_means(centred_logarithms(found), GRID)
    torch.testing.assert_close(means, logs, rtol=0, atol=0.02)
    certain = F.one_hot(torch.arange(35).view(1, *GRID) % 3).movedim(3, 1).float()  # of which some logarithms are -inf
    sharp = prepared.render(certain.expand(2, -1, -1, -1), "probabilities", consistency=1)
    assert sharp.isfinite().all()
    torch.testing.assert_close(sharp.sum(1), torch.ones(2, *SIZE))


@every_method
def test_logits_are_consistent_as_probabilities(name):
    logits, prepared = 3 * signal_of("values"), METHODS[name].prepare(IMAGES, GRID)
    found = prepared.render(logits, "logits", consistency=1).softmax(1)
    torch.testing.assert_close(found, prepared.render(logits.softmax(1), consistency=1), rtol=0, atol=1e-5)


@every_method
def test_directions_stay_of_unit_length(name):
    prepared = METHODS[name].prepare(IMAGES, GRID)
    found = prepared.render(signal_of("directions"), "directions", consistency=1)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2, *SIZE))


@every_method
def test_labels_are_those_of_the_largest_consistent_map(name):
    prepared, labels = METHODS[name].prepare(IMAGES[:1], GRID), 10 * signal_of("labels", channels=1)[:1] + 3
    known, places = labels.unique(return_inverse=True)
    maps = F.one_hot(places[0], len(known)).movedim(3, 1).float()  # [1, K, h, w]
    for steps in (1, "full"):
        found = prepared.render(labels, "labels", consistency=steps)
        assert found.dtype == labels.dtype
        expected = known[prepared.render(maps, "values", consistency=steps).argmax(1, keepdim=True)]
        assert (found == expected).float().mean() > 0.995  # sums are in another order, where two are equally large


@every_type
@every_method
def test_none_and_0_change_nothing(name, signal_type):
    signal, prepared = signal_of(signal_type), METHODS[name].prepare(IMAGES, GRID)
    plain = prepared.render(signal, signal_type)
    for none in (None, 0, 0.0):
        assert torch.equal(prepared.render(signal, signal_type, consistency=none), plain)
    automatic = prepared.render(signal, signal_type, consistency="auto")
    for n, one in enumerate(signal.split(1)):
        alone = prepared.only(n)
        steps = alone.recommended_consistency(one, signal_type)
        assert torch.equal(
            alone.render(one, signal_type, consistency="auto"), alone.render(one, signal_type, consistency=steps)
        )
        torch.testing.assert_close(alone.render(one, signal_type, consistency=steps), automatic[n : n + 1])


def test_steps_are_recommended_where_they_are_measured_to_help():
    recommended = {
        (name, signal_type): METHODS[name]
        .prepare(IMAGES, GRID)
        .recommended_consistency(signal_of(signal_type), signal_type)
        for name in METHODS
        for signal_type in SIGNAL_TYPES
    }
    found = {key: steps for key, steps in recommended.items() if steps}
    assert found.keys() == {("anyup", "features"), ("anyup", "probabilities"), ("anyup", "logits")}
    assert found["anyup", "features"] == 1


@pytest.mark.parametrize(("cells", "part"), [(0.1, 1.0), (6, 0.6)])
def test_a_larger_part_of_a_step_is_recommended_the_sharper_borders_are(cells, part):
    """Of borders between cells, and of those that take several cells."""
    ramp = ((torch.arange(48) - 23.3) / cells).clamp(-0.5, 0.5) + 0.5
    probabilities = torch.stack([ramp, 1 - ramp]).view(1, 2, 1, 48).expand(-1, -1, 16, -1)
    assert probability_step(probabilities) == pytest.approx(part)


@every_type
@every_method
def test_what_stands_in_holes_changes_nothing(name, signal_type):
    signal, prepared = signal_of(signal_type), METHODS[name].prepare(IMAGES, GRID)
    poisoned = torch.where(VALID, signal, -7 if signal_type == "labels" else torch.nan)
    for steps in (1, "full"):
        found = prepared.render(signal, signal_type, valid=VALID, consistency=steps)
        assert torch.equal(prepared.render(poisoned, signal_type, valid=VALID, consistency=steps), found)
        assert found.isfinite().all()
    if signal_type in DIRECT:
        means = cell_means(found, GRID)
        torch.testing.assert_close(means.where(VALID, 0), signal.where(VALID, 0), rtol=0, atol=2e-3)
    if signal_type != "labels":
        kept = prepared.render(signal, signal_type, valid=VALID, holes="keep", consistency="full")
        reached = prepared.reaches(VALID).expand_as(kept)
        assert torch.equal(kept[reached], found[reached])
        assert kept[~reached].isnan().all()


@every_type
@every_method
def test_neither_memory_nor_neighbours_make_a_difference(name, signal_type):
    signal, prepared = signal_of(signal_type), METHODS[name].prepare(IMAGES, GRID)
    found = prepared.render(signal, signal_type, consistency=1.5)
    wide = {"rtol": 1e-4, "atol": 1e-2 if signal_type == "logits" else 2e-5}
    small = prepared.render(
        signal, signal_type, consistency=1.5, memory="1500KB" if name in ("anyup", "ensemble") else "100KB"
    )
    torch.testing.assert_close(small, found, **wide)
    for n in range(2):
        alone = METHODS[name].prepare(IMAGES[n : n + 1], GRID)
        one = alone.render(signal[n : n + 1], signal_type, consistency=1.5)
        torch.testing.assert_close(one, found[n : n + 1], **wide)
        many = alone.render(signal, signal_type, consistency=1.5)
        torch.testing.assert_close(many[n : n + 1], found[n : n + 1], **wide)


@every_method
def test_an_image_without_probabilities_leaves_its_neighbours_alone(name):
    prepared = METHODS[name].prepare(IMAGES, GRID)
    probabilities, features = signal_of("probabilities"), signal_of("features")
    mixed = torch.cat([probabilities[:1], features[1:]])
    valid = torch.ones_like(VALID)
    valid[:, :, 2, 3] = False
    for mask in (None, valid):
        found = prepared.render(mixed, consistency=1, valid=mask)
        each = (prepared.render(signal, consistency=1, valid=mask) for signal in (probabilities, features))
        expected = torch.cat([one[n : n + 1] for n, one in enumerate(each)])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("signal_type", ["features", "probabilities", "measurement"])
@every_method
def test_results_have_the_signal_s_dtype(name, signal_type, dtype):
    signal, prepared = signal_of(signal_type).to(dtype), METHODS[name].prepare(IMAGES, GRID)
    found = prepared.render(signal, signal_type, consistency=1)
    assert found.dtype == dtype
    rounding = max(torch.finfo(dtype).eps, 1e-6)
    expected = prepared.render(signal.float(), signal_type, consistency=1)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=20 * rounding)


def test_integers_and_the_largest_numbers():
    prepared = METHODS["joint_bilateral"].prepare(IMAGES, GRID)
    whole = (100 * signal_of("measurement")).round()
    exact = prepared.render(whole.double(), "measurement", consistency=1)
    assert (prepared.render(whole.int(), "measurement", consistency=1) - exact).abs().max() < 0.501
    large = prepared.render(1e30 * whole, "measurement", consistency=1)
    torch.testing.assert_close(large / 1e30, exact.float(), rtol=1e-4, atol=1e-3)
    most = prepared.render((65000 * whole.sign()).half(), "measurement", consistency="full")
    assert most.isfinite().all()


@pytest.mark.parametrize("signal_type", [each for each in SIGNAL_TYPES if each != "labels"])
@every_method
def test_every_type_but_labels_is_differentiable(name, signal_type):
    signal, prepared = signal_of(signal_type), METHODS[name].prepare(IMAGES, GRID)
    plain = prepared.render(signal, signal_type, consistency=1.5)
    signal.requires_grad_()
    found = prepared.render(signal, signal_type, consistency=1.5)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=2e-5)
    (found**3).sum().backward()
    assert signal.grad.isfinite().all()
    assert signal.grad.abs().sum() > 0


@pytest.mark.parametrize("signal_type", ["values", "probabilities"])
@pytest.mark.parametrize("name", ["bilinear", "joint_bilateral", "guided_filter"])
def test_gradients_are_finite_differences(name, signal_type):
    image, signal = smooth_image((6, 8), dtype=torch.float64), signal_of("values", grid=(2, 3))[:1].double()
    prepared = METHODS[name].prepare(image, (2, 3))

    def render(values):
        values = values.softmax(1) if signal_type == "probabilities" else values
        return prepared.render(values, signal_type, consistency=1.5)

    assert torch.autograd.gradcheck(render, signal.requires_grad_(), fast_mode=True)


@every_type
@every_method
def test_results_may_go_to_a_tensor(name, signal_type):
    signal, prepared = signal_of(signal_type), METHODS[name].prepare(IMAGES, GRID)
    kept, expected = signal.clone(), prepared.render(signal, signal_type, consistency=1)
    out = torch.empty_like(expected)
    assert prepared.render(signal, signal_type, consistency=1, out=out) is out
    assert torch.equal(out, expected)
    assert torch.equal(signal, kept)


@every_method
def test_a_signal_as_large_as_its_image_stays_what_it_is(name):
    signal = signal_of("features", grid=(12, 16))
    kept = signal.clone()
    prepared = METHODS[name].prepare(smooth_image((12, 16), batch=2, dtype=torch.float32), (12, 16))
    found = prepared.render(signal, "features", consistency="full")
    assert torch.equal(signal, kept)
    torch.testing.assert_close(found, signal, rtol=0, atol=1e-3)


@pytest.mark.parametrize("steps", [0.5, "full", None])
def test_upsample_takes_it_in_one_call(steps):
    signal = signal_of("features")
    prepared = omniup.upsampler("joint_bilateral").prepare(IMAGES, GRID)
    found = omniup.upsample(IMAGES, signal, method="joint_bilateral", consistency=steps)
    assert torch.equal(found, prepared.render(signal, consistency=steps))
    images, frames = [IMAGES[:1], IMAGES[1:]], signal[:, None]
    listed = omniup.upsample(images, [signal[:1], signal[1:]], method="joint_bilateral", consistency=steps)
    torch.testing.assert_close(torch.cat(listed), found, rtol=1e-4, atol=1e-5)
    framed = omniup.upsample(IMAGES, frames, method="joint_bilateral", consistency=steps)
    torch.testing.assert_close(framed[:, 0], found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("refused", [-1, 33, "half", "", True, [1], float("nan"), float("inf"), torch.ones(2)])
def test_what_is_no_number_of_steps_is_refused(refused):
    message = r"^consistency is .*; accepted: a number of steps from 0 to 32, 'full', 'auto' and None$"
    with pytest.raises(InputError, match=message):
        omniup.upsample(IMAGES, signal_of("values"), method="bilinear", consistency=refused)
    with pytest.raises(InputError, match=message):
        METHODS["bilinear"].prepare(IMAGES, GRID).render(signal_of("values"), consistency=refused)
