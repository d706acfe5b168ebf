"""`omniup restore` of films: frame by frame, with their sound, and on from where it was stopped."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from omniup.cli import main, restored_films
from omniup.cli.restored_films import damage_of
from omniup.restoration import Restorer
from omniup.restoration.restorer import UNDAMAGED
from omniup.sequences import job
from omniup.sequences.frames import open_frames
from omniup.upsamplers.checks import as_guidance
from support.films import pictures, read_film, write_film

FRAMES = 5
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


@pytest.fixture
def film(folder):
    """A film with sound and an odd rate, whose frames are noisy."""
    random = np.random.default_rng(0)
    noisy = [np.clip(each + random.normal(0, 12, each.shape), 0, 255).astype(np.uint8) for each in pictures(FRAMES)]
    times = [0, 10, 20, 35, 40]
    return write_film(Path("old.mp4"), noisy, times=times, sound=True)


def test_a_film_is_restored_frame_by_frame(omniup, film):
    outcome = omniup("restore", film, "-o", "new.mp4", "--scale", 1.5, "--json")
    assert outcome.status == 0, outcome.stderr
    facts = json.loads(outcome.stdout)
    assert (facts["frames"], facts["model"], facts["scale"], facts["random"]) == (FRAMES, "small", 1.5, False)
    restorer, source = Restorer.from_pretrained(), open_frames(film)
    damage = damage_of(source, restorer)
    assert facts["found"]["old.mp4"] == pytest.approx(vars(damage))
    found, times = read_film("new.mp4")
    assert times == pytest.approx([0, 0.04, 0.08, 0.14, 0.16])
    for frame, picture in zip(source.frames(), found, strict=True):
        expected = restorer(as_guidance(frame.image), scale=1.5, damage=[damage])
        assert picture.shape == (72, 96, 3)
        drawn = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        brightness = ((drawn - expected) * LUMA).sum(1)  # colours have half the resolution
        assert brightness.abs().mean() < 0.02
    with av.open("new.mp4") as made:
        assert [stream.type for stream in made.streams] == ["video", "audio"]
    assert omniup("restore", film, "-o", "mute.mkv", "--no-sound", "--strength", 0).status == 0
    with av.open("mute.mkv") as made:
        assert [stream.type for stream in made.streams] == ["video"]


def test_what_is_wrong_is_told_by_frames_that_show_something(folder, monkeypatch):
    """Films begin with black."""
    monkeypatch.setattr(restored_films, "ESTIMATED_EVERY", 2)
    noisy = np.random.default_rng(0).integers(60, 180, (48, 64, 3), dtype=np.uint8)
    black = np.zeros_like(noisy)
    film = write_film(Path("late.mp4"), [black, black, noisy, black, noisy])
    restorer, source = Restorer.from_pretrained(), open_frames(film)
    each = [restorer.estimate(as_guidance(frame.image))[0] for frame in source.frames()]
    assert each[0] == UNDAMAGED and each[2] != UNDAMAGED
    damage = damage_of(source, restorer)
    assert damage.noise == pytest.approx((each[2].noise + each[4].noise) / 2)
    assert damage.quality == pytest.approx((each[2].quality + each[4].quality) / 2)
    assert damage_of(open_frames(write_film(Path("black.mp4"), [black] * 3)), restorer) == UNDAMAGED


def test_a_missing_encoder_is_refused_before_the_work(omniup, film, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    monkeypatch.setattr(Restorer, "__call__", lambda *arguments, **settings: pytest.fail("restored a frame"))
    outcome = omniup("restore", film, "-o", "new.mp4")
    assert outcome.status == 2
    assert "new.mp4 needs the encoder libx264" in outcome.stderr


def test_a_stopped_run_goes_on(omniup, film, monkeypatch):
    monkeypatch.setattr(job, "PART", 2)
    assert omniup("restore", film, "-o", "whole.mp4").status == 0
    call, done = Restorer.__call__, []

    def stopping(*arguments, **settings):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return call(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Restorer, "__call__", stopping)
        assert omniup("restore", film, "-o", "new.mp4").status == 130
    assert len(read_film("new.mp4")[0]) == 3  # playable
    outcome = omniup("restore", film, "-o", "new.mp4")
    assert outcome.status == 0, outcome.stderr
    assert "goes on after frame 2" in outcome.stderr
    assert Path("new.mp4").read_bytes() == Path("whole.mp4").read_bytes()
    assert not Path("new.mp4.unfinished").exists()


def test_a_large_model_takes_a_prompt(omniup, film):
    pytest.importorskip("diffusers")
    outcome = omniup("restore", film, "-o", "new.mp4", "--model", "tiny", "--scale", 1, "--prompt", "a street")
    assert outcome.status == 0, outcome.stderr
    assert "random weights" in outcome.stderr
    assert len(read_film("new.mp4")[0]) == FRAMES


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("old.mp4", "-o", "out"), "old.mp4 is a film; accepted: it with -o FILE, .mp4, .mov, .mkv"),
        (("old.mp4", "-o", "out.png"), "old.mp4 is a film; accepted: it with -o FILE"),
        (("old.mp4", "other.mp4", "-o", "out.mp4"), "out.mp4 is a film; accepted: one film to be restored"),
        (("photo.png", "-o", "out.mp4"), "out.mp4 is a film; accepted: one film to be restored"),
        (("old.mp4", "-o", "out.mp4", "--bits", 16), "--bits is given, and old.mp4 is a film; accepted: it with"),
        (("old.mp4", "-o", "out.mp4", "--compare", "sheet.png"), "--compare is given, and old.mp4 is a film"),
        (("old.mp4", "-o", "old.mp4", "--overwrite"), "old.mp4 is an input"),
        (("broken.mp4", "-o", "out.mp4"), "broken.mp4 cannot be read"),
        (("none.mp4", "-o", "out.mp4"), "none.mp4"),
    ],
)
def test_refusals(refusal, film, photo, options, problem):
    Path("broken.mp4").write_bytes(b"no film")
    assert problem in refusal("restore", *options)
    assert not Path("out.mp4").exists()
    assert not Path("out").exists()


def test_an_output_that_is_there_stays(refusal, film):
    Path("new.mp4").write_bytes(b"mine")
    assert "new.mp4 exists already" in refusal("restore", film, "-o", "new.mp4")
    assert Path("new.mp4").read_bytes() == b"mine"


def test_killed_it_leaves_nothing_but_what_it_goes_on_from(film, monkeypatch):
    """Whatever ends a run, OUT is whole or not there."""

    def failing(*arguments, **settings):
        raise MemoryError

    monkeypatch.setattr(Restorer, "__call__", failing)
    with pytest.raises((SystemExit, MemoryError)):
        main(["restore", str(film), "-o", "new.mp4"])
    assert not Path("new.mp4").exists()
    assert not Path("new.mp4.unfinished").exists()
