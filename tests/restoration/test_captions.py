import base64
from contextlib import ExitStack
from io import BytesIO

import pytest
import torch
from PIL import Image

from omniup import InputError
from omniup.restoration import captions
from omniup.restoration.captions import KEY_VARIABLE, Captioner
from support.captions import serving

KEY = "sk-very-secret"


@pytest.fixture
def serve(monkeypatch):
    """Start a server that gives one answer after the other."""
    monkeypatch.setattr(captions, "_PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with ExitStack() as servers:
        yield lambda *answers: servers.enter_context(serving(*answers))


def test_a_caption(serve):
    server = serve("  A cup\n of coffee. ")
    image = torch.zeros(1, 3, 300, 1200)
    image[:, 0] = 1
    assert Captioner(server.url, "eyes")(image) == "A cup of coffee."
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body["model"] == "eyes"
    instruction, picture = body["messages"][0]["content"]
    assert "one sentence" in instruction["text"]
    kind, _, content = picture["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    sent = Image.open(BytesIO(base64.b64decode(content)))
    assert (sent.format, sent.size) == ("JPEG", (512, 128))
    red, green, _ = sent.getpixel((200, 60))
    assert red > 240
    assert green < 15


def test_no_key_is_needed(serve, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE)
    server = serve("A cup.")
    Captioner(f"{server.url}/chat/completions", "eyes")(torch.zeros(1, 3, 5, 5))
    ((path, headers, _),) = server.requests
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers


def test_a_busy_server_is_asked_again(serve):
    server = serve((503, {}), (429, {"Retry-After": "0"}), "A cup.")
    assert Captioner(server.url, "eyes")(torch.zeros(1, 3, 5, 5)) == "A cup."
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "problem", "attempts"),
    [
        ((500, {}), "gave no answer (status 500)", 4),
        ((401, {}), "gave no answer (status 401)", 1),
        (b"{}", "gave an answer that holds no caption", 1),
        (b"not json", "gave an answer that holds no caption", 1),
        ("", "gave an answer that holds no caption", 1),
    ],
)
def test_what_is_no_caption(serve, answer, problem, attempts):
    server = serve(answer)
    with pytest.raises(InputError) as refusal:
        Captioner(server.url, "eyes")(torch.zeros(1, 3, 5, 5))
    assert str(refusal.value) == f"caption by eyes at 127.0.0.1:{server.server_port} {problem}"
    assert len(server.requests) == attempts


def test_the_key_follows_no_redirection(serve):
    other = serve("Caught.")
    server = serve((302, {"Location": f"{other.url}/chat/completions"}))
    with pytest.raises(InputError, match="status 302"):
        Captioner(server.url, "eyes")(torch.zeros(1, 3, 5, 5))
    assert not other.requests


@pytest.mark.usefixtures("serve")
def test_a_server_that_is_not_there():
    with serving("A cup.") as server:
        pass
    with pytest.raises(InputError, match=r"no answer \(.*refused"):
        Captioner(server.url, "eyes")(torch.zeros(1, 3, 5, 5))


def test_refused_addresses_and_keys_are_not_repeated(serve, monkeypatch):
    for url in ("ftp://host/v1", "http://", "host/v1", f"http://user:{KEY}@host/v1", "http://[::1"):
        with pytest.raises(
            InputError, match=r"^caption is no address of an endpoint; accepted: http://HOST/v1"
        ) as refusal:
            Captioner(url, "eyes")
        assert KEY not in str(refusal.value)
    server = serve("A cup.")
    monkeypatch.setenv(KEY_VARIABLE, f"{KEY}\n{KEY}")
    with pytest.raises(InputError, match="holds characters that a key cannot have") as refusal:
        Captioner(server.url, "eyes")(torch.zeros(1, 3, 5, 5))
    assert KEY not in str(refusal.value)
