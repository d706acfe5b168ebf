"""Films are written in parts that any process may write, and joined with times and sound."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from omniup import InputError
from omniup.sequences.films import FilmPart, check_sound, join_parts
from omniup.sequences.frames import Film
from support.films import pictures, read_film, write_film

BASE, TIMES = Fraction(1, 100), [0, 4, 8, 30, 31, 40, 44]


def parts(folder, frames, splits):
    paths = []
    for number, (begin, end) in enumerate(itertools.pairwise(splits)):
        part = FilmPart(BASE, Fraction(25))
        for picture, time in list(zip(frames, TIMES, strict=True))[begin:end]:
            part.add(picture, time)
        paths.append(folder / f"{number}.mp4")
        paths[-1].write_bytes(part.close())
    return paths


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_joined_parts_have_all_frames_at_their_times(tmp_path, suffix):
    frames = pictures(7, (47, 63))
    target = tmp_path / f"film.{suffix}"
    join_parts(parts(tmp_path, frames, [0, 3, 4, 7]), TIMES, BASE, target)
    found, times = read_film(target)
    assert times == pytest.approx([time / 100 for time in TIMES], abs=1e-3)
    for picture, frame in zip(frames, found, strict=True):
        assert frame.shape == (48, 64, 3)  # even sides
        assert np.abs(frame[:47, :63].astype(int) - picture).mean() < 12


@pytest.mark.parametrize("colour", [(40, 40, 40), (200, 200, 200), (180, 60, 90), (20, 130, 220)])
def test_colours_are_what_they_were(tmp_path, colour):
    """Written and read, also by players, who take the file's word for the colour space, and often another without."""
    smooth = np.full((48, 64, 3), colour, np.uint8)
    join_parts(parts(tmp_path, [smooth] * 7, [0, 7]), TIMES, BASE, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as film:
        frame = next(film.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)  # BT.709, limited
    (first, *_) = Film(tmp_path / "out.mp4").frames()
    assert (first.image[0].float().mean((1, 2)) - torch.tensor(colour)).abs().max() <= 1  # rounding


def test_a_part_is_a_film_of_its_own_and_always_the_same(tmp_path):
    frames = pictures(7)
    _, second = parts(tmp_path, frames, [0, 4, 7])
    content = second.read_bytes()
    assert len(read_film(second)[0]) == 3
    assert parts(tmp_path, frames, [0, 4, 7])[1].read_bytes() == content


def test_sound_is_copied_as_far_as_there_are_frames(tmp_path):
    source = write_film(tmp_path / "source.mp4", pictures(50), sound=True)
    assert check_sound(source, "out.mp4") and not check_sound(write_film(tmp_path / "s.mp4", pictures(2)), "out.mp4")
    join_parts(parts(tmp_path, pictures(7), [0, 7]), TIMES, BASE, tmp_path / "out.mp4", source)

    def packets(path):
        with av.open(str(path)) as film:
            return [bytes(packet) for packet in film.demux(audio=0) if packet.dts is not None]

    copied, whole = packets(tmp_path / "out.mp4"), packets(source)
    assert copied == whole[: len(copied)]
    assert 0.4 < len(copied) * 1024 / 48000 < 0.6 < len(whole) * 1024 / 48000


def test_sound_that_a_format_cannot_hold_is_refused(tmp_path):
    path = tmp_path / "source.mkv"
    with av.open(str(path), "w") as film:
        video = film.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        tone = film.add_stream("wavpack", rate=48000)
        tone.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        film.mux(tone.encode(frame))
        film.mux(video.encode(av.VideoFrame.from_ndarray(pictures(1)[0], format="rgb24")))
        film.mux(video.encode(None))
        film.mux(tone.encode(None))
    with pytest.raises(InputError, match="cannot hold the sound"):
        check_sound(path, "out.mp4")
    assert check_sound(path, "out.mkv")
