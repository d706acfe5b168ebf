"""The Dockerfile and the Space: what they name is there, and their server works where little may be written.

Docker itself is not needed: the server is started by the command of the image, on a read-only root file system with an
empty /tmp, as a user without rights, where the system lets a test have that.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import httpx
import pytest
import yaml

from support.demo import encoded, eventually, noise

ROOT = Path(__file__).parents[2]

#: Remounts all read-only, but for an empty /tmp, and goes on as a user without rights.
CONTAINED = """
mount --make-rprivate / && mount -o remount,bind,ro / && mount -t tmpfs tmpfs /tmp && cd /tmp || exit 1
touch "$1" 2> /dev/null && { rm "$1"; exit 1; }
shift
exec unshare --user --map-user=1000 --map-group=1000 "$@"
"""


def instructions():
    """The instructions of the Dockerfile, with their arguments; lines are joined."""
    lines = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text()).splitlines()
    return [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]


def last(name):
    return [arguments for instruction, arguments in instructions() if instruction == name][-1]


def of_this_environment(command):
    """A command of the image, with this environment's Python and command."""
    program = {"omniup": [sys.executable, "-m", "omniup"], "python": [sys.executable]}[Path(command[0]).name]
    return [*program, *command[1:]]


def test_the_image_runs_as_nobody_in_particular_and_has_a_health_check():
    assert re.search(r"^RUN useradd --uid 1000 ", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert last("USER") == "1000"
    assert last("ENV") == "HOME=/tmp"
    assert last("HEALTHCHECK").partition("CMD ")[2]


def test_the_image_copies_what_is_there_and_what_docker_is_given():
    given = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        arguments.split()[:-1] for name, arguments in instructions() if name == "COPY" and "--from" not in arguments
    ]
    copied = [source for sources in copied for source in sources]
    assert sorted(copied) == sorted(given)
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_installs_extras_that_there_are():
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', (ROOT / "Dockerfile").read_text())
    assert set(extras.split(",")) <= set(metadata("omniup").get_all("Provides-Extra"))


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def server(port, tmp_path):
    """The server as the image starts it, but at a free port and without fetching weights."""
    command = of_this_environment(json.loads(last("ENTRYPOINT")) + json.loads(last("CMD")))
    command[command.index("8000")] = str(port)
    contained = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", CONTAINED, "sh", str(ROOT / "written")]
    environment = {**os.environ, "HOME": "/tmp", "TMPDIR": "/tmp"}
    probe = [*contained, sys.executable, "-c", "import omniup"]
    if not shutil.which("unshare") or subprocess.run(probe, env=environment, capture_output=True).returncode:
        contained = []
        environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([*contained, *command, "--offline"], env=environment, stderr=subprocess.DEVNULL)
    yield process
    process.terminate()
    process.wait(timeout=20)


@pytest.mark.slow
def test_the_server_answers_and_the_health_check_knows(port, server):
    check = of_this_environment(json.loads(last("HEALTHCHECK").partition("CMD ")[2]))
    check = [argument.replace(":8000", f":{port}") for argument in check]
    eventually(lambda: subprocess.run(check, capture_output=True).returncode == 0, seconds=60)

    files = {"image": ("photo.png", encoded(noise(64, 64)))}
    config = {"size": 64, "iters": 2, "return_files": True}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        answer = client.post("/api/run", files=files, data={"config": json.dumps(config)})
        assert answer.status_code == 200, answer.text

    server.terminate()
    server.wait(timeout=20)
    assert subprocess.run(check, capture_output=True).returncode == 1


def test_the_space_is_of_docker_at_the_port_of_the_image():
    _, settings, page = (ROOT / "integrations/space/README.md").read_text(encoding="utf-8").split("---\n", 2)
    settings = yaml.safe_load(settings)
    assert (settings["sdk"], settings["license"]) == ("docker", "apache-2.0")
    assert str(settings["app_port"]) == last("EXPOSE") == json.loads(last("CMD"))[-1]
    assert len(settings["short_description"]) <= 60
    assert re.search("[一-鿿]", page)
    (command,) = re.findall(r"^CMD (.*)$", (ROOT / "integrations/space/Dockerfile").read_text(), re.MULTILINE)
    assert json.loads(command) == [*json.loads(last("CMD")), "--frame-ancestor", "https://huggingface.co"]


def test_the_folder_of_the_space_has_what_the_image_copies(tmp_path):
    recipe = re.search(r"^space:\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    archived = re.search(r"git archive HEAD (.*?)\\", recipe)[1].split()
    given = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(archived) == sorted([*given, "Dockerfile", ".dockerignore"])
