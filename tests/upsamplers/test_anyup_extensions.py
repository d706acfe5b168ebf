"""What holds of all extensions that change AnyUp's network: how their weights are saved and loaded."""

import pytest
import torch

import omniup.nn
from omniup import AnyUp, InputError
from omniup.files import write_tensors
from omniup.upsamplers.anyup.network import EXTENSIONS
from support.anyup import random_anyup

#: An extension and a setting that switches it on.
SETTINGS = {"dynamic_basis": True, "pyramid": (0.05, 0.2), "implicit": True}
IMAGE, SIGNAL = torch.rand(1, 3, 24, 32), torch.randn(1, 7, 4, 5)


def test_each_extension_is_tested():
    assert set(SETTINGS) == set(EXTENSIONS)


@pytest.fixture(params=EXTENSIONS)
def extension(request):
    return request.param


@pytest.fixture
def plain(tmp_path):
    """Weights without any extension, and their file."""
    network = random_anyup()
    write_tensors(tmp_path / "plain.safetensors", network.state_dict(), network.metadata())
    return network, tmp_path / "plain.safetensors"


def test_an_untrained_extension_changes_nothing(plain, extension):
    network, path = plain
    extended = AnyUp.from_pretrained(path, **{extension: SETTINGS[extension]})
    assert extended.settings[extension] == SETTINGS[extension] != network.settings[extension]
    for memory in ("2MB", "1GB"):
        expected = network(IMAGE, SIGNAL, memory=memory)
        torch.testing.assert_close(extended(IMAGE, SIGNAL, memory=memory), expected, rtol=0, atol=1e-5)


def test_it_is_a_setting_of_the_method(plain, extension):
    _, path = plain
    layer = omniup.nn.Upsample("anyup", weights=str(path), **{extension: SETTINGS[extension]})
    assert any(f".{extension}." in name for name in layer.state_dict())
    expected = omniup.upsample(IMAGE, SIGNAL, method="anyup", weights=str(path))
    torch.testing.assert_close(layer(IMAGE, SIGNAL), expected, rtol=0, atol=1e-5)


def test_the_same_seed_makes_the_same_of_the_rest(extension):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        plain = AnyUp().state_dict()
        torch.manual_seed(3)
        extended = AnyUp(**{extension: SETTINGS[extension]}).state_dict()
    assert all(torch.equal(value, extended[name]) for name, value in plain.items())


def test_a_file_tells_of_an_extension(extension, tmp_path):
    network = random_anyup(**{extension: SETTINGS[extension]})
    write_tensors(tmp_path / "own.safetensors", network.state_dict(), network.metadata())
    again = AnyUp.from_pretrained(tmp_path / "own.safetensors")
    assert again.settings == network.settings
    assert torch.equal(again(IMAGE, SIGNAL), network(IMAGE, SIGNAL))
    network.save_pretrained(tmp_path / "folder")
    assert AnyUp.from_pretrained(tmp_path / "folder").settings == network.settings


def test_weights_of_an_extension_are_whole_and_wanted(extension, tmp_path):
    network = random_anyup(**{extension: SETTINGS[extension]})
    state, path = network.state_dict(), tmp_path / "weights.safetensors"
    last = [name for name in state if name.startswith(f"{extension}.")][-1]
    write_tensors(path, {name: value for name, value in state.items() if name != last}, network.metadata())
    with pytest.raises(InputError, match=rf"^weights is .*, which does not fit AnyUp \(.*{last}"):
        AnyUp.from_pretrained(path)
    write_tensors(path, state, {})
    with pytest.raises(InputError, match=rf"^weights is .*, which does not fit AnyUp \(.*{last}"):
        AnyUp.from_pretrained(path)
