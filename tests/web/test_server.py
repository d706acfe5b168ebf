import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from omniup.cli import main
from omniup.web.server import _end_on_hangup

DEMO = Path(__file__).parents[2] / "demo"


def said_by(process, pattern):
    """Read what a process says until a line matches."""
    said = []
    while line := process.stderr.readline():
        said.append(line)
        if found := re.search(pattern, line):
            return found, "".join(said)
    raise AssertionError("".join(said))


@pytest.fixture
def start():
    started = []

    def run(*command, **options):
        process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, **options)
        started.append(process)
        return process

    yield run
    for process in started:
        process.terminate()
        process.wait(timeout=20)
        process.stderr.close()


@pytest.mark.usefixtures("interruptible")
def test_the_demo_starts_as_its_readme_says(start):
    readme = (DEMO / "README.md").read_text()
    for line in ("cd demo", "pip install -r requirements.txt", "python app.py"):
        assert f"\n{line}\n" in readme
    assert "http://127.0.0.1:8000" in readme
    process = start(sys.executable, "app.py", "--port", 0, "--offline", cwd=DEMO)
    found, _ = said_by(process, r"OmniUp is at (http://127\.0\.0\.1:\d+) ")
    assert httpx.get(found[1]).status_code == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert process.stderr.read().splitlines()[-1] == "omniup: interrupted"


def test_it_warns_of_other_machines_logs_its_runs_and_leaves_no_files(start, tmp_path, photo):
    """One server from its start to its interrupt: each costs seconds."""
    command = (sys.executable, "-m", "omniup", "serve", "--host", "0.0.0.0", "--port", 0, "--offline")
    process = start(*command, env=os.environ | {"TMPDIR": str(tmp_path)})
    found, said = said_by(process, r"OmniUp is at \S+:(\d+)")
    assert "warning: 0.0.0.0 can be reached from other machines" in said
    url = f"http://127.0.0.1:{found[1]}"
    assert httpx.get(f"{url}/api/health", headers={"Host": "any.name"}).status_code == 200

    settings = '{"iters": 21, "size": 64, "return_files": true}'
    httpx.post(f"{url}/api/run", files={"image": photo}, data={"config": settings}, timeout=60)
    _, said = said_by(process, "run .* total")
    log = said[said.rindex("fit on cpu in float32: 21 iterations") :]  # what is before is the warm-up's
    assert re.findall(r"iteration (\d+): loss 0\.\d+", log) == ["0", "10", "20"]
    assert re.search(r"on cpu in float32: 64 x 64, .*fit \d+\.\d+ s.*render features \d+\.\d+ s.*total \d+\.\d+ s", log)

    (folder,) = tmp_path.glob("omniup-runs-*")
    assert list(folder.glob("*/*.png"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 130
    assert process.stderr.read().splitlines()[-1] == "omniup: interrupted"
    assert not list(tmp_path.glob("omniup-runs-*"))


def test_a_port_that_is_taken_is_refused_in_one_line(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as left:
            main(["serve", "--port", str(port)])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"omniup: --host 127.0.0.1 --port {port} cannot be had (")
    assert said.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGHUP")
@pytest.mark.usefixtures("interruptible")
def test_a_hangup_ends_it_as_the_system_s_signal_does():
    handled = []
    _end_on_hangup(SimpleNamespace(handle_exit=lambda number, frame: handled.append(number)))
    signal.raise_signal(signal.SIGHUP)
    assert handled == [signal.SIGTERM]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # under nohup
    _end_on_hangup(None)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
