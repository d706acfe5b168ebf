"""What C libraries print while they decode is logged, and reaches neither output."""

import logging
import os
import threading

import pytest

from omniup.errors import InputError
from omniup.files import read_guidance
from omniup.files.noise import logged_noise
from support.corruption import corrupted
from support.small_files import small_files


def test_what_is_printed_is_logged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with logged_noise("a.tif"):
        os.write(1, b"one\n")
        with logged_noise("b.tif"):
            os.write(2, b"two")
        os.write(2, b"three" * 2000)
    os.write(1, b"after")
    assert capfd.readouterr() == ("after", "")
    inner, outer = (record.getMessage() for record in caplog.records)
    assert inner == "b.tif: its decoder prints 'two'"
    assert outer.startswith("a.tif: its decoder prints 'one\\nthreethree") and len(outer) < 5000


def test_the_outputs_are_back_after_several_threads(capfd: pytest.CaptureFixture[str]) -> None:
    def noise() -> None:
        for _ in range(50):
            with logged_noise("a.tif"):
                os.write(2, b"noise")

    threads = [threading.Thread(target=noise) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"ours")
    assert capfd.readouterr() == ("", "ours")


def test_an_exception_puts_the_outputs_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), logged_noise("a.tif"):
        raise KeyError
    os.write(2, b"ours")
    assert capfd.readouterr().err == "ours"


@pytest.mark.parametrize(("name", "seed"), [("exr", 6), ("tiff-lzw", 2), ("tiff-fax", 3)])
@pytest.mark.filterwarnings("ignore")  # of Pillow
def test_damaged_files_are_quiet(capfd: pytest.CaptureFixture[str], name: str, seed: int) -> None:
    with pytest.raises(InputError):
        read_guidance(corrupted(name, small_files()[name], seed))
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore")
def test_and_verbose_commands_show_what_was_printed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(InputError):
        read_guidance(corrupted("exr", small_files()["exr"], 6))
    assert any("its decoder prints" in record.getMessage() for record in caplog.records)
