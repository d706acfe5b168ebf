"""No command overwrites its inputs, what others wrote, or what another process is writing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from omniup.errors import InputError
from omniup.files import Inputs, atomic_write, check_output, locked, output_folder, sweep
from support.forks import Fork


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_text("input")
    return tmp_path


def _names(folder: str = ".") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def _record(folder: Path) -> object:
    return json.loads((folder / "omniup.json").read_text())


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_an_output(folder: Path, overwrite: bool) -> None:
    (folder / "sub").mkdir()
    (folder / "link.png").symlink_to("a.png")
    (folder / "hard.png").hardlink_to(folder / "a.png")
    (folder / "linked").symlink_to(".", target_is_directory=True)
    for given, output in [
        ("a.png", "a.png"),
        ("a.png", str(folder / "a.png")),
        ("sub/../a.png", "./a.png"),
        ("link.png", "a.png"),
        ("a.png", "link.png"),
        ("a.png", "hard.png"),
        ("a.png", "linked/a.png"),
        ("sub/..", str(folder)),
        ("a.png", str(folder)),  # a folder with the input in it
    ]:
        with pytest.raises(InputError, match="is an input, which the result would overwrite"):
            check_output(output, Inputs([given]), overwrite=overwrite)
    check_output("b.png", Inputs(["a.png", "-", "sample:coffee", "no\0file"]), overwrite=overwrite)


def test_what_is_there_needs_overwrite(folder: Path) -> None:
    with pytest.raises(InputError, match=r"^a\.png exists already; accepted: another name, or --overwrite$"):
        check_output("a.png", Inputs(), overwrite=False)
    check_output("a.png", Inputs(), overwrite=True)


def test_a_command_replaces_what_it_wrote_and_nothing_else(folder: Path) -> None:
    def write(command: str, *names: str, overwrite: bool = False) -> None:
        with output_folder("out", command, overwrite=overwrite) as output:
            output.claim(*names)
            for name in names:
                (output.path / name).parent.mkdir(exist_ok=True)
                (output.path / name).write_text(command)

    for _ in range(2):
        write("one", "x", "deep/y")
    assert _record(folder / "out") == {"one": ["deep/y", "x"]}
    with pytest.raises(InputError, match="out/x exists already"):
        write("two", "z", "x")
    assert not Path("out/z").exists()
    Path("out/z").write_text("foreign")
    with pytest.raises(InputError, match="out/z exists already"):
        write("one", "z")
    write("two", "x", "z", overwrite=True)
    assert _record(folder / "out") == {"one": ["deep/y"], "two": ["x", "z"]}
    assert sorted(path.name for path in Path("out").iterdir()) == ["deep", "omniup.json", "x", "z"]


def test_what_was_not_written_is_on_no_record(folder: Path) -> None:
    with output_folder("out", "one") as output:
        output.claim("x", "y")
        assert _record(Path("out")) == {"one": ["x", "y"]}  # before they are written
        Path("out/x").touch()
    assert _record(Path("out")) == {"one": ["x"]}


def test_a_folder_that_stays_empty_goes(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), output_folder("out", "one") as output:
        output.claim("x")
        raise KeyboardInterrupt
    assert _names() == ["a.png"]


@pytest.mark.parametrize("text", ["[]", "{", '{"one": ["../a.png"]}', '{"one": ["/etc/passwd"]}', '{"one": [1]}'])
def test_a_foreign_record_is_refused(folder: Path, text: str) -> None:
    Path("omniup.json").write_text(text)
    with pytest.raises(InputError, match=r"omniup\.json"), output_folder(".", "one"):
        pass
    assert Path("omniup.json").read_text() == text


HOLD = """
import sys, time
from omniup.files import atomic_write, output_folder
with output_folder(sys.argv[1], "one") as output, atomic_write(output.path / "x"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, "out"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=r"^out is being written by another process"), output_folder("out", "one"):
            pass
        process.kill()
    with output_folder("out", "one"):
        assert _names("out") == [".omniup.lock"]  # what was half written has been swept away
    assert _names("out") == []


def test_a_file_has_a_lock_of_its_own(folder: Path) -> None:
    Path("link").symlink_to("b.npy")
    with locked("b.npy"), locked("c.npy"):
        for name in ("b.npy", "./b.npy", "link"):
            with pytest.raises(InputError, match="is being written by another process"), locked(name):
                pass
    with locked("b.npy"):
        pass
    assert _names() == ["a.png", "link"]


def test_a_file_that_a_process_writes_to_a_folder_is_not_another_s(folder: Path) -> None:
    busy = "is being written by another process"
    with output_folder("out", "one") as output:
        output.claim("deep/x")
        Path("out/deep").mkdir()
        with pytest.raises(InputError, match=f"out/deep/x {busy}"), locked("out/deep/x"):
            pass
        with locked("out/deep/y"), pytest.raises(InputError, match=f"out/deep/y {busy}"):
            output.claim("deep/y")
        output.claim("deep/y")
        Path("out/deep/x").touch()
    with locked("out/deep/x"):  # on the record of a command that has ended
        pass


def test_what_killed_processes_have_left_is_swept(folder: Path) -> None:
    for name in (".omniup-0123456789abcdef.lock", ".omniup.lock", ".omniup-0123456789abcdef.part"):
        Path(name).touch()
    with locked("b.npy"):
        sweep(".")
        assert len(_names()) == 2
    assert _names() == ["a.png"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_processes_that_write_to_files_of_their_own_do_not_hinder_each_other(folder: Path) -> None:
    def write() -> int:
        for index in range(200):
            sweep(".")
            with locked(name := f"{os.getpid()}-{index}"), atomic_write(name) as file:
                file.write(b"whole")
        return 0

    assert [process.wait() for process in [Fork(write), Fork(write)]] == [0, 0]
    assert len(_names()) == 1 + 400


def test_a_missing_folder_is_not_made(folder: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"), locked("missing/b.npy"):
        pass
    assert _names() == ["a.png"]
