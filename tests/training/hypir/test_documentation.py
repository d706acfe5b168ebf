"""The examples of docs/restoration.md's part on training run as they stand."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from omniup.cli import main
from omniup.restoration.degradation import Degradation
from omniup.training import restoration, settings
from omniup.training.hypir import Configuration

ROOT = Path(__file__).parents[3]


def blocks(language):
    document = (ROOT / "docs/restoration.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


@pytest.mark.usefixtures("accelerate")
def test_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    lines = [shlex.split(line) for line in "".join(blocks("bash")).splitlines()]
    commands = [line[1:] for line in lines if line[0] == "omniup"]
    assert [command[0] for command in commands] == ["train", "restore"]
    for command in commands:
        with pytest.raises(SystemExit) as left:
            main(command)
        assert left.value.code == 0
    assert (tmp_path / "out/coffee.png").exists()


def test_the_configuration_is_one(monkeypatch):
    (example,) = blocks("yaml")
    for room in (restoration, settings):
        monkeypatch.setattr(room, "existing", lambda path: path)
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(Degradation, "read", lambda path: Degradation())
    wanted = Configuration.model_validate(yaml.safe_load(example))
    assert (wanted.data.list.name, wanted.batch, wanted.accumulation) == ("pictures.csv", 4, 8)
