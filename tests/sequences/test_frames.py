"""Films and folders give upright frames with their times."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from omniup import InputError
from omniup.sequences import frames as module
from omniup.sequences.frames import open_frames
from support.films import pictures, write_film


def read(path, start=0):
    return list(open_frames(path).frames(start))


def error(frame, picture):
    image = frame.image.float() / (1 if frame.image.is_floating_point() else 255)
    return (image[0].permute(1, 2, 0) - torch.from_numpy(picture).float() / 255).abs().mean()


def test_a_film(tmp_path):
    made = pictures(7)
    film = open_frames(write_film(tmp_path / "film.mp4", made))
    assert (film.size, film.count, film.rate) == ((48, 64), 7, 25)
    found = list(film.frames())
    assert [frame.number for frame in found] == list(range(7))
    assert [frame.time * film.time_base for frame in found] == [Fraction(n, 25) for n in range(7)]
    assert max(error(*pair) for pair in zip(found, made, strict=True)) < 0.05
    assert found[0].image.dtype == torch.uint8
    later = list(film.frames(5))
    assert [frame.number for frame in later] == [5, 6]
    assert torch.equal(later[0].image, found[5].image) and later[0].time == found[5].time


def test_a_variable_rate_is_kept(tmp_path):
    times = [0, 10, 15, 60, 61, 90]
    film = open_frames(write_film(tmp_path / "film.mkv", pictures(6), rate=10, times=times))
    assert [float(frame.time * film.time_base) for frame in film.frames()] == pytest.approx([t / 100 for t in times])


def test_a_rotation_flag_turns_the_frames(tmp_path):
    made = pictures(2)
    film = open_frames(write_film(tmp_path / "film.mp4", made, rotated=True))
    assert film.size == (64, 48)
    assert error(next(film.frames()), np.rot90(made[0], -1).copy()) < 0.05


def test_ten_bits_are_kept(tmp_path):
    ramp = np.repeat(np.linspace(100, 110, 64)[None, :, None], 48, 0).repeat(3, 2).astype(np.uint8)
    frame = read(write_film(tmp_path / "film.mkv", [ramp] * 2, pix_fmt="yuv420p10le", codec="ffv1"))[0]
    assert frame.image.dtype == torch.float32 and 0 <= frame.image.min() <= frame.image.max() <= 1
    assert error(frame, ramp) < 0.01


def test_a_folder_goes_by_the_numbers_of_its_pictures(tmp_path):
    for number, picture in enumerate(pictures(11), 1):
        Image.fromarray(picture).save(tmp_path / f"frame{number}.png")
    folder = open_frames(tmp_path, Fraction(10))
    assert (folder.count, folder.size, folder.time_base) == (11, (48, 64), Fraction(1, 10))
    for frame, picture in zip(folder.frames(), pictures(11), strict=True):
        assert error(frame, picture) == 0
    assert [frame.number for frame in folder.frames(9)] == [9, 10]


def test_refusals(tmp_path, monkeypatch):
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "empty").mkdir()
    whole = write_film(tmp_path / "film.mp4", pictures(3)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name in ("text.mp4", "empty", "cut.mp4", "absent.mp4"):
        with pytest.raises(InputError, match=name):
            open_frames(tmp_path / name)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for number, size in enumerate([(48, 64), (48, 66)]):
        Image.fromarray(pictures(1, size)[0]).save(mixed / f"{number}.png")
    with pytest.raises(InputError, match="frames of one size"):
        read(mixed)
    monkeypatch.setattr(module, "MAX_PIXELS", 100)
    with pytest.raises(InputError, match="limit is 100 pixels"):
        open_frames(tmp_path / "film.mp4")
