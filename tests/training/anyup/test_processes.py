"""What only processes of their own can show: being killed, and working together."""

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from omniup.training.anyup import read_configuration, train
from omniup.training.anyup.trainer import _Training
from omniup.training.checkpoints import Checkpoints
from support.training import TIMEOUT, scalars, starter, wait_for

LONG, LOSS = 1_000_000, "training/loss"


@pytest.fixture
def configuration(smallest, write):
    return write(smallest | {"checkpoints": {"every": 3, "keep": 2}})


@pytest.fixture
def start():
    """Start `omniup train anyup` in a process of its own."""
    with starter("anyup") as run:
        yield run


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
    assert scalars(tmp_path / "killed", LOSS) == scalars(tmp_path / "whole", LOSS)
    assert [step for step, _ in scalars(tmp_path / "whole", LOSS)] == list(range(1, begun + 6))
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
    assert [loss for _, loss in scalars(tmp_path / "two", LOSS)] == pytest.approx(expected, rel=1e-4)


def test_a_second_training_in_a_folder_is_refused_and_a_killed_one_holds_nothing(configuration, start, tmp_path):
    first = start(configuration, "-o", tmp_path / "run", "--set", f"steps={LONG}")
    wait_for(first, tmp_path / "run", 3)
    second = start(configuration, "-o", tmp_path / "run", "--resume")
    _, said = second.communicate(timeout=TIMEOUT)
    assert (second.returncode, said.count("\n")) == (2, 1)
    assert said.startswith(f"omniup: {tmp_path / 'run'} is being written by another process; accepted: to wait")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    third = start(configuration, "-o", tmp_path / "run", "--from-scratch", "--set", "steps=1")
    _, said = third.communicate(timeout=TIMEOUT)
    assert third.returncode == 0, said
    assert Checkpoints(tmp_path / "run/checkpoints").steps() == [1]
    assert list((tmp_path / "run").rglob(".*")) == []
