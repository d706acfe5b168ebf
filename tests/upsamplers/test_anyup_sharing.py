"""Trained weights go to a folder or a hub with their settings and a card, and come back as they were."""

import json

import pytest
import torch

pytest.importorskip("huggingface_hub")

from omniup import AnyUp, InputError, upsample
from support.anyup import random_anyup
from support.hub import the_endpoint


@pytest.fixture
def network():
    network = AnyUp(basis_layout="paper", window_ratio=0.2, feature_path=False)
    network.load_state_dict(random_anyup().state_dict())
    return network


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine that may be written to, and an empty cache."""
    with the_endpoint(monkeypatch, tmp_path / "cache") as hub:
        hub.room = tmp_path / "room"
        yield hub


def same(found, network):
    settings = ("basis_layout", "window_ratio", "feature_path")
    equal = [torch.equal(a, b) for a, b in zip(found.state_dict().values(), network.state_dict().values(), strict=True)]
    return all(equal) and all(getattr(found, name) == getattr(network, name) for name in settings)


def test_a_folder_has_weights_settings_and_a_card(network, tmp_path):
    folder = tmp_path / "new" / "mine"
    network.save_pretrained(folder, licence="cc-by-4.0")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert same(AnyUp.from_pretrained(folder), network) and same(AnyUp.from_pretrained(str(folder)), network)
    assert json.loads((folder / "config.json").read_text())["window_ratio"] == 0.2
    card = (folder / "README.md").read_text()
    assert "license: cc-by-4.0\n---" in card and f'from_pretrained("{folder}")' in card and "| `0.2` |" in card


def test_a_card_that_is_there_stays(network, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    network.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_refused(network, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        network.save_pretrained(tmp_path / "file")


def test_weights_go_to_the_hub_and_come_back(network, hub, tmp_path):
    where = network.push_to_hub("me/mine", licence="apache-2.0")
    assert where.startswith(f"{hub.url}/me/mine/commit/")
    card = (hub.room / "me/mine/README.md").read_text()
    assert 'from_pretrained("me/mine")' in card and "license: apache-2.0" in card
    assert same(AnyUp.from_pretrained("me/mine"), network)
    image, features = torch.rand(1, 3, 24, 32), torch.randn(1, 5, 3, 4)
    named = upsample(image, features, method="anyup", weights="me/mine", consistency=None)
    torch.testing.assert_close(named, network.eval()(image, features))


def test_a_card_on_the_hub_stays_and_weights_are_replaced(network, hub):
    network.push_to_hub("me/mine")
    (hub.room / "me/mine/README.md").write_text("mine")
    with torch.no_grad():
        next(network.parameters()).add_(1)
    network.push_to_hub("me/mine")
    assert (hub.room / "me/mine/README.md").read_text() == "mine"
    assert same(AnyUp.from_pretrained("me/mine"), network)


def test_what_is_in_the_cache_needs_no_hub(network, hub, monkeypatch):
    network.push_to_hub("me/mine")
    AnyUp.from_pretrained("me/mine")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert same(AnyUp.from_pretrained("me/mine"), network)
    assert hub.requests == []
    with pytest.raises(InputError, match=r"me/other.*HF_HUB_OFFLINE"):
        AnyUp.from_pretrained("me/other")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE forbids"):
        network.push_to_hub("me/mine")


def test_a_repository_that_there_is_not_is_named_with_what_fetches_it(hub):
    with pytest.raises(InputError, match=r"weights is me/nothing.*hf download me/nothing model\.safetensors"):
        AnyUp.from_pretrained("me/nothing")


def test_a_hub_that_refuses_is_quoted_with_how_to_log_in(network, hub):
    hub.room = None
    with pytest.raises(InputError, match=r"repository is me/mine.*403.*hf auth login"):
        network.push_to_hub("me/mine")
