"""What only processes of their own can show: being killed, and working together."""

import os

import pytest
import torch
from safetensors.torch import load_file

from omniup.training.anyup import read_configuration, train
from omniup.training.anyup.trainer import _Training
from omniup.training.checkpoints import Checkpoints
from support.training import in_two_processes, kill_after, scalars

LONG, LOSS = 1_000_000, "training/loss"


@pytest.fixture
def configuration(smallest, write):
    return write(smallest | {"checkpoints": {"every": 3, "keep": 2}})


@pytest.mark.usefixtures("accelerate")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_killed_training_goes_on_to_the_last_bit(configuration, tmp_path):
    kill_after(6, tmp_path / "killed", "anyup", configuration, "--set", f"steps={LONG}")
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
def test_two_processes_do_what_one_would_with_all_of_their_photographs(configuration, tmp_path):
    outcome = in_two_processes("anyup", configuration, tmp_path / "two", "--set", "steps=4")
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
