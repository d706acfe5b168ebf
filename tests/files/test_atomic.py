"""A reader sees the old content or the new one, whatever happens to the writer."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import omniup.files
from omniup.errors import InputError
from omniup.files import atomic_write, sweep, together
from omniup.files.atomic import finish_removal, made_folder, recover_folder, remove_folder, replace_folder

# omniup.files imports torch, which takes seconds; atomic.py does without, so a stand-in for the package is enough
_PRELUDE = f"""
import sys, types
files = types.ModuleType("omniup.files")
files.__path__ = [{str(Path(omniup.files.__file__).parent)!r}]
sys.modules["omniup.files"] = files
from omniup.files.atomic import atomic_write
"""


def _spawn(script: str, *arguments: Path) -> "subprocess.Popen[bytes]":
    source = Path(omniup.files.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", _PRELUDE + script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(source)},
    )


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    with atomic_write(target) as file:
        file.write(b"12")
        file.flush()
        assert not target.exists()
        (hidden,) = _names(tmp_path)
        assert hidden.startswith(".")
        file.write(b"34")
    assert target.read_bytes() == b"1234"
    assert _names(tmp_path) == ["out.bin"]


def test_replaces_and_accepts_a_string_and_seeks(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"a long old content")
    with atomic_write(str(target)) as file:
        file.write(b"xxxx")
        file.seek(0)
        file.write(b"new ")
    assert target.read_bytes() == b"new "


def test_content_reaches_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.bin"
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_size, target.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(target) as file:
        file.write(b"1234")
    assert synced == [(4, False)]


@pytest.mark.parametrize(
    "interruption",
    [KeyboardInterrupt("stop"), SystemExit("stop"), RuntimeError("stop"), InputError("file", "says stop")],
    ids=lambda interruption: type(interruption).__name__,
)
@pytest.mark.parametrize("old", [None, b"old"])
def test_an_exception_leaves_no_trace(tmp_path: Path, interruption: BaseException, old: bytes | None) -> None:
    target = tmp_path / "out.bin"
    if old is not None:
        target.write_bytes(old)
    with pytest.raises(type(interruption), match="stop"), atomic_write(target) as file:
        file.write(b"half")
        raise interruption
    assert _names(tmp_path) == ([] if old is None else ["out.bin"])
    assert old is None or target.read_bytes() == old


def test_files_come_together_or_not_at_all(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"old")
    with pytest.raises(RuntimeError), together():
        for path in (first, second):
            with atomic_write(path) as file:
                file.write(b"new")
        assert first.read_bytes() == b"old" and not second.exists()
        raise RuntimeError
    assert first.read_bytes() == b"old" and _names(tmp_path) == ["a"]
    with together():
        for path in (first, second):
            with atomic_write(path) as file:
                file.write(b"new")
        sweep(tmp_path)  # which leaves them alone
    assert first.read_bytes() == second.read_bytes() == b"new" and _names(tmp_path) == ["a", "b"]


def test_files_that_come_together_are_never_mixed_with_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name for name in "abc"]
    seen = []

    def watched(self: Path, target: Path) -> Path:
        seen.append([path.read_bytes() if path.exists() else b"" for path in paths])
        return replace(self, target)

    for path in paths:
        path.write_bytes(b"old")
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", watched)
    with together():
        for path in paths:
            with atomic_write(path) as file:
                file.write(b"new")
    assert seen == [[b"old", b"", b""], [b"new", b"", b""], [b"new", b"new", b""]]


def test_a_folder_that_stays_empty_goes_with_those_above_it(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    with pytest.raises(KeyboardInterrupt), made_folder(tmp_path / "before/new/deep"):
        raise KeyboardInterrupt
    assert list(tmp_path.rglob("*")) == [tmp_path / "before"]
    with pytest.raises(KeyboardInterrupt), made_folder(tmp_path / "before/new/deep"):
        (tmp_path / "before/new/file").touch()
        raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["before", "file", "new"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), made_folder(tmp_path / "file/deep"):
        pass


def test_kill_in_the_middle_of_a_large_write(tmp_path: Path) -> None:
    absent, present = tmp_path / "absent.bin", tmp_path / "present.bin"
    present.write_bytes(b"old")
    script = """
import time
with atomic_write(sys.argv[1]) as first, atomic_write(sys.argv[2]) as second:
    for file in (first, second):
        for _ in range(32):
            file.write(bytes(2**20))
        file.flush()
    print("half", flush=True)
    time.sleep(60)
"""
    with _spawn(script, absent, present) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not absent.exists()
    assert present.read_bytes() == b"old"
    left = [name for name in _names(tmp_path) if name != "present.bin"]
    assert len(left) == 2 and all(name.startswith(".omniup-") for name in left)  # so it was in the middle


def test_kill_at_any_moment(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    script = """
size, letter = 2**20, 0
while True:
    with atomic_write(sys.argv[1]) as file:
        for _ in range(4):
            file.write(bytes([65 + letter % 26]) * size)
    letter += 1
    print("written", flush=True)
"""
    for delay in (0.003, 0.007, 0.013):
        with _spawn(script, target) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
        content = target.read_bytes()
        assert len(content) == 4 * 2**20
        assert content == content[:1] * len(content)


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_mode_of_a_new_file_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "out.bin") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "out.bin").stat().st_mode & 0o777 == mode


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_mode_of_a_replaced_file_stays(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    target.chmod(0o640)
    with atomic_write(target) as file:
        file.write(b"new")
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")
def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "real.bin", tmp_path / "link.bin"
    link.symlink_to(real)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert _names(tmp_path / "folder") == ["real.bin"]


def _refusal(path: str | Path) -> str:
    with pytest.raises(InputError) as caught, atomic_write(path) as file:
        file.write(b"x")
    message = str(caught.value)
    assert "\n" not in message
    assert "accepted: a file name in a folder" in message
    return message


def test_refused_paths(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    missing = tmp_path / "missing" / "out.bin"
    assert f"{missing} is in the folder {missing.parent}, which does not exist;" in _refusal(missing)
    assert f"{tmp_path} is a directory;" in _refusal(tmp_path)
    assert "Not a directory" in _refusal(tmp_path / "file" / "out.bin")
    assert "File name too long" in _refusal(tmp_path / ("n" * 300))
    assert "a\\nb\\x00' cannot be written (embedded null byte)" in _refusal(tmp_path / "a\nb\0")
    assert _names(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")
def test_refused_by_the_system() -> None:
    assert _refusal("/proc/out.bin").startswith("/proc/out.bin cannot be written (")


@pytest.mark.skipif(os.name == "nt", reason="needs special files")
def test_a_special_file_is_not_replaced(tmp_path: Path) -> None:
    # a pipe stands for /dev/null, which a test that fails as root would replace for the whole machine
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert _refusal(pipe).startswith(f"{pipe} is a device or a pipe;")
    assert pipe.is_fifo()


def test_disk_full(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with (
        pytest.raises(InputError, match=r"out\.bin cannot be written \(No space left on device\)"),
        atomic_write(target),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert _names(tmp_path) == ["out.bin"]
    assert target.read_bytes() == b"old"


@pytest.mark.skipif(os.name == "nt", reason="needs resource limits")
def test_the_system_stops_the_write(tmp_path: Path) -> None:
    script = """
import resource
from omniup.errors import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with atomic_write(sys.argv[1]) as file:
        file.write(bytes(4000))
        file.flush()
        file.write(bytes(4000))  # in the buffer until the block has ended
except InputError as error:
    print(error)
"""
    with _spawn(script, tmp_path / "out.bin") as process:
        printed, _ = process.communicate()
    assert b"cannot be written (File too large)" in printed
    assert _names(tmp_path) == []


def test_what_a_killed_process_left_is_swept_and_what_is_being_written_stays(tmp_path: Path) -> None:
    script = """
import time
with atomic_write(sys.argv[1]) as file:
    print("begun", flush=True)
    time.sleep(60)
"""
    with _spawn(script, tmp_path / "killed.bin") as process:
        assert process.stdout is not None
        process.stdout.readline()
        sweep(tmp_path)
        assert len(_names(tmp_path)) == 1  # it is alive
        process.kill()
    with atomic_write(tmp_path / "out.bin") as file:
        file.write(b"1")
        assert len(_names(tmp_path)) == 2
        sweep(tmp_path)
        assert len(_names(tmp_path)) == 1
    assert _names(tmp_path) == ["out.bin"]


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_a_killed_removal_has_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "job"
    for finish in (finish_removal, remove_folder):
        place.mkdir()
        (place / "file").write_text("1")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("omniup.files.atomic.shutil.rmtree", _killed)
            remove_folder(place)
        assert not place.exists() and len(_names(tmp_path)) == 1
        if finish is remove_folder:
            place.mkdir()
        finish(place)
        assert _names(tmp_path) == []


def test_a_folder_is_replaced_by_another_and_comes_back_where_that_was_not_finished(tmp_path: Path) -> None:
    place, new = tmp_path / "model", tmp_path / "new"
    for content in ("1", "2"):
        new.mkdir()
        (new / "file").write_text(content)
        replace_folder(new, place)
        assert (place / "file").read_text() == content
        assert _names(tmp_path) == ["model"]
    place.rename(tmp_path / ".omniup-model.old")  # killed between the two steps
    recover_folder(place)
    assert (place / "file").read_text() == "2"
    assert _names(tmp_path) == ["model"]
