"""Restoring with the tiny model: its weights are random, and everything else is as with the published one."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F

from omniup import InputError
from omniup.restoration import Enhancer, tile_windows, wavelet_reconstruction
from support.scratch import peak_bytes


def _literal(enhancer, image, *, prompt="", seed=0):
    """One pass over a picture in one piece, as the paper's supplement has it: [B, 3, H, W] to the same, in -1..1."""
    networks = enhancer.networks
    height, width = image.shape[2:]
    padded = torch.zeros(1, 3, -(-height // 4) * 4, -(-width // 4) * 4)
    padded[:, :, :height, :width] = 2 * image - 1
    posterior = networks.vae.encode(padded).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed))
    latent = networks.vae.config.scaling_factor * (posterior.mean + posterior.std * noise)
    text = networks.text_encoder(networks.tokenizer(prompt, padding="max_length", return_tensors="pt").input_ids)[0]
    predicted = networks.unet(latent, torch.tensor(200), text).sample
    kept = networks.scheduler.alphas_cumprod[200]
    clean = (latent - (1 - kept).sqrt() * predicted) / kept.sqrt()
    return networks.vae.decode(clean / networks.vae.config.scaling_factor).sample[:, :, :height, :width]


@pytest.mark.parametrize("size", [(128, 128), (130, 200), (201, 131)])
@torch.no_grad()
def test_a_single_tile_is_the_untiled_picture(enhancer, photograph, size):
    image = F.interpolate(photograph, size, mode="bicubic").clamp(0, 1)
    drawn = (_literal(enhancer, image, prompt="a cup", seed=5) + 1) / 2
    made = enhancer(image, scale=1, prompt="a cup", seed=5, colour="none")
    torch.testing.assert_close(made, drawn.clamp(0, 1), rtol=0, atol=1e-5)
    expected = wavelet_reconstruction(drawn, image).clamp(0, 1)
    torch.testing.assert_close(enhancer(image, scale=1, prompt="a cup", seed=5), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_small_pictures_are_seen_as_large_as_in_training(enhancer):
    image = torch.rand(1, 3, 5, 8, generator=torch.Generator().manual_seed(0))
    enlarged = F.interpolate(image, size=(10, 16), mode="bicubic")
    drawn = (_literal(enhancer, F.interpolate(enlarged, size=(128, 205), mode="bicubic")) + 1) / 2
    expected = F.interpolate(drawn, size=(10, 16), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(enhancer(image, scale=2, colour="none"), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_overshoot_of_the_enlargement_is_kept(enhancer):
    """The authors neither clamp what is encoded nor what colours are taken from, but only the result."""
    image = torch.zeros(1, 3, 70, 70)
    image[..., 35:] = 1
    enlarged = F.interpolate(image, scale_factor=2, mode="bicubic")  # [1, 3, 140, 140]
    assert enlarged.min() < -0.05 and enlarged.max() > 1.05
    drawn = (_literal(enhancer, enlarged) + 1) / 2
    expected = wavelet_reconstruction(drawn, enlarged).clamp(0, 1)
    torch.testing.assert_close(enhancer(image, scale=2), expected, rtol=0, atol=1e-5)
    cut_off = wavelet_reconstruction((_literal(enhancer, enlarged.clamp(0, 1)) + 1) / 2, enlarged.clamp(0, 1))
    assert (expected - cut_off.clamp(0, 1)).abs().max() > 0.005


@pytest.mark.parametrize(
    ("sides", "settings", "expected"),
    [
        ((1, 1), {"scale": 3}, (3, 3)),
        ((3, 15), {"scale": 1.5}, (5, 23)),  # halves up
        ((9, 14), {"longest_side": 100}, (64, 100)),
        ((30, 20), {"longest_side": 10}, (10, 7)),
        ((15, 2), {}, (60, 8)),
    ],
)
def test_sizes(enhancer, sides, settings, expected):
    made = enhancer(torch.rand(1, 3, *sides), **settings)
    assert made.shape == (1, 3, *expected)
    assert made.dtype == torch.float32
    assert made.min() >= 0
    assert made.max() <= 1


def test_several_tiles_at_a_time_are_as_one_at_a_time(enhancer, photograph):
    one = enhancer._bytes_per_cell() * 16**2  # of the smallest tile, 64 × 64 pixels in cells of 4
    told = []
    alone = enhancer(photograph, scale=1.5, tile=64, memory=one, progress=lambda *now: told.append(now))
    assert told == [(done, told[-1][1]) for done in range(1, told[-1][1] + 1)]
    together = enhancer(photograph, scale=1.5, tile=64, memory=5 * one, progress=lambda *now: told.append(now))
    assert (5, told[-1][1]) in told
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_several_pictures_are_as_one_by_one(enhancer, photograph):
    pictures = torch.cat([photograph, photograph.flip(3)])
    together = enhancer(pictures, scale=1, tile=100)
    for picture, made in zip(pictures, together, strict=True):
        torch.testing.assert_close(made, enhancer(picture[None], scale=1, tile=100)[0], rtol=0, atol=1e-5)


def test_seeds_and_prompts(enhancer, photograph):
    before = torch.get_rng_state()
    made = enhancer(photograph, scale=1, seed=3, colour="none")
    assert torch.equal(made, enhancer(photograph, scale=1, seed=3, colour="none"))
    assert not torch.equal(made, enhancer(photograph, scale=1, seed=4, colour="none"))
    assert not torch.equal(made, enhancer(photograph, scale=1, seed=3, colour="none", prompt="a cup of coffee"))
    assert torch.equal(torch.get_rng_state(), before)
    enhancer(photograph, scale=1, prompt="word " * 1000)  # more than the text encoder takes


@pytest.mark.parametrize("colour", ["wavelet", "none"])
def test_no_seam(enhancer, photograph, colour):
    """Across the borders of tiles the result changes as it does around them."""
    image = F.interpolate(photograph, (256, 384), mode="bicubic").clamp(0, 1)
    plan = enhancer.plan(64, 96, tile=128)
    tiles = tile_windows(64, 96, size=plan.size, stride=plan.stride)
    borders = {4 * border for border in tiles[:, 2:].flatten().tolist() if 0 < border < 96}
    assert len(borders) == 8

    made = enhancer(image, scale=1, tile=128, colour=colour)
    steps = (made[..., 1:] - made[..., :-1]).abs().mean((0, 1, 2))  # [W - 1], the first into column 1
    for border in borders:
        assert steps[border - 1] < 1.2 * steps[border - 9 : border + 8].median()


def _apart(enhancer, image, monkeypatch, *, shared):
    """Restore a picture in tiles: by how much tiles disagree, and by how much the result differs from one tile's."""
    with monkeypatch.context() as patched:
        if not shared:
            patched.setattr("omniup.restoration.enhancer.shared_norms", lambda *networks, gather: nullcontext())
        made = enhancer(image, scale=1, tile=96, colour="none")
    return enhancer.agreement[0].median, (made - enhancer(image, scale=1, colour="none")).square().mean().sqrt()


def test_shared_norms_bring_tiles_nearer_to_each_other_and_to_the_untiled_picture(enhancer, photograph, monkeypatch):
    image = F.interpolate(photograph, (160, 240), mode="bicubic").clamp(0, 1)
    shared = _apart(enhancer, image, monkeypatch, shared=True)
    alone = _apart(enhancer, image, monkeypatch, shared=False)
    assert shared[0] < 0.9 * alone[0]
    assert shared[1] < 0.9 * alone[1]


def test_norms_are_as_before_whatever_happens(enhancer, photograph):
    networks = enhancer.networks

    def modules():
        return [*networks.vae.modules(), *networks.unet.modules()]

    def stop(done, total):
        raise KeyboardInterrupt

    before, expected = modules(), enhancer(photograph, scale=1)
    with pytest.raises(KeyboardInterrupt):
        enhancer(photograph, scale=1, tile=64, progress=stop)
    enhancer(photograph, scale=1, tile=64)
    assert all(module is original for module, original in zip(modules(), before, strict=True))
    assert torch.equal(enhancer(photograph, scale=1), expected)


def test_a_spoiled_tile_is_computed_anew(enhancer, photograph, monkeypatch):
    """The second of the tiles, which are computed one at a time."""
    expected = enhancer(photograph, scale=1, tile=64, batch=1)
    fine, restore = enhancer.agreement[0], enhancer._restore
    assert fine.anew == ()
    told = []

    def spoiled(cells, text):
        made = restore(cells, text)
        return made + 2 * torch.rand_like(made) if len(told) == 1 else made

    monkeypatch.setattr(enhancer, "_restore", spoiled)
    made = enhancer(photograph, scale=1, tile=64, batch=1, progress=lambda *now: told.append(now))
    assert enhancer.agreement[0].anew == ((0, 1),)
    assert enhancer.agreement[0].largest < 1.5 * fine.largest
    assert (made - expected).abs().mean() < 0.1 * expected.std()
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
    assert told[-1][1] > fine.tiles


def test_pictures_of_one_tile_report_no_differences(enhancer, photograph):
    enhancer(torch.cat([photograph, photograph]), scale=1)
    assert [(each.tiles, each.differences, each.anew) for each in enhancer.agreement] == [(1, (), ())] * 2


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.01)])
def test_precision(enhancer, photograph, precision, tolerance):
    exact = enhancer(photograph, scale=1)
    rounded = Enhancer(copy.deepcopy(enhancer.networks), precision=precision)
    assert rounded.networks.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    made = rounded(photograph, scale=1)
    assert made.dtype == torch.float32
    assert (made - exact).abs().mean() < tolerance


def test_the_device_decides_on_precision(enhancer):
    assert enhancer.precision == "fp32"
    with pytest.raises(InputError, match="precision is 'fp8'; accepted: auto, fp32, bf16, fp16"):
        Enhancer(enhancer.networks, precision="fp8")


def test_tiles_one_at_a_time_are_those_of_a_batch(enhancer, photograph):
    together, alone = [], []
    expected = enhancer(photograph, scale=2, tile=128, progress=lambda *told: together.append(told))
    made = enhancer(photograph, scale=2, tile=128, batch=1, progress=lambda *told: alone.append(told))
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)
    assert alone == [(done, 8) for done in range(1, 9)]
    assert together == [(8, 8)]


def test_more_memory_means_larger_tiles(enhancer):
    grids = [enhancer.plan(200, 200, memory=memory).grid for memory in ("5MB", "30MB", "4GB")]
    assert grids == sorted(grids, reverse=True)
    assert grids[0] != grids[-1]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"scale": 0}, "scale is 0; accepted: numbers above 0"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"scale": 1000}, "scale makes 100000 × 150000 pixels"),
        ({"longest_side": -1}, "longest_side is -1"),
        ({"colour": "blue"}, "colour is 'blue'; accepted: wavelet, adain, none"),
        ({"tile": 20}, "tile is 20; accepted: 64 pixels or more"),
        ({"memory": "1KB"}, r"memory is 0 MB; accepted: \d+ MB or more, for a tile of 64 × 64 pixels in fp32"),
        ({"memory": "lots"}, "memory is 'lots'"),
    ],
)
def test_refusals(enhancer, photograph, settings, problem):
    with pytest.raises(InputError, match=problem):
        enhancer(photograph, **settings)


def test_refused_pictures(enhancer):
    for image, problem in {
        torch.rand(3, 8, 8): r"image is torch.float32 of the shape \[3, 8, 8\]",
        torch.rand(1, 1, 8, 8): r"of the shape \[1, 1, 8, 8\]",
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8): "image is torch.uint8",
        2 * torch.ones(1, 3, 8, 8): "image has values from 2 to 2",
        torch.full((1, 3, 8, 8), float("nan")): "image has values from nan",
    }.items():
        with pytest.raises(InputError, match=problem):
            enhancer(image)


def test_a_picture_too_thin_to_be_worked_on_is_refused(enhancer):
    """Its short side would be made as long as in training, which is 128 pixels, and the long one in proportion."""
    with pytest.raises(InputError, match="image is too thin: its 1 × 30000 pixels are worked on as 128 × 3840000; acc"):
        enhancer(torch.rand(1, 3, 1, 30_000), scale=1)


def test_tiles_keep_to_the_memory(enhancer):
    """Which is reckoned by the decoder's last block; this is what tensors really take while a batch is computed."""
    networks = enhancer.networks
    weights = [
        tensor
        for network in (networks.unet, networks.vae, networks.text_encoder)
        for tensor in (*network.parameters(), *network.buffers())
    ]
    text = enhancer._text("")
    for batch, height, width in ((1, 64, 64), (3, 32, 40)):
        cells = torch.randn(batch, 3 * networks.cell**2 + networks.latent_channels, height, width)
        with torch.no_grad():
            taken = peak_bytes(lambda cells=cells: enhancer._restore(cells, text), cells, text, *weights)
        reckoned = enhancer._bytes_per_cell() * batch * height * width
        assert 0.5 * reckoned < taken < reckoned
