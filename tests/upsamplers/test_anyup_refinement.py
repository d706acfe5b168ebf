"""Refinement with an untrained network, with random weights, and against its formulas."""

import json
import sys

import pytest
import torch
from torch.nn import functional as F

from omniup import AnyUp, InputError, MissingPackageError
from omniup.files import write_tensors
from omniup.mixing.interruption import interruptible
from omniup.upsamplers.anyup import Refiner
from omniup.upsamplers.anyup.refinement.components import PrincipalComponents
from omniup.upsamplers.anyup.refinement.denoiser import Denoiser
from oracles import refinement as oracle
from support.anyup import random_anyup
from support.kernels import random_signal, smooth_image
from support.scratch import peak_bytes

pytest.importorskip("diffusers")

IMAGE = smooth_image((24, 32), dtype=torch.float32)
SIGNAL = random_signal((6, 8), channels=12, dtype=torch.float32)
INITIAL = F.interpolate(SIGNAL, (24, 32), mode="bilinear")
FEW = {"samples": 3, "steps": 2}


def random_refiner(**settings):
    """A refiner whose residuals are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        refiner = Refiner(**({"width": 8, "components": 4} | settings))
        torch.nn.init.normal_(refiner.denoiser.tail.weight, 0, 0.1)
    return refiner.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def refiner():
    return random_refiner()


def close(one, other, tolerance=1e-5):
    torch.testing.assert_close(one.mean, other.mean, rtol=0, atol=tolerance)
    torch.testing.assert_close(one.spread, other.spread, rtol=0, atol=tolerance)
    for first, second in zip(one.samples, other.samples, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=tolerance)


# ---- zero at the start


def test_untrained_it_changes_nothing():
    anyup = random_anyup()
    refined = anyup.refine(IMAGE, SIGNAL, weights=Refiner(), **FEW)
    assert torch.equal(refined.mean, anyup(IMAGE, SIGNAL))
    assert not refined.spread.any()
    assert all(torch.equal(sample, refined.mean) for sample in refined.samples)


def test_the_published_network_s_results_stay(shared):
    anyup = AnyUp.from_pretrained(shared / "weights/anyup_paper.pth")
    assert torch.equal(anyup.refine(IMAGE, SIGNAL, weights=Refiner(), **FEW).mean, anyup(IMAGE, SIGNAL))


def test_untrained_it_gets_gradients():
    denoiser = Denoiser(4)
    optimiser = torch.optim.SGD(denoiser.parameters(), lr=0.1)
    batch = torch.randn(2, 1, 6, 6), torch.randn(2, 9, 6, 6), torch.tensor([10, 900]), torch.tensor([1.0, 0.5])
    for _ in range(2):  # the last layer is zero, so that the others get theirs in the second step
        optimiser.zero_grad()
        (denoiser(*batch) - batch[0]).square().mean().backward()
        optimiser.step()
    assert all(parameter.grad.abs().max() > 0 for parameter in denoiser.parameters())


def test_gradients_are_those_of_finite_differences():
    denoiser = random_refiner(width=2).denoiser.double().requires_grad_(True)
    maps = [torch.randn(1, channels, 4, 5, dtype=torch.float64, requires_grad=True) for channels in (1, 9)]
    timestep, deviation = torch.tensor([300]), torch.tensor([0.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *maps: denoiser(*maps, timestep, deviation), maps)


# ---- what it computes


def test_it_is_the_refinement_of_its_formulas(refiner):
    _, conditions = refiner.conditions(IMAGE, SIGNAL[0], INITIAL[0])
    assert conditions.shape == (4, 9, 12, 16)
    noise = torch.randn(3, 4, 12, 16, generator=torch.Generator().manual_seed(5))
    expected = oracle.refine(refiner.denoiser, conditions, SIGNAL[0], INITIAL[0], noise, 4, 4)
    refined = refiner(IMAGE, SIGNAL, INITIAL, samples=3, steps=4, seed=5)
    results = refined.mean[0], refined.spread[0, 0], torch.cat(list(refined.samples))
    for made, wanted in zip(results, expected, strict=True):
        assert wanted.isfinite().all()
        torch.testing.assert_close(made, wanted.float(), rtol=0, atol=1e-4)
    assert (refined.mean - INITIAL).abs().max() > 0.01
    assert refined.spread.min() > 0


@pytest.mark.parametrize("shape", [(5, 6, 7), (40, 4, 5), (3, 1, 9)])
def test_components_are_principal(shape):
    features = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 3
    most = min(shape[0], shape[1] * shape[2] - 1, 4)
    components = PrincipalComponents.of(features, most)
    mean, directions, deviations = oracle.components(features, most)
    for made, wanted in zip(dataclass_values(components), (mean, directions, deviations), strict=True):
        torch.testing.assert_close(made, wanted)
    coordinates = components.coordinates(features)
    torch.testing.assert_close(coordinates.flatten(1).var(1, correction=0), torch.ones(most, dtype=torch.float64))
    torch.testing.assert_close(
        components.coordinates(mean[:, None, None] + components.vectors(coordinates)), coordinates
    )


def dataclass_values(components):
    return components.mean, components.directions, components.deviations


def test_where_there_is_a_truth_samples_are_of_its_distribution():
    """With the best denoiser of a residual that is normal, of a known mean and deviation."""

    class Best(Denoiser):
        def forward(self, noisy, conditions, timestep, deviation):
            alpha = oracle.alphas().float()[timestep][:, None, None, None]
            gain = 0.5**2 * alpha.sqrt() / (alpha * 0.5**2 + 1 - alpha)
            return 2 + gain * (noisy - 2 * alpha.sqrt())

    refiner = random_refiner(components=1)
    refiner.denoiser = Best(8)
    features = torch.cat([SIGNAL[:, :1], torch.zeros_like(SIGNAL[:, 1:])], dim=1)
    initial = F.interpolate(features, (12, 16), mode="bilinear")
    components, _ = refiner.conditions(IMAGE, features[0], initial[0])
    refined = refiner(IMAGE, features, initial, samples=50)
    unit, direction = components.deviations[0], components.directions[0]
    offset = ((refined.mean - initial)[0] * direction[:, None, None]).sum(0) / unit
    assert offset.mean() == pytest.approx(2, abs=0.02)
    spread = refined.spread * len(direction) ** 0.5 / unit
    assert spread.square().mean().sqrt() == pytest.approx(0.48, rel=0.02)  # as `sampling.py` has it


# ---- invariants


def test_channels_may_come_in_any_order(refiner):
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    expected = refiner(IMAGE, SIGNAL, INITIAL, **FEW)
    made = refiner(IMAGE, SIGNAL[:, order], INITIAL[:, order], **FEW)
    torch.testing.assert_close(made.mean, expected.mean[:, order], rtol=0, atol=1e-5)
    torch.testing.assert_close(made.spread, expected.spread, rtol=0, atol=1e-5)
    torch.testing.assert_close(made.samples[1], expected.samples[1][:, order], rtol=0, atol=1e-5)


@pytest.mark.parametrize("factor", [1e-4, 1e3])
def test_scaled_features_give_scaled_results(refiner, factor):
    anyup = random_anyup()
    expected = anyup.refine(IMAGE, SIGNAL, weights=refiner, **FEW)
    made = anyup.refine(IMAGE, factor * SIGNAL, weights=refiner, **FEW)
    torch.testing.assert_close(made.mean / factor, expected.mean, rtol=0, atol=1e-4)
    torch.testing.assert_close(made.spread / factor, expected.spread, rtol=0, atol=1e-4)


def test_features_may_have_an_offset(refiner):
    expected = refiner(IMAGE, SIGNAL, INITIAL, **FEW)
    made = refiner(IMAGE, SIGNAL + 4, INITIAL + 4, **FEW)
    torch.testing.assert_close(made.mean - 4, expected.mean, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(24, 32), (64, 33), (7, 9)])
@pytest.mark.parametrize("memory", [2_000_000, "1GB"])
def test_results_do_not_depend_on_the_memory(refiner, size, memory):
    signal = random_signal((5, 4), channels=12, dtype=torch.float32)
    initial = F.interpolate(signal, size, mode="bilinear")
    close(refiner(IMAGE, signal, initial, memory=memory, **FEW), refiner(IMAGE, signal, initial, **FEW))


def test_bands_agree_with_the_whole():
    refiner = random_refiner()
    signal = random_signal((70, 3), channels=5, dtype=torch.float32)
    initial = F.interpolate(signal, (140, 6), mode="bilinear")
    expected = refiner(IMAGE, signal, initial, **FEW)
    for memory in (60_000, 80_000):  # rows of 1.5 KB: bands of a few rows
        close(refiner(IMAGE, signal, initial, memory=memory, **FEW), expected)
    with pytest.raises(InputError, match=r"^memory is 40000 bytes: some rows of a residual take \d+; accepted: more$"):
        refiner(IMAGE, signal, initial, memory=40_000, **FEW)


def test_it_keeps_to_the_memory():
    refiner = random_refiner(width=16)
    signal = random_signal((64, 48), channels=6, dtype=torch.float32)
    initial = F.interpolate(signal, (128, 96), mode="bilinear")
    tensors = IMAGE, signal, initial, *refiner.parameters()
    kept = 4 * 128 * 96 * (2 * 3 * 4 + 4 * 9 + 2 * 6)  # noise, residuals, conditions and results
    for memory in (4_000_000, 16_000_000):
        peak = peak_bytes(lambda memory=memory: refiner(IMAGE, signal, initial, memory=memory, **FEW).mean, *tensors)
        assert peak <= memory + 2 * kept


def test_images_of_a_batch_do_not_influence_each_other(refiner):
    signal = torch.cat([SIGNAL, SIGNAL.flip(2)])
    initial, image = F.interpolate(signal, (24, 32), mode="bilinear"), torch.cat([IMAGE, 1 - IMAGE])
    both = refiner(image, signal, initial, **FEW)
    for n in range(2):
        alone = refiner(image[n : n + 1], signal[n : n + 1], initial[n : n + 1], **FEW)
        assert torch.equal(both.mean[n], alone.mean[0])
        assert torch.equal(both.samples[2][n], alone.samples[2][0])


def test_the_seed_decides(refiner):
    first, again, other = (refiner(IMAGE, SIGNAL, INITIAL, seed=seed, **FEW) for seed in (1, 1, 2))
    assert torch.equal(first.mean, again.mean)
    assert not torch.equal(first.mean, other.mean)


# ---- results


def test_samples_are_a_sequence(refiner):
    refined = refiner(IMAGE, SIGNAL, INITIAL, samples=4, steps=1)
    assert len(refined.samples) == 4
    assert torch.equal(refined.samples[-1], refined.samples[3])
    assert len(refined.samples[1:]) == 3
    together = torch.stack(list(refined.samples)).mean(0)  # in one step they are the estimates that the mean is of
    torch.testing.assert_close(together, refined.mean, rtol=0, atol=1e-5)
    with pytest.raises(IndexError):
        refined.samples[4]


def test_features_without_variation_stay(refiner):
    signal = torch.full((1, 12, 6, 8), 2.0)
    refined = refiner(IMAGE, signal, F.interpolate(signal, (24, 32)), **FEW)
    assert (refined.mean == 2).all()
    assert not refined.spread.any()
    assert (refined.samples[0] == 2).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(refiner, dtype):
    refined = refiner(IMAGE, SIGNAL.to(dtype), INITIAL.to(dtype), **FEW)
    assert refined.mean.dtype == refined.spread.dtype == refined.samples[0].dtype == dtype
    assert refined.mean.isfinite().all()


def test_grey_images(refiner):
    grey = IMAGE.mean(1, keepdim=True)
    close(refiner(grey, SIGNAL, INITIAL, **FEW), refiner(grey.expand(-1, 3, -1, -1), SIGNAL, INITIAL, **FEW))


def test_progress_and_cancelling(refiner):
    seen = []
    refiner(IMAGE, SIGNAL, INITIAL, samples=2, steps=3, progress=seen.append)
    assert [(each.iteration, each.iterations) for each in seen] == [(1, 3), (2, 3), (3, 3)]

    def cancel():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), interruptible(cancel):
        refiner(IMAGE, SIGNAL, INITIAL, **FEW)


# ---- files and refusals


def test_saved_weights_keep_their_settings(tmp_path):
    refiner = random_refiner(scale=1.5)
    write_tensors(tmp_path / "refiner.safetensors", refiner.state_dict(), refiner.metadata())
    loaded = Refiner.from_pretrained(tmp_path / "refiner.safetensors")
    assert (loaded.denoiser.width, loaded.scale, loaded.components) == (8, 1.5, 4)
    close(loaded(IMAGE, SIGNAL, INITIAL, **FEW), refiner(IMAGE, SIGNAL, INITIAL, **FEW), 0)
    anyup = random_anyup()
    by_file = anyup.refine(IMAGE, SIGNAL, (12, 16), weights=tmp_path / "refiner.safetensors", **FEW)
    close(by_file, anyup.refine(IMAGE, SIGNAL, (12, 16), weights=refiner, **FEW), 0)


@pytest.mark.parametrize(
    "metadata", [{}, {"refiner": "x"}, {"refiner": "{}"}, {"refiner": json.dumps({"width": 0})}, {"refiner": "[1]"}]
)
def test_other_files_are_refused(metadata, tmp_path):
    write_tensors(tmp_path / "other.safetensors", random_refiner().state_dict(), metadata)
    with pytest.raises(InputError, match=r"which holds no refiner \(.*; accepted: a file that `omniup train refiner`"):
        Refiner.from_pretrained(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"samples": 1}, "samples is 1; accepted: whole numbers from 2 to 1000"),
        ({"steps": 11}, "steps is 11; accepted: whole numbers from 1 to 10"),
        ({"seed": -1}, "seed is -1"),
        ({"memory": 0}, "memory is 0"),
        ({"image": torch.rand(1, 4, 24, 32)}, "image has 4 channels; accepted: three channels"),
        ({"image": torch.rand(2, 3, 24, 32)}, r"signal has the shape .* with 2 images .*; accepted: one image or one"),
        ({"initial": INITIAL[:, :3]}, r"signal has the shape \[1, 12, 6, 8\], with 1 images .*\[1, 3, 24, 32\]"),
        ({"initial": INITIAL.long()}, "initial is of type torch.int64; accepted: floating point"),
        ({"initial": INITIAL[:, :, :3]}, "signal is 6 × 8, larger than"),
        ({"initial": INITIAL / 0}, "initial has .* values of .* that are not finite"),
    ],
)
def test_refusals(refiner, changes, refusal):
    with pytest.raises(InputError, match=f"^{refusal}"):
        refiner(**({"image": IMAGE, "signal": SIGNAL, "initial": INITIAL} | changes))


@pytest.mark.parametrize("setting", [{"width": 0}, {"scale": 0.5}, {"components": 1.5}])
def test_settings_are_refused(setting):
    with pytest.raises(InputError, match=f"^{next(iter(setting))} is "):
        Refiner(**setting)


def test_without_diffusers_it_says_what_to_install(refiner, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingPackageError, match=r'pip install "omniup\[refine\]"'):
        refiner(IMAGE, SIGNAL, INITIAL)
