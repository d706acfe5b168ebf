import urllib.request
from urllib.error import URLError

import pytest
import torch


@pytest.fixture
def image():
    """Noise of odd sides: [2, 3, 97, 130] in 0..1."""
    return torch.rand(2, 3, 97, 130, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and a cache for torch.hub of its own, whose folder of checkpoints is returned."""

    def fail(url, timeout):
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def random_state():
    """The state of torch's random numbers, which must be the same after the test."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)
