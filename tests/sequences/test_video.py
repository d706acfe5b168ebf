"""`omniup.video`: an iterator over frames and signals of every form."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

import omniup
from omniup import InputError
from omniup.sequences.signals import open_signals
from omniup.upsamplers import as_guidance
from support.films import pictures, write_film

FRAMES, GRID = 5, (6, 8)


@pytest.fixture(scope="module")
def frames():
    return [torch.from_numpy(frame).permute(2, 0, 1)[None] for frame in pictures(FRAMES)]


@pytest.fixture(scope="module")
def signals():
    return torch.rand(FRAMES, 4, *GRID, generator=torch.Generator().manual_seed(0))


def equal(first, second):
    return all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def close(first, second):
    """Equal but for rounding, which differs with the strides of a tensor."""
    return all(torch.allclose(*pair, atol=1e-4) for pair in zip(first, second, strict=True))


def test_independent_is_frame_by_frame(frames, signals):
    options = {"method": "joint_bilateral", "radius": 1, "size": 40}
    made = omniup.video(frames, signals, independent=True, **options)
    assert equal(made, [omniup.upsample(*pair, **options) for pair in zip(frames, signals.split(1), strict=True)])


def test_signals_of_every_form_are_the_same(frames, signals, tmp_path):
    zarr = pytest.importorskip("zarr")
    np.save(tmp_path / "all.npy", signals.numpy())
    stored = zarr.open_array(str(tmp_path / "all.zarr"), mode="w", shape=signals.shape, dtype="f4")
    stored[:] = signals.numpy()
    (tmp_path / "each").mkdir()
    for number, signal in enumerate(signals):
        np.save(tmp_path / f"each/{number}.npy", signal.numpy())
    expected = list(omniup.video(frames, signals))
    assert not torch.equal(expected[-1], omniup.upsample(frames[-1], signals[-1:]))
    forms = [
        *(signals.numpy(), stored, iter(signals.split(1)), [signal.numpy()[None] for signal in signals]),
        *(tmp_path / "all.npy", str(tmp_path / "all.npy"), tmp_path / "all.zarr", tmp_path / "each"),
    ]
    for form in forms:
        assert equal(omniup.video(frames, form), expected), form
    assert close(omniup.video(frames, signals.permute(0, 2, 3, 1), layout="channels_last"), expected)
    tokens = signals.flatten(2).mT
    assert close(omniup.video(frames, tokens, grid=GRID), expected)


def test_whole_numbers_are_what_the_caller_says(frames, tmp_path):
    np.save(tmp_path / "numbers.npy", np.arange(FRAMES * 48, dtype=np.int32).reshape(FRAMES, *GRID) % 5)
    for are_labels, found in ((True, "labels"), (False, "measurement")):
        assert open_signals(tmp_path / "numbers.npy", are_labels=are_labels).of(frames[0], 1).signal_type == found


def test_frames_of_every_form_are_the_same(frames, signals, tmp_path):
    for number, frame in enumerate(pictures(FRAMES)):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    expected = list(omniup.video(frames, signals))
    arrays = pictures(FRAMES)
    for form in (tmp_path, str(tmp_path), arrays, map(Image.fromarray, arrays)):
        assert equal(omniup.video(form, signals), expected)


def test_an_encoder_runs_on_the_fly(frames, tmp_path):
    def encode(image):
        return torch.nn.functional.avg_pool2d(image, 8)

    expected = list(omniup.video(frames, [encode(as_guidance(frame)) for frame in frames]))
    assert close(omniup.video(frames, encode), expected)
    film = write_film(tmp_path / "film.mp4", pictures(2))
    assert [made.shape for made in omniup.video(film, "projection", independent=True)] == [(1, 32, 48, 64)] * 2


def test_a_stream_without_end_is_taken_frame_by_frame(frames):
    asked = []

    def camera():
        for number in itertools.count():
            asked.append(number)
            yield frames[number % FRAMES]

    made = omniup.video(camera(), lambda image: torch.nn.functional.avg_pool2d(image, 8))
    assert [next(made).shape for _ in range(3)] == [(1, 3, 48, 64)] * 3
    assert asked == [0, 1, 2]


def test_the_type_is_decided_by_the_first_frame(frames):
    signals = torch.rand(FRAMES, 3, *GRID).softmax(1)
    signals[2, :, 0, 0] = torch.tensor([0.6, 0.4, 0.0])
    upsampler = omniup.VideoUpsampler()
    for frame, signal in zip(frames, signals.split(1), strict=True):
        upsampler.step(frame, signal)
    assert upsampler.signal_type == "probabilities"
    with pytest.raises(InputError, match="holds no probabilities"):
        upsampler.step(frames[0], signals[:1] * 2)


def test_what_the_caller_does_with_results_changes_nothing(frames, signals):
    expected = [made.clone() for made in omniup.video(frames, signals)]
    for made, other in zip(omniup.video(frames, signals), expected, strict=True):
        assert torch.equal(made, other)
        made.zero_()
    kept = signals.clone()
    list(omniup.video(frames, signals, size=GRID, method="nearest"))
    assert torch.equal(signals, kept)


def test_refusals(frames, signals, tmp_path):
    with pytest.raises(InputError, match="fewer than the frames"):
        list(omniup.video(frames, iter(signals[:3].split(1))))
    with pytest.raises(InputError, match="has signals of 3 frames, and the video has more"):
        list(omniup.video(frames, signals[:3]))
    with pytest.raises(InputError, match=r"lacking\.npy"):
        list(omniup.video(frames, tmp_path / "lacking.npy"))
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no signals"):
        list(omniup.video(frames, tmp_path / "none"))
    with pytest.raises(InputError, match="one frame at a time"):
        list(omniup.video([torch.cat(frames)], signals[:1]))
    with pytest.raises(InputError, match="frame becomes"):
        list(omniup.video([frames[0], frames[1][:, :, :40]], signals[:, :, :5]))
    with pytest.raises(InputError, match="is 'nothing', which is no encoder"):
        list(omniup.video(frames, "nothing"))
    np.save(tmp_path / "text.npy", np.array(["a"]))
    with pytest.raises(InputError, match="text"):
        list(omniup.video(frames, tmp_path / "text.npy"))
