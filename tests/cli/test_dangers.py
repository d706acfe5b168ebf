"""No command loses, mixes or litters files: killed, ended, on a full disk, over its inputs, or beside another process.

Each command that writes, in each of these dangers. What happens at a moment happens at every moment at which a command
does something to a file, or, of the longer ones, at some of them.
"""

import json
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from omniup.files import read_tensors
from support.benchmark import small_data
from support.dangers import Held, States, contents, full_from, moments, restore, signal_at
from support.streets import write_streets

for package in ("accelerate", "diffusers", "kornia", "peft", "tensorboard", "timm"):
    pytest.importorskip(package)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks /proc for the names of files")


@dataclass
class Command:
    """A command that writes.

    Attributes:
        arguments: with which it writes its results for the first time.
        again: what is added the next time.
        tried: how many of the moments are.
        partial: results that may be there in part, as prefixes.
    """

    arguments: str
    again: str = ""
    tried: int = 99
    partial: tuple = field(default=())


TINY = "--model tiny --longest-side 64"
MASKS = "--data DATA --task masks --images 1 --method bilinear"
COMMANDS = {
    "upsample": Command("upsample photo.png features.npy -o out.npy --method bilinear", "--overwrite"),
    "fit": Command("fit photo.png --stride 16 --iters 1 -o out.safetensors", "--overwrite"),
    "render": Command("render kernels.safetensors features.npy -o out.npy --confidence trust.npy", "--overwrite"),
    "reconstruct": Command("reconstruct photo.png -o out --iters 1 --features", tried=6),
    "degrade": Command("degrade photos out", tried=7, partial=("out/record.jsonl",)),
    "restore": Command(f"restore photos -o out {TINY}", tried=6),
    "restore one": Command(f"restore photo.png -o out.png {TINY}", tried=4),
    "train anyup": Command("train anyup anyup.yaml -o out --resume", tried=3),
    "train hypir": Command("train hypir hypir.yaml -o out --resume", tried=2),
    "bench quality": Command(f"bench quality {MASKS} --factor 8 --factor 16 -o out.jsonl", partial=("out.jsonl",)),
    "bench speed": Command("bench speed --method bilinear --size 64 -o out.jsonl", partial=("out.jsonl",)),
    "bench report": Command("bench report old.jsonl -o page.md"),
    "bench panels": Command("bench panels -o out --data STREETS --images 2 --method bilinear", tried=6),
}
TOGETHER = ("render", "reconstruct", "bench report")
"""Commands whose results appear together."""

ANYUP = {
    "data": {"image_size": 32, "input_size": 16, "crop_size": 16, "crops": 1},
    "backbones": [{"kind": "colours", "patch": 2}],
    "losses": {"self_consistency_size": 8},
    "checkpoints": {"every": 1, "keep": 1},
    "steps": 2,
    "batch": 1,
}
HYPIR = {
    "data": {"image_size": 32, "keep": [0.2, 0.4]},
    "degradation": {"pool_size": 2},
    "generator": {"model": "tiny"},
    "discriminator": {"backbone": "test_convnext", "weights": "random", "width": 4},
    "losses": {"perceptual": 0},
    "checkpoints": {"every": 1, "keep": 1},
    "precision": "no",
    "steps": 2,
    "batch": 1,
}
SPEED = [
    {"stage": stage, "seconds": (1.0,), "peak_bytes": None, "failure": None} for stage in ("prepare", "render", "whole")
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The benchmark's data, which no command writes to."""
    small, streets, photos = (tmp_path_factory.mktemp(name) for name in ("small", "streets", "photos"))
    return {
        "DATA": str(small_data(small, images=1)),
        "STREETS": str(write_streets(streets)),
        "PHOTOS": str(write_photos(photos)),
    }


def write_photos(folder):
    random = np.random.default_rng(0)
    for index in range(2):
        pixels = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def cheap(monkeypatch):
    """What is drawn and timed is not what matters here."""
    from omniup.cli import interrupts, pictures
    from omniup_bench import panels, plots, speed

    small = Image.new("RGB", (4, 4))
    monkeypatch.setattr(pictures, "names", lambda *, fitted: ("sheet", "loss"))
    monkeypatch.setattr(pictures, "pictures", lambda made, title: {"sheet": small, "loss": small})
    monkeypatch.setattr(panels, "feature_sheet", lambda *_: small)
    monkeypatch.setattr(plots, "quality_against_cost", lambda _, cost: cost.encode())
    monkeypatch.setattr(speed, "_run_in_process", lambda case: SPEED)
    monkeypatch.setattr(interrupts, "RETRY", 600)  # `signal_at` tries again by itself
    monkeypatch.setattr(speed, "limits", lambda device: SimpleNamespace(copy=1.0, matmul=1.0))


@pytest.fixture
def run(omniup, data, cheap, folder):
    """A command in this process, by its line."""
    from accelerate.state import AcceleratorState, GradientState

    def start(line):
        try:
            return omniup(*(data.get(word, word) for word in line.split()))
        finally:
            AcceleratorState._reset_state(reset_partial_state=True)
            GradientState._reset_state()

    return start


_FOUND = {}


@pytest.fixture
def inputs(run, data):
    """The files that the commands read, in the current folder."""
    if "inputs" not in _FOUND:
        Path("photos").mkdir()
        write_photos(Path("photos"))
        Path("photo.png").write_bytes(Path("photos/0.png").read_bytes())
        np.save("features.npy", np.random.default_rng(1).standard_normal((5, 3, 4)).astype(np.float32))
        for name, fields in (("anyup", ANYUP), ("hypir", HYPIR)):
            named = fields | {"data": fields["data"] | {"images": [data["PHOTOS"]]}}
            Path(f"{name}.yaml").write_text(yaml.safe_dump(named))
        for line in (
            "fit photo.png --grid 3x4 --iters 0 -o kernels.safetensors",
            f"bench quality {MASKS} --factor 8 -o old.jsonl",
        ):
            assert run(line).status == 0
        _FOUND["inputs"] = contents()
    restore(_FOUND["inputs"])
    return _FOUND["inputs"]


@dataclass
class Undisturbed:
    """What a command does when nothing happens: its results, its moments, and the states of the folder at them."""

    results: dict
    count: int
    states: States

    def some(self, count):
        return sorted({round(place * (self.count - 1) / max(1, count - 1)) for place in range(min(count, self.count))})


@pytest.fixture
def undisturbed(run, inputs):
    """Run a command whole, once for all tests."""

    def find(name):
        if name not in _FOUND:
            states, numbers = States(), []
            with moments(lambda number, event: (states(), numbers.append(number))):
                outcome = run(COMMANDS[name].arguments)
            assert outcome.status == 0, outcome
            states()
            _FOUND[name] = Undisturbed(facts(contents()), len(numbers), states)
            restore(inputs)
        return _FOUND[name]

    return find


def facts(state):
    """What has to be equal, of the files of a folder."""
    return {re.sub(r"events\.out.*", "events", name): _fact(name, content) for name, content in state.items()}


def _fact(name, content):
    if content is None or "events.out" in name or name.endswith(("omniup.json", "state.pt", "-0.pt")):
        return None
    if name.endswith(".jsonl"):
        return [re.sub(rb'"(seconds|peak_bytes)":[^,}]*', b"", line) for line in content.split(b"\n")]
    if name.endswith("metrics.json"):
        return {key: value for key, value in json.loads(content).items() if key != "seconds"}
    if name.endswith("out.safetensors") or "kernels.safetensors" in name:  # their history has times
        tensors, metadata = read_tensors(name)
        return {key: tensor.tolist() for key, tensor in tensors.items()}, metadata["grid"]
    return content


def hidden(state):
    return [name for name in state if any(part.startswith(".") for part in name.split("/"))]


def check_whole(name, state, inputs, wanted):
    """Nothing of the inputs is lost, and whatever has a result's name is that result."""
    assert inputs.items() <= state.items()
    command = COMMANDS[name]
    for file, fact in facts({key: state[key] for key in state.keys() - inputs.keys() - set(hidden(state))}).items():
        if file in command.partial:
            assert fact[:-1] == wanted[file][: len(fact) - 1]
        elif "/checkpoints/" not in file and state.get(file, b"") is not None:
            assert fact == wanted[file], file


commands = pytest.mark.parametrize("name", COMMANDS)


@commands
def test_killed_at_any_moment_it_loses_nothing_and_the_next_start_finishes_and_tidies_up(
    name, run, inputs, undisturbed
):
    command, found = COMMANDS[name], undisturbed(name)
    for state in found.states.some(command.tried):
        restore(state)
        check_whole(name, state, inputs, found.results)
        outcome = run(f"{command.arguments} {command.again}")
        assert outcome.status == 0, outcome
        assert facts(contents()) == found.results


@commands
def test_ended_at_any_moment_it_leaves_whole_files_and_nothing_else(name, run, inputs, undisturbed):
    command, found = COMMANDS[name], undisturbed(name)
    for moment in found.some(command.tried):
        restore(inputs)
        with moments(signal_at(moment, signal.SIGTERM)):
            outcome = run(command.arguments)
        check_end(name, outcome, inputs, found.results, 130, "omniup: interrupted")


@commands
def test_on_a_disk_that_is_full_from_any_moment_on_it_leaves_whole_files_and_nothing_else(
    name, run, inputs, undisturbed
):
    command, found = COMMANDS[name], undisturbed(name)
    for moment in found.some(command.tried):
        restore(inputs)
        with moments(full_from(moment)):
            outcome = run(command.arguments)
        check_end(name, outcome, inputs, found.results, 2, "cannot be written (No space left on device)")
        outcome = run(f"{command.arguments} {command.again}")
        assert outcome.status == 0, outcome
        assert facts(contents()) == found.results


def check_end(name, outcome, inputs, wanted, status, said):
    state = contents()
    assert outcome.status in (0, status), outcome
    assert outcome.status == 0 or said in outcome.stderr.splitlines()[-1], outcome
    assert hidden(state) == []
    check_whole(name, state, inputs, wanted)
    made = state.keys() - inputs.keys()
    if outcome.status == 0:
        assert facts(state) == wanted
    else:
        assert not [file for file in made if state[file] is None], "an empty folder"
        assert name not in TOGETHER or not made or facts(state) == wanted, made


@commands
def test_a_second_process_is_refused_until_the_first_has_ended_or_is_killed(name, run, inputs, undisturbed):
    command, found = COMMANDS[name], undisturbed(name)
    for end in (Held.kill, Held.let_go):
        restore(inputs)
        first = Held(lambda: run(command.arguments).status, found.count // 2)
        before = contents()
        try:
            second = run(f"{command.arguments} {command.again}")
            assert second.status == 2, second
            assert re.fullmatch(r"omniup: \S+ is being written by another process; accepted: .*\n", second.stderr)
            assert contents() == before
        finally:
            status = end(first)
        if status is None:
            assert run(f"{command.arguments} {command.again}").status == 0
        assert facts(contents()) == found.results
