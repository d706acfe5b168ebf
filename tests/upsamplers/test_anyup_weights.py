import hashlib
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file

from omniup import AnyUp, InputError
from omniup.files import write_tensors
from omniup.files.licences import LICENCES, note_licence
from omniup.upsamplers.anyup import weights as room
from support.anyup import random_anyup


@pytest.fixture(scope="module")
def state():
    return random_anyup().state_dict()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch.hub's cache, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def published(tmp_path, monkeypatch, state):
    """A checkpoint that is published as "paper", under a file:// address."""
    path = tmp_path / "anyup_paper.pth"
    torch.save(state, path)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(room.PUBLISHED, "paper", room.Published(path.as_uri(), checksum))
    return path


def same(network, state):
    loaded = network.state_dict()
    return loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_from_a_file(state, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    (torch.save if suffix == ".pth" else save_file)(state, path)
    for weights in (path, str(path), path.as_uri()):
        network = AnyUp.from_pretrained(weights)
        assert same(network, state)
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_settings_are_those_asked_for(state, tmp_path):
    torch.save(state, tmp_path / "weights.pth")
    network = AnyUp.from_pretrained(tmp_path / "weights.pth", basis_layout="paper", precision="bfloat16")
    assert (network.key_features_encoder[0].layout, network.precision) == ("paper", "bfloat16")


@pytest.mark.parametrize(("metadata", "layout"), [({"layout": "paper"}, "paper"), ({}, "published")])
def test_the_layout_is_what_a_file_tells(state, tmp_path, metadata, layout):
    save_file(state, tmp_path / "weights.safetensors", metadata)
    network = AnyUp.from_pretrained(tmp_path / "weights.safetensors")
    assert network.key_features_encoder[0].layout == layout


@pytest.mark.parametrize(
    "settings",
    [{"basis_layout": "paper", "window_ratio": 1, "feature_path": False}, {"window_ratio": 0.05}, {}],
    ids=str,
)
def test_a_file_tells_the_settings_of_its_network(tmp_path, settings):
    network = random_anyup(**settings)
    write_tensors(tmp_path / "weights.safetensors", network.state_dict(), network.metadata())
    image, signal = torch.rand(1, 3, 12, 16), torch.randn(1, 5, 3, 4)
    again = AnyUp.from_pretrained(tmp_path / "weights.safetensors")
    assert torch.equal(again(image, signal), network(image, signal))
    assert again.metadata() == network.metadata()
    asked = AnyUp.from_pretrained(tmp_path / "weights.safetensors", window_ratio=0.2, feature_path=True)
    assert (asked.window_ratio, asked.feature_path) == (0.2, True)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [({"window_ratio": "wide"}, "window_ratio is 'wide'"), ({"feature_path": "1"}, "feature_path is 1")],
)
def test_a_file_that_tells_nonsense_is_refused(state, tmp_path, metadata, said):
    save_file(state, tmp_path / "weights.safetensors", metadata)
    with pytest.raises(InputError, match=rf"^{said}; accepted: "):
        AnyUp.from_pretrained(tmp_path / "weights.safetensors")


def test_the_state_dict_is_the_published_one(state):
    assert len(state) == 73
    assert sum(value.numel() for value in state.values()) == 878_080


def test_published_weights_are_fetched_once(cache, published, state):
    assert same(AnyUp.from_pretrained("paper"), state)
    assert [path.name for path in cache.iterdir()] == ["anyup_paper.pth"]
    published.unlink()
    assert same(AnyUp.from_pretrained("paper"), state)


def test_a_file_put_in_the_cache_by_hand_is_found(cache, published, state):
    cache.mkdir(parents=True)
    published.rename(cache / "anyup_paper.pth")
    assert same(AnyUp.from_pretrained("paper"), state)


def test_another_file_under_the_published_name_is_refused(cache, published, state):
    torch.save({**state, "rope.freqs": state["rope.freqs"] + 1}, published)
    with pytest.raises(InputError, match=r"^weights is 'paper', which cannot be had \(.* does not have the checksum"):
        AnyUp.from_pretrained("paper")
    assert not any(cache.iterdir())


@pytest.mark.parametrize("name", ["paper", "multi_backbone"])
def test_without_a_network_it_says_where_to_put_the_file(cache, monkeypatch, name):
    def fail(url, timeout):
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    with pytest.raises(InputError) as refusal:
        AnyUp.from_pretrained(name)
    message = str(refusal.value)
    assert "\n" not in message
    assert f"download {room.PUBLISHED[name].url} elsewhere and put it at {cache / f'anyup_{name}.pth'}" in message


@pytest.mark.parametrize("weights", ["papers", "no/such/file.pth", None, 3])
def test_what_is_no_weights_is_refused(weights):
    with pytest.raises(InputError, match=r"^weights is .*; accepted: paper, multi_backbone, omniup, a .pth or"):
        AnyUp.from_pretrained(weights)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {name: value for name, value in state.items() if name != "rope.freqs"},
        lambda state: state | {"more": torch.zeros(1)},
        lambda state: state | {"rope.freqs": torch.zeros(2, 64)},
    ],
    ids=["missing", "unexpected", "another shape"],
)
def test_weights_that_do_not_fit_are_refused(state, tmp_path, change):
    torch.save(change(state), tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"^weights is .*, which does not fit AnyUp \(") as refusal:
        AnyUp.from_pretrained(tmp_path / "weights.pth")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04"])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.pth cannot be read"):
        AnyUp.from_pretrained(tmp_path / "weights.pth")


@pytest.mark.parametrize("name", ["paper", "multi_backbone"])
def test_the_authors_files_have_the_checksums_that_are_asked_for(shared, name):
    content = (shared / "weights" / f"anyup_{name}.pth").read_bytes()
    assert hashlib.sha256(content).hexdigest() == room.PUBLISHED[name].sha256


@pytest.mark.usefixtures("cache", "published")
def test_the_licence_of_published_weights_is_stated_once(state, tmp_path, caplog):
    note_licence.cache_clear()
    torch.save(state, tmp_path / "own.pth")
    AnyUp.from_pretrained(tmp_path / "own.pth")
    assert caplog.text == ""
    for _ in range(2):
        AnyUp.from_pretrained("paper")
    assert [record.getMessage() for record in caplog.records] == [f"licence of AnyUp's weights: {LICENCES['AnyUp']}"]
    assert LICENCES["AnyUp"].startswith("CC-BY-4.0")


def test_our_own_weights_come_with_the_package(monkeypatch):
    """They need no network, and are numbers of their own; their card lies beside them."""
    monkeypatch.setattr("omniup.upsamplers.anyup.weights.fetch", lambda *_: pytest.fail("fetches"))
    anyup = AnyUp.from_pretrained("omniup")
    assert (anyup.basis_layout, anyup.window_ratio, anyup.training) == ("published", 0.1, False)
    assert {parameter.dtype for parameter in anyup.parameters()} == {torch.float32}
    assert anyup(torch.rand(1, 3, 32, 48), torch.randn(1, 5, 4, 6)).isfinite().all()
    folder = Path(room.__file__).parent / "own"
    assert (folder / "anyup.safetensors").stat().st_size < 4e6
    card = (folder / "README.md").read_text(encoding="utf-8")
    for fact in ("CC-BY-4.0", "ImageNet", "BSDS500", "does not cover"):
        assert fact in card
