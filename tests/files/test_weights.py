import hashlib
import io
import urllib.request
from http.client import IncompleteRead
from urllib.error import URLError

import pytest
import torch

from omniup.errors import InputError
from omniup.files.weights import WeightsUnavailableError, published_state_dict, read_state_dict

STATE = {"bias": torch.arange(3.0)}


def saved():
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    return buffer.getvalue()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch.hub's cache, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def published(tmp_path):
    """A file that is published under a file:// address, named after its checksum."""
    content = saved()
    path = tmp_path / f"network-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    path.write_bytes(content)
    return path


def test_what_is_no_state_dict_is_refused_in_one_line_that_tempts_nobody(tmp_path):
    torch.save(STATE | {"code": print}, path := tmp_path / "odd\nname.pth")
    with pytest.raises(
        InputError, match=r"^'/.*odd\\nname\.pth' cannot be read \(Weights only load failed\); accepted: "
    ):
        read_state_dict(path)
    for content, held in (([1], "a list"), ({}, "a dict"), ({"epoch": 3}, "a dict of epoch")):
        torch.save(content, path)
        with pytest.raises(InputError, match=f"holds {held}; accepted: a state dict"):
            read_state_dict(path)


def test_it_is_fetched_once_and_then_found_in_the_cache(cache, published):
    url = published.as_uri()
    assert torch.equal(published_state_dict(url)["bias"], STATE["bias"])
    assert [path.name for path in cache.iterdir()] == [published.name]
    published.unlink()
    assert torch.equal(published_state_dict(url)["bias"], STATE["bias"])


def test_a_file_cut_short_in_the_cache_is_fetched_again(cache, published):
    cache.mkdir(parents=True)
    (cache / published.name).write_bytes(published.read_bytes()[:100])
    assert torch.equal(published_state_dict(published.as_uri())["bias"], STATE["bias"])
    assert (cache / published.name).read_bytes() == published.read_bytes()


@pytest.mark.parametrize(
    "error", [URLError("Name or service not known"), TimeoutError("timed out"), IncompleteRead(b"half")]
)
def test_network_trouble_ends_the_only_attempt_and_leaves_nothing_behind(cache, monkeypatch, error):
    attempts = []

    def fail(url, timeout):
        attempts.append((url, timeout))
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    with pytest.raises(WeightsUnavailableError, match=r"^https://example.org/network-01234567.pth: "):
        published_state_dict("https://example.org/network-01234567.pth")
    assert attempts == [("https://example.org/network-01234567.pth", 10.0)]
    assert not cache.exists() or not any(cache.iterdir())


def test_another_content_than_the_name_says_is_not_kept(cache, published):
    impostor = published.with_name("network-00000000.pth")
    published.rename(impostor)
    with pytest.raises(WeightsUnavailableError, match="does not have the checksum 00000000"):
        published_state_dict(impostor.as_uri())
    assert not cache.exists() or not any(cache.iterdir())


def test_a_cache_that_cannot_be_written_is_no_crash(cache, published):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    with pytest.raises(WeightsUnavailableError):
        published_state_dict(published.as_uri())
