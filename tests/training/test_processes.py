"""What only processes of their own can show: being killed, being told to stop, and working together."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from omniup.training import read_configuration, train
from omniup.training.checkpoints import Checkpoints

LONG = 1_000_000
TIMEOUT = 240


@pytest.fixture
def configuration(photo_folder, write):
    return write(
        {
            "data": {"images": [str(photo_folder)], "image_size": 32, "input_size": 16, "crop_size": 16, "crops": 1},
            "backbones": [{"kind": "hog", "patch": 4}, {"kind": "colours", "patch": 2}],
            "losses": {"self_consistency_size": 8},
            "checkpoints": {"every": 3, "keep": 2},
            "batch": 2,
        }
    )


@pytest.fixture
def start():
    """Start `omniup train anyup` with as many threads as this process has; ended after the test, if need be."""
    started = []

    def run(*arguments, launcher=("-m",)):
        environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        command = [sys.executable, *launcher, "omniup", "train", "anyup", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environment, **pipes))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(process, folder, step):
    """Wait until there is a checkpoint that was written after this step or a later one."""
    deadline = time.monotonic() + TIMEOUT
    while not any(found >= step for found in Checkpoints(folder / "checkpoints").steps()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def losses(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("training/loss")]


@pytest.mark.usefixtures("accelerate")
def test_a_killed_training_goes_on_to_the_last_bit(configuration, start, tmp_path):
    killed = start(configuration, "-o", tmp_path / "killed", "--set", f"steps={LONG}")
    wait_for(killed, tmp_path / "killed", 6)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    begun = Checkpoints(tmp_path / "killed/checkpoints").steps()[-1]

    wanted = read_configuration(configuration, {"steps": begun + 5})
    train(wanted, tmp_path / "killed", resume=True)
    train(wanted, tmp_path / "whole")
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert [step for step, _ in losses(tmp_path / "whole")] == list(range(1, begun + 6))
    whole = load_file(tmp_path / "whole/anyup.safetensors")
    assert all(torch.equal(weight, whole[name]) for name, weight in load_file(tmp_path / "killed/anyup.safetensors").items())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_told_to_stop_leaves_a_checkpoint(number, configuration, start, tmp_path):
    pytest.importorskip("accelerate")
    process = start(configuration, "-o", tmp_path / "run", "--set", f"steps={LONG}", "--set", "checkpoints.every=2")
    wait_for(process, tmp_path / "run", 2)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, stdout) == (130, "")
    step = Checkpoints(tmp_path / "run/checkpoints").steps()[-1]
    assert stderr.splitlines()[-2:] == [
        f"Stopped after step {step}, of which there is a checkpoint; --resume goes on from it.",
        "omniup: interrupted",
    ]
    assert not (tmp_path / "run/anyup.safetensors").exists()


def test_two_processes_share_the_work(configuration, start, tmp_path):
    pytest.importorskip("accelerate")
    launcher = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1")
    launcher += ("--mixed_precision", "no", "--dynamo_backend", "no", "-m")
    process = start(configuration, "-o", tmp_path / "two", "--set", "steps=4", "--json", launcher=launcher)
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, stderr
    outcome = json.loads(stdout)  # one object: only the first process reports
    assert (outcome["step"], outcome["finished"]) == (4, True)
    assert [step for step, _ in losses(tmp_path / "two")] == [1, 2, 3, 4]
    assert Checkpoints(tmp_path / "two/checkpoints").steps() == [3, 4]
