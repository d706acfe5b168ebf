"""`omniup video`: films, pictures and arrays out, and runs that go on after they were stopped."""

import json
import random
import signal
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

import omniup as library
from omniup.cli import main
from omniup.sequences import job
from omniup.visualize import class_colours
from support.films import pictures, read_film, write_film
from support.forks import Fork
from support.thorough import tries

FRAMES = 11


@pytest.fixture
def film(folder):
    return write_film(Path("film.mp4"), pictures(FRAMES), sound=True)


@pytest.fixture
def probabilities(folder):
    values = torch.rand(FRAMES, 4, 6, 8, generator=torch.Generator().manual_seed(0)).mul(3).softmax(1)
    np.save("probabilities.npy", values.numpy())
    return "probabilities.npy"


@pytest.fixture
def short_parts(monkeypatch):
    monkeypatch.setattr(job, "PART", 3)


def stop_after(monkeypatch, frames, error=KeyboardInterrupt):
    """Have the run stopped when the result of a frame is there."""
    step, done = library.VideoUpsampler.step, []

    def counted(self, *arguments, **options):
        if len(done) == frames:
            raise error
        done.append(1)
        return step(self, *arguments, **options)

    monkeypatch.setattr(library.VideoUpsampler, "step", counted)


def test_a_film_of_labels_with_sound(omniup, film, probabilities):
    outcome = omniup("video", film, "--signal", probabilities, "-o", "out.mp4", "--opacity", 1, "--json")
    assert outcome.status == 0, outcome.stderr
    facts = json.loads(outcome.stdout)
    assert (facts["frames"], facts["size"], facts["show"]) == (FRAMES, [48, 64], "labels")
    found, times = read_film("out.mp4")
    assert times == pytest.approx([n / 25 for n in range(FRAMES)])
    expected = list(library.video(film, np.load(probabilities)))[-1].argmax(1)[0].numpy()
    drawn = class_colours(4)[expected]
    assert np.abs(found[-1].astype(int) - drawn).mean() < 30  # chroma has half the resolution
    with av.open("out.mp4") as made:
        assert [stream.type for stream in made.streams] == ["video", "audio"]
    assert not Path("out.mp4.unfinished").exists() and not Path("omniup.json").exists()


def test_arrays_are_what_the_iterator_gives(omniup, film, probabilities):
    zarr = pytest.importorskip("zarr")
    options = ("--method", "joint_bilateral", "--set", "radius=1", "--size", "24x32")
    for output in ("out", "out.zarr"):
        assert omniup("video", film, "--signal", probabilities, "-o", output, *options, "-q").status == 0
    given = {"method": "joint_bilateral", "radius": 1, "size": (24, 32)}
    expected = torch.cat(list(library.video(film, probabilities, **given))).numpy()
    assert np.array_equal(zarr.open_array("out.zarr", mode="r")[:], expected)
    assert np.array_equal(np.concatenate([np.load(f"out/frame-{n:06}.npy") for n in range(FRAMES)]), expected)
    outcome = omniup("video", film, "--signal", probabilities, "-o", "alone", *options, "--independent", "-q")
    assert outcome.status == 0
    alone = library.upsample(pictures(1)[0], np.load(probabilities)[:1], **given)
    assert np.load("alone/frame-000000.npy").shape == alone.shape


def test_pictures_from_an_encoder(omniup, folder):
    Path("in").mkdir()
    for number, picture in enumerate(pictures(3)):
        Image.fromarray(picture).save(f"in/{number}.png")
    for show in (("--show", "pca"), ("--similar", "10,20")):
        outcome = omniup("video", "in", "--encoder", "projection", "-o", "out", *show, "--frames", 2, "--rate", 10)
        assert outcome.status == 0, outcome.stderr
        assert sorted(path.name for path in Path("out").glob("frame*")) == ["frame-000000.png", "frame-000001.png"]
    first, second = (np.asarray(Image.open(f"out/frame-00000{n}.png")).astype(int) for n in range(2))
    assert np.abs(first[:, 4:] - second[:, :-4]).mean() < 40  # the same colours in both


def test_depth_and_palettes(omniup, film, folder):
    np.save("depth.npy", np.random.default_rng(0).random((FRAMES, 6, 8), np.float32))
    assert omniup("video", film, "--signal", "depth.npy", "-o", "depth.mkv", "-q").status == 0
    assert len(read_film("depth.mkv")[0]) == FRAMES
    Path("labels").mkdir()
    for number in range(FRAMES):
        picture = Image.fromarray(np.full((6, 8), number % 2, np.uint8), "P")
        picture.putpalette([250, 0, 0, 0, 0, 250])
        picture.save(f"labels/{number}.png")
    options = ("--independent", "--opacity", 1, "--no-sound")
    assert omniup("video", film, "--signal", "labels", "-o", "labels.mp4", *options, "-q").status == 0
    found, _ = read_film("labels.mp4")
    assert all(abs(found[n].mean((0, 1))[2 * (n % 2)] - 250) < 12 for n in range(FRAMES))


@pytest.mark.parametrize("output", ["out.mp4", "out.zarr", "out"])
@pytest.mark.parametrize("frames", [2, 7])
def test_a_stopped_run_goes_on(omniup, film, probabilities, short_parts, monkeypatch, output, frames):
    command = ("video", film, "--signal", probabilities)
    whole = f"whole{output.removeprefix('out')}"
    assert omniup(*command, "-o", whole).status == 0
    with monkeypatch.context() as patch:
        stop_after(patch, frames)
        assert omniup(*command, "-o", output).status == 130
    if output == "out.mp4":
        assert len(read_film(output)[0]) == frames  # playable
    if output == "out.zarr":
        Path(output, "8b2f.partial").write_bytes(b"half a chunk")  # as zarr leaves it when it is killed
    outcome = omniup(*command, "-o", output)
    assert outcome.status == 0, outcome.stderr
    assert ("goes on after frame 6" in outcome.stderr) == (frames == 7)
    assert contents(output) == contents(whole)
    assert not Path(f"{output}.unfinished").exists()


def contents(output):
    """The bytes of a file, or of the files of a folder but for the record."""
    place = Path(output)
    if place.is_file():
        return place.read_bytes()
    files = sorted(path for path in place.rglob("*") if path.is_file() and path.name != "omniup.json")
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_killed_at_random_it_goes_on_with_the_same_bytes(folder, film, probabilities, short_parts):
    def start(output):
        return Fork(lambda: main(["video", str(film), "--signal", probabilities, "-o", output, "-q"]))

    began = time.monotonic()
    assert start("whole.mp4").wait() == 0
    lasts, killed, draw = time.monotonic() - began, 0, random.Random(0)
    while killed < tries(3, 20):
        if Path("out.mp4").exists():  # it was quicker than the first time, which others had slowed down
            Path("out.mp4").unlink()
            lasts *= 0.7
        process = start("out.mp4")
        time.sleep(lasts * draw.uniform(0.3, 0.9))
        killed += process.is_killed()
    if not Path("out.mp4").exists():
        assert start("out.mp4").wait() == 0
    assert Path("out.mp4").read_bytes() == Path("whole.mp4").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_interrupted_by_a_signal_the_film_is_playable(interruptible, film, monkeypatch):
    step = library.VideoUpsampler.step

    def slower(*arguments, **options):
        print("step", flush=True)
        time.sleep(0.1)
        return step(*arguments, **options)

    monkeypatch.setattr(library.VideoUpsampler, "step", slower)
    process = Fork(lambda: main(["video", str(film), "--encoder", "projection", "-o", "out.mp4"]), "said")
    while Path("said").read_bytes().count(b"step") < 4:
        time.sleep(0.01)
        assert process.is_running()
    process.send(signal.SIGINT)
    status, said = process.wait(), Path("said.err").read_bytes()
    assert status == 130, said
    assert said.endswith(b"omniup: interrupted\n") and said.count(b"\n") <= 2
    assert 1 <= len(read_film("out.mp4")[0]) <= 5


def test_other_settings_are_no_run_to_go_on_with(omniup, refusal, film, probabilities, short_parts, monkeypatch):
    command = ("video", film, "--signal", probabilities, "-o", "out.mp4")
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        assert omniup(*command).status == 130
    assert "run with other settings (opacity)" in refusal(*command, "--opacity", 0.2)
    assert omniup(*command, "--opacity", 0.2, "--overwrite").status == 0
    assert refusal(*command).startswith("out.mp4 exists already")


def test_a_run_that_is_refused_leaves_nothing(refusal, film, probabilities, monkeypatch):
    stop_after(monkeypatch, 2, library.InputError("signal", "is broken"))
    for output in ("out.mp4", "out.zarr", "out"):
        assert refusal("video", film, "--signal", probabilities, "-o", output) == "signal is broken\n"
        assert not Path(f"{output}.unfinished").exists()
    assert not Path("out.mp4").exists()


def test_outputs_are_guarded(omniup, refusal, film, probabilities):
    command = ("video", film, "--signal", probabilities, "-o")
    assert "is an input" in refusal("video", film, "--encoder", "projection", "-o", film, "--overwrite")
    Path("out").mkdir()
    Path("out/frame-000000.npy").write_text("another's")
    assert "holds files of frames already" in refusal(*command, "out")
    Path("some.zarr").mkdir()
    Path("some.zarr/zarr.json").write_text("another's")
    assert "exists already" in refusal(*command, "some.zarr")
    assert omniup(*command, "out", "--overwrite", "--frames", 2).status == 0
    assert omniup(*command, "out", "--frames", 1).status == 0  # its own
    assert [path.name for path in Path("out").glob("frame-*")] == ["frame-000000.npy"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--signal and --encoder are given together, or neither is"),
        (("--encoder", "projection", "--signal", "x.npy"), "--signal and --encoder are given together"),
        (("--encoder", "nothing"), "is 'nothing', which is no encoder"),
        (("--signal", "lacking.npy"), "lacking.npy cannot be read"),
        (("--signal", "short.npy"), "--signal has signals of 3 frames, and film.mp4 has 11"),
        (("--encoder", "projection", "--show", "depth"), "--show is depth, and the signal has 32 channels"),
        (("--encoder", "projection", "--show", "art"), "--show is 'art'; accepted: labels, depth, pca, similarity"),
        (("--encoder", "projection", "--show", "similarity"), "--similar and --show similarity do not go together"),
        (("--encoder", "projection", "--similar", "99,0"), "--similar is 99,0; accepted: pixels of the first frame"),
        (("--encoder", "projection", "-o", "out.avi"), "out.avi has the suffix '.avi'"),
        (("--encoder", "projection", "--show", "pca", "-o", "out.zarr"), "--show is given, and out.zarr holds arrays"),
    ],
)
def test_wrong_input_is_refused_in_one_line(refusal, film, arguments, said):
    np.save("short.npy", np.zeros((3, 2, 6, 8), np.float32))
    output = () if "-o" in arguments else ("-o", "out.mp4")
    assert said in refusal("video", film, *arguments, *output)
    assert {path.name for path in Path().iterdir()} == {"film.mp4", "short.npy"}


def test_what_is_no_film_is_refused(refusal, folder):
    Path("text.mp4").write_text("no film")
    assert refusal("video", "text.mp4", "--encoder", "projection", "-o", "out.mp4").startswith(
        "text.mp4 cannot be read"
    )
