"""Temporal fusion: the formula, and what must hold whatever the numbers."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from omniup import InputError
from omniup.sequences import flow as flow_module
from omniup.sequences import fusion as fusion_module
from omniup.sequences.cuts import histogram, histogram_distance
from omniup.sequences.flow import Warp, flow_between, grey_levels
from omniup.sequences.fusion import FusionSettings, TemporalFusion
from oracles import fusion as oracle
from support.films import pictures

SIZE, GRID = (40, 48), (5, 6)


def images(count, **options):
    return [torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255 for frame in pictures(count, SIZE, **options)]


def noise(count, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, channels, *GRID, generator=generator)
    smooth = torch.nn.functional.interpolate(low, SIZE, mode="bilinear")
    return list((0.8 * smooth[:1] + 0.2 * smooth).split(1))


def fused(frames, results, signal_type="features", settings=None):
    fusion = TemporalFusion(settings)
    pairs = zip(frames, map(torch.clone, results), strict=True)
    return [fusion.fuse(*pair, signal_type, GRID).clone() for pair in pairs], fusion


def test_two_frames_are_mixed_as_the_formula_says():
    frames, results = images(2), noise(2, 3)
    settings = FusionSettings(disagreement=1e9)
    made, fusion = fused(frames, results, settings=settings)
    flow = flow_between(*(grey_levels(frame) for frame in frames[::-1]))
    pair = (frame[0].double().numpy() for frame in frames[::-1])
    trust = oracle.confidence_of_flow(*pair, flow.places, flow.length, flow.inconsistency, settings)
    assert trust.min() < 0.1 and trust.max() > 0.9  # both are tried
    assert np.abs(fusion.confidence.numpy() - trust).max() < 1e-5
    current, before = (result[0].double().numpy() for result in results[::-1])
    expected = oracle.mix(current, before, flow.places, trust)  # the first frame counts as one
    assert np.abs(made[1][0].numpy() - expected).max() < 1e-5
    assert torch.allclose(fusion.state.count, torch.from_numpy(1 + trust).float(), atol=1e-5)


def test_the_agreement_of_signals_is_in_units_of_their_contrast():
    frame, results = images(1) * 2, noise(2, 3)
    ends = []
    for scale in (1.0, 1000.0):
        _, fusion = fused(frame, [scale * result for result in results])
        ends.append(fusion.confidence)
    assert torch.allclose(*ends, atol=1e-4)
    _, fusion = fused(frame, [results[0], results[0].flip(2)])
    assert fusion.confidence.mean() < ends[0].mean() - 0.2


@pytest.mark.parametrize("signal_type", ["features", "probabilities", "measurement", "labels", "logits"])
def test_without_confidence_the_result_is_the_current_one(signal_type):
    results = noise(3, 4 if signal_type in ("features", "logits") else 1)
    if signal_type == "labels":
        results = [(8 * result).round().long() for result in results]
    if signal_type == "probabilities":
        results = [result.softmax(1) for result in noise(3, 4)]
    settings = FusionSettings(light=1e-9, cut_trust=-1)
    frames = [frame + 0.01 * n for n, frame in enumerate(images(3))]
    made, fusion = fused(frames, results, signal_type, settings)
    assert fusion.confidence.max() == 0
    for result, found in zip(results, made, strict=True):
        assert torch.equal(found, result)


def test_a_static_film_converges_to_the_mean_and_does_not_blur():
    frame = images(1) * 12
    sharp = (frame[0][:, :1] > 0.5).float()
    made, _ = fused(frame, [sharp] * 12, "measurement")
    assert all((found - sharp).abs().max() < 1e-5 for found in made)
    clean = noise(1, 2)[0]
    generator = torch.Generator().manual_seed(1)
    noisy = [clean + 0.1 * torch.randn(clean.shape, generator=generator) for _ in range(12)]
    settings = FusionSettings(frames=1e9, disagreement=1e9)
    made, fusion = fused(frame, noisy, settings=settings)
    assert torch.allclose(made[-1], torch.cat(noisy).mean(0, keepdim=True), atol=2e-3)
    assert fusion.state.count.min() > 11.9


def test_a_cut_starts_anew():
    before, after = images(3, seed=1), images(3, seed=7)
    after = [1 - frame.flip(3) * 0.5 for frame in after]
    results = noise(6, 3)
    made, _ = fused(before + after, results)
    assert torch.equal(made[3], results[3])
    assert not torch.equal(made[2], results[2])
    alone, _ = fused(after, results[3:])
    assert all(torch.equal(found, other) for found, other in zip(made[3:], alone, strict=True))


def test_probabilities_stay_probabilities_and_labels_stay_labels():
    frames = images(5)
    made, _ = fused(frames, [(4 * result).softmax(1) for result in noise(5, 4)], "probabilities")
    assert all(found.min() >= 0 and (found.sum(1) - 1).abs().max() < 1e-5 for found in made)
    labels = [(5 * result).round().short() + 7 * n for n, result in enumerate(noise(5, 1))]  # new ones in each frame
    made, fusion = fused(frames, labels, "labels")
    assert all(found.dtype == torch.int16 for found in made)
    assert set(made[-1].unique().tolist()) <= set(torch.cat(labels).unique().tolist())
    assert sum(maps.shape[1] for maps in fusion.state.fused) == len(fusion.state.labels)


def test_the_range_is_never_left():
    frames = images(8, step=3)
    masks = [(frame[:, :1] > 0.5).float() for frame in frames]
    made, _ = fused(frames, masks, "measurement")
    assert all(found.min() >= 0 and found.max() <= 1 for found in made)


def test_the_order_of_channels_makes_no_difference():
    frames, results, order = images(4), noise(4, 5), [3, 0, 4, 1, 2]
    made, _ = fused(frames, results)
    turned, _ = fused(frames, [result[:, order] for result in results])
    assert all(torch.allclose(found[:, order], other, atol=1e-6) for found, other in zip(made, turned, strict=True))


def test_confidence_is_between_0_and_1_and_types_are_kept():
    for dtype in (torch.float16, torch.float64, torch.uint8):
        results = [(100 * result).to(dtype) for result in noise(3, 1)]
        made, fusion = fused(images(3), results, "measurement")
        assert fusion.confidence.min() >= 0 and fusion.confidence.max() <= 1
        assert all(found.dtype == dtype for found in made)


def test_holes_stay_holes_and_do_not_spread():
    frames, results = images(1) * 3, noise(3, 1)
    for result in results[1:]:
        result[:, :, 10:14, 10:14] = torch.nan
    made, _ = fused(frames, results, "measurement")
    for found, result in zip(made, results, strict=True):
        assert torch.equal(found.isnan(), result.isnan())
    returned, _ = fused(frames, [*results[:2], results[0]], "measurement")
    assert (returned[2] - results[0]).abs()[:, :, 11:13, 11:13].max() == 0  # nothing of the zeros in the state


def test_flicker_falls_where_signals_are_noisy():
    frames, generator = images(10), torch.Generator().manual_seed(3)
    clean = [frame[:, :2] for frame in frames]
    noisy = [each + 0.1 * torch.randn(each.shape, generator=generator) for each in clean]
    made, _ = fused(frames, noisy)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -24))
    before, after = ((results[-1] - clean[-1])[inner].square().mean() for results in (noisy, made))
    assert after < 0.3 * before


def test_a_state_that_goes_through_a_file_changes_nothing(tmp_path):
    from omniup import VideoUpsampler
    from omniup.files import read_tensors, write_tensors

    frames, labels = images(4), torch.randint(0, 5, (4, 1, *GRID), generator=torch.Generator().manual_seed(0))
    whole = VideoUpsampler(signal_type="labels")
    made = [whole.step(*pair) for pair in zip(frames, labels.split(1), strict=True)]
    first, second = VideoUpsampler(signal_type="labels"), VideoUpsampler(signal_type="labels")
    for n in range(2):
        first.step(frames[n], labels[n : n + 1])
    tensors, signal_type = first.state()
    write_tensors(tmp_path / "state.safetensors", tensors, {})
    second.restore(read_tensors(tmp_path / "state.safetensors")[0], signal_type)
    assert all(torch.equal(second.step(frames[n], labels[n : n + 1]), made[n]) for n in (2, 3))


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_what_is_fetched_is_what_torch_samples(linear, keep, monkeypatch):
    monkeypatch.setattr(flow_module, "MOST_PLACES", 500)
    monkeypatch.setattr(flow_module, "STRIP_BYTES", 3000)
    flow, channels = flow_between(*(grey_levels(frame) for frame in images(2)[::-1])), noise(1, 3)[0].double()
    places = flow.places + np.random.default_rng(0).normal(0, 3, flow.places.shape).astype(np.float32)
    warp = Warp(places, SIZE, torch.device("cpu"), linear=linear, keep=keep)
    maps = channels[0].flatten(1).t().contiguous()
    grid = torch.from_numpy(2 * places.astype(np.float64) / (SIZE[1] - 1, SIZE[0] - 1) - 1)[None]
    mode = "bilinear" if linear else "bicubic"
    wanted = functional.grid_sample(channels, grid, mode, padding_mode="border", align_corners=True)
    for _ in range(2):
        assert torch.allclose(warp(maps).t().reshape(channels.shape), wanted, atol=1e-5)


def test_groups_of_channels_make_no_difference(monkeypatch):
    frames, results = images(3), [(4 * result).softmax(1) for result in noise(3, 7)]
    for signal_type in ("features", "probabilities"):
        made, fusion = fused(frames, results, signal_type)
        with monkeypatch.context() as patch:
            patch.setattr(fusion_module, "GROUP", 3)
            other, grouped = fused(frames, results, signal_type)
        assert len(grouped.state.fused) == 3
        assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(made, other, strict=True))
        assert torch.allclose(torch.cat(grouped.state.fused, 1), fusion.state.fused[0], atol=1e-6)


def test_histograms():
    dark, bright = torch.zeros(1, 3, 40, 50), torch.ones(1, 3, 40, 50)
    assert histogram(dark).sum() == pytest.approx(3)
    assert histogram_distance(histogram(dark), histogram(bright)) == pytest.approx(1)
    assert histogram_distance(histogram(dark), histogram(dark + 0.02)) < 0.31


def test_refusals():
    frames = images(2)
    with pytest.raises(InputError, match="256"):
        fused(frames[:1], [torch.arange(SIZE[0] * SIZE[1]).reshape(1, 1, *SIZE)], "labels")
    with pytest.raises(InputError, match="signal becomes"):
        fused(frames, [noise(1, 3)[0], noise(1, 4)[0]])
    assert dataclasses.asdict(FusionSettings())
