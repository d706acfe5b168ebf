import importlib
import os
import signal
import sys
import time

import numpy as np
import pytest
from PIL import Image

from omniup.cli import main
from omniup.cli.interrupts import RETRY, patient_interrupts
from omniup.files import atomic_write
from support.forks import Fork

ENDLESS = ("--iters", "100000", "--verbose")
FIT = ("upsample", "photo.png", "signal.npy", "-o", "out.npy", "--method", "upsample_anything", *ENDLESS)


@pytest.mark.skipif(sys.platform == "win32", reason="forks, and sends signals")
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("name", "command", "until"),
    [
        ("SIGINT", FIT, "iteration 0"),
        ("SIGTERM", ("reconstruct", "photo.png", "-o", "deep/out", *ENDLESS), "iteration 0"),
        ("SIGHUP", ("fit", "photo.png", "-o", "kernels.safetensors", "--stride", "16", *ENDLESS), "iteration 0"),
    ],
)
def test_a_signal_in_the_middle_of_the_work_ends_it_without_a_trace(name, command, until, folder, tmp_path_factory):
    said = tmp_path_factory.mktemp("said") / "out"
    errors = said.with_name("out.err")
    Image.fromarray(np.zeros((256, 256), np.uint8)).save("photo.png")
    np.save("signal.npy", np.zeros((16, 16), np.float32))
    process = Fork(lambda: main(list(command)), said)
    while f"\n{until}" not in f"\n{errors.read_text()}":
        time.sleep(0.01)
        assert process.is_running()
    process.send(getattr(signal, name))
    assert process.wait() == 130
    assert errors.read_text().splitlines()[-1] == "omniup: interrupted"
    assert {path.name for path in folder.iterdir()} == {"photo.png", "signal.npy"}


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_for_an_import(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    (folder / "slow.py").write_text(
        "import signal\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    undisturbed = True\n"
        "except KeyboardInterrupt:\n"
        "    undisturbed = False\n"
    )
    with pytest.raises(KeyboardInterrupt), patient_interrupts():
        slow = importlib.import_module("slow")
        for _ in range(100):
            time.sleep(0.1)
    assert slow.undisturbed
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_an_ignored_interrupt_stays_ignored(name):
    """As in a shell's background, and under nohup."""
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with patient_interrupts():
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_until_a_file_has_its_name(folder, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt), patient_interrupts():
        with atomic_write("a") as file:
            file.write(b"whole")
        assert (folder / "a").read_bytes() == b"whole"
        for _ in range(100):
            time.sleep(0.1)
    with pytest.raises(KeyboardInterrupt), patient_interrupts(), atomic_write("b"):  # before it comes again
        pass
    time.sleep(2 * RETRY)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
