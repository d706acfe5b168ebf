"""What holds of every method and signal type: prepare, then render, at all pixels or at points."""

import pytest
import torch

import omniup
from omniup import InputError
from omniup.mixing.planner import Plan
from omniup.upsamplers import SIGNAL_TYPES, base, registry, signal_types
from omniup.upsamplers.signal_types import render_labels
from support.anyup import random_anyup
from support.kernels import random_signal, smooth_image
from support.methods import all_methods, upsample

SIZE, GRID = (24, 32), (3, 4)
IMAGES = smooth_image(SIZE, batch=2, dtype=torch.float32)
IMAGE = IMAGES[:1]
POINTS = torch.tensor([[[0, 0], [23, 31], [5, 17], [12, 8], [11, 16]], [[1, 2], [3, 4], [20, 9], [6, 6], [23, 0]]])
#: What is not the same to the last bit at points: sums are in another order.
ATOL = 2e-5

METHODS = all_methods()


@pytest.fixture(params=METHODS)
def name(request, monkeypatch):
    """The name of a method, under which `omniup.upsample` has its quick form."""
    known = registry._METHODS[request.param]
    quick = registry.Method(known.name, known.summary, "", lambda: METHODS[request.param], {}, {}, {}, {})
    monkeypatch.setitem(registry._METHODS, request.param, quick)
    return request.param


@pytest.fixture
def method(name):
    return METHODS[name]


def directions(batch):
    return torch.nn.functional.normalize(random_signal(GRID, channels=3, batch=batch), dim=1).float()


SIGNALS = {
    "features": lambda batch: random_signal(GRID, channels=5, batch=batch).float(),
    "probabilities": lambda batch: (3 * random_signal(GRID, channels=3, batch=batch)).softmax(1).float(),
    "labels": lambda batch: (10 * random_signal(GRID, channels=2, batch=batch)).round().long() % 4 - 1,
    "measurement": lambda batch: random_signal(GRID, channels=2, batch=batch).float(),
    "values": lambda batch: random_signal(GRID, channels=2, batch=batch).float(),
    "logits": lambda batch: 3 * random_signal(GRID, channels=3, batch=batch).float(),
    "directions": directions,
}
every_type = pytest.mark.parametrize("signal_type", SIGNAL_TYPES)


def at(full, points):
    """[B, C, H, W] at points [B, P, 2]: [B, P, C]."""
    return torch.stack([full[n][:, there[:, 0], there[:, 1]].mT for n, there in enumerate(points)])


def test_there_is_a_signal_of_every_type_and_a_quick_form_of_every_method():
    assert set(SIGNALS) == set(SIGNAL_TYPES)
    assert METHODS.keys() <= omniup.methods().keys()


@every_type
def test_upsample_is_prepare_and_render(name, method, signal_type):
    signal = SIGNALS[signal_type](2)
    prepared = method.prepare(IMAGES, GRID)
    assert (prepared.grid, prepared.size) == (GRID, SIZE)
    rendered = prepared.render(signal, signal_type, consistency="auto")
    assert rendered.shape == (2, signal.shape[1], *SIZE)
    assert rendered.dtype == signal.dtype
    assert torch.equal(omniup.upsample(IMAGES, signal, method=name, signal_type=signal_type), rendered)
    larger = method.prepare(IMAGES, GRID, (30, 33)).render(signal, signal_type, consistency="auto")
    asked = omniup.upsample(IMAGES, signal, method=name, signal_type=signal_type, size=(30, 33))
    assert torch.equal(asked, larger)
    assert larger.shape == (2, signal.shape[1], 30, 33)


@every_type
def test_rendering_at_points_is_rendering_there(method, signal_type):
    signal, prepared = SIGNALS[signal_type](2), method.prepare(IMAGES, GRID)
    full = prepared.render(signal, signal_type)
    found = prepared.render_at(signal, POINTS, signal_type)
    assert found.dtype == signal.dtype
    wide = ATOL if signal_type != "logits" else 1e-2  # logarithms of small probabilities
    torch.testing.assert_close(found, at(full, POINTS), rtol=1e-4, atol=wide)
    same = prepared.render_at(signal, POINTS[0], signal_type)  # [N, 2]: the same points in each image
    torch.testing.assert_close(same, at(full, POINTS[:1].expand(2, -1, -1)), rtol=1e-4, atol=wide)
    assert prepared.render_at(signal, POINTS[:, :0], signal_type).shape == (2, 0, signal.shape[1])


@every_type
def test_one_image_serves_many_signals(method, signal_type):
    signals, prepared = SIGNALS[signal_type](3), method.prepare(IMAGE, GRID)
    together = prepared.render(signals, signal_type)
    assert together.shape == (3, signals.shape[1], *SIZE)
    wide = ATOL if signal_type != "logits" else 1e-2
    alone = torch.cat([prepared.render(signal[None], signal_type) for signal in signals])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=wide)
    there = prepared.render_at(signals, POINTS[0], signal_type)
    torch.testing.assert_close(there, at(together, POINTS[:1].expand(3, -1, -1)), rtol=1e-4, atol=wide)


@every_type
def test_images_do_not_influence_each_other(method, signal_type):
    signals = SIGNALS[signal_type](2)
    together = upsample(method, IMAGES, signals, signal_type=signal_type)
    for n in range(2):
        alone = upsample(method, IMAGES[n : n + 1], signals[n : n + 1], signal_type=signal_type)
        wide = ATOL if signal_type != "logits" else 1e-2
        torch.testing.assert_close(together[n : n + 1], alone, rtol=1e-4, atol=wide)


def test_the_labels_of_results_are_those_of_the_signal_whatever_the_memory(name, method):
    labels = SIGNALS["labels"](2) * 1000 + 7
    prepared = method.prepare(IMAGES, GRID)
    whole = prepared.render(labels, "labels", memory=2**30)
    parted = prepared.render(
        labels, "labels", memory=1_500_000 if name in ("anyup", "ensemble") else 48_000
    )  # one label at a time
    assert set(whole.unique().tolist()) <= set(labels.unique().tolist())
    assert len(whole.unique()) > 2
    assert torch.equal(parted, whole)
    assert torch.equal(prepared.render_at(labels, POINTS, "labels"), at(whole, POINTS))


def test_a_chunk_of_labels_gives_the_same_as_all(method, monkeypatch):
    labels, prepared = SIGNALS["labels"](2), method.prepare(IMAGES, GRID)
    whole = prepared.render(labels, "labels"), prepared.render_at(labels, POINTS, "labels")
    monkeypatch.setattr(base, "render_labels", lambda labels, render, _, check: render_labels(labels, render, 1, check))
    assert torch.equal(prepared.render(labels, "labels"), whole[0])
    assert torch.equal(prepared.render_at(labels, POINTS, "labels"), whole[1])


def test_an_image_without_probabilities_leaves_its_neighbours_alone(method):
    probabilities = SIGNALS["probabilities"](2)
    mixed = torch.cat([probabilities[:1], SIGNALS["features"](2)[1:, :3]])
    assert signal_types(mixed) == ("probabilities", "features")
    found = upsample(method, IMAGES, mixed)
    expected = upsample(method, IMAGES, probabilities, signal_type="probabilities")
    torch.testing.assert_close(found[:1], expected[:1], rtol=0, atol=ATOL)
    other = upsample(method, IMAGES[1:], mixed[1:], signal_type="features")
    torch.testing.assert_close(found[1:], other, rtol=0, atol=ATOL)


@pytest.mark.parametrize(
    ("signal", "found"),
    [
        (torch.rand(2, 3, 3, 4), "features"),
        (torch.rand(2, 3, 3, 4).softmax(1), "probabilities"),
        (torch.rand(2, 3, 3, 4).softmax(1).half(), "probabilities"),
        (-torch.rand(2, 3, 3, 4).softmax(1), "features"),
        (torch.rand(2, 1, 3, 4), "measurement"),
        (torch.ones(2, 1, 3, 4), "measurement"),
        (torch.rand(2, 3, 3, 4) > 0.5, "labels"),
    ],
)
def test_auto_is_what_the_signal_looks_like(method, signal, found):
    assert signal_types(signal) == (found, found)
    assert torch.equal(upsample(method, IMAGES, signal), upsample(method, IMAGES, signal, signal_type=found))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64], ids=str)
def test_integers_must_be_declared(method, dtype):
    signal = (100 * torch.rand(1, 2, *GRID, generator=torch.Generator().manual_seed(0))).to(dtype)
    message = (
        rf"^signal_type is 'auto', and the signal is of type {str(dtype)[6:]}, which may be labels or a measurement; "
    )
    with pytest.raises(InputError, match=message + "accepted: labels and measurement$"):
        upsample(method, IMAGE, signal)
    for declared in ("features", "probabilities", "logits", "directions"):
        with pytest.raises(InputError, match=r"^signal_type is .*; accepted: labels, measurement and values$"):
            upsample(method, IMAGE, signal, signal_type=declared)
    for declared in ("measurement", "values"):
        found = upsample(method, IMAGE, signal, signal_type=declared)
        exact = upsample(method, IMAGE, signal.double(), signal_type=declared)
        assert found.dtype == dtype
        limits = torch.iinfo(dtype)
        assert (found.double() - exact.clamp(limits.min, limits.max)).abs().max() <= 0.501


def test_booleans_are_labels_only(method):
    with pytest.raises(InputError, match=r"^signal_type is 'values', and the signal is boolean; accepted: labels$"):
        upsample(method, IMAGE, torch.ones(1, 1, *GRID, dtype=torch.bool), signal_type="values")


def test_what_is_declared_as_probabilities_must_be_some(method):
    with pytest.raises(InputError, match=r"^signal holds no probabilities; accepted: two or more channels"):
        upsample(method, IMAGE, SIGNALS["features"](1), signal_type="probabilities")


def test_an_unknown_signal_type_is_refused_with_the_list(method):
    accepted = "auto, features, probabilities, labels, measurement, values, logits, directions"
    with pytest.raises(InputError, match=rf"^signal_type is 'depth'; accepted: {accepted}$"):
        upsample(method, IMAGE, SIGNALS["values"](1), signal_type="depth")


def test_logits_are_upsampled_as_probabilities(method):
    logits = SIGNALS["logits"](1)
    probabilities = upsample(method, IMAGE, logits.softmax(1), signal_type="probabilities").clamp_min(1e-30)
    found = upsample(method, IMAGE, logits + 50, signal_type="logits")  # a constant makes no difference
    torch.testing.assert_close(found.exp(), probabilities, rtol=0, atol=1e-4)


def test_one_channel_of_logits_is_a_binary_decision(method):
    logits = 3 * random_signal(GRID, channels=1).float()
    both = upsample(method, IMAGE, torch.cat([0 * logits, logits], dim=1), signal_type="logits")
    found = upsample(method, IMAGE, logits, signal_type="logits")
    torch.testing.assert_close(found, both[:, 1:] - both[:, :1])


def test_directions_have_unit_length(method):
    signal = SIGNALS["directions"](1)
    found = upsample(method, IMAGE, signal, signal_type="directions")
    torch.testing.assert_close(found.norm(dim=1), torch.ones(1, *SIZE), rtol=0, atol=1e-5)
    features = upsample(method, IMAGE, signal, signal_type="features")
    torch.testing.assert_close(found, features / features.norm(dim=1, keepdim=True), rtol=0, atol=1e-5)


@pytest.mark.parametrize("signal_type", [each for each in SIGNAL_TYPES if each != "labels"])
def test_every_type_but_labels_is_differentiable(method, signal_type):
    signal = SIGNALS[signal_type](1).requires_grad_()
    (upsample(method, IMAGE, signal, signal_type=signal_type) ** 3).sum().backward()
    assert signal.grad.isfinite().all()
    assert signal.grad.abs().sum() > 0


@every_type
def test_results_may_go_to_a_tensor_with_any_strides(method, signal_type):
    signal, prepared = SIGNALS[signal_type](3), method.prepare(IMAGE, GRID)
    expected = prepared.render(signal, signal_type)
    for out in (torch.empty_like(expected), torch.empty(3, 7, *SIZE, dtype=expected.dtype)[:, : expected.shape[1]]):
        assert prepared.render(signal, signal_type, out=out) is out
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)


def test_a_signal_of_another_grid_or_batch_is_refused(method):
    prepared = method.prepare(IMAGES, GRID)
    with pytest.raises(InputError, match=r"^signal is 4 × 3, and the image was prepared for 3 × 4; accepted: "):
        prepared.render(torch.rand(2, 2, 4, 3))
    with pytest.raises(InputError, match=r"^signal is a batch of 3, and 2 images were prepared; accepted: "):
        prepared.render(torch.rand(3, 2, *GRID))


def test_a_grid_or_size_that_is_none_is_refused(method):
    for grid in ((0, 4), (3.0, 4.0), 3, (3, 4, 5), ()):
        with pytest.raises(InputError, match=r"^grid is .*; accepted: two whole numbers of at least 1"):
            method.prepare(IMAGE, grid)
    for size in ((0, 4), 32, 0, (), (24.0, 32.0)):
        with pytest.raises(InputError, match=r"^size is .*; accepted: two whole numbers of at least 1"):
            method.prepare(IMAGE, GRID, size)


def test_a_second_signal_gives_the_same_as_a_fresh_call(method):
    prepared = method.prepare(IMAGES, GRID)
    for signal_type in ("features", "probabilities", "features", "labels", "measurement"):
        signal = SIGNALS[signal_type](2)
        fresh = upsample(method, IMAGES, signal, signal_type=signal_type)
        assert torch.equal(prepared.render(signal, signal_type), fresh)


@pytest.mark.parametrize("memory", ["1100KB", "512MB"], ids=["queries computed anew", "queries kept"])
def test_a_second_signal_on_an_encoded_image_gives_the_same_as_a_fresh_call(memory):
    network = random_anyup()
    prepared = network.prepare(IMAGE, GRID, memory=memory)
    assert (prepared.images[0].queries is None) == (memory == "1100KB")
    for channels in (5, 3, 9, 5):
        signal = random_signal(GRID, channels=channels, seed=channels).float()
        assert torch.equal(prepared.render(signal, memory=memory), network(IMAGE, signal, memory=memory))


def test_the_cost_is_0_where_nothing_is_fitted(name, method):
    assert (method.cost(SIZE, GRID) > 0) == (name == "upsample_anything")


@pytest.mark.parametrize("signal_type", ["features", "probabilities", "measurement", "values"])
def test_the_cost_of_rendering_is_about_the_pairs_that_are_visited(method, signal_type, monkeypatch):
    visited, tiles = [], Plan.tiles

    def counted(*args, **kwargs):
        for tile in tiles(*args, **kwargs):
            visited.append(int(tile.group.count.sum()) * tile.group.pixels.shape[1])
            yield tile

    monkeypatch.setattr(Plan, "tiles", counted)
    for size, grid in (((64, 96), (8, 12)), ((1, 640), (1, 40))):
        signal = random_signal(grid, channels=3).softmax(1).float().requires_grad_()  # for which no weights are kept
        prepared = method.prepare(torch.rand(1, 3, *size), grid)
        visited.clear()
        prepared.render(signal, signal_type)
        cost = method.render_cost(size, grid, signal_type)
        assert sum(visited) / 1.5 <= cost <= 1.5 * sum(visited), size


def test_a_name_that_is_taken_or_is_none_is_refused(name):
    with pytest.raises(InputError, match=rf"^name is '{name}', which is taken; accepted: a new name$"):
        omniup.register(name, "another one")
    with pytest.raises(InputError, match=r"^name is 'my method'; accepted: letters, digits and underscores$"):
        omniup.register("my method", "one line")


def test_a_method_of_another_package_is_known_by_its_name(monkeypatch):
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))

    class Doubled(type(METHODS["bilinear"])):
        """Bilinear interpolation, with a setting."""

    @omniup.register("test_method", "of a test", settings={"factor": 2})
    def build(factor=2):
        assert factor == 3
        return Doubled()

    signal = SIGNALS["features"](1)
    assert omniup.methods()["test_method"].settings == {"factor": 2}
    assert type(omniup.upsampler("test_method", factor=3)) is Doubled
    found = omniup.upsample(IMAGE, signal, method="test_method", factor=3)
    assert torch.equal(found, upsample(METHODS["bilinear"], IMAGE, signal))
