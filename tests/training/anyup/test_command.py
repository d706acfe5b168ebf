import json
import signal
import subprocess
import sys

import pytest

from omniup.cli import main
from omniup.training.anyup.objective import Objective
from omniup.upsamplers.anyup import AnyUp


@pytest.fixture
def omniup(capsys):
    """Run the command in this process: its exit status, standard output and error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        return left.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def configuration(smallest, write, photo_folder):
    return str(write(smallest | {"validation": {"images": [str(photo_folder)], "count": 1, "every": 4}}))


@pytest.mark.usefixtures("accelerate")
def test_it_trains(omniup, configuration, tmp_path):
    status, out, err = omniup("train", "anyup", configuration, "-o", tmp_path, "--json")
    assert status == 0, err
    outcome = json.loads(out)
    assert (outcome["step"], outcome["finished"]) == (6, True)
    assert outcome["measured"].keys() == {
        f"cosine/{backbone}/{method}"
        for backbone in ("hog-patch4", "colours-patch2")
        for method in ("anyup", "bilinear")
    }
    assert outcome["weights"] == f"{tmp_path}/anyup.safetensors"
    assert AnyUp.from_pretrained(outcome["weights"], basis_layout="paper")
    assert err.startswith("step 4: cosine/hog-patch4/anyup ")

    status, out, err = omniup("train", "anyup", configuration, "-o", tmp_path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "holds a checkpoint after step 6" in err


@pytest.mark.usefixtures("accelerate")
def test_what_validation_found_is_a_table(omniup, configuration, tmp_path):
    status, out, _ = omniup("train", "anyup", configuration, "-o", tmp_path, "--set", "steps=1")
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["backbone", "measure"],
        ["colours-patch2", "cosine"],
        ["hog-patch4", "cosine"],
    ]


@pytest.fixture
def interruptible():
    """Heed SIGINT, which jobs in the background of a shell ignore, and with them these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("accelerate", "interruptible")
def test_interrupted_it_says_how_to_go_on(omniup, configuration, tmp_path, monkeypatch):
    forward = Objective.forward

    def interrupted(*arguments, **batch):
        signal.raise_signal(signal.SIGINT)
        return forward(*arguments, **batch)

    monkeypatch.setattr(Objective, "forward", interrupted)
    status, out, err = omniup("train", "anyup", configuration, "-o", tmp_path)
    assert (status, out) == (130, "")
    assert err.splitlines() == [
        "Stopped after step 1, of which there is a checkpoint; --resume goes on from it.",
        "omniup: interrupted",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "output is missing; accepted: a folder"),
        (["-o", "out", "--set", "optimiser.lr=1"], "optimiser.lr is no field; accepted: learning_rate"),
        (["-o", "out", "--set", "steps"], "'steps' is not name=value"),
        (["-o", "train.yaml"], "train.yaml cannot be written (File exists); accepted: a folder"),
    ],
)
def test_mistakes_are_refused_in_one_line(arguments, said, omniup, configuration, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = omniup("train", "anyup", configuration, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["train.yaml"]


def test_help_does_without_torch():
    code = "import sys; from omniup.cli import app; app(['train', 'anyup', '--help'], standalone_mode=False)"
    code += "; assert 'torch' not in sys.modules and 'yaml' not in sys.modules"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "--from-scratch" in outcome.stdout
