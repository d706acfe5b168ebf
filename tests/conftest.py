import os

# Before torch is imported: as the command has it, and one thread in each worker and in each process that it starts.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import functools
import logging
import signal
from pathlib import Path

import hypothesis
import pytest
import torch
import typer

# The same examples every time and on every machine, and no limit of time on a busy one. Before a release, many others.
hypothesis.settings.register_profile("repeatable", max_examples=25, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("thorough", max_examples=500, deadline=None, print_blob=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def repeatable():
    """Random tensors and what is logged are the same every time, whichever tests run before."""
    torch.manual_seed(0)
    logging.getLogger("omniup").setLevel(logging.NOTSET)  # which a command with --quiet has set


@pytest.fixture(autouse=True, scope="session")
def no_power_failures():
    """Files need not reach the disk, for which a test that writes many would wait for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_command_line():
    """The command line is put together once, and not for each command: twice the time of a small one."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("get_command", "get_group"):
            patch.setattr(typer.main, name, functools.cache(getattr(typer.main, name)))
        yield


@pytest.fixture
def interruptible():
    """Ctrl-C and SIGHUP reach this process and those that it starts, even in a shell's background and under nohup."""
    handlers = {signal.SIGINT: signal.default_int_handler}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = signal.SIG_DFL
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def shared():
    """The folder of real data, weights and golden results, which a user's checkout does not have."""
    project = Path(__file__).parents[1]
    folder = project / os.environ.get("OMNIUP_SHARED", "../shared")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set OMNIUP_SHARED)")
    return folder
