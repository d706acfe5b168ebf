"""What only processes of their own can show: being killed, and working together."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from omniup.training.anyup import read_configuration, train
from omniup.training.anyup.trainer import _Training
from omniup.training.checkpoints import Checkpoints

LONG = 1_000_000
TIMEOUT = 240


@pytest.fixture
def configuration(smallest, write):
    return write(smallest | {"checkpoints": {"every": 3, "keep": 2}})


@pytest.fixture
def start():
    """Start `omniup train anyup` with as many threads as this process has; ended after the test, if need be."""
    started = []

    def run(*arguments, launcher=("-m",)):
        environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "ACCELERATE_USE_CPU": "true"}
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
    killed_weights = load_file(tmp_path / "killed/anyup.safetensors")
    assert all(torch.equal(weight, whole[name]) for name, weight in killed_weights.items())


@pytest.mark.usefixtures("accelerate")
def test_two_processes_do_what_one_would_with_all_of_their_photographs(configuration, start, tmp_path):
    launcher = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1")
    launcher += ("--mixed_precision", "no", "--dynamo_backend", "no", "-m")
    process = start(configuration, "-o", tmp_path / "two", "--set", "steps=4", "--json", launcher=launcher)
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, stderr
    outcome = json.loads(stdout)  # one object: only the first process reports
    assert (outcome["step"], outcome["finished"]) == (4, True)
    assert Checkpoints(tmp_path / "two/checkpoints").steps() == [3, 4]

    alone = _Training(read_configuration(configuration), tmp_path / "alone", None)
    expected = []
    for step in range(4):
        loss = 0
        for process, positions in enumerate(([4 * step, 4 * step + 1], [4 * step + 2, 4 * step + 3])):
            images = torch.stack([alone.squares[position] for position in positions])
            loss = loss + alone.objective(**alone._batch(images, step, process))["loss"] / 2
        loss.backward()
        alone.optimiser.step()
        alone.optimiser.zero_grad()
        expected.append(loss.item())
    assert [loss for _, loss in losses(tmp_path / "two")] == pytest.approx(expected, rel=1e-4)
