"""The examples of docs/training.md run as they stand."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from omniup.cli import main
from omniup.training import settings
from omniup.training.anyup import Configuration
from omniup.training.anyup import configuration as module

ROOT = Path(__file__).parents[3]


def blocks(language):
    document = (ROOT / "docs/training.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


@pytest.mark.usefixtures("accelerate")
def test_commands_and_python_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    lines = [shlex.split(line) for line in "".join(blocks("bash")).splitlines()]
    commands = [line[1:] for line in lines if line[0] == "omniup"]
    assert len(commands) == 2
    for command in commands:
        with pytest.raises(SystemExit) as left:
            main(command)
        assert left.value.code == 0
    (example,) = blocks("python")
    names = {}
    exec(compile(example, "training.md", "exec"), names)
    assert names["hr"].shape == (1, 384, 128, 192)


def test_the_configuration_is_one(monkeypatch):
    (example,) = blocks("yaml")
    monkeypatch.setattr(settings, "existing", lambda path: path)
    monkeypatch.setattr(module, "existing", lambda path: path)
    monkeypatch.setattr(Path, "exists", lambda path: True)
    wanted = Configuration.model_validate(yaml.safe_load(example))
    assert [backbone.held_out for backbone in wanted.backbones] == [False, False, False, True]
