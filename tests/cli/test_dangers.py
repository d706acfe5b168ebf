"""No command loses, mixes or litters files: killed, ended, on a full disk, over other files, or beside another process.

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
from safetensors.torch import load

from support.benchmark import small_data
from support.dangers import Held, States, contents, full_from, moments, restore, signal_at
from support.films import pictures, read_film, write_film
from support.forks import Fork
from support.streets import write_streets

for package in ("accelerate", "av", "cv2", "diffusers", "peft", "pyarrow", "tensorboard", "timm"):
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
        overwrites: whether it has the option.
        goes_on: whether a run that was stopped leaves a folder beside its results, which the next goes on from, and
            where it was interrupted, a result of what was done.
    """

    arguments: str
    again: str = ""
    tried: int = 99
    partial: tuple = field(default=())
    overwrites: bool = True
    goes_on: bool = False


TINY = "--model tiny --longest-side 64"
VIDEO = "video film.mp4 --signal probabilities.npy --method bilinear"
MASKS = "--data DATA --task masks --images 1 --method bilinear"
COMMANDS = {
    "upsample": Command(
        "upsample photo.png features.npy -o out.npy --confidence trust.png --method bilinear", "--overwrite"
    ),
    "fit": Command("fit photo.png --stride 16 --iters 1 -o out.safetensors", "--overwrite"),
    "render": Command("render kernels.safetensors features.npy -o out.npy --confidence trust.npy", "--overwrite"),
    "reconstruct": Command("reconstruct photo.png -o out --iters 1 --features", tried=6),
    "degrade": Command("degrade photos out", tried=7, partial=("out/record.jsonl",)),
    "restore": Command(f"restore photos -o out {TINY}", tried=4),
    "restore one": Command(f"restore photo.png -o out.png {TINY}", tried=3),
    "train anyup": Command("train anyup anyup.yaml -o out --resume", tried=3, overwrites=False),
    "train hypir": Command("train hypir hypir.yaml -o out --resume", tried=2, overwrites=False),
    "bench quality": Command(
        f"bench quality {MASKS} --factor 8 --factor 16 -o out.jsonl", partial=("out.jsonl",), overwrites=False
    ),
    "bench speed": Command(
        "bench speed --method bilinear --size 64 -o out.jsonl", partial=("out.jsonl",), overwrites=False
    ),
    "batch": Command("batch job.yaml", tried=9, partial=("out/_job/manifest.jsonl",), overwrites=False),
    "video": Command(f"{VIDEO} -o out.mp4", "--overwrite", tried=9, goes_on=True),
    "video arrays": Command(f"{VIDEO} -o out", "--overwrite", tried=6, goes_on=True),
    "bench report": Command("bench report old.jsonl -o page.md"),
    "bench panels": Command("bench panels -o out --data STREETS --images 2 --method bilinear", tried=4),
}
LET_GO = ("upsample", "reconstruct", "degrade", "bench quality")
"""Commands of which it is seen that a second process does not disturb the first: one of each kind."""

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
JOB = {
    "source": {"kind": "folder", "path": "photos"},
    "signals": {"colours": {"kind": "encoder", "name": "projection"}},
    "keep": {"pca": {"kind": "components", "of": "colours", "count": 2}},
    "method": "bilinear",
    "output": {"kind": "parquet", "path": "out", "part": 1},
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
    from omniup.sequences import job
    from omniup_bench import panels, plots, speed

    small = Image.new("RGB", (4, 4))
    monkeypatch.setattr(pictures, "names", lambda *, fitted: ("sheet", "loss"))
    monkeypatch.setattr(pictures, "pictures", lambda made, title: {"sheet": small, "loss": small})
    monkeypatch.setattr(panels, "feature_sheet", lambda *_: small)
    monkeypatch.setattr(plots, "quality_against_cost", lambda _, cost: cost.encode())
    monkeypatch.setattr(speed, "_run_in_process", lambda case: SPEED)
    monkeypatch.setattr(job, "PART", 2)
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
        write_film(Path("film.mp4"), pictures(5))
        np.save("probabilities.npy", np.random.default_rng(2).dirichlet(np.ones(3), (5, 6, 8)).transpose(0, 3, 1, 2))
        np.save("features.npy", np.random.default_rng(1).standard_normal((5, 3, 4)).astype(np.float32))
        Path("job.yaml").write_text(yaml.safe_dump(JOB))
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
        """The numbers of at most that many moments, the first and the last included."""
        return np.linspace(0, self.count - 1, min(count, self.count)).round().astype(int).tolist()


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
        return {key: tensor.tolist() for key, tensor in load(content).items()}
    return content


def hidden(state):
    return [name for name in state if any(part.startswith(".") for part in name.split("/"))]


def check_whole(name, state, inputs, wanted):
    """Nothing of the inputs is lost, and whatever has a result's name is that result."""
    assert inputs.items() <= state.items()
    command = COMMANDS[name]
    unfinished = {key for key in state if ".unfinished/" in key} if command.goes_on else set()
    made = state.keys() - inputs.keys() - set(hidden(state)) - unfinished
    for file, fact in facts({key: state[key] for key in made}).items():
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
        if command.goes_on:
            assert run(f"{command.arguments} {command.again}").status == 0
            assert facts(contents()) == found.results


@commands
def test_on_a_disk_that_is_full_from_any_moment_on_it_leaves_whole_files_and_nothing_else(
    name, run, inputs, undisturbed
):
    command, found = COMMANDS[name], undisturbed(name)
    tried = found.some(command.tried)
    for moment in tried:
        restore(inputs)
        with moments(full_from(moment)):
            outcome = run(command.arguments)
        check_end(name, outcome, inputs, found.results, 2, "cannot be written (No space left on device)")
        if moment == tried[len(tried) // 2]:
            assert run(f"{command.arguments} {command.again}").status == 0
            assert facts(contents()) == found.results


def check_end(name, outcome, inputs, wanted, status, said):
    state = contents()
    assert outcome.status in (0, status), outcome
    assert outcome.status == 0 or said in outcome.stderr.splitlines()[-1], outcome
    assert hidden(state) == []
    if outcome.status == 130 and COMMANDS[name].goes_on and state.pop("out.mp4", None) is not None:
        assert read_film("out.mp4")[0]
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
    for end in (Held.kill, Held.let_go) if name in LET_GO else (Held.kill,):
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


@pytest.mark.parametrize("overwrite", ["", "--overwrite"])
def test_no_result_replaces_an_input(run, inputs, overwrite):
    Path("link.npy").symlink_to("features.npy")
    Path("hard.npy").hardlink_to("features.npy")
    Path("link.safetensors").symlink_to("photo.png")
    Path("pairs/gt").mkdir(parents=True)
    for name in ("pairs/gt/photo.png", "sheet.png"):
        Path(name).write_bytes(inputs["photo.png"])
    before = contents()
    for line in (
        "upsample photo.png features.npy -o features.npy",
        "upsample photo.png features.npy -o photo.png",
        "upsample photo.png features.npy -o link.npy",
        f"upsample photo.png link.npy -o {Path('features.npy').resolve()}",
        "upsample photo.png hard.npy -o ./features.npy",
        "fit photo.png --stride 16 -o link.safetensors",
        "render kernels.safetensors features.npy -o kernels.safetensors",
        "render kernels.safetensors features.npy -o out.npy --confidence features.npy",
        "reconstruct sheet.png -o .",
        "degrade pairs/gt/photo.png pairs",
        f"restore photo.png -o . {TINY}",
        f"restore photo.png -o photo.png {TINY}",
        f"{VIDEO} -o film.mp4",
        "bench report old.jsonl -o ./old.jsonl",
    ):
        outcome = run(f"{line} {overwrite}")
        assert outcome.status == 2, line
        assert "is an input, which the result would overwrite" in outcome.stderr, line
        assert contents() == before, line


def test_no_training_replaces_the_weights_that_it_begins_with(run, inputs):
    line = "train anyup anyup.yaml -o out --from-scratch --set steps=1"
    assert run(line).status == 0
    before = contents()
    outcome = run(f"{line} --set model.weights=out/anyup.safetensors")
    assert outcome.status == 2
    assert "anyup.safetensors is an input, which the result would overwrite" in outcome.stderr
    assert contents() == before


@commands
def test_no_result_replaces_a_file_of_another_s(name, run, inputs, undisturbed):
    command, found = COMMANDS[name], undisturbed(name)
    results = sorted(file for file in found.results.keys() - inputs.keys() if not re.search(r"omniup|checkp|eve", file))
    for file in (results[0], results[-1]):
        restore(inputs | {file: b"mine"})
        outcome = run(command.arguments)
        assert (outcome.status, outcome.stderr.count("\n")) == (2, 1), outcome
        assert (inputs | {file: b"mine"}).items() <= contents().items()
        assert (
            name == "bench panels" or len(contents()) == len(inputs) + 1
        )  # which knows a picture's name when it has it
    if command.overwrites and name != "bench report":  # whose page has to have its marks
        assert run(f"{command.arguments} --overwrite").status == 0
        assert facts(contents()) == found.results


def test_two_results_of_one_name_are_refused(refusal, inputs):
    for command in ("render kernels.safetensors", "upsample photo.png"):
        said = refusal(*command.split(), "features.npy", "-o", "out.npy", "--confidence", "./out.npy")
        assert said.startswith("--confidence is the file of --output")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("reconstruct", "reconstruct photo.png -o out --iters 1 --features --set radius=1"),
        ("render", "render other.safetensors features.npy -o out.npy --confidence trust.npy --overwrite"),
    ],
)
def test_new_results_are_never_mixed_with_old_ones(name, other, run, inputs):
    assert run("fit photo.png --grid 3x4 --iters 2 -o other.safetensors").status == 0
    assert run(COMMANDS[name].arguments).status == 0
    old, states = facts(contents()), States()
    with moments(states):
        assert run(other).status == 0
    new = facts(contents())
    differ = {file for file in new if old[file] != new[file]}
    assert len(differ) > 1
    for state in states.some(99):
        found = facts({file: state[file] for file in differ & state.keys()})
        assert any(all(each[file] == fact for file, fact in found.items()) for each in (old, new))


def test_a_record_describes_the_pairs_that_are_there(run, inputs):
    assert run("degrade photos out").status == 0
    old, states = contents(), States()
    with moments(states):
        assert run("degrade photos out --seed 1").status == 0
    new, count = contents(), 0
    for state in states.some(99):
        lines = {json.loads(line)["name"]: line for line in state["out/record.jsonl"].splitlines()}
        assert lines.keys() == {"0.png", "1.png"}
        for name, line in lines.items():
            if len(json.loads(line)) == 1:  # it is being replaced
                count += 1
                continue
            (written,) = (each for each in (old, new) if line in each["out/record.jsonl"])
            assert state[f"out/lq/{name}"] == written[f"out/lq/{name}"]
    assert count > 2


def test_degrading_more_pictures_keeps_the_record_of_the_first(run, inputs):
    for picture in ("photos/0.png", "photos/1.png", "photos/0.png"):
        assert run(f"degrade {picture} pairs").status == 0
    lines = [json.loads(line) for line in Path("pairs/record.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == ["0.png", "1.png"]
    assert run("degrade photos/0.png pairs --config pairs/degradation.yaml").status == 0  # it need not be written
    Path("mild.yaml").write_text("second: {noise: {gaussian: 1.0}}\n")
    before = contents()
    outcome = run("degrade photos/0.png pairs --config mild.yaml")
    assert outcome.status == 2
    assert "pairs/degradation.yaml has other numbers" in outcome.stderr
    assert contents() == before


def test_degrading_that_is_killed_goes_on(run, inputs):
    """At whichever moment it is."""
    Path("many").mkdir()
    for index in range(12):
        Path(f"many/{index:02}.png").write_bytes(inputs["photo.png"])
    degrading = Fork(lambda: run("degrade many pairs").status)
    while degrading.is_running() and len(list(Path("pairs/lq").glob("*.png"))) < 2:
        pass
    degrading.kill()
    *whole, _ = Path("pairs/record.jsonl").read_text().split("\n")
    assert 1 <= len(whole) < 12
    for line in whole:
        for half in ("gt", "lq"):
            with Image.open(Path("pairs", half, json.loads(line)["name"])) as picture:
                picture.load()
    assert run("degrade many pairs").status == 0
    assert len(Path("pairs/record.jsonl").read_text().splitlines()) == 12
    assert hidden(contents()) == []
