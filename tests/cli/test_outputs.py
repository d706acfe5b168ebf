"""No command loses a file: inputs, files of others, what another process writes; nor leaves any when it is ended."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("kornia")
pytest.importorskip("diffusers")

INPUT, THERE = "is an input, which the result would overwrite", "exists already; accepted: another name, or --overwrite"
TINY = ("--model", "tiny", "--longest-side", 64)


def names(folder="."):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def contents(folder="."):
    return {name: Path(folder, name).read_bytes() for name in names(folder)}


@pytest.fixture
def kernels(omniup, photo):
    assert omniup("fit", photo, "--grid", "3x4", "--iters", 0, "-o", "kernels.safetensors").status == 0
    return "kernels.safetensors"


def test_no_command_overwrites_an_input(refusal, photo, features, kernels):
    Path("pairs/gt").mkdir(parents=True)
    Image.open(photo).save("pairs/gt/photo.png")
    Image.open(photo).save("original.png")
    Path("link.npy").symlink_to(features)
    Path("hard.npy").hardlink_to(features)
    before = contents()
    for command in [
        ("upsample", photo, features, "-o", features),
        ("upsample", photo, features, "-o", photo),
        ("upsample", photo, features, "-o", "link.npy"),
        ("upsample", photo, "link.npy", "-o", Path(features).resolve()),
        ("upsample", photo, "hard.npy", "-o", f"./{features}"),
        ("render", kernels, features, "-o", kernels),
        ("render", kernels, features, "-o", "out.npy", "--confidence", features),
        ("reconstruct", "original.png", "-o", "."),
        ("degrade", "pairs/gt/photo.png", "pairs"),
        ("restore", photo, "-o", ".", *TINY),
        ("restore", photo, "-o", photo, *TINY),
    ]:
        for overwrite in ((), ("--overwrite",)):
            assert INPUT in refusal(*command, *overwrite), command
            assert contents() == before


def test_two_results_of_one_name_are_refused(refusal, kernels, features):
    said = refusal("render", kernels, features, "-o", "out.npy", "--confidence", "./out.npy")
    assert said.startswith("--confidence is the file of --output")


def test_no_command_overwrites_what_another_wrote(omniup, refusal, photo, features, kernels):
    Path("out/gt").mkdir(parents=True)
    for name in ("out.npy", "out.safetensors", "trust.npy", "out.png", "out/photo.png", "out/sheet.png"):
        Path(name).write_text("mine")
    before = contents()
    commands = {
        ("upsample", photo, features, "-o", "out.npy", "--method", "bilinear"): "out.npy",
        ("fit", photo, "--stride", 16, "--iters", 0, "-o", "out.safetensors"): "out.safetensors",
        ("render", kernels, features, "-o", "new.npy", "--confidence", "trust.npy"): "trust.npy",
        ("reconstruct", photo, "-o", "out", "--iters", 1): "out/sheet.png",
        ("degrade", photo, "out"): "out/sheet.png",
        ("restore", photo, "-o", "out", *TINY): "out/photo.png",
        ("restore", photo, "-o", "out.png", *TINY): "out.png",
    }
    for command, name in commands.items():
        assert f"{name} {THERE}" in refusal(*command)
        assert contents() == before
    for command, name in commands.items():
        assert omniup(*command, "--overwrite").status == 0
        assert contents()[name] != b"mine"


def test_what_a_command_wrote_it_replaces(omniup, photo):
    for command in [
        ("reconstruct", photo, "-o", "out", "--iters", 1, "--quiet"),
        ("degrade", photo, "pairs"),
        ("restore", photo, "-o", "restored", *TINY),
        ("restore", photo, "-o", "restored", *TINY, "--seed", 1),
    ]:
        for _ in range(2):
            outcome = omniup(*command)
            assert outcome.status == 0, outcome
    record = json.loads(Path("out/omniup.json").read_text())
    assert set(record["reconstruct"]) == names("out") - {"omniup.json"}


def test_degrading_more_pictures_keeps_the_record_of_the_first(omniup, refusal, photo):
    Image.open(photo).save("other.png")
    for picture in (photo, "other.png", photo):
        assert omniup("degrade", picture, "pairs").status == 0
    lines = [json.loads(line) for line in Path("pairs/record.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == ["photo.png", "other.png"]
    again = ("degrade", photo, "pairs", "--config", "pairs/degradation.yaml")
    assert omniup(*again).status == 0  # it need not be written
    Path("mild.yaml").write_text("second: {noise: {gaussian: 1.0}}\n")
    before = contents()
    assert "pairs/degradation.yaml has other numbers" in refusal("degrade", photo, "pairs", "--config", "mild.yaml")
    assert contents() == before


def test_a_full_disk_changes_no_result(omniup, refusal, photo, monkeypatch):
    command = ("reconstruct", photo, "-o", "out", "--iters", 1, "--quiet")
    assert omniup(*command).status == 0
    before = contents("out")
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert "cannot be written (No space left on device)" in refusal(*command, "--set", "radius=1")
    assert contents("out") == before


# ---- processes

ENDLESS = ("--iters", "100000", "--verbose")


@pytest.fixture
def start(folder):
    """Start a command and wait for a line of what it says."""
    started = []

    def run(*arguments, until):
        command = [sys.executable, "-m", "omniup", *map(str, arguments)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        started.append(process)
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith(until):
                return process
        raise AssertionError("".join(said))

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def endless(photo):
    """Commands that do not end, by their outputs."""
    Image.fromarray(np.zeros((256, 256), np.uint8)).save("large.png")
    np.save("signal.npy", np.zeros((16, 16), np.float32))
    return {
        "out.npy": ("upsample", "large.png", "signal.npy", "-o", "out.npy", "--method", "upsample_anything", *ENDLESS),
        "out": ("reconstruct", "large.png", "-o", "out", *ENDLESS),
        "restored": ("restore", "large.png", "-o", "restored", "--model", "tiny", "--scale", "8", "--tile", "64", "-v"),
    }


FIRST = {"out.npy": "iteration 0", "out": "iteration 0", "restored": "large.png: tile "}


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("output", FIRST)
def test_ended_by_the_system_a_command_tidies_up(output, number, endless, start):
    before = contents()
    process = start(*endless[output], until=FIRST[output])
    process.send_signal(number)
    assert process.communicate()[1].splitlines()[-1] == "omniup: interrupted"
    assert process.returncode == 130
    assert contents() == before
    assert not Path(output).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_under_nohup_a_hangup_changes_nothing(endless, start):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start(*endless["out.npy"], until="iteration 0")
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    assert any(line.startswith("iteration") for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 130


@pytest.mark.skipif(sys.platform == "win32", reason="kills")
@pytest.mark.parametrize("output", FIRST)
def test_a_second_process_is_refused_until_the_first_is_killed(output, endless, start, omniup, refusal):
    process = start(*endless[output], until=FIRST[output])
    short = {
        "out.npy": ("upsample", "large.png", "signal.npy", "-o", "out.npy", "--method", "bilinear"),
        "out": ("degrade", "large.png", "out"),
        "restored": ("restore", "large.png", "-o", "restored", *TINY),
    }[output]
    for overwrite in ((), ("--overwrite",)):
        assert f"{output} is being written by another process" in refusal(*short, *overwrite)
    process.kill()
    process.wait()
    outcome = omniup(*short)
    assert outcome.status == 0, outcome
    left = {name for name in names() if Path(name).name.startswith(".")}
    assert left == set()


@pytest.mark.skipif(sys.platform == "win32", reason="kills")
def test_degrading_that_is_killed_leaves_whole_pairs_on_record_and_goes_again(omniup, photo, start):
    Path("photos").mkdir()
    for index in range(60):
        Image.open(photo).resize((200, 150)).save(f"photos/{index:02}.png")
    command = [sys.executable, "-m", "omniup", "degrade", "photos", "pairs"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(Path("pairs/lq").glob("*.png"))) < 3:
            pass
        process.kill()
    assert process.returncode == -signal.SIGKILL
    *whole, _ = Path("pairs/record.jsonl").read_text().split("\n")
    assert 2 <= len(whole) < 60
    for line in whole:
        for half in ("gt", "lq"):
            with Image.open(Path("pairs", half, json.loads(line)["name"])) as picture:
                picture.load()
    assert omniup("degrade", "photos", "pairs").status == 0
    assert len(Path("pairs/record.jsonl").read_text().splitlines()) == 60
    assert not [name for name in names("pairs") if ".part" in name or ".lock" in name]
