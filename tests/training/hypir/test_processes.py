"""What only processes of their own can show: being killed, and working together; and what the commands make of it."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file

from omniup.cli import main
from omniup.files import read_image
from omniup.restoration import Enhancer
from omniup.training.checkpoints import Checkpoints
from omniup.training.hypir import read_configuration, train
from omniup.training.hypir.trainer import _Training
from support.forks import Fork
from support.training import kill_after, scalars

LONG = 1_000_000

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@pytest.fixture
def configuration(smallest, write):
    return write(smallest | {"checkpoints": {"every": 2, "keep": 2}})


@pytest.mark.usefixtures("accelerate")
def test_a_killed_training_goes_on_to_the_last_bit_and_restores(configuration, tmp_path):
    kill_after(2, tmp_path / "killed", "hypir", configuration, "--set", f"steps={LONG}")
    begun = Checkpoints(tmp_path / "killed/checkpoints").steps()[-1]

    wanted = read_configuration(configuration, {"steps": begun + 2})
    outcome = train(wanted, tmp_path / "killed", resume=True)
    train(wanted, tmp_path / "whole")
    for name in ("training/loss", "training/mse", "training/adversarial", "training/discriminator"):
        found = scalars(tmp_path / "killed", name)
        assert found == scalars(tmp_path / "whole", name)
        assert [step for step, _ in found] == list(range(1, begun + 3))
    weights, whole = load_file(outcome.weights), load_file(tmp_path / "whole/hypir.safetensors")
    assert all(torch.equal(weight, whole[name]) for name, weight in weights.items())

    arguments = ["restore", "sample:chelsea", "-o", str(tmp_path / "restored.png"), "--longest-side", "128", "-q"]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--model", "tiny", "--weights", str(outcome.weights), "--colour", "none"])
    assert left.value.code == 0
    image = read_image(tmp_path / "restored.png")
    enhancer = Enhancer.from_pretrained("tiny", weights=tmp_path / "whole/hypir.safetensors")
    from omniup.files import image_tensor, sample_image

    expected = enhancer(image_tensor(sample_image("chelsea")), longest_side=128, colour="none")
    torch.testing.assert_close(image, expected, atol=1 / 255, rtol=0)


def test_two_processes_do_what_one_would_with_all_of_their_photographs(accelerate, configuration, tmp_path):
    # Not by `accelerate launch`, as in tests/training/anyup: two that are forked from one have imported everything.
    arguments = ["train", "hypir", str(configuration), "-o", str(tmp_path / "two"), "--set", "steps=2", "--json"]
    launched = Fork(lambda: accelerate.debug_launcher(main, (arguments,), num_processes=2) or 0, tmp_path / "said")
    assert launched.wait() == 0, (tmp_path / "said.err").read_text()
    # one object: only the first process reports
    assert json.loads((tmp_path / "said").read_text())["finished"] is True
    place = tmp_path / "two/checkpoints/step-00000002"
    assert {path.name for path in place.glob("process-*")} == {"process-0.pt", "process-1.pt"}

    wide = {"degradation.pool_size": 4}  # so that here, too, either process's first batch is given back as it is
    alone = _Training(read_configuration(configuration, wide), tmp_path / "alone", None)
    alone.accelerator = _Seen(alone.accelerator)
    expected = 0.0
    for process in range(2):
        alone.accelerator.process_index = process
        squares = [alone.squares[position] for position in (2 * process, 2 * process + 1)]
        batch = alone._batch(torch.stack([image for image, _ in squares]), [prompt for _, prompt in squares], 0)
        critic = alone.discriminator.eval()
        expected += alone.objective(**batch, critic=critic, measure=False)["loss"].item() / 2
    assert scalars(tmp_path / "two", "training/loss")[0][1] == pytest.approx(expected, rel=1e-4)


class _Seen:
    """An accelerator that can be told which process it is."""

    def __init__(self, accelerator):
        self._accelerator = accelerator

    def __getattr__(self, name):
        return getattr(self._accelerator, name)
