"""`omniup serve`: the settings that it starts the server with."""

import pytest

from omniup.restoration.base_model import PUBLISHED

web = pytest.importorskip("omniup.web")


@pytest.fixture
def started(monkeypatch):
    """The settings of the servers that would have been started."""
    settings = []
    monkeypatch.setattr(web, "serve", lambda chosen, **_: settings.append(chosen))
    return settings


def test_sources_of_the_base_model(omniup, refusal, started):
    assert omniup("serve").status == 0
    sources = ("--base", "a/b", "--base", "folder")
    assert omniup("serve", "--restore-model", PUBLISHED, *sources).status == 0
    assert [each.restore_base for each in started] == [(), ("a/b", "folder")]
    assert started[1].restore_model == PUBLISHED
    said = refusal("serve", *sources)
    assert said.startswith("base is given, and the model is small; accepted: sources of the model hypir")
    assert len(started) == 2
