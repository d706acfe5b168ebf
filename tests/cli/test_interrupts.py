import importlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from omniup.cli.interrupts import patient_interrupts


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_in_the_middle_of_a_fit(folder):
    Image.fromarray(np.zeros((256, 256), np.uint8)).save("photo.png")
    np.save("signal.npy", np.zeros((16, 16), np.float32))
    for job in (
        ("upsample", "photo.png", "signal.npy", "-o", "out.npy", "--method", "upsample_anything"),
        ("reconstruct", "photo.png", "-o", "out"),
    ):
        endless = (*job, "--iters", "100000", "--verbose")
        process = subprocess.Popen([sys.executable, "-m", "omniup", *endless], stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if line.startswith("iteration 0"):
                process.send_signal(signal.SIGINT)
                break
        *_, last = process.communicate()[1].splitlines()
        assert (process.returncode, last) == (130, "omniup: interrupted")
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


def test_an_ignored_interrupt_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with patient_interrupts():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
