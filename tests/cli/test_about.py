import importlib.metadata
import json
import re
from pathlib import Path

import pytest
import torch

import omniup as library
from omniup.cli import about, options
from omniup.encoders import encoders
from omniup.files.licences import LICENCES
from omniup.mixing import DEFAULT_MEMORY
from omniup.upsamplers import DEFAULT_METHOD, PRESETS, SIGNAL_TYPES, parse_memory
from omniup.upsamplers.upsample_anything import DEFAULT_PRESET


def test_methods(omniup):
    facts = json.loads(omniup("methods", "--json").stdout)
    assert facts.keys() == library.methods().keys()
    assert facts["joint_bilateral"]["settings"]["sigma_r"] == 0.12
    table = omniup("methods").stdout.decode()
    for name, method in library.methods().items():
        assert name in table
        assert all(f"{setting}=" in table for setting in method.settings)


def test_the_stored_listing_is_that_of_the_methods():
    """Where they differ, `python tools/list_methods.py` writes it anew."""
    assert json.loads(about.LISTING.read_text("utf-8")) == json.loads(json.dumps(about.registered()))


def test_methods_of_other_packages_are_listed_too(omniup, monkeypatch):
    monkeypatch.setattr(about.importlib.metadata, "entry_points", lambda group: [group])
    monkeypatch.setattr(about, "registered", lambda: {"mine": {"summary": "adds one", "settings": {"n": 3}}})
    assert json.loads(omniup("methods", "--json").stdout) == {"mine": {"summary": "adds one", "settings": {"n": 3}}}


@pytest.mark.parametrize("group", [(), ("bench",), ("train",)])
def test_without_a_command_help_is_shown(omniup, group):
    shown, asked = omniup(*group), omniup(*group, "--help")
    assert (shown.status, shown.stderr) == (0, "")
    assert b"Usage: omniup" in asked.stdout and shown.stdout.rstrip() == asked.stdout.rstrip()


def test_encoders(omniup):
    assert json.loads(omniup("encoders", "--json").stdout) == encoders()
    assert all(name in omniup("encoders").stdout.decode() for name in encoders())


def test_info(omniup, monkeypatch):
    facts = json.loads(omniup("info", "--json").stdout)
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["threads"] == torch.get_num_threads()
    assert "cpu" in facts["devices"]
    assert facts["licences"] == LICENCES
    said = " ".join(omniup("info").stdout.decode().split())
    assert "weights of HYPIR for non-commercial use only" in said
    assert "weights of AnyUp CC-BY-4.0" in said

    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert 'not installed: pip install "omniup[features]"' in omniup("info").stdout.decode()


def test_optional_packages_are_in_the_extras_that_are_said_to_bring_them():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    for package, extra in about.OPTIONAL.items():
        assert re.search(rf'^{extra} = \[.*"{package}>=', project, re.MULTILINE)


def test_what_help_says_is_so():
    assert parse_memory(options.DEFAULT_MEMORY) == DEFAULT_MEMORY
    assert options.DEFAULT_METHOD == DEFAULT_METHOD == "pyramid_bilateral"
    assert DEFAULT_PRESET == "paper"
    assert set(PRESETS) == {"paper", "spec"}
    said = options.SignalType.__metadata__[0].help
    assert all(name in said for name in SIGNAL_TYPES)
