import os
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from omniup.files import sample_image
from support.demo import client_of
from support.pages import Visit, new_context

ROOT = Path(__file__).parents[2]
IN_CI = bool(os.environ.get("CI"))


@pytest.fixture(scope="session")
def photo():
    """A photograph as the bytes of a PNG file, 600 × 400 pixels."""
    file = BytesIO()
    sample_image("coffee").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def serve():
    """Start `omniup serve` in a process of its own: `serve("--queue", 2)` gives `.url` and `.process`."""
    started = []

    def start(*options, **environment):
        command = [sys.executable, "-m", "omniup", "serve", "--port", "0", "--offline", *map(str, options)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment)
        started.append(process)
        said = []
        while line := process.stderr.readline():
            said.append(line)
            if found := re.search(r"OmniUp is at (\S+)", line):
                break
        else:
            raise RuntimeError(f"the server did not start: {''.join(said)}")
        # what it logs later has to go somewhere, or the pipe fills and the server stands still
        log = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=process.stderr)
        started.append(log)
        return SimpleNamespace(url=found[1], process=process)

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(timeout=20)
        if process.stderr:
            process.stderr.close()


@pytest.fixture(scope="session")
def server(serve):
    """The demo as users start it, but restoring with the tiny model, which has all settings and tiles."""
    return serve("--restore-model", "tiny")


@pytest.fixture(scope="session")
def client(server):
    """Speaks to the server over HTTP."""
    with client_of(server) as client:
        yield client


@pytest.fixture(scope="session")
def browser():
    """The Chromium of the machine, or else Playwright's own; in CI a missing one is a failure."""
    from playwright.sync_api import Error, sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        quiet = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update"]
        try:
            started = playwright.chromium.launch(executable_path=found, args=[*quiet, "--disable-sync"])
        except Error as error:
            reason = (
                f"no browser: install Chromium, or run `playwright install chromium` ({error.message.splitlines()[0]})"
            )
            pytest.fail(reason) if IN_CI else pytest.skip(reason)
        yield started
        started.close()


@pytest.fixture(scope="session")
def context(browser):
    """Contexts of the browser, one for each set of options: to open a page in a new one takes twice as long."""
    made = {}

    def get(**options):
        key = repr(options)
        if key not in made:
            made[key] = new_context(browser, **options)
            made[key].new_page()  # the process that shows pages ends with the last of them
        return made[key]

    return get


@pytest.fixture
def visitor(context):
    """Open the page of a server, as `Visit` does; in the end nothing may have been complained about."""
    visits = []

    def start(url, address="", **options):
        visits.append(Visit(context(**options), url, address))
        return visits[-1].page

    yield start
    for each in visits:
        each.close()


@pytest.fixture(scope="session")
def artefacts():
    """Where screenshots are kept, to be looked at."""
    folder = ROOT / "out" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
